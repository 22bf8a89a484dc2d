"""Job definitions of people's own, as Batch describes them. Pure.

What Hut must know of one, and how one becomes a revision for another image.

A revision that Hut registers carries the tag `OF_TEMPLATE`. So a name without a revision means the
newest one that a person registered, and never what Hut made of it for another image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hut.model.job_settings import DEFAULT_LOG_GROUP, Platform

__all__ = [
    "AWSLOGS",
    "OF_TEMPLATE",
    "Template",
    "UnusableDefinition",
    "equal_revision",
    "newest",
    "revision_of",
]

AWSLOGS = "awslogs"
"""The log driver whose output is in CloudWatch Logs."""

OF_TEMPLATE = "hut:template"
"""Tag of the revisions Hut registers; its value is the revision they were made of."""

_COPIED = (
    "type",
    "parameters",
    "schedulingPriority",
    "containerProperties",
    "retryStrategy",
    "propagateTags",
    "timeout",
    "platformCapabilities",
    "consumableResourceProperties",
)
_DEPRECATED = ("vcpus", "memory")
"""Described as 0 where `resourceRequirements` say it; then they can't be registered."""


class UnusableDefinition(ValueError):  # noqa: N818 - named after what it says
    """A job definition that no job can be submitted against; the message says why."""


@dataclass(frozen=True, slots=True)
class Template:
    """A job definition of somebody's own.

    Attributes
    ----------
    reference : str
        As it was configured.
    described : mapping
        The whole of it, as DescribeJobDefinitions answers.
    """

    reference: str
    described: Mapping[str, Any]

    @property
    def arn(self) -> str:
        """Its ARN, with the revision."""
        return str(self.described["jobDefinitionArn"])

    @property
    def image(self) -> str:
        """The image it names."""
        return str(self._container["image"])

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """What it is for; Batch takes it for EC2 if it does not say."""
        return tuple(map(Platform, self.described.get("platformCapabilities") or ["EC2"]))

    @property
    def secrets(self) -> frozenset[str]:
        """Variables it fills from secrets."""
        return frozenset(secret["name"] for secret in self._container.get("secrets") or ())

    @property
    def log_driver(self) -> str:
        """What takes its output; ``awslogs`` if it does not say, as on Batch's own hosts."""
        return str(self._logging.get("logDriver") or AWSLOGS)

    @property
    def log_group(self) -> str:
        """Where its output goes, if it goes to CloudWatch Logs."""
        options = self._logging.get("options") or {}
        return str(options.get("awslogs-group") or DEFAULT_LOG_GROUP)

    @property
    def _container(self) -> Mapping[str, Any]:
        container: Mapping[str, Any] = self.described["containerProperties"]
        return container

    @property
    def _logging(self) -> Mapping[str, Any]:
        return self._container.get("logConfiguration") or {}


def newest(reference: str, described: Iterable[Mapping[str, Any]]) -> Template:
    """Return the definition that a reference means.

    Parameters
    ----------
    described
        What Batch says of the revisions it may mean.

    Raises
    ------
    UnusableDefinition
        If none of them is there and active, or jobs can't be made with it.
    """
    found = [
        one
        for one in described
        if one.get("status", "ACTIVE") == "ACTIVE" and OF_TEMPLATE not in (one.get("tags") or {})
    ]
    if not found:
        raise UnusableDefinition(
            f"job definition {reference!r} does not exist or is not ACTIVE; "
            "register it, or name another one in job_definition"
        )
    template = Template(reference, max(found, key=lambda one: int(one["revision"])))
    if template.described.get("type") != "container" or not template.described.get(
        "containerProperties"
    ):
        raise UnusableDefinition(
            f"job definition {reference!r} is not one of a single container; "
            "Hut needs type container with containerProperties"
        )
    return template


def revision_of(template: Template, image: str) -> dict[str, Any]:
    """Return the parameters of RegisterJobDefinition that put another image into a definition.

    All else stays: roles, logging, retries, tags, mounts, secrets, limits, platform. Tags of AWS's
    own (``aws:``) can't be given by anyone else.
    """
    described = template.described
    definition = {key: described[key] for key in _COPIED if described.get(key) is not None}
    container = {**definition["containerProperties"], "image": image}
    for key in _DEPRECATED:
        if not container.get(key):
            container.pop(key, None)
    tags = _tags(described)
    tags[OF_TEMPLATE] = template.arn.rpartition("/")[2]
    return {
        **definition,
        "jobDefinitionName": str(described["jobDefinitionName"]),
        "containerProperties": container,
        "tags": tags,
    }


def equal_revision(
    definition: Mapping[str, Any], described: Iterable[Mapping[str, Any]]
) -> str | None:
    """Return the ARN of the newest active revision that is what would be registered, if there is one.

    From which revision of the template it was made does not matter.
    """
    wanted = _content(definition)
    found = [
        (int(one["revision"]), str(one["jobDefinitionArn"]))
        for one in described
        if one.get("status", "ACTIVE") == "ACTIVE" and _content(one) == wanted
    ]
    return max(found)[1] if found else None


def _content(definition: Mapping[str, Any]) -> str:
    """Return what two definitions are compared by: without what is empty, lists in one order."""
    copied = {key: definition[key] for key in _COPIED if key in definition}
    tags = {key: text for key, text in _tags(definition).items() if key != OF_TEMPLATE}
    container = dict(copied.get("containerProperties") or {})
    for key in _DEPRECATED:
        if not container.get(key):
            container.pop(key, None)
    return json.dumps(_plain({**copied, "containerProperties": container, "tags": tags}))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {key: _plain(value[key]) for key in sorted(value)}
        return {key: one for key, one in inner.items() if one not in (None, {}, [], "")}
    if isinstance(value, list):
        plain = [_plain(one) for one in value]
        in_order = any(isinstance(one, str) for one in plain)  # a command: its order is its meaning
        return plain if in_order else sorted(plain, key=json.dumps)
    return value


def _tags(described: Mapping[str, Any]) -> dict[str, str]:
    tags = described.get("tags") or {}
    return {key: text for key, text in tags.items() if not key.startswith("aws:")}
