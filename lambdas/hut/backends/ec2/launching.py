"""From a claimed attempt to the input of its execution: which instances are tried, and in what order. Pure.

RunInstances is asked for one instance at a time: what is common to all tries (``common``) and what is
not (``launches``) are its parameters as the API reference of EC2 names them. The client token is the
state machine's: a try that is repeated without an answer launches nothing twice.

Every instance ends itself when it is shut down, and shuts itself down: its user data sets a timer before
anything else, in case nobody ever comes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hut.backends.ec2.options import LATEST, Ec2Options, Spot
from hut.backends.ec2.outcomes import log_stream
from hut.backends.ec2.payload import GRACE, PREPARATION, gpus_of, payload_key, payload_of
from hut.backends.ec2.types import has_gpus, processor_of
from hut.backends.hosts import IdleHost
from hut.backends.port import JobRequest, Unsatisfiable
from hut.backends.tags import cleaned, job_tags
from hut.model.quantities import format_seconds
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec

__all__ = [
    "ATTEMPT_TAG",
    "BACKEND_TAG",
    "DEPLOYMENT_TAG",
    "LARGEST_INPUT",
    "LONGEST_LIMIT",
    "PlannedLaunch",
    "input_of",
    "plan_launch",
    "types_of",
    "user_data",
]

LONGEST_LIMIT = 46 * 3600
"""Seconds: SSM ends a command after 48 hours (``executionTimeout``), and an instance needs some time."""

LARGEST_INPUT = 256 * 1024
"""Bytes of an execution's input ("Quotas" in the developer guide of Step Functions)."""

DEPLOYMENT_TAG = "hut"
"""Key of the tag with the deployment's prefix: what permissions and the sweep go by."""

ATTEMPT_TAG = "hut:attempt"
BACKEND_TAG = "hut:backend"
"""Whose an instance was launched for, whatever ``tag_prefix`` its backend has by now."""

_LONGEST_NAME = 80  # of an execution
_LONGEST_TOKEN = 48  # with the number of the try behind it, a client token is below 64 characters
_MOST_TAGS = 50  # of a resource
_AL2023 = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"
_POLL = 300  # seconds without an event after which the state machine looks by itself
_GIVEN_UP = 180  # seconds the state machine leaves SSM to end a command by itself
_SPARE = 600  # seconds a new instance may wait for its command after SSM knows it
_NOTES_KEPT = 7 * 86400
_ON_SPOT = {
    "MarketType": "spot",
    "SpotOptions": {
        "SpotInstanceType": "one-time",
        "InstanceInterruptionBehavior": "terminate",
    },
}


@dataclass(frozen=True, slots=True)
class PlannedLaunch:
    """An attempt that is ready for its execution.

    Attributes
    ----------
    key, payload : str, bytes
        What is to be stored in the bucket before.
    shape : str
        Of the instance: what runs on one runs on another of the same.
    values : mapping
        The input of the execution, without a host.
    """

    name: str
    key: str
    payload: bytes
    shape: str
    values: Mapping[str, Any]


def plan_launch(
    options: Ec2Options,
    request: JobRequest,
    bucket: str,
    now: float,
    *,
    given: tuple[str, bytes] | None = None,
) -> PlannedLaunch:
    """Return what starts an attempt.

    Parameters
    ----------
    bucket
        Where its payload will be.
    given
        Key and content of the payload, if it is not the attempt's own.

    Raises
    ------
    Unsatisfiable
        If no instance of this backend can run this attempt.
    """
    run, spec = request.run, request.claim.spec
    limit = spec.resources.time_limit
    if limit > LONGEST_LIMIT:
        raise Unsatisfiable(
            f"time_limit {format_seconds(limit)} is more than a command on an instance may take "
            f"({format_seconds(LONGEST_LIMIT)}); use AWS Batch for it, or cut it in parts"
        )
    if len(request.name) > _LONGEST_NAME:
        raise Unsatisfiable(
            f"its name {request.name} is longer than an execution may have ({_LONGEST_NAME})"
        )
    types = types_of(options, spec)
    common = _common(options, types)
    launches = _launches(options, types)
    shape = _shape(options, common, launches)
    # SSM counts from the start of the command; the task's own limit is the agent's to keep.
    timeout = math.ceil(limit) + PREPARATION + GRACE
    deadline = timeout + _GIVEN_UP
    longest = options.launch_timeout_seconds + options.startup_timeout_seconds + deadline
    key, payload = given or (payload_key(request), payload_of(options, request))
    values = {
        "name": request.name,
        "token": _token(request.name),
        "run": run.id,
        "task": spec.id,
        "attempt": request.claim.key.attempt,
        "backend": options.name,
        "log": log_stream(request.name),
        "startup_timeout": options.startup_timeout_seconds,
        "launch_timeout": options.launch_timeout_seconds,
        "time_limit": math.ceil(limit),
        "deadline": deadline,
        "poll": _POLL,
        "expires": int(now) + longest + _NOTES_KEPT,
        "common": {**common, "TagSpecifications": _tag_specifications(options, run, request)},
        "launches": launches,
        "parameters": {
            "Attempt": [request.name],
            "Payload": [f"s3://{bucket}/{key}"],
            "Region": [options.region],
            "ExecutionTimeout": [str(timeout)],
        },
        "idle": (
            {"seconds": options.idle_terminate_seconds, "shape": shape} if options.reuse else None
        ),
    }
    return PlannedLaunch(request.name, key, payload, shape, values)


def input_of(planned: PlannedLaunch, host: IdleHost | None) -> str:
    """Return the input of an execution, for an idle instance or for a new one."""
    taken = None
    if host is not None:
        taken = {"instance": host.instance, "type": host.type, "spot": host.spot}
    return json.dumps({**planned.values, "host": taken}, separators=(",", ":"))


def types_of(options: Ec2Options, spec: TaskSpec) -> tuple[str, ...]:
    """Return the instance types a task may have, in the order in which they are tried.

    Raises
    ------
    Unsatisfiable
        If the backend has no such partition, or none of its types has the GPUs that are asked for.
    """
    partition = spec.partition or options.default_partition
    types = options.instance_types.get(partition)
    known = ", ".join(options.partitions)
    if types is None and spec.partition is None:
        raise Unsatisfiable(
            f"backend {options.name!r} has no instance type for tasks without a partition; name one "
            f"of {known}"
        )
    if types is None:
        raise Unsatisfiable(
            f"backend {options.name!r} has no partition {partition!r}; known: {known}"
        )
    if not gpus_of(spec):
        return types
    with_gpus = tuple(name for name in types if has_gpus(name))
    if not with_gpus:
        raise Unsatisfiable(
            f"partition {partition!r} of backend {options.name!r} has no GPUs ({', '.join(types)}); "
            "use one with types such as g4dn.xlarge"
        )
    return with_gpus


def user_data(options: Ec2Options) -> str:
    """Return what an instance does first: it sets the timer that ends it if nobody comes.

    The agent sets it anew for every task, and may come before user data does: then its timer, which
    systemd keeps in that file, stays. ``shutdown`` counts in minutes.
    """
    seconds = options.startup_timeout_seconds + _SPARE + options.idle_terminate_seconds
    minutes = math.ceil(seconds / 60)
    return f"#!/bin/sh\n[ -e /run/systemd/shutdown/scheduled ] || shutdown -h +{minutes}\n"


def _common(options: Ec2Options, types: Sequence[str]) -> dict[str, Any]:
    """Return the parameters that all tries of an attempt have, but for its own tags."""
    image = options.ami
    if image == LATEST:
        image = f"{_AL2023}{processor_of(types[0])}"
    volume = {
        "VolumeSize": options.root_volume_gib,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
        "Encrypted": True,
    }
    common: dict[str, Any] = {
        "ImageId": image,
        # A deployment that changes it makes a new version, and leaves the default as it is.
        "LaunchTemplate": {"LaunchTemplateId": options.launch_template, "Version": "$Latest"},
        "IamInstanceProfile": {"Arn": options.instance_profile_arn},
        "UserData": base64.b64encode(user_data(options).encode()).decode(),
        "BlockDeviceMappings": [{"DeviceName": options.root_device, "Ebs": volume}],
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,  # a container is one hop away
        },
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MinCount": 1,
        "MaxCount": 1,
    }
    if options.security_group_ids:
        common["SecurityGroupIds"] = list(options.security_group_ids)
    return common


def _launches(options: Ec2Options, types: Sequence[str]) -> list[dict[str, Any]]:
    """Return the tries in their order: the first type everywhere, then the next; spot goes before."""
    places: list[dict[str, Any]] = [
        {"InstanceType": name, "SubnetId": subnet}
        for name in types
        for subnet in options.subnet_ids
    ]
    on_spot = [{**place, "InstanceMarketOptions": _ON_SPOT} for place in places]
    if options.spot is Spot.ONLY:
        return on_spot
    return [*on_spot, *places] if options.spot is Spot.PREFER else places


def _shape(
    options: Ec2Options, common: Mapping[str, Any], launches: Sequence[Mapping[str, Any]]
) -> str:
    """Return what tells instances apart of which only one kind can run a task."""
    extra = dict(sorted(options.extra_tags.items()))
    told = [common, launches, options.document, options.tag_prefix, extra]
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tag_specifications(
    options: Ec2Options, run: RunRecord, request: JobRequest
) -> list[dict[str, Any]]:
    spec = request.claim.spec
    tags = [
        {"Key": key, "Value": text}
        for key, text in list(_tags(options, run, spec, request.name).items())[:_MOST_TAGS]
    ]
    return [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]


def _tags(options: Ec2Options, run: RunRecord, spec: TaskSpec, name: str) -> dict[str, str]:
    """Return tags, the most important ones first; what EC2 does not take in them becomes ``_``."""
    own = {DEPLOYMENT_TAG: options.prefix, ATTEMPT_TAG: name, BACKEND_TAG: options.name}
    of_people = {
        "Name": name,
        f"{options.tag_prefix}:backend": options.name,
        f"{options.tag_prefix}:run": run.id,
        f"{options.tag_prefix}:task": spec.id,
        f"{options.tag_prefix}:attempt": name,
        **options.extra_tags,
        **job_tags(run, spec),
    }
    return {**cleaned(own), **cleaned({**of_people, **own})}


def _token(name: str) -> str:
    """Return the beginning of client tokens: the name, or what stands for one that is too long."""
    if len(name) <= _LONGEST_TOKEN:
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:_LONGEST_TOKEN]
