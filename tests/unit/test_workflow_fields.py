"""The fields of tasks and workflows: what each accepts, what it becomes, how it is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.model.problems import InvalidInput
from hut.model.quantities import Gres
from hut.model.states import AUTOMATIC_VARIABLES, Reason
from hut.model.workflow import BY_ITSELF, Resources, RetryPolicy
from hut.planning import Names, extend_run, plan_text

TASK = {"id": "t", "command": "true"}


def plan(data, **options):
    return plan_text(json.dumps(data), filename="flow.json", **options)


def one_task(**fields):
    """Return the task that a file of one task with these fields describes."""
    (task,) = plan([TASK | fields]).tasks
    return task


def problems_of(data, **options):
    """Return the problems for which a workflow is refused."""
    with pytest.raises(InvalidInput) as refusal:
        plan(data, **options)
    assert refusal.value.source == "flow.json"
    return refusal.value.problems


def only_problem(data, **options):
    (problem,) = problems_of(data, **options)
    return problem


# Tasks -------------------------------------------------------------------------------------------


def test_a_task_needs_an_id_and_a_command_and_has_the_contracts_defaults_for_the_rest():
    task = one_task()
    assert (task.id, task.command, task.name) == ("t", "true", "t")
    assert task.deps == ()
    assert task.resources == Resources(cpus=1, memory=4096, gres=(), time_limit=3600)
    assert task.retry == RetryPolicy(retries=0, delay=0, backoff=2, on=frozenset())
    assert dict(task.env_vars) == dict(task.properties) == dict(task.tags) == {}
    assert task.priority == 0
    for field in (
        *("working_dir", "partition", "image", "environment", "output_file", "error_file"),
        *("generates_source", "group", "backend"),
    ):
        assert getattr(task, field) is None


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("id", "a.b-c_9", "a.b-c_9"),
        ("id", "9", "9"),
        ("id", "." * 200, "." * 200),
        ("command", "echo 'a' |\n wc # c", "echo 'a' |\n wc # c"),
        ("command", "  true\n", "  true\n"),
        ("name", "Fit the model: ½", "Fit the model: ½"),
        ("working_dir", "~/data", "~/data"),
        ("working_dir", " a b ", " a b "),
        ("partition", "gpu", "gpu"),
        ("image", "python:3.12", "python:3.12"),
        ("environment", "julia", "julia"),
        ("env_vars", {"A": "1", "_b2": ""}, {"A": "1", "_b2": ""}),
        ("env_vars", {"N": 3, "X": 0.5, "T": True, "F": False}, None),
        ("output_file", "out/t.log", "out/t.log"),
        ("error_file", "out/t.err", "out/t.err"),
        ("generates_source", "more.json", "more.json"),
        ("priority", -7, -7),
        ("priority", 2**31 - 1, 2**31 - 1),
        ("properties", {"zone": "a", "ssd": True}, {"zone": "a", "ssd": "true"}),
        ("group", "fits", "fits"),
        ("group", 7, "7"),
        ("tags", {"team": "x", "n": 1}, {"team": "x", "n": "1"}),
        ("tags", ["nightly", "team:x", "a:b:c"], {"nightly": "", "team": "x", "a": "b:c"}),
        ("backend", "aws", "aws"),
        ("dedupe", True, True),
        ("dedupe", False, False),
    ],
)
def test_a_field_is_taken_as_it_is(field, written, read):
    if read is None:
        read = {"N": "3", "X": "0.5", "T": "true", "F": "false"}
    assert getattr(one_task(**{field: written}), field) == read


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cpus": 16}, Resources(cpus=16)),
        ({"memory": "1.5G"}, Resources(memory=1536)),
        ({"memory": 512}, Resources(memory=512)),
        ({"gres": "gpu:a100:4"}, Resources(gres=(Gres("gpu", 4, "a100"),))),
        ({"time_limit": "1-12"}, Resources(time_limit=36 * 3600)),
        ({"time_limit": 90}, Resources(time_limit=5400)),
        (
            {"cpus": 2, "memory": "8G", "gres": "gpu", "time_limit": "2h"},
            Resources(2, 8192, (Gres("gpu"),), 7200),
        ),
    ],
)
def test_resources_are_read(fields, expected):
    assert one_task(**fields).resources == expected


@pytest.mark.parametrize(
    ("written", "seconds"), [("10m", 600), (90, 5400), ("1-12", 36 * 3600), (0.5, 30), (None, None)]
)
def test_the_longest_wait_for_a_machine_is_read_as_a_time_limit(written, seconds):
    assert one_task(max_queue_time=written).max_queue_time == seconds


def test_the_longest_wait_has_a_default_for_all_tasks():
    tasks = plan({"tasks": [TASK, {**TASK, "id": "u", "max_queue_time": "1h"}],
                  "defaults": {"max_queue_time": "5m"}}).tasks  # fmt: skip
    assert [task.max_queue_time for task in tasks] == [300, 3600]


def test_where_nothing_waits_in_a_queue_that_is_said_once():
    bound = [{**TASK, "max_queue_time": "5m"}, {**TASK, "id": "u", "max_queue_time": "5m"}]
    text = json.dumps(bound)
    assert plan_text(text, filename="flow.json").warnings == ()
    names = Names(queues=False)
    (warning,) = plan_text(text, filename="flow.json", names=names).warnings
    assert (warning.task, warning.field) == (None, "max_queue_time")
    assert warning.message.startswith("of 2 tasks has no effect on this machine")
    (warning,) = extend_run(text, filename="more.json", existing=(), names=names).warnings
    assert warning.field == "max_queue_time"
    assert plan_text(json.dumps([TASK]), filename="flow.json", names=names).warnings == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"retries": 3}, RetryPolicy(retries=3)),
        ({"retry_delay": 30}, RetryPolicy(delay=30)),
        ({"retry_delay": "2m"}, RetryPolicy(delay=120)),
        ({"retry_delay": 0}, RetryPolicy(delay=0)),
        ({"retry_backoff": 1}, RetryPolicy(backoff=1.0)),
        ({"retry_on": []}, RetryPolicy()),
        (
            {"retries": 1, "retry_on": [75, "host_terminated", "queue_timeout"]},
            RetryPolicy(1, on=frozenset({75, "host_terminated", "queue_timeout"})),
        ),
        (
            {"retry_on": ["no_capacity", "startup_timeout"]},
            RetryPolicy(on=frozenset({"no_capacity", "startup_timeout"})),
        ),
    ],
)
def test_the_retry_policy_is_read(fields, expected):
    assert one_task(**fields).retry == expected


def test_a_number_in_a_variable_keeps_the_form_it_was_written_in():
    text = '[{"id": "t", "command": "true", "env_vars": {"V": 1.10, "W": 1e3}}]'
    (task,) = plan_text(text, filename="flow.json").tasks
    assert task.env_vars == {"V": "1.10", "W": "1e3"}


@pytest.mark.parametrize("alias", ["deps", "dependencies"])
def test_dependencies_have_two_names(alias):
    tasks = plan([TASK, {"id": "u", "command": "true", alias: ["t"]}]).tasks
    assert tasks[1].deps == ("t",)


def test_both_names_of_dependencies_at_once_are_a_problem():
    problem = only_problem([TASK, {**TASK, "id": "u", "deps": ["t"], "dependencies": ["t"]}])
    assert (problem.task, problem.field) == ("u", "dependencies")
    assert "'deps'" in problem.message


@pytest.mark.parametrize(
    "field",
    [
        *("name", "deps", "dependencies", "working_dir", "partition", "cpus", "memory", "gres"),
        *(
            "time_limit",
            "max_queue_time",
            "image",
            "environment",
            "env_vars",
            "output_file",
            "error_file",
        ),
        *("generates_source", "retries", "retry_delay", "retry_backoff", "retry_on", "priority"),
        *("properties", "group", "tags", "backend", "dedupe"),
    ],
)
def test_null_means_the_default(field):
    assert one_task(**{field: None}) == one_task()


WRONG = [
    ("id", ""),
    ("id", "a b"),
    ("id", "a/b"),
    ("id", "x" * 201),
    ("id", "é"),
    ("id", "a\n"),
    ("id", "*"),
    ("id", 7),
    ("command", ""),
    ("command", " \n\t"),
    ("command", ["true"]),
    ("command", 7),
    ("command", "true\0"),
    ("command", "x" * (1024 * 1024 + 1)),
    ("name", ""),
    ("name", 7),
    ("name", True),
    ("deps", "a"),
    ("deps", {"a": 1}),
    ("deps", 7),
    ("deps", [7]),
    ("deps", [None]),
    ("deps", [""]),
    ("deps", [["a"]]),
    ("working_dir", ""),
    ("working_dir", 7),
    ("working_dir", "a\nb"),
    ("working_dir", "a\0b"),
    ("partition", " "),
    ("cpus", 0),
    ("cpus", -1),
    ("cpus", 1.5),
    ("cpus", "2"),
    ("cpus", True),
    ("cpus", 10**9),
    ("memory", "lots"),
    ("memory", 0),
    ("memory", [4]),
    ("gres", "gpu:0"),
    ("gres", ["gpu"]),
    ("time_limit", "soon"),
    ("max_queue_time", "soon"),
    ("max_queue_time", 0),
    ("time_limit", 0),
    ("time_limit", True),
    ("image", ""),
    ("environment", 7),
    ("env_vars", ["A=1"]),
    ("env_vars", "A=1"),
    ("env_vars", {"A B": "1"}),
    ("env_vars", {"1A": "1"}),
    ("env_vars", {"": "1"}),
    ("env_vars", {"A": None}),
    ("env_vars", {"A": ["1"]}),
    ("env_vars", {"A": "\0"}),
    ("env_vars", {"A=B": "1"}),
    ("env_vars", {"É": "1"}),
    ("env_vars", {"A\n": "1"}),
    ("output_file", 7),
    ("output_file", ""),
    ("error_file", "a\nb"),
    ("generates_source", True),
    ("generates_source", []),
    ("retries", -1),
    ("retries", 1.0),
    ("retries", "1"),
    ("retries", True),
    ("retries", 1001),
    ("retry_delay", "soon"),
    ("retry_delay", -1),
    ("retry_backoff", 0.5),
    ("retry_backoff", "2"),
    ("retry_backoff", True),
    ("retry_backoff", 1e6),
    ("retry_on", 75),
    ("retry_on", "timeout"),
    ("retry_on", [256]),
    ("retry_on", [-1]),
    ("retry_on", [1.5]),
    ("retry_on", [True]),
    ("retry_on", ["never"]),
    ("retry_on", [None]),
    ("retry_on", ["cancelled"]),
    ("priority", 1.5),
    ("priority", "high"),
    ("priority", 2**31),
    ("properties", ["ssd"]),
    ("properties", {"a": {}}),
    ("group", ""),
    ("group", True),
    ("group", 1.5),
    ("tags", "nightly"),
    ("tags", [7]),
    ("tags", [""]),
    ("tags", {"a": None}),
    ("backend", ""),
    ("backend", {}),
    ("dedupe", "yes"),
    ("dedupe", 1),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_wrong_value_is_reported_with_its_task_and_field(field, value):
    problem = only_problem([TASK | {field: value}])
    assert problem.field == field
    if field == "id":
        assert problem.task in {value, "#1"}
    else:
        assert problem.task == "t"
    assert problem.message
    assert len(problem.message) < 400


@pytest.mark.parametrize("field", ["id", "command"])
@pytest.mark.parametrize("missing", [{}, {"null": True}])
def test_an_id_and_a_command_may_not_be_missing(field, missing):
    task = {key: value for key, value in TASK.items() if key != field}
    if missing:
        task[field] = None
    problem = only_problem([{"id": "ok", "command": "true"}, task])
    assert problem.field == field
    assert problem.task == ("#2" if field == "id" else "t")
    assert "missing" in problem.message


@pytest.mark.parametrize("entry", ["true", 7, None, ["a", "true"], True])
def test_a_task_that_is_no_object_is_named_by_its_number(entry):
    problem = only_problem([TASK, entry])
    assert problem.task == "#2"
    assert "not a task" in problem.message


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("comand", "command"),
        ("Command", "command"),
        ("dep", "deps"),
        ("depends", "dependencies"),
        ("dependancies", "dependencies"),
        ("cpu", "cpus"),
        ("mem0ry", "memory"),
        ("timelimit", "time_limit"),
        ("env_var", "env_vars"),
        ("working-dir", "working_dir"),
        ("retires", "retries"),
        ("retry_backof", "retry_backoff"),
        ("generate_source", "generates_source"),
        ("propertys", "properties"),
        ("tag", "tags"),
        ("out_file", "output_file"),
    ],
)
def test_an_unknown_field_of_a_task_names_the_nearest(written, nearest):
    problem = only_problem([TASK | {written: "x"}])
    assert (problem.task, problem.field) == ("t", written)
    assert "unknown field" in problem.message
    assert repr(nearest) in problem.message


@pytest.mark.parametrize("written", ["zzz", "", "*", "$(id)"])
def test_an_unknown_field_like_no_other_lists_the_known_ones(written):
    problem = only_problem([TASK | {written: "x"}])
    assert (problem.task, problem.field) == ("t", written)
    for field in ("command", "dependencies", "retry_on"):
        assert field in problem.message


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("time_out", "timeout"), ("host-terminated", "host_terminated"), ("oom", "out_of_memory")],
)
def test_an_unknown_reason_to_retry_names_the_nearest_or_all(written, nearest):
    problem = only_problem([TASK | {"retry_on": [75, written]}])
    assert written in problem.message
    assert nearest in problem.message


@pytest.mark.parametrize(
    "reason",
    [
        reason
        for reason in Reason
        if reason not in {"cancelled", "dependency", "task_failed", "invalid_input", "other"}
    ],
)
def test_every_end_of_an_attempt_but_a_cancel_can_be_retried(reason):
    assert one_task(retry_on=[reason]).retry.on == {reason}


def test_an_id_that_is_used_twice_is_a_problem_with_both_places():
    problem = only_problem([TASK, {"id": "u", "command": "true"}, TASK])
    assert (problem.task, problem.field) == ("t", "id")
    assert "#1" in problem.message
    assert "#3" in problem.message


def test_a_key_that_stands_twice_is_a_problem_with_its_line():
    text = '[{"id": "t",\n"command": "true",\n"command": "false"}]'
    with pytest.raises(InvalidInput) as refusal:
        plan_text(text, filename="flow.json")
    (problem,) = refusal.value.problems
    assert problem.line == 3
    assert "command" in problem.field


@pytest.mark.parametrize("field", ["memory", "time_limit", "retry_delay"])
def test_a_number_of_400_digits_is_reported_like_any_other_wrong_value(field):
    problem = only_problem([TASK | {field: 10**400}])
    assert (problem.task, problem.field) == ("t", field)


@pytest.mark.parametrize("field", ["cpus", "retries", "retry_backoff", "priority", "retry_on"])
def test_a_number_of_400_digits_is_a_wrong_value(field):
    value = 10**400
    problem = only_problem([TASK | {field: [value] if field == "retry_on" else value}])
    assert (problem.task, problem.field) == ("t", field)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = sorted({field for field, _ in WRONG} | {"dependencies", "nonsense"})


@given(
    st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES), max_size=3),
    st.dictionaries(st.sampled_from([*FIELDS, "notify", "max_cost"]), VALUES, max_size=4),
    VALUES,
)
def test_whatever_a_file_holds_it_is_planned_or_refused_with_problems(tasks, fields, defaults):
    data = {"tasks": [TASK | task for task in tasks], "defaults": defaults} | fields
    text = (
        json.dumps(data).replace("NaN", "null").replace("-Infinity", "1").replace("Infinity", "1")
    )
    try:
        read = plan_text(text, filename="flow.json")
    except InvalidInput as refusal:
        assert refusal.problems  # noqa: PT017 - either outcome is right
        assert all(problem.message for problem in refusal.problems)  # noqa: PT017
    else:
        assert len(read.tasks) == len(tasks)


# Workflows ---------------------------------------------------------------------------------------


def test_an_array_of_tasks_is_a_workflow_without_settings():
    workflow = plan([TASK]).workflow
    assert [task.id for task in workflow.tasks] == ["t"]
    assert workflow == plan({"tasks": [TASK]}).workflow
    assert workflow.name is None
    assert workflow.max_concurrent is None
    assert workflow.time_limit is None
    assert dict(workflow.env_vars) == {}


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("name", "Nightly: fits", "Nightly: fits"),
        ("description", "", ""),
        ("description", "two\nlines", "two\nlines"),
        ("max_concurrent", 8, 8),
        ("env_vars", {"A": 1}, {"A": "1"}),
        ("environment", "julia", "julia"),
        ("backend", "aws", "aws"),
        ("max_cost", 12.5, 12.5),
        ("max_cost", 0, 0),
        ("time_limit", "2-0", 2 * 86400),
        ("time_limit", 90, 5400),
        ("bundle", "auto", BY_ITSELF),
        ("bundle", 100, 100),
        ("bundle_slots", 4, 4),
        ("notify", "a@example.org", "a@example.org"),
        ("notify", ["x"], ["x"]),
        ("notify", {"email": "x"}, {"email": "x"}),
    ],
)
def test_a_workflow_has_settings(field, written, read):
    assert getattr(plan({"tasks": [TASK], field: written}).workflow, field) == read
    nothing = plan({"tasks": [TASK], field: None}).workflow
    assert nothing == plan([TASK]).workflow


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 7),
        ("description", ["x"]),
        ("max_concurrent", 0),
        ("max_concurrent", "4"),
        ("max_concurrent", True),
        ("env_vars", {"a b": "1"}),
        ("env_vars", []),
        ("environment", 7),
        ("backend", " "),
        ("max_cost", -1),
        ("max_cost", "12"),
        ("max_cost", True),
        ("time_limit", "soon"),
        ("bundle", 0),
        ("bundle", True),
        ("bundle", "all"),
        ("bundle", 10_001),
        ("bundle_slots", 0),
        ("bundle_slots", "auto"),
        ("notify", 7),
        ("notify", True),
    ],
)
def test_a_wrong_setting_of_a_workflow_is_reported_with_its_field(field, value):
    problem = only_problem({"tasks": [TASK], field: value})
    assert (problem.task, problem.field) == (None, field)


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("maxconcurrent", "max_concurrent"), ("default", "defaults"), ("task", "tasks")],
)
def test_an_unknown_field_of_a_workflow_names_the_nearest(written, nearest):
    problem = only_problem({"tasks": [TASK], written: 1})
    assert (problem.task, problem.field) == (None, written)
    assert repr(nearest) in problem.message


@pytest.mark.parametrize(
    "data", [{}, {"name": "x"}, {"tasks": None}, {"tasks": {}}, {"tasks": "t"}]
)
def test_a_workflow_without_an_array_of_tasks_is_refused(data):
    assert "tasks" in {problem.field for problem in problems_of(data)}


@pytest.mark.parametrize("data", [[], {"tasks": []}])
def test_a_workflow_without_tasks_is_refused(data):
    problem = only_problem(data)
    assert problem.field == "tasks"
    assert "no tasks" in problem.message


@pytest.mark.parametrize("data", [7, "tasks", None, True, 1.5])
def test_a_document_that_is_no_workflow_says_what_is_one(data):
    problem = only_problem(data)
    assert "not a workflow" in problem.message
    assert '"tasks"' in problem.message


@pytest.mark.parametrize(
    ("text", "filename", "line"),
    [
        ('[\n{"id": "t" "command": "true"}]', "flow.json", 2),
        ("// seed\n[]", "flow.json", 1),
        ("- id: a\n  command: [\n", "flow.yaml", None),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem_with_its_file_and_line(text, filename, line):
    with pytest.raises(InvalidInput) as refusal:
        plan_text(text, filename=filename)
    (problem,) = refusal.value.problems
    assert refusal.value.source == filename
    assert filename in str(refusal.value)
    if line is not None:
        assert problem.line == line


def test_yaml_has_the_same_fields_as_json():
    text = """
name: nightly
env_vars: {VERSION: 1.10, FLAG: yes}
defaults: &d
  memory: 2G
  time_limit: 1:30:00
tasks:
  - id: a
    command: |
      echo "a: b"
  - id: b
    command: "true"
    deps: [a]
    cpus: 2
"""
    workflow = plan_text(text, filename="flow.yml").workflow
    assert workflow.env_vars == {"VERSION": "1.10", "FLAG": "yes"}
    first, second = workflow.tasks
    assert first.command == 'echo "a: b"\n'
    assert first.resources == Resources(memory=2048, time_limit=5400)
    assert second.resources == Resources(cpus=2, memory=2048, time_limit=5400)
    assert second.deps == ("a",)


# Defaults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "default", "own"),
    [
        ("working_dir", "~/a", "~/b"),
        ("partition", "cpu", "gpu"),
        ("cpus", 2, 4),
        ("memory", "2G", "8G"),
        ("gres", "gpu", "gpu:2"),
        ("time_limit", "10m", "2h"),
        ("image", "a", "b"),
        ("environment", "a", "b"),
        ("output_file", "a", "b"),
        ("error_file", "a", "b"),
        ("generates_source", "a", "b"),
        ("retries", 3, 0),
        ("retry_delay", 5, 0),
        ("retry_backoff", 3, 2),
        ("retry_on", [1], [2]),
        ("priority", 5, 0),
        ("group", "a", "b"),
        ("backend", "a", "b"),
        ("dedupe", True, False),
    ],
)
def test_a_default_holds_for_tasks_that_do_not_say_otherwise(field, default, own):
    data = {"defaults": {field: default}, "tasks": [TASK, {"id": "u", "command": "x", field: own}]}
    without, with_own = plan(data).tasks
    assert without == one_task(**{field: default})
    assert with_own == one_task(**{field: own})._replace(id="u", name="u", command="x")


def test_a_task_that_generates_tasks_has_no_twin():
    generator = {**TASK, "generates_source": "g.json"}
    for data in ([{**generator, "dedupe": True}],
                 {"defaults": {"dedupe": True}, "tasks": [generator]}):  # fmt: skip
        problem = only_problem(data)
        assert (problem.task, problem.field) == ("t", "dedupe")
        assert "generates_source" in problem.message
    assert plan({"defaults": {"dedupe": True}, "tasks": [{**generator, "dedupe": False}]}).tasks


def test_null_in_a_task_leaves_the_default_in_force():
    (task,) = plan({"defaults": {"cpus": 8}, "tasks": [TASK | {"cpus": None}]}).tasks
    assert task.resources.cpus == 8


def test_null_in_defaults_is_no_default():
    (task,) = plan({"defaults": {"cpus": None}, "tasks": [TASK]}).tasks
    assert task == one_task()


@pytest.mark.parametrize("field", ["env_vars", "properties", "tags"])
def test_mappings_are_merged_with_the_defaults_key_by_key(field):
    data = {
        "defaults": {field: {"A": "default", "B": "default"}},
        "tasks": [TASK | {field: {"B": "own", "C": "own"}}, {"id": "u", "command": "true"}],
    }
    merged, plain = plan(data).tasks
    assert getattr(merged, field) == {"A": "default", "B": "own", "C": "own"}
    assert getattr(plain, field) == {"A": "default", "B": "default"}


def test_parts_of_resources_and_retries_have_defaults_of_their_own():
    data = {
        "defaults": {"memory": "2G", "retries": 2},
        "tasks": [TASK | {"cpus": 4, "retry_on": [1]}],
    }
    (task,) = plan(data).tasks
    assert task.resources == Resources(cpus=4, memory=2048)
    assert task.retry == RetryPolicy(2, on=frozenset({1}))


@pytest.mark.parametrize("name", ["deps", "dependencies"])
@pytest.mark.parametrize("alias", ["deps", "dependencies"])
def test_dependencies_may_have_a_default_which_a_task_replaces(name, alias):
    tasks = [
        {"id": "setup", "command": "true", alias: []},
        TASK,
        {"id": "u", "command": "true", alias: ["t"]},
    ]
    read = plan({"defaults": {name: ["setup"]}, "tasks": tasks}).tasks
    assert [task.deps for task in read] == [(), ("setup",), ("t",)]


def test_both_names_of_dependencies_at_once_are_a_problem_in_defaults_too():
    tasks = [TASK | {"deps": []}, {"id": "u", "command": "true"}]
    problem = only_problem({"defaults": {"deps": ["t"], "dependencies": []}, "tasks": tasks})
    assert problem.field == "defaults.dependencies"


@pytest.mark.parametrize("field", ["id", "name"])
def test_what_tells_tasks_apart_has_no_default(field):
    problem = only_problem({"defaults": {field: "x"}, "tasks": [TASK]})
    assert problem.field == f"defaults.{field}"
    assert problem.task is None


@pytest.mark.parametrize(
    ("field", "value"),
    [entry for entry in WRONG if entry[0] not in ("id", "command", "name")],
    ids=lambda value: repr(value)[:30],
)
def test_a_wrong_default_is_reported_once_at_its_place(field, value):
    problem = only_problem({"defaults": {field: value}, "tasks": [TASK, {**TASK, "id": "u"}]})
    assert (problem.task, problem.field) == (None, f"defaults.{field}")


def test_an_unknown_default_names_the_nearest_field():
    problem = only_problem({"defaults": {"mem": "4G", "cpus": 1}, "tasks": [TASK]})
    assert (problem.task, problem.field) == (None, "defaults.mem")
    assert "'memory'" in problem.message


@pytest.mark.parametrize("value", [[], "x", 7, True])
def test_defaults_are_an_object(value):
    problem = only_problem({"defaults": value, "tasks": [TASK]})
    assert problem.field == "defaults"


# Everything at once ------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_each_with_its_place():
    data = {
        "name": 7,
        "maxconcurrent": 3,
        "env_vars": {"1": "x"},
        "defaults": {"memory": "lots", "priorty": 1},
        "tasks": [
            {"id": "a", "command": "", "cpus": 0, "colour": "red"},
            {"id": "b", "command": "true", "deps": ["b", "nobody", "x.*"]},
            {"command": "true", "retries": "2"},
            7,
            {"id": "a b", "command": "true"},
            {"id": "a", "command": "true"},
            {"id": "c", "command": "true", "deps": ["d"]},
            {"id": "d", "command": "true", "deps": ["c"]},
        ],
    }
    found = {(problem.task, problem.field) for problem in problems_of(data)}
    assert found >= {
        (None, "name"),
        (None, "maxconcurrent"),
        (None, "env_vars"),
        (None, "defaults.memory"),
        (None, "defaults.priorty"),
        ("a", "command"),
        ("a", "cpus"),
        ("a", "colour"),
        ("b", "deps"),
        ("#3", "id"),
        ("#3", "retries"),
        ("#4", None),
        ("a b", "id"),
        ("a", "id"),
        ("c", "deps"),
    }
    messages = [p.message for p in problems_of(data) if p.task == "b"]
    assert len(messages) == 3
    for words in ("itself", "'nobody'", "'x.*'"):
        assert any(words in message for message in messages)


@given(st.lists(st.sampled_from(WRONG), min_size=2, max_size=6, unique_by=lambda entry: entry[0]))
def test_each_of_several_wrong_values_is_reported(wrong):
    wrong = [entry for entry in wrong if entry[0] not in ("id", "deps")]
    data = [
        TASK | {"id": f"t{number}", field: value} for number, (field, value) in enumerate(wrong)
    ]
    together = TASK | {"id": "all"} | dict(wrong)
    places = {(problem.task, problem.field) for problem in problems_of([*data, together, 7])}
    assert places == {
        *((f"t{number}", field) for number, (field, _) in enumerate(wrong)),
        *(("all", field) for field, _ in wrong),
        (f"#{len(wrong) + 2}", None),
    }


def test_the_message_of_the_exception_has_places_and_the_file():
    with pytest.raises(InvalidInput) as refusal:
        plan([TASK | {"cpus": 0, "memory": "x"}])
    text = str(refusal.value)
    for words in ("flow.json", "'t'", "'cpus'", "'memory'"):
        assert words in text


def test_long_values_are_shortened_in_messages():
    problem = only_problem([TASK | {"cpus": "9" * 5000}])
    assert len(problem.message) < 200


# Automatic variables, environments and backends --------------------------------------------------


@pytest.mark.parametrize("name", AUTOMATIC_VARIABLES)
def test_a_variable_hut_sets_itself_is_a_warning_wherever_it_is_given(name):
    data = {
        "env_vars": {name: "x", "MINE": "y"},
        "defaults": {"env_vars": {name: "x"}},
        "tasks": [TASK | {"env_vars": {name: "x"}}],
    }
    warnings = plan(data).warnings
    assert {(warning.task, warning.field) for warning in warnings} == {
        (None, f"env_vars.{name}"),
        (None, f"defaults.env_vars.{name}"),
        ("t", f"env_vars.{name}"),
    }
    assert len(warnings) == 3


@pytest.mark.parametrize(
    "name",
    [
        *("HUT_RUN_ID", "HUT_WORKFLOW", "HUT_TASK_ID", "HUT_ATTEMPT", "HUT_CREATED_AT"),
        *("SCRIPTHUT_WORKFLOW", "SCRIPTHUT_RUN_ID", "SCRIPTHUT_CREATED_AT"),
        *("SCRIPTHUT_GIT_REPO", "SCRIPTHUT_GIT_BRANCH", "SCRIPTHUT_GIT_SHA"),
    ],
)
def test_the_contracts_automatic_variables_are_reserved(name):
    assert name in AUTOMATIC_VARIABLES


@pytest.mark.parametrize("field", ["environment", "backend"])
def test_a_name_nobody_defined_is_a_problem_that_names_the_nearest(field):
    names = Names(environments=("julia", "python"), backends=("julia", "python"))
    data = {"tasks": [TASK | {field: "jula"}, {"id": "u", "command": "x"}], field: "pyton"}
    first, second = problems_of(data, names=names)
    assert (first.task, first.field) == (None, field)
    assert "'pyton'" in first.message
    assert "'python'" in first.message
    assert (second.task, second.field) == ("t", field)
    assert "'julia'" in second.message


@pytest.mark.parametrize("field", ["environment", "backend"])
def test_a_defined_name_is_taken_and_any_name_where_none_are_known(field):
    names = Names(environments=("julia",), backends=("julia",))
    data = [TASK | {field: "julia"}]
    assert plan(data, names=names).tasks == plan(data).tasks
    assert getattr(plan([TASK | {field: "other"}]).tasks[0], field) == "other"


def test_a_name_where_nothing_is_defined_says_so():
    problem = only_problem([TASK | {"environment": "julia"}], names=Names(environments=()))
    assert "'julia'" in problem.message
    assert "no environments" in problem.message


def test_a_default_environment_is_checked_too():
    names = Names(environments=("julia",))
    data = {"defaults": {"environment": "julla"}, "tasks": [TASK]}
    assert only_problem(data, names=names).field == "environment"


@pytest.mark.parametrize(
    ("field", "value"),
    [("env_vars", {"A": "1"}), ("environment", "julia"), ("backend", "aws"), ("max_concurrent", 2)],
)
def test_settings_of_a_workflow_that_joins_a_run_are_not_silently_dropped(field, value):
    text = json.dumps({field: value, "tasks": [TASK]})
    try:
        extension = extend_run(text, filename="more.json", existing=("a",))
    except InvalidInput:
        return
    (task,) = extension.tasks
    assert extension.warnings or getattr(task, field, None) == value


def test_tasks_that_join_a_run_have_the_same_fields_and_defaults():
    text = json.dumps({"defaults": {"cpus": 2}, "tasks": [TASK | {"retries": 1}]})
    (task,) = extend_run(text, filename="more.json", existing=("a",)).tasks
    assert task.resources.cpus == 2
    assert task.retry.retries == 1
    with pytest.raises(InvalidInput) as refusal:
        extend_run('[{"id": "t", "cpus": 0}]', filename="more.json", existing=("a",))
    assert {problem.field for problem in refusal.value.problems} == {"command", "cpus"}
