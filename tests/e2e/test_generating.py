"""Tasks that write tasks: through the log of a container, whatever becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.remote_hut import RemoteHut


def writing(document: Any, name: str = "tasks.json") -> dict[str, Any]:
    """Return a task that writes a file of tasks."""
    text = document if isinstance(document, str) else json.dumps(document)
    command = f"cat > {name} <<'END'\n{text}\nEND"
    return {"id": name.partition(".")[0], "command": command, "generates_source": name}


def test_a_generator_may_generate_generators(hut: RemoteHut) -> None:
    leaves = [{"id": f"leaf.{i}", "command": f"echo {i} >> leaves"} for i in range(20)]
    after = {"id": "after", "deps": ["leaf.*"], "command": "sort -n leaves | tail -n 1"}
    inner = {**writing([*leaves, after], "inner.json"), "deps": ["early"]}
    outer = writing([{"id": "early", "command": "true"}, inner], "outer.yaml")  # as all JSON is
    run = hut.run([outer, {"id": "beside", "command": "true"}])
    assert run["state"] == "completed"
    assert run["total"] == 2 + 2 + 21
    assert sorted(map(int, hut.lines("leaves"))) == list(range(20))
    assert hut("logs", run["id"], "after").stdout == "19\n"
    # What carries the tasks through the log is not for people.
    assert hut("logs", run["id"], "outer").stdout == ""


def test_many_generated_tasks_arrive_whole(hut: RemoteHut) -> None:
    command = """
i=0
echo '[' > many.json
while [ $i -lt 400 ]; do
  echo "{\\"id\\": \\"t.$i\\", \\"command\\": \\"true # $(printf %0300d $i) \\u00e9\\", \\"deps\\": [\\"hold\\"]}," >> many.json
  i=$((i + 1))
done
echo '{"id": "hold", "command": "exit 4"}]' >> many.json
"""
    run = hut.run(
        [{"id": "many", "command": command, "generates_source": "many.json"}], exit_code=1
    )
    assert run["counts"]["dep_failed"] == 400
    task = hut.task(run["id"], "t.399")
    assert task["command"] == f"true # {399:0300} é"
    assert hut.json("why", run["id"], "t.0")["cause"] == "hold"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("this is no JSON", "tasks.json"),
        ([{"id": "a", "comand": "true"}], "command"),
        ([{"id": "a", "command": "true", "deps": ["nobody"]}], "nobody"),
        ([{"id": "tasks", "command": "true"}], "tasks"),
    ],
    ids=["no JSON", "unknown field", "unknown dependency", "id taken"],
)
def test_what_can_not_be_used_fails_its_generator(hut: RemoteHut, content: Any, told: str) -> None:
    after = {"id": "after", "command": "true", "deps": ["tasks"]}
    run = hut.run([writing(content), after], exit_code=1)
    assert run["total"] == 2
    task = hut.task(run["id"], "tasks")
    assert (task["state"], task["reason"]) == ("failed", "invalid_output")
    assert told in task["message"]
    assert hut.task(run["id"], "after")["state"] == "dep_failed"


def test_a_file_that_was_not_written_fails_its_generator(hut: RemoteHut) -> None:
    task = {"id": "a", "command": "echo done", "generates_source": "out/tasks.json"}
    run = hut.run([task], exit_code=1)
    a = hut.task(run["id"], "a")
    assert (a["state"], a["reason"]) == ("failed", "invalid_output")
    assert "out/tasks.json" in a["message"]
    assert "No such file" in a["message"]
    assert hut("logs", run["id"], "a").stdout == "done\n"


def test_a_generator_that_fails_generates_nothing(hut: RemoteHut) -> None:
    task = writing([{"id": "a", "command": "true"}])
    run = hut.run([{**task, "command": task["command"] + "\nexit 9"}], exit_code=1)
    assert run["total"] == 1
    assert hut.task(run["id"], "tasks")["exit_code"] == 9
