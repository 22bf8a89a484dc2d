"""The section ``schedulers`` of ``hut.yaml``.

The shape is that of NativeLink's configuration: a name, and ``simple`` with its settings.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from hut.model.backend_section import PropertyName, few
from hut.model.configuration_parts import Section, Text
from hut.model.problems import did_you_mean
from hut.model.scheduler import (
    Allocation,
    Kind,
    Scheduler,
    UnknownProperty,
    Unsatisfiable,
    scheduler_of,
)

__all__ = ["SchedulerEntry", "SimpleScheduler"]

_Choice = TypeVar("_Choice", bound=StrEnum)
_YEAR = 366 * 86_400.0
_DEFAULT = Scheduler("default")


def one_of(choices: type[_Choice]) -> BeforeValidator:
    """Return what makes one of some words of a text, or names the nearest one."""

    def read(value: Any) -> Any:
        words = [str(choice) for choice in choices]
        if isinstance(value, str) and value in words:
            return choices(value)
        shown = repr(value)[:60]
        raise ValueError(f"{shown} is not known; {did_you_mean(str(value)[:60], words)}")

    return BeforeValidator(read)


Timer = Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False)]
Interval = Annotated[float, Field(ge=-1, le=_YEAR, allow_inf_nan=False)]


class SimpleScheduler(Section):
    """The settings of a scheduler; 0 is the default of the first four numbers, and off for the others."""

    supported_platform_properties: Annotated[
        dict[PropertyName, Annotated[Kind, one_of(Kind)]], AfterValidator(few)
    ] = Field(default_factory=dict)
    allocation_strategy: Annotated[Allocation, one_of(Allocation)] = _DEFAULT.allocation
    max_job_retries: Annotated[int, Field(ge=0, le=1_000_000)] = _DEFAULT.max_job_retries
    worker_timeout_s: Timer = _DEFAULT.worker_timeout_s
    client_action_timeout_s: Timer = _DEFAULT.client_action_timeout_s
    retain_completed_for_s: Timer = _DEFAULT.retain_completed_for_s
    max_action_executing_timeout_s: Timer = _DEFAULT.max_action_executing_timeout_s
    worker_match_logging_interval_s: Interval = _DEFAULT.worker_match_logging_interval_s
    unknown_property: Annotated[UnknownProperty, one_of(UnknownProperty)] = (
        _DEFAULT.unknown_property
    )
    unsatisfiable: Annotated[Unsatisfiable, one_of(Unsatisfiable)] = _DEFAULT.unsatisfiable
    experimental_backend: Any = None

    @field_validator("worker_match_logging_interval_s")
    @classmethod
    def _off_or_on(cls, value: float) -> float:
        if -1 < value < 0:
            raise ValueError("must be seconds; write -1 or 0 to switch it off")
        return value

    @field_validator("experimental_backend", mode="before")
    @classmethod
    def _has_a_store(cls, _value: Any) -> Any:
        raise ValueError(
            "names a store for the scheduler's state; Hut keeps it in its own store (SQLite here, "
            "DynamoDB on AWS). Remove this field"
        )


class SchedulerEntry(Section):
    """An entry of ``schedulers``; what is ours may stand in ``simple`` or beside it."""

    name: Text
    simple: SimpleScheduler
    unknown_property: Annotated[UnknownProperty, one_of(UnknownProperty)] | None = None
    unsatisfiable: Annotated[Unsatisfiable, one_of(Unsatisfiable)] | None = None

    @field_validator("unknown_property", "unsatisfiable")
    @classmethod
    def _said_once(cls, value: Any, info: ValidationInfo) -> Any:
        simple = info.data.get("simple")
        if value is not None and simple is not None and info.field_name in simple.model_fields_set:
            raise ValueError("stands in simple too; keep one of them")
        return value

    def scheduler(self) -> Scheduler:
        """Return what tasks are matched by."""
        return scheduler_of(self.model_dump(mode="json", exclude_unset=True, exclude_none=True))
