"""How a run gets its tasks: when it is created, and when a task generates more of them, in SQL.

Each function runs inside the transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from hut.model.workflow import TaskSpec
from hut.planning.graph import Graph
from hut.planning.plan import Extension
from hut.store.encoding import encode_spec
from hut.store.port import StoreError
from hut.store.sqlite.dependencies import add_graph

__all__ = ["add_tasks", "join_tasks", "withdraw_generated"]


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
    connection: sqlite3.Connection, run: int, adds: Extension, generator: int, now: float
) -> dict[int, int]:
    """Store tasks that the task at position `generator` has generated.

    Returns
    -------
    dict of int to int
        Positions of failed tasks with their root causes, if any new one may depend on them.

    Raises
    ------
    StoreError
        If the run has other tasks than those the new ones were planned against.
    """
    total, barriers = connection.execute(
        "SELECT total, barriers FROM runs WHERE run = ?", (run,)
    ).fetchone()
    if total != adds.graph.first:
        raise StoreError("tasks joined the run since these were planned; plan them again")
    (backend,) = connection.execute(
        "SELECT backend FROM tasks WHERE run = ? AND pos = ?", (run, generator)
    ).fetchone()
    completed: set[int] = set()
    failed: dict[int, int] = {}
    for position, state, cause in connection.execute(
        "SELECT pos, state, cause FROM tasks WHERE run = ? "
        "AND state IN ('completed', 'failed', 'dep_failed') ORDER BY pos",
        (run,),
    ):
        if state == "completed":
            completed.add(position)
        else:
            failed[position] = position if cause is None else cause
    # A task that was withdrawn by a retry of everything goes on with its numbering.
    earlier = dict(
        connection.execute(
            "SELECT task, max(attempt) FROM attempts WHERE run = ? AND task NOT IN "
            "(SELECT id FROM specs WHERE run = ?) GROUP BY task",
            (run, run),
        ).fetchall()
    )
    _insert(connection, run, adds.tasks, now, generator, first=adds.graph.first)
    remaining = add_graph(connection, run, adds.graph, barriers, completed)
    _insert_states(connection, run, adds.tasks, adds.graph, remaining, backend, earlier)
    return failed if any(adds.graph.waits) else {}


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
    """Remove generated tasks: they stand behind all others, so the rest keep their positions."""
    (first,) = connection.execute(
        "SELECT min(pos) FROM specs WHERE run = ? AND generated_by IS NOT NULL", (run,)
    ).fetchone()
    if first is None:
        return
    for statement in (
        "DELETE FROM edges WHERE run = ?1 AND (source >= ?2 OR target >= ?2)",
        "DELETE FROM tasks WHERE run = ? AND pos >= ?",
        "DELETE FROM specs WHERE run = ? AND pos >= ?",
    ):
        connection.execute(statement, (run, first))
