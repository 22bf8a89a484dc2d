"""What an event costs over the size of its run, in the simulator: up to 100,000 tasks in one run.

    python -m tests.simulation.load 1000 10000 100000

Each line is a JSON object. A tenth of the tasks fails once and is repeated, a fiftieth fails for good;
one task gathers all the others behind a barrier.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.aws.metered import size_of
from tests.simulation.dynamodb import Change
from tests.simulation.scenarios import finish
from tests.simulation.workflows import task, workflow
from tests.simulation.world import simulated

__all__ = ["Load", "load"]

_KIB = 1024


class Load(NamedTuple):
    """What a run came to.

    Attributes
    ----------
    attempts : int
        Attempts of all tasks.
    requests : int
        Calls of functions to AWS.
    write_units : int
        Of DynamoDB: a unit for each KiB of an item, twice that in a transaction.
    most_read : int
        Bytes that the call of a function which takes messages was answered by DynamoDB, at most: what
        it holds in memory beside what it always holds.
    largest : int
        Bytes of the largest item.
    """

    tasks: int
    attempts: int
    requests: int
    write_units: int
    most_read: int
    largest: int


def load(tasks: int) -> Load:
    """Let a run of so many tasks, and one that gathers them, happen."""
    with simulated(tasks) as world:
        units, largest = 0, 0

        def written(changes: Sequence[Change]) -> None:
            nonlocal units, largest
            each = [max(_size(c.old), _size(c.new)) for c in changes]
            largest = max(largest, *each)
            factor = 2 if len(changes) > 1 else 1
            units += factor * sum(-(-size // _KIB) for size in each)

        read: Counter[str] = Counter()

        def answered(name: str, answer: Any) -> None:
            if name.partition("-")[0] in ("advance", "observe"):
                read[name] += sum(_size(item) for item in _items(answer))

        world.dynamodb.committed.append(written)
        world.functions.answered = answered
        fleet = (task(f"t{n}", **_behaviour(n)) for n in range(tasks))
        world.people.submit(workflow(*fleet, task("end", ["t*"], cpus=2)))
        finish(world)
        (run,) = world.watch.runs.values()
        attempts = sum(len(each.ended) for each in run.tasks.values())
        return Load(tasks, attempts, world.calls, units, max(read.values()), largest)


def _behaviour(number: int) -> dict[str, Any]:
    if number % 50 == 7:
        return {"fails": 9}
    return {"retries": 1, "fails": 1} if number % 10 == 3 else {"retries": 1}


def _size(item: dict[str, Any] | None) -> int:
    return 0 if item is None else size_of(item)


def _items(answer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(answer, dict):
        if "Item" in answer:
            yield answer["Item"]
        yield from answer.get("Items", ())
        for items in answer.get("Responses", {}).values():
            yield from items


if __name__ == "__main__":
    for size in sys.argv[1:]:
        print(json.dumps(load(int(size))._asdict()), flush=True)
