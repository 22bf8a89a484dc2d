"""Definitions of state machines, checked, with their expressions parsed: what `asl` runs.

A field that is not known here is an error. Not modelled: JSONPath, Map and Parallel, heartbeats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.simulation.query_language import Template, compiled

__all__ = ["Machine", "Retrier", "State", "Way", "load"]

_TOKEN = ".waitForTaskToken"
_STATE = {"Type", "Comment", "QueryLanguage"}
_GOES_ON = {"Next", "End"}
_FIELDS = {
    "Task": {
        *_STATE,
        *_GOES_ON,
        *("Resource", "Arguments", "Assign", "Output", "TimeoutSeconds", "Retry", "Catch"),
    },
    "Pass": {*_STATE, *_GOES_ON, "Assign", "Output"},
    "Wait": {*_STATE, *_GOES_ON, "Assign", "Output", "Seconds", "Timestamp"},
    "Choice": {*_STATE, "Choices", "Default", "Assign", "Output"},
    "Succeed": {*_STATE, "Output"},
    "Fail": {*_STATE, "Error", "Cause"},
}
_CHOICE = {"Condition", "Next", "Assign", "Output", "Comment"}
_CATCH = {"ErrorEquals", "Next", "Assign", "Output", "Comment"}
_RETRY = {
    *("ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds"),
    *("JitterStrategy", "Comment"),
}
_MACHINE = {"Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"}


@dataclass(frozen=True, slots=True)
class Way:
    """Where it goes on, and what is assigned and handed on there; None: as it is."""

    next: str | None
    assign: Mapping[str, Template]
    output: Template | None
    condition: Template | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retrier:
    errors: tuple[str, ...]
    interval: float
    most: int
    rate: float
    longest: float
    is_jittered: bool


@dataclass(frozen=True, slots=True)
class State:
    name: str
    kind: str
    way: Way
    given: Mapping[str, Template]
    resource: str = ""
    waits_for_token: bool = False
    choices: tuple[Way, ...] = ()
    retriers: tuple[Retrier, ...] = ()
    catchers: tuple[Way, ...] = ()


class Machine:
    """A definition, checked.

    Raises
    ------
    ValueError
        Saying what is wrong, and in which state.
    """

    def __init__(self, name: str, definition: Mapping[str, Any]) -> None:
        self.name = name
        _refuse("the machine", definition, _MACHINE)
        if definition.get("QueryLanguage") != "JSONata":
            raise ValueError("only JSONata is known")
        self.start: str = definition["StartAt"]
        self.limit: float | None = definition.get("TimeoutSeconds")
        self.states = {key: _state(key, each) for key, each in definition["States"].items()}
        wanted = {self.start, *(way for state in self.states.values() for way in _ways(state))}
        if missing := wanted - self.states.keys():
            raise ValueError(f"no such states: {', '.join(sorted(missing))}")
        if lost := self.states.keys() - wanted:
            raise ValueError(f"nothing leads to {', '.join(sorted(lost))}")


def _ways(state: State) -> list[str]:
    every = (state.way, *state.choices, *state.catchers)
    return [way.next for way in every if way.next is not None]


def _refuse(what: str, given: Mapping[str, Any], known: set[str]) -> None:
    if other := given.keys() - known:
        raise ValueError(f"{what} has unknown fields: {', '.join(sorted(other))}")


def _state(name: str, given: Mapping[str, Any]) -> State:
    kind = given["Type"]
    if kind not in _FIELDS:
        raise ValueError(f"{name}: {kind} is not known")
    _refuse(name, given, _FIELDS[kind])
    if kind in ("Task", "Pass", "Wait") and ("Next" in given) == bool(given.get("End")):
        raise ValueError(f"{name} needs either Next or End")
    fields = ("Arguments", "TimeoutSeconds", "Seconds", "Timestamp", "Error", "Cause")
    resource = given.get("Resource", "")
    for each in given.get("Choices", ()):
        _refuse(f"a choice of {name}", each, _CHOICE)
    for each in given.get("Catch", ()):
        _refuse(f"a catcher of {name}", each, _CATCH)
    return State(
        name,
        kind,
        _way({**given, "Next": given.get("Default", given.get("Next"))}),
        {key: compiled(given[key]) for key in fields if key in given},
        resource.removesuffix(_TOKEN),
        resource.endswith(_TOKEN),
        tuple(map(_way, given.get("Choices", ()))),
        tuple(_retrier(name, each) for each in given.get("Retry", ())),
        tuple(map(_way, given.get("Catch", ()))),
    )


def _way(given: Mapping[str, Any]) -> Way:
    return Way(
        given.get("Next"),
        {name: compiled(value) for name, value in given.get("Assign", {}).items()},
        compiled(given["Output"]) if "Output" in given else None,
        compiled(given["Condition"]) if "Condition" in given else None,
        tuple(given.get("ErrorEquals", ())),
    )


def _retrier(name: str, given: Mapping[str, Any]) -> Retrier:
    _refuse(f"a retrier of {name}", given, _RETRY)
    return Retrier(
        tuple(given["ErrorEquals"]),
        given.get("IntervalSeconds", 1),
        given.get("MaxAttempts", 3),
        given.get("BackoffRate", 2.0),
        given.get("MaxDelaySeconds", float("inf")),
        given.get("JitterStrategy", "NONE") == "FULL",
    )


def load(name: str, definition: Mapping[str, Any], filled: Mapping[str, str]) -> Machine:
    """Return a machine of a definition with CloudFormation's placeholders filled in."""
    text = json.dumps(definition)
    for key, value in filled.items():
        text = text.replace(f"${{{key}}}", value)
    return Machine(name, json.loads(text))
