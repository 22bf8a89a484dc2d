"""Eight dispatchers at once, each a process of its own, before an AWS Batch that is throttled at times.

Time is real here, so nothing is asserted about when things happened, only about the turns that were
taken, and about what Batch has in the end.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from hut.backends.batch import BatchBackend, Clients, Pace
from hut.model.states import TaskState
from hut.scheduling.pacing import SharedBucket, Turn
from hut.service.advancing import Advancing
from hut.store.dynamodb import DynamoStore, TableBucket
from hut.store.port import StoreError
from tests.batch.plain_batch import options
from tests.service.control_plane import ControlPlane
from tests.testbed.running import TestBed

EIGHT = 8
LARGE, SMALL = 500, 3
MOST = 50


class RecordedPace(Pace):
    """Writes down when it was asked, and for when each call had leave."""

    def __init__(self, shared: SharedBucket, notes: list[str]) -> None:
        super().__init__(shared, most=MOST, note=notes.append)
        self.asked: list[float] = []
        self.times: list[float] = []

    def take(self, calls: int, until: float | None = None) -> Turn | float:
        self.asked.append(time.time())
        return super().take(calls, until)

    def wait(self, turn: Turn, number: int) -> None:
        self.times.append(turn.start + number * turn.apart)
        super().wait(turn, number)


@pytest.fixture
def queue(test_bed: TestBed) -> Iterator[str]:
    """A queue whose jobs don't start; they go away with it."""
    batch, name = test_bed.client("batch"), "pace"
    test_bed.hook("batch/slots", {"jobs": 0})
    batch.create_compute_environment(computeEnvironmentName=name, type="UNMANAGED")
    made = batch.create_job_queue(
        jobQueueName=name,
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
    )
    yield str(made["jobQueueArn"])
    batch.update_job_queue(jobQueue=name, state="DISABLED")
    batch.delete_job_queue(jobQueue=name)
    test_bed.hook("batch/slots", {"jobs": 8})
    test_bed.hook("faults/clear", {})


def alone(number: int) -> list[dict[str, Any]]:
    """Return tasks none of which has the shape of another: each is a job of its own."""
    return [{"id": f"t{n}", "time_limit": f"1:{n // 60:02}:{n % 60:02}"} for n in range(number)]


def test_a_small_run_is_not_kept_waiting_and_the_rate_is_kept(
    test_bed: TestBed, queue: str
) -> None:
    plane = ControlPlane(test_bed)
    large, small = plane.begin(*alone(LARGE)), plane.begin(*alone(SMALL))
    notes: list[str] = []
    batch_options = options(queues={"ec2": queue}, platforms={"ec2": "EC2"}, default_queue="ec2")
    submit = test_bed.new_client("batch", retries={"total_max_attempts": 1})
    clients = Clients(test_bed.client("batch"), test_bed.client("logs"), plane.s3, "b", submit)
    paces = [
        RecordedPace(TableBucket(test_bed.client("dynamodb"), plane.options.table, "batch"), notes)
        for _ in range(EIGHT)
    ]
    for _ in range(3):
        fault = {"code": "TooManyRequestsException", "status": 429, "times": 5, "share": 0.2}
        test_bed.hook("faults", {"service": "batch", "operation": "SubmitJob", **fault})
    gate = threading.Barrier(EIGHT)

    def dispatch(number: int) -> None:
        run = small if number == 0 else large
        around = replace(
            plane.around(),
            store=DynamoStore(test_bed.client("dynamodb"), test_bed.client("s3"), plane.options),
            backends={"batch": BatchBackend(batch_options, clients, pace=paces[number])},
        )
        gate.wait()
        while plane.store.get_run(run.id).counts[TaskState.PENDING]:
            with suppress(StoreError):  # too many at once: a function is called again
                Advancing(around).advance(run.id)
            time.sleep(0.2)  # as a message would take

    with ThreadPoolExecutor(EIGHT) as pool:
        list(pool.map(dispatch, range(EIGHT)))

    assert test_bed.hook("faults/clear", {})["left"] == []
    for run, number in ((large, LARGE), (small, SMALL)):
        tasks = plane.tasks(run)
        assert [task.state for task in tasks] == [TaskState.SUBMITTED] * number
        assert all(task.handle is not None for task in tasks)
    jobs = test_bed.hook("batch/jobs")["jobs"]
    found = Counter(job["jobName"] for job in jobs if job["jobQueue"] == queue)
    assert len(found) == LARGE + SMALL
    assert set(found.values()) == {1}

    assert not notes  # nobody had to go on by its own count
    times = sorted(at for pace in paces for at in pace.times)
    assert len(times) >= LARGE + SMALL + 15
    first = 0
    for last, at in enumerate(times):
        while at - times[first] >= 1 - 1e-6:
            first += 1
        assert last - first + 1 <= MOST + 1
    # Between asking and its own turn stood at most one turn of each of the others.
    asked, begins = paces[0].asked[0], min(paces[0].times)
    ahead = sum(asked <= at < begins for pace in paces[1:] for at in pace.times)
    assert ahead <= (EIGHT - 1) * MOST / 2
