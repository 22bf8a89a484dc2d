"""What tasks ask of AWS and cost there: counted on an emulator, priced by AWS's lists."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import CommandError, announce
from benchmarks.results import Claim, Findings, Table
from benchmarks.setting import Scenario, Setting
from infra.prices import PRICES, dollars

__all__ = ["SCENARIO"]

_ROOT = Path(__file__).resolve().parents[2]
_LIMIT = 3600.0  # seconds
_QUICK = 0.02  # of the tasks
_TARGETS = {"general": (4.0, 3.0), "arrays": (1.5, 1.0)}  # requests a task, dollars a million
_SHOWN = 0.005  # of a request per task; less is summed up
_OTHERS = (
    ("An execution of 12 states for each task (HyP3's design)", "324"),
    ("An execution of 6 states for each task", "154"),
    ("Metaflow's foreach on Step Functions", "36 to 138"),
    ("HTC-Grid", "20"),
)
"""Dollars per million tasks, computed from the sources of these projects at the same list prices."""


@dataclass(frozen=True, slots=True)
class _Bill:
    """What `tests.e2e.counting` prints for a shape."""

    name: str
    title: str
    tasks: int
    requests: Mapping[str, float]
    units: Mapping[str, float]
    seconds: float

    @property
    def per_task(self) -> float:
        return sum(self.requests.values()) / self.tasks

    @property
    def of_million(self) -> dict[str, float]:
        return {name: n * 1e6 / self.tasks for name, n in dollars(self.units).items()}


def _run(setting: Setting) -> Findings:
    bills = [_Bill(**each) for each in _count(setting)]
    for bill in bills:
        total = sum(bill.of_million.values())
        announce(f"  {bill.title}: {bill.per_task:.2f} requests a task, ${total:.2f} a million")
    return Findings(
        method=(
            "The app is deployed to the emulator of the tests and real runs are run on it. A request "
            "is each call a function makes (counted by botocore in the function and by the emulator; "
            "both have to agree), each invocation, each request to a queue, and each state transition, "
            "from the submission to the end of the run. Batching windows are kept, and what comes in "
            "a window is shared among five pollers of a queue (two where a mapping allows two calls). "
            "EventBridge's delivery to a queue is one request, every ten messages that are received "
            "or deleted another. DynamoDB's units are those the emulator reports. Seconds "
            "of functions are modelled: CPU time here at the function's share of a CPU, and 6 ms for "
            "each call. Not in it, as they cost by the hour: sweeps, and pollers that find nothing "
            "(docs/deploy.md)."
        ),
        commands=(("Counting", "python -m tests.e2e.counting"),),
        figures=(),
        claims=tuple(claim for bill in bills for claim in _claims(bill)),
        versions={},
        notes=(
            "The emulator is a model of AWS.",
            "Jobs do nothing and end as fast as this machine runs them. Fewer at a time cost more each.",
        ),
        tables=(
            _overview(bills),
            *(_parts(bill) for bill in bills if bill.name in _TARGETS),
            _prices(),
        ),
    )


def _count(setting: Setting) -> list[dict[str, Any]]:
    command = [str(setting.python), "-m", "tests.e2e.counting"]
    if setting.quick:
        command += ["--scale", str(_QUICK), *_TARGETS]
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            command,
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            timeout=_LIMIT,
            check=False,
        )
        errors.seek(0)
        said = errors.read().decode(errors="replace")[-2000:]
    if done.returncode:
        raise CommandError(f"counting failed with {done.returncode}\n{said}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _claims(bill: _Bill) -> Sequence[Claim]:
    if bill.name not in _TARGETS:
        return ()
    requests, cost = _TARGETS[bill.name]
    total = sum(bill.of_million.values())
    return (
        Claim(f"{bill.title}: requests", bill.per_task, "per task", "at most", requests),
        Claim(f"{bill.title}: bill", total, "$ per million tasks", "at most", cost),
    )


def _overview(bills: Sequence[_Bill]) -> Table:
    services = sorted({name for bill in bills for name in bill.of_million})
    rows = [
        (
            bill.title,
            f"{bill.tasks:,}",
            f"{bill.per_task:.2f}",
            f"{bill.units['dynamodb_write'] / bill.tasks:.2f}",
            f"{bill.units['dynamodb_read'] / bill.tasks:.2f}",
            *(f"{bill.of_million.get(name, 0):.2f}" for name in services),
            f"**{sum(bill.of_million.values()):.2f}**",
        )
        for bill in bills
    ]
    blank = ("",) * (4 + len(services))
    rows += [(title, *blank, cost) for title, cost in _OTHERS]
    head = ("", "Tasks", "Requests per task", "Write units", "Read units", *services, "Total")
    return Table("Dollars per million tasks, beside other designs", head, tuple(rows))


def _parts(bill: _Bill) -> Table:
    shown: dict[str, float] = {}
    for name, number in sorted(bill.requests.items(), key=lambda each: -each[1]):
        share = number / bill.tasks
        key = name if share >= _SHOWN else "others"
        shown[key] = shown.get(key, 0.0) + share
    rows = [(name, f"{share:.3f}") for name, share in shown.items()]
    return Table(f"{bill.title}: requests per task", ("", "per task"), tuple(rows))


def _prices() -> Table:
    rows = [
        (price.service, price.unit, f"{price.dollars:g}", f"{price.per:,}", price.source)
        for price in PRICES.values()
    ]
    head = ("Service", "Unit", "$", "for", "From")
    return Table("List prices, us-east-1, November 2026", head, tuple(rows))


SCENARIO = Scenario("cloud", "Requests and bill on AWS", _run)
