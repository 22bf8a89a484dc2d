"""Jobs are found by their names with few calls, however many names there are and jobs beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hut.backends.batch.searching import jobs_named
from tests.simulation.batch import SimulatedBatch
from tests.simulation.checked_client import CheckedClient
from tests.simulation.timeline import Timeline

CONTAINER = {
    "image": "debian:stable-slim",
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}],
}


class Registered:
    """Two queues of a simulated Batch with jobs under names."""

    def __init__(self) -> None:
        time = Timeline()
        self.batch = SimulatedBatch(time.clock, time.at, lambda _: None)
        self.queues = [self.batch.add_queue(name) for name in ("ec2", "fargate")]
        self.client = CheckedClient("batch", self.batch)
        self.batch.register_job_definition(
            jobDefinitionName="d", type="container", containerProperties=CONTAINER
        )

    def submit(self, *names: str, queue: int = 0, **more: Any) -> list[str]:
        return [
            self.batch.submit_job(
                jobName=name, jobQueue=self.queues[queue], jobDefinition="d", **more
            )["jobId"]
            for name in names
        ]

    def find(
        self, names: list[str], has_time: Callable[[], bool] = lambda: True
    ) -> dict[str, list[str]]:
        return jobs_named(self.client, self.queues, names, has_time)

    @property
    def calls(self) -> int:
        return self.client.count("list_jobs")


@pytest.fixture
def jobs() -> Registered:
    return Registered()


def names_of(positions: range, run: str = "run") -> list[str]:
    return [f"hut-{run}-{position}-1-1" for position in positions]


def test_a_few_names_are_asked_for_one_by_one(jobs: Registered) -> None:
    first, second = jobs.submit("hut-run-3-1-1", "hut-run-3-1-1")
    (third,) = jobs.submit("hut-run-3-1-1", queue=1)
    jobs.submit(*names_of(range(100, 400)))
    found = jobs.find(names_of(range(3, 6)))
    assert {name: sorted(ids) for name, ids in found.items()} == {
        "hut-run-3-1-1": [first, second, third],
        "hut-run-4-1-1": [],
        "hut-run-5-1-1": [],
    }
    assert jobs.calls == 6


def test_thousands_without_jobs_are_one_call_for_each_queue(jobs: Registered) -> None:
    jobs.submit(*names_of(range(50), "other"))
    found = jobs.find(names_of(range(10_000)))
    assert len(found) == 10_000
    assert not any(found.values())
    assert jobs.calls == 2


def test_what_has_a_job_is_found_among_thousands(jobs: Registered) -> None:
    ids = jobs.submit(*names_of(range(700, 900)))
    (array,) = jobs.submit("hut-run-a0123456789", arrayProperties={"size": 500})
    names = [*names_of(range(1_000)), "hut-run-a0123456789"]
    found = jobs.find(names)
    assert list(found) == names
    assert [found[name] for name in names_of(range(700, 900))] == [[one] for one in ids]
    assert found["hut-run-a0123456789"] == [array]
    assert sum(map(len, found.values())) == 201
    assert jobs.calls == 4  # 201 jobs are three pages in the one queue


def test_a_long_history_is_not_read_for_some_claims(jobs: Registered) -> None:
    """6,000 jobs of the run are 60 pages; the claims have neighbours on a few of them."""
    jobs.submit(*names_of(range(6_000)))
    found = jobs.find(names_of(range(5_950, 6_050)))
    assert sum(map(len, found.values())) == 50
    assert len(found) == 100
    assert jobs.calls < 30


def test_many_claims_all_over_a_long_history_take_no_more_than_the_history(
    jobs: Registered,
) -> None:
    jobs.submit(*names_of(range(0, 4_000, 2)))
    names = names_of(range(4_000))
    found = jobs.find(names)
    assert [len(found[name]) for name in names] == [1, 0] * 2_000
    assert jobs.calls < 60  # the history is 20 pages, and one in the other queue


def test_names_that_begin_as_others_do_are_not_taken_for_them(jobs: Registered) -> None:
    jobs.submit("hut-run-1-1-10", "HUT-RUN-1-1-1", "hut-run-1-1-1-", "hut-run-11-1-1")
    names = [f"hut-run-1-{attempt}-1" for attempt in range(1, 30)]
    assert not any(jobs.find(names).values())
    assert not any(jobs.find(names[:1]).values())


def test_names_without_anything_in_common_are_found_too(jobs: Registered) -> None:
    jobs.submit("b7")
    assert jobs.find([f"{letter}7" for letter in "abcdefghijkl"])["b7"] != []
    assert jobs.find([]) == {}


def test_what_there_was_no_time_for_is_left_out_and_the_rest_holds(jobs: Registered) -> None:
    jobs.submit(*names_of(range(3_000)))
    names = names_of(range(2_000, 4_000))
    looks = iter(range(2))
    found = jobs.find(names, lambda: next(looks, None) is not None)
    assert 0 < len(found) < 2_000
    assert all(len(found[name]) == (name < "hut-run-3") for name in found)
    assert jobs.find(names, lambda: False) == {}


def test_each_turn_makes_progress_until_nothing_is_left(jobs: Registered) -> None:
    jobs.submit(*names_of(range(3_000)))
    left, turns = names_of(range(2_000, 4_000)), 0
    while left:
        looks = iter(range(3))
        found = jobs.find(left, lambda looks=looks: next(looks, None) is not None)
        left = [name for name in left if name not in found]
        turns += 1
        assert turns < 40
    assert turns > 1
