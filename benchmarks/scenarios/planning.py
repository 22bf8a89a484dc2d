"""Large workflows: reading, expanding patterns, ordering, in time and memory."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plan_once
from benchmarks.measure import (
    Command,
    CommandError,
    announce,
    clean_environment,
    spread,
    timed,
)
from benchmarks.results import Claim, Figure, Findings
from benchmarks.setting import Scenario, Setting
from benchmarks.shapes import bipartite, chain, fan_in, write_workflow
from benchmarks.versions import versions_of

__all__ = ["SCENARIO"]

_SECONDS = 2.0
_MEGABYTES = 500.0
_MEGABYTE = 10**6


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large, and how often.

    Attributes
    ----------
    fan_in, chain : int
        Tasks.
    side : int
        Tasks on either side of the bipartite workflow.
    grown : tuple of int
        Tasks of the fan-in workflows that ScriptHut is measured with.
    runs : int
    patience : float
        Seconds of one run after which ScriptHut is given nothing larger.
    once : float
        Seconds of one run after which it is not repeated.
    """

    fan_in: int = 100_000
    chain: int = 100_000
    side: int = 10_000
    grown: tuple[int, ...] = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
    runs: int = 5
    patience: float = 60.0
    once: float = 10.0


_FULL = Sizes()
_QUICK = Sizes(fan_in=1_000, chain=1_000, side=100, grown=(200, 400), runs=2)


@dataclass(frozen=True, slots=True)
class Planned:
    """What one planning took."""

    seconds: float
    megabytes: float


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    with tempfile.TemporaryDirectory(prefix="hut-benchmark-") as root:
        folder = Path(root)
        figures, claims = _plan_shapes(setting, sizes, folder)
        command_figures, command_claims = _plan_command(setting, sizes, folder)
        beside, notes = _beside_scripthut(setting, sizes, folder)
    return Findings(
        method=(
            "Each run in a fresh process. `plan_text` is timed by itself, with the text already "
            "read; the peak is that of the whole process, interpreter and text included. "
            f"Fan-in: groups of 100 tasks, {sizes.fan_in // 100:,} of them, the last task of each "
            "depending on the others by a pattern. Bipartite: every task of the second half "
            "depends on all of the first by a pattern. ScriptHut does the same work on the same "
            "file: it reads the JSON, expands the patterns and checks for missing tasks and "
            f"cycles. It is given larger files until a run takes more than {sizes.patience:g} s; a "
            f"run of more than {sizes.once:g} s is not repeated."
        ),
        commands=(
            ("Hut, library", 'hut.planning.plan_text(text, filename="w.json")'),
            ("Hut, command", "hutctl plan fan-in.json --json > /dev/null"),
            ("ScriptHut, reading", "TaskDefinition.parse_document(json.loads(text))"),
            ("ScriptHut, patterns", "RunManager._resolve_wildcard_deps(tasks)"),
            ("ScriptHut, checks", "RunManager._validate_dependencies(tasks)"),
        ),
        figures=(*figures, *command_figures, *beside),
        claims=(*claims, *command_claims),
        versions=versions_of((setting.peers.scripthut,)),
        notes=tuple(notes),
    )


def _plan_shapes(setting: Setting, sizes: Sizes, folder: Path) -> tuple[list[Figure], list[Claim]]:
    shapes: tuple[tuple[str, Callable[[int], Iterator[dict[str, object]]], int], ...] = (
        (f"fan-in of {sizes.fan_in:,} tasks", fan_in, sizes.fan_in),
        (f"chain of {sizes.chain:,} tasks", chain, sizes.chain),
        (f"bipartite, {sizes.side:,} x {sizes.side:,} tasks", bipartite, sizes.side),
    )
    figures: list[Figure] = []
    claims: list[Claim] = []
    for label, shape, size in shapes:
        path = folder / "shape.json"
        write_workflow(path, shape(size))
        runs = [_plan(setting.python, "hut", path, 600) for _ in range(sizes.runs)]
        seconds = tuple(run.seconds for run in runs)
        peaks = tuple(run.megabytes for run in runs)
        announce(f"  {label}: {spread(seconds).median:.2f} s, {spread(peaks).median:.0f} MB")
        figures += (
            Figure(f"Hut: {label}, time", "s", seconds),
            Figure(f"Hut: {label}, peak memory", "MB", peaks),
        )
        claims += _claims(f"`plan_text`, {label}", seconds, peaks)
    return figures, claims


def _plan_command(setting: Setting, sizes: Sizes, folder: Path) -> tuple[list[Figure], list[Claim]]:
    path = folder / "fan-in.json"
    write_workflow(path, fan_in(sizes.fan_in))
    arguments = (str(setting.hutctl), "plan", path.name, "--json")
    command = Command(arguments, folder, {"HUT_HOME": str(folder / "home")}, timeout=600)
    timings = [timed(command) for _ in range(sizes.runs)]
    seconds = tuple(timing.wall for timing in timings)
    peaks = tuple(timing.peak_bytes / _MEGABYTE for timing in timings)
    announce(f"  hutctl plan: {spread(seconds).median:.2f} s, {spread(peaks).median:.0f} MB")
    label = f"`hutctl plan --json`, fan-in of {sizes.fan_in:,} tasks"
    figures = [Figure(f"{label}, time", "s", seconds), Figure(f"{label}, peak memory", "MB", peaks)]
    return figures, _claims(label, seconds, peaks)


def _claims(label: str, seconds: tuple[float, ...], peaks: tuple[float, ...]) -> list[Claim]:
    return [
        Claim(f"{label}: time", spread(seconds).median, "s", "at most", _SECONDS),
        Claim(f"{label}: peak memory", spread(peaks).median, "MB", "at most", _MEGABYTES),
    ]


def _beside_scripthut(
    setting: Setting, sizes: Sizes, folder: Path
) -> tuple[list[Figure], list[str]]:
    """Measure both planners with growing files until ScriptHut takes too long."""
    peer = setting.peers.scripthut
    if peer.program is None:
        return [], [f"{peer.name}: {peer.missing}."]
    figures: list[Figure] = []
    path = folder / "grown.json"
    for size in sizes.grown:
        write_workflow(path, fan_in(size))
        try:
            theirs = _repeat(peer.program, "scripthut", path, sizes)
        except CommandError as error:
            return figures, [f"ScriptHut did not get through {size:,} tasks: {error}"]
        ours = _repeat(setting.python, "hut", path, sizes)
        label = f"fan-in of {size:,} tasks, time"
        figures += (
            Figure(f"ScriptHut: {label}", "s", tuple(run.seconds for run in theirs)),
            Figure(f"Hut: {label}", "s", tuple(run.seconds for run in ours)),
        )
        longest = max(run.seconds for run in theirs)
        announce(f"  ScriptHut, {size:,} tasks: {longest:.2f} s")
        if longest > sizes.patience:
            left = [f"{larger:,}" for larger in sizes.grown if larger > size]
            return figures, [f"ScriptHut was not given {', '.join(left)} tasks."] if left else []
    return figures, []


def _repeat(python: Path, planner: str, path: Path, sizes: Sizes) -> list[Planned]:
    runs = [_plan(python, planner, path, 10 * sizes.patience)]
    while len(runs) < sizes.runs and runs[-1].seconds <= sizes.once:
        runs.append(_plan(python, planner, path, 10 * sizes.patience))
    return runs


def _plan(python: Path, planner: str, path: Path, timeout: float) -> Planned:
    """Plan `path` once in a process of its own."""
    try:
        done = subprocess.run(
            [python, "-I", str(Path(plan_once.__file__)), planner, str(path)],
            cwd=path.parent,
            env={**clean_environment(), "HOME": str(path.parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"it took more than {timeout:g} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CommandError(f"{planner} can't plan it: {lines[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Planned(found["seconds"], found["peak_bytes"] / _MEGABYTE)


SCENARIO = Scenario("planning", "Planning", _run, peers=("scripthut",))
