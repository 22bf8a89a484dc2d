"""What happens in recorded runs: a workflow, and steps with the second at which each is taken.

A step is ``[second, what, *arguments]``, plain JSON: it is recorded as it stands here, and a later
version takes it from the recording. ``mark`` names a phase whose raw items are kept.

=============  =================================================================================
step           arguments
=============  =================================================================================
submit
begin          (an engine takes the run up; on AWS its blocks are registered first)
claim          how many at most
array          id, tasks: they are the children of one array job
release        tasks: their claims are given back
start          {task: handle}
end            {task: [state, reason, exit code, message]}, {"cost", "adds", "cancelling"}
follow         (what follows from ends, which on AWS the reader of the stream does)
cancel         reason
settle
reset          whether everything
mark           name
=============  =================================================================================
"""

from __future__ import annotations

from typing import Any

__all__ = ["STORIES"]

Step = list[Any]

DONE = ["completed", "exit", 0, ""]
EXIT_3 = ["failed", "exit", 3, "exit code 3"]
LOST = ["failed", "lost", None, "its job is gone"]
HOST = ["failed", "host_terminated", None, "Host EC2 (instance i-0) terminated"]
LATE = ["failed", "timeout", 143, "stopped at its time limit of 1m"]
STOPPED = ["failed", "cancelled", 143, "cancelled while it ran"]
QUEUED = ["failed", "queue_timeout", None, "waited longer than 1m for a machine"]
NONE: dict[str, Any] = {}


def task(task_id: str, *deps: str, **fields: Any) -> dict[str, Any]:
    return {"id": task_id, "command": f"run {task_id}", "deps": list(deps), **fields}


def begun(*steps: Step) -> list[Step]:
    """Return a run that is submitted and taken up, and what happens then."""
    return [[1000, "submit"], [1001, "begin"], *steps]


def done(at: int, *tasks: str, **more: Any) -> list[Step]:
    """Return the steps in which tasks are claimed, start, complete, and are followed up."""
    return [
        [at, "claim", len(tasks)],
        [at + 1, "start", {name: f"job-{name}-{at}" for name in tasks}],
        [at + 9, "end", dict.fromkeys(tasks, DONE), more],
        [at + 9, "follow"],
    ]


DIAMOND = [task("a"), task("b", "a", priority=2), task("c", "a", cpus=2), task("d", "b", "c")]
NEW = [task("n.1", "gen"), task("n.2", "n.1")]

STORIES: dict[str, tuple[dict[str, Any], list[Step]]] = {
    "completes": (
        {"tasks": DIAMOND, "name": "diamond", "tags": {"who": "me"}, "env_vars": {"A": "1"}},
        [
            [1000, "submit"],
            [1000, "mark", "submitted"],
            [1001, "begin"],
            [1002, "claim", 5],
            [1002, "mark", "claimed"],
            [1003, "start", {"a": "job-a"}],
            [1003, "mark", "runs"],
            [1009, "end", {"a": DONE}, NONE],
            [1009, "mark", "is not followed up"],
            [1009, "follow"],
            *done(1010, "b", "c"),
            *done(1020, "d"),
            [1029, "settle"],
        ],
    ),
    "fails": (
        {"tasks": [task("a"), task("b", "a"), task("c", "b"), task("d")]},
        begun(
            [1002, "claim", 5],
            [1003, "start", {"a": "job-a", "d": "job-d"}],
            [1005, "end", {"a": EXIT_3}, NONE],
            [1005, "follow"],
            [1005, "mark", "has failed"],
            [1009, "end", {"d": DONE}, NONE],
            [1009, "follow"],
            [1009, "settle"],
        ),
    ),
    "retries": (
        {"tasks": [task("a", retries=2, retry_delay="60s", retry_on=[3]), task("b", "a")]},
        begun(
            [1002, "claim", 1],
            [1003, "start", {"a": "job-a1"}],
            [1005, "end", {"a": EXIT_3}, NONE],
            [1005, "follow"],
            [1006, "claim", 1],
            [1006, "mark", "waits"],
            [1066, "claim", 1],
            [1067, "end", {"a": EXIT_3}, NONE],
            [1067, "follow"],
            [1187, "mark", "may go on"],
            *done(1187, "a"),
            *done(1200, "b"),
            [1209, "settle"],
        ),
    ),
    "loses": (
        {"tasks": [task("a"), task("b")]},
        begun(
            [1002, "claim", 2],
            [1003, "start", {"a": "job-a1", "b": "job-b1"}],
            [1005, "end", {"a": LOST, "b": HOST}, {"cost": 0.25}],
            [1005, "follow"],
            [1005, "mark", "has lost"],
            *done(1010, "a", "b", cost=0.5),
            [1019, "settle"],
        ),
    ),
    "is cancelled": (
        {"tasks": [task("a"), task("b"), task("c", "a"), task("d")]},
        begun(
            [1002, "claim", 2],
            [1003, "start", {"a": "job-a"}],
            [1004, "cancel", "cancelled"],
            [1004, "mark", "stops"],
            [1005, "claim", 5],
            [1006, "release", ["b"]],
            [1007, "end", {"a": STOPPED}, {"cancelling": True}],
            [1007, "follow"],
            [1007, "settle"],
        ),
    ),
    "is late": (
        {"tasks": [task("a", time_limit="1m"), task("b", "a")], "time_limit": "5m"},
        begun(
            [1002, "claim", 1],
            [1003, "start", {"a": "job-a"}],
            [1302, "cancel", "timeout"],
            [1303, "end", {"a": LATE}, {"cancelling": True}],
            [1303, "follow"],
            [1303, "settle"],
        ),
    ),
    "spends its money": (
        {"tasks": [task("a"), task("b"), task("c")], "max_concurrent": 2, "max_cost": 1},
        begun(
            [1002, "claim", 5],
            [1003, "start", {"a": "job-a", "b": "job-b"}],
            [1005, "end", {"a": DONE}, {"cost": 1.5}],
            [1005, "follow"],
            [1006, "claim", 5],
            [1006, "mark", "has nothing left"],
            [1007, "cancel", "budget"],
            [1008, "end", {"b": STOPPED}, {"cancelling": True, "cost": 0.25}],
            [1008, "follow"],
            [1008, "settle"],
        ),
    ),
    "grows": (
        {"tasks": [task("gen", generates_source="g.json"), task("end", "gen")]},
        begun(
            *done(1002, "gen", adds=NEW),
            [1012, "mark", "has grown"],
            *done(1012, "end", "n.1"),
            *done(1022, "n.2"),
            [1031, "settle"],
            [1031, "mark", "has ended"],
            [1040, "reset", True],
            [1041, "begin"],
            *done(1042, "gen", adds=NEW[:1]),
            *done(1052, "end", "n.1"),
            [1061, "settle"],
        ),
    ),
    "is repeated": (
        {"tasks": [task("a"), task("b", "a"), task("c")]},
        begun(
            [1002, "claim", 2],
            [1003, "end", {"a": EXIT_3, "c": DONE}, NONE],
            [1003, "follow"],
            [1003, "settle"],
            [1003, "mark", "has failed"],
            [1010, "reset", False],
            [1010, "mark", "begins again"],
            [1011, "begin"],
            *done(1012, "a"),
            *done(1022, "b"),
            [1031, "settle"],
        ),
    ),
    "runs as an array": (
        {"tasks": [*(task(f"m.{n}") for n in range(4)), task("r", "m.*")]},
        begun(
            [1002, "claim", 4],
            [1002, "array", "arr", ["m.0", "m.1", "m.2", "m.3"]],
            [1003, "start", {f"m.{n}": f"job:{n}" for n in range(4)}],
            [1005, "end", {"m.0": DONE, "m.2": DONE}, NONE],
            [1005, "follow"],
            [1005, "mark", "is half done"],
            [1009, "end", {"m.1": DONE, "m.3": DONE}, NONE],
            [1009, "follow"],
            *done(1010, "r"),
            [1019, "settle"],
        ),
    ),
    "waits too long": (
        {"tasks": [task("a", max_queue_time="1m"), task("b", max_queue_time="1m", retries=1)]},
        begun(
            [1002, "claim", 2],
            [1003, "release", ["a"]],
            [1003, "mark", "waits"],
            [1033, "claim", 1],
            [1063, "end", {"a": QUEUED, "b": QUEUED}, NONE],
            [1063, "follow"],
            *done(1064, "b"),
            [1073, "settle"],
        ),
    ),
}
