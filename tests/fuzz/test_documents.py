"""Workflow files and configurations, damaged in every way: a plan, or all that is wrong with them.

Nothing else may come of them: no other exception, and no work beyond their size. Work is counted
where it could grow: entries of what was read, problems, and members of barriers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hut.control import Control
from hut.model.configuration import Configuration
from hut.model.configuration_reading import read_configuration
from hut.model.documents import MalformedDocument, decode_text, read_document
from hut.model.limits import MOST_PROBLEMS
from hut.model.problems import InvalidInput
from hut.planning import extend_run, plan_text
from hut.planning.fields import TASK_FIELDS, WORKFLOW_FIELDS
from hut.store.port import RunFilter
from hut.store.sqlite import SqliteStore
from hut.submission import Setting, Submission
from tests.sized import sized

ROOT = Path(__file__).parents[2]
EXAMPLES = [path.read_text() for path in sorted(ROOT.glob("examples/*/workflow.json"))]

ODD_NUMBERS = [0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, 1e-320, 0.1, True]
ODD_TEXTS = [
    "", " ", "\0", "\n", "a\nb", "\x1b[2J", "\u2028", "\ufeff", "\ud800", "\U0010ffff", "~", "..", "/",
    "*", "[", "[]", "[!", "[z-a]", "[[:x:]]", "?" * 60, "*a" * 40, "{}", "$(x)", "`x`", "'", '"', "\\",
    "x" * 300, "1:2:3:4", "9" * 400, "1e999", "NaN", "-1s", "4Gb", "gpu:0", "null", "yes", "0x1F",
]  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=15),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=6)), inner, max_size=4
        ),
    ),
    max_leaves=12,
)
task_fields = st.one_of(st.sampled_from([*TASK_FIELDS, "dependencies"]), st.text(max_size=5))
ids = st.one_of(st.sampled_from(["a", "b", "a.b", "..", "-rf"]), scalars)
deps = st.lists(st.one_of(ids, st.text("ab*?[]!-.^", max_size=8)), max_size=4)
tasks = st.builds(
    lambda fixed, more: {**more, **fixed},
    st.fixed_dictionaries({}, optional={"id": ids, "command": scalars, "deps": deps}),
    st.dictionaries(task_fields, values, max_size=3),
)
workflows = st.one_of(
    st.lists(tasks, max_size=5),
    st.builds(
        lambda tasks, more: {**more, "tasks": tasks},
        st.lists(tasks, max_size=5),
        st.dictionaries(
            st.one_of(st.sampled_from([*WORKFLOW_FIELDS, "defaults"]), st.text(max_size=5)),
            st.one_of(values, tasks),
            max_size=3,
        ),
    ),
    values,
)


def as_json(data: Any) -> str:
    return json.dumps(data)


def as_yaml(data: Any) -> str:
    try:
        return yaml.safe_dump(data, allow_unicode=True)
    except (yaml.YAMLError, ValueError):  # what YAML can't write is written as JSON, which it reads
        return json.dumps(data)


texts = st.one_of(workflows.map(as_json), workflows.map(as_yaml))


@st.composite
def mutated(draw: st.DrawFn, whole: str) -> str:
    """Return a text of which pieces are missing, repeated, exchanged or something else."""
    text = whole
    pieces = [
        "{",
        "}",
        "[",
        "]",
        '"',
        ",",
        ":",
        "\\u",
        "\\ud800",
        "&a ",
        "*a",
        "<<: ",
        "!!",
        "- ",
        "\t",
        "\0",
    ]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        upto = min(len(text), at + draw(st.integers(0, 40)))
        new = draw(
            st.one_of(st.sampled_from(pieces), st.text(max_size=4), st.just(text[at:upto] * 3))
        )
        text = text[:at] + new + text[upto:]
    return text


def judged(read: Callable[[], Any]) -> list[Any] | None:
    """Return the problems of an input, or None if there are none."""
    try:
        read()
    except InvalidInput as error:
        told = list(error.problems)
    else:
        return None
    assert 1 <= len(told) <= MOST_PROBLEMS + 10
    for problem in told:
        assert problem.message
        assert problem.message == problem.message.strip()
        assert len(str(problem)) < 3000
        str(problem).encode()  # it is printed, logged and answered
    return told


@sized(250)
@given(text=texts, name=st.sampled_from(["w.json", "w.yaml"]))
@example(text="a: &a [&b [&c [&d [&e [&f [*a]]]]]]", name="w.yaml")
@example(text="&a [*a, *a]", name="w.yaml")
@example(text="- &a {<<: *a}", name="w.yaml")
@example(text="? [a]\n: b", name="w.yaml")
@example(text="!!python/object/apply:os.system ['true']", name="w.yaml")
@example(text='[{"id": "a", "command": "x", "id": "b"}]', name="w.json")
@example(
    text='[{"id": "a", "command": "x", "deps": ["[z-a]", "[[:x:]]", "[!]", "[a"]}]', name="w.json"
)
@example(text='{"tasks": [], "notify": ' + "[" * 190 + "]" * 190 + "}", name="w.json")
@example(text='[{"id": "a", "command": "x", "priority": 1' + "0" * 5000 + "}]", name="w.json")
def test_whatever_is_like_a_workflow_is_a_plan_or_its_problems(text: str, name: str) -> None:
    def read() -> None:
        plan = plan_text(text, filename=name)
        assert len(plan.levels) == len(plan.tasks) == len(plan.graph.waits)
        assert all(level >= 0 for level in plan.levels)

    judged(read)
    judged(lambda: extend_run(text, filename=name, existing=["a", "b", "c"]))


@sized(80)
@given(
    data=st.data(), number=st.integers(0, len(EXAMPLES) - 1), as_=st.sampled_from(["json", "yaml"])
)
def test_a_mutated_example_is_a_plan_or_its_problems(
    data: st.DataObject, number: int, as_: str
) -> None:
    whole = EXAMPLES[number]
    if as_ == "yaml":
        whole = yaml.safe_dump(json.loads(whole))
    text = data.draw(mutated(whole))
    judged(lambda: plan_text(text, filename=f"w.{as_}"))


@sized(80)
@given(
    content=st.binary(max_size=60), head=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"[{"])
)
@pytest.mark.parametrize("format_", ["json", "yaml"])
def test_any_bytes_are_a_document_or_are_not(content: bytes, head: bytes, format_: str) -> None:
    try:
        read_document(decode_text(head + content), format=format_)  # type: ignore[arg-type]
    except MalformedDocument as error:
        fault = error
    else:
        return
    assert fault.message
    assert fault.line is None or fault.line >= 1


@sized(80)
@given(text=texts, name=st.sampled_from(["h.yaml", "h.json"]))
def test_anything_as_a_configuration_is_one_or_its_problems(text: str, name: str) -> None:
    judged(lambda: read_configuration(text, filename=name))


SECTIONS = [*Configuration.model_fields]
entries = st.builds(
    lambda fixed, more: {**more, **fixed},
    st.fixed_dictionaries(
        {},
        optional={"name": scalars, "type": st.sampled_from(["local", "batch", "ec2", "slurm", 1])},
    ),
    st.dictionaries(
        st.sampled_from(
            [
                "max_concurrent",
                "aws",
                "default_image",
                "job_definition",
                "job_definition_mode",
                "retry_attempts",
                "secrets",
                "shared_memory",
                "ulimits",
                "volumes",
                "prices",
                "ssh",
                "cpu_architecture",
                "ephemeral_storage",
                "variables",
                "extra_init",
                "kill_grace",
            ]
        ),
        values,
        max_size=4,
    ),
)


@sized(80)
@given(
    sections=st.dictionaries(
        st.sampled_from(SECTIONS), st.one_of(st.lists(entries, max_size=3), values)
    )
)
def test_anything_in_the_sections_of_a_configuration_is_judged(sections: dict[str, Any]) -> None:
    told = judged(lambda: read_configuration(as_json(sections), filename="hut.json"))
    if told is not None:
        assert all(problem.field is not None or problem.line is not None for problem in told)


@sized(30)
@given(text=texts)
def test_what_is_refused_leaves_nothing_in_the_store(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("store") / "hut.db")
    try:
        told = judged(
            lambda: Control(store).submit(
                Submission(text, "w.yaml", "w"), Setting(), now=1.0, new_id="r1"
            )
        )
        assert len(store.list_runs(RunFilter())) == (told is None)
    finally:
        store.close()


# What must not grow --------------------------------------------------------------------------------


def entries_of(data: Any) -> int:
    seen: set[int] = set()
    count, left = 0, [data]
    while left:
        at = left.pop()
        count += 1
        if isinstance(at, (dict, list)) and id(at) not in seen:
            seen.add(id(at))
            left.extend(at.values() if isinstance(at, dict) else at)
    return count


def test_aliases_of_aliases_share_what_they_repeat() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 16)]
    assert entries_of(read_document("\n".join(lines), format="yaml").data) < 200
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(16, 60)]
    with pytest.raises(MalformedDocument, match="the aliases add more than 1,000,000 entries"):
        read_document("\n".join(lines), format="yaml")


def test_merges_of_merges_are_bounded_too() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(100)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], l{n}: 1}}" for n in range(1, 40)]
    with pytest.raises(MalformedDocument, match="the aliases add more than"):
        read_document("\n".join(lines), format="yaml")


@pytest.mark.parametrize("name", ["w.json", "w.yaml"])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"tasks":', "- "])
def test_a_million_brackets_are_told_in_one_sentence(name: str, opening: str) -> None:
    told = judged(lambda: plan_text(opening * 200_000, filename=name))
    assert told is not None
    assert len(told) == 1


def test_many_patterns_that_mean_the_same_need_no_memory_each() -> None:
    many = [{"id": f"a{n}", "command": "x"} for n in range(300)]
    many += [{"id": f"b{n}", "command": "x", "deps": ["a*", "a[0-9]*"]} for n in range(300)]
    plan = plan_text(as_json(many), filename="w.json")
    assert sum(map(len, plan.graph.barriers)) == 600
