"""Dependencies: expanded, shared, checked for cycles, levelled; and tasks that join a run."""

import itertools
import json
from fnmatch import fnmatchcase

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hut.model.problems import InvalidInput
from hut.model.workflow import TaskSpec
from hut.planning import extend_run, plan_text
from hut.planning.graph import build_graph, find_cycles, levels_of


def written(tasks):
    """Return a workflow file for ``{id: deps}``."""
    return json.dumps([{"id": key, "command": ":", "deps": deps} for key, deps in tasks.items()])


def plan(tasks):
    return plan_text(written(tasks), filename="flow.json")


def extend(tasks, existing):
    return extend_run(written(tasks), filename="more.json", existing=existing)


def dependencies(tasks):
    """Return the expanded dependencies of each task, as sets of ids."""
    read = plan(tasks)
    return {task.id: set(read.dependencies(at)) for at, task in enumerate(read.tasks)}


def refused(tasks, existing=None):
    with pytest.raises(InvalidInput) as refusal:
        plan(tasks) if existing is None else extend(tasks, existing)
    return refusal.value.problems


def size(graph):
    """Return how many entries the graph stores: waits and memberships."""
    return sum(map(len, graph.waits)) + sum(map(len, graph.barriers))


# Random workflows --------------------------------------------------------------------------------

SOME_IDS = [f"{group}{dot}{number}" for group in "ab" for dot in ("", ".") for number in range(6)]
PATTERNS = ["*", "a*", "a.*", "b?", "b.[0-2]", "*.1", "?.?", "[ab]3", "*5", "a.1*", "b*[!0]", "c*"]


@st.composite
def layered(draw):
    """Return an acyclic workflow in random order: deps name, or match, only earlier tasks."""
    ids = draw(st.lists(st.sampled_from(SOME_IDS), unique=True, min_size=1, max_size=16))
    shared = draw(st.lists(st.lists(st.sampled_from(ids), max_size=4), max_size=2))
    tasks = {}
    for at, task_id in enumerate(ids):
        earlier = set(ids[:at])
        fitting = [
            pattern
            for pattern in PATTERNS
            if (found := {i for i in ids if fnmatchcase(i, pattern)} - {task_id})
            and found <= earlier
        ]
        choices = sorted(earlier) + fitting
        deps = draw(st.lists(st.sampled_from(choices), max_size=5)) if choices else []
        tasks[task_id] = deps
        for one in shared:
            if one and set(one) <= earlier and draw(st.booleans()):
                tasks[task_id] = one
    order = draw(st.permutations(ids))
    return {task_id: tasks[task_id] for task_id in order}


@st.composite
def anything(draw):
    """Return any workflow: cycles, unknown ids and patterns without a match included."""
    ids = draw(st.lists(st.sampled_from(SOME_IDS), unique=True, min_size=1, max_size=8))
    entries = st.sampled_from([*ids, *ids, *PATTERNS, "nobody"])
    return {task_id: draw(st.lists(entries, max_size=3)) for task_id in ids}


def naive(tasks, known=()):
    """Return what each task depends on, by the rules as written down."""
    ids = [*known, *tasks]
    return {
        task_id: {
            other
            for dep in deps
            for other in ids
            if other == dep or (set(dep) & set("*?[") and fnmatchcase(other, dep))
        }
        - {task_id}
        for task_id, deps in tasks.items()
    }


def naive_levels(tasks, known=()):
    """Return the longest chain before each task; None where there is a cycle."""
    needs = naive(tasks, known)
    levels = dict.fromkeys(known, -1)
    while len(levels) < len(needs) + len(known):
        ready = {i: needs[i] for i in needs if i not in levels and needs[i] <= set(levels)}
        if not ready:
            return None
        levels.update(
            {i: 1 + max((levels[n] for n in need), default=-1) for i, need in ready.items()}
        )
    return {task_id: levels[task_id] for task_id in tasks}


def is_wrong(tasks, known=()):
    """Say whether a dependency is unknown, the task itself, or a pattern that matches nothing."""
    ids = {*known, *tasks}
    for task_id, deps in tasks.items():
        for dep in deps:
            if set(dep) & set("*?["):
                if not any(fnmatchcase(other, dep) for other in ids - {task_id}):
                    return True
            elif dep == task_id or dep not in ids:
                return True
    return False


@given(layered())
def test_expanded_dependencies_and_levels_are_those_of_a_naive_expansion(tasks):
    read = plan(tasks)
    assert dependencies(tasks) == naive(tasks)
    levels = {task.id: level for task, level in zip(read.tasks, read.levels, strict=True)}
    assert levels == naive_levels(tasks)


@given(layered())
def test_expanded_dependencies_stand_in_document_order_without_repeats(tasks):
    read = plan(tasks)
    order = [task.id for task in read.tasks]
    for at in range(len(order)):
        places = [order.index(other) for other in read.dependencies(at)]
        assert places == sorted(set(places))


@given(layered())
def test_the_count_of_dependencies_is_an_upper_bound(tasks):
    graph = plan(tasks).graph
    assert graph.count_dependencies() >= sum(len(needs) for needs in naive(tasks).values())


@given(anything())
def test_a_workflow_is_refused_exactly_if_a_rule_is_broken(tasks):
    wrong = is_wrong(tasks)
    cyclic = naive_levels(tasks) is None
    try:
        read = plan(tasks)
    except InvalidInput as refusal:
        assert wrong or cyclic
        circles = [p for p in refusal.problems if "Circular" in p.message]
        assert bool(circles) == cyclic
    else:
        assert not wrong
        assert not cyclic
        assert len(read.tasks) == len(tasks)


@given(anything())
def test_a_cycle_that_is_shown_exists(tasks):
    needs = naive(tasks)
    try:
        plan(tasks)
    except InvalidInput as refusal:
        shown = [p for p in refusal.problems if "Circular" in p.message]
    else:
        shown = []
    for problem in shown:
        ids = problem.message.partition(": ")[2].split(" -> ")
        assert ids[0] == ids[-1] == problem.task
        assert len(ids) > 2
        assert len(set(ids)) == len(ids) - 1
        assert all(after in needs[before] for before, after in itertools.pairwise(ids))


@given(layered(), st.integers(0, 16))
def test_tasks_that_join_a_run_depend_on_what_they_would_in_one_file(tasks, cut):
    known = dict(list(tasks.items())[:cut])
    new = dict(list(tasks.items())[cut:])
    assume(new)
    extension = extend(new, tuple(known))
    assert extension.graph.first == len(known)
    ids = [*known, *new]
    found = {
        task.id: {ids[other] for other in extension.graph.dependencies(at)}
        for at, task in enumerate(extension.tasks, len(known))
    }
    assert found == naive(new, known)
    levels = dict(zip(new, levels_of(extension.graph), strict=True))
    assert levels == naive_levels(new, known)


@given(anything(), st.integers(0, 4))
def test_tasks_that_join_a_run_are_refused_exactly_if_a_rule_is_broken(tasks, cut):
    known = list(tasks)[:cut]
    new = {task_id: deps for task_id, deps in tasks.items() if task_id not in known}
    right = not is_wrong(new, known) and naive_levels(new, known) is not None
    try:
        extension = extend(new, known)
    except InvalidInput:
        assert not right
    else:
        assert right
        assert [task.id for task in extension.tasks] == list(new)


# Single rules ------------------------------------------------------------------------------------


def test_an_id_and_a_pattern_that_mean_the_same_task_count_once():
    tasks = {"a.1": [], "a.2": [], "b": ["a.1", "a.*", "a.1", "*.1", "a.?"]}
    assert plan(tasks).dependencies(2) == ["a.1", "a.2"]


def test_a_pattern_crosses_dots():
    assert dependencies({"a.b.c": [], "z": ["a*c"]})["z"] == {"a.b.c"}


def test_a_pattern_never_means_the_task_itself():
    tasks = {"a.1": [], "a.2": [], "a.all": ["a.*"], "b": ["a.*"]}
    found = dependencies(tasks)
    assert found["a.all"] == {"a.1", "a.2"}
    assert found["b"] == {"a.1", "a.2", "a.all"}


def test_a_pattern_that_matches_only_the_task_itself_matches_nothing():
    (problem,) = refused({"a": ["a*"], "b": []})
    assert (problem.task, problem.field) == ("a", "deps")
    assert "'a*'" in problem.message
    assert "matches no tasks" in problem.message


def test_a_pattern_may_match_tasks_that_come_later_in_the_file():
    assert dependencies({"z": ["m.*"], "m.1": [], "m.2": []})["z"] == {"m.1", "m.2"}


@pytest.mark.parametrize("pattern", ["x*", "?", "M*", "[xyz]ap", "map.[1"])
def test_a_pattern_without_a_match_is_a_problem(pattern):
    (problem,) = refused({"map.1": [], "b.2": [pattern]})
    assert (problem.task, problem.field) == ("b.2", "deps")
    assert repr(pattern) in problem.message
    assert "matches no tasks" in problem.message


def test_a_task_may_not_name_itself():
    (problem,) = refused({"a": ["b", "a"], "b": []})
    assert (problem.task, problem.field) == ("a", "deps")
    assert "itself" in problem.message


@pytest.mark.parametrize(
    ("dep", "hint"), [("prepair", "'prepare'"), ("Train", "'train'"), ("xyz", "no task")]
)
def test_an_unknown_dependency_names_the_nearest_task(dep, hint):
    (problem,) = refused({"prepare": [], "train": [], "t": [dep]})
    assert (problem.task, problem.field) == ("t", "deps")
    assert repr(dep) in problem.message
    assert hint in problem.message


def test_every_wrong_dependency_is_reported():
    problems = refused({"a": ["x", "a", "y*"], "b": ["x", "a"]})
    assert [problem.task for problem in problems] == ["a", "a", "a", "b"]


# Cycles ------------------------------------------------------------------------------------------


def cycles(tasks, existing=None):
    return [
        problem.message.removeprefix("Circular dependency detected: ")
        for problem in refused(tasks, existing)
    ]


@pytest.mark.parametrize(
    ("tasks", "shown"),
    [
        ({"a": ["b"], "b": ["a"]}, ["a -> b -> a"]),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, ["a -> b -> c -> a"]),
        ({"a": ["c"], "b": ["a"], "c": ["b"]}, ["a -> c -> b -> a"]),
        ({"x": ["a"], "a": ["b"], "b": ["a"]}, ["a -> b -> a"]),
        ({"a": ["b"], "b": ["a"], "x": ["a"], "y": []}, ["a -> b -> a"]),
        ({"y": [], "a": ["y", "b"], "b": ["y", "a"]}, ["a -> b -> a"]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, ["a -> b -> a", "c -> d -> c"]),
        ({"g.1": ["z"], "g.2": [], "z": ["g.*"]}, ["g.1 -> z -> g.1"]),
        ({"g.1": ["g.*"], "g.2": ["g.*"]}, ["g.1 -> g.2 -> g.1"]),
    ],
)
def test_a_cycle_is_shown_from_task_to_dependency(tasks, shown):
    assert cycles(tasks) == shown


def test_a_cycle_is_reported_at_a_task_of_it():
    (problem,) = refused({"x": ["a"], "a": ["b"], "b": ["a"]})
    assert (problem.task, problem.field) == ("a", "deps")


def test_a_cycle_that_depends_on_another_is_reported_as_well():
    tasks = {"a": ["b"], "b": ["a"], "c": ["a", "d"], "d": ["c"]}
    assert cycles(tasks) == ["a -> b -> a", "c -> d -> c"]


def test_a_long_cycle_is_shown_shortened():
    ids = [f"t{number}" for number in range(1000)]
    tasks = {task_id: [ids[at - 1]] for at, task_id in enumerate(ids)}
    (shown,) = cycles(tasks)
    assert shown.startswith("t0 -> t999 -> t998 -> ")
    assert shown.endswith(" -> t1 -> t0")
    assert "more" in shown
    assert len(shown) < 300


def test_of_very_many_cycles_some_are_shown_and_the_rest_is_mentioned():
    tasks = {}
    for number in range(100):
        tasks |= {f"a{number}": [f"b{number}"], f"b{number}": [f"a{number}"]}
    shown = cycles(tasks)
    assert 5 < len(shown) < 50
    assert "more cycles" in shown[-1]


def test_other_problems_are_reported_beside_a_cycle():
    problems = refused({"a": ["b", "nobody"], "b": ["a"]})
    assert any("'nobody'" in problem.message for problem in problems)
    assert any("a -> b -> a" in problem.message for problem in problems)


def test_a_chain_deeper_than_any_stack_has_its_levels():
    count = 100_000
    tasks = [TaskSpec(f"t{n}", ":", deps=(f"t{n - 1}",) if n else ()) for n in range(count)]
    problems = []
    graph = build_graph(tasks, problems)
    assert levels_of(graph) == list(range(count))
    assert problems == []


def test_a_circle_deeper_than_any_stack_is_found():
    count = 100_000
    tasks = [TaskSpec(f"t{n}", ":", deps=(f"t{(n + 1) % count}",)) for n in range(count)]
    problems = []
    graph = build_graph(tasks, problems)
    levels = levels_of(graph)
    assert set(levels) == {-1}
    find_cycles(graph, levels, tasks, problems)
    assert len(problems) == 1


# Levels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "levels"),
    [
        ({"a": []}, [0]),
        ({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}, [0, 1, 1, 2]),
        ({"d": ["a", "c"], "c": ["b"], "b": ["a"], "a": []}, [3, 2, 1, 0]),
        ({"a": [], "m.1": ["a"], "m.2": [], "r": ["m.*"]}, [0, 1, 0, 2]),
    ],
)
def test_a_level_is_the_longest_chain_before_a_task(tasks, levels):
    assert list(plan(tasks).levels) == levels


# Size --------------------------------------------------------------------------------------------


def specs(tasks):
    return [TaskSpec(task_id, ":", deps=tuple(deps)) for task_id, deps in tasks.items()]


def test_all_to_all_by_a_pattern_costs_the_sum_and_not_the_product():
    count = 10_000
    tasks = {f"map.{n}": () for n in range(count)} | {f"red.{n}": ("map.*",) for n in range(count)}
    problems = []
    graph = build_graph(specs(tasks), problems)
    assert problems == []
    assert sum(map(len, graph.barriers)) == count
    assert size(graph) <= 2 * count + 2
    assert graph.count_dependencies() == count * count
    assert levels_of(graph) == [0] * count + [1] * count


def test_all_to_all_by_a_list_of_ids_costs_the_sum_and_not_the_product():
    count = 1000
    maps = tuple(f"map.{n}" for n in range(count))
    tasks = dict.fromkeys(maps, ()) | {f"red.{n}": maps for n in range(count)}
    graph = build_graph(specs(tasks), [])
    assert len(graph.barriers) == 1
    assert size(graph) == 2 * count


def test_layers_of_all_to_all_stay_linear():
    tasks = {}
    for layer in range(10):
        for number in range(100):
            tasks[f"l{layer}.{number}"] = (f"l{layer - 1}.*",) if layer else ()
    graph = build_graph(specs(tasks), [])
    assert len(graph.barriers) == 9
    assert size(graph) == 2 * 900
    assert max(levels_of(graph)) == 9


def test_tasks_that_share_a_list_or_a_pattern_share_a_barrier():
    tasks = {"a": [], "b": [], "x": ["a", "b"], "y": ["a", "b"], "z": ["?"], "w.1": ["?"]}
    tasks["w.2"] = ["?", "a"]
    graph = build_graph(specs({key: tuple(deps) for key, deps in tasks.items()}), [])
    waits = dict(zip(tasks, graph.waits, strict=True))
    assert waits["x"] == waits["y"]
    assert len(waits["x"]) == 1
    assert waits["w.1"][0] in waits["w.2"]


def test_a_list_that_nobody_shares_needs_no_barrier():
    graph = plan({"a": [], "b": [], "x": ["a", "b"], "y": ["b"]}).graph
    assert graph.barriers == []
    assert sorted(graph.waits[2]) == [0, 1]


def test_one_task_among_those_its_pattern_means_costs_one_barrier_more():
    count = 100
    tasks = {f"g.{n}": () for n in range(count)} | {"g.end": ("g.*",)}
    tasks |= {f"h.{n}": ("g.*",) for n in range(count)}
    graph = build_graph(specs(tasks), [])
    assert size(graph) <= 2 * count + 1 + count + 1


@given(layered())
def test_a_graph_is_never_larger_than_what_is_written_and_matched(tasks):
    graph = plan(tasks).graph
    names = sum(len(deps) for deps in tasks.values())
    patterns = {
        (dep, i if fnmatchcase(i, dep) else "") for i, deps in tasks.items() for dep in deps
    }
    matched = sum(
        sum(fnmatchcase(other, dep) for other in tasks)
        for dep, _ in patterns
        if set(dep) & set("*?[")
    )
    assert size(graph) <= 2 * names + matched


def test_tasks_that_all_wait_for_all_of_their_group_stay_linear():
    count = 500
    graph = build_graph(specs({f"t{n}": ("*",) for n in range(count)}), [])
    assert size(graph) <= 20 * count


# Joining a run -----------------------------------------------------------------------------------


def test_new_tasks_may_depend_on_the_runs_tasks_by_id_and_by_pattern():
    extension = extend({"n": ["a.1", "new.*"], "new.1": ["a.*"]}, ("a.1", "a.2"))
    assert list(extension.graph.dependencies(2)) == [0, 3]
    assert list(extension.graph.dependencies(3)) == [0, 1]


def test_an_id_the_run_already_has_is_refused():
    (problem,) = refused({"a": [], "b": []}, existing=("a",))
    assert (problem.task, problem.field) == ("a", "id")
    assert "already" in problem.message


def test_new_tasks_may_not_depend_on_what_nobody_knows():
    first, second = refused({"n": ["prepair", "x*"]}, existing=("prepare",))
    assert "'prepare'" in first.message
    assert "'x*'" in second.message
    assert first.task == second.task == "n"


def test_a_cycle_among_new_tasks_is_refused():
    assert cycles({"x": ["a", "y"], "y": ["x"]}, existing=("a", "b")) == ["x -> y -> x"]
    assert cycles({"n.1": ["n.*"], "n.2": ["n.*"]}, existing=("a",)) == ["n.1 -> n.2 -> n.1"]


def test_a_new_task_may_not_name_itself():
    (problem,) = refused({"x": ["x"]}, existing=("a",))
    assert problem.task == "x"
    assert "itself" in problem.message


@pytest.mark.parametrize("text", ["[]", '{"tasks": []}'])
def test_nothing_new_is_a_valid_extension(text):
    extension = extend_run(text, filename="more.json", existing=("a",))
    assert extension.tasks == ()
    assert extension.graph.waits == []


def test_the_runs_tasks_may_be_given_as_a_mapping():
    extension = extend_run(written({"n": ["a"]}), filename="more.json", existing={"z": 1, "a": 2})
    assert extension.graph.waits == [(1,)]


def test_a_pattern_over_the_run_and_new_tasks_is_one_barrier():
    count = 100
    known = [f"g.{n}" for n in range(count)]
    new = {"g.new": []} | {f"n{n}": ["g.*"] for n in range(count)}
    graph = extend(new, known).graph
    assert len(graph.barriers) == 1
    assert set(graph.barriers[0]) == set(range(count + 1))
    assert levels_of(graph) == [0] + [1] * count
