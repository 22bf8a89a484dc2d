"""The backend over fakes of what it calls: looking, ending, nudging, logs."""

from __future__ import annotations

import pytest

from hut.backends.ec2 import Ec2Backend, Nudge, job_from_execution
from hut.backends.hosts import Phase
from hut.backends.markers import nonce_of
from hut.backends.port import Job, JobState, LogPage, RemoteBackend, Usage
from hut.lifecycle.attempt import cancelled_before_start
from hut.lifecycle.task_program import Left
from hut.model.problems import InvalidInput
from hut.model.quantities import Gres
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import Resources, TaskSpec
from tests.ec2.account import Account
from tests.ec2.fake_aws import refusal
from tests.ec2.plain_ec2 import ended, options, request_of, run_of

TRUE = TaskSpec("t", "true")
NAME = request_of(TRUE).name
RUN = run_of()


@pytest.fixture
def backend(account: Account) -> Ec2Backend:
    return account.backend()


def start(account: Account, number: int = 1) -> list[str]:
    requests = [request_of(TRUE, position=position) for position in range(3, 3 + number)]
    account.backend().submit(requests)
    return [request.name for request in requests]


def launched(account: Account, name: str, number: int = 1) -> str:
    """Let the state machine have launched an instance for an attempt."""
    instance = account.ec2.launch(number, name, at=account.now)
    account.hosts.own(instance, name, at=account.now)
    account.hosts.note(name, Phase.BOOTING, instance=instance, type="c5.xlarge")
    return instance


def test_it_is_a_backend(backend: Ec2Backend):
    as_port: RemoteBackend = backend
    assert as_port.name == "ec2"
    assert as_port.arrays([request_of(TRUE)]) == []
    assert (as_port.queues(), as_port.running("x"), as_port.quiet({"x": (1, 1)})) == ((), (), set())
    assert as_port.why_no_log() is None
    assert as_port.place().has_room
    assert "true" in as_port.script(RUN, TRUE, 1)


# Ending -------------------------------------------------------------------------------------------


def test_a_job_is_stopped_and_its_instance_ended(account: Account, backend: Ec2Backend):
    (name,) = start(account)
    instance = launched(account, name)
    backend.terminate([name], "cancelled")
    execution = account.states.executions[name]
    assert (execution.status, execution.error) == ("ABORTED", "Hut.Cancelled")
    assert execution.cause == "hut: cancelled"
    assert instance not in account.ec2.live
    assert account.hosts.owners == {}
    backend.terminate([name], "cancelled")  # it comes twice


def test_what_was_never_started_is_no_error(account: Account, backend: Ec2Backend):
    backend.terminate(["hut-abcdefghij-9-1-1"], "cancelled")
    backend.terminate([], "cancelled")
    assert account.client.count("stop_execution") == 1


def test_an_instance_that_was_taken_is_found_by_what_is_noted(
    account: Account, backend: Ec2Backend
):
    (name,) = start(account)
    instance = account.ec2.launch(1, "hut-abcdefghij-0-1-1")
    account.hosts.own(instance, name)
    account.hosts.note(name, Phase.RUNNING, instance=instance)
    backend.terminate([name], "cancelled")
    assert instance not in account.ec2.live


def test_an_instance_that_somebody_else_has_by_now_is_left_alone(
    account: Account, backend: Ec2Backend
):
    (name,) = start(account)
    instance = account.ec2.launch(1, name)
    account.hosts.note(name, Phase.RUNNING, instance=instance)
    account.hosts.own(instance, "hut-abcdefghij-9-1-1")
    backend.terminate([name], "cancelled")
    assert instance in account.ec2.live
    assert account.hosts.owners[instance].name == "hut-abcdefghij-9-1-1"


def test_an_instance_that_is_taken_in_that_moment_is_left_alone(
    account: Account, backend: Ec2Backend
):
    (name,) = start(account)
    instance = launched(account, name)
    account.hosts.before_change = [lambda: account.hosts.own(instance, "another")]
    backend.terminate([name], "cancelled")
    assert instance in account.ec2.live


def test_an_instance_that_the_attempt_has_left_stays_idle(account: Account, backend: Ec2Backend):
    (name,) = start(account)
    instance = account.ec2.launch(1, name)
    account.hosts.note(name, Phase.RUNNING, instance=instance)
    account.hosts.rest(instance, account.now + 500, name=name)
    backend.terminate([name], "cancelled")
    assert instance in account.ec2.live
    assert instance in account.hosts.free


def test_an_instance_without_a_note_is_found_by_its_tags(account: Account, backend: Ec2Backend):
    names = start(account, 5)
    instances = [account.ec2.launch(number, name) for number, name in enumerate(names)]
    account.ec2.launch(9, names[0], hut="another")
    backend.terminate(names, "cancelled")
    assert account.ec2.live == {"i-00000000000000009"}
    assert len(instances) == 5


def test_more_names_than_a_filter_takes(account: Account, backend: Ec2Backend):
    names = [f"hut-abcdefghij-{number}-1-1" for number in range(201)]
    instance = account.ec2.launch(1, names[200])
    assert backend.end_instances(names) == 1
    assert instance not in account.ec2.live


def test_all_are_tried_before_an_error_is_raised(account: Account, backend: Ec2Backend):
    names = start(account, 3)
    instances = [launched(account, name, number) for number, name in enumerate(names)]
    account.states.before["stop"] = [refusal("StopExecution", "ThrottlingException")]
    with pytest.raises(Exception, match="ThrottlingException made by a test"):
        backend.terminate(names, "cancelled")
    statuses = [account.states.executions[name].status for name in names]
    assert sorted(statuses) == ["ABORTED", "ABORTED", "RUNNING"]
    kept = instances[statuses.index("RUNNING")]
    assert account.ec2.live == {kept}  # one that could not be stopped keeps its instance


def test_one_id_that_is_unknown_does_not_keep_the_others(account: Account, backend: Ec2Backend):
    names = start(account, 2)
    instances = [launched(account, name, number) for number, name in enumerate(names)]
    account.ec2.before["terminate"] = [refusal("TerminateInstances", "InvalidInstanceID.NotFound")]
    backend.terminate(names, "cancelled")
    assert not set(instances) & account.ec2.live


def test_an_instance_that_can_not_be_ended_is_an_error_and_comes_again(
    account: Account, backend: Ec2Backend
):
    (name,) = start(account)
    instance = launched(account, name)
    account.ec2.before["terminate"] = [refusal("TerminateInstances", "UnauthorizedOperation", 403)]
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        backend.terminate([name], "cancelled")
    assert instance in account.ec2.live
    assert backend.end_instances([name]) == 1
    assert instance not in account.ec2.live


def test_only_jobs_that_wait_for_an_instance_are_cancelled(account: Account, backend: Ec2Backend):
    names = start(account, 4)
    for name, phase in zip(names, [*Phase, None], strict=True):
        if phase is not None:
            account.hosts.note(name, phase)
    backend.cancel({name: f"queue_timeout: {name}" for name in names})
    left = [name for name in names if account.states.executions[name].status == "RUNNING"]
    assert left == [names[[*Phase].index(phase)] for phase in (Phase.BOOTING, Phase.RUNNING)]
    causes = {each.cause for each in account.states.executions.values() if each.cause}
    assert causes == {f"hut: queue_timeout: {name}" for name in names if name not in left}
    jobs = backend.describe(names)
    reasons = {name: job.outcome and job.outcome.reason for name, job in jobs.items()}
    assert set(reasons.values()) == {None, Reason.QUEUE_TIMEOUT}


# Looking ------------------------------------------------------------------------------------------


def test_jobs_are_described_as_far_as_they_are(account: Account, backend: Ec2Backend):
    names = start(account, 3)
    account.hosts.note(names[1], Phase.RUNNING, sent_at=account.now, instance="i-1")
    account.states.end(names[2], error="exit", cause=ended(name=names[2], exit_code=4)["cause"])
    jobs = backend.describe([*names, "hut-abcdefghij-9-1-1", names[0]])
    assert list(jobs) == names
    assert [job.state for job in jobs.values()] == [
        JobState.WAITING,
        JobState.RUNNING,
        JobState.ENDED,
    ]
    assert jobs[names[2]].outcome == Outcome(TaskState.FAILED, Reason.EXIT, 4, "exit code 4")


@pytest.mark.parametrize("number", [2, 40])
def test_many_jobs_take_few_calls(account: Account, backend: Ec2Backend, number):
    names = start(account, number)
    account.states.end(names[0], status="ABORTED", cause="hut: cancelled")
    account.states.hidden.add(names[1])
    jobs = backend.describe(names)
    assert list(jobs) and set(jobs) == set(names)  # noqa: PT018
    assert jobs[names[0]].state is JobState.ENDED
    assert jobs[names[1]].state is JobState.WAITING
    assert account.client.count("describe_execution") == 2
    assert account.client.count("list_executions") == (0 if number < 11 else 13)


def test_jobs_are_found_by_their_names_while_there_is_time(account: Account, backend: Ec2Backend):
    (name,) = start(account)
    others = [f"hut-abcdefghij-{number}-1-1" for number in range(60)]
    found = backend.find([name, *others])
    assert [job.handle for job in found[name]] == [name]
    assert all(found[other] == [] for other in others)
    times = iter([True, False])
    assert len(backend.find([*others, name], lambda: next(times))) == 50


def test_why_says_how_far_it_is(account: Account, backend: Ec2Backend):
    (name,) = start(account)
    assert backend.waiting(TRUE, None).known
    waiting = backend.waiting(TRUE, name)
    assert (waiting.service, waiting.status, waiting.known) == ("EC2", "starting", True)
    account.hosts.note(
        name, Phase.LAUNCHING, launching_since=400.0, capacity_errors=12, said="no c5.xlarge here"
    )
    waiting = backend.waiting(TRUE, name)
    assert waiting.status == "launching"
    assert waiting.meaning == "has waited {span} for an instance; EC2 had none in 12 tries in 10m"
    assert waiting.said == "no c5.xlarge here"
    assert "more instance types" in waiting.advice[0]
    account.hosts.note(
        name, Phase.BOOTING, instance="i-1", type="c5.xlarge", since=940.0, spot=True
    )
    waiting = backend.waiting(TRUE, name)
    assert waiting.meaning == (
        "has waited {span}, the last 1m for instance i-1 (c5.xlarge, spot) to come online in SSM"
    )
    assert "after 10m it is given up" in waiting.advice[0]
    account.hosts.note(name, Phase.RUNNING, instance="i-1", type="c5.xlarge", sent_at=970.0)
    waiting = backend.waiting(TRUE, name)
    assert waiting.meaning == "has run 30s on instance i-1 (c5.xlarge)"


def test_why_names_what_it_could_not_find_out(account: Account, backend: Ec2Backend):
    assert not backend.waiting(TRUE, NAME).known
    account.states.before["describe"] = [refusal("DescribeExecution", "AccessDeniedException")]
    (gap,) = backend.waiting(TRUE, NAME).unasked
    assert gap == "its job could not be looked at: AccessDeniedException made by a test"
    (gap,) = backend.waiting(TRUE._replace(partition="big"), None).unasked
    assert "no partition 'big'" in gap


# Nudges -------------------------------------------------------------------------------------------


def test_news_wake_the_state_machine_that_waits(account: Account, backend: Ec2Backend):
    assert backend.nudge("i-1") is Nudge.NOBODY
    account.hosts.own("i-1", NAME)
    assert backend.nudge("i-1") is Nudge.NOT_YET
    account.hosts.note(NAME, Phase.BOOTING, instance="i-1")
    assert backend.nudge("i-1") is Nudge.NOT_YET
    account.hosts.note(NAME, Phase.RUNNING, instance="i-1", token="secret")
    account.states.tokens.add("secret")
    assert backend.nudge("i-1") is Nudge.TAKEN
    assert account.states.tokens == set()
    assert backend.nudge("i-1") is Nudge.OVER


def test_a_nudge_that_was_refused_is_to_come_again(account: Account, backend: Ec2Backend):
    account.hosts.own("i-1", NAME)
    account.hosts.note(NAME, Phase.RUNNING, token="secret")
    account.states.before["nudge"] = [refusal("SendTaskSuccess", "AccessDeniedException")]
    with pytest.raises(Exception, match="AccessDeniedException"):
        backend.nudge("i-1")


# Outcomes, costs, logs ----------------------------------------------------------------------------


def end_of(account: Account, **changes) -> Job:
    (name,) = start(account)
    detail = ended(name=name, **changes)
    account.states.end(name, detail["status"], error=detail["error"], cause=detail["cause"])
    return account.backend().describe([name])[name]


def marker(text: str) -> str:
    return f"::hut:{nonce_of(RUN, TRUE, 1)}:{text}"


def test_an_end_is_told_without_the_log(account: Account, backend: Ec2Backend):
    job = end_of(account, exit_code=3)
    outcome = backend.outcome(RUN, TRUE, 1, job)
    assert outcome == Outcome(TaskState.FAILED, Reason.EXIT, 3, "exit code 3")
    assert account.logs.reads == 0
    assert backend.cost(job) == pytest.approx(0.017)


def test_a_command_that_was_never_reached_is_told_by_the_log(account: Account, backend: Ec2Backend):
    job = end_of(account, exit_code=125)
    line = marker("not-started the working folder /x does not exist")
    account.logs.streams[f"ec2/{job.name}"] = [[], ["hello", line]]
    outcome = backend.outcome(RUN, TRUE, 1, job)
    message = "the working folder /x does not exist"
    assert outcome == Outcome(TaskState.FAILED, Reason.LAUNCH_FAILED, 125, message)
    assert account.slept == [0.5]


def test_a_command_that_ended_with_that_code_itself_is_left_at_it(
    account: Account, backend: Ec2Backend
):
    outcome = backend.outcome(RUN, TRUE, 1, end_of(account, exit_code=125))
    assert outcome is not None
    assert outcome.reason is Reason.EXIT


def test_a_stopped_job_is_told_by_what_was_noted(account: Account, backend: Ec2Backend):
    (name,) = start(account)
    account.states.now += 200
    backend.terminate([name], "cancelled")
    told = {"name": name, "status": "ABORTED", "cause": "hut: cancelled", "stopDate": 1_200_000}
    job = job_from_execution(told)
    assert backend.outcome(RUN, TRUE, 1, job) == cancelled_before_start()
    assert backend.cost(job) is None
    account.hosts.note(
        name, Phase.RUNNING, type="c5.xlarge", launching_since=900.0, since=1000.0, sent_at=1000.0
    )
    outcome = backend.outcome(RUN, TRUE, 1, job)
    assert outcome == Outcome(TaskState.FAILED, Reason.CANCELLED, None, "cancelled while it ran")
    assert backend.cost(job) == pytest.approx(0.17 * 200 / 3600, rel=1e-4)


def test_what_has_not_ended_has_no_outcome(account: Account, backend: Ec2Backend):
    (name,) = start(account)
    assert backend.outcome(RUN, TRUE, 1, backend.describe([name])[name]) is None


def test_logs_are_read_without_what_is_for_hut(account: Account, backend: Ec2Backend):
    account.logs.streams["ec2/x"] = [["hello", marker("begin base64"), "bye"]]
    assert backend.read_log("ec2/x", None, 10) == LogPage("hello\nbye\n", "f/1")


def test_what_a_task_generated_comes_out_of_its_log(account: Account, backend: Ec2Backend):
    spec = TRUE._replace(generates_source="more.json")
    job = Job(NAME, NAME, JobState.ENDED, log="ec2/x", usage=Usage())
    lines = [marker("begin base64"), marker("data 1 W10="), marker("end 1 -")]
    account.logs.streams["ec2/x"] = [lines[:2], lines]
    assert backend.read_generated(RUN, spec, 1, job) == "[]"
    account.logs.streams["ec2/x"] = [[marker("no-file Permission denied")]]
    with pytest.raises(InvalidInput, match="can't be read: Permission denied"):
        backend.read_generated(RUN, spec, 1, job)
    account.logs.streams["ec2/x"] = [[]]
    assert backend.read_generated(RUN, spec, 1, job) is None
    assert backend.read_left(RUN, spec, 1, job) == (Left(), False)
    lines = [marker("output no-file No such file or directory"), marker("error begin od")]
    lines += [marker("error data 1 5b 5d"), marker("error end 1 -")]
    account.logs.streams["ec2/x"] = [["it said", *lines]]
    left, whole = backend.read_left(RUN, spec, 1, job)
    assert (left.output, left.error, left.no_output, whole) == (None, b"[]", "", True)
    assert set(left.log_tail.splitlines()) == {"it said"}


def test_remarks_share_what_is_alike():
    account = Account()
    types = {"default": ["c5.xlarge", "c5.large"], "gpu": ["g5.xlarge"]}
    large = Resources(cpus=4)
    gpu = Resources(gres=(Gres("gpu", 1),))
    tasks = [
        TRUE._replace(id="a", resources=large),
        TRUE._replace(id="b", resources=large),
        TRUE._replace(id="c"),
        TRUE._replace(id="d", partition="gpu", resources=gpu),
        TRUE._replace(id="e", partition="unknown"),
    ]
    cpus, gres = account.backend(instance_types=types).remarks(tasks)
    assert (cpus.task, cpus.field) == ("a", "cpus")
    assert "cpus: 4 is more than c5.large has (2)" in cpus.message
    assert cpus.message.endswith("(also in 1 other task)")
    assert (gres.task, gres.field) == ("d", "gres")
    assert "no drivers for GPUs" in gres.message
    own = {"instance_types": types, "ami": "ami-0123456789abcdef0"}
    assert len(account.backend(**own).remarks(tasks)) == 1
    assert options(**own).ami != "al2023"
