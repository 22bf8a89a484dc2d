"""Dependencies as a graph: expanded, shared through barriers, checked for cycles, levelled.

A task waits for *nodes*: other tasks, or barriers. A barrier stands for a set of tasks that must
all complete, and everything that waits for the same set waits for the same barrier, so
``map (N) -> reduce (M)`` costs N + M and not N x M. Each pattern is a barrier of its own; a list of
ids that several tasks share is one too.

Nodes are whole numbers: a task is its position in the run (0, 1, ...), barrier ``b`` is ``-1 - b``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hut.model.limits import MOST_COMPARISONS, MOST_EDGES, MOST_PROBLEMS
from hut.model.problems import TOO_MANY_PROBLEMS, Problem, did_you_mean
from hut.model.workflow import TaskSpec
from hut.planning.patterns import IdIndex, TooManyComparisons, is_pattern

__all__ = ["Graph", "LargeRun", "Mentioned", "build_graph", "find_cycles", "levels_of"]

_NEAREST_AMONG = 20_000  # ids that all unknown ones together are compared with: 100 us each

_CYCLES_REPORTED = 20
_CYCLE_SHOWN = 12


@dataclass(slots=True)
class Graph:
    """What each new task waits for.

    Attributes
    ----------
    first : int
        Position of the first new task in the run; 0 unless tasks join an existing run.
    waits : list of tuple of int
        For each new task the nodes it waits for.
    barriers : list of tuple of int
        For each barrier its members, as positions of tasks in the run.
    """

    first: int = 0
    waits: list[tuple[int, ...]] = field(default_factory=list)
    barriers: list[tuple[int, ...]] = field(default_factory=list)

    def dependencies(self, task: int) -> Iterator[int]:
        """Yield the positions of the tasks that new task `task` (a position) depends on, sorted."""
        direct: set[int] = set()
        for node in self.waits[task - self.first]:
            if node >= 0:
                direct.add(node)
            else:
                direct.update(self.barriers[-1 - node])
        yield from sorted(direct)

    def count_dependencies(self) -> int:
        """Return an upper bound of the number of expanded dependencies of all new tasks."""
        sizes = [len(members) for members in self.barriers]
        return sum(sum(1 if n >= 0 else sizes[-1 - n] for n in nodes) for nodes in self.waits)


class LargeRun(NamedTuple):
    """A run whose tasks are looked up where new ones mention them, not all read.

    Attributes
    ----------
    total : int
        Number of its tasks.
    find : callable
        Returns the positions of those of some ids that are tasks of it.
    ids : callable
        Returns the ids of all its tasks in order, for patterns.
    """

    total: int
    find: Callable[[Collection[str]], Mapping[str, int]]
    ids: Callable[[], Sequence[str]]


class Mentioned(NamedTuple):
    """Positions of a run's tasks that new ones mention, and the number of all its tasks."""

    total: int
    positions: Mapping[str, int]


def build_graph(
    tasks: Sequence[TaskSpec],
    problems: list[Problem],
    *,
    existing: Sequence[str] | Mentioned = (),
) -> Graph:
    """Expand the dependencies of `tasks`.

    Parameters
    ----------
    tasks
        New tasks with distinct ids.
    problems
        Unknown ids, patterns without a match and self dependencies are appended to it.
    existing
        Ids of the tasks the run already has, in order; new tasks may depend on them. Those that are
        mentioned are enough where no dependency is a pattern.
    """
    new = [task.id for task in tasks]
    if isinstance(existing, Mentioned):
        first, ids = existing.total, new
        positions = {**existing.positions, **{each: at for at, each in enumerate(new, first)}}
    else:
        first, ids = len(existing), [*existing, *new]
        positions = {task_id: position for position, task_id in enumerate(ids)}
    builder = _Builder(ids, positions, first, problems)
    try:
        return builder.build(tasks)
    except _TooMuch as error:
        told = str(error)
        problems.append(Problem(told, field=None if told == TOO_MANY_PROBLEMS else "deps"))
        return Graph(first, [()] * len(tasks))


class _TooMuch(Exception):  # noqa: N818 - named after what it says
    """The dependencies need more memory or time than they may."""


class _Builder:
    def __init__(
        self, ids: list[str], positions: dict[str, int], first: int, problems: list[Problem]
    ) -> None:
        self._ids = ids
        self._positions = positions
        self._index = IdIndex(ids)
        self._problems = problems
        self._edges = 0
        self._nearest_among = _NEAREST_AMONG
        self._graph = Graph(first)
        self._matches: dict[str, list[int]] = {}
        self._pattern_nodes: dict[str, int] = {}
        self._own_pattern: dict[str, int] = {}  # the first task that a pattern of its own means
        self._shared_lists: dict[tuple[str, ...], int] = {}

    def build(self, tasks: Sequence[TaskSpec]) -> Graph:
        sharing = Counter(task.deps for task in tasks if len(task.deps) > 1)
        for position, task in enumerate(tasks, self._graph.first):
            deps = task.deps
            if not deps:
                self._graph.waits.append(())
                continue
            nodes = self._waits(position, task, shared=sharing[deps] > 1)
            self._graph.waits.append(nodes)
            self._count(len(nodes))
            if len(self._problems) > MOST_PROBLEMS:
                raise _TooMuch(TOO_MANY_PROBLEMS)
        return self._graph

    def _waits(self, position: int, task: TaskSpec, *, shared: bool) -> tuple[int, ...]:
        if len(task.deps) == 1 and not is_pattern(task.deps[0]):  # the common case, kept short
            node = self._literal(position, task, task.deps[0])
            return () if node is None else (node,)
        literals: dict[int, None] = {}
        nodes: dict[int, None] = {}
        names: list[str] = []
        for dependency in dict.fromkeys(task.deps):
            if is_pattern(dependency):
                node = self._pattern(position, task, dependency)
                if node is not None:
                    nodes[node] = None
            else:
                node = self._literal(position, task, dependency)
                if node is not None:
                    literals[node] = None
                    names.append(dependency)
        if shared and len(literals) > 1:
            key = tuple(names)
            known = self._shared_lists.get(key)
            if known is None:
                known = self._shared_lists[key] = self._barrier(tuple(sorted(literals)))
            nodes[known] = None
        else:
            nodes.update(literals)
        return tuple(nodes)

    def _literal(self, position: int, task: TaskSpec, dependency: str) -> int | None:
        node = self._positions.get(dependency)
        if node is None:
            among = self._ids[: self._nearest_among]
            self._nearest_among -= len(among)
            hint = did_you_mean(dependency, among, list_up_to=0)
            self._fault(task, f"unknown dependency {dependency!r}; {hint or 'no task has this id'}")
        elif node == position:
            self._fault(task, "the task depends on itself; remove it from its own deps")
            node = None
        return node

    def _pattern(self, position: int, task: TaskSpec, pattern: str) -> int | None:
        matches = self._matches.get(pattern)
        if matches is None:
            try:
                matches = self._matches[pattern] = self._index.match(pattern)
            except TooManyComparisons:
                raise _TooMuch(
                    f"the patterns would be compared with more than {MOST_COMPARISONS:,} ids, the "
                    f"last one being {pattern!r}; let patterns begin or end with literal text"
                ) from None
        # A pattern never means the task itself: such a task gets a barrier of its own.
        own = self._contains(matches, position)
        if len(matches) - own == 0:
            self._fault(task, f"wildcard dep {pattern!r} matches no tasks")
            return None
        if len(matches) - own == 1:
            return next(match for match in matches if match != position)
        if own:
            # Two such tasks wait for each other: the second one's edge to the first is all that the
            # search for cycles needs, and a copy of the match for each would be quadratic.
            first = self._own_pattern.setdefault(pattern, position)
            if first != position:
                return first
            return self._barrier(tuple(match for match in matches if match != position))
        node = self._pattern_nodes.get(pattern)
        if node is None:
            node = self._pattern_nodes[pattern] = self._barrier(tuple(matches))
        return node

    @staticmethod
    def _contains(ascending: list[int], position: int) -> bool:
        at = bisect_left(ascending, position)
        return at < len(ascending) and ascending[at] == position

    def _count(self, edges: int) -> None:
        self._edges += edges
        if self._edges > MOST_EDGES:
            raise _TooMuch(
                f"the tasks have more than {MOST_EDGES:,} dependencies together; let them share "
                "patterns, or wait for a task that waits for the others"
            )

    def _barrier(self, members: tuple[int, ...]) -> int:
        self._count(len(members))
        self._graph.barriers.append(members)
        return -len(self._graph.barriers)

    def _fault(self, task: TaskSpec, message: str) -> None:
        self._problems.append(Problem(message, task=task.id, field="deps"))


def levels_of(graph: Graph) -> list[int]:
    """Return for each new task the length of the longest chain before it, or -1 on a cycle.

    A task without dependencies (or with finished ones of an existing run) has level 0. Linear in
    tasks, barriers and memberships (Kahn, 1962).
    """
    first, waits = graph.first, graph.waits
    open_waits = [0] * len(waits)
    open_members = [0] * len(graph.barriers)
    followers: list[list[int] | None] = [None] * len(waits)
    waiters: list[list[int]] = [[] for _ in graph.barriers]
    for barrier, members in enumerate(graph.barriers):
        node = -1 - barrier
        for member in members:
            if member >= first:
                _append(followers, member - first, node)
                open_members[barrier] += 1
    for task, nodes in enumerate(waits):
        count = 0
        for node in nodes:
            if node >= first:
                _append(followers, node - first, task)
                count += 1
            elif node < 0 and open_members[-1 - node]:
                waiters[-1 - node].append(task)
                count += 1
        open_waits[task] = count

    levels = [-1] * len(waits)
    ready = [task for task, count in enumerate(open_waits) if count == 0]
    level = 0
    while ready:
        following: list[int] = []
        for task in ready:
            levels[task] = level
            for node in followers[task] or ():
                if node >= 0:
                    released: Sequence[int] = (node,)
                else:
                    open_members[-1 - node] -= 1
                    released = waiters[-1 - node] if open_members[-1 - node] == 0 else ()
                for waiter in released:
                    open_waits[waiter] -= 1
                    if open_waits[waiter] == 0:
                        following.append(waiter)
        ready = following
        level += 1
    return levels


def _append(lists: list[list[int] | None], at: int, value: int) -> None:
    known = lists[at]
    if known is None:
        lists[at] = [value]
    else:
        known.append(value)


def find_cycles(
    graph: Graph, levels: Sequence[int], tasks: Sequence[TaskSpec], problems: list[Problem]
) -> None:
    """Append a problem for each cycle, written ``a -> b -> a`` where a depends on b.

    Of cycles that meet in a task, one is told. Linear: a depth-first search over tasks and barriers
    in which an edge back to the path closes a cycle.
    """
    done: set[int] = set()
    told: set[int] = set()
    reported = 0
    for start, level in enumerate(levels, graph.first):
        if level >= 0 or start in done:
            continue
        path: dict[int, Iterator[int]] = {start: iter(_nodes_of(graph, start))}
        while path:
            at = next(reversed(path))
            following = next(path[at], None)
            if following is None:
                done.add(at)
                del path[at]
            elif following in path:
                cycle = _cycle(list(path), following)
                if told.isdisjoint(cycle):
                    told.update(cycle)
                    reported += 1
                    _report(cycle, graph, tasks, problems)
                    if reported == _CYCLES_REPORTED:
                        message = f"more cycles exist; the first {reported} are listed"
                        problems.append(Problem(message))
                        return
            elif following not in done and (following < 0 or following >= graph.first):
                path[following] = iter(_nodes_of(graph, following))


def _nodes_of(graph: Graph, node: int) -> Sequence[int]:
    """Return what a task waits for, or the members of a barrier."""
    return graph.waits[node - graph.first] if node >= 0 else graph.barriers[-1 - node]


def _cycle(path: list[int], closes_at: int) -> list[int]:
    return [node for node in path[path.index(closes_at) :] if node >= 0]


def _report(
    cycle: list[int], graph: Graph, tasks: Sequence[TaskSpec], problems: list[Problem]
) -> None:
    ids = [tasks[node - graph.first].id for node in cycle]
    # A path may meet the cycle in a barrier; the one who reads it starts with its first task.
    first = cycle.index(min(cycle))
    ids = ids[first:] + ids[:first]
    message = f"Circular dependency detected: {_show_cycle(ids)}"
    problems.append(Problem(message, task=ids[0], field="deps"))


def _show_cycle(ids: list[str]) -> str:
    shown = [*ids, ids[0]]
    if len(shown) > _CYCLE_SHOWN:
        left_out = len(shown) - _CYCLE_SHOWN
        half = _CYCLE_SHOWN // 2
        shown = [*shown[:half], f"... ({left_out:,} more) ...", *shown[-half:]]
    return " -> ".join(shown)
