"""How applied configurations refine the stack's Batch backend, and add others beside it. Pure.

The stack says what there is: queues, roles, a log group (``HUT_BACKENDS``). What is applied may choose
among that and set what needs no permission: the cap, the image and the queue of tasks that name none,
and what jobs have in common (secrets, limits, volumes and the like). A *refinement* is that choice as plain data; functions put it upon what the stack says, so a later
deployment with other queues or roles holds for all versions. Nothing here needs pydantic: functions
that are called all the time import this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hut.backends.batch.options import BatchOptions, read_options
from hut.model.job_settings import DefinitionMode
from hut.model.job_settings_reading import JOB_FIELDS
from hut.model.problems import InvalidInput, Problem

__all__ = ["Backend", "Refinement", "backends_of", "frozen", "options_of", "refine"]

Refinement = Mapping[str, Any]
"""``name``; maybe ``default_image``, ``default_queue``, ``max_concurrent`` and the fields of jobs;
``retired`` for a backend that is not configured any more: runs that were submitted before still use
it."""

_LIVE = ("max_concurrent", "prices")
_FROZEN = ("default_image", "default_queue", *(name for name in JOB_FIELDS if name not in _LIVE))


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend of a control plane as its configuration has it now.

    Attributes
    ----------
    options : BatchOptions
        Where `problem` is set, those of the stack, under this name: enough to see to its jobs.
    origin : str
        ``stack`` or ``configuration``.
    refined : bool
        The configuration has an entry for it.
    retired : bool
        It is not configured any more, so no new run can use it.
    problem : str
        Why it can't run tasks now; empty if it can.
    """

    options: BatchOptions
    origin: str
    refined: bool = False
    retired: bool = False
    problem: str = ""


def refine(
    entry: Mapping[str, Any], stack: Sequence[Mapping[str, Any]]
) -> tuple[Refinement, list[Problem], list[str]]:
    """Return the refinement an entry of ``backends`` stands for, its problems, and notes on it.

    Parameters
    ----------
    entry
        As `hut.model.applied` keeps it, of type ``batch``.
    stack
        The entries of ``HUT_BACKENDS``.
    """
    base = _base(entry["name"], stack)
    found: dict[str, Any] = {"name": entry["name"]}
    problems: list[Problem] = []
    notes: list[str] = []
    place = f"backend {entry['name']!r}"
    for name in (*_FROZEN, *_LIVE):
        if entry.get(name) is not None:
            found[name] = entry[name]
    aws = entry.get("aws") or {}
    queue = aws.get("job_queue")
    if queue is not None:
        partition = _partition(str(queue), base["queues"])
        if partition is None:
            known = ", ".join(sorted(base["queues"]))
            message = (
                f"{queue!r} is none of this deployment's queues: {known}; to submit to another one, "
                "add it to hut:queues in the CDK context and deploy again"
            )
            problems.append(Problem(message, field="aws.job_queue"))
        else:
            found["default_queue"] = partition
    region = _region(base["queues"])
    if region and aws.get("region") not in (None, region):
        message = f"{aws['region']!r}: this control plane is in {region} and submits only there"
        problems.append(Problem(message, field="aws.region"))
    for role in ("job_role_arn", "execution_role_arn"):
        if entry.get(role) not in (None, base.get(role)):
            message = (
                f"functions may pass on only {base.get(role)}; to use another role, set hut:{role} in "
                "the CDK context and deploy again"
            )
            problems.append(Problem(message, field=role))
    secrets, granted = entry.get("secrets"), base.get("secrets") or {}
    if isinstance(secrets, dict) and not set(secrets.values()) <= set(granted.values()):
        notes.append(
            f"{place}: the execution role must be allowed to read its secrets; the one that Hut makes "
            "may read those of hut:secrets only"
        )
    if aws.get("profile") is not None:
        notes.append(f"{place}: aws.profile is left out: functions have a role of their own")
    if entry.get("log_group") not in (None, base["log_group"]):
        notes.append(f"{place}: log_group is left out: logs go to {base['log_group']}")
    if entry.get("job_definition") not in (None, base.get("job_definition")):
        message = (
            "functions may submit with this deployment's own definitions only; to use one that exists, "
            "set hut:job_definition in the CDK context and deploy again"
        )
        problems.append(Problem(message, field="job_definition"))
    revisions = DefinitionMode.REVISIONS.value
    wants = entry.get("job_definition") is not None and entry.get("job_definition_mode")
    if wants == revisions and base.get("job_definition_mode") != revisions:
        message = (
            "functions may register no revisions of it; set hut:job_definition_mode to revisions in "
            "the CDK context and deploy again"
        )
        problems.append(Problem(message, field="job_definition_mode"))
    if not problems:
        problems += _faults({**base, **found})
    return found, problems, notes


def frozen(refinements: Sequence[Refinement]) -> dict[str, dict[str, Any]]:
    """Return what runs keep of refinements, by name: all but caps and prices, which hold for all at once."""
    return {
        each["name"]: {key: each[key] for key in _FROZEN if key in each}
        for each in refinements
        if not each.get("retired")
    }


def options_of(
    name: str, refinement: Refinement, stack: Sequence[Mapping[str, Any]], prefix: str
) -> BatchOptions:
    """Return the options of a backend: what the stack says, with a refinement upon it.

    Raises
    ------
    InvalidInput
        If the refinement chooses what the stack does not have (any more).
    """
    base = _base(name, stack)
    chosen = {key: refinement[key] for key in (*_FROZEN, *_LIVE) if key in refinement}
    return read_options({**base, **chosen, "name": name}, prefix=prefix, place=f"backend {name!r}")


def backends_of(
    refinements: Sequence[Refinement], stack: Sequence[Mapping[str, Any]], prefix: str
) -> dict[str, Backend]:
    """Return all backends by name: the stack's own first, then those the configuration adds."""
    by_name = {each["name"]: each for each in refinements}
    own = [str(entry["name"]) for entry in stack]
    found: dict[str, Backend] = {}
    for name in (*own, *(name for name in by_name if name not in own)):
        refinement = by_name.get(name, {})
        retired = bool(refinement.get("retired"))
        is_own = name in own
        chosen: Refinement = {} if is_own and retired else refinement
        problem = ""
        try:
            options = options_of(name, chosen, stack, prefix)
        except InvalidInput as error:
            problem = str(error)
            options = options_of(name, {}, stack, prefix)
        found[name] = Backend(
            options,
            "stack" if is_own else "configuration",
            refined=bool(refinement) and not retired,
            retired=retired and not is_own,
            problem=problem,
        )
    return found


def _faults(entry: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with an entry for functions, with places inside of it."""
    try:
        read_options(entry)
    except InvalidInput as error:
        head = "backend."
        return [
            Problem(each.message, field=(each.field or "").removeprefix(head))
            for each in error.problems
        ]
    return []


def _base(name: str, stack: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the stack's entry that a backend refines: its own, or the first."""
    return next((entry for entry in stack if entry["name"] == name), stack[0])


def _partition(queue: str, queues: Mapping[str, str]) -> str | None:
    """Return the partition whose queue this is: by the partition's name, the queue's name or ARN."""
    if queue in queues:
        return queue
    for partition, arn in queues.items():
        if queue in (arn, arn.rpartition("/")[2]):
            return partition
    return None


def _region(queues: Mapping[str, str]) -> str | None:
    for arn in queues.values():
        parts = arn.split(":")
        if len(parts) > 3 and parts[0] == "arn":
            return parts[3]
    return None
