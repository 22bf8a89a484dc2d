"""The fields of a workflow file: what each accepts and what it becomes.

One small reader per field; each takes the value as JSON or YAML gave it and returns the value of
the model, or raises ``ValueError`` with what would be right. Which fields a task or a workflow has
is in the two tables at the end (contract, "Workflow file").
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

from hut.model.limits import (
    LARGEST_BUNDLE,
    LARGEST_INPUT,
    LONGEST_COMMAND,
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    LONGEST_PATH,
    LONGEST_PATTERN,
    LONGEST_TAG,
    LONGEST_TASK_ID,
    MOST_BUNDLE_SLOTS,
    MOST_DEPS,
    MOST_TAGS,
)
from hut.model.problems import in_one_line, is_one_line, nearest
from hut.model.quantities import parse_duration, parse_gres, parse_memory
from hut.model.states import Reason
from hut.model.tags import tag_problems
from hut.model.variables import variable_faults
from hut.model.workflow import BY_ITSELF

__all__ = [
    "ERROR_TYPE",
    "TASK_FIELDS",
    "TASK_ID",
    "WORKFLOW_FIELDS",
    "Reader",
    "read_command",
    "read_deps",
    "read_task_id",
    "show",
]

Reader = Callable[[Any], Any]

TASK_ID: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_TASK_ID}}}", re.ASCII)
ERROR_TYPE: Final = re.compile(r"[A-Z][A-Za-z0-9_.]{0,199}", re.ASCII)
"""Types of error reports as ``retry_on`` may name them: class names."""

_FAULTS_TOLD: Final = 20
_AUTO: Final = "auto"
_RETRYABLE: Final = tuple(
    reason.value
    for reason in Reason
    if reason
    not in (
        Reason.CANCELLED,
        Reason.DEPENDENCY,
        Reason.TASK_FAILED,
        Reason.INVALID_INPUT,
        Reason.OTHER,
    )
)


def show(value: object) -> str:
    """Return `value` as an error message quotes it: as JSON would, shortened."""
    words: dict[object, str] = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = f'"{value[:60]}"' if isinstance(value, str) else repr(value)
    text = in_one_line(text)
    return text if len(text) <= 60 else text[:57] + "..."


def read_task_id(value: Any) -> str:
    """Return a task id: letters, digits, ``. _ -``."""
    if isinstance(value, str) and TASK_ID.fullmatch(value):
        return value
    raise ValueError(
        f"{show(value)} is not a task id; use letters, digits, '.', '_' and '-', "
        f"at most {LONGEST_TASK_ID} characters"
    )


def read_command(value: Any) -> str:
    """Return a shell command that is not blank."""
    text = _text(value)
    if not text.strip():
        raise ValueError("the command is empty; write the shell command to run")
    return text


def read_deps(value: Any) -> tuple[str, ...]:
    """Return the entries of a dependency list as written, patterns not expanded."""
    if isinstance(value, str):
        raise ValueError(f'write a list: ["{value[:60]}"]')
    if not isinstance(value, list):
        raise ValueError(f"{show(value)} is not a list of task ids and patterns")
    if len(value) > MOST_DEPS:
        raise ValueError(
            f"has {len(value):,} entries, at most {MOST_DEPS:,} are allowed; use a pattern"
        )
    for entry in value:
        if not isinstance(entry, str) or not entry:
            raise ValueError(f"{show(entry)} is neither a task id nor a pattern")
        if len(entry) > LONGEST_PATTERN:
            raise ValueError(f"{show(entry)} has more than {LONGEST_PATTERN} characters")
    return tuple(value)


def _text(value: Any, most: int = LONGEST_COMMAND) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is not a string")
    if "\0" in value:
        raise ValueError("a NUL character can't be passed to a shell; remove it")
    if len(value) > most:
        hint = "; put them into a file" if most == LONGEST_COMMAND else ""
        raise ValueError(f"has {len(value):,} characters, at most {most:,} are allowed{hint}")
    return value


def _line(value: Any, most: int = LONGEST_NAME) -> str:
    text = _text(value, most)
    if not text.strip():
        raise ValueError("is empty; leave the field out or write a value")
    if not is_one_line(text):
        raise ValueError("must be one line without control characters")
    return text


def _path(value: Any) -> str:
    path = _line(value, LONGEST_PATH)
    if len(path.encode(errors="replace")) > LONGEST_PATH:
        raise ValueError(f"is longer than {LONGEST_PATH:,} bytes; no system takes such a path")
    return path


def _file(value: Any) -> str:
    path = _path(value)
    if path.endswith("/") or path.rpartition("/")[2] in (".", "..", "~"):
        raise ValueError(f"{show(path)} names a folder; write the path of a file")
    return path


def _description(value: Any) -> str:
    return _text(value, LONGEST_DESCRIPTION)


def _whole(least: int, most: int, unit: str = "") -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(
                f"{show(value)} is not a whole number from {least:,} to {most:,}{unit}"
            )
        return value

    return read


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{show(value)} is neither true nor false")
    return value


def _number(least: float, most: float) -> Reader:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{show(value)} is not a number")
        if not least <= value <= most:
            raise ValueError(f"{show(value)} is not a number from {least:g} to {most:g}")
        return float(value)

    return read


def _scalar_text(value: Any, key: str) -> str:
    """Numbers and booleans become the text JSON has for them; a variable is text in the end."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    raise ValueError(f"the value of {show(key)} is {show(value)}; write a string or a number")


def _scalar_map(value: Any, example: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{show(value)} is not an object; write {example}")
    return {str(key): _scalar_text(entry, str(key)) for key, entry in value.items()}


def _env_vars(value: Any) -> dict[str, str]:
    variables = _scalar_map(value, 'it as {"NAME": "value"}')
    faults = list(islice(variable_faults(variables), _FAULTS_TOLD))
    if faults:
        told = (text if name is None else f"{show(name)} {text}" for name, text in faults)
        raise ValueError("; ".join(told))
    return variables


def _properties(value: Any) -> dict[str, str]:
    return _few(_scalar_map(value, 'it as {"property": "value"}'))


def _tags(value: Any) -> dict[str, str]:
    return _few(_all_tags(value))


def _all_tags(value: Any) -> dict[str, str]:
    if isinstance(value, list):
        entries = [_line(entry).partition(":") for entry in value]
        return {key: text for key, _, text in entries}
    return _scalar_map(value, 'it as {"tag": "value"} or ["tag", "tag:value"]')


def _few(entries: dict[str, str]) -> dict[str, str]:
    if len(entries) > MOST_TAGS:
        raise ValueError(f"has {len(entries):,} entries; at most {MOST_TAGS} are allowed")
    for key, text in entries.items():
        if len(key) > LONGEST_TAG or not is_one_line(key):
            raise ValueError(
                f"{show(key)} is no name for an entry: it has at most {LONGEST_TAG} characters, "
                "none of them control"
            )
        _text(text, LONGEST_NAME)
    return entries


def _run_tags(value: Any) -> dict[str, str]:
    tags = _all_tags(value)
    if problems := [f"{problem.field}: {problem.message}" for problem in tag_problems(tags)]:
        raise ValueError("; ".join(problems))
    return tags


def _group(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _line(value)


def _retry_on(value: Any) -> frozenset[int | str]:
    if not isinstance(value, list):
        raise ValueError(f'{show(value)} is not a list; write it as [75, "timeout"]')
    for entry in value:
        if isinstance(entry, int) and not isinstance(entry, bool):
            if not 0 <= entry <= 255:
                raise ValueError(f"{entry} is not an exit code; they go from 0 to 255")
        elif not isinstance(entry, str):
            raise ValueError(f"{show(entry)} is neither an exit code nor a reason")
        elif entry not in _RETRYABLE and not ERROR_TYPE.fullmatch(entry):
            near = nearest(entry, _RETRYABLE)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(_RETRYABLE)}"
            raise ValueError(f"{show(entry)} is not a reason that can be retried; {hint}")
    return frozenset(value)


def _time_limit(value: Any) -> float:
    return parse_duration(value, bare="minutes")


def _max_queue_time(value: Any) -> float:
    return parse_duration(value, bare="minutes")


def _retry_delay(value: Any) -> float:
    return parse_duration(value, bare="seconds")


def _notify(value: Any) -> object:
    if isinstance(value, (str, list, dict)):
        if len(json.dumps(value)) > LONGEST_DESCRIPTION:  # the document's depth is bounded
            raise ValueError(f"has more than {LONGEST_DESCRIPTION:,} characters as JSON")
        return value
    raise ValueError(f"{show(value)} is neither a string nor a list nor an object")


def _task_name(value: Any) -> str:
    label = _line(value, 2 * LONGEST_NAME)
    name, at, version = label.partition("@")
    if not name or (at and not version) or "@" in version:
        raise ValueError(f'{show(value)} names no task; write it as "NAME" or "NAME@VERSION"')
    return label


def _input(value: Any) -> str:
    """Return an input document as JSON text."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that JSON does not know") from None
    if len(text) > LARGEST_INPUT:
        raise ValueError(
            f"has {len(text):,} characters as JSON, at most {LARGEST_INPUT:,} are allowed; let a "
            "task write it, and refer to its output"
        )
    return text


TASK_FIELDS: Final[Mapping[str, Reader]] = {
    "id": read_task_id,
    "command": read_command,
    "task": _task_name,
    "input": _input,
    "name": _line,
    "deps": read_deps,
    "working_dir": _path,
    "partition": _line,
    "cpus": _whole(1, 100_000),
    "memory": parse_memory,
    "gres": parse_gres,
    "time_limit": _time_limit,
    "max_queue_time": _max_queue_time,
    "image": _line,
    "environment": _line,
    "env_vars": _env_vars,
    "output_file": _file,
    "error_file": _file,
    "generates_source": _file,
    "retries": _whole(0, 1000),
    "retry_delay": _retry_delay,
    "retry_backoff": _number(1, 1000),
    "retry_on": _retry_on,
    "priority": _whole(-(2**31), 2**31 - 1),
    "properties": _properties,
    "group": _group,
    "tags": _tags,
    "backend": _line,
    "dedupe": _yes_or_no,
}
"""Task fields and their readers; ``dependencies`` is an alias of ``deps``."""


def _bundle(value: Any) -> int:
    if value == _AUTO:
        return BY_ITSELF
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_BUNDLE:
        raise ValueError(
            f"{show(value)} is neither {_AUTO!r} nor a whole number of tasks from 1 to "
            f"{LARGEST_BUNDLE:,}"
        )
    return value


WORKFLOW_FIELDS: Final[Mapping[str, Reader]] = {
    "name": _line,
    "description": _description,
    "max_concurrent": _whole(1, 1_000_000),
    "env_vars": _env_vars,
    "environment": _line,
    "backend": _line,
    "max_cost": _number(0, 1e12),
    "time_limit": _time_limit,
    "notify": _notify,
    "tags": _run_tags,
    "bundle": _bundle,
    "bundle_slots": _whole(1, MOST_BUNDLE_SLOTS),
    "scheduler": _line,
}
"""Fields beside ``tasks`` and ``defaults`` in the object form of a workflow file."""
