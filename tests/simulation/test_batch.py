"""The Batch backend on the simulated Batch, and what only the simulated one has."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from hut.backends.batch import BatchBackend, Clients, Pace, job_from_detail
from hut.backends.port import ArrayRequest, JobState, array_name
from hut.model.problems import InvalidInput
from hut.model.states import Reason, TaskState
from hut.model.workflow import Resources, TaskSpec
from hut.store.port import AttemptKey
from tests.batch.plain_batch import options, request_of, run_of
from tests.simulation import fates
from tests.simulation.batch import SimulatedBatch
from tests.simulation.batch_job import SimulatedJob
from tests.simulation.checked_client import CheckedClient
from tests.simulation.fates import Fate
from tests.simulation.logs import SimulatedLogs
from tests.simulation.timeline import Timeline

TRUE = TaskSpec("t", "true")
GENERATES = TaskSpec("t", "make-tasks", generates_source="tasks.json")


class NoBucket:
    """S3 as far as a large array needs it."""

    def generate_presigned_url(self, *_: Any, **__: Any) -> str:
        return "https://bucket/key"

    def put_object(self, **_: Any) -> None:
        pass


class World:
    """A backend on simulated services; `fates` says by a job's name and index what becomes of it."""

    def __init__(self, **changes: Any) -> None:
        self.time = Timeline()
        self.events: list[dict[str, Any]] = []
        self.fates: dict[tuple[str, int | None], list[Fate]] = {}
        self.fate = Fate()
        self.lag = 0.0
        self.batch = SimulatedBatch(
            self.time.clock,
            self.time.at,
            self.events.append,
            fate=self._fate,
            logs=SimulatedLogs(self.time.clock, lag=lambda _: 0.2),
            list_lag=lambda _: self.lag,
        )
        self.batch.logs.create_log_group(logGroupName="/hut/jobs")
        self.queues = {name: self.batch.add_queue(name) for name in ("ec2", "fargate")}
        self.client = CheckedClient("batch", self.batch)
        self.backend = self.new_backend(**changes)

    def new_backend(self, **changes: Any) -> BatchBackend:
        clients = Clients(self.client, CheckedClient("logs", self.batch.logs), NoBucket(), "bucket")
        pace = Pace(clock=self.time.clock, sleep=self.time.wait)
        made = options(**{"queues": self.queues, **changes})
        return BatchBackend(made, clients, pace=pace, sleep=self.time.wait)

    def submit(self, spec: TaskSpec = TRUE, *fates: Fate, attempt: int = 1) -> str:
        request = request_of(spec, attempt=attempt)
        self.fates[request.name, None] = list(fates)
        (result,) = self.backend.submit([request])
        assert result.handle is not None
        return result.handle

    def array(self, size: int, spec: TaskSpec = TRUE) -> str:
        requests = []
        for number in range(size):
            one = request_of(spec._replace(id=f"t{number}"))
            key = AttemptKey(number, 1, 2)
            requests.append(one._replace(claim=one.claim._replace(key=key)))
        name = array_name("hut", requests[0].run.id, "0123456789abcdef")
        result = self.backend.submit_array(ArrayRequest(name, requests))
        assert result.handle is not None
        return result.handle

    def job(self, handle: str) -> Any:
        return self.backend.describe([handle])[handle]

    def outcome(self, handle: str, spec: TaskSpec = TRUE) -> Any:
        return self.backend.outcome(run_of(), spec, 1, self.job(handle))

    def _fate(self, job: SimulatedJob) -> Fate:
        ahead = self.fates.get((job.name, job.index))
        return ahead.pop(0) if ahead else self.fate


@pytest.fixture
def world() -> World:
    return World()


def test_a_job_lives_as_long_as_its_fate_says(world: World) -> None:
    handle = world.submit(TRUE, Fate(waits=3, starts=2, runs=7, lines=("hello", "", "world")))
    states = []
    world.batch.changed.append(lambda job: states.append((job.state, world.time.now)))
    submitted = world.time.now
    assert world.job(handle).state is JobState.WAITING
    world.time.wait_for_all()
    assert [(state, when - submitted) for state, when in states] == [
        ("RUNNABLE", 0.5),
        ("STARTING", 3.5),
        ("RUNNING", 5.5),
        ("SUCCEEDED", 12.5),
    ]
    job = world.job(handle)
    assert (job.state, job.ended_at - job.started_at) == (JobState.ENDED, 7)
    assert world.outcome(handle).state is TaskState.COMPLETED
    assert world.backend.cost(job) is not None
    world.time.wait(1)
    page = world.backend.read_log(job.log, None, 10)
    assert page.text == "hello\nworld\n"
    assert world.backend.read_log(job.log, page.cursor, 10) == ("", page.cursor)


def test_the_records_of_jobs_can_be_looked_at(world: World) -> None:
    handle = world.submit()
    world.time.wait_for_all()
    job = world.batch.jobs[handle]
    assert (job.name, job.handle, job.run, job.index) == (
        request_of(TRUE).name,
        handle,
        "abcdefghij",
        None,
    )
    assert (job.state, job.has_ended) == ("SUCCEEDED", True)
    assert job.submitted < job.started < job.ended
    assert job.variables["HUT_TASK_ID"] == "t"


@pytest.mark.parametrize(
    ("fate", "reason", "code"),
    [
        (Fate(exit_code=3), Reason.EXIT, 3),
        (fates.host_reclaimed(), Reason.HOST_TERMINATED, None),
        (fates.out_of_memory(), Reason.OUT_OF_MEMORY, 137),
        (fates.image_not_pulled(), Reason.LAUNCH_FAILED, None),
        (fates.never_reached("the working folder /x does not exist"), Reason.LAUNCH_FAILED, 125),
        (fates.stopped_by_its_script(), Reason.TIMEOUT, 124),
        (Fate(runs=100), Reason.TIMEOUT, 143),
    ],
)
def test_a_job_ends_as_its_fate_says(world: World, fate: Fate, reason: Reason, code: Any) -> None:
    limit = 5.0 if reason is Reason.TIMEOUT and code == 124 else 60.0
    spec = TRUE._replace(resources=Resources(time_limit=limit))
    handle = world.submit(spec, fate)
    world.time.wait_for_all()
    outcome = world.outcome(handle, spec)
    assert (outcome.state, outcome.reason, outcome.exit_code) == (TaskState.FAILED, reason, code)


def test_each_change_is_told_as_an_event(world: World) -> None:
    handle = world.submit(TRUE, Fate(exit_code=3))
    world.time.wait_for_all()
    assert [event["detail"]["status"] for event in world.events] == [
        "RUNNABLE",
        "STARTING",
        "RUNNING",
        "FAILED",
    ]
    last = world.events[-1]
    assert (last["source"], last["detail-type"]) == ("aws.batch", "Batch Job State Change")
    assert last["resources"] == [last["detail"]["jobArn"]]
    assert job_from_detail(last["detail"]) == world.job(handle)
    assert len({event["id"] for event in world.events}) == 4
    world.batch.is_wanted = lambda job: job.has_ended
    world.events.clear()
    world.submit()
    world.time.wait_for_all()
    assert [event["detail"]["status"] for event in world.events] == ["SUCCEEDED"]


def test_what_was_told_before_does_not_change(world: World) -> None:
    world.array(2)
    world.time.wait_for_all()
    parents = [
        e["detail"] for e in world.events if "statusSummary" in e["detail"]["arrayProperties"]
    ]
    assert [one["arrayProperties"]["statusSummary"]["SUCCEEDED"] for one in parents] == [0, 2]


def test_the_children_of_an_array_have_fates_of_their_own(world: World) -> None:
    name = array_name("hut", "abcdefghij", "0123456789abcdef")
    world.fates[name, 1] = [Fate(exit_code=4)]
    parent = world.array(3)
    world.time.wait(4)
    assert {job.handle for job in world.backend.running(parent)} == {
        f"{parent}:{n}" for n in range(3)
    }
    assert world.backend.quiet({parent: (3, 3)}) == {parent}
    world.time.wait_for_all()
    assert [world.outcome(f"{parent}:{n}").exit_code for n in range(3)] == [0, 4, 0]
    assert [world.job(f"{parent}:{n}").index for n in range(3)] == [0, 1, 2]
    assert world.job(parent).state is JobState.ENDED
    assert world.backend.find([name]) == {name: [world.job(parent)]}


def test_a_job_is_found_under_its_name_once_batch_shows_it(world: World) -> None:
    world.lag = 2.0
    handle = world.submit()
    name = request_of(TRUE).name
    assert world.backend.find([name]) == {name: []}
    assert world.backend.describe([handle]) == {}
    world.time.wait(2)
    assert [job.handle for job in world.backend.find([name, name[:-1]])[name]] == [handle]


def test_a_job_may_be_forgotten_after_its_end(world: World) -> None:
    handle = world.submit(TRUE, Fate(kept=0.0))
    world.time.wait(10)
    assert world.job(handle).state is JobState.RUNNING
    world.time.wait_for_all()
    assert world.backend.describe([handle]) == {}
    assert not any(world.backend.find([request_of(TRUE).name]).values())
    assert world.batch.jobs[handle].state == "SUCCEEDED"
    parent = world.array(2)
    world.time.wait_for_all()
    world.batch.forget(parent)
    assert world.backend.describe([parent, f"{parent}:1"]) == {}


def test_a_termination_takes_a_moment(world: World) -> None:
    handle = world.submit(TRUE, Fate(runs=100, stops=20))
    world.time.wait(10)
    world.backend.terminate([handle], "cancelled")
    world.time.wait(19)
    assert world.job(handle).state is JobState.RUNNING
    world.time.wait(1)
    outcome = world.outcome(handle)
    assert (outcome.reason, outcome.exit_code) == (Reason.CANCELLED, 143)


def test_a_job_may_end_by_itself_while_it_is_terminated(world: World) -> None:
    handle = world.submit(TRUE, Fate(runs=10, stops=25))
    world.time.wait(10)
    world.backend.terminate([handle], "cancelled")
    world.time.wait(10)
    outcome = world.outcome(handle)
    assert (outcome.reason, outcome.exit_code) == (Reason.CANCELLED, 0)


def test_a_cancelled_job_may_stay_in_the_queue(world: World) -> None:
    world.batch.set_slots(0)
    late, soon = (
        world.submit(TRUE, Fate(cancels=cancels), attempt=n)
        for n, cancels in enumerate((50.0, 500.0), 1)
    )
    world.time.wait(5)
    world.backend.cancel({late: "queue_timeout: a", soon: "queue_timeout: b"})
    world.time.wait(40)
    assert world.job(late).state is JobState.WAITING
    world.time.wait(10)
    assert world.outcome(late).reason is Reason.QUEUE_TIMEOUT
    assert world.job(soon).state is JobState.WAITING
    world.batch.set_slots(1)  # its turn comes: it does not start
    assert world.outcome(soon).reason is Reason.QUEUE_TIMEOUT


def test_only_so_many_run_at_once(world: World) -> None:
    world.batch.set_slots(3)
    live: set[str] = set()
    most = 0

    def count(job: SimulatedJob) -> None:
        nonlocal most
        (live.add if job.is_live else live.discard)(job.handle)
        most = max(most, len(live))

    world.batch.changed.append(count)
    parent = world.array(20)
    world.time.wait_for_all()
    assert most == 3
    assert world.job(parent).state is JobState.ENDED


def test_why_a_job_waits_is_told(world: World) -> None:
    world.batch.stand("fargate", status="INVALID", statusReason="no role")
    first = world.submit()
    second = world.submit(attempt=2)
    world.time.wait(5)
    waiting = world.backend.waiting(TRUE, first)
    assert (waiting.status, waiting.said[:15]) == ("RUNNABLE", "ACTION_REQUIRED")
    assert waiting.unasked == ()
    behind = world.backend.waiting(TRUE, second)
    assert (behind.position, behind.head.partition(",")[0]) == (2, f"job {first}")
    assert [queue.status for queue in world.backend.queues()] == ["VALID", "INVALID"]
    world.batch.stand("fargate", status="VALID")
    world.time.wait_for_all()
    assert world.outcome(second).state is TaskState.COMPLETED


@pytest.mark.parametrize("content", [b"", b"[]\n", "é\n".encode() * 20_000])
@pytest.mark.parametrize("in_array", [False, True])
def test_what_a_task_generates_can_be_read(world: World, content: bytes, in_array: bool) -> None:
    world.fate = Fate(generated=content, lines=("said",))
    handle = f"{world.array(2, GENERATES)}:1" if in_array else world.submit(GENERATES)
    world.time.wait_for_all()
    job = world.job(handle)
    assert world.backend.read_generated(run_of(), GENERATES, 1, job) == content.decode()
    assert world.backend.read_log(job.log, None, 10).text == "said\n"


def test_a_task_that_generates_nothing_says_so(world: World) -> None:
    handle = world.submit(GENERATES, Fate(marks=("no-file No such file or directory",)))
    world.time.wait_for_all()
    with pytest.raises(InvalidInput, match="No such file"):
        world.backend.read_generated(run_of(), GENERATES, 1, world.job(handle))


def test_an_image_that_cannot_fetch_its_script_says_so(world: World) -> None:
    world.fate = fates.cannot_fetch()
    parent = world.array(2)
    world.time.wait_for_all()
    outcome = world.outcome(f"{parent}:0")
    assert (outcome.reason, "could not be fetched" in outcome.message) == (Reason.LOST, True)


def test_a_host_can_be_reclaimed_at_any_moment(world: World) -> None:
    handle = world.submit(TRUE, Fate(runs=100))
    world.time.wait(10)
    world.batch.reclaim(handle, "i-7")
    assert world.outcome(handle).reason is Reason.HOST_TERMINATED
    seen = len(world.events)
    world.time.wait_for_all()
    assert len(world.events) == seen  # nothing of its old life comes back


def test_what_can_be_refused_is_told_of_one_attempt(world: World) -> None:
    world.client.update_job_queue(jobQueue="fargate", state="DISABLED")
    refused, submitted = world.backend.submit(
        [request_of(TRUE), request_of(TRUE._replace(partition="ec2"))]
    )
    assert (refused.handle, refused.outcome) == (None, None)
    assert submitted.handle is not None
    with pytest.raises(ClientError, match="Object does not exist") as caught:
        world.client.list_jobs(jobQueue="none")
    assert caught.value.response["Error"]["Code"] == "ClientException"


def test_a_run_is_a_function_of_what_goes_in() -> None:
    def told() -> list[Any]:
        world = World()
        world.array(5)
        world.submit()
        world.time.wait_for_all()
        return world.events

    assert told() == told()


def test_ten_thousand_children_are_as_good_as_two(world: World) -> None:
    parent = world.array(10_000)
    world.time.wait_for_all()
    assert world.job(parent).state is JobState.ENDED
    assert len(world.events) == 40_002
    assert world.backend.describe([f"{parent}:9999"])[f"{parent}:9999"].outcome is not None
