"""The functions, called with events as AWS sends them, over the control plane in a box."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from handlers import advance, finish, observe, register, sweep
from hut.model.records import RunRecord
from hut.model.states import RunState
from hut.store.port import StoreError
from tests.service.control_plane import Context, ControlPlane
from tests.service.fake_ports import FAILED, FakeJob

SECRET = "s3cr3t-of-a-user"
FUNCTIONS: tuple[Any, ...] = (advance, finish, observe, register, sweep)
_NUMBERS = count(1)


@pytest.fixture(autouse=True)
def _functions(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in FUNCTIONS:
        monkeypatch.setattr(module, "surroundings", lambda *_: plane.around())


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Everything the functions wrote: their logs, and what they printed."""
    written = io.StringIO()
    handlers = list({h: None for m in FUNCTIONS for h in m.logger.handlers})
    before = [handler.setStream(written) for handler in handlers]

    def read() -> str:
        printed = capsys.readouterr()
        return written.getvalue() + printed.out + printed.err

    yield read
    for handler, stream in zip(handlers, before, strict=True):
        if stream is not None:
            handler.setStream(stream)


# Events -----------------------------------------------------------------------------------------


def stream_record(image: dict[str, Any] | None, event: str = "MODIFY") -> dict[str, Any]:
    """Return a record of the table's stream."""
    number = next(_NUMBERS)
    change = {
        "ApproximateCreationDateTime": 1700000000.0,
        "Keys": {"pk": {"S": "RUN#x"}, "sk": {"S": "y"}},
        "SequenceNumber": f"{number:021}",
        "SizeBytes": 100,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if image is not None:
        change |= {"NewImage": image, "Keys": {name: image[name] for name in ("pk", "sk")}}
    return {
        "eventID": f"{number:032x}",
        "eventName": event,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": change,
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/hut/stream/x",
    }


def sqs_record(body: Any) -> dict[str, Any]:
    """Return a message as Lambda gets it; text stays as it is."""
    number = next(_NUMBERS)
    return {
        "messageId": f"00000000-0000-0000-0000-{number:012}",
        "receiptHandle": "handle",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000"},
        "messageAttributes": {},
        "md5OfBody": "0" * 32,
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:queue",
        "awsRegion": "us-east-1",
    }


def job_event(job: FakeJob, status: str, *, name: str | None = None, code: int = 0) -> Any:
    """Return the message of a change of a Batch job."""
    container: dict[str, Any] = {"logStreamName": f"log-{job.handle}"}
    if status in ("SUCCEEDED", "FAILED"):
        container["exitCode"] = code
    detail = {
        "jobId": job.handle,
        "jobName": job.name if name is None else name,
        "status": status,
        "createdAt": 1_000_000,
        "startedAt": 1_001_000,
        "stoppedAt": 1_002_000,
        "statusReason": "Essential container in task exited",
        "container": container,
        "attempts": [],
        "timeout": {"attemptDurationSeconds": 3600},
        "tags": {"HUT_SECRET": SECRET},
    }
    return sqs_record(
        {
            "version": "0",
            "id": "00000000-0000-0000-0000-000000000000",
            "detail-type": "Batch Job State Change",
            "source": "aws.batch",
            "account": "123456789012",
            "time": "2026-01-01T00:00:00Z",
            "region": "us-east-1",
            "resources": [],
            "detail": detail,
        }
    )


def execution_event(name: str, status: str = "ABORTED") -> Any:
    """Return the message of an execution that ended."""
    detail = {"name": name, "status": status, "input": "{}", "output": None}
    return sqs_record({"source": "aws.states", "detail": detail})


def call(module: Any, *records: dict[str, Any]) -> list[str]:
    """Call a function with records; return the identifiers of those that failed."""
    answer = module.handler({"Records": list(records)}, Context())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def stream_of(plane: ControlPlane) -> list[dict[str, Any]]:
    """Take what the stream tells as records."""
    images, plane.images = plane.images, []
    return [stream_record(image) for image in images]


def submitted(plane: ControlPlane, *tasks: dict[str, Any]) -> RunRecord:
    """Return a run whose first tasks are jobs."""
    run = plane.begin(*tasks or ({"id": "a"}, {"id": "b", "deps": ["a"]}))
    plane.deliver_stream()
    return run


def break_run(plane: ControlPlane, run: RunRecord) -> None:
    """Let everything that is asked of a run raise."""
    get_run, follow = plane.store.get_run, plane.store.follow

    def guard(wrapped: Any) -> Any:
        def guarded(run_id: str, *arguments: Any) -> Any:
            if run_id == run.id:
                raise RuntimeError("broken")
            return wrapped(run_id, *arguments)

        return guarded

    plane.store.get_run = guard(get_run)  # type: ignore[method-assign]
    plane.store.follow = guard(follow)  # type: ignore[method-assign]


# The whole way ----------------------------------------------------------------------------------


def test_a_run_goes_through_the_functions(plane: ControlPlane, said: Callable[[], str]) -> None:
    run = plane.submit(
        {"id": "a", "command": f"echo {SECRET}", "env_vars": {"TOKEN": SECRET}},
        {"id": "b", "deps": ["a"], "retries": 1},
        env_vars={"OTHER": SECRET},
    )
    plane.backend.outcomes["b"] = [FAILED]
    plane.step_executions()
    for _ in range(6):
        assert call(advance, *stream_of(plane)) == []
        jobs = plane.backend.active()
        assert call(observe, *(job_event(job, "RUNNING") for job in jobs)) == []
        plane.backend.end()
        assert call(observe, *(job_event(job, _status(job)) for job in jobs)) == []
        plane.clock.now += 200
        sweep.handler({}, Context())
    answer = finish.handler({"run": run.id, "generation": 0}, Context())
    assert (answer["state"], answer["total"]) == ("completed", 2)
    assert answer["counts"]["completed"] == 2
    assert plane.is_over(run)
    logged = said()
    assert SECRET not in logged
    assert '"RunsCompleted"' in logged
    for line in logged.splitlines():
        json.loads(line)


def _status(job: FakeJob) -> str:
    assert job.outcome is not None
    return "SUCCEEDED" if job.outcome.exit_code == 0 else "FAILED"


# advance ----------------------------------------------------------------------------------------


def test_advance_folds_the_records_of_a_run(plane: ControlPlane) -> None:
    run = submitted(plane, *({"id": f"t{i}"} for i in range(20)), {"id": "s", "deps": ["t*"]})
    for job in plane.backend.active():
        plane.backend.end(job)
        plane.deliver_jobs()
    records = stream_of(plane)
    assert len(records) == 20
    plane.client.calls.clear()
    assert call(advance, *records) == []
    assert plane.states(run)["s"] == "submitted"
    assert plane.client.count("update_item") == 2  # the barrier, and the page of ready tasks


def test_ends_that_are_stored_together_are_one_record(plane: ControlPlane) -> None:
    run = submitted(plane, *({"id": f"t{i}"} for i in range(20)), {"id": "s", "deps": ["t*"]})
    plane.backend.end()
    plane.deliver_jobs()
    (record,) = stream_of(plane)
    image = record["dynamodb"]["NewImage"]
    image["entries"] = {"B": base64.b64encode(image["entries"]["B"]).decode()}  # as Lambda has it
    assert call(advance, json.loads(json.dumps(record))) == []
    assert plane.states(run)["s"] == "submitted"


def test_claims_handles_and_starts_call_nobody(plane: ControlPlane) -> None:
    plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver_stream()
    assert plane.images == []
    plane.backend.start(plane.job("a"))
    plane.deliver_jobs()
    assert plane.images == []


def test_advance_passes_over_what_is_none_of_its_business(plane: ControlPlane) -> None:
    other = {"pk": {"S": "RUN#r"}, "sk": {"S": "META"}, "kind": {"S": "run"}}
    foreign = {"pk": {"S": "x"}, "sk": {"S": "y"}}
    records = [
        stream_record(other),
        stream_record(foreign),
        stream_record(None, "REMOVE"),
    ]
    assert call(advance, *records) == []


def test_advance_hands_a_broken_run_to_the_queue_and_goes_on(
    plane: ControlPlane, said: Callable[[], str]
) -> None:
    one, two = submitted(plane), submitted(plane)
    plane.backend.end()
    plane.deliver_jobs()
    records = stream_of(plane)
    break_run(plane, one)
    assert call(advance, *records) == []
    assert plane.wakes.waiting == [(1001.0, one.id, (0,))]
    assert plane.states(two) == {"a": "completed", "b": "submitted"}
    assert "the run could not be advanced" in said()


def test_advance_gives_back_what_can_not_be_handed_on(plane: ControlPlane) -> None:
    one, two = submitted(plane), submitted(plane)
    plane.backend.end()
    plane.deliver_jobs()
    records = stream_of(plane)
    numbers = [r["dynamodb"]["SequenceNumber"] for r in records]
    runs = [r["dynamodb"]["NewImage"]["run"]["S"] for r in records]
    break_run(plane, one)

    def broken(*_: Any) -> None:
        raise ConnectionError("no queue")

    plane.wakes.wake = broken  # type: ignore[method-assign]
    assert call(advance, *records) == [numbers[runs.index(one.id)]]
    assert plane.states(two)["b"] == "submitted"


def test_advance_takes_messages_of_the_queue(plane: ControlPlane) -> None:
    one, two = submitted(plane), submitted(plane)
    plane.backend.end()
    plane.deliver_jobs()
    plane.lose_events()
    messages = [sqs_record({"run": run.id, "ended": [0]}) for run in (one, two)]
    break_run(plane, one)
    unknown = sqs_record({"run": "nope"})
    assert call(advance, unknown, *messages) == [messages[0]["messageId"]]
    assert plane.states(two)["b"] == "submitted"


@pytest.mark.parametrize("body", ["no json", "[]", '{"ended": [1]}', '{"run": "r", "ended": 7}'])
def test_advance_gives_back_a_poisoned_message_alone(plane: ControlPlane, body: str) -> None:
    run = plane.begin({"id": "a"})
    poison = sqs_record(body)
    assert call(advance, poison, sqs_record({"run": run.id})) == [poison["messageId"]]
    assert plane.states(run) == {"a": "submitted"}


def test_advance_hands_on_what_there_is_no_time_for(plane: ControlPlane) -> None:
    runs = [submitted(plane) for _ in range(3)]
    plane.backend.end()
    plane.deliver_jobs()
    records = stream_of(plane)
    plane.has_time = lambda: False
    assert call(advance, *records) == []
    assert plane.wakes.runs() == [run.id for run in runs[1:]]
    assert [plane.states(run)["b"] for run in runs] == ["submitted", "pending", "pending"]


# observe ----------------------------------------------------------------------------------------


def test_observe_gives_back_poisoned_messages_alone(
    plane: ControlPlane, said: Callable[[], str]
) -> None:
    run = submitted(plane)
    poisons = [
        sqs_record("no json"),
        sqs_record([]),
        sqs_record({"source": "aws.batch"}),
        sqs_record({"source": "aws.batch", "detail": {"jobId": "x", "status": "ODD"}}),
        sqs_record({"source": "aws.states", "detail": {}}),
    ]
    good = job_event(plane.job("a"), "SUCCEEDED")
    failed = call(observe, *poisons[:3], good, *poisons[3:])
    assert failed == sorted(poison["messageId"] for poison in poisons)
    assert plane.states(run)["a"] == "completed"
    assert "a message could not be taken in" in said()


def test_observe_gives_back_the_messages_of_a_broken_run_alone(plane: ControlPlane) -> None:
    one, two = submitted(plane), submitted(plane)
    first, second = plane.backend.active(one.id)[0], plane.backend.active(two.id)[0]
    break_run(plane, one)
    messages = [job_event(first, "RUNNING"), job_event(first, "SUCCEEDED")]
    failed = call(observe, *messages, job_event(second, "SUCCEEDED"))
    assert failed == sorted(message["messageId"] for message in messages)
    assert plane.states(two)["a"] == "completed"


def test_observe_takes_no_jobs_of_others(plane: ControlPlane) -> None:
    run = submitted(plane)
    job = plane.job("a")
    names = ["theirs", "other-run1-0-1-1", "hut-run1-0-1", "hut-nope-0-1-1", "HUT-run1-0-1-1"]
    assert call(observe, *(job_event(job, "SUCCEEDED", name=name) for name in names)) == []
    assert plane.states(run)["a"] == "submitted"


def test_observe_gives_back_what_must_wait(plane: ControlPlane) -> None:
    run = submitted(plane, {"id": "gen", "generates_source": "g.json"}, {"id": "x"})
    plane.backend.generated["gen"] = None
    waits = job_event(plane.job("gen"), "SUCCEEDED")
    assert call(observe, waits, job_event(plane.job("x"), "SUCCEEDED")) == [waits["messageId"]]
    assert plane.states(run) == {"gen": "submitted", "x": "completed"}


def test_observe_tries_again_where_others_change_the_run(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submitted(plane)
    record, calls = plane.store.record_ended, []

    def busy(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) < 3:
            raise StoreError("too many at once")
        return record(*arguments)

    monkeypatch.setattr(plane.store, "record_ended", busy)
    assert call(observe, job_event(plane.job("a"), "SUCCEEDED")) == []
    assert plane.states(run)["a"] == "completed"


def test_observe_gives_back_what_others_never_let_it_record(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(plane)

    def busy(*_: Any) -> Any:
        raise StoreError("too many at once")

    monkeypatch.setattr(plane.store, "record_ended", busy)
    event = job_event(plane.job("a"), "SUCCEEDED")
    assert call(observe, event) == [event["messageId"]]


@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT", "FAILED"])
def test_observe_cancels_a_run_whose_execution_was_stopped(
    plane: ControlPlane, status: str
) -> None:
    run = submitted(plane)
    assert call(observe, execution_event(f"{run.id}-0", status)) == []
    assert plane.finish(run).state is RunState.CANCELLED


def test_observe_leaves_runs_alone_that_go_on_without_that_execution(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    plane.step_executions()
    late = [execution_event(f"{run.id}-0", "FAILED"), execution_event("nope-0")]
    assert call(observe, *late) == []
    assert plane.run(run).cancel_requested_at is None


# The steps of the state machine -----------------------------------------------------------------


def step(plane: ControlPlane, name: str, run: RunRecord, generation: int = 0) -> Any:
    event = {"step": name, "run": run.id, "generation": generation, "token": f"late-{name}"}
    return register.handler(event, Context())


def test_steps_may_be_repeated(plane: ControlPlane) -> None:
    run = plane.submit({"id": "a"})
    for _ in range(2):
        assert register.handler(
            {"step": "block", "run": run.id, "generation": 0, "block": 0}, Context()
        ) == {"block": 0}
    for _ in range(2):
        assert step(plane, "start", run) == {"run": run.id, "state": RunState.RUNNING}
    assert plane.run(run).epoch == 1
    assert plane.finish(run).state is RunState.COMPLETED


def test_an_unknown_step_is_refused(plane: ControlPlane) -> None:
    run = plane.submit({"id": "a"})
    with pytest.raises(ValueError, match="unknown step 'jump'"):
        step(plane, "jump", run)


def test_a_start_after_the_end_is_told_at_once(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    step(plane, "start", run)
    assert plane.executions.told[-1] == "late-start"


def test_an_expired_run_is_ended_and_tells_the_token_that_waits_now(plane: ControlPlane) -> None:
    run = submitted(plane)
    step(plane, "expire", run)
    plane.executions.started[f"{run.id}-0"].token = "late-expire"
    ended = plane.finish(run)
    assert (ended.state, ended.reason) == (RunState.FAILED, "timeout")
    assert set(plane.executions.told) == {"late-expire"}


def test_an_abandoned_run_is_cancelled(plane: ControlPlane) -> None:
    run = submitted(plane)
    step(plane, "abandon", run)
    assert plane.finish(run).state is RunState.CANCELLED


@pytest.mark.parametrize("name", ["expire", "abandon", "start"])
def test_steps_of_an_earlier_generation_change_nothing(plane: ControlPlane, name: str) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    plane.step_executions()
    step(plane, name, run, 0)
    assert plane.run(run).cancel_requested_at is None
    assert plane.store.token(run.id, 1) == f"token-{run.id}-1"
    assert plane.finish(run).state is RunState.COMPLETED


def test_a_step_that_comes_after_the_repetition_is_told_at_once(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    step(plane, "start", run, 0)
    assert plane.executions.told[-1] == "late-start"


def test_who_was_not_told_of_the_end_is_told_when_the_run_is_repeated(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    plane.backend.end()
    plane.deliver_jobs()
    plane.store.follow(run.id, [0])
    plane.store.settle(run.id, plane.clock.now)  # and whoever did this dies
    assert plane.executions.told == []
    plane.submitting.retry(run.id, everything=True)
    plane.step_executions()
    assert plane.executions.told == [f"token-{run.id}-0"]
    assert plane.finish(run).state is RunState.COMPLETED


def test_telling_of_an_end_that_is_past_leaves_the_repetition_alone(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    ended = plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    plane.step_executions()
    plane.executions.told.clear()
    plane.advancing.tell_end(ended)
    assert plane.executions.told == [f"token-{run.id}-0"]
    assert plane.store.active_runs() == [run.id]


def test_a_call_for_the_step_before_does_not_take_the_token_away(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.store.keep_token(run.id, 0, "of expire", turn=1)
    plane.store.keep_token(run.id, 0, "of start")
    assert plane.store.token(run.id, 0) == "of expire"


# finish, sweep ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_finish_says_how_the_run_ended(
    plane: ControlPlane, said: Callable[[], str], *, fails: bool
) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.backend.outcomes["a"] = [FAILED] if fails else []
    plane.finish(run)
    answer = finish.handler({"run": run.id, "generation": 0}, Context())
    assert set(answer) == {
        "id",
        "workflow",
        "state",
        "reason",
        "message",
        "total",
        "counts",
        "ended_at",
    }
    how = ("failed", "1 task failed, 1 not run because of it") if fails else ("completed", "")
    assert (answer["state"], answer["message"] or "") == how
    json.dumps(answer)
    assert ('"RunsFailed"' if fails else '"RunsCompleted"') in said()


def test_finish_does_not_answer_too_early(plane: ControlPlane) -> None:
    run = submitted(plane)
    with pytest.raises(RuntimeError, match="has not ended yet"):
        finish.handler({"run": run.id, "generation": 0}, Context())


def test_finish_answers_for_a_generation_that_is_over(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.backend.outcomes["a"] = [FAILED]
    plane.finish(run)
    plane.submitting.retry(run.id)  # before the last step of the first execution
    answer = finish.handler({"run": run.id, "generation": 0}, Context())
    assert answer["state"] != "completed"


def test_sweep_answers_what_it_found(plane: ControlPlane, said: Callable[[], str]) -> None:
    submitted(plane)
    plane.backend.end()
    plane.lose_events()
    answer = sweep.handler({}, Context())
    assert answer == {
        "runs": 1,
        "active": 1,
        "pending": 0,
        "ends_found": 1,
        "claims_returned": 0,
        "lost": 0,
        "started_again": 0,
        "failed": 0,
        "queue_timeouts": 0,
        "stuck": 0,
        "unwanted": 0,
        "workers": 0,
        "waiting": 0,
        "unserved": 0,
    }
    logged = said()
    assert '"EndsFoundBySweep"' in logged
    assert '"message":"swept"' in logged


def test_exceptions_are_logged_without_their_words(
    plane: ControlPlane, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may quote anything, as botocore does with a parameter that is wrong: a command, a value."""

    def quote(*_: Any, **__: Any) -> Any:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            error = ValueError(f"Invalid type for parameter command, value: {SECRET}")
            error.add_note(SECRET)
            raise error from cause

    run = submitted(plane)
    event = job_event(plane.job("a"), "SUCCEEDED")
    plane.backend.end()
    plane.deliver_jobs()
    records = stream_of(plane)
    monkeypatch.setattr(observe, "job_from_detail", quote)
    assert call(observe, event)
    monkeypatch.setattr(plane.store, "get_run", quote)
    call(advance, *records)
    call(observe, sqs_record({"source": "aws.states", "detail": {"name": f"{run.id}-0"}}))
    plane.sweep()
    logged = said() + repr(plane.notes.told)
    assert SECRET not in logged
    for message in ("a message could not be taken in", "the run could not be advanced"):
        [line, *_] = [json.loads(each) for each in logged.splitlines() if message in each]
        assert line["exception"].startswith("ValueError\n  at ")
        assert line["exception"].endswith(" quote")
    assert "a run could not be swept" in logged
