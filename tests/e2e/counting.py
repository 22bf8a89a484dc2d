"""What runs ask of AWS, counted on a test bed, and what that costs: for the gate and the benchmark.

A request is each call a function makes to AWS, each invocation of a function, each request to a
queue (an event that is delivered, ten messages that are received or deleted) and each transition of
a state machine, from the submission of a run to the end of its execution. Who waits for a run here
asks the test bed, not the API, so that waiting costs nothing.

Batching windows are kept, as on AWS, and what came in a window of a queue is shared among as many
pollers as Lambda has at least. Not counted, as they come by the hour and not by the task: pollers
that find nothing, and sweeps.

``python -m tests.e2e.counting`` prints the shapes as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.prices import dollars
from tests.e2e.deployment import Cdk, deploy
from tests.e2e.remote_hut import RemoteHut, until
from tests.testbed.running import TestBed, start_test_bed

__all__ = ["SHAPES", "Bill", "Shape", "as_on_aws", "count"]

POLLERS = 5
"""Of each queue: what Lambda starts with ("How Lambda processes records from ... queues")."""

SLOTS = 16
_LIMIT = 1800.0  # seconds for the end of a run
_QUIET = 2.0  # seconds without a request, after which nothing more is expected; a window is one
_ROUND_TRIP = 0.006  # seconds of a request inside a region; an assumption
_WHOLE_CPU = 1769  # MiB of a function that has one
_S3_READS = ("GetObject", "HeadObject")

Task = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A kind of workflow.

    Attributes
    ----------
    make
        Returns the tasks of a workflow with so many.
    tasks
        How many the benchmark takes.
    runs
        How many runs of it, one after the other.
    fields
        Of the workflow file, beside its tasks.
    """

    name: str
    title: str
    make: Callable[[int], list[Task]]
    tasks: int
    runs: int = 1
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bill:
    """What some runs asked for.

    Attributes
    ----------
    requests
        How many, by kind: invocations, transitions, ``sqs``, and calls of functions by operation.
    units
        What is billed, by the names of `infra.prices`. The seconds of functions are modelled: their
        CPU time here, at the share of a CPU they would have, and so long for each call they make.
    seconds
        From the submission to the end, here.
    """

    name: str
    title: str
    tasks: int
    requests: Mapping[str, float]
    units: Mapping[str, float]
    seconds: float

    @property
    def requests_per_task(self) -> float:
        return sum(self.requests.values()) / self.tasks

    @property
    def counted_dollars_per_million(self) -> float:
        """Without the seconds of functions, which no two machines agree on."""
        counted = {name: n for name, n in self.units.items() if name != "lambda_gb_second"}
        return sum(dollars(counted).values()) * 1e6 / self.tasks

    def dollars(self) -> dict[str, float]:
        """Return what a million tasks cost, by service."""
        return {k: v * 1e6 / self.tasks for k, v in dollars(self.units).items()}


# Shapes -------------------------------------------------------------------------------------------


def general(number: int) -> list[Task]:
    """Tasks of which no two are alike: none of them can share a job with another."""
    return [
        {"id": f"t.{n}", "command": "true", "memory": f"{1024 + n}M", "partition": "ec2"}
        for n in range(number)
    ]


def alike(number: int) -> list[Task]:
    """Tasks that differ in their commands only."""
    return [{"id": f"t.{n}", "command": f"test {n} -ge 0"} for n in range(number)]


def chain(number: int) -> list[Task]:
    """Tasks one after the other."""
    first: list[Task] = [{"id": "t.0", "command": "true"}]
    rest = [{"id": f"t.{n}", "command": "true", "deps": [f"t.{n - 1}"]} for n in range(1, number)]
    return first + rest


def fan_in(number: int) -> list[Task]:
    """Tasks that are alike, and one after them."""
    return [*alike(number - 1), {"id": "close", "command": "true", "deps": ["t.*"]}]


def fan_out(number: int) -> list[Task]:
    """A task, and the others, which are alike, after it."""
    after = [{**task, "deps": ["open"]} for task in alike(number - 1)]
    return [{"id": "open", "command": "true"}, *after]


def barrier(number: int) -> list[Task]:
    """Half of the tasks after all of the others."""
    half = number // 2
    after = [
        {"id": f"u.{n}", "command": f"test {n} -ge 0", "deps": ["t.*"]}
        for n in range(number - half)
    ]
    return [*alike(half), *after]


def fan(number: int) -> list[Task]:
    """One task that opens, many that are alike, and one that closes."""
    middle = [{**task, "deps": ["open"]} for task in alike(number - 2)]
    last = {"id": "close", "command": "true", "deps": ["t.*"]}
    return [{"id": "open", "command": "true"}, *middle, last]


SHAPES = (
    Shape("general", "2,000 tasks of which no two are alike", general, 2_000),
    Shape("arrays", "10,000 tasks that are alike", alike, 10_000),
    Shape("bundles", "10,000 tasks, 100 to a job", alike, 10_000, fields={"bundle": 100}),
    Shape("fan-in", "5,000 tasks, and one after them", fan_in, 5_001),
    Shape("fan-out", "One task, and 5,000 after it", fan_out, 5_001),
    Shape("barrier", "2,000 tasks after 2,000 others", barrier, 4_000),
    Shape("chain", "50 tasks one after the other", chain, 50),
    Shape("small", "30 runs of 4 tasks, two of them alike", fan, 4, runs=30),
)


# Counting -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_on_aws(bed: TestBed) -> Iterator[None]:
    """Keep batching windows, and run many jobs at a time."""
    bed.hook("mappings/windows", {"kept": True, "pollers": POLLERS})
    bed.hook("batch/slots", {"jobs": SLOTS})
    try:
        yield
    finally:
        bed.hook("mappings/windows", {"kept": False})


def count(hut: RemoteHut, shape: Shape, tasks: int | None = None) -> Bill:
    """Run a workflow of a shape, and return what it asked for.

    Raises
    ------
    AssertionError
        If a task did not complete, or if botocore and the test bed do not agree on what was sent.
    """
    made = shape.make(tasks or shape.tasks)
    file = hut.write(made, f"{shape.name}.json", **shape.fields)
    _wait_for_silence(hut.bed)
    hut.bed.hook("requests/reset", {})
    started = time.monotonic()
    runs = []
    for _ in range(shape.runs):
        runs.append(hut("run", file, "--detach").stdout.strip())
        _wait_for_end(hut, runs[-1])
    seconds = time.monotonic() - started
    _wait_for_silence(hut.bed)
    found = hut.bed.hook("requests")
    check_both_sides(found)
    for run in runs:
        counts = hut.show(run)["counts"]
        assert counts["completed"] == len(made), counts
    return Bill(
        name=shape.name,
        title=shape.title,
        tasks=len(made) * shape.runs,
        requests=_requests(found),
        units=_units(hut, found),
        seconds=seconds,
    )


def check_both_sides(found: Mapping[str, Any]) -> None:
    """Check that botocore sent what came: only addresses that a function signed for others differ."""
    came = {
        f"{service}.{name}": number
        for service, each in found["of_lambdas"].items()
        for name, number in each.items()
    }
    sent = {_named_alike(name): number for name, number in found["sent"].items()}
    differ = {
        name: (sent.get(name, 0), came.get(name, 0))
        for name in {*sent, *came}
        if sent.get(name, 0) != came.get(name, 0)
        and not (name in ("s3.GetObject", "s3.PutObject") and came.get(name, 0) > sent.get(name, 0))
    }
    assert not differ, f"sent and came: {differ}"


def _named_alike(name: str) -> str:
    """Return service and operation as the test bed says them."""
    service, _, operation = name.partition(".")
    names = {"sfn": "states", "stepfunctions": "states", "cloudwatch-logs": "logs"}
    return f"{names.get(service, service)}.{operation}"


def _requests(found: Mapping[str, Any]) -> dict[str, float]:
    """Return requests by kind; what jobs fetch by an address they were given is theirs."""
    return {
        **{_named_alike(name): number for name, number in found["sent"].items()},
        "invocations": sum(found["invocations"].values()),
        "transitions": sum(found.get("transitions", {}).values()),
        "sqs": sum(found.get("sqs", {}).values()),
    }


def _units(hut: RemoteHut, found: Mapping[str, Any]) -> dict[str, float]:
    of_s3: Counter[str] = Counter()
    for name, number in found["requests"].get("s3", {}).items():
        of_s3["s3_read" if name in _S3_READS else "s3_write"] += number
    sqs = sum(found.get("sqs", {}).values()) + sum(found["of_lambdas"].get("sqs", {}).values())
    return {
        "dynamodb_write": found["dynamodb_units"].get("write", 0),
        "dynamodb_read": found["dynamodb_units"].get("read", 0),
        "lambda_request": sum(found["invocations"].values()),
        "lambda_gb_second": _gb_seconds(hut, found),
        "sqs_request": sqs,
        "transition": sum(found.get("transitions", {}).values()),
        "api_request": sum(found["requests"].get("execute-api", {}).values()),
        "log_byte": sum(found.get("log_bytes", {}).values()),
        **of_s3,
    }


def _gb_seconds(hut: RemoteHut, found: Mapping[str, Any]) -> float:
    total = 0.0
    for name, cpu in found.get("cpu_milliseconds", {}).items():
        memory = hut.bed.client("lambda").get_function_configuration(FunctionName=name)[
            "MemorySize"
        ]
        calls = sum(found.get(f"sent by {name}", {}).values())
        seconds = cpu / 1000 * max(1.0, _WHOLE_CPU / memory) + calls * _ROUND_TRIP
        total += seconds * memory / 1024
    return total


def _wait_for_end(hut: RemoteHut, run: str) -> None:
    """Wait for the end of a run's execution without asking the control plane."""
    until(lambda: hut.execution(run)["status"] != "RUNNING", f"the end of {run}", _LIMIT)


def _wait_for_silence(bed: TestBed) -> None:
    """Wait until functions do and queues hold nothing more."""
    before, since = None, time.monotonic()
    until_ = time.monotonic() + _LIMIT
    while time.monotonic() - since < _QUIET:
        assert time.monotonic() < until_, "it never gets quiet"
        found = bed.hook("requests")
        now = [found[key] for key in ("of_lambdas", "invocations", "sqs") if key in found]
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.1)


# By itself ----------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy to a test bed, count the shapes, print the bills as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.counting")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of tasks")
    parser.add_argument("shapes", nargs="*", help="all of them if none is named")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hut-counting-") as name:
        folder = Path(name)
        with start_test_bed(folder / "bed") as bed:
            cdk = Cdk(bed, folder)
            cdk.bootstrap()
            hut = RemoteHut(folder / "person", deployment=deploy(cdk, sweep_minutes=60))
            hut.folder.mkdir()
            hut.add_target()
            bills = []
            with as_on_aws(bed):
                for shape in SHAPES:
                    if not given.shapes or shape.name in given.shapes:
                        tasks = max(4, round(shape.tasks * given.scale)) if shape.tasks > 4 else 4
                        bills.append(asdict(count(hut, shape, tasks)))
    json.dump(bills, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
