"""What a person may choose about the EC2 backend: ``hut:ec2`` in the CDK context.

Its fields are those of an ``ec2`` entry of ``HUT_BACKENDS``, by the same rules
(`hut.backends.ec2.options`), but for what is always the stack's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hut.backends.ec2.options import read_options
from hut.model.problems import InvalidInput, did_you_mean
from infra import values

__all__ = [
    "DEFAULT_TYPES",
    "FIELDS",
    "RESERVED",
    "Ec2Given",
    "network_faults",
    "read_ec2",
    "value_faults",
]

Ec2Given = Mapping[str, object] | None
"""What is chosen; None: there is to be no such backend."""

DEFAULT_TYPES: Mapping[str, list[str]] = MappingProxyType(
    {
        "default": ["c5.xlarge", "c5a.xlarge", "c6i.xlarge", "m5.xlarge"],
        "gpu": ["g4dn.xlarge", "g5.xlarge"],
    }
)
"""Types of four vCPUs by partition: several, so that one of them is to be had."""

RESERVED = ("aws", "amazon", "amzn")
"""What names of documents of Systems Manager may not begin with (CreateDocument, API reference)."""

FIELDS = (
    "ami",
    "default_image",
    "extra_tags",
    "idle_terminate_seconds",
    "instance_profile_arn",
    "instance_role_arn",
    "instance_types",
    "launch_template",
    "launch_timeout_seconds",
    "log_group",
    "max_concurrent",
    "max_instances",
    "name",
    "prices",
    "reuse",
    "root_device",
    "root_volume_gib",
    "security_group_ids",
    "spot",
    "startup_timeout_seconds",
    "subnet_ids",
    "tag_prefix",
)
# What stands for things that are made, where only the rest is looked at.
_MADE: Mapping[str, object] = MappingProxyType(
    {
        "name": "ec2",
        "type": "ec2",
        "machine": "arn:aws:states:eu-west-1:123456789012:stateMachine:made",
        "document": "made",
        "launch_template": "lt-00000000",
        "instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/made",
        "subnet_ids": ["subnet-00000000", "subnet-00000001"],
        "security_group_ids": ["sg-00000000"],
        "instance_types": dict(DEFAULT_TYPES),
        "log_group": "made",
    }
)
_ROLE = values.arn("iam", "role/")


def read_ec2(value: object) -> Ec2Given:
    """Return an object, or None for false: no EC2 backend; what is in it is `value_faults`'s."""
    if value in (False, "false"):
        return None
    try:
        return MappingProxyType(dict(values.mapping(value)))
    except ValueError as error:
        raise ValueError(f"{error}; or false, for no EC2 backend") from None


def value_faults(given: object) -> list[str]:
    """Return all that is wrong with what was chosen, each with the place it is at."""
    if not isinstance(given, Mapping):
        return []
    problems = [
        f"hut:ec2.{key} is not known; {did_you_mean(key, FIELDS)}"
        for key in given
        if key not in FIELDS
    ]
    known = {key: value for key, value in given.items() if key in FIELDS and value is not None}
    role, profile = known.pop("instance_role_arn", None), known.get("instance_profile_arn")
    try:
        read_options({**_MADE, **known}, place="hut:ec2")
    except InvalidInput as error:
        problems += [f"{problem.field}: {problem.message}" for problem in error.problems]
    if role is not None:
        try:
            _ROLE(role)
        except ValueError as error:
            problems.append(f"hut:ec2.instance_role_arn: {error}")
    if bool(role) != bool(profile):
        problems.append(
            "hut:ec2.instance_profile_arn and hut:ec2.instance_role_arn go together: the role in the "
            "profile is what the state machine may pass on"
        )
    if known.get("name") == "batch":
        problems.append("hut:ec2.name: the backend on AWS Batch is named so; choose another name")
    return problems


def network_faults(given: Ec2Given, *, makes: bool, vpc: str | None) -> list[str]:
    """Return what is wrong with where instances are to be.

    Parameters
    ----------
    makes
        Whether Hut makes the compute of jobs, and so has a network for them.
    vpc
        The network that is given for it.
    """
    named = [key for key in ("subnet_ids", "security_group_ids") if given and given.get(key)]
    if given and not makes and len(named) < 2:
        needed = "subnet_ids and security_group_ids beside hut:queues: no network is made there"
        return [f"hut:ec2 needs {needed}"]
    if len(named) == 1 and not vpc:
        both = "hut:ec2.subnet_ids and hut:ec2.security_group_ids go together"
        return [f"{both}, where Hut makes its own network: give both, or neither, or hut:vpc_id"]
    return []
