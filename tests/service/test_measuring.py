"""What the use cases measure: each thing that happens once, however often it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from handlers import advance, finish, observe, register, sweep
from hut import measuring
from hut.metrics import Metric
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from tests.service.control_plane import Context, ControlPlane
from tests.service.fake_ports import FAILED
from tests.service.test_handlers import execution_event, stream_of

_EVICTED = Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "the host went away")
_IMPOSSIBLE = Outcome(TaskState.FAILED, Reason.UNSATISFIABLE, None, "too large")
_LATENCIES = {Metric.EVENT_SECONDS, Metric.DISPATCH_SECONDS}


def counts(plane: ControlPlane) -> dict[Metric, float]:
    return {m: total for m, total in plane.measures.sums().items() if m not in _LATENCIES}


def test_attempts_and_tasks_are_counted_as_they_end(plane: ControlPlane) -> None:
    plane.backend.outcomes |= {"bad": [FAILED, FAILED], "host": [_EVICTED]}
    plane.backend.refused["huge"] = _IMPOSSIBLE
    run = plane.begin(
        {"id": "good"},
        {"id": "bad", "retries": 1},
        {"id": "host"},
        {"id": "huge"},
        {"id": "after", "deps": ["bad"]},
    )
    plane.finish(run, sweeps=1)
    assert counts(plane) == {
        Metric.ATTEMPTS_SUBMITTED: 5,
        Metric.TASKS_COMPLETED: 2,
        Metric.TASKS_FAILED: 2,
        Metric.ATTEMPTS_REPEATED: 2,
        Metric.ATTEMPTS_HOST_TERMINATED: 1,
        Metric.ATTEMPTS_REFUSED: 1,
    }


def test_an_end_that_is_told_twice_counts_once(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver_stream()
    plane.backend.run_all()
    events = plane.backend.take_events()
    plane.clock.now += 7
    for _ in range(2):
        plane.observe(run.id, events)
    assert plane.measures.values[Metric.TASKS_COMPLETED] == [1]
    assert plane.measures.values[Metric.EVENT_SECONDS] == [7]


def test_dispatch_is_measured_from_what_made_tasks_ready(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    since = plane.clock.now
    plane.clock.now += 3
    plane.advancing.advance(run.id, since=since)
    plane.advancing.advance(run.id, since=since)  # nothing is left to submit: nothing to measure
    assert plane.measures.values[Metric.DISPATCH_SECONDS] == [3]
    assert plane.measures.values[Metric.ATTEMPTS_SUBMITTED] == [1]


def test_a_busy_backend_is_counted(plane: ControlPlane) -> None:
    plane.backend.busy = 2
    run = plane.begin({"id": "a"}, {"id": "b"}, {"id": "c"})
    plane.finish(run, sweeps=1)
    assert plane.measures.sums()[Metric.CLAIMS_GIVEN_BACK] == 2


def test_waiting_for_ones_turn_is_told_from_being_refused(plane: ControlPlane) -> None:
    plane.backend.busy, plane.backend.again_at = 2, plane.clock.now + 3
    run = plane.begin({"id": "a"}, {"id": "b"}, {"id": "c"})
    plane.finish(run, sweeps=1)
    assert plane.measures.sums()[Metric.CLAIMS_PACED] == 2
    assert Metric.CLAIMS_GIVEN_BACK not in plane.measures.sums()


def test_lost_attempts_are_counted(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver_stream()
    plane.backend.hidden.add(plane.job("a").handle)
    plane.clock.now += 200
    plane.sweep()
    assert plane.measures.sums()[Metric.ATTEMPTS_LOST] == 1
    assert plane.measures.sums()[Metric.ATTEMPTS_REPEATED] == 1
    assert plane.finish(run).counts["completed"] == 1


# The functions -----------------------------------------------------------------------------------


@pytest.fixture
def functions(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The functions over the control plane, with an empty register of metrics."""
    for module in (advance, finish, observe, register, sweep):
        monkeypatch.setattr(module, "surroundings", lambda *_: plane.around())
    monkeypatch.setattr(plane, "measures", measuring.measure)
    measuring._metrics().clear_metrics()
    yield
    measuring._metrics().clear_metrics()


def published(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what was published since the last time: names and sums, all under one dimension."""
    sums: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        document = json.loads(line)
        if "_aws" not in document:
            continue
        [directive] = document["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == ("Hut", [["service"]])
        assert document["service"] == "hut"
        for metric in directive["Metrics"]:
            values = document[metric["Name"]]
            sums[metric["Name"]] = sums.get(metric["Name"], 0) + sum(values)
    return sums


@pytest.mark.usefixtures("functions")
def test_a_sweep_of_an_idle_deployment_publishes_nothing(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.finish(plane.begin({"id": "a"}))
    measuring.publish()
    capsys.readouterr()
    sweep.handler({}, Context())
    assert published(capsys) == {}


@pytest.mark.usefixtures("functions")
def test_a_sweep_publishes_what_it_sees_and_repairs(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.begin({"id": "a"}, {"id": "b"}, {"id": "c", "deps": ["a"]})
    plane.deliver_stream()
    plane.backend.end(plane.job("a"))
    plane.lose_events()
    plane.clock.now += 200
    measuring.publish()
    capsys.readouterr()
    sweep.handler({}, Context())
    found = published(capsys)
    assert found.pop("EventSeconds") == 200
    assert found == {
        "RunsActive": 1,
        "TasksActive": 2,
        "EndsFoundBySweep": 1,
        "TasksCompleted": 1,
        "AttemptsSubmitted": 1,
    }


@pytest.mark.usefixtures("functions")
def test_the_end_of_a_run_is_published(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.backend.outcomes["a"] = [FAILED]
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.clock.now += 50
    plane.finish(run)
    measuring.publish()
    capsys.readouterr()
    finish.handler({"run": run.id, "generation": 0}, Context())
    assert published(capsys) == {"RunsFailed": 1, "TasksDepFailed": 1, "RunSeconds": 50}


@pytest.mark.usefixtures("functions")
def test_the_stream_tells_since_when_tasks_wait(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.begin({"id": "a"})
    plane.clock.now = 1_700_000_004.0  # four seconds after the records
    advance.handler({"Records": stream_of(plane)}, Context())
    found = published(capsys)
    assert (found["DispatchSeconds"], found["AttemptsSubmitted"]) == (4, 1)


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(("status", "broken"), [("ABORTED", 0), ("FAILED", 1), ("TIMED_OUT", 1)])
def test_only_what_nobody_wanted_breaks_an_execution(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str], status: str, broken: int
) -> None:
    run = plane.begin({"id": "a"})
    event = execution_event(f"{run.id}-0", status)
    for _ in range(2):  # the second time the run is being stopped already
        observe.handler({"Records": [event]}, Context())
    assert published(capsys).get("ExecutionsBroken", 0) == broken


@pytest.mark.usefixtures("functions")
def test_an_execution_that_gives_up_is_broken(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    run = plane.begin({"id": "a"})
    register.handler({"run": run.id, "generation": 0, "step": "abandon"}, Context())
    assert published(capsys)["ExecutionsBroken"] == 1


@pytest.mark.usefixtures("functions")
def test_what_was_measured_is_published_although_the_function_fails(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    @measuring.measured
    def breaks() -> None:
        measuring.measure(Metric.SWEEP_FAILED)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        breaks()
    assert published(capsys) == {"SweepFailed": 1}
