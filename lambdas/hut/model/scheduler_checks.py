"""What schedulers and backends of one ``hut.yaml`` have to agree on. Pure, over entries as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hut.model.documents import Path
from hut.model.problems import did_you_mean
from hut.model.scheduler import (
    LARGEST_NUMBER,
    Kind,
    Scheduler,
    UnknownProperty,
    number_of,
    scheduler_of,
)

__all__ = ["BackendFault", "no_number", "scheduler_faults", "unknown_property"]

Entry = Mapping[str, Any]


class BackendFault(NamedTuple):
    """What is wrong with an entry of ``backends``; `path` is inside of it."""

    backend: str
    path: Path
    message: str


def scheduler_faults(
    schedulers: Sequence[Entry], backends: Sequence[Entry], *, known: Sequence[str] = ()
) -> Iterator[BackendFault]:
    """Yield what does not fit together.

    Parameters
    ----------
    schedulers
        Those that can be read, in the order of the file.
    known
        Names of all of them, in that order: one that can't be read is no unknown one.
    """
    by_name = {entry["name"]: scheduler_of(entry) for entry in schedulers}
    names = tuple(known or by_name)
    first = by_name.get(names[0]) if names else None
    for entry in backends:
        chosen = entry.get("scheduler")
        if chosen is not None and chosen not in names:
            hint = did_you_mean(chosen, names) or "none is configured; write it under 'schedulers'"
            yield BackendFault(
                entry["name"], ("scheduler",), f"unknown scheduler {chosen!r}; {hint}"
            )
            continue
        scheduler = first if chosen is None else by_name.get(chosen)
        yield from _of_backend(entry, scheduler)


def _of_backend(entry: Entry, scheduler: Scheduler | None) -> Iterator[BackendFault]:
    targets = entry.get("targets", {})
    if entry["type"] == "local" and targets:
        message = "this machine is one target; write 'properties' beside 'type' instead"
        yield BackendFault(entry["name"], ("targets",), message)
    types = entry.get("instance_types")
    for name in targets:
        if types is not None and name not in types:
            message = f"is no partition of instance_types; {did_you_mean(name, tuple(types))}"
            yield BackendFault(entry["name"], ("targets", name), message)
    if scheduler is None:
        return
    places: list[tuple[Path, Mapping[str, str]]] = [(("properties",), entry.get("properties", {}))]
    places += [
        (("targets", name, "properties"), target.get("properties", {}))
        for name, target in targets.items()
    ]
    for path, properties in places:
        for name, value in properties.items():
            message = _fault_of(scheduler, name, value)
            if message:
                yield BackendFault(entry["name"], (*path, name), message)


def _fault_of(scheduler: Scheduler, name: str, value: str) -> str:
    declared = scheduler.properties.get(name)
    if declared is None and scheduler.unknown_property is UnknownProperty.REJECT:
        return unknown_property(scheduler, name)
    if declared is Kind.MINIMUM and number_of(value) is None:
        return no_number(value)
    return ""


def unknown_property(scheduler: Scheduler, name: str) -> str:
    """Say that a scheduler does not declare a property, and which one may have been meant."""
    hint = did_you_mean(name, tuple(scheduler.properties)) or "it declares none"
    return f"scheduler {scheduler.name!r} does not know this property; {hint}"


def no_number(value: str) -> str:
    """Say that a text does not do where a minimum is matched."""
    return (
        f"{value[:60]!r} is not a number from 0 to {LARGEST_NUMBER}; write digits only, without sign, "
        "point or unit"
    )
