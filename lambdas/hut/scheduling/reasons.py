"""What a scheduler's log says of tasks that wait for a worker: which property, asked and best. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hut.scheduling.matching import Kind, Scheduler, Target, choose, mismatches, remaining_of

__all__ = ["match_status"]


def match_status(
    scheduler: Scheduler, waiting: Iterable[Mapping[str, str]], targets: Sequence[Target]
) -> list[str]:
    """Return a line for each set of properties that tasks wait with, the most wanted first.

    Parameters
    ----------
    waiting
        What each task asks for.
    """
    groups: dict[frozenset[tuple[str, str]], list[Mapping[str, str]]] = {}
    for wanted in waiting:
        groups.setdefault(frozenset(wanted.items()), []).append(wanted)
    lines = []
    for alike in sorted(groups.values(), key=len, reverse=True):
        if choose(scheduler, alike[0], targets) is None:
            noun = "task waits" if len(alike) == 1 else "tasks wait"
            lines.append(f"{len(alike):,} {noun}: {_why(scheduler, alike[0], targets)}")
    return lines


def _why(scheduler: Scheduler, wanted: Mapping[str, str], targets: Sequence[Target]) -> str:
    if not targets:
        return "there is no worker"
    faults = [{m.property for m in mismatches(scheduler, wanted, each)} for each in targets]
    nowhere = [name for name in wanted if all(name in found for found in faults)]
    if nowhere:
        return "; ".join(_best(scheduler, name, wanted[name], targets) for name in nowhere)
    if all(faults):
        return "no worker has all it asks for"
    return "the workers that match have no room"


def _best(scheduler: Scheduler, name: str, asked: str, targets: Sequence[Target]) -> str:
    if scheduler.kind_of(name) is Kind.MINIMUM:
        left = [number for each in targets if (number := remaining_of(each, name)) is not None]
        best = f"the best worker has {max(left)} left" if left else "no worker has it"
        return f"{name} >= {asked}, {best}"
    values = list(
        dict.fromkeys(each.properties[name] for each in targets if name in each.properties)
    )
    return f"{name} = {asked}, " + (
        f"workers have {', '.join(values)}" if values else "no worker has it"
    )
