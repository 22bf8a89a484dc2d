"""What is told of EC2 tasks: ends and starts of their executions, and news of their instances.

News of an instance, or of its command, say nothing by themselves: they make the execution that waits
for it look. So they may come twice, late or never; the execution looks by itself every few minutes.

What a subscription sends of a log tells of tasks in bundles while they run. It is told again when their job ends.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from hut.backends.bundle_markers import parse_told
from hut.backends.job_logs import log_name
from hut.backends.port import Job, JobName, JobState, bundled_handle, parse_job_name
from hut.service.surroundings import Surroundings

__all__ = [
    "NEWS",
    "OF_POOLS",
    "is_of_task",
    "is_too_early",
    "job_of_execution",
    "job_of_start",
    "jobs_in_log",
    "jobs_of_pool",
]

OF_POOLS = "hut.pools"
"""Source of messages on tasks of pools: of what was taken out of a queue, or ended and needs its log."""

NEWS = ("aws.ec2", "aws.ssm")
"""Sources of news of instances."""

_NOT_YET = "not_yet"
_LARGEST_LOG = 32 * 1024 * 1024  # bytes of what a subscription sends, unpacked
_PAUSES = (1.0, 3.0, 6.0)  # seconds: DescribeExecution may tell of what was a moment ago


def is_of_task(around: Surroundings, detail: Mapping[str, Any]) -> bool:
    """Say whether the execution that an event tells of is a task's, not a run's."""
    return detail.get("stateMachineArn") in around.instances


def jobs_of_pool(detail: Mapping[str, Any]) -> list[Job]:
    """Return the jobs of a pool that have ended.

    Raises
    ------
    ValueError, LookupError, TypeError
        If the message does not tell of any.
    """
    from hut.backends.workers.outcomes import jobs_of_message

    return jobs_of_message(detail)


def job_of_start(detail: Mapping[str, Any]) -> Job:
    """Return the job whose command was sent, as its execution says.

    Raises
    ------
    ValueError
        If the message does not tell of one.
    """
    from hut.backends.ec2.outcomes import job_from_start

    return job_from_start(detail)


def job_of_execution(around: Surroundings, detail: Mapping[str, Any]) -> Job | None:
    """Return the job whose execution has ended; None for one of another deployment.

    What an execution left that could not see to its end (somebody stopped it) is ended first: the
    message is not acknowledged before that is done, and it is the same if it is done twice.

    Raises
    ------
    ValueError, LookupError
        If the event does not tell of an execution, or not enough, and there is no such execution.
    """
    from hut.backends.ec2.outcomes import is_told, job_from_execution, left_open

    job = job_from_execution(detail)
    name = parse_job_name(job.name)
    if name is None or name.prefix != around.prefix:
        return None
    instances = around.instances[detail["stateMachineArn"]]()
    if left_open(detail):
        ended = instances.end_instances([job.name])
        if ended:
            around.note.warning("instances of a stopped execution", run=name.run_id, ended=ended)
    if is_told(detail):
        return job
    for pause in (*_PAUSES, 0.0):
        found = instances.describe([job.handle])[job.handle]
        if found.state is JobState.ENDED:
            return found
        around.sleep(pause)
    raise LookupError(f"execution {job.name} has ended, and Step Functions says that it still runs")


def is_too_early(around: Surroundings, instance: str) -> bool:
    """Tell an execution of news of its instance, if it is a task's; say whether it is too early.

    An execution that has just sent its command does not wait for the end of it yet.
    """
    hearing = next(iter(around.instances.values()), None)
    return hearing is not None and hearing().nudge(instance) == _NOT_YET


def jobs_in_log(event: Mapping[str, Any]) -> Iterator[tuple[JobName, Job]]:
    """Yield what lines of a log tell of tasks in bundles; anybody may have written them.

    Raises
    ------
    ValueError
        If it is not what CloudWatch Logs sends to a subscriber.
    """
    try:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        packed = base64.b64decode(event["awslogs"]["data"], validate=True)
        text = unpacker.decompress(packed, _LARGEST_LOG)
        told = json.loads(text)
        kind, events = told["messageType"], told.get("logEvents") or []
    except (KeyError, TypeError, zlib.error, binascii.Error, ValueError) as error:
        raise ValueError(f"this is no part of a log: {error!r}") from None
    if kind != "DATA_MESSAGE":
        return
    log = log_name(told.get("logGroup"), told.get("logStream"))
    for each in events:
        line = parse_told(str(each.get("message", "")))
        name = None if line is None else parse_job_name(line.name)
        if line is None or name is None or not name.is_bundle:
            continue
        yield (
            name,
            Job(
                line.name,
                bundled_handle(line.handle, line.place),
                JobState.RUNNING if line.end is None else JobState.ENDED,
                log=log,
                started_at=line.at,
                ended_at=None if line.end is None else line.end.ended_at,
                report=line.end,
                nonce=line.nonce,
            ),
        )
