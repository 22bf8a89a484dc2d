"""Whether a deployment can follow a configuration, and what follows from it for its backends. Pure.

The form of the configuration was checked when it was read; here it is held against what the stack
has: queues, roles, a region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hut.backends.kinds import KINDS, WORKERS, Entry, Refinement, can_run, kind_of, rules_of
from hut.backends.refining import base_of, options_of
from hut.model.applied import is_entry_name, secrets_in, text_of
from hut.model.documents import dotted
from hut.model.problems import Problem, did_you_mean
from hut.model.scheduler_checks import scheduler_faults

__all__ = ["MOST_BYTES", "Fit", "fit", "why_not"]

MOST_BYTES = 256 * 1024
"""Of a content at most, as JSON: an item of the table holds it, and runs keep its environments."""

_MOST_BACKENDS = 50
_MOST_RETIRED = 50


@dataclass(frozen=True, slots=True)
class Fit:
    """What holding a content against the stack gave.

    Attributes
    ----------
    refinements : list
        For functions: of backends that can run tasks, then those that only earlier runs use.
    problems : list of Problem
        Each with its place, entries by their names: ``backends.gpu.aws.job_queue``.
    notes : list of str
        What is accepted, but perhaps not as meant.
    """

    refinements: list[Refinement]
    problems: list[Problem]
    notes: list[str]


def fit(
    content: Mapping[str, Any],
    stack: Sequence[Entry],
    earlier: Sequence[Refinement] = (),
) -> Fit:
    """Hold a content against the stack.

    Parameters
    ----------
    stack
        The entries of ``HUT_BACKENDS``.
    earlier
        The refinements before, whose backends runs may still use.
    """
    found = Fit([], [], [])
    own = {str(entry["name"]): kind_of(entry) for entry in stack}
    for entry in content["backends"]:
        _fit_backend(entry, own, stack, found)
    _give_schedulers(content, own, found)
    for entry in content["environments"]:
        if not is_entry_name(entry["name"]):
            found.problems.append(_bad_name("environments", entry["name"]))
    for fault in scheduler_faults(content.get("schedulers", ()), content["backends"]):
        place = dotted(("backends", fault.backend, *fault.path))
        found.problems.append(Problem(fault.message, field=place))
    found.notes.extend(secrets_in(content))
    _check_default(content, own, found)
    _check_size(content, found)
    names = {*own, *(each["name"] for each in found.refinements)}
    retired = [{**each, "retired": True} for each in earlier if each["name"] not in names]
    found.refinements.extend(retired[:_MOST_RETIRED])
    return found


def _fit_backend(
    entry: Mapping[str, Any], own: Mapping[str, str], stack: Sequence[Entry], found: Fit
) -> None:
    name, kind = entry["name"], entry["type"]
    if not is_entry_name(name):
        found.problems.append(_bad_name("backends", name))
    base = base_of(name, kind, stack)
    if own.get(name, kind) != kind:
        message = (
            f"{name!r} is this deployment's own backend, of type {own[name]}; use another name"
        )
        found.problems.append(Problem(message, field=f"backends.{name}.type"))
    elif can_run(entry) and base is not None:
        refinement, problems, notes = rules_of(kind).refine(entry, base)
        offers = {key: entry[key] for key in ("properties", "targets") if key in entry}
        refinement = {**refinement, **offers}
        found.refinements.append(refinement)
        found.notes.extend(notes)
        if not problems:
            found.problems.extend(_unknown_targets(entry, refinement, stack))
        for problem in problems:
            found.problems.append(
                Problem(problem.message, field=f"backends.{name}.{problem.field}")
            )
    else:
        found.notes.append(f"backend {name!r} ({kind}) is kept, but {why_not(kind)}")


def _give_schedulers(content: Mapping[str, Any], own: Mapping[str, str], found: Fit) -> None:
    """Put into the refinement of each pool the scheduler that matches its workers.

    The deployment's own pools follow the first one, also where the content says nothing of them.
    """
    schedulers = {entry["name"]: entry for entry in content.get("schedulers", ())}
    if not schedulers:
        return
    first = next(iter(schedulers))
    named = {each["name"] for each in found.refinements}
    found.refinements.extend(
        {"name": name, "type": WORKERS}
        for name, kind in own.items()
        if kind == WORKERS and name not in named
    )
    chosen = {entry["name"]: entry.get("scheduler") or first for entry in content["backends"]}
    for place, each in enumerate(found.refinements):
        name = chosen.get(each["name"], first)
        if kind_of(each) == WORKERS and name in schedulers:
            found.refinements[place] = {**each, "scheduler": schedulers[name]}


def _unknown_targets(
    entry: Mapping[str, Any], refinement: Refinement, stack: Sequence[Entry]
) -> list[Problem]:
    """Return a problem for each target that is no partition of its backend."""
    if not entry.get("targets") or entry["type"] == WORKERS:
        return []  # kinds of workers have names of their own
    name = entry["name"]
    known = options_of(name, entry["type"], refinement, stack, "hut").partitions
    return [
        Problem(
            f"is no partition of this backend; {did_you_mean(target, known)}",
            field=dotted(("backends", name, "targets", target)),
        )
        for target in entry["targets"]
        if target not in known
    ]


def why_not(kind: str) -> str:
    """Say why a deployment that has no backend of a kind of its own can run no tasks on others of it."""
    if kind not in KINDS:
        return f"tasks can't run on backends of type {kind} yet"
    return (
        f"this deployment has no backend of type {kind} to make it from: set hut:{kind} in the CDK "
        "context and deploy again, then apply the configuration again"
    )


def _check_default(content: Mapping[str, Any], own: Mapping[str, str], found: Fit) -> None:
    name = content["settings"].get("default_backend")
    known = [*own, *(each["name"] for each in found.refinements if each["name"] not in own)]
    if name is None or name in known:
        return
    there = any(entry["name"] == name for entry in content["backends"])
    hint = "tasks can't run on it yet" if there else did_you_mean(name, known)
    message = f"{name!r} is no backend that can run tasks; {hint}"
    found.problems.append(Problem(message, field="settings.default_backend"))


def _check_size(content: Mapping[str, Any], found: Fit) -> None:
    size = len(text_of(content).encode())
    if size > MOST_BYTES:
        message = f"the configuration has {size:,} bytes as JSON; {MOST_BYTES:,} are allowed"
        found.problems.append(Problem(message))
    if (count := len(content["backends"])) > _MOST_BACKENDS:
        message = f"there are {count} backends; {_MOST_BACKENDS} are allowed"
        found.problems.append(Problem(message, field="backends"))


def _bad_name(section: str, name: str) -> Problem:
    message = (
        "is no name that a control plane can use; use letters, digits, '.', '_' and '-', at most 100, "
        "beginning with a letter or a digit"
    )
    return Problem(message, field=f"{section}.{name[:100]}.name")
