"""Where the tasks of a run go that ask for properties: decided at submit, and kept. Pure.

A *site* is a backend with the targets it offers and the scheduler that matches tasks with them. What
each site could provide is what counts, not what is free: a task waits for room at its backend. The
sites of a run are kept in its settings, so tasks that join it are placed by the same rules, and what a
task waits for can be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hut.model.limits import MOST_PROBLEMS
from hut.model.problems import TOO_MANY_PROBLEMS, Problem, did_you_mean
from hut.model.scheduler import BUILT_IN, OF_POOLS, Scheduler, Unsatisfiable, scheduler_of
from hut.model.workflow import TaskSpec
from hut.scheduling.matching import Target, choose, property_problems, shortcomings

__all__ = [
    "LAST",
    "UNPLACED",
    "Placed",
    "Site",
    "Wishes",
    "offered",
    "place",
    "plain_sites",
    "scheduler_problems",
    "sites_of",
    "waits_for_target",
]

UNPLACED = "unplaced"
"""Stands for the backend of a task of this machine that it can't run: nothing claims it."""

LAST = -(2**31)
"""Priority of tasks that wait for a target of a backend: they come behind all that can run."""

_LOCAL, _WORKERS = "local", "workers"


@dataclass(frozen=True, slots=True)
class Site:
    """A backend as tasks are matched with it.

    Attributes
    ----------
    kind : str
        Type of the backend.
    targets : tuple of Target
        The default one first. Those of ``batch`` and ``ec2`` are what tasks name as ``partition``.
    """

    backend: str
    kind: str
    scheduler: Scheduler
    targets: tuple[Target, ...]

    @property
    def has_partitions(self) -> bool:
        """Whether its targets are partitions."""
        return self.kind not in (_LOCAL, _WORKERS)

    @property
    def is_open(self) -> bool:
        """Whether targets may join of which nobody knows yet what they offer."""
        return self.kind == _WORKERS and not self.targets

    def label(self, target: Target) -> str:
        """Return what people are told of a target."""
        return self.backend if self.kind == _LOCAL else f"{self.backend}/{target.name}"

    def labelled(self) -> list[Target]:
        """Return the targets under the names that people are told."""
        return [replace(target, name=self.label(target)) for target in self.targets]

    def partition(self, name: str | None) -> Site:
        """Return the site with only the target that a task names, if it names one."""
        if name is None or not self.has_partitions:
            return self
        return replace(self, targets=tuple(t for t in self.targets if t.name == name))


def offered(
    entry: Mapping[str, Any], automatic: Mapping[str, Mapping[str, str]]
) -> list[tuple[str, dict[str, str]]]:
    """Return what each target of a backend advertises.

    Parameters
    ----------
    entry
        What is configured of the backend: ``properties``, ``targets``.
    automatic
        By target what is known of it anyway; the default one first. What is configured goes before.
    """
    common, own = entry.get("properties", {}), entry.get("targets", {})
    names = automatic or own or ([entry["name"]] if common else [])
    return [
        (
            name,
            {**automatic.get(name, {}), **common, **own.get(name, {}).get("properties", {})},
        )
        for name in names
    ]


def plain_sites(
    schedulers: Sequence[Mapping[str, Any]], backends: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return sites as plain data, as a run keeps them; nothing where nothing is matched.

    Parameters
    ----------
    schedulers
        Valid entries of ``schedulers``.
    backends
        Of each ``name``, ``type``, ``targets`` as `offered` returns them, and the name of its
        ``scheduler``, unless it is the first one.
    """
    sites = [
        {
            "name": each["name"],
            "type": each["type"],
            "scheduler": each.get("scheduler") or (schedulers[0]["name"] if schedulers else None),
            "targets": [[name, dict(properties)] for name, properties in each["targets"]],
        }
        for each in backends
    ]
    if not schedulers and not any(site["type"] == _WORKERS for site in sites):
        return {}
    return {"schedulers": [dict(entry) for entry in schedulers], "backends": sites}


def sites_of(plain: Mapping[str, Any]) -> dict[str, Site]:
    """Return the sites that `plain_sites` has written, by the names of their backends."""
    schedulers = {entry["name"]: scheduler_of(entry) for entry in plain.get("schedulers", ())}
    return {
        each["name"]: Site(
            each["name"],
            each["type"],
            schedulers.get(each["scheduler"], OF_POOLS if each["type"] == _WORKERS else BUILT_IN),
            tuple(Target(name, properties) for name, properties in each["targets"]),
        )
        for each in plain.get("backends", ())
    }


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is said of all tasks at once.

    Attributes
    ----------
    backend : str
        Where tasks go that say nothing.
    is_given : bool
        Somebody has named it; else tasks may go to any backend of its scheduler.
    """

    backend: str
    is_given: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """Tasks with the partition, and where it differs the backend, that was chosen for them.

    Attributes
    ----------
    warnings : list of Problem
        Of tasks that wait until there is a target for them.
    """

    tasks: tuple[TaskSpec, ...]
    problems: list[Problem]
    warnings: list[Problem]


def place(tasks: Sequence[TaskSpec], sites: Mapping[str, Site], wishes: Wishes) -> Placed:
    """Choose a target for each task that asks for properties; the others stay as they are."""
    if not sites or not any(task.properties for task in tasks):
        return Placed(tuple(tasks), [], [])
    placing = _Placing(sites, wishes)
    placed = tuple(placing.place(task) if task.properties else task for task in tasks)
    return Placed(placed, placing.problems, placing.warnings)


def waits_for_target(spec: TaskSpec, site: Site) -> bool:
    """Say whether a task waits because no target of its backend can ever run it."""
    if not spec.properties or site.is_open:
        return False
    return bool(
        shortcomings(site.scheduler, spec.properties, site.partition(spec.partition).targets)
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What holds for all tasks that ask for the same at the same place.

    Attributes
    ----------
    changes : mapping
        Fields of the task that are filled in.
    problems : sequence of (field, message)
    waits : str
        Why it waits.
    """

    changes: Mapping[str, Any]
    problems: Sequence[tuple[str, str]] = ()
    waits: str = ""


class _Placing:
    """Places tasks one by one; those that are alike are judged once."""

    def __init__(self, sites: Mapping[str, Site], wishes: Wishes) -> None:
        self._sites = sites
        self._wishes = wishes
        self._known: dict[object, _Verdict] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def place(self, task: TaskSpec) -> TaskSpec:
        key = (task.backend, task.partition, frozenset(task.properties.items()))
        verdict = self._known.get(key)
        if verdict is None:
            verdict = self._known[key] = self._judge(task)
            if verdict.waits:
                self.warnings.append(Problem(verdict.waits, task=task.id, field="properties"))
        if len(self.problems) < MOST_PROBLEMS:
            self.problems += [
                Problem(message, task=task.id, field=field) for field, message in verdict.problems
            ]
        elif verdict.problems and len(self.problems) == MOST_PROBLEMS:
            self.problems.append(Problem(TOO_MANY_PROBLEMS))
        return task._replace(**verdict.changes) if verdict.changes else task

    def _judge(self, task: TaskSpec) -> _Verdict:
        sites = self._candidates(task)
        if not sites:
            return _Verdict({})
        scheduler, wanted = sites[0].scheduler, task.properties
        if wrong := property_problems(scheduler, wanted):
            return _Verdict({}, [(problem.field or "", problem.message) for problem in wrong])
        if sites[0].is_open:
            return _Verdict(self._changes(task, sites[0], None))
        there = [(site, target) for site in sites for target in site.targets]
        labelled = [replace(target, name=site.label(target)) for site, target in there]
        chosen = choose(scheduler, wanted, labelled)
        if chosen is not None:
            site, target = there[labelled.index(chosen)]
            return _Verdict(self._changes(task, site, target))
        for site in sites:
            if site.is_open:
                return _Verdict(self._changes(task, site, None))
        return _unsatisfiable(sites[0], shortcomings(scheduler, wanted, labelled))

    def _candidates(self, task: TaskSpec) -> list[Site]:
        """Return where a task may go, best first; nothing where the backend is not matched."""
        first = self._sites.get(task.backend or self._wishes.backend)
        if first is None:
            return []
        if task.backend is not None or self._wishes.is_given:
            sites = [first]
        else:
            alike = (s for s in self._sites.values() if s.scheduler == first.scheduler)
            sites = [first, *(site for site in alike if site is not first)]
        if task.partition is None:
            return sites
        named = [site.partition(task.partition) for site in sites if site.has_partitions]
        named = [site for site in named if site.targets]
        # This machine and pools have none. One that is nowhere is refused when it is to be used.
        return named or [site for site in sites[:1] if not site.has_partitions]

    def _changes(self, task: TaskSpec, site: Site, target: Target | None) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if site.has_partitions and target is not None and task.partition is None:
            changes["partition"] = target.name
        if task.backend is None and site.backend != self._wishes.backend:
            changes["backend"] = site.backend
        return changes


def _unsatisfiable(site: Site, found: Sequence[tuple[str, str]]) -> _Verdict:
    """Refuse a task nobody could ever run, or have it wait."""
    name = site.scheduler.name
    if site.scheduler.unsatisfiable is Unsatisfiable.WAIT:
        said = "; ".join(f"{of}: {text}" if of else text for of, text in found)
        waits = f"waits until there is a target for it (scheduler {name!r}): {said}"
        if site.kind == _LOCAL:
            return _Verdict({"backend": UNPLACED}, waits=waits)
        return _Verdict({"priority": LAST}, waits=waits)
    tail = f"no target of scheduler {name!r} can ever run this task"
    return _Verdict(
        {},
        [(f"properties.{of}" if of else "properties", f"{text}; {tail}") for of, text in found],
    )


def scheduler_problems(
    name: str | None, sites: Mapping[str, Site], wishes: Wishes
) -> list[Problem]:
    """Return what is wrong with the scheduler that a workflow names: nothing, or a problem."""
    if name is None:
        return []
    there = {site.backend: site.scheduler.name for site in sites.values()}
    known = [entry for entry in dict.fromkeys(there.values()) if entry != BUILT_IN.name]
    if name not in known:
        hint = did_you_mean(name, known) if known else "no scheduler is configured"
        return [Problem(f"no backend is under a scheduler {name!r}; {hint}", field="scheduler")]
    own = there.get(wishes.backend)
    if own == name:
        return []
    message = f"backend {wishes.backend!r} is under scheduler {own!r}; name one of them only"
    return [Problem(message, field="scheduler")]
