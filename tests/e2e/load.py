"""Load: many runs at once while everything goes wrong, and what it cost, counted.

Events are lost, repeated and late, the table throttles, Batch loses answers; with ``--kills`` functions
are killed in the middle of their work. Afterwards each run has ended as it must, its counts are those of its tasks, no
attempt ran twice, and no job is left. Bounds are on counts and sizes, never on time.

``python -m tests.e2e.load --runs 20 --tasks 500`` does it on a test bed of its own and prints what it
came to as JSON; ``--plain`` leaves out what goes wrong, and ``--tasks`` may then name several sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.e2e.deployment import Cdk, deploy
from tests.e2e.remote_hut import Answer, RemoteHut, until
from tests.testbed.running import TestBed, start_test_bed

__all__ = ["FUNCTIONS", "Load", "disturbed", "expected", "load", "workflow"]

FUNCTIONS = ("api", "register", "advance", "observe", "sweep", "finish", "check")
_SLOTS = 24
_AT_ONCE = 6  # runs that begin: each needs a function, and those of this machine start slowly
_SWEEP_SECONDS = 15.0
_LIMIT = 1800.0  # seconds for the end of all runs
_KILLS = {"advance": 6, "observe": 6, "register": 2, "sweep": 2}
"""How often all calls of a function are killed at once: an execution tries a step nine times only."""


@dataclass(frozen=True)
class Load:
    """What some runs came to.

    Attributes
    ----------
    runs, tasks : int
        How many, and tasks of each.
    ends : int
        Attempts that ended: what an event, or the sweep, tells of.
    requests : dict of str to int
        Calls of functions, by function.
    write_units, read_units : float
        Of DynamoDB.
    peak_kib : dict of str to int
        Most memory a process of each function had.
    lost, killed : int
        Events that never came, calls of functions that were killed.
    seconds : float
        Here; nothing is bounded by it.
    """

    runs: int
    tasks: int
    ends: int
    requests: Mapping[str, int]
    write_units: float
    read_units: float
    peak_kib: Mapping[str, int]
    lost: int
    killed: int
    seconds: float

    @property
    def requests_per_end(self) -> float:
        """Requests of functions for each attempt that ended."""
        return sum(self.requests.values()) / self.ends

    @property
    def writes_per_end(self) -> float:
        """Write units for each attempt that ended."""
        return self.write_units / self.ends


def workflow(number: int) -> list[dict[str, Any]]:
    """Return tasks: one before all others, some that fail once, some that fail, what waits for them.

    Parameters
    ----------
    number
        How many, at least 20.
    """
    first = [{"id": "open", "command": "true"}]
    again = number // 10
    bad = number // 50 + 1
    good = number - again - 2 * bad - 2
    return [
        *first,
        *({"id": f"good.{n}", "command": "true", "deps": ["open"]} for n in range(good)),
        *(
            {
                "id": f"again.{n}",
                "command": "[ $HUT_ATTEMPT = 2 ]",
                "deps": ["open"],
                "retries": 1,
            }
            for n in range(again)
        ),
        *({"id": f"bad.{n}", "command": "exit 3", "deps": ["open"]} for n in range(bad)),
        *({"id": f"behind.{n}", "command": "true", "deps": [f"bad.{n}"]} for n in range(bad)),
        {"id": "close", "command": "true", "deps": ["good.*", "again.*"]},
    ]


def expected(number: int) -> dict[str, int]:
    """Return how many tasks of `workflow` end how, and how many attempts there are."""
    bad = number // 50 + 1
    return {"completed": number - 2 * bad, "failed": bad, "dep_failed": bad}


def attempts(number: int) -> int:
    """Return how many attempts of `workflow` there are."""
    return number - (number // 50 + 1) + number // 10


@contextlib.contextmanager
def disturbed(hut: RemoteHut, *, kills: bool) -> Iterator[Counter[str]]:
    """Let everything go wrong now and then; yield how many calls were killed, if any are to be."""
    bed, prefix = hut.bed, hut.deployment.prefix
    bed.hook("events/disturb", {"source": "aws.batch", "lose": 0.1, "copies": 2, "delay": 1.0})
    throttled = "ProvisionedThroughputExceededException"
    for operation in ("TransactWriteItems", "UpdateItem", "Query", "BatchGetItem", "GetItem"):
        fault = {"service": "dynamodb", "operation": operation, "code": throttled}
        bed.hook("faults", {**fault, "share": 0.02, "times": 10_000})
    for after in (False, True):  # before it is done, and after
        fault = {"service": "batch", "operation": "SubmitJob", "code": "ServerException"}
        fault |= {"status": 500, "share": 0.02, "times": 10_000}
        bed.hook("faults", {**fault, "after": after})
    killed: Counter[str] = Counter()
    over = threading.Event()

    def kill() -> None:
        left = Counter(_KILLS)
        while left.total() and not over.wait(random.uniform(0.3, 1.5)):
            name = random.choice(sorted(left.elements()))
            found = bed.hook("lambdas/kill", {"name": f"{prefix}-{name}"})["killed"]
            killed[name] += found
            left[name] -= found > 0

    killer = threading.Thread(target=kill, name="killer")
    if kills:
        killer.start()
    try:
        yield killed
    finally:
        over.set()
        if kills:
            killer.join()
        bed.hook("faults/clear", {})
        bed.hook("events/disturb", {"source": "aws.batch"})


def load(
    hut: RemoteHut,
    runs: int,
    tasks: int,
    *,
    disturb: bool = True,
    kills: bool = False,
    cancel: int = 0,
) -> Load:
    """Let runs go to their ends, and check what came of them.

    Parameters
    ----------
    disturb, kills
        Whether anything goes wrong but the tasks; whether functions are killed, too: each of those
        costs minutes, as AWS shows its messages again only then.
    cancel
        How many of the runs are cancelled on their way.

    Raises
    ------
    AssertionError
        If something is not as it must be.
    """
    bed = hut.bed
    bed.hook("batch/slots", {"jobs": _SLOTS})
    bed.hook("requests/reset", {})
    lost = sum(bed.hook("events/lost").values())
    started, sweep = time.monotonic(), _Sweeps(hut)
    file = hut.write(workflow(tasks), f"load-{tasks}.json")
    with contextlib.ExitStack() as stack:
        killed = stack.enter_context(disturbed(hut, kills=kills)) if disturb else Counter[str]()
        names: list[str] = []
        for _ in range(runs):
            until(lambda: _beginning(hut, names) < _AT_ONCE, "runs began", _LIMIT)
            names.append(_submit(hut, file))
            if len(names) <= cancel:
                _cancel(hut, names[-1], sweep)
        _until_ended(hut, names, sweep)
    # The last events may be under way; what they tell is known.
    until(lambda: not (_open(hut, names) and sweep()), "the executions ended", 240)
    found = bed.hook("requests")
    for number, name in enumerate(names):
        _check_run(hut, name, tasks, cancelled=number < cancel)
    ends = sum(_attempts_of(hut, name) for name in names)
    jobs = bed.hook("batch/jobs", {"active": True})["jobs"]
    assert not jobs, f"{len(jobs)} jobs are left"
    return Load(
        runs=runs,
        tasks=tasks,
        ends=ends,
        requests={
            name: sum(found.get(f"sent by {hut.deployment.prefix}-{name}", {}).values())
            for name in FUNCTIONS
        },
        write_units=found["dynamodb_units"].get("write", 0),
        read_units=found["dynamodb_units"].get("read", 0),
        peak_kib={
            name: round(found["peak_kib"].get(f"{hut.deployment.prefix}-{name}", 0))
            for name in FUNCTIONS
        },
        lost=sum(bed.hook("events/lost").values()) - lost,
        killed=sum(killed.values()),
        seconds=round(time.monotonic() - started, 1),
    )


def _submit(hut: RemoteHut, file: str) -> str:
    """Submit as often as it takes: the API may be told that the table is too busy."""
    key = f"load-{random.getrandbits(64):x}"
    body = {"workflow": json.loads((hut.folder / file).read_text())["tasks"], "name": "load"}

    def submit() -> str | None:
        answer = hut.call("POST", "/runs", body, headers={"Idempotency-Key": key})
        return str(answer.document["id"]) if answer.status in (200, 201, 202) else None

    return str(until(submit, "the run was taken", 120))


def _cancel(hut: RemoteHut, name: str, sweep: _Sweeps) -> None:
    """Cancel a run as soon as its tasks are let go, while they become jobs."""
    until(lambda: sweep() and _has_opened(hut, name), "it opened", _LIMIT)
    until(lambda: hut.call("POST", f"/runs/{name}/cancel").status < 300, "told")


class _Sweeps:
    """Sweeps now and then, as the schedule does: among so many runs each takes a while."""

    def __init__(self, hut: RemoteHut) -> None:
        self._hut = hut
        self._next = 0.0

    def __call__(self) -> bool:
        if time.monotonic() >= self._next:
            with contextlib.suppress(TimeoutError):  # it goes on, though nobody waits for it
                name = f"{self._hut.deployment.prefix}-sweep"
                self._hut.bed.hook("scheduler/fire", {"name": name})
            self._next = time.monotonic() + _SWEEP_SECONDS
        return True


def _until_ended(hut: RemoteHut, names: Sequence[str], sweep: _Sweeps) -> None:
    """Sweep now and then until all runs have ended. Who waits here does not ask the API."""
    end = time.monotonic() + _LIMIT
    while left := _without(hut, names, "ended"):
        assert time.monotonic() < end, f"{left} runs never ended"
        time.sleep(2.0)
        sweep()


def _beginning(hut: RemoteHut, names: Sequence[str]) -> int:
    return _without(hut, names, "begun") if names else 0


def _without(hut: RemoteHut, names: Sequence[str], attribute: str) -> int:
    """Return of how many runs the table does not say something."""
    client, table = hut.bed.client("dynamodb"), hut.deployment.outputs["TableName"]
    number = 0
    for start in range(0, len(names), 100):
        keys = [
            {"pk": {"S": f"RUN#{name}"}, "sk": {"S": "META"}} for name in names[start : start + 100]
        ]
        answer = client.batch_get_item(RequestItems={table: {"Keys": keys}})
        number += sum(attribute not in item for item in answer["Responses"][table])
    return number


def _open(hut: RemoteHut, names: Sequence[str]) -> bool:
    return any(hut.execution(name)["status"] == "RUNNING" for name in names)


def _check_run(hut: RemoteHut, name: str, tasks: int, *, cancelled: bool) -> None:
    run = _ask(hut, f"/runs/{name}").document
    counts = {state: number for state, number in run["counts"].items() if number}
    told = Counter(task["state"] for task in _tasks(hut, name))
    assert counts == dict(told), (name, counts, told)
    if cancelled and run["state"] == "cancelled":
        assert sum(counts.values()) == tasks, counts
    else:
        assert counts == expected(tasks), (name, counts)
        assert run["state"] == "failed", run
    # No attempt ran twice: of the jobs that ran under a name, one was the attempt's.
    ran = Counter(
        (job["jobName"], job.get("arrayProperties", {}).get("index"))
        for job in hut.jobs(name)
        if job.get("startedAt") and "hut: " not in str(job.get("statusReason"))
    )
    twice = {which: number for which, number in ran.items() if number > 1}
    assert not twice, twice


def _tasks(hut: RemoteHut, name: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        query = {"limit": 500, **({"cursor": cursor} if cursor else {})}
        answer = _ask(hut, f"/runs/{name}/tasks?{urlencode(query)}")
        yield from answer.document
        cursor = answer.headers.get("X-Next-Cursor")
        if not cursor:
            return


def _has_opened(hut: RemoteHut, name: str) -> bool:
    answer = hut.call("GET", f"/runs/{name}/tasks/open")
    return bool(answer.status == 200 and answer.document["state"] == "completed")


def _ask(hut: RemoteHut, path: str) -> Answer:
    """Ask the API as often as it takes: it may have no room among so many functions."""

    def ask() -> Answer | None:
        answer = hut.call("GET", path)
        assert answer.status == 200 or answer.status >= 429, answer.text
        return answer if answer.status == 200 else None

    found = until(ask, f"an answer to {path}", 120)
    assert found is not None
    return found


def _attempts_of(hut: RemoteHut, name: str) -> int:
    return sum(task["attempt"] for task in _tasks(hut, name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy to a test bed, load it, print what it came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.load")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tasks", type=int, nargs="+", default=[500])
    parser.add_argument("--plain", action="store_true", help="let nothing go wrong")
    parser.add_argument("--kills", action="store_true", help="kill functions in their work, too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hut-load-") as text:
        folder = Path(text)
        with start_test_bed(folder / "bed") as bed:
            hut = _deployed(bed, folder)
            cancel = 0 if given.plain else given.runs // 10
            for tasks in given.tasks:
                found = load(
                    hut,
                    given.runs,
                    tasks,
                    disturb=not given.plain,
                    kills=given.kills,
                    cancel=cancel,
                )
                print(json.dumps(asdict(found)), flush=True)
    return 0


def _deployed(bed: TestBed, folder: Path) -> RemoteHut:
    cdk = Cdk(bed, folder)
    cdk.bootstrap()
    hut = RemoteHut(folder / "person", deployment=deploy(cdk, sweep_minutes=60))
    hut.folder.mkdir()
    hut.add_target()
    return hut


if __name__ == "__main__":
    sys.exit(main())
