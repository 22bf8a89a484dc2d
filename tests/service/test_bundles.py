"""Bundles: tasks that share a job end one by one, and follow the job where they have not."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace

import pytest

from hut.backends.port import BUNDLE, Job, JobState, parent_of, parse_job_name, place_in_bundle
from hut.model.records import Outcome
from hut.model.run_options import RunOptions
from hut.model.states import Reason, TaskState
from hut.scheduling.bundles import Limits
from hut.service.hearing import jobs_in_log
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import COMPLETED, FAILED
from tests.service.test_open_runs import add

RECLAIMED = Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "Host EC2 terminated.")
OUT_OF_MEMORY = Outcome(TaskState.FAILED, Reason.OUT_OF_MEMORY, 137, "killed")


@pytest.fixture
def bundling(plane: ControlPlane) -> ControlPlane:
    plane.backend.limits = Limits(60, 86400)
    return plane


def some(count: int, **fields: object) -> list[dict[str, object]]:
    return [{"id": f"t{i}", **fields} for i in range(count)]


def jobs(plane: ControlPlane) -> list[str]:
    return list(plane.backend.bundled)


def handles(plane: ControlPlane, run) -> list[str | None]:
    return [task.handle for task in plane.tasks(run)]


def begun(plane: ControlPlane, count: int, size: int = 100, **fields: object):
    """Return a run with one bundle that runs."""
    run = plane.begin(*some(count, **fields), bundle=size)
    plane.deliver()
    plane.backend.start()
    plane.deliver()
    return run, jobs(plane)[0]


def test_ready_tasks_share_jobs_of_the_size_that_is_given(bundling):
    run = bundling.begin(*some(25), bundle=10)
    bundling.deliver()
    assert [len(b.requests) for b in bundling.backend.bundled.values()] == [10, 10, 5]
    assert bundling.backend.submits == 3
    first = jobs(bundling)[0]
    assert handles(bundling, run)[:11] == [
        *(f"{first}#{place}" for place in range(10)),
        f"{jobs(bundling)[1]}#0",
    ]
    assert bundling.finish(run).state == "completed"


def test_without_bundle_no_job_is_shared(bundling):
    run = bundling.begin(*some(5))
    assert bundling.finish(run).state == "completed"
    assert jobs(bundling) == []


def test_ends_are_taken_while_the_job_runs_but_for_the_last_one(bundling):
    run, job = begun(bundling, 4)
    assert bundling.states(run)["t0"] == "running"
    assert bundling.states(run)["t1"] == "submitted"
    bundling.backend.tell(job, 0)
    bundling.backend.tell(job, 1, 3)
    bundling.backend.tell(job, 3)
    bundling.deliver()
    states = bundling.states(run)
    assert [states[f"t{i}"] for i in range(4)] == ["completed", "failed", "submitted", "submitted"]
    assert bundling.task(run, "t1").exit_code == 3
    assert bundling.task(run, "t0").log is not None
    assert bundling.finish(run).state == "failed"
    assert bundling.states(run)["t3"] == "completed"


@pytest.mark.parametrize("wrong", ["nonce", "handle", "place", "bundle"])
def test_what_others_write_counts_for_nothing(bundling, wrong):
    run, job = begun(bundling, 4)
    if wrong == "nonce":
        bundling.backend.tell(job, 0, nonce="0" * 16)
    else:
        bundling.backend.tell(job, 0)
        name, told = bundling.backend.events.pop()
        handle = {"handle": "other#0", "place": f"{job}#77"}.get(wrong, told.handle)
        if wrong == "bundle":
            name = name._replace(array=f"{BUNDLE}{'0' * 12}")
        bundling.backend.reports[job].clear()
        fields = {f: getattr(told, f) for f in ("name", "state", "report", "nonce", "ended_at")}
        bundling.backend.events.append((name, Job(handle=handle, **fields)))
    bundling.deliver()
    assert bundling.states(run)["t0"] == "running"
    assert bundling.finish(run).state == "completed"


def test_an_end_that_is_told_twice_or_late_ends_nothing_twice(bundling):
    run, job = begun(bundling, 3)
    bundling.backend.tell(job, 0)
    again = bundling.backend.events[-1]
    bundling.deliver()
    bundling.backend.events.append(again)
    bundling.deliver()
    assert bundling.finish(run).state == "completed"
    bundling.backend.events.append(again)
    bundling.deliver()
    assert [task.attempt for task in bundling.tasks(run)] == [1, 1, 1]


@pytest.mark.parametrize("meanwhile", ["ended", "comes again"])
def test_a_start_that_is_told_late_ends_no_job(bundling, meanwhile):
    run, job = begun(bundling, 3, retries=1)
    bundling.backend.tell(job, 0, 0 if meanwhile == "ended" else 3)
    name, end = bundling.backend.events[-1]
    bundling.deliver()
    start = replace(end, state=JobState.RUNNING, report=None, ended_at=None)
    bundling.backend.events.append((name, start))
    bundling.deliver()
    assert bundling.backend.terminated == []
    assert bundling.finish(run).state == "completed"
    assert [task.attempt for task in bundling.tasks(run)] == [1 + (meanwhile != "ended"), 1, 1]


def test_a_killed_bundle_loses_only_what_had_not_ended(bundling):
    run, job = begun(bundling, 5)
    bundling.backend.tell(job, 0)
    bundling.backend.tell(job, 1, told=False)  # the log has it, and nobody was told
    bundling.backend.end(bundling.backend.jobs[job], outcome=RECLAIMED)
    bundling.clock.now += 20
    assert bundling.finish(run).state == "completed"
    assert [task.attempt for task in bundling.tasks(run)] == [1, 1, 2, 2, 2]


def test_what_had_not_begun_does_not_pay_for_what_had(bundling):
    run, job = begun(bundling, 4)
    bundling.backend.tell(job, 0)
    bundling.backend.end(bundling.backend.jobs[job], outcome=OUT_OF_MEMORY)
    bundling.clock.now += 20
    assert bundling.finish(run).state == "failed"
    assert bundling.states(run)["t0"] == "completed"
    assert bundling.task(run, "t1").reason is Reason.OUT_OF_MEMORY
    assert [bundling.task(run, f"t{i}").attempt for i in (1, 2, 3)] == [1, 2, 2]
    assert bundling.states(run)["t3"] == "completed"


def test_a_log_that_is_late_is_waited_for_and_one_that_never_comes_is_not(bundling):
    run, job = begun(bundling, 3)
    backend = bundling.backend
    backend.end(backend.jobs[job], outcome=COMPLETED)  # of its log, nothing can be read yet
    bundling.deliver()
    assert {task.state for task in bundling.tasks(run)} <= {"submitted", "running"}
    for place in range(3):
        backend.tell(job, place, told=False)
    backend.whole.add(job)
    bundling.clock.now += 120
    bundling.sweep()
    assert bundling.finish(run).state == "completed"
    assert {task.attempt for task in bundling.tasks(run)} == {1}

    run = bundling.begin(*some(3), bundle=100)
    bundling.deliver()
    job = jobs(bundling)[-1]
    backend.start(backend.jobs[job])
    backend.end(backend.jobs[job], outcome=COMPLETED)
    bundling.deliver()
    bundling.clock.now += 400
    bundling.sweep()
    assert {task.attempt for task in bundling.tasks(run)} == {2}


def test_failed_tasks_come_again_in_another_bundle(bundling):
    bundling.backend.outcomes = {"t1": [FAILED], "t2": [FAILED]}
    run = bundling.begin(*some(6, retries=1), bundle=10)
    assert bundling.finish(run).state == "completed"
    assert [len(b.requests) for b in bundling.backend.bundled.values()] == [6, 2]


def test_cancelling_ends_the_job(bundling):
    run, job = begun(bundling, 4)
    bundling.backend.tell(job, 0)
    bundling.deliver()
    bundling.submitting.cancel(run.id, bundling.clock.now)
    bundling.deliver()
    bundling.clock.now += 20
    bundling.sweep()
    assert bundling.finish(run).state == "cancelled"
    assert bundling.states(run)["t0"] == "completed"
    assert bundling.task(run, "t2").reason is Reason.CANCELLED
    assert {handle for handle, _ in bundling.backend.terminated} == {job}


@pytest.mark.parametrize("way", ["unanswered", "lost events"])
def test_the_sweep_finds_what_nobody_told(bundling, way):
    if way == "unanswered":
        bundling.backend.unanswered = 1
    run = bundling.begin(*some(4), bundle=4)
    bundling.deliver()
    if way == "unanswered":
        assert handles(bundling, run) == [None] * 4
    bundling.clock.now += 200
    bundling.sweep()
    job = jobs(bundling)[0]
    assert handles(bundling, run) == [f"{job}#{place}" for place in range(4)]
    bundling.backend.start()
    bundling.backend.events.clear()
    bundling.sweep()
    assert bundling.states(run)["t0"] == "running"
    bundling.backend.end()
    bundling.backend.events.clear()
    bundling.clock.now += 200
    bundling.sweep()
    assert bundling.run(run).state == "completed"
    assert len(bundling.backend.jobs) == 1


def test_claims_whose_bundle_never_came_are_given_back(bundling):
    def die() -> None:
        raise ConnectionError("gone")

    bundling.backend.before_submit = die
    run = bundling.begin(*some(4), bundle=4)
    with pytest.raises(ConnectionError):
        bundling.deliver()
    bundling.backend.before_submit = None
    bundling.clock.now += 200
    bundling.sweep()
    assert bundling.finish(run).state == "completed"
    assert {task.attempt for task in bundling.tasks(run)} == {1}


def test_a_second_job_of_a_bundle_is_ended(bundling):
    run, job = begun(bundling, 3)
    second = bundling.backend.again(bundling.backend.jobs[job])
    bundling.backend.start(second)
    bundling.deliver()
    assert [handle for handle, _ in bundling.backend.terminated] == [second.handle]
    assert handles(bundling, run) == [f"{job}#{place}" for place in range(3)]


def test_what_a_bundle_cost_is_split_and_adds_up(bundling):
    bundling.backend.price = 0.5
    run, job = begun(bundling, 4)
    bundling.backend.tell(job, 0)
    bundling.deliver()
    run_record = bundling.finish(run)
    assert run_record.cost == pytest.approx(0.5)
    costs = [bundling.task(run, f"t{i}") for i in range(4)]
    assert len(costs) == 4


def test_caps_count_jobs(bundling):
    bundling.caps["batch"] = 2
    run = bundling.begin(*some(50), bundle=10)
    bundling.deliver()
    assert [len(b.requests) for b in bundling.backend.bundled.values()] == [10, 10]
    assert bundling.store.active_on("batch") == 2
    bundling.backend.start()
    for place in range(9):
        bundling.backend.tell(jobs(bundling)[0], place)
    bundling.deliver()
    assert len(jobs(bundling)) == 2  # all but its last task have ended, and the job runs
    assert bundling.store.active_on("batch") == 2
    bundling.backend.end(bundling.backend.jobs[jobs(bundling)[0]])
    bundling.deliver()
    assert len(jobs(bundling)) == 3
    assert bundling.finish(run).state == "completed"
    assert bundling.store.active_on("batch") == 0


def test_under_a_cap_other_shapes_get_jobs_of_their_own_in_their_turn(bundling):
    bundling.caps["batch"] = 2
    run = bundling.begin(*[{"id": f"t{i}", "cpus": 1 + i % 2} for i in range(20)], bundle=5)
    bundling.deliver()
    assert bundling.store.active_on("batch") == 2
    assert len(bundling.backend.active()) == 2
    assert bundling.finish(run).state == "completed"
    assert bundling.store.active_on("batch") == 0


def waiting(plane: ControlPlane, count: int, wait: float = 60.0):
    """Return an open run whose bundles of four may wait to be full, and what was submitted of it."""
    options = RunOptions(bundle=4, bundle_wait=wait, open=True)
    run = plane.submit(*some(count), options=options)
    plane.step_executions()
    plane.deliver()
    return run


def sizes(plane: ControlPlane) -> list[int]:
    return [len(b.requests) for b in plane.backend.bundled.values()]


def test_a_bundle_of_an_open_run_waits_to_be_full_but_not_for_ever(bundling):
    run = waiting(bundling, 6)
    assert sizes(bundling) == [4]
    bundling.clock.now += 59
    bundling.sweep()
    bundling.deliver()
    assert sizes(bundling) == [4]
    bundling.clock.now += 1
    bundling.deliver()  # of the wake message alone
    assert sizes(bundling) == [4, 2]
    bundling.store.close_run(run.id, bundling.clock.now)
    assert bundling.finish(run).state == "completed"


@pytest.mark.parametrize("way", ["filled", "closed", "swept"])
def test_what_fills_a_bundle_or_ends_its_wait_lets_it_go(bundling, way):
    run = waiting(bundling, 2)
    assert sizes(bundling) == []
    bundling.clock.now += 10
    if way == "filled":
        add(bundling, run.id, "more1", "more2", "more3")
    elif way == "closed":
        bundling.store.close_run(run.id, bundling.clock.now)
    else:
        bundling.lose_events()
        bundling.clock.now += 50
        bundling.sweep()
    bundling.deliver()
    assert sizes(bundling) == ([4] if way == "filled" else [2])
    if way == "filled":  # the fifth one waits from now on
        bundling.clock.now += 59
        bundling.deliver()
        assert bundling.run(run).counts["pending"] == 1
        bundling.clock.now += 1
        bundling.deliver()
        assert bundling.run(run).counts["pending"] == 0


def test_sizes_follow_what_tasks_have_taken(bundling):
    run = bundling.begin(*some(600), bundle="auto")
    bundling.deliver()
    sizes = [len(b.requests) for b in bundling.backend.bundled.values()]
    assert set(sizes[:80]) == {4}
    assert sum(sizes) == 400  # the rest waits for the first ones
    bundling.backend.start()
    bundling.backend.end(*bundling.backend.active()[:50])
    bundling.deliver()
    bundling.deliver()
    later = [len(b.requests) for b in bundling.backend.bundled.values()][len(sizes) :]
    assert later[0] == 2  # no fewer jobs than a hundred for what waits
    assert bundling.finish(run).state == "completed"
    assert bundling.run(run).worked >= 500  # of jobs of their own nothing is counted


def test_what_a_subscription_sends_is_read():
    name = f"hut-run1-{BUNDLE}00c0ffee00ab"
    line = f"::hut:{'a' * 16}:told {name} job-1 100@5.00 end 2 3 6.00 8.50"

    def event(kind="DATA_MESSAGE", *lines):
        told = {
            "messageType": kind,
            "logGroup": "/hut/jobs",
            "logStream": "s/1",
            "logEvents": [{"id": "1", "timestamp": 1, "message": text} for text in lines],
        }
        return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(told).encode()))}}

    [(parsed, job)] = jobs_in_log(event("DATA_MESSAGE", "noise", line, line.replace(BUNDLE, "x")))
    assert parsed == parse_job_name(name)
    assert (parent_of(job.handle), place_in_bundle(job.handle)) == ("job-1", 2)
    assert (job.state, job.started_at, job.ended_at) == (JobState.ENDED, 101.0, 103.5)
    assert (job.log, job.nonce) == ("/hut/jobs:s/1", "a" * 16)
    assert job.report is not None
    assert job.report.code == 3
    assert list(jobs_in_log(event("CONTROL_MESSAGE", line))) == []
    for broken in ({}, {"awslogs": {"data": "%%"}}, {"awslogs": {"data": "aGVsbG8="}}):
        with pytest.raises(ValueError, match="no part of a log"):
            list(jobs_in_log(broken))
