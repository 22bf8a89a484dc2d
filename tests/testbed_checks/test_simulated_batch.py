"""Two models of Batch, of processes here and of virtual time in `tests.simulation`, tell the same.

Each story is told to both; what they answer is compared without ids and times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.simulation.batch import SimulatedBatch
from tests.simulation.batch_job import SimulatedJob
from tests.simulation.checked_client import CheckedClient
from tests.simulation.fates import Fate
from tests.simulation.timeline import Timeline
from tests.testbed_checks.making import Maker, wait_for

_ENDED = ("SUCCEEDED", "FAILED")
_TIMES = ("createdAt", "startedAt", "stoppedAt", "earliestTimeAtPosition", "lastUpdatedAt")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_STREAM = re.compile(r"/default/(?:[0-9a-f]{32}|ID)")

LONG = Fate(runs=500.0)
CONTAINER = {
    "image": "debian:stable-slim",
    "command": ["sh", "-c", "true"],
    "environment": [{"name": "GREETING", "value": "hello"}],
    "resourceRequirements": [
        {"type": "VCPU", "value": "1"},
        {"type": "MEMORY", "value": "2048"},
    ],
}


class Teller:
    """Tells a story to a model, and writes down what it answers."""

    def __init__(self, client: Any, maker: Maker) -> None:
        self.client = client
        self.name = maker.name("told")
        self.said: list[Any] = []
        client.create_compute_environment(
            computeEnvironmentName=self.name,
            type="MANAGED",
            computeResources={"type": "EC2", "maxvCpus": 4, "subnets": ["subnet-1"]},
        )
        order = [{"order": 1, "computeEnvironment": self.name}]
        self.queue = client.create_job_queue(
            jobQueueName=self.name, priority=1, computeEnvironmentOrder=order
        )["jobQueueArn"]
        self.definition = self.define()

    def define(self, **more: Any) -> str:
        made = self.client.register_job_definition(
            jobDefinitionName=self.name,
            **{"type": "container", "containerProperties": CONTAINER, **more},
        )
        return str(made["jobDefinitionArn"])

    def submit(self, script: str, *fates: Fate, **more: Any) -> str:
        """Submit a job whose attempts have these fates; `script` does the same."""
        overrides = {"command": ["sh", "-c", script], **more.pop("overrides", {})}
        name = more.setdefault("jobName", f"{self.name}-{len(self.said)}")
        self.foretell(name, fates)
        given = {"jobQueue": self.queue, "jobDefinition": self.definition, **more}
        answer = self.client.submit_job(containerOverrides=overrides, **given)
        self.say(answer)
        return str(answer["jobId"])

    def refused(self, call: str, **given: Any) -> None:
        with pytest.raises(ClientError) as caught:
            getattr(self.client, call)(**given)
        self.say(caught.value.response["Error"])

    def say(self, answer: Any) -> None:
        """Keep what does not differ from one time to the next."""
        self.said.append(_plain(answer, self.name))

    def ended(self, *handles: str) -> None:
        for handle in handles:
            self.say(self.until(handle, *_ENDED))

    def job(self, handle: str) -> Any:
        return self.client.describe_jobs(jobs=[handle])["jobs"][0]

    def foretell(self, name: str, fates: tuple[Fate, ...]) -> None:
        """Let the attempts of a job have fates."""

    def hold(self, slots: int) -> None:
        raise NotImplementedError

    def until(self, handle: str, *states: str) -> Any:
        raise NotImplementedError


class OnTestBed(Teller):
    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        super().__init__(maker.bed.client("batch"), maker)

    def hold(self, slots: int) -> None:
        self.maker.bed.hook("batch/slots", {"jobs": slots})

    def until(self, handle: str, *states: str) -> Any:
        return wait_for(lambda: job if (job := self.job(handle))["status"] in states else None)


class Simulated(Teller):
    def __init__(self, maker: Maker) -> None:
        self.time = Timeline()
        self.fates: dict[str, list[Fate]] = {}
        batch = SimulatedBatch(self.time.clock, self.time.at, lambda _: None, fate=self._fate)
        self.batch = batch
        super().__init__(CheckedClient("batch", batch), maker)

    def foretell(self, name: str, fates: tuple[Fate, ...]) -> None:
        self.fates[name] = list(fates)

    def hold(self, slots: int) -> None:
        self.batch.set_slots(slots)

    def until(self, handle: str, *states: str) -> Any:
        for _ in range(10_000):
            if (job := self.job(handle))["status"] in states:
                return job
            self.time.wait(0.1)
        raise AssertionError(f"it never came to {states}: {self.job(handle)}")

    def _fate(self, job: SimulatedJob) -> Fate:
        """Return what was foretold: one fate for each child, or for each attempt at a job."""
        ahead = self.fates[job.name]
        return ahead[(job.index if job.index is not None else job.tries - 1) % len(ahead)]


Story = Callable[[Teller], None]
STORIES: list[Story] = []


def story(tell: Story) -> Story:
    STORIES.append(tell)
    return tell


@story
def success(tell: Teller) -> None:
    tags, parameters = {"a": "b"}, {"what": "this"}
    tell.ended(tell.submit("true", Fate(), tags=tags, parameters=parameters, propagateTags=True))


@story
def exit_3(tell: Teller) -> None:
    tell.ended(tell.submit("exit 3", Fate(exit_code=3)))


@story
def a_time_limit(tell: Teller) -> None:
    tell.ended(tell.submit("exec sleep 60", LONG, timeout={"attemptDurationSeconds": 60}))


@story
def terminated_while_it_runs(tell: Teller) -> None:
    handle = tell.submit("exec sleep 60", LONG)
    tell.until(handle, "RUNNING")
    tell.client.cancel_job(jobId=handle, reason="in vain")
    tell.client.terminate_job(jobId=handle, reason="enough")
    tell.client.terminate_job(jobId=handle, reason="again")
    tell.ended(handle)
    tell.client.terminate_job(jobId=handle, reason="too late")
    tell.ended(handle)


@story
def ended_while_they_wait(tell: Teller) -> None:
    tell.hold(0)
    cancelled, terminated = (tell.submit("true", Fate()) for _ in range(2))
    for handle in (cancelled, terminated):
        tell.say(tell.until(handle, "RUNNABLE"))
    tell.client.cancel_job(jobId=cancelled, reason="waited too long")
    tell.client.terminate_job(jobId=terminated, reason="not needed")
    tell.ended(cancelled, terminated)


@story
def tried_again(tell: Teller) -> None:
    rules = [{"onExitCode": "3", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    strategy = {"attempts": 5, "evaluateOnExit": rules}
    script = "[ $AWS_BATCH_JOB_ATTEMPT = 3 ] && exit 4; exit 3"
    fates = [Fate(exit_code=code) for code in (3, 3, 4)]
    tell.ended(tell.submit(script, *fates, retryStrategy=strategy))


@story
def tried_until_it_succeeds(tell: Teller) -> None:
    script = "[ $AWS_BATCH_JOB_ATTEMPT = 2 ]"
    fates = [Fate(exit_code=1), Fate()]
    tell.ended(tell.submit(script, *fates, retryStrategy={"attempts": 3}))


@story
def an_array_with_a_failing_child(tell: Teller) -> None:
    fates = [Fate(), Fate(exit_code=5), Fate()]
    script = "[ $AWS_BATCH_JOB_ARRAY_INDEX != 1 ] || exit 5"
    parent = tell.submit(script, *fates, arrayProperties={"size": 3})
    tell.ended(parent, *(f"{parent}:{n}" for n in range(3)))
    for status in ("SUCCEEDED", "FAILED"):
        found = tell.client.list_jobs(arrayJobId=parent, jobStatus=status)["jobSummaryList"]
        tell.say(sorted(found, key=lambda each: each["jobId"]))


@story
def an_array_that_is_stopped(tell: Teller) -> None:
    tell.hold(0)
    parent = tell.submit("true", Fate(), arrayProperties={"size": 3})
    tell.until(f"{parent}:2", "RUNNABLE")
    tell.say(tell.job(parent))
    tell.client.cancel_job(jobId=f"{parent}:1", reason="this one")
    tell.ended(f"{parent}:1")
    tell.client.terminate_job(jobId=parent, reason="all of it")
    tell.ended(parent, f"{parent}:0", f"{parent}:1")


@story
def no_log_group(tell: Teller) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/none"}}
    definition = tell.define(containerProperties={**CONTAINER, "logConfiguration": logs})
    tell.ended(tell.submit("true", Fate(), jobDefinition=definition))


@story
def too_large_for_its_queue(tell: Teller) -> None:
    asked = {"resourceRequirements": [{"type": "VCPU", "value": "5"}]}
    large = tell.submit("true", Fate(), overrides=asked)
    behind = tell.submit("true", Fate())
    tell.until(behind, "RUNNABLE")
    wait_until_told(tell, large)
    tell.say(tell.job(large))
    tell.say(tell.client.get_job_queue_snapshot(jobQueue=tell.queue))
    tell.client.cancel_job(jobId=large, reason="too large")
    tell.ended(large, behind)


def wait_until_told(tell: Teller, handle: str) -> None:
    def look() -> Any:
        if isinstance(tell, Simulated):
            tell.time.wait(0.1)
        return tell.job(handle).get("statusReason")

    wait_for(look)


@story
def lists(tell: Teller) -> None:
    tell.hold(0)
    handles = [tell.submit("true", Fate(), jobName=f"{tell.name}-Listed-{n}") for n in range(3)]
    for handle in handles:
        tell.until(handle, "RUNNABLE")
    for value in ("-listed-1", "-LISTED-*", "-listed", "-none*"):
        rule = {"name": "JOB_NAME", "values": [f"{tell.name}{value}"]}
        found = tell.client.list_jobs(jobQueue=tell.queue, filters=[rule], jobStatus="FAILED")
        tell.say(sorted(found["jobSummaryList"], key=lambda each: each["jobName"]))
    page = tell.client.list_jobs(jobQueue=tell.queue, jobStatus="RUNNABLE", maxResults=2)
    tell.say([len(page["jobSummaryList"]), "nextToken" in page])
    rest = tell.client.list_jobs(
        jobQueue=tell.queue, jobStatus="RUNNABLE", nextToken=page["nextToken"]
    )
    tell.say([len(rest["jobSummaryList"]), "nextToken" in rest])
    tell.say(tell.client.list_jobs(jobQueue=tell.queue))
    for handle in handles:
        tell.client.terminate_job(jobId=handle, reason="listed")
    tell.ended(*handles)


@story
def refusals(tell: Teller) -> None:
    client, given = tell.client, {"jobQueue": tell.queue, "jobDefinition": tell.definition}
    tell.refused("submit_job", jobName="no name", **given)
    tell.refused("submit_job", jobName="a", **{**given, "jobQueue": "none"})
    tell.refused("submit_job", jobName="a", **{**given, "jobDefinition": "none:1"})
    tell.refused("submit_job", jobName="a", shareIdentifier="s", **given)
    tell.refused("submit_job", jobName="a", arrayProperties={"size": 10_001}, **given)
    tell.refused("submit_job", jobName="a", timeout={"attemptDurationSeconds": 59}, **given)
    large = {"command": ["x" * 8_192]}
    tell.refused("submit_job", jobName="a", containerOverrides=large, **given)
    kept = {"environment": [{"name": "AWS_BATCH_X", "value": "1"}]}
    tell.refused("submit_job", jobName="a", containerOverrides=kept, **given)
    tell.refused("describe_jobs", jobs=["x"] * 101)
    tell.refused("list_jobs", jobQueue=tell.queue, arrayJobId="x")
    rule = {"name": "JOB_NAME", "values": ["a"]}
    tell.refused("list_jobs", arrayJobId="x", filters=[rule])
    tell.refused("list_jobs", jobQueue="none")
    tell.refused("list_jobs", jobQueue=tell.queue, nextToken="!")
    tell.refused("terminate_job", jobId="x", reason="")
    client.terminate_job(jobId="x", reason="who?")
    client.cancel_job(jobId="x", reason="who?")
    client.update_job_queue(jobQueue=tell.queue, state="DISABLED")
    tell.refused("submit_job", jobName="a", **given)
    client.deregister_job_definition(jobDefinition=tell.definition)
    client.update_job_queue(jobQueue=tell.queue, state="ENABLED")
    tell.refused("submit_job", jobName="a", **given)


@story
def what_stands_still(tell: Teller) -> None:
    client, second = tell.client, tell.define(parameters={"a": "b"}, tags={"c": "d"})
    tell.say(client.describe_job_queues(jobQueues=[tell.queue, "none"]))
    tell.say(client.describe_compute_environments(computeEnvironments=[tell.name]))
    tell.say(client.describe_job_definitions(jobDefinitionName=tell.name, status="ACTIVE"))
    client.deregister_job_definition(jobDefinition=second)
    tell.say(client.describe_job_definitions(jobDefinitions=[tell.definition, second]))


@pytest.fixture
def undisturbed(make: Maker) -> Iterator[None]:
    make.bed.hook("batch/timeouts", {"scale": 0.005})
    yield
    make.bed.hook("batch/timeouts", {"scale": 1})
    make.bed.hook("batch/slots", {"jobs": 8})


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("tell", STORIES, ids=lambda each: each.__name__)
def test_both_models_tell_the_same(make: Maker, tell: Story) -> None:
    of_processes, of_virtual_time = OnTestBed(make), Simulated(make)
    for teller in (of_processes, of_virtual_time):
        tell(teller)
    assert of_virtual_time.said == of_processes.said != []


def _plain(answer: Any, name: str) -> Any:
    if isinstance(answer, dict):
        return {
            key: ("a time" if key in _TIMES else _plain(value, name))
            for key, value in answer.items()
            if key != "ResponseMetadata"
        }
    if isinstance(answer, list):
        return [_plain(each, name) for each in answer]
    if isinstance(answer, str):
        return _STREAM.sub("/default/stream", _ID.sub("ID", answer.replace(name, "NAME")))
    return answer
