"""How a run gets its tasks: when it is created, and when more of them join it, in SQL.

Each function runs inside the transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from hut.model.workflow import TaskSpec
from hut.planning.graph import Graph
from hut.planning.plan import Extension
from hut.store.additions import check_ids, check_place, check_repeat
from hut.store.encoding import encode_spec
from hut.store.sqlite.dependencies import add_graph

__all__ = ["add_tasks", "find_positions", "join_tasks", "withdraw_generated"]

_CHUNK = 500  # below SQLite's oldest limit of 999 bound values
_T = TypeVar("_T")


def add_tasks(
    connection: sqlite3.Connection,
    run: int,
    tasks: Sequence[TaskSpec],
    graph: Graph,
    now: float,
    backend: str,
) -> None:
    """Store the tasks a run begins with."""
    _insert(connection, run, tasks, now, None)
    remaining = add_graph(connection, run, graph, 0, set())
    _insert_states(connection, run, tasks, graph, remaining, backend, {})


def join_tasks(
    connection: sqlite3.Connection,
    run: int,
    adds: Extension,
    now: float,
    *,
    backend: str,
    generator: int | None = None,
) -> dict[int, int]:
    """Store tasks that join a run: those a task has generated, or those that somebody adds.

    What this reads and writes grows with the new tasks and with what they depend on, not with the run.

    Parameters
    ----------
    backend
        Where those of them run that name none.
    generator
        Position of the task that has generated them.

    Returns
    -------
    dict of int to int
        Positions of failed tasks that new ones depend on, with their root causes.

    Raises
    ------
    StaleExtension
        If the run has other tasks than those the new ones were planned against.
    TaskExists
        If it has a task with one of their ids.
    """
    total, barriers = connection.execute(
        "SELECT total, barriers FROM runs WHERE run = ?", (run,)
    ).fetchone()
    check_place(total, adds.graph.first)
    ids = [task.id for task in adds.tasks]
    check_ids(find_positions(connection, run, ids), ids)
    completed: set[int] = set()
    failed: dict[int, int] = {}
    for position, state, cause in _states(connection, run, _sources(adds.graph)):
        if state == "completed":
            completed.add(position)
        elif state in ("failed", "dep_failed"):
            failed[position] = position if cause is None else cause
    # A task that was withdrawn by a retry of everything goes on with its numbering.
    earlier = _earlier(connection, run, ids)
    _insert(connection, run, adds.tasks, now, generator, first=adds.graph.first)
    remaining = add_graph(connection, run, adds.graph, barriers, completed)
    _insert_states(connection, run, adds.tasks, adds.graph, remaining, backend, earlier)
    return failed


def find_positions(
    connection: sqlite3.Connection, run: int, ids: Collection[str]
) -> dict[str, int]:
    """Return the positions of those of `ids` that are tasks of the run."""
    found: dict[str, int] = {}
    for some in _chunks(ids):
        found.update(
            connection.execute(
                f"SELECT id, pos FROM specs WHERE run = ? AND id IN ({_marks(some)})", (run, *some)
            )
        )
    return found


def _sources(graph: Graph) -> list[int]:
    """Return the tasks of the run, as it was, on which those that join depend."""
    nodes = {node for nodes in graph.waits for node in nodes if 0 <= node < graph.first}
    for members in graph.barriers:
        nodes.update(member for member in members if member < graph.first)
    return sorted(nodes)


def _states(
    connection: sqlite3.Connection, run: int, positions: Sequence[int]
) -> Iterator[tuple[int, str, int | None]]:
    for some in _chunks(positions):
        yield from connection.execute(
            f"SELECT pos, state, cause FROM tasks WHERE run = ? AND pos IN ({_marks(some)})",
            (run, *some),
        ).fetchall()


def _earlier(connection: sqlite3.Connection, run: int, ids: Sequence[str]) -> dict[str, int]:
    """Return the last attempts of those of `ids` that have some."""
    found: dict[str, int] = {}
    for some in _chunks(ids):
        found.update(
            connection.execute(
                "SELECT task, max(attempt) FROM attempts WHERE run = ? "
                f"AND task IN ({_marks(some)}) GROUP BY task",
                (run, *some),
            )
        )
    return found


def _chunks(values: Collection[_T]) -> Iterator[list[_T]]:
    rest = iter(values)
    while some := list(islice(rest, _CHUNK)):
        yield some


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _insert(
    connection: sqlite3.Connection,
    run: int,
    tasks: Sequence[TaskSpec],
    now: float,
    generator: int | None,
    *,
    first: int = 0,
) -> None:
    connection.executemany(
        "INSERT INTO specs (run, pos, id, body, created_at, generated_by) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [
            (run, position, task.id, encode_spec(task), now, generator)
            for position, task in enumerate(tasks, first)
        ],
    )


def _insert_states(
    connection: sqlite3.Connection,
    run: int,
    tasks: Sequence[TaskSpec],
    graph: Graph,
    remaining: Sequence[int],
    backend: str,
    earlier: Mapping[str, int],
) -> None:
    connection.executemany(
        "INSERT INTO tasks (run, pos, state, remaining, priority, backend, attempt) "
        "VALUES (?, ?, 'pending', ?, ?, ?, ?)",
        [
            (run, position, waits, task.priority, task.backend or backend, earlier.get(task.id, 0))
            for position, (task, waits) in enumerate(
                zip(tasks, remaining, strict=True), graph.first
            )
        ],
    )
    connection.execute(
        "UPDATE runs SET total = total + ?, pending = pending + ?, barriers = barriers + ?, "
        "has_edges = max(has_edges, ?) WHERE run = ?",
        (len(tasks), len(tasks), len(graph.barriers), any(graph.waits), run),
    )


def withdraw_generated(connection: sqlite3.Connection, run: int) -> None:
    """Remove generated tasks: they stand behind all others, so the rest keep their positions.

    Raises
    ------
    StoreError
        If tasks were added to the run too: then they don't.
    """
    (first,) = connection.execute(
        "SELECT min(pos) FROM specs WHERE run = ? AND generated_by IS NOT NULL", (run,)
    ).fetchone()
    if first is None:
        return
    added = connection.execute("SELECT 1 FROM additions WHERE run = ? LIMIT 1", (run,)).fetchone()
    check_repeat(generated=True, added=added is not None)
    for statement in (
        "DELETE FROM edges WHERE run = ?1 AND (source >= ?2 OR target >= ?2)",
        "DELETE FROM tasks WHERE run = ? AND pos >= ?",
        "DELETE FROM specs WHERE run = ? AND pos >= ?",
    ):
        connection.execute(statement, (run, first))
