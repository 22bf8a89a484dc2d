"""What is submitted becomes one run, and each of its tasks the job it asks for."""

from __future__ import annotations

from typing import Any

from infra.settings import DEFAULT_IMAGE
from tests.e2e.remote_hut import HOLD, RemoteHut, until


def test_the_same_key_gives_the_same_run(hut: RemoteHut) -> None:
    file = hut.write([{"id": "a", "command": "echo a >> ran"}])
    key = f"key-{hut.folder.name}"
    first = hut.json("run", file, "--idempotency-key", key)
    again = hut.json("run", file, "--idempotency-key", key)
    assert again["id"] == first["id"]
    assert hut.lines("ran") == ["a"]
    other = hut.write([{"id": "a", "command": "echo b >> ran"}], "other.json")
    refused = hut("run", other, "--idempotency-key", key, exit_code=None)
    assert refused.returncode not in (0, 1, 3)
    assert "Idempotency-Key" in refused.stderr or "idempotency key" in refused.stderr.lower()
    assert hut.lines("ran") == ["a"]
    hut("run", other, "--idempotency-key", f"{key}-2")
    assert hut.lines("ran") == ["a", "b"]


def test_environments_of_hut_yaml_reach_the_jobs(hut: RemoteHut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "environments:\n"
        "  - name: ml\n"
        "    variables: {THREADS: 4, COLOUR: from the environment}\n"
        "    extra_init: |\n"
        "      export LOADED=cuda/12.0\n"
    )
    command = "echo $THREADS, $COLOUR, $LOADED, $SHAPE, $HUT_WORKFLOW, $HUT_TASK_ID, $HUT_ATTEMPT"
    tasks = [
        {"id": "ml", "command": command, "environment": "ml"},
        {"id": "own", "command": command, "environment": "ml", "env_vars": {"COLOUR": "its own"}},
        {"id": "none", "command": command},
    ]
    file = hut.write(tasks, name="colours.json", env_vars={"COLOUR": "from the workflow"})
    run = hut.json("run", file, "--env", "SHAPE=round", "--name", "colours")["id"]
    assert {task: hut("logs", run, task).stdout for task in ("ml", "own", "none")} == {
        "ml": "4, from the environment, cuda/12.0, round, colours, ml, 1\n",
        "own": "4, its own, cuda/12.0, round, colours, own, 1\n",
        "none": ", from the workflow, , round, colours, none, 1\n",
    }


def test_an_environment_nobody_knows_is_refused(hut: RemoteHut) -> None:
    file = hut.write([{"id": "a", "command": "true", "environment": "nope"}])
    before = hut.get("/runs").document
    refused = hut("run", file, exit_code=2)
    assert "nope" in refused.stderr
    assert hut.get("/runs").document == before


def described(hut: RemoteHut, job: dict[str, Any]) -> dict[str, Any]:
    """Return the job definition of a job."""
    answer = hut.bed.client("batch").describe_job_definitions(jobDefinitions=[job["jobDefinition"]])
    [found] = answer["jobDefinitions"]
    return dict(found)


def test_a_job_is_what_its_task_asks_for(hut: RemoteHut) -> None:
    tasks = [
        {
            "id": "asks",
            "command": "true",
            "image": "registry.example/team/tool:2",
            "cpus": 2,
            "memory": "8G",
            "partition": "ec2-spot",
            "time_limit": "2h",
        },
        {"id": "plain", "command": "true"},
    ]
    run = hut.run(tasks)["id"]
    jobs = {job["tags"]["hut:task"]: job for job in hut.jobs(run)}
    asks, plain = jobs["asks"], jobs["plain"]
    assert described(hut, asks)["containerProperties"]["image"] == "registry.example/team/tool:2"
    assert described(hut, asks)["platformCapabilities"] == ["EC2"]
    assert asks["jobQueue"].endswith("/hut-ec2-spot")
    assert asks["timeout"]["attemptDurationSeconds"] == 7200
    wanted = {each["type"]: each["value"] for each in asks["container"]["resourceRequirements"]}
    assert wanted == {"VCPU": "2", "MEMORY": "8192"}
    assert plain["jobQueue"].endswith("/hut-fargate")
    assert described(hut, plain)["containerProperties"]["image"] == DEFAULT_IMAGE
    assert plain["tags"]["hut:run"] == run


def test_job_definitions_are_reused(hut: RemoteHut) -> None:
    def number() -> int:
        pages = hut.bed.client("batch").get_paginator("describe_job_definitions").paginate()
        return sum(len(page["jobDefinitions"]) for page in pages)

    image = f"registry.example/{hut.folder.name.replace('_', '-')}:1"
    before = number()
    tasks = [{"id": f"t.{i}", "command": f"echo {i}", "cpus": 1 + i % 2} for i in range(8)]
    hut.run([{**task, "image": image} for task in tasks])
    hut.run([{**task, "image": image} for task in tasks])
    assert number() == before + 1


def test_a_definition_somebody_deregistered_is_made_anew(hut: RemoteHut) -> None:
    run = hut.run([{"id": "a", "command": "true"}])["id"]
    definition = hut.jobs(run)[0]["jobDefinition"]
    hut.bed.client("batch").deregister_job_definition(jobDefinition=definition)
    run = hut.run([{"id": "a", "command": "true"}])["id"]
    assert hut.jobs(run)[0]["jobDefinition"] != definition


def test_tags_owner_and_lists(hut: RemoteHut) -> None:
    name = hut.folder.name
    file = hut.write([{"id": "a", "command": "true"}])
    run = hut.json("run", file, "--name", name, "--tag", "team=blue")
    assert run["tags"] == {"team": "blue"}
    assert run["owner"] == "root"
    until(lambda: hut.json("runs", "--workflow", name), "the run is listed")
    [listed] = hut.json("runs", "--workflow", name)
    assert listed["id"] == run["id"]
    assert hut.json("show", run["id"][:9])["id"] == run["id"]
    assert hut.json("runs", "--workflow", name, "--state", "failed") == []


def test_every_problem_of_a_file_is_told_and_nothing_submitted(hut: RemoteHut) -> None:
    tasks = [
        {"id": "a", "command": "true", "deps": ["nobody"]},
        {"id": "b", "comand": "true"},
        {"id": "c", "command": "true", "memory": "much"},
    ]
    before = hut.get("/runs").document
    refused = hut("run", hut.write(tasks), exit_code=2)
    for word in ("nobody", "comand", "much"):
        assert word in refused.stderr
    assert hut.get("/runs").document == before


def test_a_plan_submits_nothing(hut: RemoteHut) -> None:
    file = hut.write([{"id": "a", "command": "echo a"}, {"id": "b", "command": "b", "deps": ["*"]}])
    before = hut.get("/runs").document
    plan = hut.json("plan", file)
    assert plan["total"] == 2
    assert plan["tasks"][1]["deps"] == ["a"]
    assert "echo a" in hut("plan", file, "--scripts").stdout
    assert hut.get("/runs").document == before


def test_many_short_tasks_share_jobs_and_a_killed_one_loses_only_what_had_not_ended(
    hut: RemoteHut,
) -> None:
    commands = {f"t{n:02}": f"echo out {n}; echo t{n:02} >> ran" for n in range(40)}
    commands["t07"] = "echo no; exit 7"
    commands["t12"] = f"echo t12 >> ran; {HOLD}"  # the third task of the second job
    tasks = [{"id": task, "command": command} for task, command in commands.items()]
    file = hut.write(tasks, bundle=10)
    run = hut.json("run", file, "--detach")["id"]
    batch = hut.bed.client("batch")

    def told() -> dict[str, Any]:
        return {task["id"]: task for task in hut.json("tasks", run)}

    # The ends of two tasks are told while their job goes on.
    until(lambda: told()["t11"]["state"] == "completed" and "t12" in hut.lines("ran"), "an end")
    held = told()["t12"]
    assert held["state"] in ("submitted", "running")
    job, _, place = held["job_id"].partition("#")
    assert place == "2"
    batch.terminate_job(jobId=job, reason="Host EC2 (instance i-0123) terminated.")
    until(lambda: told()["t12"]["attempt"] == 2, "a second attempt")
    hut.go()
    hut("watch", run, exit_code=1)
    tasks_now = told()
    attempts = {task: tasks_now[task]["attempt"] for task in tasks_now}
    assert {task for task, number in attempts.items() if number > 1} == {
        f"t{n}" for n in range(12, 20)
    }
    assert tasks_now["t07"]["exit_code"] == 7
    assert {task["state"] for task in tasks_now.values()} == {"completed", "failed"}
    assert [task for task in tasks_now if tasks_now[task]["state"] == "failed"] == ["t07"]
    assert len({task["job_id"].partition("#")[0] for task in tasks_now.values()}) == 5
    assert hut("logs", run, "t23").stdout == "out 23\n"
    assert hut("logs", run, "t07").stdout == "no\n"
    assert sorted(hut.lines("ran")) == sorted([*(t for t in commands if t != "t07"), "t12"])


def test_a_task_file_runs_on_the_control_plane_as_on_this_machine(hut: RemoteHut) -> None:
    """What of HyperShell's table a control plane has a part in."""
    lines = [
        "# HUT: site:eu",
        "echo $TASK_ID $TASK_ATTEMPT $TASK_GROUP >> ran; sh -c 'exit 3' # HUT: site:us",
        "[ $TASK_ATTEMPT = 2 ] && echo again >> ran",
        "printf '%s\\n' \"$TASK_ARGS\" >> args # HUT: cores:2 memory:512M",
        "echo after >> ran # HUT: group:1",
    ]
    options = ("-r", "1", "-t", "kind:x", "-f", "failed.txt", "--name", "lines")
    hut("submit", "-", *options, given="\n".join(lines), exit_code=1)
    [run] = hut.json("runs", "--workflow", "lines")
    tasks = {task["command"]: task for task in hut.json("tasks", run["id"])}
    states = [(task["state"], task["attempt"]) for task in tasks.values()]
    assert states == [("failed", 2), ("completed", 2), ("completed", 1), ("dep_failed", 0)]
    first = tasks[lines[1].partition(" # ")[0]]
    assert first["tags"] == {"site": "us", "kind": "x"}
    assert sorted(hut.lines("ran")) == sorted([f"{first['id']} 1 0", f"{first['id']} 2 0", "again"])
    failed = (hut.folder / "failed.txt").read_text().splitlines()
    assert sorted(failed) == sorted([first["command"]] * 2 + [lines[2]])
    assert hut.json("tasks", run["id"], "--where", "exit_code == 3") == [first]
    found = hut("tasks", run["id"], "--tag", "site:eu", "--format", "csv", "--limit", "1")
    assert len(found.stdout.splitlines()) == 2
    again = hut("failures", run["id"], "--final", "--with-tags").stdout
    assert again.startswith(first["command"] + "  # HUT: id:")
    assert "site:us" in again


def test_an_open_run_takes_tasks_until_it_is_closed(hut: RemoteHut) -> None:
    opened = hut("submit", "--forever", "--detach", "-b", "2", "--name", "open").stdout
    run = opened.strip()
    hut("submit", "--to", run, "-", given="echo one >> ran\necho two >> ran\n")
    until(lambda: sorted(hut.lines("ran")) == ["one", "two"], "both ran")
    assert hut.show(run)["state"] == "running"
    hut("submit", "--to", run, "-", given="echo three >> ran; exit 5\n")
    until(lambda: hut.show(run)["counts"]["failed"] == 1, "the third ran")
    hut("close", run)
    assert hut.ended(run)["state"] == "failed"
    [failure] = hut.json("failures", run)
    assert (failure["command"], failure["exit_code"]) == ("echo three >> ran; exit 5", 5)
    quiet = hut.json("submit", "-", "--no-db", given="true\nexit 6\n", exit_code=1)
    assert (quiet["counts"]["completed"], quiet["counts"]["failed"]) == (1, 1)
    assert [found["exit_code"] for found in hut.json("failures", quiet["id"])] == [6]
    refused = hut("submit", "--to", run, "-", given="true\n", exit_code=None)
    assert refused.returncode not in (0, 1, 3)
    assert hut.show(run)["total"] == 3


def test_the_same_task_file_is_one_run_until_it_has_ended(hut: RemoteHut) -> None:
    (hut.folder / "t.txt").write_text(f"echo one >> ran; {HOLD}\n")
    first = hut("submit", "t.txt", "--detach").stdout.strip()
    until(lambda: hut.lines("ran") == ["one"], "it runs")
    assert hut("submit", "t.txt", "--detach").stdout.strip() == first
    assert hut("submit", "--restart", "--detach").stdout.strip() == first
    hut.go()
    assert hut.ended(first)["state"] == "completed"
    assert "nothing remains" in hut("submit", "--restart").stderr
    assert hut.lines("ran") == ["one"]
    assert hut.json("submit", "t.txt")["id"] != first
    assert hut.lines("ran") == ["one", "one"]
