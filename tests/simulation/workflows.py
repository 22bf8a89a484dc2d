"""Workflows for simulated runs: random, but known through and through, so that their ends are known.

What a task does stands in its command, as JSON that no shell ever sees: how often it fails, how long
it runs, which tasks it generates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.chance import Chance

__all__ = ["Behaviour", "Planned", "behaviour_of", "random_workflow", "workflow"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a task does.

    Attributes
    ----------
    fails : int
        How many of its attempts fail with exit code 3 before one succeeds.
    runs : float
        Seconds.
    generates : tuple of mapping
        Tasks that join the run.
    """

    fails: int = 0
    runs: float = 20.0
    generates: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Planned:
    """A workflow, and what is known of it.

    Attributes
    ----------
    document : dict
        What is submitted.
    deps : dict of str to set of str
        By task: those that must have completed before it starts, of generated tasks too.
    completes : dict of str to bool
        By task: whether it completes in the end, if nothing is cancelled; of generated tasks too,
        if their generator completes.
    backends : dict of str to str
        By task: where it runs.
    """

    document: dict[str, Any]
    deps: dict[str, frozenset[str]] = field(default_factory=dict)
    completes: dict[str, bool] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)

    @property
    def everything(self) -> frozenset[str]:
        """All tasks there are in the end, if every generator completes."""
        return frozenset(self.deps)

    @property
    def max_cost(self) -> float | None:
        """The run's budget."""
        return self.document.get("max_cost")

    @property
    def bundles(self) -> bool:
        """Whether its tasks may share jobs."""
        return "bundle" in self.document

    @property
    def max_concurrent(self) -> int | None:
        """The run's own cap."""
        return self.document.get("max_concurrent")


def behaviour_of(command: str) -> Behaviour:
    """Return what a command does."""
    given = json.loads(command)
    return Behaviour(
        int(given.get("fails", 0)),
        float(given.get("runs", 20.0)),
        tuple(given.get("generates", ())),
    )


def task(
    id: str,  # noqa: A002 - the field's name
    deps: Sequence[str] = (),
    *,
    fails: int = 0,
    runs: float = 20.0,
    generates: Sequence[Mapping[str, Any]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """Return a task that does as is said."""
    does: dict[str, Any] = {"fails": fails, "runs": runs}
    if generates:
        does["generates"] = list(generates)
        fields.setdefault("generates_source", f"{id}.json")
    return {
        "id": id,
        "command": json.dumps(does),
        **({"deps": list(deps)} if deps else {}),
        **fields,
    }


def workflow(*tasks: Mapping[str, Any], **fields: Any) -> Planned:
    """Return a workflow of tasks and what is known of it; ``deps`` name tasks, or end in ``*``."""
    planned = Planned({"tasks": [dict(each) for each in tasks], **fields})
    _know(planned, planned.document["tasks"], are_made=True)
    return planned


def _know(
    planned: Planned,
    tasks: Sequence[Mapping[str, Any]],
    *,
    are_made: bool,
    backend: str = "batch",
) -> None:
    """Note dependencies and ends of some tasks, and of those they generate.

    Parameters
    ----------
    are_made
        Whether the tasks come to be at all, in the first generation of the run.
    backend
        Where they run if they don't say.
    """
    names = [*planned.deps, *(each["id"] for each in tasks)]
    for each in tasks:
        found: set[str] = set()
        for dep in each.get("deps", ()):
            found |= {n for n in names if n == dep or (dep[-1:] == "*" and n.startswith(dep[:-1]))}
        planned.deps[each["id"]] = frozenset(found - {each["id"]})
        planned.backends[each["id"]] = each.get("backend", backend)
    left = [dict(each) for each in tasks]
    ends = dict(planned.completes)
    while left:
        ready = [each for each in left if planned.deps[each["id"]] <= ends.keys()]
        assert ready, "a cycle"
        for each in ready:
            does = behaviour_of(each["command"])
            own = does.fails <= each.get("retries", 0)
            completes = are_made and own and all(ends[dep] for dep in planned.deps[each["id"]])
            ends[each["id"]] = completes
            if are_made:
                planned.completes[each["id"]] = completes
            left.remove(each)
            if does.generates:
                where = planned.backends[each["id"]]
                _know(planned, does.generates, are_made=completes, backend=where)


def random_workflow(chance: Chance, name: str, *, most: int = 24, ec2: bool = False) -> Planned:
    """Return a workflow of one of several shapes, of up to `most` tasks or a little more.

    Parameters
    ----------
    ec2
        Some tasks run on instances.
    """

    def below(what: str, bound: int) -> int:
        return chance.below(f"{name} {what}", bound)

    shape = below("shape", 6)
    count = 1 + below("size", most)
    runs = [2.0 + below(f"runs {n}", 60) for n in range(count + 2)]
    tasks: list[dict[str, Any]] = []
    for n in range(count):
        deps: list[str] = []
        if shape == 1 and n:  # a chain
            deps = [f"t{n - 1}"]
        elif shape == 2 and n:  # a fan-out
            deps = ["t0"]
        elif shape == 3 and n:  # anything
            picked = {below(f"dep {n} {i}", n) for i in range(below(f"deps {n}", 4))}
            deps = [f"t{d}" for d in sorted(picked)]
        more: dict[str, Any] = {}
        fails = 1 + below(f"fails {n}", 3) if below(f"bad {n}", 6) == 0 else 0
        if below(f"retries {n}", 2):
            more["retries"] = 1 + below(f"how many {n}", 3)
            if below(f"delay {n}", 2):
                more["retry_delay"] = 5 + below(f"long {n}", 300)
        if below(f"cpus {n}", 3) == 0:
            more["cpus"] = 2
        if below(f"priority {n}", 5) == 0:
            more["priority"] = below(f"which {n}", 9)
        tasks.append(task(f"t{n}", deps, fails=fails, runs=runs[n], **more))
    if shape in (2, 4):  # a fan-in behind everything
        tasks.append(task("end", ["t*"], runs=runs[-1]))
    if shape == 5:
        made = [task(f"g{n}", runs=5 + n) for n in range(1 + below("made", 5))]
        made.append(task("gathers", ["g*", "t0"], runs=3))
        tasks.append(task("makes", ["t0"], generates=made, retries=1, fails=below("late", 2)))
    _send_to_ec2(tasks if ec2 else (), below)
    return workflow(*tasks, **_random_fields(below))


def _random_fields(below: Callable[[str, int], int]) -> dict[str, Any]:
    """Return what holds for a run."""
    fields: dict[str, Any] = {}
    if below("capped", 4) == 0:
        fields["max_concurrent"] = 1 + below("cap", 4)
    if below("bundled", 4) == 0:
        fields["bundle"] = 2 + below("bundle", 5) if below("by itself", 3) else "auto"
        if below("slotted", 2):
            fields["bundle_slots"] = 1 + below("slots", 3)
    if below("budget", 6) == 0:
        fields["max_cost"] = 0.0002 * (1 + below("dollars", 8))
    return fields


def _send_to_ec2(tasks: Sequence[dict[str, Any]], below: Callable[[str, int], int]) -> None:
    for each in tasks:
        if below(f"backend {each['id']}", 3) == 0:
            each["backend"] = "ec2"
