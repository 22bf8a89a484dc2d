"""Metrics arrive in CloudWatch with what happened, under the names that are watched; alarms tell.

The emulator evaluates alarms on single metrics only, over all dimensions and one window; those over
metric math never change there. What CloudWatch makes of periods and missing data is not tested here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hut.metrics import NAMESPACE, Metric
from hut.store.port import Claim
from tests.e2e.deployment import stack_outputs
from tests.e2e.remote_hut import HOLD, RemoteHut, until
from tests.e2e.test_disturbances import (
    age,
    begin_two,
    crashed,  # noqa: F401 - a fixture
    submission,
    unstarted,
)

M = Metric
NOT_HERE = {
    M.ATTEMPTS_LOST: "a job is lost when AWS has not known it for minutes: tests/service",
    M.CLAIMS_PACED: "more than 50 submissions a second: tests/service",
    M.JOBS_STUCK: "a job is stuck after a quarter of an hour: tests/service",
    **dict.fromkeys(
        (M.POOL_WORKERS, M.POOL_TASKS_WAITING, M.POOL_TASKS_UNSERVED, M.WORKERS_LOST),
        "nothing is sent to a pool here: tests/service",
    ),
    M.JOBS_UNWANTED: "an EC2 task nobody wants is ended after a hundred seconds: tests/service",
}
TRIED = 3  # times that a throttled submission is called
PATIENT = 180.0  # seconds; the steps of the scenario are many, on a machine that may be busy


def values(hut: RemoteHut, metric: Metric, statistic: str = "Sum") -> float:
    """Return the sum or the number of all values of a metric of the deployment."""
    now = datetime.now(UTC)
    found = hut.bed.client("cloudwatch").get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName=metric.title,
        Dimensions=[{"Name": "service", "Value": hut.deployment.prefix}],
        StartTime=now - timedelta(hours=3),
        EndTime=now + timedelta(minutes=5),
        Period=60,
        Statistics=[statistic],
    )
    return float(sum(point[statistic] for point in found["Datapoints"]))


@contextmanager
def gains(hut: RemoteHut, wanted: dict[Metric, float]) -> Iterator[None]:
    """Wait until metrics have grown by so much; they must not grow by more."""
    before = {metric: values(hut, metric) for metric in wanted}
    yield

    def gained() -> dict[Metric, float]:
        return {metric: values(hut, metric) - before[metric] for metric in wanted}

    try:
        until(lambda: gained() == wanted, "the metrics arrived", PATIENT)
    except AssertionError:
        assert gained() == wanted


def test_every_metric_arrives_with_what_happened(
    hut: RemoteHut,
    crashed: Callable[[str], tuple[Claim, str]],  # noqa: F811 - the fixture
) -> None:
    good_and_bad_runs(hut)
    throttles(hut)
    repairs(hut, crashed)
    faults(hut)
    pages = hut.bed.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace=NAMESPACE)
    found = [metric for page in pages for metric in page["Metrics"]]
    service = [{"Name": "service", "Value": hut.deployment.prefix}]
    assert all(metric["Dimensions"] == service for metric in found)
    arrived = {metric["MetricName"] for metric in found}
    assert {metric.title for metric in M if metric not in NOT_HERE} <= arrived
    assert arrived <= {metric.title for metric in M}
    assert arrived >= watched_on_dashboard(hut) - {metric.title for metric in NOT_HERE}


def watched_on_dashboard(hut: RemoteHut) -> set[str]:
    """Return the names of Hut's own metrics on the dashboard as it was deployed."""
    watch = hut.bed.client("cloudwatch")
    body = json.loads(watch.get_dashboard(DashboardName=hut.deployment.prefix)["DashboardBody"])
    entries = [
        entry for widget in body["widgets"] for entry in widget["properties"].get("metrics", ())
    ]
    found = {entry[1] for entry in entries if entry[0] == NAMESPACE}
    assert found
    return found


def good_and_bad_runs(hut: RemoteHut) -> None:
    samples = {
        metric: values(hut, metric, "SampleCount")
        for metric in (M.RUN_SECONDS, M.EVENT_SECONDS, M.DISPATCH_SECONDS)
    }
    good = {M.RUNS_SUBMITTED: 1, M.TASKS_PLANNED: 2, M.ATTEMPTS_SUBMITTED: 2, M.TASKS_COMPLETED: 2}
    with gains(hut, {**good, M.RUNS_COMPLETED: 1}):
        tasks = [{"id": "a", "command": "true"}, {"id": "b", "command": "true", "deps": ["a"]}]
        hut.run(tasks)
    for metric, least in {M.RUN_SECONDS: 1, M.EVENT_SECONDS: 2, M.DISPATCH_SECONDS: 2}.items():
        assert values(hut, metric, "SampleCount") - samples[metric] >= least, metric
    bad = {
        M.RUNS_FAILED: 1,
        M.TASKS_FAILED: 2,
        M.TASKS_DEP_FAILED: 1,
        M.ATTEMPTS_REPEATED: 1,
        M.ATTEMPTS_REFUSED: 1,
        M.ATTEMPTS_SUBMITTED: 2,
    }
    with gains(hut, bad):
        tasks = [
            {"id": "a", "command": "false", "retries": 1},
            {"id": "b", "command": "true", "deps": ["a"]},
            {"id": "c", "command": "true", "partition": "nowhere"},
        ]
        hut.run(tasks, exit_code=1)
    with gains(hut, {M.RUNS_CANCELLED: 1, M.TASKS_FAILED: 1}):
        run = hut.start([{"id": "a", "command": HOLD}])
        hut.reached(run, "a", "running", seconds=PATIENT)
        hut("cancel", run)
        hut.ended(run, PATIENT)
    with gains(hut, {M.ATTEMPTS_HOST_TERMINATED: 1, M.ATTEMPTS_REPEATED: 1, M.TASKS_COMPLETED: 1}):
        run = hut.start([{"id": "a", "command": f"[ $HUT_ATTEMPT = 2 ] || {{ {HOLD}; }}"}])
        hut.reached(run, "a", "running", seconds=PATIENT)
        gone = "Host EC2 (instance i-0123456789abcdef0) terminated."
        hut.force(hut.job(run, "a"), "FAILED", statusReason=gone)
        hut.ended(run, PATIENT)


def throttles(hut: RemoteHut) -> None:
    with gains(hut, {M.SUBMITS_THROTTLED: TRIED, M.CLAIMS_GIVEN_BACK: 1, M.RUNS_COMPLETED: 1}):
        fault = {"service": "batch", "operation": "SubmitJob", "code": "TooManyRequestsException"}
        hut.bed.hook("faults", {**fault, "status": 429, "times": TRIED})
        run = hut.start([{"id": "a", "command": "true"}])
        hut.ended(run, PATIENT)


def repairs(hut: RemoteHut, crashed: Callable[[str], tuple[Claim, str]]) -> None:  # noqa: F811
    seen = {M.RUNS_ACTIVE: 1, M.TASKS_ACTIVE: 1, M.TASKS_PENDING: 1}
    hut.empty_home()
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 1.0})
    run = hut.start([{"id": "a", "command": HOLD}, {"id": "b", "command": "true", "deps": ["a"]}])
    hut.reached(run, "a", "submitted", "running", seconds=PATIENT)
    with gains(hut, seen):
        hut.sweep()
    hut.go()
    until(lambda: hut.jobs(run)[0]["status"] == "SUCCEEDED", "the job ended", PATIENT)
    with gains(hut, {M.ENDS_FOUND: 1, M.TASKS_COMPLETED: 2, M.RUNS_COMPLETED: 1}):
        hut.bed.hook("events/lose", {"source": "aws.batch", "share": 0})
        hut.sweep()
        hut.ended(run, PATIENT)
    hut.empty_home()
    with gains(hut, {M.CLAIMS_RETURNED: 1, M.RUNS_COMPLETED: 1}):
        run = begin_two(hut)
        crashed(run)
        hut.go()
        hut.reached(run, "first", "completed", seconds=PATIENT)
        hut.sweep()
        hut.ended(run, PATIENT)
    with gains(hut, {M.STARTED_AGAIN: 1, M.RUNS_COMPLETED: 1}):
        run = unstarted(hut, submission(hut))
        age(hut, run)
        hut.sweep()
        hut.ended(run, PATIENT)


def faults(hut: RemoteHut) -> None:
    hut.empty_home()
    run = hut.start([{"id": "a", "command": HOLD}])
    hut.reached(run, "a", "running", seconds=PATIENT)
    job = hut.job(run, "a")
    refused = {"service": "dynamodb", "operation": "GetItem", "code": "AccessDeniedException"}
    with gains(hut, {M.OBSERVE_FAILED: 1}):
        hut.bed.hook("faults", refused)
        entry = {
            "Source": "aws.batch",
            "DetailType": "Batch Job State Change",
            "Detail": json.dumps(job),
            "Resources": [job["jobArn"]],
        }
        hut.bed.hook("events/put", {"Entries": [entry]})
    with gains(hut, {M.ADVANCE_FAILED: 1}):
        hut.bed.hook("faults", refused)
        sqs = hut.bed.client("sqs")
        [url] = [each for each in sqs.list_queues()["QueueUrls"] if "WakeQueue" in each]
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"run": run}))
    with gains(hut, {M.SWEEP_FAILED: 1}):
        refused = {"service": "batch", "operation": "DescribeJobs", "code": "AccessDeniedException"}
        hut.bed.hook("faults", {**refused, "status": 403})
        hut.sweep()
    with gains(hut, {M.EXECUTIONS_BROKEN: 1}):
        break_execution(hut, run)
        hut.go()
        hut.ended(run, PATIENT)


def break_execution(hut: RemoteHut, run: str) -> None:
    """Let Step Functions say that the execution of a run has failed."""
    arn = hut.execution(run)["executionArn"]
    machine = hut.deployment.outputs["StateMachineArn"]
    detail = {
        "executionArn": arn,
        "stateMachineArn": machine,
        "name": arn.rpartition(":")[2],
        "status": "FAILED",
    }
    entry = {
        "Source": "aws.states",
        "DetailType": "Step Functions Execution Status Change",
        "Detail": json.dumps(detail),
        "Resources": [arn],
    }
    hut.bed.hook("events/put", {"Entries": [entry]})


# Alarms ------------------------------------------------------------------------------------------


@pytest.fixture
def told(hut: RemoteHut) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Everything the topic of the alarms has told since the test began."""
    sqs, sns = hut.bed.client("sqs"), hut.bed.client("sns")
    url = sqs.create_queue(QueueName="operator")["QueueUrl"]
    names = ["QueueArn"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]["QueueArn"]
    topic = stack_outputs(hut.bed, "HutWatch")["AlarmTopicArn"]
    let_in = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [let_in]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    messages: list[dict[str, Any]] = []

    def read() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for each in found:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
            messages.append(json.loads(json.loads(each["Body"])["Message"]))
        return messages

    yield read
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def test_an_alarm_goes_off_and_tells(
    hut: RemoteHut, told: Callable[[], list[dict[str, Any]]]
) -> None:
    watch = hut.bed.client("cloudwatch")
    name = f"{hut.deployment.prefix}-executions-broken"
    # Another test may have set it off: within its five minutes it would not go off again.
    watch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test begins")
    run = hut.start([{"id": "a", "command": HOLD}])
    hut.reached(run, "a", "running", seconds=PATIENT)
    break_execution(hut, run)

    def red() -> bool:
        [alarm] = watch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return bool(alarm["StateValue"] == "ALARM")

    until(red, "the alarm went off", PATIENT)
    [message] = until(
        lambda: [each for each in told() if each["NewStateValue"] == "ALARM"], "the topic told"
    )
    assert message["AlarmName"] == name
    assert message["AlarmDescription"].endswith("docs/operations.md#executions-broken")
    assert message["Trigger"]["MetricName"] == M.EXECUTIONS_BROKEN.title


def test_all_alarms_are_there_and_their_topic_is_closed(hut: RemoteHut) -> None:
    from infra.alarms import ALARMS

    watch, sns = hut.bed.client("cloudwatch"), hut.bed.client("sns")
    prefix = f"{hut.deployment.prefix}-"
    found = watch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    assert {each["AlarmName"].removeprefix(prefix) for each in found} == set(ALARMS)
    topic = stack_outputs(hut.bed, "HutWatch")["AlarmTopicArn"]
    assert all(each["AlarmActions"] == each["OKActions"] == [topic] for each in found)
    policy = json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    allowed = [each for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert [each["Principal"] for each in allowed] == [{"Service": "cloudwatch.amazonaws.com"}]
