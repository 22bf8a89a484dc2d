"""What queues and the stream bring, damaged in every way: nobody's message keeps another one.

The functions are the real ones, over the control plane in a box. Whatever stands between two good
messages: the good ones have their effect and are acknowledged, the bad ones are either nothing to
act on or come back alone, to end in the dead letters.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import advance, observe
from hut.backends.batch.outcomes import job_from_detail
from hut.backends.port import Job
from hut.model.states import TaskState
from tests.service.control_plane import ControlPlane
from tests.service.test_handlers import call, job_event, sqs_record, stream_record
from tests.sized import sized
from tests.testbed.running import TestBed

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from([10**40, -1, 2**63, 1e300, "", "x" * 99, "\ud800", "\0", "hut-r1-0-1-1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, whole: Any, most: int = 3) -> Any:
    """Return JSON data of which some parts are missing or something else."""
    copy = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, most))):
        at, key = copy, None
        holder: Any = None
        while isinstance(at, (dict, list)) and at and draw(st.integers(0, 3)):
            holder = at
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            at = at[key]
        if holder is None:
            continue
        if draw(st.booleans()):
            holder[key] = draw(VALUES)
        elif isinstance(holder, dict):
            del holder[key]
    return copy


@st.composite
def torn(draw: st.DrawFn, image: dict[str, Any]) -> dict[str, Any]:
    """Return an item of the stream of which some attributes are missing or of another type."""
    values = st.one_of(
        st.text(max_size=9).map(lambda text: {"S": text}),
        st.integers().map(lambda number: {"N": str(number)}),
        st.binary(max_size=9).map(lambda data: {"B": base64.b64encode(data).decode()}),
        st.just({"NULL": True}),
        st.just({"M": {}}),
        st.none(),
    )
    changed = draw(
        st.dictionaries(st.sampled_from([*image, "ended", "entries"]), values, min_size=1)
    )
    return {name: value for name, value in {**image, **changed}.items() if value is not None}


# Jobs, by themselves -----------------------------------------------------------------------------

JOB = {
    "jobId": "0f0e0d0c-0b0a-4908-8706-050403020100",
    "jobName": "hut-r1-0-1-1",
    "jobQueue": "arn:aws:batch:eu-west-1:123456789012:job-queue/hut-fargate",
    "status": "FAILED",
    "createdAt": 1_000_000,
    "startedAt": 1_001_000,
    "stoppedAt": 1_002_000,
    "statusReason": "Essential container in task exited",
    "arrayProperties": {"index": 3, "size": 9},
    "timeout": {"attemptDurationSeconds": 3600},
    "container": {
        "image": "debian",
        "exitCode": 1,
        "reason": "OutOfMemoryError",
        "logStreamName": "s",
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/hut/jobs"}},
        "resourceRequirements": [{"type": "VCPU", "value": "1"}],
    },
    "attempts": [{"startedAt": 1_001_000, "container": {"exitCode": 1, "logStreamName": "s"}}],
}


@sized(150)
@given(detail=damaged(JOB))
def test_of_a_damaged_job_only_what_can_be_stored_is_read(detail: Any) -> None:
    try:
        job = job_from_detail(detail)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
        return  # the handler gives the message back alone
    assert isinstance(job, Job)
    for moment in (job.created_at, job.started_at, job.ended_at):
        assert moment is None or 0 < moment < 1e11
    assert job.index is None or 0 <= job.index < 2**31
    code = None if job.outcome is None else job.outcome.exit_code
    assert code is None or (type(code) is int and 0 <= code < 2**31)


# Messages beside others --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plane(test_bed: TestBed) -> Iterator[ControlPlane]:
    """One control plane for all examples; each has runs of its own."""
    with pytest.MonkeyPatch.context() as patch:
        world = ControlPlane(test_bed)
        for module in (observe, advance):
            patch.setattr(module, "surroundings", lambda *_: world.around())
        patch.setattr(observe, "_PAUSES", ())
        yield world


def bodies(good: str) -> st.SearchStrategy[str]:
    """Return bodies of messages that may be anything; `good` is one that is not."""
    deep = st.sampled_from(["[", '{"a":', "9"]).map(lambda piece: piece * 100_000)
    odd = st.sampled_from(["[1e999]", "", "\ufeff{}", "NaN"])
    return st.one_of(
        st.text(max_size=30),
        deep,
        odd,
        VALUES.map(json.dumps),
        damaged(json.loads(good)).map(json.dumps),
    )


@sized(8, shrinks=False)
@given(data=st.data())
def test_messages_of_jobs_are_taken_in_whatever_stands_between_them(
    plane: ControlPlane, data: st.DataObject
) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.deliver_stream()
    first, last = (job for job in plane.backend.active() if job.name.split("-")[1] == run.id)
    good = job_event(first, "SUCCEEDED"), job_event(last, "SUCCEEDED")
    foreign = job_event(first, "FAILED", name=f"hut-{run.id}-{10**30}-1-1", code=1)
    strange = st.one_of(bodies(good[0]["body"]), st.just(foreign["body"]))
    bad = [sqs_record(body) for body in data.draw(st.lists(strange, min_size=1, max_size=4))]
    failed = call(observe, good[0], *bad, good[1])
    assert not {record["messageId"] for record in good} & set(failed)
    tasks = plane.store.get_tasks(run.id, [0, 1])
    assert {tasks[0].attempt, tasks[1].attempt} == {1}
    # A damaged copy may itself be an end: then it, or the good one, was the first that counts.
    assert {tasks[n].state for n in (0, 1)} <= {TaskState.COMPLETED, TaskState.FAILED}
    plane.images.clear()


@sized(8, shrinks=False)
@given(data=st.data())
def test_wakes_and_records_of_the_stream_are_taken_whatever_stands_between_them(
    plane: ControlPlane, data: st.DataObject
) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    images, plane.images = plane.images, []
    others = st.one_of(
        bodies(json.dumps({"run": run.id, "ended": [0]})).map(sqs_record),
        torn(images[-1]).map(stream_record),
        st.binary(max_size=40).map(
            lambda data: stream_record(
                {
                    **images[-1],
                    "ended": {"N": "1"},
                    "entries": {"B": base64.b64encode(data).decode()},
                }
            )
        ),
    )
    bad = data.draw(st.lists(others, min_size=1, max_size=4))
    good = [stream_record(image) for image in images]
    failed = call(advance, *bad, *good)
    assert not {record["dynamodb"]["SequenceNumber"] for record in good} & set(failed)
    assert set(failed) <= {record.get("messageId") for record in bad}
    tasks = plane.store.get_tasks(run.id, [0, 1])
    assert tasks[0].state is TaskState.SUBMITTED
    assert tasks[1].state is TaskState.PENDING
    plane.images.clear()


def test_a_message_that_breaks_its_run_goes_alone(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plane.begin(*({"id": f"t{n}"} for n in range(7)))
    plane.deliver_stream()
    jobs = [job for job in plane.backend.active() if job.name.split("-")[1] == run.id]
    record_ended = plane.store.record_ended

    def break_one(run_id: str, ends: Any) -> Any:
        if any(end.key.position == 4 for end in ends):
            raise RuntimeError("nobody knows why")
        return record_ended(run_id, ends)

    monkeypatch.setattr(plane.store, "record_ended", break_one)
    events = [job_event(job, "SUCCEEDED") for job in jobs]
    assert call(observe, *events) == [events[4]["messageId"]]
    states = {n: task.state for n, task in plane.store.get_tasks(run.id, range(7)).items()}
    assert states.pop(4) is TaskState.SUBMITTED
    assert set(states.values()) == {TaskState.COMPLETED}
    plane.images.clear()


@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"run": "r1", "ended": [1e999]}', '{"run": "r1", "ended": 1}', "null", "x"],
    ids=["brackets", "infinite", "no list", "null", "no JSON"],
)
def test_a_wake_that_can_not_be_read_goes_alone(plane: ControlPlane, body: str) -> None:
    run = plane.begin({"id": "a"})
    bad, good = sqs_record(body), sqs_record({"run": run.id, "ended": []})
    assert call(advance, bad, good) == [bad["messageId"]]
    assert plane.store.get_tasks(run.id, [0])[0].state is TaskState.SUBMITTED
    plane.images.clear()


def test_a_record_that_can_not_be_read_has_its_run_looked_at(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plane.begin({"id": "a"})
    (image,) = [image for image in plane.images if "signals" in image][-1:]
    torn = {**image, "ended": {"N": "1"}, "entries": {"B": base64.b64encode(b"torn").decode()}}
    del torn["signals"]
    assert call(advance, stream_record(torn)) == []
    assert plane.store.get_tasks(run.id, [0])[0].state is TaskState.SUBMITTED
    plane.images.clear()
