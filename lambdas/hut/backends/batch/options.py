"""What a Batch backend is: the entry of ``HUT_BACKENDS`` that describes it.

The stack writes the entry, so a fault in it is the operator's; all of them are told, each with the
place it is at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hut.backends.batch.templates import Template
from hut.backends.entries import EntryReader, check_prefix
from hut.model.documents import dotted
from hut.model.job_settings import JobSettings, Platform
from hut.model.job_settings_reading import JOB_FIELDS, read_job_settings
from hut.model.problems import InvalidInput

__all__ = ["BatchOptions", "Platform", "ShareBy", "read_options"]

_KEYS = (
    "name",
    "type",
    "queues",
    "default_queue",
    "platforms",
    "default_image",
    "job_role_arn",
    "execution_role_arn",
    "log_group",
    "max_concurrent",
    "scheduling_policies",
    "share_by",
    *JOB_FIELDS,
)


class ShareBy(StrEnum):
    """Whose jobs take one share of a queue that has a scheduling policy."""

    OWNER = "owner"
    WORKFLOW = "workflow"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """A Batch backend.

    Attributes
    ----------
    name : str
        What workflows call it.
    queues : mapping of str to str
        ARN or name of the job queue for each value of a task's ``partition``.
    default_queue : str
        The partition of tasks that name none.
    platforms : mapping of str to Platform
        For each partition, what its queue's machines are. With a job definition of one's own it may
        be left out: the definition says it.
    default_image : str or None
        Image of tasks that name none; None only with a job definition, which has one.
    job_role_arn, execution_role_arn : str or None
        Role of the commands in a container, and of what starts the container. Fargate needs the
        second one.
    log_group : str
        Log group that containers write to.
    max_concurrent : int or None
        Most jobs at a time, over all runs. The control plane heeds it, not this package.
    scheduling_policies : frozenset of str
        Partitions whose queue has a fair-share scheduling policy: jobs name their share there.
    share_by : ShareBy
        Whose share that is.
    prefix : str
        Stands before the names of jobs, job definitions and log streams.
    jobs : JobSettings
        What all jobs have in common beside this.
    template : Template or None
        The job definition that `jobs` names, once Batch has described it.
    """

    name: str
    queues: Mapping[str, str]
    default_queue: str
    platforms: Mapping[str, Platform]
    default_image: str | None
    log_group: str
    job_role_arn: str | None = None
    execution_role_arn: str | None = None
    max_concurrent: int | None = None
    scheduling_policies: frozenset[str] = frozenset()
    share_by: ShareBy = ShareBy.OWNER
    prefix: str = "hut"
    jobs: JobSettings = field(default_factory=JobSettings)
    template: Template | None = None

    @property
    def partitions(self) -> tuple[str, ...]:
        """What a task may name as its ``partition``."""
        return tuple(sorted(self.queues))

    @property
    def default_partition(self) -> str:
        """The partition of tasks that name none."""
        return self.default_queue

    @property
    def cap(self) -> int | None:
        """Most jobs at a time, over all runs."""
        return self.max_concurrent


def read_options(
    entry: Mapping[str, Any], *, prefix: str = "hut", place: str = "backend"
) -> BatchOptions:
    """Return the options one entry describes.

    Parameters
    ----------
    prefix
        Letters and digits, small: it is a part of names that are taken apart at dashes.
    place
        Where the entry stands, for messages.

    Raises
    ------
    InvalidInput
        With all that is missing, unknown or of the wrong kind.
    """
    check_prefix(prefix)
    reader = _Reader(entry, place)
    options = reader.read(prefix)
    if reader.problems:
        raise InvalidInput(reader.problems)
    return options


class _Reader(EntryReader):
    def read(self, prefix: str) -> BatchOptions:
        self._check_keys(_KEYS)
        has_definition = self._entry.get("job_definition") is not None
        name = self._text("name")
        queues = self._texts("queues")
        if not queues and isinstance(self._entry.get("queues"), dict):
            self._fault("queues", "name at least one queue")
        default = self._text("default_queue")
        if default and queues and default not in queues:
            known = ", ".join(sorted(queues))
            self._fault("default_queue", f"{default!r} is not one of the queues: {known}")
        platforms = self._platforms(queues, optional=has_definition)
        image = self._text_or_none("default_image")
        if image is None and not has_definition:
            self._fault("default_image", "is missing; without job_definition there must be one")
        role = self._text_or_none("execution_role_arn")
        if role is None and not has_definition and Platform.FARGATE in platforms.values():
            self._fault("execution_role_arn", "is missing; Fargate needs one")
        partitions = {name: platforms.get(name) for name in queues}
        jobs, faults = read_job_settings(self._entry, partitions)
        for fault in faults:
            self._fault(dotted(fault.path), fault.message)
        return BatchOptions(
            name=name,
            queues=queues,
            default_queue=default,
            platforms=platforms,
            default_image=image,
            log_group=self._text("log_group"),
            job_role_arn=self._text_or_none("job_role_arn"),
            execution_role_arn=role,
            max_concurrent=self._count_or_none("max_concurrent"),
            scheduling_policies=self._policies(queues),
            share_by=self._share_by(),
            prefix=prefix,
            jobs=jobs,
        )

    def _platforms(self, queues: Mapping[str, str], *, optional: bool) -> dict[str, Platform]:
        if optional and self._entry.get("platforms") is None:
            return {}
        found: dict[str, Platform] = {}
        wrong = set()
        for name, text in self._texts("platforms").items():
            if name not in queues:
                self._fault(f"platforms.{name}", "there is no such queue")
            elif text in tuple(Platform):
                found[name] = Platform(text)
            else:
                wrong.add(name)
                self._fault(f"platforms.{name}", f"{text!r} is neither EC2 nor FARGATE")
        for name in queues:
            if name not in found and name not in wrong and not optional:
                self._fault(f"platforms.{name}", "is missing; write EC2 or FARGATE")
        return found

    def _policies(self, queues: Mapping[str, str]) -> frozenset[str]:
        value = self._entry.get("scheduling_policies")
        if value is None:
            return frozenset()
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self._fault("scheduling_policies", "must be an array of partitions")
            return frozenset()
        for name in value:
            if name not in queues:
                self._fault("scheduling_policies", f"there is no queue {name!r}")
        return frozenset(value)

    def _share_by(self) -> ShareBy:
        value = self._entry.get("share_by")
        if value is None:
            return ShareBy.OWNER
        if value not in tuple(ShareBy):
            self._fault("share_by", f"{value!r} is neither owner nor workflow")
            return ShareBy.OWNER
        return ShareBy(value)

    def _count_or_none(self, key: str) -> int | None:
        value = self._entry.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self._fault(key, f"{value!r} is neither null nor a number above 0")
            return None
        return value

    def _texts(self, key: str) -> dict[str, str]:
        value = self._entry.get(key)
        if not isinstance(value, dict):
            self._fault(key, "must be an object")
            return {}
        return {str(name): self._filled(text, f"{key}.{name}") for name, text in value.items()}
