"""Texts that differ only in numbers which follow their place: a shell works them out by itself. Pure.

Sweeps over seeds, files or parameters are mostly of this kind. Their table fits into any job, whatever
its length, and nothing has to be fetched.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

__all__ = ["numbered"]

_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)  # what a shell calculates with, to be safe


def numbered(texts: Sequence[str]) -> str | None:
    """Return a shell command that prints the text whose place ``$_n`` is, or None if none can.

    Parameters
    ----------
    texts
        At least two. Numbers in them may be padded with zeros to one width.
    """
    between = _NUMBER.split(texts[0])
    rows = [_NUMBER.findall(text) for text in texts]
    if any(_NUMBER.split(text) != between for text in texts):
        return None
    parts, words = [_literal(between[0])], list[str]()
    for place, literal in enumerate(between[1:]):
        column = [row[place] for row in rows]
        if column[0] == column[1] == column[-1] and len(set(column)) == 1:
            parts.append(column[0])
        else:
            first, step = int(column[0]), int(column[1]) - int(column[0])
            padded = any(text[0] == "0" and len(text) > 1 for text in column)
            form = f"0{len(column[0])}d" if padded else "d"
            if any(format(first + step * at, form) != text for at, text in enumerate(column)):
                return None
            parts.append(f"%{form}")
            words.append(f"$(({first}+{step}*$_n))")
        parts.append(_literal(literal))
    return " ".join(["printf", shlex.quote("".join(parts)), *words])


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "%%")
