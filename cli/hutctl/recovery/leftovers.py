"""Jobs and executions that go on outside and that nothing in the table wants.

A table that has come back from a backup knows nothing of what began since. Of a job it wants, it says
so: the task is active in the attempt that the job's name means, and has no other job. Everything else
under the deployment's names is a leftover.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from botocore.exceptions import ClientError

from hut.backends.port import JobName, child_handle, parse_job_name
from hut.model.states import ACTIVE
from hut.store.dynamodb import DynamoStore
from hut.store.port import AttemptKey, UnknownRun
from hutctl.recovery.place import Place

__all__ = ["Leftover", "end", "find"]

_LIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
_WHY = "hut: the table that was restored does not know it"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that goes on and should not.

    Attributes
    ----------
    kind : str
        ``job`` or ``execution``.
    handle : str
        Id of the job, ARN of the execution.
    state : str
        As AWS says it.
    """

    kind: str
    name: str
    handle: str
    state: str
    run: str

    def document(self) -> dict[str, str]:
        """Return it as JSON data."""
        return asdict(self)


def find(place: Place, store: DynamoStore) -> list[Leftover]:
    """Return what goes on and nobody wants, executions first."""
    return [*_executions(place, store), *_tasks(place, store), *_jobs(place, store)]


def end(place: Place, leftovers: Sequence[Leftover]) -> None:
    """Stop executions, terminate jobs; those that have ended meanwhile are fine.

    The instance of an EC2 task is ended by the functions, once they go on: they are told that its
    execution was stopped, and the sweep looks for instances without one.
    """
    for each in leftovers:
        if each.kind == "execution":
            _stop_execution(place, each.handle)
        else:
            place.client("batch").terminate_job(jobId=each.handle, reason=_WHY)


def _stop_execution(place: Place, arn: str) -> None:
    try:
        place.client("stepfunctions").stop_execution(executionArn=arn, cause=_WHY)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise


def _executions(place: Place, store: DynamoStore) -> Iterator[Leftover]:
    pages = place.client("stepfunctions").get_paginator("list_executions")
    for page in pages.paginate(stateMachineArn=place.machine, statusFilter="RUNNING"):
        for found in page["executions"]:
            run_id, _, generation = found["name"].rpartition("-")
            try:
                wanted = str(store.standing(run_id).generation) == generation
            except UnknownRun:
                wanted = False
            if not wanted:
                yield Leftover(
                    "execution", found["name"], found["executionArn"], found["status"], run_id
                )


def _tasks(place: Place, store: DynamoStore) -> Iterator[Leftover]:
    """Yield executions of EC2 tasks; their names are those of jobs, and their handles."""
    pages = place.client("stepfunctions").get_paginator("list_executions")
    for machine in place.task_machines:
        for page in pages.paginate(stateMachineArn=machine, statusFilter="RUNNING"):
            for found in page["executions"]:
                name, arn, state = found["name"], found["executionArn"], found["status"]
                parsed = parse_job_name(name)
                if parsed is None or parsed.prefix != place.prefix:
                    continue
                if parsed.key is None or not _wants(store, parsed.run_id, parsed.key, name):
                    yield Leftover("execution", name, arn, state, parsed.run_id)


def _jobs(place: Place, store: DynamoStore) -> Iterator[Leftover]:
    for queue in place.queues:
        for state, summary in _live(place, jobQueue=queue):
            name = parse_job_name(summary["jobName"])
            if name is None or name.prefix != place.prefix:
                continue
            if name.array and "size" in summary.get("arrayProperties", {}):
                yield from _of_array(place, store, name, summary, state)
            elif name.key is None or not _wants(store, name.run_id, name.key, summary["jobId"]):
                yield _leftover(name, summary, state)


def _of_array(
    place: Place, store: DynamoStore, name: JobName, summary: Any, state: str
) -> Iterator[Leftover]:
    """Yield an array of which no child is wanted, or the children that are not."""
    parent = summary["jobId"]
    keys = store.array(name.run_id, name.array) or ()
    unwanted, wanted = [], 0
    for child_state, child in _live(place, arrayJobId=parent):
        index = int(child["arrayProperties"]["index"])
        handle = child_handle(parent, index)
        if index < len(keys) and _wants(store, name.run_id, keys[index], handle):
            wanted += 1
        else:
            unwanted.append(_leftover(name, child, child_state))
    if wanted:
        yield from unwanted
    else:
        yield _leftover(name, summary, state)


def _wants(store: DynamoStore, run_id: str, key: AttemptKey, handle: str) -> bool:
    try:
        task = store.get_tasks(run_id, [key.position]).get(key.position)
    except UnknownRun:
        return False
    if task is None or task.state not in ACTIVE:
        return False
    is_it = (task.attempt, task.epoch) == (key.attempt, key.epoch)
    return is_it and task.handle in (None, handle)


def _live(place: Place, **where: str) -> Iterator[tuple[str, Any]]:
    """Yield jobs that have not ended: ListJobs takes one status at a time."""
    pages = place.client("batch").get_paginator("list_jobs")
    for status in _LIVE:
        for page in pages.paginate(jobStatus=status, **where):
            for summary in page["jobSummaryList"]:
                yield status, summary


def _leftover(name: JobName, summary: Any, state: str) -> Leftover:
    return Leftover("job", summary["jobName"], summary["jobId"], state, name.run_id)
