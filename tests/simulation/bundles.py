"""What runs inside a simulated bundle: its tasks, some at a time, and what its program tells of them.

It does as `hut.backends.bundle_script` does on a real machine, in virtual time: it writes starts, blocks and
ends into the job's log, repeats all of them as its last words, and stops at a TERM. Lines that tell of a task go
to `observe` through a subscription, which may lose them, repeat them or be late with them.
"""

from __future__ import annotations

import base64
import heapq
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hut.backends.port import JobName, bundled_handle, parse_job_name
from hut.store.port import AttemptKey
from tests.simulation.batch_job import SimulatedJob
from tests.simulation.fates import Fate, host_reclaimed
from tests.simulation.functions import Result
from tests.simulation.hosts import SimulatedAttempt

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["BundledTask", "Bundles"]

_AGAIN_SECONDS = 60.0  # until Lambda calls once more what was called without anybody who waits
_TRIES = 3
_COPIES = 3
_LAST_WORDS = 0.5  # seconds
_UPTIME = 1000.0


@dataclass(eq=False)
class BundledTask:
    """A task in a bundle; it looks like a job of its own to whoever watches jobs."""

    name: str
    handle: str
    index: int
    began: float
    state: str = "RUNNING"
    reason: str = ""
    summary: None = None


@dataclass(eq=False)
class _Program:
    """What runs as one job.

    Attributes
    ----------
    handle : str
        The job's, as it finds it out.
    log : tuple of str
        Group and stream.
    is_mute : bool
        Nothing it prints reaches its log.
    """

    job: SimulatedJob | SimulatedAttempt
    name: JobName
    handle: str
    log: tuple[str, str]
    nonce: str
    keys: Sequence[AttemptKey]
    clock: str
    is_mute: bool
    begun: int = 0
    tasks: dict[int, BundledTask] = field(default_factory=dict)
    last_words: list[str] = field(default_factory=list)
    is_over: bool = False


class Bundles:
    """The programs of all bundles.

    Attributes
    ----------
    ended : dict of tuple to int
        Exit codes that were written into a log which is not lost, by run, position and attempt.
    forgotten : set of str
        Names of jobs that the service forgot.
    said : int
        Lines that were handed to `observe`.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._programs: dict[str, _Program] = {}
        self._durations: dict[str, list[float]] = {}
        self._codes: dict[str, list[int]] = {}
        self.ended: dict[tuple[str, int, int], int] = {}
        self.forgotten: set[str] = set()
        self.said = 0

    # What becomes of a job -------------------------------------------------------------------------

    def fate(self, job: SimulatedJob | SimulatedAttempt) -> Fate | None:
        """Say what becomes of a bundle; None for any other job."""
        name = parse_job_name(job.name)
        if name is None or not name.is_bundle:
            return None
        world, chance, faults = self._world, self._world.chance, self._world.faults_now()
        bundle = world.store.bundle(name.run_id, name.array)
        assert bundle is not None, f"{job.name} was submitted before it was stored"
        label = f"{job.name} {getattr(job, 'number', job.handle)}"
        fates = [
            world.fate_in_bundle(name.run_id, key.position, f"{label} {place}")
            for place, key in enumerate(bundle.keys)
        ]
        self._durations[job.handle] = [each.runs for each in fates]
        self._codes[job.handle] = [each.exit_code or 0 for each in fates]
        whole = _makespan(self._durations[job.handle], bundle.slots) + _LAST_WORDS
        more: dict[str, Any] = {"waits": chance.between(f"waits {label}", 0.5, 8.0)}
        more["stops"] = (1.0, 31.0)[chance.below(f"stops {label}", 2)]
        on_host = isinstance(job, SimulatedAttempt)
        if not on_host and chance.fault("vanished", label, faults.vanished):
            self.forgotten.add(job.name)
            more["kept"] = 0.0
        early = whole * chance.roll(f"how far {label}")
        if not on_host and chance.fault("reclaimed", label, faults.reclaimed):
            return host_reclaimed(runs=early, **more)
        if chance.fault("program killed", label, faults.reclaimed / 2):
            return Fate(exit_code=1, runs=early, **more)
        return Fate(runs=whole, **more)

    def changed(self, job: SimulatedJob | SimulatedAttempt) -> None:
        """Look at a job whose state has changed: a bundle begins, or ends with all that runs in it."""
        name = parse_job_name(job.name)
        if name is None or not name.is_bundle:
            return
        if job.state == "RUNNING":
            self._begin(job, name)
        elif job.state in ("SUCCEEDED", "FAILED") and job.handle in self._programs:
            self._end(self._programs[job.handle])

    def _begin(self, job: SimulatedJob | SimulatedAttempt, name: JobName) -> None:
        bundle = self._world.store.bundle(name.run_id, name.array)
        assert bundle is not None
        if isinstance(job, SimulatedAttempt):
            log, handle = (job.payload["log"]["group"], job.payload["log"]["stream"]), job.name
        else:
            log, handle = (job.submission.log_group, job.found["logStreamName"]), job.handle
        faults, chance = self._world.faults_now(), self._world.chance
        program = self._programs[job.handle] = _Program(
            job,
            name,
            handle,
            log,
            bundle.nonce,
            bundle.keys,
            f"{int(self._world.agenda.now)}@{_UPTIME}",
            chance.fault("mute", job.handle, faults.vanished / 2),
        )
        for _ in range(bundle.slots):
            self._next(program)

    def _next(self, program: _Program) -> None:
        """Let the next task begin, unless the program was told to stop."""
        place = program.begun
        is_stopped = getattr(program.job, "stop_reason", None) or getattr(
            program.job, "is_timed_out", False
        )
        if program.is_over or is_stopped:
            return
        if place == len(program.keys):
            if not program.tasks:
                self._say_last(program)
            return
        program.begun += 1
        handle = bundled_handle(program.handle, place)
        task = BundledTask(program.job.name, handle, place, self._world.agenda.now)
        program.tasks[place] = task
        self._write(program, self._told(program, f"start {place} {self._uptime(program)}"))
        self._world.watch.job_changed(task)
        seconds = self._durations[program.job.handle][place]
        self._world.agenda.after(seconds, partial(self._end_task, program, task))

    def _end_task(self, program: _Program, task: BundledTask) -> None:
        if program.is_over or program.tasks.get(task.index) is not task:
            return
        del program.tasks[task.index]
        code = self._codes[program.job.handle][task.index]
        began = self._uptime(program, task.began)
        end = f"end {task.index} {code} {began} {self._uptime(program)}"
        self._set(task, "FAILED" if code else "SUCCEEDED", f"exit code {code}")
        key = program.keys[task.index]
        if not program.is_mute and program.job.name not in self.forgotten:
            self.ended[program.name.run_id, key.position, key.attempt] = code
        self._write(program, f"block {task.index}", f"task {task.index} says something")
        self._write(program, self._told(program, end))
        program.last_words.append(f"again {program.clock} {end}")
        self._next(program)

    def _end(self, program: _Program) -> None:
        """End what runs with the job: a TERM leaves time for last words, a KILL does not."""
        if program.is_over:
            return
        job = program.job
        if isinstance(job, SimulatedAttempt):
            is_stopped = bool(job.report) and json.loads(job.report)["how"] == "signal"
        else:
            is_stopped = job.found.get("exitCode") == 143
        for task in program.tasks.values():
            self._set(task, "FAILED", "its job has ended")
            if is_stopped:
                began = self._uptime(program, task.began)
                self._write(program, f"block {task.index}", f"cut {task.index}")
                program.last_words.append(f"again {program.clock} start {task.index} {began}")
        if is_stopped:
            self._say_last(program)
        program.is_over = True

    def _say_last(self, program: _Program) -> None:
        ends = sum(" end " in line for line in program.last_words)
        self._write(program, *program.last_words, f"over {ends}")
        program.is_over = True

    def _set(self, task: BundledTask, state: str, reason: str) -> None:
        task.state, task.reason = state, reason
        self._world.watch.job_changed(task)

    # What it says ----------------------------------------------------------------------------------

    def _uptime(self, program: _Program, at: float | None = None) -> str:
        began = float(program.clock.partition("@")[0])
        return f"{(self._world.agenda.now if at is None else at) - began + _UPTIME:.2f}"

    def _told(self, program: _Program, what: str) -> str:
        return f"told {program.job.name} {program.handle} {program.clock} {what}"

    def _write(self, program: _Program, *what: str) -> None:
        if program.is_mute:
            return
        lines = [f"::hut:{program.nonce}:{text}" for text in what]
        self._world.logs.write(*program.log, lines)
        told = [line for line in lines if ":told " in line]
        if told:
            self._hand_on(program, told)

    def _hand_on(self, program: _Program, lines: Sequence[str]) -> None:
        """Let a subscription send lines to `observe`, or lose them, or send them again."""
        world, chance = self._world, self._world.chance
        self.said += 1
        label = f"line {self.said}"
        if chance.fault("lost", label, world.faults_now().lost):
            world.history.note("log", f"nobody is told {lines}", is_fault=True)
            return
        copies = 1
        while copies < _COPIES and chance.fault(
            "repeated", f"{label} copy {copies}", world.faults_now().repeated
        ):
            copies += 1
        for copy in range(copies):
            late = chance.between(f"late {label} {copy}", 0.1, 0.1 + world.faults.late)
            event = _event(program.log, lines)
            world.agenda.after(late, partial(self._call, event, 1))

    def _call(self, event: dict[str, Any], tries: int) -> None:
        """Call `observe` as Lambda does where nobody waits for the answer."""
        world = self._world
        if not world.functions.has_room("observe"):
            world.agenda.after(0.5, partial(self._call, event, tries))
            return

        def done(result: Result) -> None:
            if result.error and tries < _TRIES:
                world.agenda.after(_AGAIN_SECONDS, partial(self._call, event, tries + 1))

        world.functions.invoke("observe", event, done)

    # For whoever watches ---------------------------------------------------------------------------

    def keys(self, name: JobName) -> Sequence[AttemptKey]:
        """Return the attempts of a bundle, in their order; none for any other job."""
        bundle = self._world.store.bundle(name.run_id, name.array) if name.is_bundle else None
        return () if bundle is None else bundle.keys


def _makespan(durations: Sequence[float], slots: int) -> float:
    """Return how long tasks take that begin in their order, as many at a time as there are slots."""
    free = [0.0] * slots
    for seconds in durations:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _event(log: tuple[str, str], lines: Sequence[str]) -> dict[str, Any]:
    told = {
        "messageType": "DATA_MESSAGE",
        "logGroup": log[0],
        "logStream": log[1],
        "logEvents": [
            {"id": str(n), "timestamp": 0, "message": line} for n, line in enumerate(lines)
        ],
    }
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = packer.compress(json.dumps(told).encode()) + packer.flush()
    return {"awslogs": {"data": base64.b64encode(packed).decode()}}
