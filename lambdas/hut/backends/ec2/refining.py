"""What an applied configuration may choose of the stack's EC2 backend. Pure.

All that needs no permission of its own: types, image, subnets, security groups, times, tags, caps. The
instance profile is the stack's, because the state machine may pass on only the role in that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hut.backends.ec2.options import read_options
from hut.backends.entries import faults_of
from hut.model.problems import Problem

__all__ = ["FROZEN", "LIVE", "read_options", "refine"]

LIVE = ("max_instances", "max_concurrent", "prices")
"""What follows the configuration, for all runs at once."""

FROZEN = (
    "ami",
    "subnet_ids",
    "security_group_ids",
    "instance_types",
    "default_image",
    "idle_terminate_seconds",
    "startup_timeout_seconds",
    "launch_timeout_seconds",
    "spot",
    "reuse",
    "root_volume_gib",
    "root_device",
    "tag_prefix",
    "extra_tags",
)
"""What a run's instances are made of, as it was when the run was submitted."""


def refine(
    entry: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem], list[str]]:
    """Return the refinement an entry of ``backends`` stands for, its problems, and notes on it.

    Parameters
    ----------
    entry
        As `hut.model.applied` keeps it, of type ``ec2``.
    base
        The entry of ``HUT_BACKENDS`` that it refines.
    """
    found: dict[str, Any] = {"name": entry["name"], "type": "ec2"}
    found |= {name: entry[name] for name in (*FROZEN, *LIVE) if entry.get(name) is not None}
    problems: list[Problem] = []
    notes: list[str] = []
    place = f"backend {entry['name']!r}"
    subnet = entry.get("subnet_id")
    if subnet is not None and entry.get("subnet_ids") is not None:
        problems.append(Problem("use one of subnet_id and subnet_ids", field="subnet_id"))
    elif subnet is not None:
        found["subnet_ids"] = [subnet]
    profile = base.get("instance_profile_arn")
    if entry.get("instance_profile_arn") not in (None, profile):
        message = (
            f"the state machine may pass on only the role of {profile}; to use another profile, set "
            "instance_profile_arn under hut:ec2 in the CDK context and deploy again"
        )
        problems.append(Problem(message, field="instance_profile_arn"))
    aws = entry.get("aws") or {}
    region = _region(base)
    if region and aws.get("region") not in (None, region):
        message = f"{aws['region']!r}: this control plane is in {region} and launches instances only there"
        problems.append(Problem(message, field="aws.region"))
    if aws.get("profile") is not None:
        notes.append(f"{place}: aws.profile is left out: functions have a role of their own")
    if entry.get("ssh_user") is not None:
        notes.append(
            f"{place}: ssh_user is left out: commands are sent through SSM and run as root, nobody "
            "logs in"
        )
    if entry.get("log_group") not in (None, base.get("log_group")):
        notes.append(f"{place}: log_group is left out: logs go to {base.get('log_group')}")
    if not problems:
        problems += faults_of(read_options, {**base, **found})
    return found, problems, notes


def _region(base: Mapping[str, Any]) -> str | None:
    parts = str(base.get("machine", "")).split(":")
    return parts[3] if len(parts) > 3 and parts[0] == "arn" else None
