"""Templates of commands, as HyperShell has them: ``process {} --out {/-}.csv`` and the like.

A pattern is replaced by the line or by a part of it, as it is: no quotes are put around it, because a
line may be more than one argument, or shell by itself. Who wants it to be one argument writes
``'{}'``, or lets the command read the variable ``"$TASK_ARGS"``. Nothing is ever evaluated: the
patterns by which HyperShell runs a shell or Python are refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Final

from hut.model.problems import InvalidInput, Problem, in_one_line

__all__ = ["Template"]

_PATTERN: Final = re.compile(r"\{(.*?)\}")
_SLICE: Final = re.compile(r"\[(-?[0-9]{1,6})?(?:(:)(-?[0-9]{1,6})?(?::(-?[0-9]{1,6})?)?)?\]")
_KNOWN: Final = "{} {.} {..} {/} {/-} {//} {-} {+} {++} {[0]} {[1:3]}"

_PARTS: Final[Mapping[str, Callable[[str], str]]] = {
    "": lambda line: line,
    ".": posixpath.dirname,
    "..": lambda line: posixpath.dirname(posixpath.dirname(line)),
    "/": posixpath.basename,
    "/-": lambda line: posixpath.splitext(posixpath.basename(line))[0],
    "//": posixpath.dirname,
    "-": lambda line: posixpath.splitext(line)[0],
    "+": lambda line: posixpath.splitext(line)[1],
    "++": lambda line: posixpath.splitext(line)[1].lstrip("."),
}


class Template:
    """A command with patterns.

    Parameters
    ----------
    text
        The command; a pattern stands in braces. ``${...}`` is the shell's and stays.

    Raises
    ------
    InvalidInput
        With every pattern that is not known, and where there is none at all.
    """

    def __init__(self, text: str) -> None:
        problems: list[Problem] = []
        self._pieces: list[str | Callable[[str], str]] = []
        end = 0
        for found in _PATTERN.finditer(text):
            if found.start() and text[found.start() - 1] == "$":
                continue
            try:
                part = _part_of(found[1].strip())
            except ValueError as error:
                message = f"{in_one_line(found[0])!r}, column {found.start() + 1}: {error}"
                problems.append(Problem(message, field="template"))
                continue
            self._pieces += [text[end : found.start()], part]
            end = found.end()
        self._pieces.append(text[end:])
        if not problems and len(self._pieces) == 1:
            message = "has no pattern, so every task would be the same; write {} for the line"
            problems.append(Problem(message, field="template"))
        if problems:
            raise InvalidInput(problems)

    def expand(self, line: str) -> str:
        """Return the command for a line.

        Raises
        ------
        ValueError
            If the line has no such argument.
        """
        return "".join(piece if isinstance(piece, str) else piece(line) for piece in self._pieces)


def _part_of(key: str) -> Callable[[str], str]:
    part = _PARTS.get(key)
    if part is not None:
        return part
    if key[:1] in ("%", "=") and key[-1:] == key[:1] and len(key) > 1:
        raise ValueError(
            "expressions are not evaluated; compute it in the command, where the line is in "
            "$TASK_ARGS"
        )
    found = _SLICE.fullmatch(key)
    if found is None or not found[0].strip("[]"):
        raise ValueError(f"is no pattern; known: {_KNOWN}")
    first, colon, last, step = found.groups()
    if colon is None:
        return _argument(int(first))
    if step is not None and int(step) == 0:
        raise ValueError("a step of 0 leads nowhere")
    return _arguments(slice(*(None if each is None else int(each) for each in (first, last, step))))


def _argument(index: int) -> Callable[[str], str]:
    def pick(line: str) -> str:
        words = line.split()
        try:
            return words[index]
        except IndexError:
            count = f"{len(words)} word" + ("s" if len(words) != 1 else "")
            raise ValueError(f"the template asks for {{[{index}]}}, the line has {count}") from None

    return pick


def _arguments(chosen: slice) -> Callable[[str], str]:
    return lambda line: " ".join(line.split()[chosen])
