"""The drills of docs/operations.md, step by step, with runs under way."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hut.store.dynamodb.columns import read_columns
from hut.store.dynamodb.values import load_item
from tests.e2e.remote_hut import HOLD, TERMINAL, RemoteHut, until
from tests.e2e.test_disturbances import drained, event
from tests.testbed.running import ACCOUNT, REGION, TestBed

SLOW = 120.0  # seconds: functions begin anew in these tests
FUNCTIONS = ("api", "register", "advance", "observe", "sweep", "finish", "check")
ONCE = '( flock -n 9 || echo "$HUT_TASK_ID" >> twice; {command} ) 9> "at.$HUT_RUN_ID.$HUT_TASK_ID"'
"""Notes a task that runs while it runs."""


def swept(hut: RemoteHut, *runs: str) -> None:
    """Sweep until runs have ended, as the schedule does."""
    until(
        lambda: hut.sweep() and all(hut.show(run)["state"] in TERMINAL for run in runs),
        f"the runs {runs} ended",
        120,
    )


def table(hut: RemoteHut) -> str:
    return hut.deployment.outputs["TableName"]


def items(hut: RemoteHut, run: str) -> list[dict[str, Any]]:
    pages = hut.bed.client("dynamodb").get_paginator("scan").paginate(TableName=table(hut))
    found = [load_item(item) for page in pages for item in page["Items"]]
    return [item for item in found if item["pk"].startswith(f"RUN#{run}")]


# Restore the table --------------------------------------------------------------------------------


def test_the_table_is_restored_in_the_middle_of_runs(hut: RemoteHut) -> None:
    chain = [
        {"id": "hold", "command": ONCE.format(command=HOLD)},
        {"id": "quick", "command": ONCE.format(command="echo quick >> ran")},
        {"id": "then", "command": ONCE.format(command="echo then >> ran"), "deps": ["hold"]},
    ]
    first = hut.start(chain)
    hut.reached(first, "hold", "running", seconds=SLOW)
    hut.reached(first, "quick", "completed", seconds=SLOW)
    waits = "while [ ! -e second ]; do sleep 0.1; done"
    second = hut.start(
        [
            {"id": "a", "command": ONCE.format(command=waits)},
            {"id": "b", "command": ONCE.format(command=f"echo b >> ran; {HOLD}"), "deps": ["a"]},
        ]
    )
    hut.reached(second, "a", "running", seconds=SLOW)
    third = hut.start([{"id": "x", "command": ONCE.format(command=HOLD)}])
    hut.reached(third, "x", "running", seconds=SLOW)

    dynamodb = hut.bed.client("dynamodb")
    made = dynamodb.create_backup(TableName=table(hut), BackupName="before")
    # It goes on: a task ends and another one starts, a run is cancelled, one is submitted.
    (hut.bed.home / "second").touch()
    hut.reached(second, "b", "running", seconds=SLOW)
    started_since = hut.job(second, "b")
    hut("cancel", third)
    hut.ended(third, SLOW)
    lost = hut.start([{"id": "y", "command": "sleep 600"}])
    hut.reached(lost, "y", "running", seconds=SLOW)

    hut("recover", "restore", "nothing", exit_code=2)  # not while functions may be called
    hut("recover", "pause", "--wait", "0")
    arn = made["BackupDetails"]["BackupArn"]
    dynamodb.restore_table_from_backup(TargetTableName="restored", BackupArn=arn)
    dynamodb.get_waiter("table_exists").wait(TableName="restored")
    report = hut.json("recover", "restore", "restored", "--report", "report.json")
    hut("recover", "resume")
    dynamodb.delete_table(TableName="restored")

    assert json.loads((hut.folder / "report.json").read_text())["lost"] == report["lost"]
    assert [run["id"] for run in report["lost"]] == [lost]
    assert set(report["taken_up"]) == {second, third}  # nothing had changed in the first one
    ended = {each["handle"] for each in report["ended"] if each["kind"] == "job"}
    assert started_since["jobId"] in ended
    assert {job["jobId"] for job in hut.jobs(lost)} <= ended
    assert hut.call("GET", f"/runs/{lost}").status == 404
    assert hut.execution(lost)["status"] == "ABORTED"
    assert hut.json("recover", "check") == []
    hut.go()
    swept(hut, first, second, third)
    # The cancellation came after the backup; its job had ended by it, which is what counts now.
    assert [hut.show(run)["state"] for run in (first, second)] == ["completed", "completed"]
    assert hut.show(third)["state"] == "failed"
    assert hut.task(third, "x")["reason"] == "cancelled"
    assert hut.lines("twice") == []
    assert sorted(hut.lines("ran")) == ["b", "b", "quick", "then"]  # `b` began again


# Dead letters -------------------------------------------------------------------------------------


def queue(hut: RemoteHut, name: str) -> tuple[str, str]:
    """Return the URL and the ARN of a queue."""
    sqs = hut.bed.client("sqs")
    (url,) = [url for url in sqs.list_queues()["QueueUrls"] if f"HutControl-{name}" in url]
    names = ["QueueArn"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]["QueueArn"]
    return url, arn


def number(hut: RemoteHut, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = hut.bed.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return sum(map(int, found["Attributes"].values()))


def test_events_and_wakes_that_were_given_up_are_redriven(hut: RemoteHut) -> None:
    sqs = hut.bed.client("sqs")
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 1.0})
    tasks = [
        {"id": "a", "command": "echo a >> ran"},
        {"id": "b", "command": "echo b >> ran", "deps": ["a"]},
    ]
    run = hut.start(tasks)
    (job,) = until(
        lambda: [job for job in hut.jobs(run) if job["status"] == "SUCCEEDED"], "the job ended"
    )
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 0})
    url, arn = queue(hut, "ObserveDeadLetters")
    told = event(job)
    body = {"source": told["Source"], "detail-type": told["DetailType"], "detail": job}
    for _ in range(2):  # told twice
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    assert hut.task(run, "a")["state"] != "completed"
    sqs.start_message_move_task(SourceArn=arn)
    assert hut.ended(run, SLOW)["state"] == "completed"
    until(lambda: drained(hut), "the events were taken in", SLOW)
    assert number(hut, url) == 0
    url, arn = queue(hut, "WakeDeadLetters")
    for what in (run, "nobodyknow"):  # a run that has ended, and one that is gone
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"run": what}))
    sqs.start_message_move_task(SourceArn=arn)
    wakes, _ = queue(hut, "WakeQueue")
    until(lambda: not number(hut, wakes), "the messages were taken in", SLOW)
    assert number(hut, url) == 0
    assert hut.lines("ran") == ["a", "b"]


@pytest.fixture
def broken_advance(hut: RemoteHut) -> Iterator[None]:
    """Let hut-advance fail as a whole, and be given up at once."""
    function, client = f"{hut.deployment.prefix}-advance", hut.bed.client("lambda")
    variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    (mapping,) = [
        each
        for each in client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        if "/stream/" in each["EventSourceArn"]
    ]
    uuid = mapping["UUID"]
    client.update_event_source_mapping(UUID=uuid, MaximumRetryAttempts=0)
    broken = variables | {"HUT_BACKENDS": "not JSON"}
    client.update_function_configuration(FunctionName=function, Environment={"Variables": broken})
    yield
    client.update_function_configuration(
        FunctionName=function, Environment={"Variables": variables}
    )
    client.update_event_source_mapping(UUID=uuid, MaximumRetryAttempts=20)


def test_what_the_stream_gave_up_is_found_by_the_sweep(
    hut: RemoteHut, request: pytest.FixtureRequest
) -> None:
    sqs = hut.bed.client("sqs")
    url, arn = queue(hut, "StreamDeadLetters")
    sqs.purge_queue(QueueUrl=url)
    tasks = [
        {"id": "a", "command": f"{HOLD}; echo a >> ran"},
        {"id": "b", "command": "echo b >> ran", "deps": ["a"]},
    ]
    run = hut.start(tasks)
    hut.reached(run, "a", "running", seconds=SLOW)
    request.getfixturevalue("broken_advance")
    hut.go()
    hut.reached(run, "a", "completed", seconds=SLOW)
    until(lambda: number(hut, url), "the stream gave up", SLOW)
    (message,) = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]
    told = json.loads(message["Body"])
    assert {"shardId", "startSequenceNumber"} <= told["DDBStreamBatchInfo"].keys()
    assert run not in message["Body"]  # a place in the stream, not what stands there
    with pytest.raises(ClientError, match="Dead Letter Queue"):
        sqs.start_message_move_task(SourceArn=arn)
    mend(hut)
    swept(hut, run)
    assert hut.ended(run, SLOW)["state"] == "completed"
    assert hut.lines("ran") == ["a", "b"]
    sqs.purge_queue(QueueUrl=url)


def mend(hut: RemoteHut) -> None:
    """Give hut-advance its variables again: those of the sweep, which has more of them."""
    client, prefix = hut.bed.client("lambda"), hut.deployment.prefix
    found = client.get_function_configuration(FunctionName=f"{prefix}-sweep")["Environment"]
    client.update_function_configuration(FunctionName=f"{prefix}-advance", Environment=found)


# Back to the release before -----------------------------------------------------------------------

NEXT: Mapping[str, Sequence[tuple[str, str]]] = {
    "hut/store/dynamodb/packs.py": [
        ('    "cost",\n)', '    "cost",\n    "colour",\n    "paused_at",\n)')
    ],
    "hut/store/dynamodb/unit.py": [
        (
            '        before = TaskState(task["state"])\n',
            (
                '        before = TaskState(task["state"])\n'
                '        task.update(colour="red", paused_at=at + 0.25)\n'
                '        self.meta["zone"] = "eu"\n'
            ),
        ),
    ],
    "hut/store/dynamodb/growth.py": [
        (
            '        writes.append(Write(put=_at(settings, kind="settings"',
            (
                '        planet = run_key(new.id, "PLANET#1")\n'
                '        writes.append(Write(put=_at(planet, kind="planet", ttl=meta["ttl"])))\n'
                '        writes.append(Write(put=_at(settings, kind="settings"'
            ),
        ),
    ],
    "hut/store/encoding.py": [
        (
            '    data: dict[str, Any] = {"command": spec.command}\n',
            '    data: dict[str, Any] = {"command": spec.command, "flavour": "x"}\n',
        ),
        (
            "    data: dict[str, Any] = {}\n    for field in fields(settings):",
            '    data: dict[str, Any] = {"region": "mars"}\n    for field in fields(settings):',
        ),
    ],
    "hut/model/states.py": [('    OTHER = "other"', '    BEARS = "bears"\n    OTHER = "other"')],
    "hut/lifecycle/attempt.py": [
        (
            "    return Outcome(TaskState.FAILED, Reason.EXIT, code,",
            "    return Outcome(TaskState.FAILED, Reason.BEARS, code,",
        ),
    ],
    "hut/aws/wakes.py": [('{"run": run_id', '{"mood": "good", "run": run_id')],
    "hut/aws/executions.py": [
        (
            '            "run": run_id,\n',
            '            "run": run_id,\n            "mood": "good",\n',
        )
    ],
}
"""What the next release has more, by the rules of docs/decisions/018-forms.md."""


@pytest.fixture
def releases(hut: RemoteHut) -> Iterator[tuple[bytes, bytes]]:
    """Hut's own code as it is deployed, and as the next release has it; packages stay as they are."""
    today: dict[str, str] = {}
    for archive in Path(hut.deployment.cdk.folder, "cdk.out").glob("asset.*"):
        if not (archive / "handlers").is_dir():
            continue
        for part in ("hut", "handlers"):
            found = (archive / part).rglob("*.py")
            today |= {str(path.relative_to(archive)): path.read_text() for path in found}
    later = dict(today)
    for name, changes in NEXT.items():
        for old, new in changes:
            assert later[name].count(old) == 1, (name, old)
            later[name] = later[name].replace(old, new)
    yield zipped(today), zipped(later)
    bucket = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
    for name, key in deployed_keys(hut).items():
        hut.bed.client("lambda").update_function_code(FunctionName=name, S3Bucket=bucket, S3Key=key)


def deployed_keys(hut: RemoteHut) -> dict[str, str]:
    """Return under which key the CDK has stored the code of each function."""
    cloudformation = hut.bed.client("cloudformation")
    template = cloudformation.get_template(StackName="HutControl")["TemplateBody"]
    template = json.loads(template) if isinstance(template, str) else template
    functions = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    return {each["FunctionName"]: each["Code"]["S3Key"] for each in functions}


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in sorted(files.items()):
            archive.writestr(name, data)
    return content.getvalue()


def release(bed: TestBed, code: bytes) -> None:
    for name in FUNCTIONS:
        bed.client("lambda").update_function_code(FunctionName=f"hut-{name}", ZipFile=code)


def test_a_release_is_rolled_back_while_runs_go_on(
    hut: RemoteHut, releases: tuple[bytes, bytes]
) -> None:
    today, later = releases
    tasks = [
        {"id": "hold", "command": f"{HOLD}; echo hold >> ran"},
        {"id": "fails", "command": "exit 3", "retries": 1},
        *({"id": f"t{i}", "command": f"echo {i} >> ran"} for i in range(10)),
        {"id": "end", "command": "echo end >> ran", "deps": ["hold", "t*"]},
    ]
    before = hut.start(tasks, name="before")
    hut.reached(before, "hold", "running", seconds=SLOW)
    release(hut.bed, later)
    during = hut.start(tasks, name="during")
    failed = hut.reached(during, "fails", "failed", seconds=SLOW)
    assert failed["reason"] == "bears"
    hut.reached(during, "hold", "running", seconds=SLOW)
    release(hut.bed, today)
    assert hut.task(during, "fails")["reason"] == "other"
    assert {task["reason"] for task in hut.tasks(during).values()} >= {"other"}
    hut.go()
    swept(hut, before, during)
    for run in (before, during):
        counts = hut.show(run)["counts"]
        assert (counts["completed"], counts["failed"]) == (12, 1)
        assert len(hut.task(run, "fails")["attempts"]) == 2
    assert sorted(hut.lines("ran")) == sorted([*map(str, range(10)), "hold", "end"] * 2)
    found = items(hut, during)
    assert [item["sk"] for item in found if item.get("kind") == "planet"] == ["PLANET#1"]
    (meta,) = [item for item in found if item["sk"] == "META"]
    assert meta["zone"] == "eu"
    rows = [
        row
        for item in found
        if item.get("kind") == "pack"
        for row in read_columns(item["states"], ("submitted", "started", "ended", "wanted"))
    ]
    painted = [row for row in rows if row.get("colour") == "red"]
    assert len(painted) >= 2  # what the next release has moved, `hold` and `fails` at least
    assert all(row["paused_at"] > meta["created"] for row in painted)
    # And forward again, to what it had written.
    release(hut.bed, later)
    assert hut.task(during, "fails")["reason"] == "bears"
    assert hut.call("POST", f"/runs/{during}/retry").status == 202
    swept(hut, during)
    assert hut.show(during)["counts"]["completed"] == 12


# Forms --------------------------------------------------------------------------------------------


def set_form(hut: RemoteHut, **attributes: str) -> None:
    item = {"pk": {"S": "FORM"}, "sk": {"S": "FORM"}}
    item |= {name: {"N": value} for name, value in attributes.items()}
    hut.bed.client("dynamodb").put_item(TableName=table(hut), Item=item)


def restart(hut: RemoteHut) -> None:
    """Let all functions begin anew, as a deployment does."""
    client = hut.bed.client("lambda")
    for name in FUNCTIONS:
        found = client.get_function_configuration(FunctionName=f"hut-{name}")["Environment"]
        client.update_function_configuration(FunctionName=f"hut-{name}", Environment=found)


def test_the_form_of_the_table_forth_and_back(hut: RemoteHut) -> None:
    run = hut.start(
        [
            {"id": "a", "command": f"{HOLD}; echo a >> ran"},
            {"id": "b", "command": "true", "deps": ["a"]},
        ]
    )
    hut.reached(run, "a", "running", seconds=SLOW)
    # Forth: as an earlier release left the table, with its run under way.
    hut.bed.client("dynamodb").update_item(
        TableName=table(hut),
        Key={"pk": {"S": f"RUN#{run}"}, "sk": {"S": "META"}},
        UpdateExpression="REMOVE #form",
        ExpressionAttributeNames={"#form": "form"},
    )
    set_form(hut, since="1")
    restart(hut)
    hut.sweep()
    (item,) = [item for item in items(hut, run) if item["sk"] == "META"]
    assert item["form"] == 0
    form = hut.bed.client("dynamodb").get_item(
        TableName=table(hut), Key={"pk": {"S": "FORM"}, "sk": {"S": "FORM"}}
    )["Item"]
    assert form["form"]["N"] == "1"
    # A later release has gone on to what this one can't read: it says so, and touches nothing.
    set_form(hut, form="9", needs="9")
    restart(hut)
    answer = hut.call("GET", f"/runs/{run}")
    assert answer.status == 503
    assert "deploy the release" in answer.document["detail"]
    hut.go()
    until(lambda: hut.lines("ran"), "the job ran on", SLOW)
    # Back: its later form needs no more than this one knows.
    set_form(hut, form="9", needs="1")
    swept(hut, run)
    assert hut.ended(run, SLOW)["state"] == "completed"
    set_form(hut, form="1")
