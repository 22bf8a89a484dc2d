"""The kinds of backends a control plane runs tasks on, and what the rest of it asks of their rules. Pure.

The rules themselves are in each kind's package, which is imported where a deployment has a backend of
that kind. Nothing here needs pydantic: functions that are called all the time import this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hut.backends.batch import refining as batch
from hut.model.problems import InvalidInput, Problem

__all__ = [
    "BATCH",
    "EC2",
    "KINDS",
    "WORKERS",
    "Entry",
    "Options",
    "Refinement",
    "Rules",
    "can_run",
    "kind_of",
    "read_backends",
    "rules_of",
]

BATCH = "batch"
EC2 = "ec2"
WORKERS = "workers"
KINDS = (BATCH, EC2, WORKERS)

Entry = Mapping[str, Any]
"""A backend as ``HUT_BACKENDS`` or a configuration describes it."""

Refinement = Mapping[str, Any]
"""What a configuration chooses of a backend: ``name``; ``type`` unless it is ``batch``; the fields of
its kind; ``retired`` for a backend that is not configured any more: runs that were submitted before
still use it."""


class Options(Protocol):
    """What a backend is made of, as far as all kinds have it."""

    @property
    def name(self) -> str:
        """What workflows call it."""

    @property
    def default_image(self) -> str | None:
        """Image of tasks that name none."""

    @property
    def partitions(self) -> Sequence[str]:
        """What a task may name as its ``partition``."""

    @property
    def default_partition(self) -> str:
        """The partition of tasks that name none."""

    @property
    def cap(self) -> int | None:
        """Most tasks at a time, over all runs."""


class Rules(Protocol):
    """What the ``refining`` module of a kind has."""

    @property
    def LIVE(self) -> Sequence[str]:  # noqa: N802 - a constant of a module
        """Fields of a refinement that follow the configuration, for all runs at once."""

    @property
    def FROZEN(self) -> Sequence[str]:  # noqa: N802
        """Fields that each run keeps as they were when it was submitted."""

    def refine(self, entry: Entry, base: Entry) -> tuple[dict[str, Any], list[Problem], list[str]]:
        """Return what an entry of ``backends`` chooses of the stack's, its problems, notes on it.

        Problems have places inside of the entry.
        """

    def read_options(self, entry: Entry, *, prefix: str = "hut", place: str = "backend") -> Options:
        """Return the options an entry of ``HUT_BACKENDS`` describes, with what refines it put upon it.

        Raises
        ------
        InvalidInput
            With every problem, each with its place.
        """


def kind_of(entry: Entry) -> str:
    """Return the kind of a backend; an entry and a refinement that say nothing are of Batch."""
    return str(entry.get("type", BATCH))


def can_run(entry: Entry) -> bool:
    """Say whether there are backends of this kind."""
    return kind_of(entry) in KINDS


def rules_of(kind: str) -> Rules:
    """Return the rules of a kind."""
    if kind == EC2:
        from hut.backends.ec2 import refining as ec2

        return ec2
    if kind == WORKERS:
        from hut.backends.workers import refining as workers

        return workers
    return batch


def read_backends(text: str, *, prefix: str = "hut") -> tuple[Options, ...]:
    """Return the backends that ``HUT_BACKENDS`` describes, in its order; other kinds are passed over.

    Raises
    ------
    InvalidInput
        If the text is not a JSON array of backends, names one twice or describes one that can't be:
        with every problem.
    """
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise InvalidInput([Problem(f"HUT_BACKENDS is not JSON: {error}")]) from None
    if not isinstance(entries, list):
        raise InvalidInput([Problem("HUT_BACKENDS is not a JSON array of backends")])
    found: dict[str, Options] = {}
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        place = f"HUT_BACKENDS[{index}]"
        if not isinstance(entry, dict):
            problems.append(Problem("is not an object", field=place))
        elif can_run(entry):
            try:
                options = rules_of(kind_of(entry)).read_options(entry, prefix=prefix, place=place)
            except InvalidInput as error:
                problems += error.problems
                continue
            if options.name in found:
                message = f"there are two backends named {options.name!r}"
                problems.append(Problem(message, field=f"{place}.name"))
            found[options.name] = options
    if problems:
        raise InvalidInput(problems)
    return tuple(found.values())
