"""What all entries of ``backends`` have in common, and the one whose machines come by themselves.

A backend advertises properties for schedulers to match: for the whole of it, and for each of its
*targets*: queues of AWS Batch, partitions of EC2 types, kinds of workers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hut.model.configuration_parts import Count, ScalarText, Section, Text
from hut.model.limits import LONGEST_NAME, MOST_TAGS
from hut.model.problems import is_one_line

__all__ = ["Backend", "Properties", "PropertyName", "TargetEntry", "WorkersBackend", "few"]

_MOST_TARGETS = 200


def _property_name(name: str) -> str:
    if not name.strip() or not is_one_line(name) or len(name) > LONGEST_NAME:
        raise ValueError("is no name of a property; write one line that is not empty")
    return name


def _property_value(value: str) -> str:
    if len(value) > LONGEST_NAME or not is_one_line(value):
        raise ValueError(f"must be one line of at most {LONGEST_NAME:,} characters")
    return value


def few(properties: dict[str, Any]) -> dict[str, Any]:
    """Refuse more properties than a task may have."""
    if len(properties) > MOST_TAGS:
        raise ValueError(f"has {len(properties)} properties, at most {MOST_TAGS} are allowed")
    return properties


PropertyName = Annotated[str, AfterValidator(_property_name)]
PropertyValue = Annotated[ScalarText, AfterValidator(_property_value)]
Properties = Annotated[dict[PropertyName, PropertyValue], AfterValidator(few)]


class TargetEntry(Section):
    """What one target of a backend offers; it goes before what the backend says for all of them.

    ``max_inflight`` is for kinds of workers: how many tasks one has at most; 0 is no bound.
    """

    properties: Properties = Field(default_factory=dict)
    max_inflight: Annotated[int, Field(ge=0, le=1_000_000)] = 0


def _few_targets(targets: dict[str, TargetEntry]) -> dict[str, TargetEntry]:
    if len(targets) > _MOST_TARGETS:
        raise ValueError(f"has {len(targets)} targets, at most {_MOST_TARGETS} are allowed")
    return targets


class Backend(Section):
    """What every backend has."""

    name: Text
    type: str
    max_concurrent: Count | None = None
    scheduler: Text | None = None
    properties: Properties | None = None
    targets: Annotated[dict[Text, TargetEntry], AfterValidator(_few_targets)] | None = None


class WorkersBackend(Backend):
    """A pool: machines that run ``hutctl worker`` and come for work by themselves.

    Its ``targets`` are the kinds of workers that may join. Where any are named, a task that none of
    them could run is refused; else a worker may yet come that can.
    """

    type: Literal["workers"]
    bundle: Count | None = None
