"""Definitions of task programs, references between their documents, and the schemas of both."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.checking import check_document
from hut.lifecycle.json_schemas import (
    faults_of,
    may_take_long,
    schema_problems,
)
from hut.model.problems import Problem
from hut.model.schema_faults import UnusableSchema
from hut.model.task_definition import (
    LARGEST_DEFINITION,
    Wants,
    highest,
    in_order,
    read_definition,
    read_definitions,
    sort_key,
    split_name,
)
from hut.planning.references import (
    Reference,
    Unresolved,
    escape,
    find_references,
    point,
    resolve_references,
)

HELLO: dict[str, Any] = {
    "name": "hello",
    "description": "Say hello.",
    "version": "0.5.0",
    "input": {"file_argument": "--input-file", "json_schema": {"type": "string"}},
    "output": {"file_argument": "--output-file", "json_schema": {"type": "string"}},
    "error": {"file_argument": "--error-file"},
    "command": ["hqs_task_example", "hello"],
    "provisioning_defaults": {},
}


def read(**changes: Any) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    data = {name: value for name, value in {**HELLO, **changes}.items() if value is not ...}
    return read_definition(data, problems), problems


# Definitions -------------------------------------------------------------------------------------


def test_the_published_definition_is_read() -> None:
    definition, problems = read()
    assert not problems
    assert definition.label == "hello@0.5.0"
    assert definition.command == ("hqs_task_example", "hello")
    assert (definition.input_option, definition.output_option) == ("--input-file", "--output-file")
    assert definition.error_option == "--error-file"
    assert definition.input_schema == {"type": "string"}
    assert definition.wants == Wants()
    assert definition.document == HELLO


@pytest.mark.parametrize("given", [None, ...])
def test_a_task_without_input_says_null_or_nothing(given: Any) -> None:
    definition, problems = read(input=given)
    assert not problems
    assert definition.input_option is None


def test_what_is_not_known_is_tolerated_and_kept() -> None:
    definition, problems = read(later={"a": 1}, provisioning_defaults={"vcpu": 2.0, "tpu": 1})
    assert not problems
    assert definition.wants == Wants(vcpu=2)
    assert definition.document["later"] == {"a": 1}


@pytest.mark.parametrize("option", ["-i", "input", "--in put", "in=", "/in", "née"])
def test_options_are_opaque(option: str) -> None:
    definition, problems = read(input={"file_argument": option, "json_schema": True})
    assert not problems
    assert definition.input_option == option


def test_two_are_the_same_whatever_the_order_of_their_keys() -> None:
    keys = list(HELLO)
    random.Random(1).shuffle(keys)
    shuffled, _ = read()
    other = read_definition({key: HELLO[key] for key in keys}, [])
    assert other is not None
    assert shuffled.says() == other.says()
    assert shuffled.says() != read(description="another")[0].says()


WRONG: list[tuple[dict[str, Any], str | None, str]] = [
    ({"name": ...}, "name", "is missing"),
    ({"name": "two\nlines"}, "name", "one line"),
    ({"name": "a@b"}, "name", "'@'"),
    ({"name": "x" * 201}, "name", "more than 200"),
    ({"version": 1}, "version", "is not right"),
    ({"version": "1@2"}, "version", "'@'"),
    ({"description": 5}, "description", "not a text"),
    ({"command": []}, "command", "the program first"),
    ({"command": "hello"}, "command", "array of texts"),
    ({"command": ["-x"]}, "command", "names no program"),
    ({"command": ["a", "b\0"]}, "command", "NUL"),
    ({"output": None}, "output", "is missing"),
    ({"input": []}, "input", "is not right"),
    ({"error": {}}, "error.file_argument", "is missing"),
    ({"error": {"file_argument": "--output-file"}}, None, "must differ"),
    ({"output": {"file_argument": "-o", "json_schema": 3}}, "output.json_schema", "no JSON schema"),
    ({"provisioning_defaults": {"vcpu": 0}}, "provisioning_defaults.vcpu", "from 1"),
    ({"provisioning_defaults": {"gpu": True}}, "provisioning_defaults.gpu", "whole number"),
    ({"later": "x" * LARGEST_DEFINITION}, None, "characters"),
]


@pytest.mark.parametrize(("change", "field", "said"), WRONG)
def test_what_is_wrong_is_told_with_its_place(change: Any, field: str | None, said: str) -> None:
    definition, problems = read(**change)
    assert definition is None
    [problem] = problems
    assert problem.field == field
    assert said in problem.message


def test_every_problem_is_told_at_once() -> None:
    problems: list[Problem] = []
    data = [{"name": "a"}, 5, HELLO, HELLO]
    assert read_definitions(data, problems)
    told = [(problem.task, problem.field) for problem in problems]
    assert told == [
        ("a", "version"),
        ("a", "command"),
        ("a", "output"),
        ("a", "error"),
        ("#2", None),
        ("hello", None),
    ]


def test_a_program_may_have_no_task() -> None:
    problems: list[Problem] = []
    assert read_definitions([], problems) == []
    assert not problems
    assert read_definitions({}, problems) == []
    assert "array" in problems[0].message


# Versions ----------------------------------------------------------------------------------------

IN_ORDER = [
    "beta",
    "nightly",
    "0.9",
    "1.0.dev1",
    "1.0a1",
    "1.0-alpha.2",
    "1.0b1",
    "1.0-rc.1",
    "1.0-rc.2",
    "1.0-rc.10",
    "1.0",
    "1.0.1",
    "v1.2",
    "1.10",
    "1.10+build.5",
    "1.10.post1",
    "2024.5",
]


def test_versions_are_ordered_as_people_count() -> None:
    mixed = list(IN_ORDER)
    random.Random(5).shuffle(mixed)
    assert sorted(mixed, key=sort_key) == IN_ORDER
    assert highest(mixed) == "2024.5"


@given(st.lists(st.text(max_size=12), min_size=1))
def test_any_texts_have_an_order(versions: list[str]) -> None:
    assert highest(versions) == highest(reversed(versions))


def test_the_same_number_written_twice_is_in_the_order_of_its_text() -> None:
    assert highest(["1.0", "1.0.0"]) == highest(["1.0.0", "1.0"])


def test_definitions_are_listed_with_the_highest_version_first() -> None:
    found = [read(name=n, version=v)[0] for n, v in [("b", "1"), ("a", "1.2"), ("a", "1.10")]]
    assert [each.label for each in in_order(found)] == ["a@1.10", "a@1.2", "b@1"]


def test_a_name_is_split_at_its_version() -> None:
    assert split_name("hello") == ("hello", None)
    assert split_name("hello@1@2") == ("hello", "1@2")
    assert split_name("hello@") == ("hello", "")


# References --------------------------------------------------------------------------------------


def test_references_are_found_anywhere() -> None:
    document = {
        "rows": {"$output": "prepare", "path": "/rows"},
        "all": [{"$output": "prepare", "path": "/rows"}, {"deep": {"$output": "other"}}],
        "$$output": {"$output": "inside"},
    }
    found, problems = find_references(document)
    assert not problems
    assert found == [
        Reference("prepare", "/rows"),
        Reference("other"),
        Reference("inside"),
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"$output": 5}, "not the id of a task"),
        ({"$output": "a", "path": "rows"}, "no JSON pointer"),
        ({"$output": "a", "path": "/a~2"}, "no JSON pointer"),
        ({"$output": "a", "pth": "/rows"}, "'pth'"),
        ([{"a": {"$output": ""}}], "at /0/a"),
    ],
)
def test_wrong_references_are_told(document: Any, said: str) -> None:
    found, problems = find_references(document)
    assert not found
    assert said in problems[0]


def test_references_become_values() -> None:
    outputs = {"a": {"rows": [1, {"x/y": 2, "m~n": 3}], "": 4}}
    document = [
        {"$output": "a", "path": "/rows/0"},
        {"$output": "a", "path": "/rows/1/x~1y"},
        {"$output": "a", "path": "/rows/1/m~0n"},
        {"$output": "a", "path": "/"},
        {"$$output": 1, "$$$output": 2, "$other": 3},
    ]
    resolved = resolve_references(document, lambda task: outputs[task])
    assert resolved == [1, 2, 3, 4, {"$output": 1, "$$output": 2, "$other": 3}]


@pytest.mark.parametrize("path", ["/no", "/rows/7", "/rows/01", "/rows/-", "/rows/x", "/rows/0/a"])
def test_a_place_that_is_not_there_is_told(path: str) -> None:
    with pytest.raises(Unresolved, match="has nothing at"):
        point({"rows": [1]}, Reference("a", path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$output", "$$output", "path", "$outputs", "a"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_what_is_escaped_holds_no_reference_and_comes_back(document: Any) -> None:
    escaped = escape(document)
    assert find_references(escaped) == ([], [])
    assert resolve_references(escaped, lambda _: pytest.fail("no reference")) == document


@given(JSON, st.data())
def test_a_pointer_finds_what_it_names(document: Any, data: st.DataObject) -> None:
    value, path = document, ""
    while isinstance(value, (dict, list)) and value:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        path += f"/{str(key).replace('~', '~0').replace('/', '~1')}"
        value = value[key]
    assert point(document, Reference("a", path)) is value


# Schemas -----------------------------------------------------------------------------------------

_DEEP: Any = {"type": "string"}
for _ in range(150):
    _DEEP = {"items": _DEEP}

BAD_SCHEMAS: list[tuple[Any, str]] = [
    ({"type": "strin"}, "at /type"),
    ({"$ref": "https://example.org/x.json"}, "outside of the schema"),
    ({"properties": {"a": {"$ref": "other.json#/a"}}}, "outside of the schema"),
    ({"$dynamicRef": "file:///etc/passwd"}, "outside of the schema"),
    ({"properties": {"a": {"$ref": "#/$defs/no"}}}, "which is not there"),
    ({"$ref": "#"}, "without an end"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
    ({"pattern": "("}, "can't be used"),
    ({"patternProperties": {"a" * 1001: True}}, "more than 1,000"),
    (_DEEP, "levels deep"),
    ({"anyOf": [{"minimum": n} for n in range(5000)]}, "parts"),
]


@pytest.mark.parametrize(("schema", "said"), BAD_SCHEMAS)
def test_schemas_that_can_not_be_used_are_told(schema: Any, said: str) -> None:
    assert any(said in problem for problem in schema_problems(schema))


@pytest.mark.parametrize(
    "schema",
    [True, False, {}, {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}],
)
def test_schemas_that_can_be_used(schema: Any) -> None:
    assert schema_problems(schema) == []


def test_faults_have_their_place() -> None:
    schema = {"type": "object", "properties": {"a/b": {"items": {"minimum": 1}}}, "required": ["c"]}
    assert faults_of(schema, {"a/b": [1, 0]}) == [
        {"path": "", "message": "'c' is a required property"},
        {"path": "/a~1b/1", "message": "0 is less than the minimum of 1"},
    ]
    assert faults_of(False, 1)
    assert faults_of(True, 1) == []


def test_a_schema_that_refers_to_itself_in_many_ways_ends() -> None:
    bomb: dict[str, Any] = {"a0": {"type": "string"}}
    for n in range(1, 40):
        bomb[f"a{n}"] = {"anyOf": [{"$ref": f"#/$defs/a{n - 1}"}] * 2}
    schema = {"$defs": bomb, "$ref": "#/$defs/a39"}
    with pytest.raises(UnusableSchema, match="too many steps"):
        faults_of(schema, 5)


@pytest.mark.parametrize(
    ("pattern", "risky"),
    [
        ("(a+)+$", True),
        ("^(a|aa)*$", True),
        (r"(a)\1", True),
        ("a*a*a*a*b", True),
        ("^[a-z]+(-[0-9])?$", False),
        (r"^\(a+\)$", False),
        ("[a+]+", False),
    ],
)
def test_patterns_that_may_take_for_ever_are_known(pattern: str, risky: bool) -> None:
    assert may_take_long({"properties": {"a": {"pattern": pattern}}}) is risky


def test_a_check_that_does_not_end_is_ended() -> None:
    with pytest.raises(UnusableSchema, match="took longer"):
        check_document({"pattern": "^(a|aa)*$"}, "a" * 200 + "b", seconds=1)


def test_a_check_elsewhere_says_the_same() -> None:
    schema = {"pattern": "^(a|b)*$", "minLength": 3}
    assert check_document(schema, "ab") == faults_of(schema, "ab") != []
    assert check_document(schema, json.loads('"abab"')) == []
