"""Where an attempt on EC2 stands, for people who ask why; and what of tasks is passed over. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hut.backends.ec2.launching import types_of
from hut.backends.ec2.options import LATEST, Ec2Options
from hut.backends.ec2.payload import gpus_of
from hut.backends.ec2.types import cpus_of
from hut.backends.hosts import JobNote, Phase
from hut.backends.port import Unsatisfiable
from hut.model.problems import Problem
from hut.model.quantities import format_span
from hut.model.waiting import Waiting
from hut.model.workflow import TaskSpec

__all__ = ["SERVICE", "instance_of", "remarks_on", "waiting_for"]

SERVICE = "EC2"


def waiting_for(options: Ec2Options, note: JobNote | None, now: float, *, known: bool) -> Waiting:
    """Return what there is to say of an attempt that has a job.

    Parameters
    ----------
    note
        What its state machine has noted; None if nothing yet.
    known
        Whether it has an execution.
    """
    if note is None:
        return Waiting(SERVICE, "starting" if known else "", known=known)
    if note.phase is Phase.RUNNING:
        meaning = f"has run {_span(note.sent_at, now)}on {instance_of(note)}"
        return Waiting(SERVICE, note.phase, meaning)
    if note.phase is Phase.BOOTING:
        meaning = (
            f"has waited {{span}}, the last {_span(note.since, now)}for {instance_of(note)} to come "
            "online in SSM"
        )
        advice = (
            f"look at the system log of {note.instance} if this takes minutes: its image needs the "
            "SSM agent, its subnet a way to SSM, its profile AmazonSSMManagedInstanceCore; after "
            f"{format_span(options.startup_timeout_seconds)} it is given up"
        )
        return Waiting(SERVICE, note.phase, meaning, advice=(advice,))
    meaning = "has waited {span} for an instance"
    if not note.capacity_errors:
        return Waiting(SERVICE, note.phase, meaning, said=note.said)
    meaning += f"; EC2 had none in {note.capacity_errors:,} tries"
    if note.launching_since is not None:
        meaning += f" in {_span(note.launching_since, now).rstrip()}"
    advice = (
        "give its partition more instance types, or the backend more subnets; look at the account's "
        f"quotas for vCPUs; it is tried for {format_span(options.launch_timeout_seconds)} in all"
    )
    return Waiting(SERVICE, note.phase, meaning, said=note.said, advice=(advice,))


def remarks_on(options: Ec2Options, tasks: Sequence[TaskSpec]) -> list[Problem]:
    """Return a warning for what tasks ask for and their instances may not have; alike ones share it."""
    found: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        with suppress(Unsatisfiable):  # that is told when it is submitted
            for kind, message in _remarks(options, task):
                found.setdefault((kind, message), []).append(task.id)
    return [
        Problem(message + _others(len(ids) - 1), task=ids[0], field=field)
        for (field, message), ids in found.items()
    ]


def _remarks(options: Ec2Options, task: TaskSpec) -> list[tuple[str, str]]:
    remarks: list[tuple[str, str]] = []
    types = types_of(options, task)
    small = [name for name in types if (cpus_of(name) or task.resources.cpus) < task.resources.cpus]
    if small:
        message = (
            f"cpus: {task.resources.cpus} is more than {small[0]} has ({cpus_of(small[0])}), which "
            f"backend {options.name!r} may launch for it"
        )
        remarks.append(("cpus", message))
    if gpus_of(task) and options.ami == LATEST:
        message = (
            f"the image {LATEST} of backend {options.name!r} has no drivers for GPUs; set its ami to "
            "one that has, such as AWS's Deep Learning Base AMI"
        )
        remarks.append(("gres", message))
    return remarks


def instance_of(note: JobNote) -> str:
    """Return how people are told of the instance of an attempt."""
    kind = ", ".join(filter(None, (note.type, "spot" if note.spot else "", note.subnet)))
    return f"instance {note.instance}" + (f" ({kind})" if kind else "")


def _span(at: float | None, now: float) -> str:
    return "" if at is None else f"{format_span(max(now - at, 0.0))} "


def _others(number: int) -> str:
    if not number:
        return ""
    return f" (also in {number:,} other {'task' if number == 1 else 'tasks'})"
