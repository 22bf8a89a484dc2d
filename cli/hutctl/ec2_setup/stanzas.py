"""Puts an entry into the ``backends`` of a ``hut.yaml``, and leaves the rest of the file as it is.

Comments and layout are kept: only the entry's own lines change. What comes out is read again and must
say what went in and nothing else; a file for which that can't be done is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hut.model.documents import MalformedDocument, format_of, read_document
from hut.model.problems import InvalidInput, Problem

__all__ = ["as_yaml", "with_backend", "write_whole"]


def as_yaml(entry: Mapping[str, Any]) -> str:
    """Return an entry as the item of a block list, without indent."""
    import yaml

    text: str = yaml.safe_dump([dict(entry)], sort_keys=False, allow_unicode=True, width=10_000)
    return text


def with_backend(text: str, entry: Mapping[str, Any], filename: str) -> str:
    """Return the text of a configuration with a backend in it, in place of one of the same name.

    Parameters
    ----------
    text
        What is valid as a configuration; empty for a new file.

    Raises
    ------
    InvalidInput
        If the file is written in a way in which that can't be done safely.
    """
    kind = format_of(filename)
    new = _in_json(text, entry) if kind == "json" else _in_yaml(text, entry)
    wanted = _expected(_data(text, kind), entry)
    try:
        is_right = _data(new, kind) == wanted
    except MalformedDocument:
        is_right = False
    if not is_right:
        message = (
            "this file is written in a way that can't be changed safely; put the entry there by hand "
            "(--dry-run prints it)"
        )
        raise InvalidInput([Problem(message, field="backends")], source=filename)
    return new


def write_whole(path: Path, text: str) -> None:
    """Replace a file by one write, with the rights it has; where it is a link, its goal."""
    import tempfile

    goal = Path(os.path.realpath(path))
    handle, new = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}-")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mode = goal.stat().st_mode & 0o7777 if goal.exists() else 0o666 & ~_umask()
        os.chmod(new, mode)
        os.replace(new, goal)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _data(text: str, kind: Literal["json", "yaml"]) -> dict[str, Any]:
    if not text.strip("\ufeff \t\r\n") or all(_is_comment(line) for line in text.splitlines()):
        return {}
    document = read_document(text, format=kind)
    return document.data if isinstance(document.data, dict) else {}


def _is_comment(line: str) -> bool:
    stripped = line.strip("\ufeff \t")
    return not stripped or stripped.startswith("#")


def _expected(data: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file should say with the entry in it."""
    backends = list(data.get("backends") or ())
    places = [place for place, each in enumerate(backends) if each.get("name") == entry["name"]]
    if places:
        backends[places[0]] = dict(entry)
    else:
        backends.append(dict(entry))
    return {**data, "backends": backends}


def _in_json(text: str, entry: Mapping[str, Any]) -> str:
    data = _expected(_data(text, "json"), entry)
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _in_yaml(text: str, entry: Mapping[str, Any]) -> str:
    import yaml

    newline = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith(("\n", "\r")):
        text += newline
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    value = None
    if isinstance(root, yaml.MappingNode):
        value = next((node for key, node in root.value if key.value == "backends"), None)
    if value is None:
        return text + _lines(["backends:", *_indented(entry, 2)], newline)
    flow = yaml.safe_dump(
        dict(entry), sort_keys=False, allow_unicode=True, default_flow_style=True, width=10_000
    ).strip()
    if not isinstance(value, yaml.SequenceNode) or (value.flow_style and not value.value):
        # ``backends:`` or ``backends: []``: what stands there goes, items follow below.
        start, end = value.start_mark.index, value.end_mark.index
        rest, after = text[end:].partition("\n")[0], text[end:].partition("\n")[2]
        head = text[:start].rstrip(" ") + rest.rstrip("\r") + newline
        return head + _lines(_indented(entry, 2), newline) + after
    names = [_name_of(each) for each in value.value]
    place = names.index(entry["name"]) if entry["name"] in names else None
    if value.flow_style:
        if place is None:
            at = value.value[-1].end_mark.index
            return f"{text[:at]}, {flow}{text[at:]}"
        node = value.value[place]
        return text[: node.start_mark.index] + flow + text[node.end_mark.index :]
    lines = text.splitlines(keepends=True)
    indented = [line + newline for line in _indented(entry, value.start_mark.column)]
    if place is None:
        at = _last_line(value.value[-1]) + 1
        return "".join([*lines[:at], *indented, *lines[at:]])
    node = value.value[place]
    first = node.start_mark.line
    while not lines[first].lstrip().startswith("-"):
        first -= 1  # the dash may stand on a line of its own
    return "".join([*lines[:first], *indented, *lines[_last_line(node) + 1 :]])


def _indented(entry: Mapping[str, Any], columns: int) -> list[str]:
    return [" " * columns + line for line in as_yaml(entry).splitlines()]


def _lines(lines: list[str], newline: str) -> str:
    return "".join(line + newline for line in lines)


def _name_of(node: Any) -> Any:
    fields = node.value if isinstance(node.value, list) else ()
    found = [field[1].value for field in fields if isinstance(field, tuple)]
    keys = [field[0].value for field in fields if isinstance(field, tuple)]
    return dict(zip(keys, found, strict=True)).get("name")


def _last_line(node: Any) -> int:
    """Return the line on which a node really ends: comments behind it are none of its."""
    if isinstance(node.value, list) and node.value and not node.flow_style:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(
        mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line
    )
