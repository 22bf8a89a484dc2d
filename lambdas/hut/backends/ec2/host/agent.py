"""The story of a command: from its parameters to its report.

    agent.pyz ATTEMPT s3://BUCKET/KEY [REGION]

The report is one line of JSON on standard output, and the exit code is 0 whatever it says: SSM's own
agent reads meanings into some codes. An agent that dies is started again by the document's shell: it
finds the attempt taken, ends what is left of it, and says so.

``how`` of a report is one of::

    exit             the command ended by itself, with exit_code
    signal           a signal ended it; exit_code is 128 and the signal's number
    timeout          it was stopped at its time limit
    out_of_memory    the kernel killed it for want of memory
    host_terminated  it was stopped, or not started, for the agent itself was told to end
    not_started      it was never started; ``said`` tells why
    lost             it was started, but how it ended is not known
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import time
from typing import Any, NamedTuple

from hut.backends.ec2.host.attempts import Attempt, state_folder
from hut.backends.ec2.host.calls import Aws, CallError, Stop, Stopped, pause_factor
from hut.backends.ec2.host.containers import CannotRun, ContainerProcess, Docker, remove_container
from hut.backends.ec2.host.payload import BadPayload, Payload, parse_place, read_payload
from hut.backends.ec2.host.processes import (
    Ended,
    HostProcess,
    boot_id,
    host_environment,
    kill_noted,
    oom_kills,
    start_time,
)
from hut.backends.ec2.host.shipping import Shipper
from hut.backends.ec2.host.timer import IDLE_SLACK, LEAST_SLACK, PREPARATION, set_timer

__all__ = ["main"]

_LONGEST_SAID = 2000  # characters; SSM keeps 24,000 of what a command prints
_LOOK = 0.5
_FIRST_CHECK, _CHECK = 60, 600  # seconds between settings of the timer while the task runs
_STUBBORN = 60  # seconds until a process that even SIGKILL does not end is given up
_KILLED = 128 + signal.SIGKILL
_TOLD_TO_END = "host_terminated"


class Report(NamedTuple):
    """What a command tells the state machine."""

    how: str
    exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    said: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as it is printed and kept."""
        return {**self._asdict(), "said": self.said[:_LONGEST_SAID]}


def main() -> None:
    """Run the attempt the command line names, and print its report."""
    os.umask(0o077)
    stop = Stop()

    def note(*_: Any) -> None:
        stop.requested = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-800")  # a task that takes all memory is to die before who reports it
    name, place, *region = sys.argv[1:]
    try:
        attempt = Attempt(name)
    except OSError as error:
        document = Report("not_started", said=f"{state_folder()}: {error.strerror}").document()
    else:
        document = (
            run(attempt, place, "".join(region), stop) if attempt.is_first else tell(attempt, stop)
        )
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def tell(attempt: Attempt, stop: Stop) -> dict[str, Any]:
    """Return the report of the command that came first; if it died, end what it left."""
    try:
        attempt.wait(stop)
    except Stopped:
        said = "Hut's program on the instance was told to end while another command ran the task"
        return Report(_TOLD_TO_END, said=said).document()
    known = attempt.result()
    if known:
        return known
    started = attempt.started()
    if started is None:
        report = Report("not_started", said="an earlier command died before it started the task")
    else:
        if started.get("container"):
            remove_container(started["container"])
        if started.get("pid"):
            kill_noted(started["pid"], started["start"], started["boot"])
        said = "the program that ran the task on the instance died"
        report = Report("lost", None, started.get("at"), None, said)
    attempt.note_result(report.document())
    return report.document()


def run(attempt: Attempt, place: str, region: str, stop: Stop) -> dict[str, Any]:
    """Run the task, and return the report."""
    remarks: list[str] = []
    try:
        begun = _begin(attempt, place, Aws(region, stop), stop, remarks)
    except (CallError, BadPayload, CannotRun) as error:
        report = Report("not_started", said=str(error))
    except OSError as error:
        report = Report("not_started", said=f"the task can't be started: {error}")
    except Stopped:
        said = "the instance, or Hut's program on it, was told to end before the task started"
        report = Report(_TOLD_TO_END, said=said)
    else:
        report = _follow(attempt, begun, stop, remarks)
    report = report._replace(said="; ".join(filter(None, [report.said, *remarks])))
    attempt.note_result(report.document())
    return report.document()


class _Begun(NamedTuple):
    """A task that was started; `starved` is how many processes had died for want of memory."""

    payload: Payload
    process: HostProcess | ContainerProcess
    shipper: Shipper
    started: float
    starved: int


def _begin(attempt: Attempt, place: str, aws: Aws, stop: Stop, remarks: list[str]) -> _Begun:
    """Do all that comes before the task, and start it as the last thing.

    So whatever is raised here means that it was not started.
    """
    content = aws.get_object(*parse_place(place))
    payload = read_payload(content, os.path.basename(attempt.folder))
    longest = payload.time_limit + payload.grace + max(payload.slack, LEAST_SLACK)
    _remark(remarks, set_timer(longest + PREPARATION))
    if payload.image is not None:
        docker = Docker(aws, stop)
        docker.make_ready()
        remove_container(payload.attempt)
        _remark(remarks, docker.pull(payload.image))
    if stop.requested:
        raise Stopped
    output = os.open(attempt.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        log = (payload.group, payload.stream, payload.log_region)
        shipper = Shipper(Aws(aws.region, Stop()), log, attempt.output)
        set_timer(longest)
        starved, started = oom_kills(), time.time()
        container = None if payload.image is None else payload.attempt
        attempt.note_started({"container": container, "at": started})
        process = _start(payload, output, attempt.output)
    finally:
        os.close(output)
    return _Begun(payload, process, shipper, started, starved)


def _follow(attempt: Attempt, begun: _Begun, stop: Stop, remarks: list[str]) -> Report:
    """Watch the task to its end, ship its output, and reset the timer.

    The task may fill the disk, or remove what the agent keeps: that changes nothing of its end.
    """
    payload, process = begun.payload, begun.process
    attempt.note_process(process.pid, start_time(process.pid), boot_id())
    begun.shipper.start()
    code, why = _watch(process, payload, stop)
    ended = Ended("lost", None, "SIGKILL does not end it")
    if code is not None:
        ended = process.explain(code)
    report = _report(ended, why, payload, oom_kills() > begun.starved)
    report = report._replace(started=begun.started, ended=time.time())
    # Known before the rest of the output is on its way, which may take a while.
    attempt.note_result(report.document())
    unsent = begun.shipper.finish()
    _remark(remarks, unsent)
    if not unsent:
        attempt.remove_output()
    if payload.idle_seconds is not None:
        _remark(remarks, set_timer(payload.idle_seconds + IDLE_SLACK))
    return report


def _start(payload: Payload, output: int, path: str) -> HostProcess | ContainerProcess:
    if payload.image is None:
        return HostProcess(payload.argv, host_environment(payload.env), output)
    return ContainerProcess(payload, payload.image, output, path)


def _watch(
    process: HostProcess | ContainerProcess, payload: Payload, stop: Stop
) -> tuple[int | None, str]:
    """Wait for the end; return the code, and why it was stopped if it was.

    At its limit, or when the agent is told to end, it gets SIGTERM, and SIGKILL when its grace is over.
    Meanwhile the machine's timer is set again and again: user data that was slow, or anybody, may have
    put a shorter one in its place.
    """
    now = time.monotonic()
    limit, check = now + payload.time_limit, now + _FIRST_CHECK * pause_factor()
    kill = math.inf
    why, is_told = "", False
    while True:
        now = time.monotonic()
        if not why and now >= check:
            set_timer(limit - now + payload.grace + max(payload.slack, LEAST_SLACK))
            check = now + _CHECK * pause_factor()
        code = process.wait(max(min(_LOOK, (kill if why else limit) - now), 0))
        if code is not None:
            return code, why
        now = time.monotonic()
        if not why and (stop.requested or now >= limit):
            why = _TOLD_TO_END if stop.requested else "timeout"
            kill = now + payload.grace
        if why and not is_told:
            is_told = process.send(signal.SIGTERM)
        if now >= kill:
            process.send(signal.SIGKILL)
            if now >= kill + _STUBBORN:
                return None, why
            process.wait(_LOOK)


def _report(ended: Ended, why: str, payload: Payload, is_starved: bool) -> Report:
    how, code, said = ended
    if how == "not_started":
        return Report(how, said=said)
    if why == "timeout":
        return Report(why, code, said=f"stopped at its time limit of {payload.time_limit:g} s")
    if why == _TOLD_TO_END:
        said = "stopped, for the instance, or Hut's program on it, was told to end"
        return Report(why, code, said=said)
    if how == "out_of_memory" or (is_starved and code == _KILLED):
        return Report("out_of_memory", code, said="the kernel killed it for want of memory")
    return Report(how, code, said=said)


def _remark(remarks: list[str], words: str) -> None:
    if words:
        remarks.append(words)
