"""Every limit of `hut.model.limits`: at it all is well, one above it is told what, where and how much."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hut.control import Control
from hut.model import limits
from hut.model.configuration_reading import read_configuration
from hut.model.documents import MalformedDocument, read_document
from hut.model.problems import InvalidInput, Problem
from hut.model.tags import tag_problems
from hut.planning import extend_run, plan_text
from hut.submission import Setting, Submission

DOCUMENT = Path(__file__).parents[2] / "docs" / "limits.md"


def planned(**task: Any) -> list[Problem]:
    """Return the problems of a workflow of one task."""
    return workflow([{"id": "t", "command": "true", **task}])


def workflow(tasks: list[dict[str, Any]], **fields: Any) -> list[Problem]:
    try:
        plan_text(json.dumps({"tasks": tasks, **fields}), filename="w.json")
    except InvalidInput as error:
        return list(error.problems)
    return []


def nested(levels: int, format_: str) -> list[Problem]:
    try:
        read_document("[" * levels + "]" * levels, format=format_)  # type: ignore[arg-type]
    except MalformedDocument as error:
        return [Problem(error.message)]
    return []


def options(**given: Any) -> list[Problem]:
    """Return the problems of what is said beside a workflow."""
    submission = Submission(
        '[{"id": "t", "command": "true"}]', "w.json", **{"workflow": "", **given}
    )
    try:
        Control(None).plan(submission, Setting())  # type: ignore[arg-type]
    except InvalidInput as error:
        return list(error.problems)
    return []


def environment(**fields: Any) -> list[Problem]:
    text = json.dumps({"environments": [{"name": "e", **fields}]})
    try:
        read_configuration(text, filename="hut.json")
    except InvalidInput as error:
        return list(error.problems)
    return []


def aliases(entries: int) -> list[Problem]:
    """Return the problems of a document to which aliases add some entries."""
    lines = [f"a: &a [{', '.join('x' * 999)}]", f"b: [{', '.join(['*a'] * (entries // 1000))}]"]
    lines += [f"c: &c [{', '.join('x' * (entries % 1000 - 1))}]", "d: *c"] if entries % 1000 else []
    try:
        read_document("\n".join(lines), format="yaml")
    except MalformedDocument as error:
        return [Problem(error.message)]
    return []


def variables(number: int, size: int = 1) -> dict[str, str]:
    return {f"V{n}": "x" * size for n in range(number)}


def together(size: int) -> dict[str, str]:
    """Return variables of some bytes, names included."""
    return dict.fromkeys((f"V{n}" for n in range(9)), "x" * (size // 10 - 2)) | {
        "V9": "x" * (size - 9 * (size // 10) - 2)
    }


CASES: dict[str, tuple[str, int, Callable[[int], list[Problem]], str | None]] = {
    # what it is called: its limit, how many problems a number of it has, and in which field
    "levels of JSON": ("DEEPEST", limits.DEEPEST, lambda n: nested(n, "json"), None),
    "levels of YAML": ("DEEPEST", limits.DEEPEST, lambda n: nested(n, "yaml"), None),
    "aliases": ("MOST_REPEATED", limits.MOST_REPEATED, aliases, None),
    "id": ("LONGEST_TASK_ID", 200, lambda n: planned(id="x" * n), "id"),
    "command": ("LONGEST_COMMAND", 2**20, lambda n: planned(command="x" * n), "command"),
    "init lines": ("LONGEST_COMMAND", 2**20, lambda n: environment(extra_init="x" * n), "extra_init"),
    "description": ("LONGEST_DESCRIPTION", 10_000, lambda n: workflow([{"id": "t", "command": "x"}], description="x" * n), "description"),
    "notify": ("LONGEST_DESCRIPTION", 10_000, lambda n: workflow([{"id": "t", "command": "x"}], notify="x" * (n - 2)), "notify"),
    "deps": ("MOST_DEPS", 100_000, lambda n: planned(deps=["*"] * n), "deps"),
    "pattern": ("LONGEST_PATTERN", 500, lambda n: planned(deps=["*" * n]), "deps"),
    "path": ("LONGEST_PATH", 4095, lambda n: planned(working_dir="/" * n), "working_dir"),
    "path in bytes": ("LONGEST_PATH", 4095, lambda n: planned(output_file="/" + "é" * (n // 2 - 1) + "x" * (n % 2 + 1)), "output_file"),
    "variables": ("MOST_VARIABLES", 1000, lambda n: planned(env_vars=variables(n)), "env_vars"),
    "variables of an environment": ("MOST_VARIABLES", 1000, lambda n: environment(variables=variables(n)), "variables"),
    "variables of a submission": ("MOST_VARIABLES", 1000, lambda n: options(env_vars=variables(n)), "env_vars"),
    "name of a variable": ("LONGEST_VARIABLE", 255, lambda n: planned(env_vars={"V" * n: "x"}), "env_vars"),
    "value": ("LARGEST_VALUE", 100_000, lambda n: planned(env_vars={"V": "é" * (n // 2) + "x" * (n % 2)}), "env_vars"),
    "value of a submission": ("LARGEST_VALUE", 100_000, lambda n: options(env_vars={"V": "x" * n}), "env_vars.V"),
    "all values": ("LARGEST_VARIABLES", 500_000, lambda n: planned(env_vars=together(n)), "env_vars"),
    "tags of a task": ("MOST_TAGS", 100, lambda n: planned(tags=variables(n)), "tags"),
    "properties": ("MOST_TAGS", 100, lambda n: planned(properties=variables(n)), "properties"),
    "tags of a run": ("MOST_RUN_TAGS", 40, lambda n: list(tag_problems(variables(n))), "tags"),
    "name of a tag": ("LONGEST_TAG", 120, lambda n: workflow([{"id": "t", "command": "x"}], tags={"k" * n: "v"}), "tags"),
    "name of a task's tag": ("LONGEST_TAG", 120, lambda n: planned(tags={"k" * n: "v"}), "tags"),
    "value of a tag": ("LONGEST_TAG_VALUE", 256, lambda n: options(tags={"k": "v" * n}), "tags.k"),
    "name of a submission": ("LONGEST_NAME", 1024, lambda n: options(workflow="x" * n), "name"),
}  # fmt: skip
for _field in ("name", "group", "partition", "image", "environment", "backend"):
    CASES[_field] = ("LONGEST_NAME", 1024, lambda n, f=_field: planned(**{f: "x" * n}), _field)  # type: ignore[misc]
CASES["gres"] = ("LONGEST_NAME", 1024, lambda n: planned(gres="g" * n), "gres")


@pytest.mark.parametrize("case", CASES)
def test_at_the_limit_all_is_well_and_one_above_is_told(case: str) -> None:
    name, limit, problems, field = CASES[case]
    assert getattr(limits, name) == limit
    fits = [problem for problem in problems(limit) if "matches no tasks" not in problem.message]
    assert not fits
    (told,) = problems(limit + 1)
    if field is not None:
        assert told.field is not None
        assert told.field.endswith(field)
    if case != "gres":
        assert f"{limit:,}" in told.message.replace("1 MiB", "1,048,576")
    assert len(str(told)) < 1500


def small(monkeypatch: pytest.MonkeyPatch, where: str, name: str, value: int) -> None:
    monkeypatch.setattr(f"hut.{where}.{name}", value)


def test_documents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[{"id": "t", "command": "true"}]'
    small(monkeypatch, "model.documents", "LARGEST_DOCUMENT", len(text))
    small(monkeypatch, "model.yaml_documents", "LARGEST_YAML", len(text))
    for filename in ("w.json", "w.yaml"):
        plan_text(text, filename=filename)
        with pytest.raises(InvalidInput, match="33 characters"):
            plan_text(f"{text} ", filename=filename)


def test_tasks_are_bounded_and_those_that_join_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "planning.plan", "MOST_TASKS", 3)
    tasks = [{"id": f"t{n}", "command": "true"} for n in range(4)]
    assert workflow(tasks[:3]) == []
    (told,) = workflow(tasks)
    assert (told.field, told.message[:23]) == ("tasks", "4 tasks, at most 3 are ")
    extend_run(json.dumps(tasks[:1]), filename="g.json", existing=["a", "b"])
    with pytest.raises(InvalidInput, match="the run would have 4 tasks, at most 3"):
        extend_run(json.dumps(tasks[:2]), filename="g.json", existing=["a", "b"])


@pytest.mark.parametrize(
    "deps", [["t0", "t1", "t2"], ["t[012]"], ["t[0-2]"]], ids=["list", "pattern", "range"]
)
def test_dependencies_of_all_tasks_are_bounded(
    deps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[dict[str, Any]] = [{"id": f"t{n}", "command": "true"} for n in range(3)]
    tasks.append({"id": "end", "command": "true", "deps": deps})
    edges = 3 if len(deps) == 3 else 4
    small(monkeypatch, "planning.graph", "MOST_EDGES", edges)
    assert workflow(tasks) == []
    small(monkeypatch, "planning.graph", "MOST_EDGES", edges - 1)
    (told,) = workflow(tasks)
    assert told.field == "deps"
    assert f"more than {edges - 1} dependencies together" in told.message


def test_comparisons_of_patterns_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[dict[str, Any]] = [{"id": f"t{n}x", "command": "true"} for n in range(9)]
    tasks.append({"id": "end", "command": "true", "deps": ["*2*"]})
    needed = 10 + 10  # each id with the literal, and one that has it with the pattern
    small(monkeypatch, "planning.patterns", "MOST_COMPARISONS", needed)
    assert workflow(tasks) == []
    small(monkeypatch, "planning.patterns", "MOST_COMPARISONS", needed - 1)
    (told,) = workflow(tasks)
    assert told.field == "deps"
    assert "'*2*'" in told.message
    # Patterns that begin with what they look for are not bounded: they look at nothing else.
    tasks[-1]["deps"] = ["t*"]
    assert workflow(tasks) == []


@pytest.mark.parametrize(
    "faulty",
    [
        lambda n: {"id": f"t{n}", "command": ""},
        lambda n: {"id": f"t{n}", "command": "x", "deps": [f"nothing{n}"]},
        lambda n: {"id": f"t{n}", "command": "x", "backend": f"b{n}"},
        lambda n: {"id": f"t{n}", "command": "x", f"field{n}": 1},
        lambda _: {"id": "same", "command": "x"},
        lambda n: n,
    ],
    ids=["field", "dependency", "name", "unknown", "twice", "no task"],
)
def test_problems_are_told_up_to_a_thousand(faulty: Callable[[int], Any]) -> None:
    tasks = [faulty(n) for n in range(2 * limits.MOST_PROBLEMS)]
    with pytest.raises(InvalidInput) as raised:
        Control(None).plan(  # type: ignore[arg-type]
            Submission(json.dumps(tasks), "w.json", "w"), Setting()
        )
    told = raised.value.problems
    assert limits.MOST_PROBLEMS < len(told) < limits.MOST_PROBLEMS + 10


def test_a_task_of_unknown_fields_is_told_of_a_hundred() -> None:
    told = planned(**{f"field{n}": 1 for n in range(5000)})
    assert len(told) == 98
    late = [{**{f"field{n}": 1 for n in range(5000)}, "id": "t", "command": "true"}]
    assert len(workflow(late)) == 100


def test_the_table_in_the_documentation_is_this_module() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([0-9,]+)", DOCUMENT.read_text(), re.MULTILINE)
    told = {name: int(number.replace(",", "")) for name, number in rows}
    assert told == {name: getattr(limits, name) for name in limits.__all__}
