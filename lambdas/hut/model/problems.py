"""What is wrong with an input: the one way every layer reports bad input.

A `Problem` names the place (task, field, line) and says what would be right; `InvalidInput`
carries all of them at once, so nobody mends a file one error at a time. Rendering for terminals
and HTTP is not done here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hut.model.limits import MOST_PROBLEMS

__all__ = [
    "TOO_MANY_PROBLEMS",
    "InvalidInput",
    "Problem",
    "did_you_mean",
    "in_one_line",
    "is_one_line",
    "nearest",
]

TOO_MANY_PROBLEMS = f"more problems may follow; the first {MOST_PROBLEMS:,} are listed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of an input.

    Parameters
    ----------
    message
        What is wrong and what would be right, without the place.
    task
        Id of the task at fault (or ``#3`` for the third task when it has no usable id).
    field
        Path of the field, dotted: ``memory``, ``env_vars.PATH``, ``backends[1].name``.
    line
        1-based line in the file, where it is known.
    """

    message: str
    task: str | None = None
    field: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = []
        if self.line is not None:
            place.append(f"line {self.line}")
        if self.task is not None:
            place.append(f"task {self.task!r}")
        if self.field is not None:
            place.append(f"field {self.field!r}")
        return f"{', '.join(place)}: {self.message}" if place else self.message


class InvalidInput(ValueError):  # noqa: N818 - reads as what it is: raise InvalidInput(problems)
    """An input was refused; nothing of it was stored.

    Attributes
    ----------
    problems : tuple of Problem
        Every problem found, in the order of the input. Never empty.
    source : str or None
        The file or body the problems are in.
    """

    def __init__(self, problems: Iterable[Problem], *, source: str | None = None) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.source = source
        head = f"{source}: " if source else ""
        super().__init__(head + "; ".join(str(p) for p in self.problems[:20]))


def is_one_line(text: str) -> bool:
    """Say whether a text can stand in a line of a table and on a terminal without doing anything."""
    return not any(c < " " or "\x7f" <= c < "\xa0" or c in "\u2028\u2029" for c in text)


def in_one_line(text: str) -> str:
    r"""Return a text with escapes (``\n``, ``\x1b``) for what can't stand in one line."""
    if is_one_line(text):
        return text
    return "".join(
        c if is_one_line(c) else c.encode("unicode_escape").decode("ascii") for c in text
    )


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the entry of `known` that `name` was most likely meant to be, or None."""
    import difflib  # costs milliseconds to import; needed only when something is wrong

    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Sequence[str], *, list_up_to: int = 12) -> str:
    """Return a closing clause that points to the nearest known name, or lists the known ones."""
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    if known and len(known) <= list_up_to:
        return f"known: {', '.join(sorted(known))}"
    return ""
