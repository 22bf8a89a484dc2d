"""Job definitions, registered when they are first needed and then reused.

One stands for everything that jobs of an image have in common; what differs between jobs is
overridden in each. Its name holds a digest of its content, so whoever needs the same finds it, and
a change of the stack (a role, the log group) makes a new one instead of changing one in use. Two
processes may register the same at once: that makes two revisions of equal content.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hut.backends.batch.options import BatchOptions, Platform

__all__ = ["JobDefinitions", "definition_name", "definition_of"]


def definition_of(options: BatchOptions, image: str, platform: Platform) -> dict[str, Any]:
    """Return the parameters of RegisterJobDefinition, without the name.

    The resources are placeholders, valid on both platforms.
    """
    container: dict[str, Any] = {
        "image": image,
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "2048"},
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": options.log_group,
                "awslogs-stream-prefix": options.prefix,
                # The default of ECS, non-blocking, drops lines when many come at once. What a task
                # generates comes as lines.
                "mode": "blocking",
            },
        },
        # Reaps the processes that a command leaves behind, and hands signals on.
        "linuxParameters": {"initProcessEnabled": True},
    }
    if options.job_role_arn is not None:
        container["jobRoleArn"] = options.job_role_arn
    if options.execution_role_arn is not None:
        container["executionRoleArn"] = options.execution_role_arn
    if platform is Platform.FARGATE:
        container["networkConfiguration"] = {"assignPublicIp": "ENABLED"}
        container["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
        container["runtimePlatform"] = {
            "operatingSystemFamily": "LINUX",
            "cpuArchitecture": "X86_64",
        }
    return {
        "type": "container",
        "platformCapabilities": [platform.value],
        "containerProperties": container,
        # Attempts are Hut's: it counts and delays them, and tells the task its number.
        "retryStrategy": {"attempts": 1},
        "propagateTags": True,
        "tags": {"hut:prefix": options.prefix},
    }


def definition_name(prefix: str, definition: dict[str, Any]) -> str:
    """Return the name of a definition: the same for the same content."""
    content = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return f"{prefix}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


class JobDefinitions:
    """The definitions of one backend, as far as this process has needed them.

    Parameters
    ----------
    client
        Of boto3, for Batch.
    """

    def __init__(self, client: Any, options: BatchOptions) -> None:
        self._client = client
        self._options = options
        self._known: dict[tuple[str, Platform], str] = {}

    def arn(self, image: str, platform: Platform) -> str:
        """Return the ARN of the definition for an image, with its revision; register it if need be."""
        key = image, platform
        if key not in self._known:
            definition = definition_of(self._options, image, platform)
            name = definition_name(self._options.prefix, definition)
            self._known[key] = self._find(name) or self._register(name, definition)
        return self._known[key]

    def forget(self, arn: str) -> None:
        """Look a definition up again when it is next needed: someone has deregistered it."""
        self._known = {key: known for key, known in self._known.items() if known != arn}

    def _find(self, name: str) -> str | None:
        pages = self._client.get_paginator("describe_job_definitions").paginate(
            jobDefinitionName=name, status="ACTIVE"
        )
        found = [
            (definition["revision"], definition["jobDefinitionArn"])
            for page in pages
            for definition in page["jobDefinitions"]
        ]
        return str(max(found)[1]) if found else None

    def _register(self, name: str, definition: dict[str, Any]) -> str:
        answer = self._client.register_job_definition(jobDefinitionName=name, **definition)
        return str(answer["jobDefinitionArn"])
