"""The backend against moto's Batch (which accepts jobs and ends them at once), S3 and logs.

What moto does not do (errors of every kind, lost answers) is stubbed with botocore's Stubber, which
checks parameters and answers against AWS's own description of its API.
"""

import base64
import time
from dataclasses import replace

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from hut.backends.batch import BatchBackend, Clients
from hut.backends.errors import is_throttled
from hut.backends.markers import cksum, nonce_of
from hut.backends.pace import OwnBucket, Pace
from hut.backends.port import Job, JobState, LogPage, RemoteBackend, SubmitResult
from hut.lifecycle.attempt import Evidence, judge
from hut.lifecycle.task_program import Left
from hut.model.problems import InvalidInput
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import Resources, TaskCall, TaskSpec
from hut.scheduling.pacing import Bucket
from tests.batch.plain_batch import options, request_of, run_of

ONCE = Config(retries={"total_max_attempts": 1})
TRUE = TaskSpec("t", "true")
NAME = request_of(TRUE).name


def client(service):
    return boto3.client(
        service, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x", config=ONCE
    )


def nothing(_):
    """Don't sleep."""


def backend_of(batch, logs=None, s3=None, submit=None, **changes):
    clients = Clients(batch, logs, s3 or client("s3"), "bucket", submit)
    return BatchBackend(
        options(**changes), clients, pace=Pace(most=1e9, sleep=nothing), sleep=nothing
    )


@pytest.fixture
def aws():
    """Two queues, a bucket and a log stream on moto."""
    with mock_aws(config={"batch": {"use_docker": False}}):
        role = client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
        batch = client("batch")
        environment = batch.create_compute_environment(
            computeEnvironmentName="environment",
            type="UNMANAGED",
            state="ENABLED",
            serviceRole=role["Role"]["Arn"],
        )
        order = [{"order": 1, "computeEnvironment": environment["computeEnvironmentArn"]}]
        queues = {
            name: batch.create_job_queue(
                jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
            )["jobQueueArn"]
            for name in ("ec2", "fargate")
        }
        s3, logs = client("s3"), client("logs")
        s3.create_bucket(Bucket="bucket")
        logs.create_log_group(logGroupName="/hut/jobs")
        logs.create_log_stream(logGroupName="/hut/jobs", logStreamName="s")
        yield backend_of(batch, logs, s3, queues=queues)


@pytest.fixture
def stub():
    batch = client("batch")
    with Stubber(batch) as stubber:
        yield batch, stubber


def expect_definition(stubber, revision=1):
    stubber.add_response(
        "describe_job_definitions",
        {
            "jobDefinitions": [
                {
                    "jobDefinitionName": "d",
                    "jobDefinitionArn": f"arn:d:{revision}",
                    "revision": revision,
                    "type": "container",
                }
            ]
        },
    )


def expect_job(stubber, handle="j1"):
    stubber.add_response("submit_job", {"jobName": "n", "jobId": handle})


def expect_error(stubber, call, code, message="", status=400):
    stubber.add_client_error(call, code, message, http_status_code=status)


def write(backend, *lines):
    now = int(time.time() * 1000)
    backend._logs._client.put_log_events(
        logGroupName="/hut/jobs",
        logStreamName="s",
        logEvents=[{"timestamp": now, "message": line} for line in lines],
    )


def ended(code, log="s"):
    return Job("n", "j", JobState.ENDED, judge(Evidence(code)), log)


def test_it_is_a_backend(aws):
    backend: RemoteBackend = aws
    assert backend.name == "batch"


def test_a_job_is_submitted_described_and_found(aws):
    request = request_of(TRUE)
    (result,) = aws.submit([request])
    assert result == SubmitResult(result.handle)
    jobs = aws.describe([result.handle, "forgotten"])
    assert list(jobs) == [result.handle]
    assert jobs[result.handle].name == request.name
    assert aws.find([request.name, "hut-none-1-1-1"]) == {
        request.name: [jobs[result.handle]],
        "hut-none-1-1-1": [],
    }


def test_jobs_of_the_same_name_are_found_oldest_first(aws):
    request = request_of(TRUE)
    elsewhere = request_of(TRUE._replace(partition="ec2"))
    handles = [aws.submit([one])[0].handle for one in (request, elsewhere, request)]
    found = aws.find([request.name])[request.name]
    assert {job.handle for job in found} == set(handles)
    assert [job.created_at for job in found] == sorted(job.created_at for job in found)


def test_many_are_submitted_in_order_with_one_definition(aws):
    specs = [TRUE._replace(id=f"t{number}") for number in range(150)]
    asked = [
        request_of(spec)._replace(name=f"hut-run-{number}-1-1") for number, spec in enumerate(specs)
    ]
    results = aws.submit(asked)
    jobs = aws.describe([result.handle for result in results])
    assert [jobs[result.handle].name for result in results] == [request.name for request in asked]
    assert len(aws._batch.describe_job_definitions()["jobDefinitions"]) == 1


def test_nothing_asked_is_nothing_done(stub):
    backend = backend_of(stub[0])
    assert backend.submit([]) == []
    assert backend.describe([]) == {}
    assert backend.find([]) == {}
    backend.terminate([], "cancelled")


def test_a_large_script_is_stored_and_can_be_read_by_its_url(aws):
    request = request_of(TaskSpec("t", "true # " + "é" * 5000))
    (result,) = aws.submit([request])
    assert result.handle is not None
    stored = aws._submitter._s3.get_object(Bucket="bucket", Key="scripts/abcdefghij/3-1-2.sh")
    script = stored["Body"].read().decode()
    assert script.endswith(request.claim.spec.command + "\n")
    url = aws._submitter._stored("scripts/abcdefghij/3-1-2.sh").url
    assert requests.get(url, timeout=60).content.decode() == script


def test_a_script_that_cannot_be_stored_is_tried_again_later(aws):
    aws._submitter._s3.delete_bucket(Bucket="bucket")
    (result,) = aws.submit([request_of(TaskSpec("t", "x" * 9000))])
    assert (result.handle, result.outcome) == (None, None)
    assert "could not be stored" in result.detail


def test_what_can_never_run_is_told_and_the_rest_is_submitted(aws):
    lost = TRUE._replace(partition="ec3")
    results = aws.submit([request_of(lost), request_of(TRUE)])
    assert results[0].outcome == Outcome(
        TaskState.FAILED,
        Reason.UNSATISFIABLE,
        None,
        "backend 'batch' has no partition 'ec3'; known: ec2, fargate",
    )
    assert results[1].handle is not None


def test_people_see_the_script_with_its_variables(aws):
    spec = TaskSpec("t", "echo $A", env_vars={"A": "it's"}, working_dir="data")
    script = aws.script(run_of(), spec, 2)
    assert "export A='it'\"'\"'s'\n" in script
    assert "HUT_ATTEMPT=2\n" in script
    assert 'cd -- "$HOME"/data || exit 125\n' in script
    assert "::hut:" not in script


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("AccessDeniedException", "not authorized to perform: batch:SubmitJob", 403),
        ("ClientException", "User is not authorized to perform: batch:TagResource", 400),
        ("ClientException", "Error executing request, Exception : Queue is disabled", 400),
        ("ClientException", "Job queue hut-ec2 is not ENABLED", 400),
        ("ClientException", "Job Queue hut-ec2 must be in a VALID state", 400),
    ],
)
def test_what_passes_leaves_the_attempt_alone(stub, code, message, status):
    batch, stubber = stub
    expect_definition(stubber)
    expect_error(stubber, "submit_job", code, message, status)
    (result,) = backend_of(batch).submit([request_of(TRUE)])
    assert (result.handle, result.outcome) == (None, None)
    assert result.detail


def test_what_can_never_succeed_ends_the_attempt(stub):
    batch, stubber = stub
    expect_definition(stubber)
    said = "Error executing request, Exception : JobQueue arn not found., RequestId: 5b2a-4c"
    expect_error(stubber, "submit_job", "ClientException", said)
    (result,) = backend_of(batch).submit([request_of(TRUE)])
    message = "AWS Batch refused the job: JobQueue arn not found."
    assert result.outcome == Outcome(TaskState.FAILED, Reason.LAUNCH_FAILED, None, message)


def test_a_definition_that_is_gone_is_looked_up_again(stub):
    batch, stubber = stub
    gone = "Job Definition arn:d:1 not found or inactive"
    expect_definition(stubber)
    expect_error(stubber, "submit_job", "ClientException", gone)
    expect_definition(stubber, revision=2)
    expect_job(stubber)
    assert backend_of(batch).submit([request_of(TRUE)]) == [SubmitResult("j1")]
    stubber.assert_no_pending_responses()


def test_a_definition_that_stays_gone_ends_the_attempt(stub):
    batch, stubber = stub
    for _ in range(2):
        expect_definition(stubber)
        expect_error(stubber, "submit_job", "ClientException", "Job Definition not found")
    (result,) = backend_of(batch).submit([request_of(TRUE)])
    assert result.outcome.reason is Reason.LAUNCH_FAILED


def test_a_definition_that_is_refused_is_asked_for_once(stub):
    batch, stubber = stub
    stubber.add_response("describe_job_definitions", {"jobDefinitions": []})
    expect_error(stubber, "register_job_definition", "ClientException", "bad image")
    results = backend_of(batch).submit([request_of(TRUE), request_of(TRUE)])
    assert [result.outcome.message for result in results] == [
        "AWS Batch refused the job: bad image"
    ] * 2
    stubber.assert_no_pending_responses()


def expect_search(stubber, *handles, name=NAME):
    for some in (handles, ()):  # two queues
        summaries = [{"jobId": handle, "jobName": name} for handle in some]
        stubber.add_response("list_jobs", {"jobSummaryList": summaries})


def expect_description(stubber, *handles):
    jobs = [
        {
            "jobId": handle,
            "jobName": NAME,
            "jobQueue": "q",
            "jobDefinition": "d",
            "status": "RUNNABLE",
            "createdAt": number + 1,
            "startedAt": 0,
        }
        for number, handle in enumerate(handles)
    ]
    stubber.add_response("describe_jobs", {"jobs": jobs})


def one_after_the_other(monkeypatch):
    """Let a stub answer in its order."""
    monkeypatch.setattr("hut.backends.calls._AT_A_TIME", 1)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_job_whose_submit_was_not_answered_is_found(stub, monkeypatch, looks):
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    expect_definition(stubber)
    expect_error(stubber, "submit_job", "ServerException", "internal", 500)
    for _ in range(looks - 1):
        expect_search(stubber)
    expect_search(stubber, "j7", "j8")
    expect_description(stubber, "j7", "j8")
    (result,) = backend_of(batch).submit([request_of(TRUE)])
    assert result.handle == "j7"
    stubber.assert_no_pending_responses()


def test_a_submit_that_was_not_answered_and_is_not_found_is_left_to_the_sweep(stub, monkeypatch):
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    expect_definition(stubber)
    expect_error(stubber, "submit_job", "ServerException", "internal", 500)
    expect_search(stubber)
    expect_error(stubber, "list_jobs", "ServerException", "internal", 500)
    expect_error(stubber, "list_jobs", "ServerException", "internal", 500)
    (result,) = backend_of(batch).submit([request_of(TRUE)])
    assert result == SubmitResult(None, None, "internal", is_unknown=True)


def test_a_submit_that_took_too_long_is_looked_for(stub, monkeypatch):
    one_after_the_other(monkeypatch)
    batch, stubber = stub

    class Slow:
        def submit_job(self, **_):
            raise ReadTimeoutError(endpoint_url="https://batch")

    expect_definition(stubber)
    expect_search(stubber, "j7")
    expect_description(stubber, "j7")
    (result,) = backend_of(batch, submit=Slow()).submit([request_of(TRUE)])
    assert result.handle == "j7"


class Busy:
    """SubmitJob that is throttled a number of times; notes the calls and their times."""

    def __init__(self, times, clock):
        self.times = times
        self.clock = clock
        self.calls = []

    def submit_job(self, **parameters):
        self.calls.append((parameters["jobName"], self.clock.now))
        if self.times:
            self.times -= 1
            error = {"Code": "TooManyRequestsException", "Message": "Too Many Requests"}
            raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 429}}, "S")
        return {"jobId": f"j{len(self.calls)}"}


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def paced(stub, monkeypatch, times, shared=None):
    """Return a backend in virtual time whose SubmitJob is throttled so often."""
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    expect_definition(stubber)
    clock = Clock()
    busy = Busy(times, clock)
    pace = Pace(shared, clock=clock, sleep=clock.sleep)
    return BatchBackend(options(), Clients(batch, None, None, "b", busy), pace=pace), busy


def requests_of(number):
    return [request_of(TRUE)._replace(name=f"hut-run-{n}-1-1") for n in range(number)]


def test_a_submission_that_was_throttled_stands_in_line_again(stub, monkeypatch):
    backend, busy = paced(stub, monkeypatch, times=2)
    results = backend.submit(requests_of(4))
    assert [result.handle for result in results] == ["j5", "j6", "j3", "j4"]
    assert len(busy.calls) == 6
    assert backend._pace._shared.load()[0].rate == 25


@pytest.mark.parametrize(
    ("code", "status", "throttled"),
    [
        ("TooManyRequestsException", 429, True),
        ("ThrottlingException", 400, True),
        ("Unknown", 429, True),
        ("ClientException", 400, False),
        ("ServerException", 500, False),
    ],
)
def test_what_comes_too_soon_is_known_by_its_code(code, status, throttled):
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert is_throttled(ClientError(answer, "SubmitJob")) is throttled


def test_a_service_that_throttles_all_calls_is_left_alone(stub, monkeypatch):
    backend, busy = paced(stub, monkeypatch, times=10**6)
    results = backend.submit(requests_of(80))
    assert all(result[:2] == (None, None) for result in results)
    assert {result.detail for result in results} <= {
        "throttled by AWS Batch",
        "others submit as many jobs as AWS Batch takes",
    }
    assert len(busy.calls) < 120  # in ten seconds in which 500 would have been possible
    assert busy.calls[-1][1] <= 1011
    assert backend._pace._shared.load()[0].rate < 10


def test_what_there_is_no_turn_for_is_not_submitted(stub, monkeypatch):
    shared = OwnBucket()
    shared.swap(0, Bucket(50.0, 1009.95, 1000.0))
    backend, busy = paced(stub, monkeypatch, times=0, shared=shared)
    results = backend.submit(requests_of(40))
    assert [result.handle is not None for result in results] == [True] * 5 + [False] * 35
    assert len(busy.calls) == 5
    assert results[-1].again_at == pytest.approx(1010.05)


def test_calls_are_made_at_their_times(stub, monkeypatch):
    backend, busy = paced(stub, monkeypatch, times=0)
    backend.submit(requests_of(80))
    times = [at for _, at in busy.calls]
    assert times == pytest.approx([1000 + n / 50 for n in range(80)])


def test_names_that_differ_in_capitals_are_others(stub, monkeypatch):
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    expect_search(stubber, "j7", name="HUT-run-1-1-1")
    assert backend_of(batch).find(["hut-run-1-1-1"]) == {"hut-run-1-1-1": []}


def test_jobs_are_terminated_with_a_reason_that_is_known_again(stub):
    batch, stubber = stub
    asked = {"jobId": "j1", "reason": "hut: cancelled"}
    stubber.add_response("terminate_job", {}, asked)
    stubber.add_response("terminate_job", {}, asked)
    backend = backend_of(batch)
    backend.terminate(["j1"], "cancelled")
    backend.terminate(["j1"], "hut: cancelled")
    stubber.assert_no_pending_responses()


def test_jobs_that_wait_are_cancelled_each_with_its_reason(stub, monkeypatch):
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    stubber.add_response("cancel_job", {}, {"jobId": "j1", "reason": "hut: queue_timeout: a"})
    stubber.add_response("cancel_job", {}, {"jobId": "p:7", "reason": "hut: queue_timeout: b"})
    backend_of(batch).cancel({"j1": "queue_timeout: a", "p:7": "hut: queue_timeout: b"})
    stubber.assert_no_pending_responses()


def test_all_jobs_are_tried_before_an_error_is_raised(stub, monkeypatch):
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    expect_error(stubber, "terminate_job", "ClientException", "Job j1 not found")
    expect_error(stubber, "terminate_job", "TooManyRequestsException", "slow down", 429)
    stubber.add_response("terminate_job", {}, {"jobId": "j3", "reason": "hut: " + "x" * 1019})
    with pytest.raises(batch.exceptions.ClientError, match="TooManyRequests"):
        backend_of(batch).terminate(["j1", "j2", "j3"], "x" * 2000)
    stubber.assert_no_pending_responses()


def marked(spec, *lines):
    return [f"::hut:{nonce_of(run_of(), spec, 1)}:{line}" for line in lines]


GENERATOR = TaskSpec("t", "true", generates_source="more/tasks.json")
JOB = Job("name", "j", JobState.ENDED, log="s")


def test_a_log_is_read(aws):
    write(aws, "one", *marked(TRUE, "begin od"), "two")
    page = aws.read_log("s", None, 100)
    assert page.text == "one\ntwo\n"
    assert aws.read_log("s", page.cursor, 100) == LogPage("", page.cursor)
    assert aws.read_log("none", None, 100) == LogPage("", None)


def test_what_was_generated_is_read(aws):
    content = '[{"id": "é"}]\n' * 900
    data = content.encode()
    encoded = base64.b64encode(data).decode()
    pieces = [encoded[start : start + 100] for start in range(0, len(encoded), 100)]
    lines = [f"data {number} {piece}" for number, piece in enumerate(pieces, 1)]
    end = f"end {len(pieces)} cksum={cksum(data)},{len(data)}"
    write(aws, "noise", *marked(GENERATOR, "begin base64", *lines, end))
    assert aws.read_generated(run_of(), GENERATOR, 1, JOB) == content


def test_what_is_not_all_there_is_none(aws):
    write(aws, *marked(GENERATOR, "begin base64", "data 1 YQ=="))
    assert aws.read_generated(run_of(), GENERATOR, 1, JOB) is None
    assert aws.read_generated(run_of(), GENERATOR, 1, replace(JOB, log="none")) is None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["no-file No such file or directory"], "can't be read: No such file or directory"),
        (["begin od", "data 1 ff", "end 1 -"], "is not UTF-8 text"),
        (["begin od", "data 1 61", "end 1 cksum=1,1"], "its copy in the log is not what"),
    ],
)
def test_what_cannot_be_used_is_told(aws, lines, told):
    write(aws, *marked(GENERATOR, *lines))
    with pytest.raises(InvalidInput) as caught:
        aws.read_generated(run_of(), GENERATOR, 1, JOB)
    assert told in str(caught.value.problems[0])
    assert caught.value.source == "~/more/tasks.json"


def test_what_a_task_program_left_is_read(aws):
    spec = TaskSpec("t", "true", call=TaskCall("t", "1"))
    job = replace(JOB, outcome=Outcome(TaskState.COMPLETED, Reason.EXIT, 0))
    absent, given = "error no-file No such file or directory", "output begin base64"
    write(aws, "noise", *marked(spec, given, "output data 1 W10="))
    assert aws.read_left(run_of(), spec, 1, job)[1] is False
    assert aws.read_left(run_of(), spec, 1, replace(job, log=None)) == (Left(), False)
    write(aws, *marked(spec, "output end 1 -", absent))
    assert aws.read_left(run_of(), spec, 1, job) == (Left(b"[]", log_tail="noise"), True)


SHORT = TaskSpec("t", "true", resources=Resources(time_limit=5))


def test_the_log_is_read_for_ends_that_it_explains(aws):
    write(aws, *marked(SHORT, "timeout stopped at its time limit of 5s", "not-started no folder"))
    outcome = aws.outcome(run_of(), SHORT, 1, ended(124))
    assert (outcome.reason, outcome.message) == (
        Reason.TIMEOUT,
        "stopped at its time limit of 5s",
    )
    outcome = aws.outcome(run_of(), TRUE, 1, ended(125))
    assert (outcome.reason, outcome.message) == (Reason.LAUNCH_FAILED, "no folder")
    assert aws.outcome(run_of(), TRUE, 2, ended(125)) == judge(Evidence(125))


def test_the_log_is_read_for_no_other_end(stub):
    backend = backend_of(stub[0], logs=None)
    for job in (ended(0), ended(1), ended(124), ended(125, log=None)):
        assert backend.outcome(run_of(), TRUE, 1, job) == job.outcome
    running = Job("n", "j", JobState.RUNNING, None, "s")
    assert backend.outcome(run_of(), TRUE, 1, running) is None


def test_a_timeout_of_batch_names_the_tasks_limit(stub):
    end = judge(Evidence(137, timed_out=True, time_limit=120))
    job = Job("n", "j", JobState.ENDED, end, "s")
    told = backend_of(stub[0]).outcome(run_of(), SHORT, 1, job)
    assert told.message == "stopped at its time limit of 5s"


# Job definitions of one's own ---------------------------------------------------------------------

OWN = {
    "jobDefinitionName": "d",
    "jobDefinitionArn": "arn:d:1",
    "revision": 1,
    "status": "ACTIVE",
    "type": "container",
    "platformCapabilities": ["FARGATE"],
    "containerProperties": {"image": "lab/base"},
}


def expect_own(stubber, **container):
    properties = {**OWN["containerProperties"], **container}
    answer = {"jobDefinitions": [{**OWN, "containerProperties": properties}]}
    stubber.add_response("describe_job_definitions", answer)


def test_jobs_are_submitted_against_a_locked_definition(stub, monkeypatch):
    one_after_the_other(monkeypatch)
    batch, stubber = stub
    expect_own(stubber)
    backend = backend_of(batch, job_definition="d", retry_attempts=2)
    submitted = []
    backend._submitter._submit_client = FakeSubmit(submitted)
    own = request_of(TRUE._replace(image="other"))
    assert backend.submit([request_of(TRUE), own]) == [SubmitResult("j0"), SubmitResult("j1")]
    assert [job["jobDefinition"] for job in submitted] == ["d", "d"]
    assert [job["retryStrategy"] for job in submitted] == [{"attempts": 2}] * 2
    stubber.assert_no_pending_responses()


class FakeSubmit:
    """Takes every job, and refuses those against definitions that are gone."""

    def __init__(self, submitted, gone=(), error=None):
        self._submitted, self._gone, self._error = submitted, gone, error

    def submit_job(self, **parameters):
        if parameters["jobDefinition"] in self._gone:
            raise self._error
        self._submitted.append(parameters)
        return {"jobId": f"j{len(self._submitted) - 1}"}


@pytest.mark.parametrize("mode", ["locked", "revisions"])
def test_a_definition_of_ones_own_that_is_gone_ends_the_attempts(stub, mode):
    batch, stubber = stub
    stubber.add_response("describe_job_definitions", {"jobDefinitions": []})
    backend = backend_of(batch, job_definition="d", job_definition_mode=mode)
    results = backend.submit([request_of(TRUE), request_of(TRUE)])
    assert {result.outcome.reason for result in results} == {Reason.LAUNCH_FAILED}
    assert "job definition 'd' does not exist or is not ACTIVE" in results[0].outcome.message


def test_a_definition_of_ones_own_that_goes_meanwhile_ends_the_attempt(stub):
    batch, stubber = stub
    expect_own(stubber)
    expect_error(stubber, "submit_job", "ClientException", "JobDefinition d is not found")
    stubber.add_response("describe_job_definitions", {"jobDefinitions": []})
    (result,) = backend_of(batch, job_definition="d").submit([request_of(TRUE)])
    assert result.outcome.reason is Reason.LAUNCH_FAILED
    assert "does not exist or is not ACTIVE" in result.outcome.message
    stubber.assert_no_pending_responses()


def test_a_definition_that_cannot_be_looked_up_now_is_asked_for_later(stub):
    batch, stubber = stub
    expect_error(
        stubber, "describe_job_definitions", "AccessDeniedException", "not authorized", 403
    )
    (result,) = backend_of(batch, job_definition="d").submit([request_of(TRUE)])
    assert (result.handle, result.outcome) == (None, None)


def test_it_remarks_on_images_that_a_locked_definition_ignores(stub):
    batch, stubber = stub
    backend = backend_of(batch, job_definition="d")
    expect_own(stubber)
    [remark] = backend.remarks([TRUE, TRUE._replace(image="other")])
    assert "'other' is ignored" in remark.message
    assert backend_of(batch).remarks([TRUE._replace(image="other")]) == []
    stubber.add_response("describe_job_definitions", {"jobDefinitions": []})
    [remark] = backend_of(batch, job_definition="d:2").remarks([TRUE])
    assert "no usable job definition: job definition 'd:2' does not exist" in remark.message


def test_it_says_in_the_end_which_image_was_ignored(stub):
    batch, _ = stub
    job = ended(0)
    spec = TRUE._replace(image="other")
    seen = replace(job, image="lab/base")
    told = backend_of(batch, job_definition="d").outcome(run_of(), spec, 1, seen)
    assert told.state is TaskState.COMPLETED
    assert "image 'other' was ignored" in told.message
    assert backend_of(batch).outcome(run_of(), spec, 1, seen).message == ""


def test_it_says_why_a_log_cannot_be_read(stub):
    batch, stubber = stub
    assert backend_of(batch).why_no_log() is None
    expect_own(stubber)
    assert backend_of(batch, job_definition="d").why_no_log() is None
    expect_own(stubber, logConfiguration={"logDriver": "splunk"})
    told = backend_of(batch, job_definition="d").why_no_log()
    assert "its log driver is splunk" in told
    expect_error(stubber, "describe_job_definitions", "ServerException", "internal", 500)
    assert backend_of(batch, job_definition="d").why_no_log() is None


def test_a_log_is_read_from_the_group_its_job_told(aws):
    logs = aws._logs._client
    logs.create_log_group(logGroupName="/lab/jobs")
    logs.create_log_stream(logGroupName="/lab/jobs", logStreamName="s")
    event = {"timestamp": int(time.time() * 1000), "message": "elsewhere"}
    logs.put_log_events(logGroupName="/lab/jobs", logStreamName="s", logEvents=[event])
    write(aws, "here")
    assert aws.read_log("/lab/jobs:s", None, 10).text == "elsewhere\n"
    assert aws.read_log("s", None, 10).text == "here\n"
