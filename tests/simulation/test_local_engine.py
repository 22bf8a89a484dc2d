"""Random runs on this machine, and random things that happen to them, with real processes.

hutctl is killed at a moment of which hypothesis says when: after some more lines of the tasks, or
before an effect of its own. Others take the run up, cancel it, repeat it, at the same time if that
is what comes. ``HUT_SIMULATION_EXAMPLES=N`` looks at N times as many.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from hut.model.states import TaskState
from tests.simulation.local_home import LocalHome, kill_task, task
from tests.simulation.nursery import Nursery, Process

EXAMPLES = 8 * int(os.environ.get("HUT_SIMULATION_EXAMPLES", "1"))
_MOST_ALIVE = 3

DIES = st.none() | st.integers(1, 60)


@st.composite
def workflows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A first group of tasks, ``a...``, and a second, ``b...``, that may wait for all of the first."""
    tasks: list[dict[str, Any]] = []
    number, second = draw(st.integers(3, 12)), draw(st.integers(1, 12))
    for position in range(number):
        earlier = [entry["id"] for entry in tasks]
        deps = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if tasks else []
        if position >= second and draw(st.integers(0, 3)) == 0:
            deps = ["a*"]
        task_id = f"{'ab'[position >= second]}{position}"
        kind = draw(
            st.sampled_from(("plain", "plain", "plain", "fails", "late", "leaves", "grows"))
        )
        if kind == "plain":
            nap = draw(st.sampled_from(["", "sleep 0.02; ", "sleep 0.15; "]))
            entry = task(task_id, f"{nap}end 0", deps=deps)
        elif kind == "fails":
            times = draw(st.integers(1, 2))
            entry = task(task_id, f'[ "$HUT_ATTEMPT" -gt {times} ] && end 0; end 3', deps=deps)
            entry["retries"] = draw(st.integers(0, 2))
            entry["retry_delay"] = draw(st.sampled_from(["0s", "0.05s"]))
        elif kind == "late":
            entry = task(task_id, "sleep 30; end 0", deps=deps, time_limit="0.2s")
        elif kind == "leaves":  # something behind
            entry = task(task_id, "sleep 30 & end 0", deps=deps)
        else:
            entry = _generator(task_id, deps, draw(st.integers(1, 2)))
        tasks.append(entry)
    return tasks


def _generator(task_id: str, deps: list[str], number: int) -> dict[str, Any]:
    new = [task(f"g{task_id}.{i}", deps=[task_id]) for i in range(number)]
    does = f"echo '{json.dumps(new)}' > {task_id}.json; end 0"
    return task(task_id, does, deps=deps, generates_source=f"{task_id}.json")


def expected(tasks: list[dict[str, Any]]) -> dict[str, tuple[TaskState, int]]:
    """Return how the tasks end, and after how many attempts, if only hutctl itself is disturbed."""
    ends: dict[str, tuple[TaskState, int]] = {}
    for entry in tasks:
        waits = [
            state
            for task_id, (state, _) in ends.items()
            if task_id in entry["deps"] or ("a*" in entry["deps"] and task_id.startswith("a"))
        ]
        command, retries = entry["command"], entry.get("retries", 0)
        generated = command.count('"id"')
        if any(state is not TaskState.COMPLETED for state in waits):
            ends[entry["id"]] = (TaskState.DEP_FAILED, 0)
            continue
        if "time_limit" in entry:
            ends[entry["id"]] = (TaskState.FAILED, 1)
            continue
        fails = int(command.partition("-gt ")[2][:1] or 0)
        completes = fails <= retries
        ends[entry["id"]] = (
            TaskState.COMPLETED if completes else TaskState.FAILED,
            min(fails, retries) + 1,
        )
        for number in range(generated):
            ends[f"g{entry['id']}.{number}"] = (TaskState.COMPLETED, 1)
    return ends


class LocalEngine(RuleBasedStateMachine):
    """What may happen to a run on one machine."""

    nursery: Nursery
    home: LocalHome | None = None

    def __init__(self) -> None:
        super().__init__()
        self.disturbed = False

    # No rule has a precondition: what real processes have done by then differs from time to time,
    # and hypothesis must find the same rules each time. One that comes too early does nothing.

    def _hutctl(self, *arguments: str, dies: int | None = None) -> Process | None:
        assert self.home is not None
        if arguments[0] != "run" and self.home.run() is None:
            return None
        if len(self.home.living()) >= _MOST_ALIVE:
            return None
        return self.home.hutctl(*arguments, dies_before=dies)

    @initialize(tasks=workflows(), cap=st.integers(1, 3), dies=DIES)
    def run(self, tasks: list[dict[str, Any]], cap: int, dies: int | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hut-")
        self.tasks = tasks
        self.home = LocalHome(self.nursery, Path(self._folder.name).resolve() / "w", tasks, cap=cap)
        self._hutctl("run", "w.json", dies=dies)

    @rule(lines=st.integers(1, 8))
    def let_it_go_on(self, lines: int) -> None:
        assert self.home is not None
        self.home.wait_for(lines)

    @rule(which=st.integers(0, 2), group=st.booleans())
    def kill(self, which: int, group: bool) -> None:
        assert self.home is not None
        if living := self.home.living():
            process = living[which % len(living)]
            self.home.tell(f"kill {process.pid}")
            process.send(signal.SIGKILL, group=group)
            process.wait()

    @rule(number=st.sampled_from([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
    def interrupt(self, number: signal.Signals) -> None:
        assert self.home is not None
        if living := self.home.living():
            self.home.tell(f"{number.name} for {living[0].pid}")
            living[0].send(number)
            self.disturbed = self.disturbed or number != signal.SIGHUP

    @rule(dies=DIES, twice=st.booleans())
    def resume(self, dies: int | None, twice: bool) -> None:
        self._hutctl("resume", "last", dies=dies)
        if twice:
            self._hutctl("resume", "last")

    @rule(dies=DIES)
    def cancel(self, dies: int | None) -> None:
        assert self.home is not None
        self.disturbed = True
        process = self._hutctl("cancel", "last", dies=dies)
        others = [each for each in self.home.living() if each.arguments[0] == "retry"]
        if process is not None and process.wait() == 0 and not others:
            run = self.home.run()
            assert run is not None
            assert run.ended_at is not None, "cancelled, and not ended"
            self.home.witnesses.note("cancelled")

    @rule(dies=DIES, everything=st.integers(0, 3).map(lambda drawn: drawn == 0))
    def retry(self, dies: int | None, everything: bool) -> None:
        assert self.home is not None
        self.disturbed = True
        self.home.witnesses.repeats_all |= everything
        self.home.witnesses.note("repeated")
        self._hutctl("retry", "last", *(["--all"] if everything else []), dies=dies)

    @rule(which=st.integers(0, 2), group=st.booleans())
    def kill_a_task(self, which: int, group: bool) -> None:
        assert self.home is not None
        if living := self.home.witnesses.living():
            line = living[which % len(living)]
            self.disturbed = True
            self.home.witnesses.note(f"killed {line.task} {line.attempt} {line.number}")
            self.home.tell(f"kill {line.task} {line.attempt}, {line.number}")
            kill_task(line.number, group=group)

    @rule()
    def look(self) -> None:
        assert self.home is not None
        if (process := self._hutctl("tasks", "last", "--json")) is not None:
            assert process.wait() == 0, process.output

    @invariant()
    def holds(self) -> None:
        if self.home is not None:
            self._explained(self.home.check)

    def teardown(self) -> None:
        if self.home is None:
            return
        try:
            self._explained(self._end)
        finally:
            self.home.close()
            self._folder.cleanup()

    def _end(self) -> None:
        assert self.home is not None
        self.home.finish()
        if not self.disturbed:
            assert self.home.ended() == expected(self.tasks)

    def _explained(self, check: Any) -> None:
        assert self.home is not None
        try:
            check()
        except AssertionError as error:
            error.add_note(self.home.history)
            raise


@pytest.fixture
def machine() -> Any:
    nursery = Nursery()
    yield type("LocalEngine", (LocalEngine,), {"nursery": nursery})
    nursery.close()


def test_whatever_happens_to_hutctl_nothing_is_lost_and_nothing_runs_twice(machine: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            derandomize="HUT_SIMULATION_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
