"""What Batch says, in Hut's words.

The documents have the shape of DescribeJobs; the sentences are those of AWS's documentation and of
reports by users. None of them was seen by us on AWS.
"""

from dataclasses import replace

import pytest

from hut.backends.batch import job_from_detail, needs_log
from hut.backends.batch.outcomes import told_by_log, with_limit
from hut.backends.markers import Markers
from hut.backends.port import Job, JobState
from hut.lifecycle.attempt import Evidence, judge
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import Resources, TaskSpec

ENDED = "Essential container in task exited"


def detail(status="FAILED", code=None, why=ENDED, told=None, **more):
    """Return a job; `why` is its status reason, `told` its container's."""
    container = {"logStreamName": "hut/default/1"}
    if code is not None:
        container["exitCode"] = code
    if told is not None:
        container["reason"] = told
    times = {"startedAt": 1_700_000_002_500, "stoppedAt": 1_700_000_009_000}
    return {
        "jobId": "j1",
        "jobName": "hut-abcdefghij-3-1-2",
        "status": status,
        "statusReason": why,
        "createdAt": 1_700_000_001_000,
        **times,
        "container": container,
        "attempts": [{"container": dict(container), "statusReason": why, **times}],
        "timeout": {"attemptDurationSeconds": 90},
        **more,
    }


def never_started(**more):
    return {
        "jobId": "j1",
        "jobName": "n",
        "status": "FAILED",
        "createdAt": 1,
        "container": {},
        "attempts": [],
        **more,
    }


def outcome(document):
    found = job_from_detail(document).outcome
    return found.state, found.reason, found.exit_code, found.message


def failed(reason, code, message):
    return TaskState.FAILED, reason, code, message


def test_a_job_is_read():
    job = job_from_detail(detail("SUCCEEDED", 0))
    assert job.usage.seconds == (6.5,)
    assert replace(job, usage=None) == Job(
        name="hut-abcdefghij-3-1-2",
        handle="j1",
        state=JobState.ENDED,
        outcome=Outcome(TaskState.COMPLETED, Reason.EXIT, 0),
        log="hut/default/1",
        created_at=1_700_000_001.0,
        started_at=1_700_000_002.5,
        ended_at=1_700_000_009.0,
        detail=ENDED,
    )


@pytest.mark.parametrize("status", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING"])
def test_a_job_that_waits_is_read(status):
    why = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - All compute environments have ..."
    queue = "arn:aws:batch:eu-west-1:000000000000:job-queue/hut-ec2"
    document = {"jobId": "j", "jobName": "n", "jobQueue": queue, "startedAt": 0}
    told = f"{status} - {why}"
    assert job_from_detail({**document, "status": status, "statusReason": why}) == Job(
        "n", "j", JobState.WAITING, detail=told, queue="hut-ec2", said=why
    )


def test_a_running_job_has_a_log_and_no_outcome():
    document = detail("RUNNING", attempts=[], stoppedAt=None)
    del document["statusReason"]
    job = job_from_detail(document)
    assert (job.state, job.outcome, job.log) == (JobState.RUNNING, None, "hut/default/1")
    assert (job.started_at, job.ended_at, job.detail) == (1_700_000_002.5, None, "")


@pytest.mark.parametrize(
    ("logging", "log"),
    [
        ({"options": {"awslogs-group": "/lab/jobs"}}, "/lab/jobs:hut/default/1"),
        (
            {"logDriver": "awslogs", "options": {"awslogs-group": "/lab/jobs"}},
            "/lab/jobs:hut/default/1",
        ),
        ({"logDriver": "awslogs"}, "hut/default/1"),
        ({"logDriver": "splunk", "options": {"splunk-url": "x"}}, None),
    ],
)
def test_a_log_is_named_by_where_the_job_wrote_it(logging, log):
    document = detail("SUCCEEDED", 0)
    document["container"] |= {"logConfiguration": logging, "image": "lab/base"}
    job = job_from_detail(document)
    assert (job.log, job.image) == (log, "lab/base")


CANCELED = "Canceled by JobStateTimeLimit action due to reason:"
CAPACITY = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
WAITED = "waited 12m in queue hut-ec2 for a machine; max_queue_time is 10m"


@pytest.mark.parametrize(
    ("why", "message"),
    [
        (f"hut: queue_timeout: {WAITED}", WAITED),
        # What the queue's own jobStateTimeLimitActions say.
        (
            f"{CANCELED} {CAPACITY}",
            f"the queue's own limit on waiting ended it: {CANCELED} {CAPACITY}",
        ),
    ],
)
def test_a_job_that_waited_too_long_says_so(why, message):
    document = never_started(statusReason=why, isCancelled=True)
    assert outcome(document) == failed("queue_timeout", None, message)


@pytest.mark.parametrize("document", [{}, {"jobId": "j", "status": "X"}, {"status": "RUNNING"}])
def test_what_is_no_job_is_refused(document):
    with pytest.raises(ValueError, match="does not describe a Batch job"):
        job_from_detail(document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (detail("SUCCEEDED", 0, told="OutOfMemoryError: x"), (TaskState.COMPLETED, "exit", 0, "")),
        (detail(code=3), failed("exit", 3, "exit code 3")),
        (detail(code=124), failed("exit", 124, "exit code 124")),
        (detail(code=125), failed("exit", 125, "exit code 125")),
        (
            detail(code=143),
            failed("exit", 143, judge(Evidence(143)).message),
        ),
        (
            detail(code=1, told="DockerTimeoutError: Could not transition to stopped"),
            failed("exit", 1, "exit code 1; DockerTimeoutError: Could not transition to stopped"),
        ),
        (
            detail(code=137, told="OutOfMemoryError: Container killed due to memory usage"),
            failed("out_of_memory", 137, "killed for lack of memory; ask for more with `memory`"),
        ),
        (
            detail(code=137, why="OutOfMemoryError: container killed due to memory usage"),
            failed("out_of_memory", 137, "killed for lack of memory; ask for more with `memory`"),
        ),
        (
            detail(code=137, why="Job attempt duration exceeded timeout"),
            failed("timeout", 137, "stopped at its time limit of 90s"),
        ),
        (
            detail(why="Job attempt duration exceeded timeout", isTerminated=True),
            failed("timeout", None, "stopped at its time limit of 90s"),
        ),
        (
            detail(why="Host EC2 (instance i-0123456789abcdef0) terminated."),
            failed("host_terminated", None, "Host EC2 (instance i-0123456789abcdef0) terminated."),
        ),
        (
            detail(why="Host EC2 (instance i-0123456789abcdef0) stopped."),
            failed("host_terminated", None, "Host EC2 (instance i-0123456789abcdef0) stopped."),
        ),
        (
            detail(code=137, why="Task stopped during instance draining"),
            failed("host_terminated", 137, "Task stopped during instance draining"),
        ),
        (
            detail(why="Task failed to start", told="DockerTimeoutError: Could not transition"),
            failed("lost", None, "Task failed to start - DockerTimeoutError: Could not transition"),
        ),
        (
            never_started(statusReason="Capacity is unavailable at this time."),
            failed("lost", None, "Capacity is unavailable at this time."),
        ),
        (
            never_started(statusReason="Timeout waiting for network interface provisioning"),
            failed("lost", None, "Timeout waiting for network interface provisioning"),
        ),
        (
            detail(code=143, why="Your Spot Task was interrupted."),
            failed("host_terminated", 143, "Your Spot Task was interrupted."),
        ),
        (
            detail(code=143, why="hut: cancelled", isTerminated=True),
            failed("cancelled", 143, "cancelled while it ran"),
        ),
        (
            detail(code=143, why="hut: timeout", isTerminated=True),
            failed("timeout", 143, "stopped at its time limit of 90s"),
        ),
        (
            detail(code=143, why="hut: another job runs this attempt", isTerminated=True),
            failed("cancelled", 143, "stopped: another job runs this attempt"),
        ),
        (
            never_started(statusReason="hut: cancelled", isCancelled=True),
            failed("cancelled", None, "cancelled before it started"),
        ),
        (
            detail(code=137, why="Terminated by me in the console", isTerminated=True),
            failed("cancelled", 137, "stopped in AWS Batch: Terminated by me in the console"),
        ),
        (
            never_started(isCancelled=True),
            failed("cancelled", None, "stopped in AWS Batch"),
        ),
        (
            never_started(
                statusReason="Task failed to start",
                container={"reason": "CannotPullContainerError: manifest unknown"},
            ),
            failed(
                "launch_failed",
                None,
                "Task failed to start - CannotPullContainerError: manifest unknown",
            ),
        ),
        (
            detail(
                code=127,
                why="Task failed to start",
                told='CannotStartContainerError: exec: "/bin/sh": stat /bin/sh: no such file',
            ),
            failed(
                "launch_failed",
                None,
                "Task failed to start - CannotStartContainerError: "
                'exec: "/bin/sh": stat /bin/sh: no such file',
            ),
        ),
        (
            never_started(statusReason="ResourceInitializationError: unable to pull secrets"),
            failed("launch_failed", None, "ResourceInitializationError: unable to pull secrets"),
        ),
        (
            never_started(statusReason="Container Overrides length must be at most 8192"),
            failed("launch_failed", None, "Container Overrides length must be at most 8192"),
        ),
        (
            never_started(statusReason="MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - none fits"),
            failed("unsatisfiable", None, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - none fits"),
        ),
        (never_started(), failed("launch_failed", None, "AWS Batch gave no reason")),
        (
            detail(told="CannotInspectContainerError: Could not transition to inspecting"),
            failed(
                "lost",
                None,
                f"{ENDED} - CannotInspectContainerError: Could not transition to inspecting",
            ),
        ),
        (
            detail(why=None),
            failed("lost", None, "AWS Batch gave neither an exit code nor a reason"),
        ),
    ],
)
def test_how_a_job_ended(document, expected):
    assert outcome(document) == expected


def test_what_only_the_last_attempt_says_counts_too():
    document = detail(code=None)
    document["container"] = {}
    document["attempts"][-1]["container"] = {"exitCode": 9, "logStreamName": "hut/default/2"}
    job = job_from_detail(document)
    assert (job.outcome.exit_code, job.log) == (9, "hut/default/2")
    assert job_from_detail({**document, "attempts": [], "container": None}).log is None


SHORT = TaskSpec("t", "true", resources=Resources(time_limit=5))
LONG = TaskSpec("t", "true")


@pytest.mark.parametrize(
    ("code", "spec", "needed"),
    [
        (0, SHORT, False),
        (1, SHORT, False),
        (124, SHORT, True),
        (124, LONG, False),
        (125, SHORT, True),
        (125, LONG, True),
    ],
)
def test_the_log_is_needed_for_few_ends(code, spec, needed):
    assert needs_log(judge(Evidence(code)), spec) is needed


def test_the_log_is_not_needed_where_batch_has_the_reason():
    ended = judge(Evidence(124, timed_out=True, time_limit=5))
    assert not needs_log(ended, SHORT)
    assert told_by_log(ended, SHORT, Markers("")) == ended


def test_the_log_tells_a_timeout():
    told = told_by_log(judge(Evidence(124)), SHORT, Markers("", timed_out=True))
    assert told == judge(Evidence(124, timed_out=True, time_limit=5))
    assert told_by_log(judge(Evidence(124)), SHORT, Markers("")).reason is Reason.EXIT


def test_the_log_tells_why_nothing_was_started():
    told = told_by_log(judge(Evidence(125)), LONG, Markers("", not_started="no folder"))
    assert told == judge(Evidence(125, not_started="no folder"))
    assert told_by_log(judge(Evidence(125)), LONG, Markers("")).reason is Reason.EXIT


def test_a_timeout_names_the_tasks_limit():
    ended = job_from_detail(
        detail(why="Job attempt duration exceeded timeout", timeout={"attemptDurationSeconds": 120})
    ).outcome
    assert with_limit(ended, SHORT).message == "stopped at its time limit of 5s"
    assert with_limit(judge(Evidence(1)), SHORT) == judge(Evidence(1))
