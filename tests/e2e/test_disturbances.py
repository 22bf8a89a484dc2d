"""What goes wrong on the way: events lost, repeated and late; crashes between two calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hut.backends.port import job_name
from hut.scheduling.room import NO_CAPS
from hut.store.dynamodb import DynamoStore, StoreOptions
from hut.store.port import Claim, ClaimRequest
from tests.e2e.remote_hut import HOLD, TERMINAL, RemoteHut, until

CHAIN = [
    {"id": "a", "command": "echo a >> ran"},
    {"id": "b", "command": "echo b >> ran; [ $HUT_ATTEMPT = 2 ]", "deps": ["a"], "retries": 1},
    {"id": "c", "command": "echo c >> ran", "deps": ["b"]},
]
LONG_AGO = 600.0  # seconds: no Lambda that claimed a task then can be alive


def drained(hut: RemoteHut) -> bool:
    """Say whether all messages of events were taken in."""
    sqs = hut.bed.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    queues = sqs.list_queues().get("QueueUrls", [])
    counts = [
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        for url in queues
        if "ObserveQueue" in url
    ]
    assert counts
    return not any(int(count) for each in counts for count in each.values())


def event(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "Source": "aws.batch",
        "DetailType": "Batch Job State Change",
        "Detail": json.dumps(job),
        "Resources": [job["jobArn"]],
    }


def everything(hut: RemoteHut, run: str) -> Any:
    return hut.show(run), hut.tasks(run), hut.get(f"/runs/{run}/changes").document


# Events ------------------------------------------------------------------------------------------


def test_a_run_of_which_no_event_arrives_is_ended_by_the_sweep(hut: RemoteHut) -> None:
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 1.0})
    run = hut.start(CHAIN)
    found = 0

    def swept() -> bool:
        nonlocal found
        found += hut.sweep()["ends_found"]
        return hut.show(run)["state"] in TERMINAL

    until(swept, "the sweep ended the run")
    assert hut.ended(run)["state"] == "completed"
    assert hut.lines("ran") == ["a", "b", "b", "c"]
    assert found == 4
    assert hut.task(run, "b")["attempts"][0]["exit_code"] == 1


def test_a_half_of_the_events_late_twice_or_lost(hut: RemoteHut) -> None:
    hut.bed.hook("events/disturb", {"source": "aws.batch", "lose": 0.3, "copies": 2, "delay": 1.0})
    tasks = [
        *({"id": f"t.{i}", "command": f"echo {i} >> ran"} for i in range(30)),
        {"id": "end", "command": "echo end >> ran", "deps": ["t.*"]},
    ]
    run = hut.start(tasks)

    def swept() -> bool:
        hut.sweep()
        return hut.show(run)["state"] in TERMINAL

    until(swept, "the run ended")
    assert hut.ended(run)["counts"]["completed"] == 31
    assert sorted(hut.lines("ran")) == sorted([*map(str, range(30)), "end"])


def test_every_event_once_more_changes_nothing(hut: RemoteHut) -> None:
    run = hut.start([*CHAIN, {"id": "bad", "command": "exit 5"}])
    # Retries of a task that nothing runs beside are another test's matter.
    until(lambda: hut.sweep() and hut.show(run)["state"] in TERMINAL, "the run ended")
    hut.ended(run)
    before = everything(hut, run)
    jobs = hut.jobs(run)
    assert len(jobs) == 5
    again = [event({**job, "status": "RUNNING"}) for job in jobs] + [event(job) for job in jobs]
    hut.bed.hook("events/put", {"Entries": [*again, *reversed(again)]})
    until(lambda: drained(hut), "the events were taken in")
    hut.sweep()
    assert everything(hut, run) == before
    assert len(hut.jobs(run)) == 5


def test_an_end_that_overtakes_its_start(hut: RemoteHut) -> None:
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 1.0})
    run = hut.start([{"id": "a", "command": "true"}])
    [job] = until(
        lambda: [job for job in hut.jobs(run) if job["status"] == "SUCCEEDED"], "the job ended"
    )
    hut.bed.hook("events/put", {"Entries": [event(job)]})
    assert hut.ended(run)["state"] == "completed"
    hut.bed.hook("events/put", {"Entries": [event({**job, "status": "RUNNING"})]})
    until(lambda: drained(hut), "the event was taken in")
    assert hut.task(run, "a")["state"] == "completed"


def test_events_that_make_no_sense_keep_nothing(hut: RemoteHut) -> None:
    run = hut.start([{"id": "a", "command": HOLD}])
    hut.reached(run, "a", "running")
    job = hut.job(run, "a")
    name = job["jobName"]
    strange: list[dict[str, Any]] = [
        {**job, "jobName": "hut-nobodyknow-0-1-0", "status": "FAILED"},
        {**job, "jobName": f"{name}9", "status": "FAILED"},
        {**job, "jobName": name.replace("-0-1-", "-77-1-"), "status": "FAILED"},
        {**job, "jobName": "hut-what", "status": "FAILED"},
        {**job, "jobId": "another", "status": "FAILED"},
    ]
    hut.bed.hook("events/put", {"Entries": [event(each) for each in strange]})
    until(lambda: drained(hut), "the events were taken in")
    assert hut.task(run, "a")["state"] == "running"
    hut.go()
    assert hut.ended(run)["state"] == "completed"


# Crashes -----------------------------------------------------------------------------------------


@pytest.fixture
def crashed(hut: RemoteHut) -> Callable[[str], tuple[Claim, str]]:
    """Claim the next task of a run, as an `advance` that dies then; return claim and job name."""
    options = StoreOptions(
        hut.deployment.outputs["TableName"],
        hut.deployment.outputs["BucketName"],
        follow="stream",
    )
    store = DynamoStore(hut.bed.client("dynamodb"), hut.bed.client("s3"), options)

    def claim(run: str) -> tuple[Claim, str]:
        epoch = store.get_run(run).epoch
        wanted = ClaimRequest(run, epoch, time.time() - LONG_AGO, 1, "batch", NO_CAPS)
        [found] = store.claim(wanted)
        return found, job_name(hut.deployment.prefix, run, found.key)

    return claim


TWO = [
    {"id": "first", "command": f"{HOLD}; echo first >> ran", "priority": 9},
    {"id": "second", "command": "echo second >> ran"},
    {"id": "third", "command": "echo third >> ran", "deps": ["second"]},
]


def begin_two(hut: RemoteHut) -> str:
    """Start a run whose second task waits only for room."""
    run = hut.start(TWO, "--max-concurrent", "1")
    hut.reached(run, "first", "running")
    return run


def test_a_claim_without_a_job_is_given_back(
    hut: RemoteHut, crashed: Callable[[str], tuple[Claim, str]]
) -> None:
    run = begin_two(hut)
    claim, _ = crashed(run)
    assert claim.spec.id == "second"
    hut.go()
    hut.reached(run, "first", "completed")
    assert hut.task(run, "second")["state"] == "submitted"
    assert hut.sweep()["claims_returned"] == 1
    assert hut.ended(run)["state"] == "completed"
    assert hut.lines("ran") == ["first", "second", "third"]
    assert hut.task(run, "second")["attempt"] == 1
    assert len(hut.jobs(run)) == 3


def test_a_job_whose_submit_was_never_noted_is_adopted(
    hut: RemoteHut, crashed: Callable[[str], tuple[Claim, str]]
) -> None:
    run = begin_two(hut)
    _, name = crashed(run)
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 1.0})
    job = submit_by_hand(hut, run, name, "echo second >> ran")
    until(lambda: hut.lines("ran") == ["second"], "the job ran")
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 0})
    assert hut.sweep()["claims_returned"] == 0
    assert hut.reached(run, "second", "completed")["job_id"] == job
    hut.go()
    assert hut.ended(run)["state"] == "completed"
    assert sorted(hut.lines("ran")) == ["first", "second", "third"]
    assert len(hut.jobs(run)) == 3


def test_a_second_job_for_an_attempt_is_terminated(hut: RemoteHut) -> None:
    run = hut.start([{"id": "a", "command": f"{HOLD}; echo a >> ran"}])
    hut.reached(run, "a", "running")
    first = hut.job(run, "a")
    second = submit_by_hand(hut, run, first["jobName"], "sleep 600; echo b >> ran")

    def stopped() -> bool:
        return any(
            job["jobId"] == second and job["status"] == "FAILED" and "hut: " in job["statusReason"]
            for job in hut.jobs(run)
        )

    until(stopped, "the second job was terminated")
    assert hut.task(run, "a")["job_id"] == first["jobId"]
    assert hut.task(run, "a")["state"] == "running"
    hut.go()
    assert hut.ended(run)["state"] == "completed"
    assert hut.lines("ran") == ["a"]


def submit_by_hand(hut: RemoteHut, run: str, name: str, command: str) -> str:
    """Submit a job under a name, as the first of the run was submitted; return its id."""
    like = hut.jobs(run)[0]
    submitted = hut.bed.client("batch").submit_job(
        jobName=name,
        jobQueue=like["jobQueue"],
        jobDefinition=like["jobDefinition"],
        parameters=like["parameters"],
        containerOverrides={"command": ["/bin/sh", "-c", f"cd; {command}"]},
    )
    return str(submitted["jobId"])


# Services ----------------------------------------------------------------------------------------


def test_a_submit_whose_answer_is_lost_makes_one_job(hut: RemoteHut) -> None:
    fault = {"service": "batch", "operation": "SubmitJob", "code": "ServerException"}
    hut.bed.hook("faults", {**fault, "status": 500, "after": True, "times": 1})
    run = hut.start([{"id": "a", "command": "echo a >> ran"}])
    assert hut.ended(run)["state"] == "completed"
    assert hut.lines("ran") == ["a"]
    assert len(hut.jobs(run)) == 1
    assert hut.bed.hook("faults/clear", {})["left"] == []


def test_a_table_that_throttles_slows_a_run_only(hut: RemoteHut) -> None:
    code = "ProvisionedThroughputExceededException"
    for operation in ("TransactWriteItems", "UpdateItem", "Query", "BatchWriteItem"):
        fault = {"service": "dynamodb", "operation": operation, "code": code}
        hut.bed.hook("faults", {**fault, "share": 0.3, "times": 15})
    tasks = [{"id": f"t.{i}", "command": f"echo {i} >> ran"} for i in range(20)]
    run = hut.start([*tasks, {"id": "end", "command": "echo end >> ran", "deps": ["t.*"]}])
    assert hut.ended(run)["counts"]["completed"] == 21
    assert sorted(hut.lines("ran")) == sorted([*map(str, range(20)), "end"])


KEY = "Idempotency-Key"


def unstarted(hut: RemoteHut, body: Mapping[str, Any]) -> str:
    """Submit a run while Step Functions is away; return its id."""
    fault = {"service": "states", "operation": "StartExecution", "code": "ServiceUnavailable"}
    hut.bed.hook("faults", {**fault, "status": 503, "times": 1000})
    answer = hut.call("POST", "/runs", body, headers={KEY: str(body["name"])})
    assert answer.status >= 429, answer.text
    hut.bed.hook("faults/clear", {})
    [run] = until(lambda: hut.get("/runs", workflow=body["name"]).document, "the run is listed")
    assert run["state"] == "pending"
    return str(run["id"])


def age(hut: RemoteHut, run: str) -> None:
    """Let a run have been submitted long ago."""
    hut.bed.client("dynamodb").update_item(
        TableName=hut.deployment.outputs["TableName"],
        Key={"pk": {"S": f"RUN#{run}"}, "sk": {"S": "META"}},
        UpdateExpression="SET #created = :long_ago",
        ExpressionAttributeNames={"#created": "created"},
        ExpressionAttributeValues={":long_ago": {"N": str(time.time() - LONG_AGO)}},
    )


def submission(hut: RemoteHut) -> Mapping[str, Any]:
    return {"workflow": [{"id": "a", "command": "echo a >> ran"}], "name": hut.folder.name}


def test_a_run_whose_execution_could_not_be_started_is_found_by_its_key(hut: RemoteHut) -> None:
    body = submission(hut)
    run = unstarted(hut, body)
    again = hut.call("POST", "/runs", body, headers={KEY: str(body["name"])})
    assert (again.status, again.document["id"]) == (200, run)
    assert hut.ended(run)["state"] == "completed"
    assert hut.lines("ran") == ["a"]


def test_a_run_whose_execution_could_not_be_started_is_started_by_the_sweep(
    hut: RemoteHut,
) -> None:
    run = unstarted(hut, submission(hut))
    assert hut.sweep()["started_again"] == 0  # it is too young: who submits it may still be at it
    age(hut, run)
    assert hut.sweep()["started_again"] == 1
    assert hut.ended(run)["state"] == "completed"
    assert hut.lines("ran") == ["a"]
