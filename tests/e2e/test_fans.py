"""Many tasks: fan-out and fan-in, and a bound on what runs at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.e2e.counting import SHAPES, as_on_aws, count
from tests.e2e.remote_hut import RemoteHut
from tests.sized import FACTOR

WIDTH = 500
GROWTH = 1.5  # of what a task costs, in ten times as many


def test_one_task_opens_500_and_one_closes_them(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 16})
    tasks = [
        {"id": "split", "command": "echo split >> ran"},
        *(
            {"id": f"map.{i}", "deps": ["split"], "command": f"echo {i} >> ran"}
            for i in range(WIDTH)
        ),
        {"id": "reduce", "deps": ["map.*"], "command": "sort ran | uniq | wc -l"},
    ]
    run = hut.start(tasks)
    found = hut.ended(run, 240)
    assert (found["state"], found["counts"]["completed"]) == ("completed", WIDTH + 2)
    assert Counter(hut.lines("ran")) == Counter(["split", *map(str, range(WIDTH))])
    assert int(hut("logs", run, "reduce").stdout) == WIDTH + 1
    assert len(hut.jobs(run)) == WIDTH + 2
    listed = hut.json("tasks", run, "--match", "map.4*")
    assert {task["attempt"] for task in listed} == {1}
    assert len(listed) == 111


def most_at_once(jobs: list[dict[str, Any]]) -> int:
    """Return how many jobs were there at the same time, waiting or running."""
    changes = sorted(
        [(job["createdAt"], 1) for job in jobs] + [(job["stoppedAt"], -1) for job in jobs]
    )
    there = most = 0
    for _, change in changes:
        there += change
        most = max(most, there)
    return most


def test_no_more_jobs_at_once_than_allowed(hut: RemoteHut) -> None:
    tasks = [{"id": f"t.{i}", "command": "sleep 0.2", "retries": 1} for i in range(14)]
    run = hut.start(tasks, "--max-concurrent", "3")
    assert hut.ended(run)["counts"]["completed"] == 14
    assert most_at_once(hut.jobs(run)) == 3


@pytest.mark.parametrize("name", ["fan-in", "fan-out", "barrier"])
def test_the_work_per_task_is_the_same_at_size(hut: RemoteHut, name: str) -> None:
    """All complete, and a task costs what it costs in a tenth.

    In `make soak` at the size of the benchmarks: 5,000 to 1, 1 to 5,000, 2,000 to 2,000.
    """
    shape = next(shape for shape in SHAPES if shape.name == name)
    tasks = shape.tasks if FACTOR > 1 else shape.tasks * 2 // 5
    with as_on_aws(hut.bed):
        small = count(hut, shape, tasks // 10)
        large = count(hut, shape, tasks)
    assert large.requests_per_task <= small.requests_per_task * GROWTH
    units = [bill.units["dynamodb_write"] / bill.tasks for bill in (small, large)]
    assert units[1] <= units[0] * GROWTH
