"""What an applied configuration may choose of the stack's Batch backend. Pure.

It may choose among the queues there are and set what needs no permission: the cap, the image and the
queue of tasks that name none, and what jobs have in common (secrets, limits, volumes and the like).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hut.backends.batch.options import read_options
from hut.backends.entries import faults_of
from hut.model.job_settings import DefinitionMode
from hut.model.job_settings_reading import JOB_FIELDS
from hut.model.problems import Problem

__all__ = ["FROZEN", "LIVE", "read_options", "refine"]

LIVE = ("max_concurrent", "prices")
FROZEN = ("default_image", "default_queue", *(name for name in JOB_FIELDS if name not in LIVE))


def refine(
    entry: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem], list[str]]:
    """Return the refinement an entry of ``backends`` stands for, its problems, and notes on it.

    Parameters
    ----------
    entry
        As `hut.model.applied` keeps it, of type ``batch``.
    base
        The entry of ``HUT_BACKENDS`` that it refines.
    """
    found: dict[str, Any] = {"name": entry["name"]}
    problems: list[Problem] = []
    notes: list[str] = []
    place = f"backend {entry['name']!r}"
    for name in (*FROZEN, *LIVE):
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
        problems += faults_of(read_options, {**base, **found})
    return found, problems, notes


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
