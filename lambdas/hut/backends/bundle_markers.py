"""What a bundle says of its tasks through its log. Pure.

All lines are marked with the bundle's nonce, which only its program knows: what tasks print is stripped of
it on its way into the log. ``::hut:<nonce>:`` is followed by one of::

    told <name> <handle> <clock> start <n> <at>               in small runs
    note <clock> start <n> <at>                               in others
    block <n>                                                 what task n printed begins
    told <name> <handle> <clock> end <n> <code> <from> <to> [<how> <sentence>]
                                                              it ends, as the task has
    cut <n>                                                   it ends, but the task was stopped with the job
    again <clock> end <n> <code> <from> <to> [<how> <sentence>]
    again <clock> start <n> <at>                              all once more, at the end of all
    over <ends>                                               the last word: so many tasks have ended

What is ``told`` is heard while the job runs, where somebody listens to its log. `clock` is
``<seconds since the epoch>@<seconds of the machine's uptime>`` of the same moment; times are uptimes, which a
shell reads without starting anything, to a hundredth of a second.

A block is what a log named by `block_log` consists of.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import NamedTuple

from hut.backends.port import BundleReport, TaskReport
from hut.lifecycle.attempt import Evidence, judge, lost
from hut.model.records import Outcome
from hut.model.states import Reason
from hut.model.workflow import TaskSpec

__all__ = [
    "BLOCK",
    "TOLD_PATTERN",
    "BlockLog",
    "BundleMarkers",
    "Told",
    "block_log",
    "new_nonce",
    "outcome_of",
    "outcome_without_end",
    "parse_block_log",
    "parse_told",
]

_TIME = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_END = (
    rf"end (?P<index>[0-9]{{1,6}}) (?P<code>[0-9]{{1,3}}) (?P<from>{_TIME}) (?P<to>{_TIME})"
    r"(?: (?P<how>timeout|not-started) (?P<said>.{1,2000}))?"
)
BLOCK = re.compile(
    r"::hut:(?P<nonce>[0-9a-f]{16}):(?:"
    rf"(?:told (?P<name>[a-z0-9-]{{1,127}}) (?P<handle>[A-Za-z0-9-]{{1,127}})|note|again)"
    rf" (?P<clock>{_TIME}@{_TIME}) (?:{_END}|start (?P<began>[0-9]{{1,6}}) (?P<at>{_TIME}))\r?$"
    r"|block (?P<block>[0-9]{1,6})\r?$"
    r"|cut (?P<cut>[0-9]{1,6})\r?$"
    r"|over (?P<over>[0-9]{1,6})\r?$"
    r")",
    re.ASCII,
)
"""A line of a bundle; what stands before it belongs to the block."""

TOLD_PATTERN = '"::hut:" ":told "'
"""Filter pattern of CloudWatch Logs for the lines that are told: both texts are in them."""

_LOG = re.compile(
    r"(?P<log>.+)#(?P<nonce>[0-9a-f]{16})\.(?P<index>[0-9]{1,6})", re.ASCII | re.DOTALL
)
_LONGEST_SAID = 500


class BlockLog(NamedTuple):
    """A part of a log: what one task of a bundle printed."""

    log: str
    nonce: str
    place: int


class Told(NamedTuple):
    """What a line tells of a task while its bundle runs.

    Attributes
    ----------
    name, handle : str
        Of the job.
    end : TaskReport or None
        None for a start.
    """

    nonce: str
    name: str
    handle: str
    place: int
    at: float
    end: TaskReport | None


def new_nonce(random_bytes: bytes | None = None) -> str:
    """Return what marks the lines of one bundle; nobody can guess it."""
    return (secrets.token_bytes(8) if random_bytes is None else random_bytes[:8]).hex()


def block_log(log: str, nonce: str, index: int) -> str:
    """Return the name of the log of a task in a bundle, whose job writes to `log`."""
    return f"{log}#{nonce}.{index}"


def parse_block_log(name: str) -> BlockLog | None:
    """Return what `block_log` put together, or None for a log of a job of its own."""
    match = _LOG.fullmatch(name)
    return None if match is None else BlockLog(match["log"], match["nonce"], int(match["index"]))


def parse_told(line: str) -> Told | None:
    """Return what a line tells; None for one that tells nothing while the job runs."""
    match = BLOCK.search(line) if ":told " in line else None
    if match is None or match["name"] is None:
        return None
    end = _report(match)
    index = int(match["began"]) if end is None else end.place
    at = _time(match["clock"], match["at"]) if end is None else end.started_at
    return Told(match["nonce"], match["name"], match["handle"], index, at, end)


@dataclass(slots=True)
class BundleMarkers:
    """What the lines of a bundle's log say, as far as they have been fed; the first word counts."""

    nonce: str
    ends: dict[int, TaskReport] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    over: int | None = None

    def feed(self, line: str) -> None:
        """Take a line of the log; any other line than one of this bundle changes nothing."""
        match = BLOCK.search(line) if self.nonce in line else None
        if match is None or match["nonce"] != self.nonce:
            return
        report = _report(match)
        if report is not None:
            self.ends.setdefault(report.place, report)
            self.starts.setdefault(report.place, report.started_at)
        elif match["began"]:
            self.starts.setdefault(int(match["began"]), _time(match["clock"], match["at"]))
        elif match["cut"]:
            self.starts.setdefault(int(match["cut"]), 0.0)
        elif match["over"]:
            self.over = int(match["over"])

    @property
    def is_whole(self) -> bool:
        """Whether the last word has come, and all ends before it."""
        return self.over is not None and len(self.ends) >= self.over

    def report(self, size: int) -> BundleReport:
        """Return what is known of `size` tasks."""
        return BundleReport(
            {index: end for index, end in self.ends.items() if index < size},
            {index: at for index, at in self.starts.items() if index < size},
            self.is_whole,
        )


def outcome_of(report: TaskReport, spec: TaskSpec) -> Outcome:
    """Return how a task ended that its bundle tells the end of."""
    if report.how == "not-started":
        return judge(Evidence(report.code, not_started=report.said))
    if report.how == "timeout":
        limit = spec.resources.time_limit
        return judge(Evidence(report.code, timed_out=True, time_limit=limit))
    return judge(Evidence(report.code))


def outcome_without_end(job: Outcome, *, has_begun: bool) -> Outcome:
    """Return how a task ended whose bundle ended without a word of it.

    Parameters
    ----------
    job
        How the job ended.
    has_begun
        Whether the task may have been running then.
    """
    if job.reason is Reason.EXIT:
        code = job.exit_code
        return lost(
            f"the job it shared ended with exit code {code} before it was told how it ended"
        )
    if has_begun or job.reason in _OF_THE_JOB:
        return job
    why = f": {job.message}" if job.message else ""
    return lost(f"the job it shared ended before its turn came ({job.reason}{why[:_LONGEST_SAID]})")


# These say of every task of a job that it will not run, or need not.
_OF_THE_JOB = frozenset(
    {
        Reason.CANCELLED,
        Reason.LAUNCH_FAILED,
        Reason.LOST,
        Reason.HOST_TERMINATED,
        Reason.NO_CAPACITY,
        Reason.STARTUP_TIMEOUT,
        Reason.QUEUE_TIMEOUT,
        Reason.UNSATISFIABLE,
    }
)


def _report(match: re.Match[str]) -> TaskReport | None:
    if match["index"] is None:
        return None
    began, ended = _time(match["clock"], match["from"]), _time(match["clock"], match["to"])
    return TaskReport(
        int(match["index"]),
        int(match["code"]),
        began,
        max(began, ended),
        match["how"] or "",
        (match["said"] or "")[:_LONGEST_SAID],
    )


def _time(clock: str, at: str) -> float:
    epoch, _, uptime = clock.partition("@")
    return float(epoch) + float(at) - float(uptime)
