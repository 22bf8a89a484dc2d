"""The shapes of what pools and workers say, for the OpenAPI document. Nothing is read or answered from here.

Bodies are read by `hut.pools.protocol`; tests hold both against these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hut.pools.port import How
from hut.rest.schemas import Schema, Texts, Time

__all__ = ["Answer", "Join", "Left", "Pool", "Turn", "Welcome"]

Lease = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Epoch = Annotated[int, Field(ge=1)]
Part = Annotated[int, Field(ge=0, description="Which task of the lease.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class HeldLease(_Body):
    """A lease a worker still has."""

    lease: Lease
    epoch: Epoch


class Join(_Body):
    """A worker that joins."""

    name: Name
    properties: Texts = Field({}, description="What it advertises to the scheduler.")
    slots: Annotated[int, Field(ge=1, le=10_000, description="Tasks it runs at once.")] = 1
    max_inflight: Annotated[
        int, Field(ge=0, description="Tasks it takes at most; 0 is no bound.")
    ] = 0
    host: str = ""
    pid: Annotated[int, Field(ge=0)] = 0
    version: str = ""
    holding: list[HeldLease] = []


class Start(_Body):
    """A task that was started."""

    lease: Lease
    epoch: Epoch
    at: float = Field(description="Seconds since the epoch, by the worker's clock.")
    part: Part = 0
    pid: Annotated[int, Field(ge=0)] = 0
    log: str | None = None


class Report(_Body):
    """A task the worker has no more."""

    lease: Lease
    epoch: Epoch
    how: How
    ended_at: float
    part: Part = 0
    exit_code: Annotated[int | None, Field(ge=0, le=255)] = None
    signal: Annotated[int | None, Field(ge=1, le=128)] = None
    started_at: float | None = None
    pid: Annotated[int, Field(ge=0)] = 0
    said: Annotated[str, Field(max_length=2000)] = ""
    log: str | None = None


class Turn(_Body):
    """What a worker says and asks at once."""

    want: Annotated[int, Field(ge=0, le=10_000, description="Tasks it would take.")] = 0
    starts: list[Start] = []
    reports: list[Report] = []
    holding: list[Lease] | None = Field(
        None, description="All leases it has not reported wholly; left out, it is a sign of life."
    )
    stopping: list[Lease] = Field([], description="Leases it stops, as it was told.")


class Welcome(Schema):
    """What a worker that joins is told."""

    worker: str = Field(description="Its id: the next requests are for this.")
    keepalive_s: float
    timeout_s: float
    draining: bool
    queue_url: str | None = Field(description="A queue of SQS that rings when something waits.")
    refused: list[str] = Field(default=[])
    log_group: str = ""
    log_stream: str = ""


class OrderDocument(Schema):
    """A task to run."""

    lease: str
    epoch: int
    run: str
    task: str
    attempt: int
    script: str
    part: int = 0
    url: str = ""
    shell: Literal["bash", "sh"] = "sh"
    private: bool = True
    folder: str = ""
    time_limit: float
    grace: float
    takes: dict[str, int] = Field(default={})
    output_file: str | None = None
    error_file: str | None = None
    log: str = ""


class Answer(Schema):
    """What a worker is told in its turn."""

    tasks: list[OrderDocument]
    refused: list[str] = Field(description="Leases that are not its own: to be killed.")
    cancel: list[str] = Field(description="Leases to stop.")
    draining: bool
    gone: bool = Field(description="The pool does not know it: it kills what it has, joins anew.")


class Left(Schema):
    """A worker that has left."""

    worker: str


class LeaseDocument(Schema):
    """What a worker has."""

    lease: str
    run: str
    task: str = Field(description="Id of its first task.")
    tasks: int
    since: Time
    cancelling: bool


class WorkerDocument(Schema):
    """A worker."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    properties: Texts
    remaining: dict[str, int] = Field(description="What is left of the numbers it advertises.")
    slots: int
    max_inflight: int
    draining: bool
    joined_at: Time
    seen_at: Time
    leases: list[LeaseDocument]


class Pool(Schema):
    """A pool of workers."""

    name: str
    draining: bool
    queued: int = Field(description="Tasks that wait for a worker.")
    running: int = Field(description="Tasks that workers have.")
    slots: int
    workers: list[WorkerDocument]


def body_of(model: str, summary: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a body, with an example."""
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{model}"},
                "examples": {"example": {"summary": summary, "value": value}},
            }
        },
    }
