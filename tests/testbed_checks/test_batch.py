"""Batch: jobs are processes, with the states, reasons, logs and limits of AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed.running import TestBed
from tests.testbed_checks.making import Maker, wait_for

HOST_ENDED = "Host EC2 (instance i-0123) terminated."


@pytest.fixture(scope="module")
def everything(bed: TestBed, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A queue and a definition that all checks may use."""
    make = Maker(bed, tmp_path_factory.mktemp("batch"))
    return make.batch_queue(), make.definition("sh", "-c", "echo hello")


@pytest.fixture
def held(bed: TestBed) -> Iterator[None]:
    """No job starts."""
    bed.hook("batch/slots", {"jobs": 0})
    yield
    bed.hook("batch/slots", {"jobs": 8})


def test_a_job_runs_and_says_what_it_was(make: Maker, everything: tuple[str, str]) -> None:
    queue, definition = everything
    script = 'echo "$GREETING $AWS_BATCH_JOB_ATTEMPT"; pwd; ls -A; echo "$HOME"; echo bad >&2'
    job = make.ended(
        make.submit(
            queue,
            definition,
            "sh",
            "-c",
            script,
            overrides={"environment": [{"name": "GREETING", "value": "good day"}]},
            tags={"hut:run": "r1"},
        )
    )
    assert job["status"] == "SUCCEEDED"
    assert job["statusReason"] == "Essential container in task exited"
    assert job["container"]["exitCode"] == 0
    assert "reason" not in job["container"]
    assert job["createdAt"] <= job["startedAt"] <= job["stoppedAt"]
    assert job["createdAt"] > 1_600_000_000_000
    assert job["tags"] == {"hut:run": "r1"}
    [attempt] = job["attempts"]
    assert attempt["container"]["exitCode"] == 0
    assert attempt["container"]["logStreamName"] == job["container"]["logStreamName"]
    name = definition.rpartition("/")[2].partition(":")[0]
    assert job["container"]["logStreamName"].startswith(f"{name}/default/")
    said = make.log(job)
    assert said[0] == "good day 1"
    assert said[2:] == [str(make.bed.home), "bad"]  # the folder it starts in is empty


def test_a_failure_keeps_its_exit_code(make: Maker, everything: tuple[str, str]) -> None:
    job = make.ended(make.submit(*everything, "sh", "-c", "exit 7"))
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 7)
    assert job["statusReason"] == "Essential container in task exited"


def test_a_command_that_is_not_there_cannot_start(make: Maker, everything: tuple[str, str]) -> None:
    job = make.ended(make.submit(*everything, "no-such-command-here"))
    assert job["statusReason"] == "Task failed to start"
    assert job["container"]["reason"].startswith("CannotStartContainerError")
    assert "exitCode" not in job["container"]


def test_a_log_is_written_while_the_job_runs(make: Maker, everything: tuple[str, str]) -> None:
    job_id = make.submit(*everything, "sh", "-c", "echo first; echo; sleep 60; echo never")
    make.in_state(job_id, "RUNNING")
    wait_for(lambda: make.log(make.job(job_id)) == ["first"])
    make.bed.client("batch").terminate_job(jobId=job_id, reason="seen enough")
    assert make.ended(job_id)["status"] == "FAILED"


def test_a_log_goes_to_the_group_of_its_definition(
    make: Maker, everything: tuple[str, str]
) -> None:
    group = f"/{make.name('jobs')}"
    options = {"awslogs-group": group, "awslogs-stream-prefix": "hut"}
    logs = {"logDriver": "awslogs", "options": options}
    definition = make.definition("sh", "-c", "printf unfinished", logConfiguration=logs)
    job = make.ended(make.submit(everything[0], definition))
    assert "ResourceInitializationError" in job["container"]["reason"]  # there is no such group
    make.bed.client("logs").create_log_group(logGroupName=group)
    job = make.ended(make.submit(everything[0], definition))
    assert job["container"]["logStreamName"].startswith("hut/default/")
    assert make.log(job, group) == ["unfinished"]


@pytest.mark.parametrize("kind", ["terminate_job", "cancel_job"])
@pytest.mark.usefixtures("held")
def test_jobs_that_wait_can_be_ended(make: Maker, everything: tuple[str, str], kind: str) -> None:
    first = make.submit(*everything)
    second = make.submit(*everything, dependsOn=[{"jobId": first}])
    make.in_state(first, "RUNNABLE")
    make.in_state(second, "PENDING")
    for job_id in (second, first):
        getattr(make.bed.client("batch"), kind)(jobId=job_id, reason="not needed")
        job = make.ended(job_id)
        assert (job["status"], job["statusReason"]) == ("FAILED", "not needed")
        assert job["attempts"] == []
        assert job["isTerminated" if kind == "terminate_job" else "isCancelled"]


def test_jobs_that_run_can_be_terminated_not_cancelled(
    make: Maker, everything: tuple[str, str]
) -> None:
    batch = make.bed.client("batch")
    gentle = make.submit(*everything, "sleep", "60")
    stubborn = make.submit(
        *everything, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"
    )
    for job_id in (gentle, stubborn):
        make.in_state(job_id, "RUNNING")
    wait_for(lambda: make.log(make.job(stubborn)))
    batch.cancel_job(jobId=gentle, reason="please")
    assert make.job(gentle)["status"] == "RUNNING"
    for job_id, code in ((gentle, 143), (stubborn, 137)):
        batch.terminate_job(jobId=job_id, reason="enough")
        job = make.ended(job_id)
        assert (job["statusReason"], job["container"]["exitCode"]) == ("enough", code)
    batch.terminate_job(jobId=gentle, reason="again")  # neither is an error
    batch.terminate_job(jobId="00000000-0000-0000-0000-000000000000", reason="who?")
    assert make.job(gentle)["statusReason"] == "enough"


def test_a_job_has_a_time_limit(make: Maker, everything: tuple[str, str]) -> None:
    make.bed.hook("batch/timeouts", {"scale": 0.005})
    try:
        job = make.ended(
            make.submit(*everything, "sleep", "60", timeout={"attemptDurationSeconds": 60})
        )
    finally:
        make.bed.hook("batch/timeouts", {"scale": 1})
    assert job["status"] == "FAILED"
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    with pytest.raises(ClientError, match="at least 60"):
        make.submit(*everything, timeout={"attemptDurationSeconds": 59})


def test_a_job_ends_with_its_main_process(make: Maker, everything: tuple[str, str]) -> None:
    job = make.ended(make.submit(*everything, "sh", "-c", "sleep 300 & echo done"))
    assert (job["status"], make.log(job)) == ("SUCCEEDED", ["done"])


def test_jobs_are_tried_again(make: Maker, everything: tuple[str, str]) -> None:
    rules = [
        {"onExitCode": "3", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    script = "[ $AWS_BATCH_JOB_ATTEMPT = 2 ] && exit 4; exit 3"
    strategy = {"attempts": 5, "evaluateOnExit": rules}
    job = make.ended(make.submit(*everything, "sh", "-c", script, retryStrategy=strategy))
    assert [each["container"]["exitCode"] for each in job["attempts"]] == [3, 4]


def test_arrays(make: Maker, everything: tuple[str, str]) -> None:
    script = "exit $((AWS_BATCH_JOB_ARRAY_INDEX % 2))"
    job_id = make.submit(*everything, "sh", "-c", script, arrayProperties={"size": 4})
    job = make.ended(job_id)
    assert job["status"] == "FAILED"
    summary = job["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"]) == (2, 2)
    children = make.bed.client("batch").list_jobs(arrayJobId=job_id, jobStatus="FAILED")
    assert {each["jobId"] for each in children["jobSummaryList"]} == {f"{job_id}:1", f"{job_id}:3"}
    assert make.job(f"{job_id}:3")["arrayProperties"] == {"index": 3}


def test_children_of_an_array_tell_of_themselves(make: Maker, everything: tuple[str, str]) -> None:
    url, arn = make.queue()
    name = make.name("array")
    make.rule({"source": ["aws.batch"], "detail": {"jobName": [name]}}, arn)
    job_id = make.submit(*everything, name=name, arrayProperties={"size": 2})
    states: dict[str, list[str]] = {}
    shapes: dict[str, Any] = {}

    def all_came() -> bool:
        for detail in [each["detail"] for each in make.receive(url)]:
            states.setdefault(detail["jobId"], []).append(detail["status"])
            shapes[detail["jobId"]] = detail["arrayProperties"]
        return sum(map(len, states.values())) == 10

    wait_for(all_came)
    assert sorted(states.pop(job_id)) == ["PENDING", "SUCCEEDED"]
    assert {key: sorted(found) for key, found in states.items()} == {
        f"{job_id}:{n}": ["RUNNABLE", "RUNNING", "STARTING", "SUCCEEDED"] for n in range(2)
    }
    assert shapes[f"{job_id}:1"] == {"index": 1}
    assert shapes[job_id]["statusSummary"]["SUCCEEDED"] == 2
    logs = {make.job(f"{job_id}:{n}")["container"]["logStreamName"] for n in range(2)}
    assert len(logs) == 2


@pytest.mark.usefixtures("held")
def test_children_end_one_by_one_or_with_their_parent(
    make: Maker, everything: tuple[str, str]
) -> None:
    batch = make.bed.client("batch")
    job_id = make.submit(*everything, "sleep", "60", arrayProperties={"size": 6})
    make.in_state(f"{job_id}:5", "RUNNABLE")
    assert make.job(job_id)["status"] == "PENDING"
    make.bed.hook("batch/slots", {"jobs": 2})
    make.in_state(f"{job_id}:1", "RUNNING")
    batch.cancel_job(jobId=f"{job_id}:5", reason="not this one")
    batch.terminate_job(jobId=f"{job_id}:0", reason="enough of it")
    assert make.ended(f"{job_id}:0")["statusReason"] == "enough of it"
    assert make.ended(f"{job_id}:5")["statusReason"] == "not this one"
    summary = make.job(job_id)["arrayProperties"]["statusSummary"]
    assert (summary["FAILED"], sum(summary.values())) == (2, 6)
    batch.cancel_job(jobId=job_id, reason="no more")  # those that run go on
    make.in_state(f"{job_id}:4", "FAILED")
    assert make.job(f"{job_id}:1")["status"] == "RUNNING"
    batch.terminate_job(jobId=job_id, reason="all of it")
    assert make.ended(f"{job_id}:1")["statusReason"] == "all of it"
    assert make.ended(job_id)["status"] == "FAILED"


@pytest.mark.usefixtures("held")
def test_an_array_may_be_large(make: Maker, everything: tuple[str, str]) -> None:
    batch = make.bed.client("batch")
    job_id = make.submit(*everything, arrayProperties={"size": 10_000})
    make.in_state(f"{job_id}:9999", "RUNNABLE")
    pages = batch.get_paginator("list_jobs").paginate(
        arrayJobId=job_id, jobStatus="RUNNABLE", PaginationConfig={"MaxItems": 250}
    )
    found = [each["jobId"] for page in pages for each in page["jobSummaryList"]]
    assert len(set(found)) == 250
    assert batch.list_jobs(arrayJobId=job_id, jobStatus="FAILED")["jobSummaryList"] == []
    ids = [f"{job_id}:{n}" for n in range(100)]
    assert [each["jobId"] for each in batch.describe_jobs(jobs=ids)["jobs"]] == ids
    batch.terminate_job(jobId=job_id, reason="too many")
    assert make.ended(job_id)["arrayProperties"]["statusSummary"]["FAILED"] == 10_000
    with pytest.raises(ClientError, match="between 2 and 10000"):
        make.submit(*everything, arrayProperties={"size": 10_001})


@pytest.mark.usefixtures("held")
def test_lists_have_filters_and_pages(make: Maker, everything: tuple[str, str]) -> None:
    batch, queue = make.bed.client("batch"), everything[0]
    prefix = make.name("Listed")
    ids = {make.submit(*everything, name=f"{prefix}-{n}") for n in range(5)}
    one = {"name": "JOB_NAME", "values": [f"{prefix}-3".lower()]}
    some = {"name": "JOB_NAME", "values": [f"{prefix}-*"]}
    assert len(batch.list_jobs(jobQueue=queue, filters=[one])["jobSummaryList"]) == 1
    pages = batch.get_paginator("list_jobs").paginate(
        jobQueue=queue, filters=[some], PaginationConfig={"PageSize": 2}
    )
    found = [page["jobSummaryList"] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert {each["jobId"] for page in found for each in page} == ids
    make.in_state(next(iter(ids)), "RUNNABLE")
    waiting = batch.list_jobs(jobQueue=queue, jobStatus="RUNNABLE")["jobSummaryList"]
    assert ids >= {each["jobId"] for each in waiting if each["jobName"].startswith(prefix)} != set()
    assert batch.list_jobs(jobQueue=queue)["jobSummaryList"] == []  # those that run
    for job_id in ids:
        batch.terminate_job(jobId=job_id, reason="listed")
    with pytest.raises(ClientError, match="100 jobs"):
        batch.describe_jobs(jobs=["x"] * 101)


def test_definitions_have_revisions(make: Maker) -> None:
    batch, name = make.bed.client("batch"), make.name("revised")
    first, second = (make.definition("true", name=name) for _ in range(2))
    assert (first[-2:], second[-2:]) == (":1", ":2")
    found = batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
    assert [each["revision"] for each in found["jobDefinitions"]] == [2, 1]
    batch.deregister_job_definition(jobDefinition=second)
    found = batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
    assert [each["jobDefinitionArn"] for each in found["jobDefinitions"]] == [first]
    found = batch.describe_job_definitions(jobDefinitions=[first, second])["jobDefinitions"]
    assert [each["status"] for each in found] == ["ACTIVE", "INACTIVE"]
    batch.tag_resource(resourceArn=first, tags={"a": "b"})
    assert batch.list_tags_for_resource(resourceArn=first)["tags"] == {"a": "b"}


def test_what_is_too_large_is_refused(make: Maker, everything: tuple[str, str]) -> None:
    with pytest.raises(ClientError, match="at most 8192") as refused:
        make.submit(*everything, "x" * 8_192)
    assert refused.value.response["Error"]["Code"] == "ClientException"
    with pytest.raises(ClientError, match="larger than 30720"):
        make.submit(*everything, "true", parameters={"text": "x" * 31_000})


@pytest.mark.parametrize(
    ("vcpus", "memory", "is_valid"),
    [("0.25", "512", True), ("0.25", "4096", False), ("4", "16384", True), ("3", "8192", False)],
)
def test_fargate_has_certain_sizes(make: Maker, vcpus: str, memory: str, is_valid: bool) -> None:
    def register() -> Any:
        return make.bed.client("batch").register_job_definition(
            jobDefinitionName=make.name("fargate"),
            type="container",
            platformCapabilities=["FARGATE"],
            containerProperties={
                "image": "debian:stable-slim",
                "executionRoleArn": "arn:aws:iam::000000000000:role/any",
                "resourceRequirements": [
                    {"type": "VCPU", "value": vcpus},
                    {"type": "MEMORY", "value": memory},
                ],
            },
        )

    if is_valid:
        register()
    else:
        with pytest.raises(ClientError, match="not valid"):
            register()


def test_a_host_can_be_lost(make: Maker, everything: tuple[str, str]) -> None:
    job_id = make.submit(*everything, "sleep", "60")
    make.in_state(job_id, "RUNNING")
    make.bed.hook(
        "batch/transition", {"jobId": job_id, "status": "FAILED", "statusReason": HOST_ENDED}
    )
    job = make.job(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", HOST_ENDED)
    assert "exitCode" not in job["container"]
    assert job["attempts"][0]["statusReason"] == HOST_ENDED


def test_memory_can_run_out(make: Maker, everything: tuple[str, str]) -> None:
    job_id = make.submit(*everything, "sleep", "60")
    make.in_state(job_id, "RUNNING")
    reason = "OutOfMemoryError: Container killed due to memory usage"
    wanted = {"jobId": job_id, "status": "FAILED", "reason": reason, "exitCode": 137}
    make.bed.hook("batch/transition", wanted)
    job = make.job(job_id)
    assert (job["container"]["exitCode"], job["container"]["reason"]) == (137, reason)


def test_only_so_many_jobs_run_at_the_same_time(make: Maker, everything: tuple[str, str]) -> None:
    make.bed.hook("batch/slots", {"jobs": 2})
    folder = make.folder
    script = f"ls {folder} | wc -l; touch {folder}/$$; sleep 0.05; rm {folder}/$$"
    try:
        ids = [make.submit(*everything, "sh", "-c", script) for _ in range(8)]
        jobs = [make.ended(job_id) for job_id in ids]
    finally:
        make.bed.hook("batch/slots", {"jobs": 8})
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}
    assert max(int(make.log(job)[0]) for job in jobs) < 2


def test_states_are_told_to_eventbridge(make: Maker, everything: tuple[str, str]) -> None:
    url, arn = make.queue()
    prefix = make.name("told")
    states = ["RUNNING", "SUCCEEDED", "FAILED"]
    make.rule(
        {
            "source": ["aws.batch"],
            "detail-type": ["Batch Job State Change"],
            "detail": {"status": states, "jobName": [{"prefix": f"{prefix}-"}]},
        },
        arn,
    )
    make.submit(*everything, name="untold")
    job_id = make.submit(*everything, name=f"{prefix}-1")
    got: list[Any] = []

    def two() -> bool:
        got.extend(make.receive(url))
        return len(got) == 2

    wait_for(two)
    assert sorted(each["detail"]["status"] for each in got) == ["RUNNING", "SUCCEEDED"]
    last = next(each for each in got if each["detail"]["status"] == "SUCCEEDED")
    assert last["source"] == "aws.batch"
    assert last["resources"] == [last["detail"]["jobArn"]]
    assert last["detail"]["jobId"] == job_id
    assert last["detail"]["container"]["exitCode"] == 0
    assert json.dumps(last["detail"]["attempts"]) == json.dumps(make.job(job_id)["attempts"])
