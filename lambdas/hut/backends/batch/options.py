"""What a Batch backend is: the entry of ``HUT_BACKENDS`` that describes it.

The stack writes the entry, so a fault in it is the operator's; it is told with the place it is at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hut.model.problems import did_you_mean

__all__ = ["BatchOptions", "Platform", "read_backends", "read_options"]

_PREFIX = re.compile(r"[a-z0-9]+", re.ASCII)
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
)


class Platform(StrEnum):
    """What the machines of a queue are, as ``platformCapabilities`` spells it."""

    EC2 = "EC2"
    FARGATE = "FARGATE"


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
        For each partition, what its queue's machines are.
    default_image : str
        Image of tasks that name none.
    job_role_arn, execution_role_arn : str or None
        Role of the commands in a container, and of what starts the container. Fargate needs the
        second one.
    log_group : str
        Log group that containers write to.
    max_concurrent : int or None
        Most jobs at a time, over all runs. The control plane heeds it, not this package.
    prefix : str
        Stands before the names of jobs, job definitions and log streams.
    """

    name: str
    queues: Mapping[str, str]
    default_queue: str
    platforms: Mapping[str, Platform]
    default_image: str
    log_group: str
    job_role_arn: str | None = None
    execution_role_arn: str | None = None
    max_concurrent: int | None = None
    prefix: str = "hut"


def read_backends(text: str, *, prefix: str = "hut") -> tuple[BatchOptions, ...]:
    """Return the Batch backends among those of ``HUT_BACKENDS``, in its order.

    Raises
    ------
    ValueError
        If the text is not a JSON array of backends, names one twice or describes a Batch backend
        that can't be.
    """
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"HUT_BACKENDS is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise ValueError("HUT_BACKENDS is not a JSON array of backends")
    found: dict[str, BatchOptions] = {}
    for index, entry in enumerate(entries):
        place = f"HUT_BACKENDS[{index}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{place} is not an object")
        if entry.get("type", "batch") != "batch":
            continue
        options = read_options(entry, prefix=prefix, place=place)
        if options.name in found:
            raise ValueError(f"{place}.name: there are two backends named {options.name!r}")
        found[options.name] = options
    return tuple(found.values())


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
    ValueError
        For what is missing, unknown or of the wrong kind.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is not a prefix; use small letters and digits")
    for key in entry:
        if key not in _KEYS:
            raise ValueError(f"{place}.{key}: unknown; {did_you_mean(str(key), _KEYS)}")
    queues = _texts(entry, "queues", place)
    if not queues:
        raise ValueError(f"{place}.queues: name at least one queue")
    default = _text(entry, "default_queue", place)
    if default not in queues:
        known = ", ".join(sorted(queues))
        raise ValueError(f"{place}.default_queue: {default!r} is not one of the queues: {known}")
    platforms = _platforms(entry, queues, place)
    role = _text_or_none(entry, "execution_role_arn", place)
    if role is None and Platform.FARGATE in platforms.values():
        raise ValueError(f"{place}.execution_role_arn: is missing; Fargate needs one")
    most = entry.get("max_concurrent")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ValueError(f"{place}.max_concurrent: {most!r} is neither null nor a number above 0")
    return BatchOptions(
        name=_text(entry, "name", place),
        queues=queues,
        default_queue=default,
        platforms=platforms,
        default_image=_text(entry, "default_image", place),
        log_group=_text(entry, "log_group", place),
        job_role_arn=_text_or_none(entry, "job_role_arn", place),
        execution_role_arn=role,
        max_concurrent=most,
        prefix=prefix,
    )


def _platforms(
    entry: Mapping[str, Any], queues: Mapping[str, str], place: str
) -> dict[str, Platform]:
    found: dict[str, Platform] = {}
    for name, text in _texts(entry, "platforms", place).items():
        if name not in queues:
            raise ValueError(f"{place}.platforms.{name}: there is no such queue")
        if text not in tuple(Platform):
            raise ValueError(f"{place}.platforms.{name}: {text!r} is neither EC2 nor FARGATE")
        found[name] = Platform(text)
    for name in queues:
        if name not in found:
            raise ValueError(f"{place}.platforms.{name}: is missing; write EC2 or FARGATE")
    return found


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{place}.{key}: must be a text that is not empty")
    return value


def _text_or_none(entry: Mapping[str, Any], key: str, place: str) -> str | None:
    return None if entry.get(key) is None else _text(entry, key, place)


def _texts(entry: Mapping[str, Any], key: str, place: str) -> dict[str, str]:
    value = entry.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{place}.{key}: must be an object")
    return {str(name): _text(value, name, f"{place}.{key}") for name in value}
