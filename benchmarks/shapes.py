"""Large workflow files, written piece by piece so that the writer stays small."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["bipartite", "chain", "fan_in", "write_workflow"]

GROUP = 100


def fan_in(count: int) -> Iterator[dict[str, object]]:
    """Yield `count` tasks in groups of a hundred; the last of each depends on the others by pattern."""
    for number in range(count):
        group, member = divmod(number, GROUP)
        if member < GROUP - 1:
            yield _task(f"part.{group:04}.{member:02}")
        else:
            yield _task(f"sum.{group:04}", f"part.{group:04}.*")


def chain(count: int) -> Iterator[dict[str, object]]:
    """Yield `count` tasks, each after the one before."""
    yield _task("link.0")
    for number in range(1, count):
        yield _task(f"link.{number}", f"link.{number - 1}")


def bipartite(side: int) -> Iterator[dict[str, object]]:
    """Yield `side` tasks, and as many more that depend on all of the first by a pattern."""
    for number in range(side):
        yield _task(f"first.{number}")
    for number in range(side):
        yield _task(f"second.{number}", "first.*")


def write_workflow(path: Path, tasks: Iterable[dict[str, object]]) -> None:
    """Write a workflow file with these tasks."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"tasks": [')
        for number, task in enumerate(tasks):
            file.write((",\n" if number else "\n") + json.dumps(task))
        file.write("\n]}\n")


def _task(name: str, *deps: str) -> dict[str, object]:
    return {"id": name, "name": name, "command": "true", "deps": list(deps)}
