"""Whether a deployment can follow a configuration, and what follows from it for its backends. Pure.

The form of the configuration was checked when it was read; here it is held against what the stack
has: queues, roles, a region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hut.backends.batch.refining import Refinement, refine
from hut.model.applied import is_entry_name, secrets_in, text_of
from hut.model.problems import Problem, did_you_mean

__all__ = ["MOST_BYTES", "Fit", "fit"]

MOST_BYTES = 256 * 1024
"""Of a content at most, as JSON: an item of the table holds it, and runs keep its environments."""

_MOST_BACKENDS = 50
_MOST_RETIRED = 50
_CAN_RUN = "batch"


@dataclass(frozen=True, slots=True)
class Fit:
    """What holding a content against the stack gave.

    Attributes
    ----------
    refinements : list
        For functions: of the Batch backends, then those that only earlier runs use.
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
    stack: Sequence[Mapping[str, Any]],
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
    own = [str(entry["name"]) for entry in stack]
    for entry in content["backends"]:
        _fit_backend(entry, own, stack, found)
    for entry in content["environments"]:
        if not is_entry_name(entry["name"]):
            found.problems.append(_bad_name("environments", entry["name"]))
    found.notes.extend(secrets_in(content))
    _check_default(content, own, found)
    _check_size(content, found)
    names = {*own, *(each["name"] for each in found.refinements)}
    retired = [{**each, "retired": True} for each in earlier if each["name"] not in names]
    found.refinements.extend(retired[:_MOST_RETIRED])
    return found


def _fit_backend(
    entry: Mapping[str, Any], own: Sequence[str], stack: Sequence[Mapping[str, Any]], found: Fit
) -> None:
    name = entry["name"]
    if not is_entry_name(name):
        found.problems.append(_bad_name("backends", name))
    if entry["type"] == _CAN_RUN:
        refinement, problems, notes = refine(entry, stack)
        found.refinements.append(refinement)
        found.notes.extend(notes)
        for problem in problems:
            found.problems.append(
                Problem(problem.message, field=f"backends.{name}.{problem.field}")
            )
    elif name in own:
        message = f"{name!r} is this deployment's own backend, of type batch; use another name"
        found.problems.append(Problem(message, field=f"backends.{name}.type"))
    else:
        found.notes.append(
            f"backend {name!r} ({entry['type']}) is kept, but the control plane can't run tasks on it "
            "yet"
        )


def _check_default(content: Mapping[str, Any], own: Sequence[str], found: Fit) -> None:
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
