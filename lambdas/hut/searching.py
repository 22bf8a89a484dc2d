"""Searching tasks: ``exit_code != 0``, ``started_at > -2h``, ``tags.site == eu``. Pure.

A condition is a field of the task document, an operator and a value, which is read as the field's kind says.
As in SQL a field without a value fulfils no condition, but for ``== null``; so ``exit_code != 0`` finds
tasks that ended with another code, not those that never ended.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hut.model.limits import LONGEST_PATTERN
from hut.model.problems import Problem, did_you_mean
from hut.model.quantities import parse_duration, parse_memory
from hut.model.rfc3339 import parse_time
from hut.model.states import Reason, TaskState

__all__ = [
    "COLUMNS",
    "Condition",
    "all_hold",
    "read_condition",
    "read_conditions",
    "read_field",
    "read_tag_condition",
    "value_of",
]

_FORM = re.compile(r"\s*([A-Za-z_][\w.+-]*)\s*(==|=|!=|<=|>=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_MOST_CONDITIONS = 20
_AGO = re.compile(r"-\s*(\S.*)")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS = ("attempt", "cpus", "duration", "exit_code", "priority", "retries")
_TIMES = ("created_at", "submitted_at", "started_at", "ended_at")
_LENGTHS = ("time_limit", "max_queue_time")
_TEXTS = (
    *("id", "name", "state", "reason", "message", "command", "backend", "job_id", "group"),
    *("working_dir", "partition", "image", "environment", "output_file", "error_file", "gres"),
)
_WORDS: Mapping[str, Collection[str]] = {
    "state": [state.value for state in TaskState],
    "reason": [reason.value for reason in Reason],
}
_OTHER_NAMES = {"exit_status": "exit_code", "args": "command"}
"""What HyperShell calls them."""

COLUMNS = (*_TEXTS, "memory", *_NUMBERS, *_LENGTHS, *_TIMES)
"""Fields that may be searched, sorted by and shown; tags are ``tags.KEY``."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a task document.

    Attributes
    ----------
    field : str
    fits : callable
        Says of a value of the field, which is there, whether it fulfils the condition.
    absent : bool
        Whether a task without a value fulfils it.
    """

    field: str
    fits: Callable[[Any], bool]
    absent: bool = False

    def holds(self, task: Mapping[str, Any]) -> bool:
        """Say whether a task fulfils it."""
        value = value_of(task, self.field)
        return self.absent if value is None else self.fits(value)


def read_condition(text: str, now: float) -> Condition:
    """Read ``field op value``.

    Parameters
    ----------
    now
        Seconds since the epoch; times may be written as how long ago they are: ``-2h``.

    Raises
    ------
    ValueError
        With what would be right.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text[:80]!r} is no condition; write it as 'FIELD OP VALUE' with one of "
            "== != < <= > >= ~ (a pattern), as in 'exit_code != 0'"
        )
    name, sign, written = match.groups()
    name, sign = read_field(name), "==" if sign == "=" else sign
    if len(written) > 1 and written[0] == written[-1] and written[0] in "'\"":
        written = written[1:-1]
    elif written == "null":
        if sign not in ("==", "!="):
            raise ValueError(f"{text[:80]!r}: null is compared by == and != only")
        return Condition(name, lambda _: sign == "!=", absent=sign == "==")
    if sign == "~":
        return Condition(name, _pattern(name, written))
    wanted = _read(name, written, now, equality=sign in ("==", "!="))
    compare = _COMPARE[sign]
    return Condition(name, lambda value: compare(value, wanted))


def read_tag_condition(text: str) -> Condition:
    """Read ``key`` or ``key:value``: a task has the tag, or has it with this value.

    Raises
    ------
    ValueError
        If there is no key.
    """
    key, colon, wanted = text.partition(":")
    if not key:
        raise ValueError(f"{text[:80]!r} is no tag; write it as KEY or KEY:VALUE")
    return Condition(f"tags.{key}", lambda value: not colon or value == wanted)


def read_conditions(
    where: Sequence[str], tags: Sequence[str], now: float
) -> tuple[list[Condition], list[Problem]]:
    """Read conditions and tags; return them, and what is wrong with any of them."""
    found: list[Condition] = []
    problems: list[Problem] = []
    for field, texts, read in (
        ("where", where, lambda text: read_condition(text, now)),
        ("tag", tags, read_tag_condition),
    ):
        if len(texts) > _MOST_CONDITIONS:
            problems.append(Problem(f"more than {_MOST_CONDITIONS} are given", field=field))
        for text in texts[:_MOST_CONDITIONS]:
            try:
                found.append(read(text))
            except ValueError as error:
                problems.append(Problem(str(error), field=field))
    return found, problems


def read_field(name: str) -> str:
    """Return the name of a field of task documents.

    Raises
    ------
    ValueError
        If there is none of this name; with the nearest.
    """
    name = _OTHER_NAMES.get(name, name)
    if name in COLUMNS or (name.startswith("tags.") and name != "tags."):
        return name
    hint = did_you_mean(name, COLUMNS, list_up_to=0) or f"known: {', '.join(COLUMNS)}, tags.KEY"
    raise ValueError(f"there is no field {name[:80]!r}; {hint}")


def value_of(task: Mapping[str, Any], field: str) -> Any:
    """Return a field's value in the form in which it is compared; None if it has none."""
    if field.startswith("tags."):
        return task.get("tags", {}).get(field.removeprefix("tags."))
    if field == "duration":
        begin, end = task["started_at"], task["ended_at"]
        return None if begin is None or end is None else parse_time(end) - parse_time(begin)
    value = task.get(field)
    if value is None:
        return None
    if field in _TIMES:
        return parse_time(value)
    if field in _LENGTHS:
        return parse_duration(value, bare="minutes")
    return parse_memory(value) if field == "memory" else value


def _read(name: str, written: str, now: float, *, equality: bool) -> Any:
    """Return a written value as the kind of its field is compared."""
    try:
        if name in _NUMBERS:
            return _number(written)
        if name in _TIMES:
            ago = _AGO.fullmatch(written)
            return parse_time(written) if ago is None else now - _length(ago[1])
        if name in _LENGTHS:
            return _length(written)
        if name == "memory":
            return parse_memory(int(written) if written.isdecimal() else written)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if name in _WORDS:
        if not equality:
            raise ValueError(f"{name} is compared by ==, != and ~ only")
        if written not in _WORDS[name]:
            hint = did_you_mean(written, tuple(_WORDS[name]))
            raise ValueError(f"there is no {name} {written[:80]!r}; {hint}")
    return written


def _number(written: str) -> float:
    try:
        value = float(written)
    except ValueError:
        value = float("nan")
    if value - value != 0:  # what is no number, or none that can be compared
        raise ValueError(f"{written[:80]!r} is not a number")
    return value


def _length(written: str) -> float:
    return parse_duration(float(written) if written.isdecimal() else written, bare="minutes")


def _pattern(name: str, written: str) -> Callable[[Any], bool]:
    if name not in _TEXTS and not name.startswith("tags."):
        raise ValueError(f"{name} is no text: ~ compares texts with a pattern of * ? [..]")
    if len(written) > LONGEST_PATTERN:
        raise ValueError(f"the pattern has more than {LONGEST_PATTERN} characters")
    matches = re.compile(fnmatch.translate(written)).match
    return lambda value: matches(value) is not None


def all_hold(conditions: Sequence[Condition], task: Mapping[str, Any]) -> bool:
    """Say whether a task fulfils all conditions."""
    return all(condition.holds(task) for condition in conditions)
