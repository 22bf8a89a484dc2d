"""Task specifications and run settings as JSON text, for stores. Only what differs from the default.

The field names are the model's. Names of a later Hut are passed over: where they must not be, the
later Hut says so by the form of its store, which is checked before anything is read
(docs/decisions/018-forms.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from hut.model.quantities import Gres
from hut.model.records import RunSettings
from hut.model.workflow import (
    DEFAULT_RESOURCES,
    DEFAULT_RETRY,
    Resources,
    RetryPolicy,
    TaskCall,
    TaskSpec,
)

__all__ = ["decode_settings", "decode_spec", "encode_settings", "encode_spec"]

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SPECIAL = ("id", "command", "name", "deps", "resources", "retry", "call")
_OPTIONAL = tuple(
    (position, name, TaskSpec._field_defaults[name])
    for position, name in enumerate(TaskSpec._fields)
    if name not in _SPECIAL
)
_OF_TASK = frozenset(TaskSpec._fields)
_OF_RESOURCES = frozenset(field.name for field in fields(Resources))
_OF_GRES = frozenset(field.name for field in fields(Gres))
_OF_CALL = frozenset(TaskCall._fields)
_OF_RETRY = frozenset(field.name for field in fields(RetryPolicy))
_WORDS = {name: getattr(RunSettings(), name) for name in ("retry_order", "record")}
_OF_RUN = frozenset(field.name for field in fields(RunSettings))


def encode_spec(spec: TaskSpec) -> str:
    """Return everything of a task but its id."""
    data: dict[str, Any] = {"command": spec.command}
    if spec.name != spec.id:
        data["name"] = spec.name
    if spec.deps:
        data["deps"] = spec.deps
    for position, name, default in _OPTIONAL:
        value = spec[position]
        if value is not default and value != default:
            data[name] = dict(value) if isinstance(value, Mapping) else value
    if spec.resources is not DEFAULT_RESOURCES:
        data["resources"] = asdict(spec.resources)
    if spec.retry is not DEFAULT_RETRY:
        data["retry"] = {**asdict(spec.retry), "on": sorted(spec.retry.on, key=str)}
    if spec.call is not None:
        call = spec.call._asdict()
        data["call"] = {name: value for name, value in call.items() if value not in (None, "")}
    return _dumps(data)


def decode_spec(task_id: str, text: str) -> TaskSpec:
    """Return the task that `encode_spec` wrote."""
    data = json.loads(text)
    data.setdefault("name", task_id)
    if "deps" in data:
        data["deps"] = tuple(data["deps"])
    if "resources" in data:
        resources = _known(data["resources"], _OF_RESOURCES)
        resources["gres"] = tuple(Gres(**_known(entry, _OF_GRES)) for entry in resources["gres"])
        data["resources"] = Resources(**resources)
    if "retry" in data:
        retry = _known(data["retry"], _OF_RETRY)
        data["retry"] = RetryPolicy(**{**retry, "on": frozenset(retry["on"])})
    if "call" in data:
        data["call"] = TaskCall(**_known(data["call"], _OF_CALL))
    return TaskSpec(task_id, **_known(data, _OF_TASK))


def encode_settings(settings: RunSettings) -> str:
    """Return run settings as JSON."""
    data: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in _WORDS and value == _WORDS[field.name]:
            continue
        if value or (isinstance(value, (int, float)) and value != field.default):
            data[field.name] = dict(value) if isinstance(value, Mapping) else value
    return _dumps(data)


def decode_settings(text: str) -> RunSettings:
    """Return the settings that `encode_settings` wrote."""
    data = _known(json.loads(text), _OF_RUN)
    if "uses" in data:
        data["uses"] = tuple(data["uses"])
    return RunSettings(**data)


def _known(data: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return what this Hut knows of an object."""
    if data.keys() <= names:
        return data
    return {name: value for name, value in data.items() if name in names}
