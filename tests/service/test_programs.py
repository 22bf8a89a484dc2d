"""Tasks of task programs on AWS: what they are given, what they leave, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from hut.lifecycle.task_program import Left
from hut.model.records import Outcome
from hut.model.states import Reason, RunState, TaskState
from hut.planning.calls import FrozenDefinitions
from hut.service import programs
from hut.service.programs import LARGEST_DOCUMENT
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import FAILED
from tests.unit.test_task_definitions import HELLO

TWO = ({"id": "a", "input": "it's é"}, {"id": "b", "input": {"$output": "a", "path": ""}})


@pytest.fixture(autouse=True)
def definitions(plane: ControlPlane) -> None:
    plane.definitions = FrozenDefinitions({"hello@1": {**HELLO, "version": "1"}}, plane.holds)


def begin(plane: ControlPlane, *tasks: dict[str, Any], **fields: Any) -> Any:
    run = plane.begin(*({"task": "hello", **task} for task in tasks), **fields)
    plane.deliver()
    return run


def types(plane: ControlPlane, run: Any, position: int, attempt: int = 1) -> list[str]:
    return [each["type"] for each in plane.documents.reports(run.id, position, attempt)]


def test_a_document_flows_from_task_to_task(plane: ControlPlane) -> None:
    run = begin(plane, *TWO)
    plane.backend.left = {"a": Left(b'"half \\ud800, whole \xc3\xa9"'), "b": Left(b'"end"')}
    assert plane.finish(run).state is RunState.COMPLETED
    assert plane.documents.read(run.id, 1, 1, "output") == b'"end"'
    first, second = (plane.job(task_id).spec.command for task_id in "ab")
    files = '--output-file "$_HUT_DOCUMENTS"/output.json --error-file "$_HUT_DOCUMENTS"/error.json'
    assert first == (
        "printf '%s\\n' '\"it'\"'\"'s é\"' >\"$_HUT_DOCUMENTS\"/input.json &&\n"
        f'(exec hqs_task_example hello --input-file "$_HUT_DOCUMENTS"/input.json {files}) </dev/null'
    )
    assert '"half \\ud800, whole \\u00e9"' in second
    assert plane.task(run, "b").spec.command == "hqs_task_example hello"


def test_an_input_that_is_wrong_starts_nothing_and_is_not_tried_again(plane: ControlPlane) -> None:
    wrong = {"id": "b", "input": [{"$output": "a"}], "retries": 3}
    run = begin(plane, TWO[0], wrong, {"id": "c", "input": {"$output": "b"}})
    plane.backend.left = {"a": Left(b'"x"')}
    assert plane.finish(run).state is RunState.FAILED
    assert plane.states(run) == {"a": "completed", "b": "failed", "c": "dep_failed"}
    task = plane.task(run, "b")
    assert (task.reason, task.attempt) == (Reason.INVALID_INPUT, 1)
    assert "['x'] is not of type 'string'" in task.message
    assert [job.spec.id for job in plane.backend.jobs.values()] == ["a"]
    assert types(plane, run, 1) == ["ValidationError"]


def test_what_can_not_be_read_now_is_started_later(plane: ControlPlane) -> None:
    run = begin(plane, *TWO, {"id": "d", "input": "free"})
    plane.backend.left = {task_id: Left(b'"x"') for task_id in "abd"}
    plane.documents.broken = True
    plane.backend.run_all()
    plane.deliver()
    assert plane.states(run) == {"a": "completed", "b": "pending", "d": "completed"}
    assert "an input could not be prepared" in str(plane.notes.warnings())
    plane.documents.broken = False
    plane.clock.now += 15
    ended = plane.finish(run)
    assert (ended.state, plane.sweeps) == (RunState.COMPLETED, 0)
    assert plane.task(run, "b").attempt == 1


def test_inputs_that_are_too_much_for_one_call_go_one_after_the_other(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_MOST_PREPARED", 100)
    run = begin(plane, *({"id": f"t{n}", "input": "x" * 150} for n in range(3)))
    assert len(plane.backend.jobs) == 1
    plane.backend.left = {f"t{n}": Left(b'"x"') for n in range(3)}
    plane.clock.now += 15
    assert plane.finish(run, sweeps=3).state is RunState.COMPLETED


def test_an_input_has_a_bound(plane: ControlPlane) -> None:
    run = begin(plane, TWO[0], {"id": "b", "input": [{"$output": "a"}, {"$output": "a"}]})
    plane.backend.left = {"a": Left(b'"' + b"x" * (LARGEST_DOCUMENT - 2) + b'"')}
    plane.holds = lambda *_: []
    plane.finish(run)
    task = plane.task(run, "b")
    assert (task.reason, "4 MiB are the most" in task.message) == (Reason.INVALID_INPUT, True)


def test_the_exit_code_does_not_matter(plane: ControlPlane) -> None:
    run = begin(plane, TWO[0])
    plane.backend.outcomes["a"] = [FAILED]
    plane.backend.left = {"a": Left(b'"x"')}
    assert plane.finish(run).state is RunState.COMPLETED
    assert "exit code 1" in plane.task(run, "a").message


def test_an_end_waits_until_the_log_tells_of_both_files(plane: ControlPlane) -> None:
    run = begin(plane, TWO[0])
    plane.backend.left = {"a": None}
    plane.backend.run_all()
    events = plane.backend.take_events()
    plane.clock.now += 299
    assert plane.observe(run.id, events).later == {plane.job("a").handle}
    plane.clock.now += 1
    assert plane.observe(run.id, events).ended == [0]
    task = plane.task(run, "a")
    assert (task.state, task.reason) == (TaskState.FAILED, Reason.INVALID_OUTPUT)
    assert types(plane, run, 0) == ["AbnormalTermination"]
    report = plane.documents.reports(run.id, 0, 1)[0]
    assert report["log"] == f"hutctl logs {run.id} a --attempt 1"


def test_an_end_that_nobody_can_check_now_is_told_again(plane: ControlPlane) -> None:
    run = begin(plane, TWO[0])
    plane.backend.left = {"a": Left(b'"x"')}
    plane.backend.run_all()
    events, check = plane.backend.take_events(), plane.holds

    def fails(schema: Any, document: Any) -> Any:
        raise ConnectionError("the function is throttled")

    plane.holds = fails
    assert plane.observe(run.id, events).later == {plane.job("a").handle}
    plane.holds = check
    assert plane.observe(run.id, events).ended == [0]
    assert plane.task(run, "a").state is TaskState.COMPLETED


def test_what_was_stopped_does_not_wait_for_its_log(plane: ControlPlane) -> None:
    run = begin(plane, {**TWO[0], "retries": 1})
    plane.backend.outcomes["a"] = [
        Outcome(TaskState.FAILED, Reason.OUT_OF_MEMORY, 137, "out of memory")
    ] * 2
    plane.backend.left = {"a": None}
    plane.finish(run)
    task = plane.task(run, "a")
    assert (task.reason, task.attempt) == (
        Reason.OUT_OF_MEMORY,
        2,
    )  # not the task's doing: tried again
    assert types(plane, run, 0, 1) == types(plane, run, 0, 2) == ["OutOfMemory"]


@pytest.mark.parametrize(("on", "attempts"), [([], 1), (["Busy"], 3), (["Other"], 1)])
def test_what_a_task_reports_is_final_unless_it_is_listed(
    plane: ControlPlane, on: list[str], attempts: int
) -> None:
    more: dict[str, Any] = {"retry_on": on} if on else {}
    run = begin(plane, {**TWO[0], "retries": 2, **more})
    plane.backend.left = {"a": Left(None, b'[{"type": "Busy", "message": "come again"}]')}
    plane.finish(run)
    task = plane.task(run, "a")
    assert (task.reason, task.attempt) == (Reason.REPORTED, attempts)
    assert task.message == "Busy: come again"


def test_a_job_that_can_not_be_started_has_its_report(plane: ControlPlane) -> None:
    plane.backend.refused["a"] = Outcome(TaskState.FAILED, Reason.UNSATISFIABLE, None, "too large")
    run = begin(plane, {**TWO[0], "retries": 2})
    plane.finish(run)
    assert plane.task(run, "a").attempt == 1
    assert types(plane, run, 0) == ["Unsatisfiable"]


def test_a_file_that_is_too_large_is_no_output(plane: ControlPlane) -> None:
    run = begin(plane, TWO[0])
    plane.backend.left = {"a": Left(b'"' + b"x" * LARGEST_DOCUMENT + b'"')}
    plane.finish(run)
    task = plane.task(run, "a")
    assert task.reason is Reason.INVALID_OUTPUT
    assert "is larger than 4 MiB" in task.message
