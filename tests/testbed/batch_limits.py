"""Batch: what AWS refuses, with the words it uses where they are known."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
SHARE = re.compile(r"[A-Za-z0-9]{1,255}\*?")
_OVERRIDES = 8_192  # characters
_PAYLOAD = 30 * 1024
_DEFINITION = 24 * 1024
_TAGS = 50
_SHORTEST_LIMIT = 60  # seconds
# Memory in MiB that goes with a number of vCPUs on Fargate: least, most, step
# (AWS::Batch::JobDefinition ResourceRequirement).
_FARGATE = {
    "0.25": (512, 2048, 512),
    "0.5": (1024, 4096, 1024),
    "1": (2048, 8192, 1024),
    "2": (4096, 16384, 1024),
    "4": (8192, 30720, 1024),
    "8": (16384, 61440, 4096),
    "16": (32768, 122880, 8192),
}


class RefusedError(Exception):
    """A request AWS answers with ClientException."""


def check_name(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RefusedError(f"{kind} should match valid pattern: {name!r}")


def check_submission(body: Mapping[str, Any]) -> None:
    """Check the sizes of SubmitJob's request."""
    check_name("Job name", body.get("jobName"))
    overrides = json.dumps(body.get("containerOverrides") or {}, separators=(",", ":"))
    if len(overrides) > _OVERRIDES:
        raise RefusedError(f"Container Overrides length must be at most {_OVERRIDES}")
    size = len(json.dumps(body, separators=(",", ":")).encode())
    if size > _PAYLOAD:
        raise RefusedError(f"Request payload of {size} bytes is larger than {_PAYLOAD}")
    if len(body.get("tags") or {}) > _TAGS:
        raise RefusedError(f"A job may have at most {_TAGS} tags")
    size = (body.get("arrayProperties") or {}).get("size", 2)
    if not 2 <= size <= 10_000:
        raise RefusedError("Array size must be between 2 and 10000")
    check_attempts(body)


def check_definition(body: Mapping[str, Any]) -> None:
    """Check the size of RegisterJobDefinition's request, and what only one platform has."""
    size = len(json.dumps(body, separators=(",", ":")).encode())
    if size > _DEFINITION:
        raise RefusedError(f"Job definition of {size} bytes is larger than {_DEFINITION}")
    container = body["containerProperties"]
    check_variables(container)
    volumes = {each["name"]: each for each in container.get("volumes") or ()}
    for mount in container.get("mountPoints") or ():
        if mount["sourceVolume"] not in volumes:
            raise RefusedError(f"Unknown volume '{mount['sourceVolume']}'")
    for volume in volumes.values():
        efs = volume.get("efsVolumeConfiguration") or {}
        point = (efs.get("authorizationConfig") or {}).get("accessPointId")
        if point and efs.get("rootDirectory", "/") != "/":
            raise RefusedError("rootDirectory must be omitted or / with an access point")
        if point and efs.get("transitEncryption") != "ENABLED":
            raise RefusedError("transitEncryption must be ENABLED with an access point")
    if "FARGATE" in (body.get("platformCapabilities") or ()):
        if container.get("ulimits"):
            raise RefusedError("ulimits are not supported on Fargate")
        if "sharedMemorySize" in (container.get("linuxParameters") or {}):
            raise RefusedError("sharedMemorySize is not supported on Fargate")
        if any("host" in volume for volume in volumes.values()):
            raise RefusedError("host volumes are not supported on Fargate")
    elif container.get("ephemeralStorage") or container.get("runtimePlatform"):
        raise RefusedError("ephemeralStorage and runtimePlatform are for Fargate only")


def check_variables(container: Mapping[str, Any]) -> None:
    """Check that no variable of a container is a secret of it too."""
    secrets = {each["name"] for each in container.get("secrets") or ()}
    for each in container.get("environment") or ():
        if each["name"] in secrets:
            raise RefusedError(
                "The secret name must be unique and not shared with any new or existing "
                f"environment variables set on the container, such as '{each['name']}'."
            )


def check_share(body: Mapping[str, Any], queue: Mapping[str, Any]) -> None:
    """Check that a job names its share where the queue has a scheduling policy, and only there."""
    share, priority = body.get("shareIdentifier"), body.get("schedulingPriorityOverride")
    if not queue.get("schedulingPolicyArn"):
        if share is not None or priority is not None:
            raise RefusedError(
                "Job with shareIdentifier or schedulingPriority can only be submitted to job queue "
                "with fair share scheduling policy"
            )
        return
    if share is None:
        raise RefusedError(
            "Job submitted to job queue with fair share scheduling policy must have shareIdentifier"
        )
    if not SHARE.fullmatch(share):
        raise RefusedError(f"Share identifier should match valid pattern: {share!r}")
    if priority is not None and not 0 <= priority <= 9999:
        raise RefusedError("Scheduling priority must be between 0 and 9999")


def check_attempts(body: Mapping[str, Any]) -> None:
    """Check the time limit and the retry strategy of a job or of a job definition."""
    limit = (body.get("timeout") or {}).get("attemptDurationSeconds")
    if limit is not None and limit < _SHORTEST_LIMIT:
        raise RefusedError(f"attemptDurationSeconds must be at least {_SHORTEST_LIMIT}")
    if not 1 <= (body.get("retryStrategy") or {}).get("attempts", 1) <= 10:
        raise RefusedError("Retry strategy attempts must be between 1 and 10")


def check_resources(container: Mapping[str, Any], platforms: list[str]) -> None:
    """Check that a container asks for something its platform has."""
    wanted = {each["type"]: each["value"] for each in container.get("resourceRequirements") or []}
    for name in ("VCPU", "MEMORY"):
        if name not in wanted:
            raise RefusedError(
                f"Container properties should specify {name} in resourceRequirements"
            )
    if "FARGATE" not in platforms:
        if float(wanted["VCPU"]) < 1 or not float(wanted["VCPU"]).is_integer():
            raise RefusedError(f"VCPU must be a whole number on EC2, not {wanted['VCPU']}")
        if int(wanted["MEMORY"]) < 4:
            raise RefusedError(f"MEMORY must be at least 4 MiB, not {wanted['MEMORY']}")
        return
    if "GPU" in wanted:
        raise RefusedError("GPU is not supported on Fargate")
    if "executionRoleArn" not in container:
        raise RefusedError("Container properties should specify executionRoleArn on Fargate")
    pair = f"{wanted['VCPU']} vCPU, {wanted['MEMORY']} MiB"
    vcpus = f"{float(wanted['VCPU']):g}"
    if vcpus not in _FARGATE:
        raise RefusedError(f"Fargate resource requirements ({pair}) not valid.")
    least, most, step = _FARGATE[vcpus]
    memory = int(wanted["MEMORY"])
    if not (least <= memory <= most and (memory - least) % step == 0):
        raise RefusedError(f"Fargate resource requirements ({pair}) not valid.")
