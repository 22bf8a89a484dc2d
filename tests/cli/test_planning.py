"""``plan``: what would run, in words and as a document; nothing is stored."""

from __future__ import annotations

import json

from tests.hutctl_process import Hut

TASKS = [
    {"id": "get", "command": "curl data"},
    {"id": "map.a", "command": "map a", "deps": ["get"]},
    {"id": "map.b", "command": "map b\nsecond line", "deps": ["get"], "retries": 2},
    {"id": "map.c.x", "command": "map c", "deps": ["map.[ab]"]},
    {"id": "sum", "command": "sum", "dependencies": ["map.*", "get", "map.a"], "cpus": 4},
    {"id": "gen", "command": "gen", "generates_source": "more.json"},
]


def test_the_plan_in_words(hut: Hut) -> None:
    done = hut("plan", hut.write(TASKS, name="study.json", max_concurrent=3))
    lines = done.stdout.splitlines()
    for part in ("study", "6 tasks", "4 levels", "local", "at most 3"):
        assert part in lines[0]
    rows = {line.split()[1]: line for line in lines[1:] if line[:1].isdigit()}
    assert list(rows) == ["get", "gen", "map.a", "map.b", "map.c.x", "sum"]
    assert [row.split()[0] for row in rows.values()] == ["0", "0", "1", "1", "2", "3"]
    assert "map.a map.b" in rows["map.c.x"]
    assert "curl data" in rows["get"]
    assert "second line" not in done.stdout
    assert any("gen" in line and "more.json" in line for line in lines)


def test_the_plan_as_a_document(hut: Hut) -> None:
    file = hut.write(TASKS, name="study.json", max_concurrent=3)
    plan = hut.json("plan", file)
    assert (plan["workflow"], plan["total"], plan["levels"]) == ("study", 6, 4)
    assert (plan["max_concurrent"], plan["deps_expanded"]) == (3, True)
    tasks = {task["id"]: task for task in plan["tasks"]}
    assert list(tasks) == [task["id"] for task in TASKS]
    assert {name: sorted(task["deps"]) for name, task in tasks.items()} == {
        "get": [],
        "map.a": ["get"],
        "map.b": ["get"],
        "map.c.x": ["map.a", "map.b"],
        "sum": ["get", "map.a", "map.b", "map.c.x"],
        "gen": [],
    }
    assert [task["level"] for task in plan["tasks"]] == [0, 1, 1, 2, 3, 0]
    assert tasks["map.b"]["command"] == "map b\nsecond line"
    assert tasks["map.b"]["retries"] == 2
    assert tasks["sum"]["cpus"] == 4
    assert tasks["gen"]["generates_source"] == "more.json"
    assert not any("script" in task for task in plan["tasks"])


def test_scripts_are_shown_on_demand(hut: Hut) -> None:
    file = hut.write(TASKS, env_vars={"SEED": "it's 7"})
    text = hut("plan", file, "--scripts").stdout
    assert text.startswith(hut("plan", file).stdout)
    assert text.count("#!/") == 6
    for part in ("map b\nsecond line\n", "SEED=", "HUT_TASK_ID=map.c.x"):
        assert part in text
    tasks = hut.json("plan", file, "--scripts")["tasks"]
    for task in tasks:
        assert task["script"].startswith("#!/")
        assert task["script"] in text
        assert task["command"] in task["script"]


def test_a_plan_stores_and_starts_nothing(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "touch ran", "output_file": "out/o.txt"}])
    before = sorted(path.name for path in hut.folder.iterdir() if path.name != "home")
    hut("plan", file)
    hut("plan", file, "--json", "--scripts")
    assert hut.json("runs") == []
    assert sorted(path.name for path in hut.folder.iterdir() if path.name != "home") == before
    assert not (hut.folder / "home" / "runs").exists() or not list(
        (hut.folder / "home" / "runs").iterdir()
    )


def test_the_plan_is_what_then_runs(hut: Hut) -> None:
    tasks = [
        {"id": f"{row}.{column}", "command": "echo $HUT_TASK_ID >> ran", "deps": deps}
        for row, deps in (("a", []), ("b", ["a.*"]), ("c", ["b.[12]", "a.3"]))
        for column in (1, 2, 3)
    ]
    file = hut.write(tasks)
    planned = hut.json("plan", file)["tasks"]
    assert [task["level"] for task in planned] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    hut("run", file)
    ran = hut.lines("ran")
    assert sorted(ran) == sorted(task["id"] for task in planned)
    # No more than the plan says: c.1 does not wait for b.3, so levels may overlap.
    for task in planned:
        assert all(ran.index(before) < ran.index(task["id"]) for before in task["deps"])


def test_plan_reads_stdin_and_yaml(hut: Hut) -> None:
    text = "- {id: a, command: x}\n- {id: b, command: y, deps: ['*a']}\n"
    assert hut("plan", "-", "--json", given=text).stdout
    (hut.folder / "w.yaml").write_text(text)
    plan = hut.json("plan", "w.yaml")
    assert plan["tasks"][1]["deps"] == ["a"]
    assert plan["workflow"] == "w"


def test_variables_of_hut_itself_are_warned_of_on_stderr_and_in_the_document(hut: Hut) -> None:
    task = {"id": "a", "command": "echo $HUT_TASK_ID $B", "env_vars": {"HUT_TASK_ID": "x", "B": 1}}
    file = hut.write([task])
    done = hut("plan", file, "--json")
    [warning] = json.loads(done.stdout)["warnings"]
    assert warning["task"] == "a"
    assert "HUT_TASK_ID" in warning["field"]
    assert done.stderr.count("warning:") == 1
    assert warning["message"] in done.stderr
    assert hut("run", file).stderr.count("warning:") == 1
    assert hut("logs", "last", "a").stdout == "a 1\n"


def test_a_long_plan_is_shown_by_levels(hut: Hut) -> None:
    tasks = [{"id": f"a.{i}", "command": "x"} for i in range(2000)]
    tasks += [
        {"id": f"c{i}", "command": "x", "deps": [f"c{i - 1}"] if i else ["a.*"]} for i in range(300)
    ]
    lines = hut("plan", hut.write(tasks)).stdout.splitlines()
    assert "2,300 tasks in 301 levels" in lines[0]
    assert len(lines) < 100
    assert max(len(line) for line in lines) < 300


def test_faults_are_told_as_run_tells_them(hut: Hut) -> None:
    file = hut.write([{"id": "a", "command": "x", "deps": ["b"]}, {"id": "b", "deps": ["a"]}])
    assert hut.json("plan", file, exit_code=2) == hut.json("run", file, exit_code=2)
    planned, run = hut("plan", file, exit_code=2), hut("run", file, exit_code=2)
    assert planned.stderr == run.stderr
    assert "a -> b -> a" in planned.stderr


def test_millions_of_dependencies_are_planned_but_not_listed(hut: Hut) -> None:
    tasks = [{"id": f"a.{i}", "command": "x"} for i in range(5000)]
    tasks += [{"id": f"b.{i}", "command": "x", "deps": ["a.*"]} for i in range(5000)]
    file = hut.write(tasks)
    done = hut("plan", file, "--json")
    plan = json.loads(done.stdout)
    assert (plan["total"], plan["levels"], plan["deps_expanded"]) == (10_000, 2, False)
    assert plan["tasks"][-1]["deps"] == ["a.*"]
    assert len(done.stdout) < 10_000_000
    text = hut("plan", file).stdout
    assert "10,000 tasks in 2 levels" in text
    assert len(text) < 10_000


def test_fields_of_the_plan_mean_in_a_file_what_they_mean_in_the_plan(hut: Hut) -> None:
    given = {
        "id": "a",
        "command": "x",
        "time_limit": "90s",
        "memory": "1.5G",
        "retries": 2,
        "retry_delay": "2m",
        "retry_on": [75, "timeout"],
        "env_vars": {"A": "b"},
        "gres": "gpu:2",
    }
    [first] = hut.json("plan", hut.write([given]))["tasks"]
    again = {name: value for name, value in first.items() if name not in {"level", "backend"}}
    [second] = hut.json("plan", hut.write([again]))["tasks"]
    assert second == first
