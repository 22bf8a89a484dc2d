"""Job definitions: Hut's own, or one that somebody else registered.

There are three ways to one:

- none is configured: Hut registers one for each image. Its name holds a digest of its content, so
  whoever needs the same finds it, and a change of the stack (a role, the log group) makes a new one
  instead of changing one in use.
- ``locked``: the one that is configured, as it is; nothing is registered
- ``revisions``: the one that is configured is a template; an image of its own gets a revision of it,
  which is found again by its content

A definition stands for everything that jobs of an image have in common; what differs between jobs is
overridden in each. Two processes may register the same at once: that makes two revisions of equal
content, either of which will do.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hut.backends.batch.options import BatchOptions, Platform
from hut.backends.batch.templates import (
    OF_TEMPLATE,
    Template,
    equal_revision,
    newest,
    revision_of,
)
from hut.model.job_settings import Architecture, DefinitionMode, EfsVolume, HostVolume

__all__ = ["JobDefinitions", "Kind", "definition_name", "definition_of"]

_TEMPLATE_SECONDS = 300.0


class Kind(NamedTuple):
    """What tells jobs of one backend apart that need definitions of their own."""

    image: str
    platform: Platform
    architecture: Architecture = Architecture.X86_64


def definition_of(options: BatchOptions, kind: Kind) -> dict[str, Any]:
    """Return the parameters of RegisterJobDefinition, without the name.

    The resources are placeholders, valid on both platforms.
    """
    jobs, platform = options.jobs, kind.platform
    container: dict[str, Any] = {
        "image": kind.image,
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
    if jobs.secrets:
        container["secrets"] = [
            {"name": name, "valueFrom": arn} for name, arn in sorted(jobs.secrets.items())
        ]
    volumes = [
        volume
        for volume in jobs.volumes
        if platform is Platform.EC2 or isinstance(volume, EfsVolume)
    ]
    if volumes:
        names = [f"hut-{number}" for number in range(1, len(volumes) + 1)]
        container["volumes"] = [
            {"name": name, **_volume(volume)} for name, volume in zip(names, volumes, strict=True)
        ]
        container["mountPoints"] = [
            {"sourceVolume": name, "containerPath": volume.mount, "readOnly": volume.read_only}
            for name, volume in zip(names, volumes, strict=True)
        ]
    if platform is Platform.FARGATE:
        container["networkConfiguration"] = {"assignPublicIp": "ENABLED"}
        container["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
        container["runtimePlatform"] = {
            "operatingSystemFamily": "LINUX",
            "cpuArchitecture": kind.architecture.value,
        }
        if jobs.ephemeral_storage is not None:
            container["ephemeralStorage"] = {"sizeInGiB": jobs.ephemeral_storage}
    else:
        if jobs.shared_memory is not None:
            container["linuxParameters"]["sharedMemorySize"] = jobs.shared_memory
        if jobs.ulimits:
            container["ulimits"] = [
                {"name": limit.name, "softLimit": limit.soft, "hardLimit": limit.hard}
                for limit in jobs.ulimits
            ]
    return {
        "type": "container",
        "platformCapabilities": [platform.value],
        "containerProperties": container,
        # Attempts are Hut's by default: it counts and delays them, and tells the task its number.
        "retryStrategy": {"attempts": jobs.retry_attempts or 1},
        "propagateTags": True,
        "tags": {"hut:prefix": options.prefix},
    }


def _volume(volume: EfsVolume | HostVolume) -> dict[str, Any]:
    """Return a volume's source; what travels to EFS is encrypted, as access points demand."""
    if isinstance(volume, HostVolume):
        return {"host": {"sourcePath": volume.source}}
    source: dict[str, Any] = {
        "fileSystemId": volume.file_system,
        "rootDirectory": volume.path,
        "transitEncryption": "ENABLED",
    }
    if volume.access_point is not None or volume.iam:
        source["authorizationConfig"] = {"iam": "ENABLED" if volume.iam else "DISABLED"}
    if volume.access_point is not None:
        source["authorizationConfig"]["accessPointId"] = volume.access_point
    return {"efsVolumeConfiguration": source}


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
    clock
        Seconds, always growing; replaced in tests.
    """

    def __init__(
        self, client: Any, options: BatchOptions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._known: dict[Kind, str] = {}
        self._template: tuple[float, Template] | None = None

    def template(self) -> Template | None:
        """Return the definition that is configured, if one is.

        It is described again after some minutes: a name without a revision may mean a newer one.

        Raises
        ------
        UnusableDefinition
            If it is gone, inactive or of a kind Hut can't use.
        """
        reference = self._options.jobs.definition
        if reference is None:
            return None
        if self._template is None or self._clock() - self._template[0] > _TEMPLATE_SECONDS:
            self._template = self._clock(), newest(reference, self._described(reference))
            if self._options.jobs.mode is DefinitionMode.REVISIONS:
                self._known = {}
        return self._template[1]

    def fitted(self) -> BatchOptions:
        """Return the backend's options with the definition that is configured, if one is.

        Raises
        ------
        UnusableDefinition
            As for `template`.
        """
        template = self.template()
        return self._options if template is None else replace(self._options, template=template)

    def arn(self, kind: Kind) -> str:
        """Return what jobs of a kind are submitted against; register it if need be.

        Raises
        ------
        UnusableDefinition
            As for `template`.
        """
        template = self.template()
        if template is not None and self._options.jobs.locked:
            return template.reference
        if template is not None and kind.image == template.image:
            return template.arn
        if kind not in self._known:
            self._known[kind] = (
                self._own(kind) if template is None else self._revision(template, kind.image)
            )
        return self._known[kind]

    def forget(self, arn: str) -> None:
        """Look a definition up again when it is next needed: someone has deregistered it."""
        self._template = None
        self._known = {kind: known for kind, known in self._known.items() if known != arn}

    def _own(self, kind: Kind) -> str:
        definition = definition_of(self._options, kind)
        name = definition_name(self._options.prefix, definition)
        found = [(one["revision"], one["jobDefinitionArn"]) for one in self._active(name)]
        if found:
            return str(max(found)[1])
        return self._register({"jobDefinitionName": name, **definition})

    def _revision(self, template: Template, image: str) -> str:
        """Return the revision for an image: the equal one that is there, or a new one."""
        definition = revision_of(template, image)
        known = equal_revision(definition, self._active(definition["jobDefinitionName"]))
        return known or self._register(definition)

    def _described(self, reference: str) -> Sequence[Mapping[str, Any]]:
        name, _, revision = reference.rpartition("/")[2].partition(":")
        if not revision:
            return self._active(name)
        answer = self._client.describe_job_definitions(jobDefinitions=[reference])
        # Whoever names a revision means this one, whoever registered it.
        return [{**one, "tags": _without(OF_TEMPLATE, one)} for one in answer["jobDefinitions"]]

    def _active(self, name: str) -> list[Mapping[str, Any]]:
        pages = self._client.get_paginator("describe_job_definitions").paginate(
            jobDefinitionName=name, status="ACTIVE"
        )
        return [definition for page in pages for definition in page["jobDefinitions"]]

    def _register(self, definition: Mapping[str, Any]) -> str:
        answer = self._client.register_job_definition(**definition)
        return str(answer["jobDefinitionArn"])


def _without(tag: str, described: Mapping[str, Any]) -> dict[str, str]:
    return {key: text for key, text in (described.get("tags") or {}).items() if key != tag}
