"""What the end of a task means for the tasks that wait for it, in SQL.

Each function runs inside the transaction of its caller. Ends that are recorded together are folded:
500 ends of one fan-in are one write to its barrier.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from hut.planning.graph import Graph

__all__ = ["add_graph", "propagate_failure", "recount", "release"]

_CHUNK = 500  # below SQLite's oldest limit of 999 bound values


def add_graph(
    connection: sqlite3.Connection, run: int, graph: Graph, first_barrier: int, completed: set[int]
) -> list[int]:
    """Store the edges and barriers of new tasks; return what each new task still waits for.

    Parameters
    ----------
    first_barrier
        Number of barriers the run has already.
    completed
        Positions of existing tasks that have completed: nobody waits for them.
    """
    edges: list[tuple[int, int, int]] = []
    barriers: list[tuple[int, int, int]] = []
    open_members: list[int] = []
    for offset, members in enumerate(graph.barriers):
        node = -1 - (first_barrier + offset)
        waiting = [member for member in members if member not in completed]
        edges.extend((run, member, node) for member in members)
        barriers.append((run, node, len(waiting)))
        open_members.append(len(waiting))
    remaining: list[int] = []
    for position, nodes in enumerate(graph.waits, graph.first):
        count = 0
        for node in nodes:
            if node >= 0:
                edges.append((run, node, position))
                count += node not in completed
            else:
                edges.append((run, node - first_barrier, position))
                count += open_members[-1 - node] > 0
        remaining.append(count)
    connection.executemany("INSERT INTO barriers (run, node, remaining) VALUES (?, ?, ?)", barriers)
    # Sorted as the table is: twice as fast as in the order of the graph.
    edges.sort()
    connection.executemany(
        "INSERT OR IGNORE INTO edges (run, source, target) VALUES (?, ?, ?)", edges
    )
    return remaining


def release(connection: sqlite3.Connection, run: int, completed: Sequence[int]) -> None:
    """Let the dependents of completed tasks wait for one less."""
    if len(completed) == 1:  # the common case: one short statement
        rows = connection.execute(
            "SELECT target FROM edges WHERE run = ? AND source = ?", (run, completed[0])
        ).fetchall()
        counts: Counter[int] = Counter({target: 1 for (target,) in rows})
    else:
        counts = Counter(target for _, target in _edges_from(connection, run, completed))
    if not counts:
        return
    connection.executemany(
        "UPDATE tasks SET remaining = remaining - ? WHERE run = ? AND pos = ?",
        [(count, run, target) for target, count in counts.items() if target >= 0],
    )
    for node, count in counts.items():
        if node >= 0:
            continue
        connection.execute(
            "UPDATE barriers SET remaining = remaining - ? WHERE run = ? AND node = ?",
            (count, run, node),
        )
        # The barrier opens in exactly one transaction: the one that brings it to zero.
        connection.execute(
            "UPDATE tasks SET remaining = remaining - 1 WHERE run = ?1 AND pos IN "
            "(SELECT target FROM edges WHERE run = ?1 AND source = ?2) AND "
            "(SELECT remaining FROM barriers WHERE run = ?1 AND node = ?2) = 0",
            (run, node),
        )


def propagate_failure(
    connection: sqlite3.Connection, run: int, failed: Mapping[int, int], now: float
) -> list[int]:
    """Make everything pending that depends on `failed`, directly or not, ``dep_failed``.

    Parameters
    ----------
    failed
        Positions of failed tasks, and for each the one whose failure is the root cause: itself, or
        another for one that is ``dep_failed``.

    Returns
    -------
    list of int
        Positions of those tasks. Each names its root cause: the first failed task that reaches it.
    """
    causes = dict(failed)
    frontier = sorted(causes)
    reached: list[int] = []
    while frontier:
        following: list[int] = []
        for source, target in _edges_from(connection, run, frontier):
            if target in causes:
                continue
            causes[target] = causes[source]
            if target >= 0:
                cursor = connection.execute(
                    "UPDATE tasks SET state = 'dep_failed', reason = 'dependency', cause = ?, "
                    "ended_at = ?, message = NULL "
                    "WHERE run = ? AND pos = ? AND state = 'pending'",
                    (causes[target], now, run, target),
                )
                if cursor.rowcount == 0:
                    continue
                reached.append(target)
            else:
                connection.execute(
                    "UPDATE barriers SET failed = 1 WHERE run = ? AND node = ?", (run, target)
                )
            following.append(target)
        frontier = following
    return reached


def recount(connection: sqlite3.Connection, run: int) -> None:
    """Work out anew what every task and barrier waits for, after tasks were reset."""
    completed = {
        position
        for (position,) in connection.execute(
            "SELECT pos FROM tasks WHERE run = ? AND state = 'completed'", (run,)
        )
    }
    barriers: Counter[int] = Counter()
    waits: list[tuple[int, int]] = []
    for source, target in connection.execute(
        "SELECT source, target FROM edges WHERE run = ?", (run,)
    ):
        if target < 0:
            barriers[target] += source not in completed
        else:
            waits.append((source, target))
    tasks: Counter[int] = Counter()
    for source, target in waits:
        tasks[target] += barriers[source] > 0 if source < 0 else source not in completed
    connection.executemany(
        "UPDATE barriers SET failed = 0, remaining = ? WHERE run = ? AND node = ?",
        [(count, run, node) for node, count in barriers.items()],
    )
    connection.executemany(
        "UPDATE tasks SET remaining = ? WHERE run = ? AND pos = ? AND state = 'pending'",
        [(count, run, position) for position, count in tasks.items()],
    )


def _edges_from(
    connection: sqlite3.Connection, run: int, sources: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield ``(source, target)`` of all edges that leave `sources`."""
    rest = iter(sources)
    while chunk := list(islice(rest, _CHUNK)):
        marks = ", ".join("?" * len(chunk))
        yield from connection.execute(
            f"SELECT source, target FROM edges WHERE run = ? AND source IN ({marks})",
            (run, *chunk),
        ).fetchall()
