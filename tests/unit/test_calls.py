"""Workflow tasks that stand for tasks of programs: what is bound, implied, refused and kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hut.checking import check_document
from hut.model.problems import InvalidInput
from hut.model.quantities import Gres
from hut.model.workflow import Resources, TaskCall, TaskSpec
from hut.planning.calls import FrozenDefinitions, freeze, references_of
from hut.planning.plan import Names, extend_run, plan_text
from hut.store.encoding import decode_spec, encode_spec
from tests.unit.test_task_definitions import HELLO

WANTS = {"vcpu": 2, "memory": 512, "gpu": 1, "timeout": 60}
DEFINITIONS = {
    "hello@0.9": {**HELLO, "version": "0.9"},
    "hello@0.10": {**HELLO, "version": "0.10", "provisioning_defaults": WANTS},
    "nil@1": {**HELLO, "name": "nil", "version": "1", "input": None, "command": ["a b", "$c"]},
}
KNOWN = FrozenDefinitions(DEFINITIONS, check_document)
NAMES = Names(definitions=KNOWN)


def plan(*tasks: dict[str, Any], names: Names = NAMES, **fields: Any) -> tuple[TaskSpec, ...]:
    text = json.dumps({"tasks": tasks, **fields})
    return plan_text(text, filename="w.json", names=names).tasks


def problems(*tasks: dict[str, Any], names: Names = NAMES) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        plan(*tasks, names=names)
    return [
        f"{problem.task}.{problem.field}: {problem.message}" for problem in caught.value.problems
    ]


def test_a_task_gets_its_program_and_its_defaults() -> None:
    [task] = plan({"id": "a", "task": "hello", "input": "x"})
    assert task.command == "hqs_task_example hello"
    assert task.call is not None
    assert (task.call.label, task.call.input) == ("hello@0.10", '"x"')
    assert task.resources == Resources(2, 512, (Gres("gpu", 1),), 60.0)


def test_what_the_user_writes_beats_the_default_of_the_task() -> None:
    call = {"id": "a", "task": "hello", "input": "x", "cpus": 3, "gres": "gpu:4"}
    [task] = plan(call, defaults={"memory": "1G"})
    assert task.resources == Resources(3, 1024, (Gres("gpu", 4),), 60.0)
    [task] = plan({"id": "a", "task": "hello@0.9", "input": "x"})
    assert task.resources == Resources()


def test_a_command_with_odd_words_is_quoted() -> None:
    [task] = plan({"id": "a", "task": "nil"})
    assert task.command == "'a b' '$c'"
    assert task.call == TaskCall("nil", "1", None, task.call.digest if task.call else "")


def test_references_are_dependencies() -> None:
    tasks = plan(
        {"id": "a", "task": "hello", "input": "x"},
        {"id": "b", "task": "hello", "input": {"$output": "a"}},
        {"id": "c", "task": "hello", "input": [{"$output": "b"}, {"$output": "a"}], "deps": ["b"]},
    )
    assert [task.deps for task in tasks] == [(), ("a",), ("b", "a")]
    assert tasks[2].call is not None
    assert [str(each) for each in references_of(tasks[2].call)] == ["b", "a"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"task": "hello", "input": 5}, "a.input: violates the schema of hello@0.10: 5 is not of type"),
    ({"task": "helo"}, "a.task: the run knows no task 'helo'"),
    ({"task": "hello@0.1"}, "a.task: the run knows no task 'hello@0.1' of a program; did you mean"),
    ({"task": "hello@"}, 'a.task: "hello@" names no task'),
    ({"task": 5}, "a.task: 5 is not a string"),
    ({"task": "nil", "input": 1}, "a.input: nil@1 takes no input"),
    ({"task": "hello"}, "a.input: is missing"),
    ({"command": "x", "input": 1}, "a.input: is for tasks with 'task'"),
    ({"task": "nil", "command": "x"}, "a.task: says what to run, and so does 'command'"),
    ({"task": "nil", "generates_source": "x"}, "a.generates_source: does not go with 'task'"),
    ({"task": "nil", "dedupe": True}, "a.dedupe: does not go with 'task'"),
    ({"task": "hello", "input": {"$output": "a"}}, "a.deps: the task depends on itself"),
    ({"task": "hello", "input": {"$output": "zz"}}, "a.deps: unknown dependency 'zz'"),
    ({"task": "hello", "input": {"$output": "x"}}, "a.input: 'x' has no output document"),
    ({"task": "hello", "input": {"$output": 1}}, "a.input: '$output' is not the id of a task"),
    ({"command": "x", "retry_on": ["ValueError"]}, 'a.retry_on: "ValueError" is a type of error'),
    ({}, "a.command: is missing; each task needs a command, or a 'task'"),
]


@pytest.mark.parametrize(("fields", "told"), WRONG)
def test_what_is_wrong_is_told(fields: dict[str, Any], told: str) -> None:
    [problem] = problems({"id": "x", "command": "true"}, {"id": "a", **fields})
    assert problem.startswith(told)


def test_without_a_registry_no_task_of_a_program_is_known() -> None:
    [problem] = problems({"id": "a", "task": "hello", "input": "x"}, names=Names())
    assert "there is no registry of them" in problem


def test_types_of_reports_may_be_retried() -> None:
    [task] = plan({"id": "a", "task": "nil", "retries": 1, "retry_on": ["ValueError", "timeout"]})
    assert task.retry.on == {"ValueError", "timeout"}


def test_a_call_comes_back_from_a_store() -> None:
    for task in plan({"id": "a", "task": "hello", "input": "é"}, {"id": "b", "task": "nil"}):
        assert decode_spec(task.id, encode_spec(task)) == task


def test_a_run_keeps_what_it_names_and_all_if_it_grows() -> None:
    tasks = plan({"id": "a", "task": "hello", "input": "x"}, {"id": "b", "command": "true"})
    assert freeze(KNOWN, tasks, grows=False) == {"hello@0.10": DEFINITIONS["hello@0.10"]}
    assert freeze(KNOWN, tasks, grows=True) == DEFINITIONS
    assert freeze(None, tasks, grows=True) == {}


def test_tasks_that_join_may_refer_to_those_that_are_there() -> None:
    text = json.dumps([{"id": "b", "task": "hello", "input": {"$output": "a"}}])
    added = extend_run(text, filename="w.json", existing=["a"], names=NAMES)
    assert added.tasks[0].deps == ("a",)


@pytest.mark.parametrize("name", ["task", "input"])
def test_what_a_task_is_has_no_default(name: str) -> None:
    with pytest.raises(InvalidInput, match="can't have a default"):
        plan({"id": "a", "command": "true"}, defaults={name: "hello"})
