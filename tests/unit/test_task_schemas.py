"""`hut.task` without processes: what the decorator refuses, and the schemas it makes of types."""

from __future__ import annotations

import enum
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, computed_field
from typing_extensions import TypedDict

from hut.task import FileArguments, Provisioning, TaskDefinitionError, task
from hut.task.declaring import Task, tasks_of
from hut.task.schemas import call, definition_of

ROOT = Path(__file__).parents[2]


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: float
    y: float = 0


class Row(TypedDict):
    name: str
    rest: list[Row]


class Box(BaseModel):
    side: int = Field(gt=0)

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2


@task(version="1")
def shout(text: str) -> str:
    return text.upper()


def made(annotation: Any, default: Any = None) -> Task:
    """Return a task whose input and output have a type."""

    def same(given: Any) -> Any:
        return given

    same.__annotations__ = {"given": annotation, "return": annotation}
    return tasks_of((task(same),), "1")[0]


TYPES: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("text", str, "x", {"type": "string"}),
    ("integer", int, 3, {"type": "integer"}),
    ("number", float, 1.5, {"type": "number"}),
    ("a number that is whole", float, 3, {"type": "number"}),
    ("nothing", None, None, {"type": "null"}),
    ("anything", Any, {"a": [1]}, {}),
    (
        "an annotation that is a text",
        "list[str]",
        ["x"],
        {"type": "array", "items": {"type": "string"}},
    ),
    ("a bound", Annotated[int, Field(ge=1)], 1, {"type": "integer", "minimum": 1}),
    ("one of two", int | None, None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    ("literals", Literal["a", "b"], "b", {"type": "string", "enum": ["a", "b"]}),
    (
        "an enumeration",
        Colour,
        "red",
        {"title": "Colour", "type": "string", "enum": ["red"]},
    ),
    ("a time", datetime, "2026-01-02T03:04:05Z", {"type": "string", "format": "date-time"}),
    ("a path", Path, "a/b", {"type": "string", "format": "path"}),
    ("a set", set[int], [1], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
]


@pytest.mark.parametrize(
    ("annotation", "value", "schema"), [row[1:] for row in TYPES], ids=[row[0] for row in TYPES]
)
def test_a_type_becomes_a_schema_and_its_values_pass(
    annotation: Any, value: Any, schema: dict[str, Any]
) -> None:
    task = made(annotation)
    definition = definition_of(task, ["p"])
    told = definition["input"]["json_schema"]
    assert told == {**told, **schema}
    assert definition["output"]["json_schema"] == told
    assert json.loads(call(task, json.dumps(value).encode())) == value


def test_a_schema_may_refer_to_itself() -> None:
    definition = definition_of(made(Row), ["p"])
    schema = definition["input"]["json_schema"]
    row = schema["$defs"]["Row"]
    assert schema["$ref"] == "#/$defs/Row"
    assert row["required"] == ["name", "rest"]
    assert row["properties"]["rest"]["items"] == {"$ref": "#/$defs/Row"}


def test_input_and_output_of_one_model_have_schemas_of_their_own() -> None:
    definition = definition_of(made(Box), ["p"])
    assert list(definition["input"]["json_schema"]["properties"]) == ["side"]
    assert definition["output"]["json_schema"]["required"] == ["side", "area"]
    assert json.loads(call(made(Box), b'{"side": 3}')) == {"side": 3, "area": 9}


def test_a_dataclass_gets_its_defaults() -> None:
    assert json.loads(call(made(Point), b'{"x": 1}')) == {"x": 1, "y": 0}
    schema = definition_of(made(Point), ["p"])["input"]["json_schema"]
    assert (schema["required"], schema["properties"]["y"]["default"]) == (["x"], 0)


def test_a_recursive_type_of_json_itself_needs_no_checks() -> None:
    def same(row: Row) -> Row:
        return row

    [unchecked] = tasks_of((task(version="1", validate=False)(same),), None)
    assert call(unchecked, b'{"anything": 1}') == b'{"anything": 1}\n'


def test_a_decorated_function_stays_what_it_is() -> None:
    assert shout("a") == "A"
    assert pickle.loads(pickle.dumps(shout)) is shout
    assert shout.__name__ == "shout"


def test_a_wrapper_keeps_the_task_and_is_what_is_called() -> None:
    import functools

    @functools.wraps(shout)
    def twice(text: str) -> str:
        return shout(text) * 2

    [wrapped] = tasks_of((twice,), None)
    assert call(wrapped, b'"a"') == b'"AA"\n'


async def later(x: int) -> int:
    return x


def several(x: int) -> Iterator[int]:
    yield x


def two(x: int, y: int) -> int:
    return x + y


def untyped(x):
    return x


def by_name(*, x: int) -> int:
    return x


def fine(x: int) -> int:
    return x


REFUSED: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    ("a coroutine", later, {}, ["task later: it must return its output"]),
    ("a generator", several, {}, ["task several: it must return its output"]),
    ("two parameters", two, {}, ["task two: it has 2 parameters"]),
    ("no types", untyped, {}, ["the parameter 'x' has no type", "its result has no type"]),
    ("a parameter by name", by_name, {}, ["'x' can't be given by position"]),
    ("a class", Box, {}, ["only a function can be a task"]),
    ("no name", fine, {"name": ""}, ["its name is ''"]),
    (
        "a name of two lines",
        fine,
        {"name": "a\nb"},
        ["its name is 'a\\nb'; it must be a text of one line"],
    ),
    ("a name with NUL", fine, {"name": "a\0"}, ["one line"]),
    ("a name no UTF-8 can say", fine, {"name": "\udce9"}, ["one line"]),
    (
        "a name that is an option",
        fine,
        {"name": "--dump-task-definitions"},
        ["a meaning for already"],
    ),
    ("an empty version", fine, {"version": ""}, ["its version is ''"]),
    ("a version that is a number", fine, {"version": 1}, ["its version is 1"]),
    ("one argument twice", fine, {"arguments": FileArguments("a", "b", "a")}, ["must differ"]),
    (
        "an empty argument",
        fine,
        {"arguments": FileArguments("a", "", "b")},
        ["argument of the output is ''"],
    ),
    (
        "an argument that is an option",
        fine,
        {"arguments": FileArguments("--help")},
        ["a meaning for already"],
    ),
    (
        "an unknown resource",
        fine,
        {"provisioning": {"cpu": 1}},
        ["'cpu'; known: vcpu, memory, gpu, timeout"],
    ),
    ("too little of one", fine, {"provisioning": {"vcpu": 0}}, ["'vcpu' is 0"]),
    (
        "no number",
        fine,
        {"provisioning": {"memory": "4G", "gpu": True}},
        ["'memory' is '4G'", "'gpu' is True"],
    ),
]


@pytest.mark.parametrize(
    ("function", "said", "texts"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_cannot_be_a_task_is_refused(
    function: Callable[..., Any], said: dict[str, Any], texts: list[str]
) -> None:
    with pytest.raises(TaskDefinitionError) as refused:
        task(**said)(function)
    for text in texts:
        assert text in str(refused.value)


def test_any_name_of_one_line_is_taken() -> None:
    def nameless() -> None: ...

    for name in ("a b", "né", "$(x)", "-x", "a/b", "a@1", "'\"\\"):
        [named] = tasks_of((task(name=name, version="1")(nameless),), None)
        assert definition_of(named, ["p", name])["command"] == ["p", name]


def test_needs_are_told_as_they_were_said() -> None:
    needs: Provisioning = {"vcpu": 4, "gpu": 1}

    @task(version="1", provisioning=needs, description="Works.")
    def work() -> None: ...

    definition = definition_of(tasks_of((work,), None)[0], ["p"])
    assert definition["provisioning_defaults"] == {"vcpu": 4, "gpu": 1}
    assert definition["description"] == "Works."


def test_neither_hut_nor_hutctl_loads_it_and_it_loads_little() -> None:
    program = (
        "import sys, hut, hutctl.root\n"
        "print('hut.task' in sys.modules)\n"
        "import hut.task\n"
        "print(sorted({'pydantic', 'botocore', 'yaml', 'rich', 'asyncio'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False", "[]"]


USER = """
from hut.task import FileArguments, main, task

@task
def plain(x: int) -> str:
    return str(x)

@task(version="1", provisioning={"vcpu": 1}, arguments=FileArguments(input="in"))
def told() -> list[int]:
    return [1]

reveal_type(plain)
reveal_type(told())
plain("a")
task(version="1", provisioning={"cpu": 1})
main(plain, told)
"""


def test_users_types_are_checked(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(tmp_path / "cache"),
            "user.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "lambdas")},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert said[0] == 'note: Revealed type is "def (x: int) -> str"'
    assert said[1] == 'note: Revealed type is "list[int]"'
    assert said[2].startswith('error: Argument 1 to "plain" has incompatible type "str"')
    assert said[3].startswith('error: No overload variant of "task" matches')
    assert "Found 2 errors in 1 file" in done.stdout
