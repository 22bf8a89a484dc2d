"""Works on a run until it ends: lock, takeover, engine; and follows one that another works on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hut.backends.local import LocalBackend, LocalOptions
from hut.control import Control
from hut.model.records import RunRecord
from hut.model.states import TaskState
from hut.store.sqlite import SqliteStore
from hut.views import change_document, run_document
from hutctl.client import Attended, Display, Progress, Running
from hutctl.local.engine import Engine, EngineOptions
from hutctl.local.lock import RunLock, holder_of
from hutctl.local.pool.serving import PoolPlan, Serving
from hutctl.local.runner import LocalRunner, Runner, usable_cores
from hutctl.local.takeover import Takeover, take_over

__all__ = ["Machine", "drive", "follow"]

_FOLLOW_SECONDS = 0.2
_RUNNING_SHOWN = 16
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Machine:
    """How this machine runs tasks, as its backend is configured.

    Attributes
    ----------
    cap : int or None
        Bound on the tasks of all runs together.
    kill_grace : float
        Seconds between TERM and KILL.
    look_again : callable
        See `EngineOptions`.
    pool : PoolPlan or None
        Workers run the tasks, not this process.
    """

    name: str = "local"
    cap: int | None = None
    kill_grace: float = 5.0
    look_again: Callable[[], bool] = lambda: False
    pool: PoolPlan | None = None

    def slots(self, max_concurrent: int | None) -> int:
        """Return how many tasks of a run run at once."""
        if max_concurrent is None:
            return self.cap or usable_cores()
        return max_concurrent if self.cap is None else min(max_concurrent, self.cap)


class _Narrator:
    """Feeds a display from a store: what has changed since the last time.

    Parameters
    ----------
    cursor
        Where in the run's log of changes to begin.
    """

    def __init__(self, store: SqliteStore, display: Display, cursor: int) -> None:
        self._store = store
        self._display = display
        self._cursor = cursor

    def progressed(self, engine: Engine) -> None:
        """Show what an engine of this process does."""
        running = [
            Running(claim.spec.id, claim.key.attempt, since)
            for claim, since in engine.running[:_RUNNING_SHOWN]
        ]
        self.tell(engine.run, running, between=engine.serve)

    def tell(
        self, run: RunRecord, running: list[Running], between: Callable[[], None] | None = None
    ) -> None:
        """Show a run as it stands, with all that changed, a page at a time."""
        document = run_document(run)
        while True:
            changes, self._cursor = self._store.changes(run.id, self._cursor, _PAGE)
            # A claim is no news to people: the start that follows says the same.
            documents = [
                change_document(change)
                for change in changes
                if change.state is not TaskState.SUBMITTED
            ]
            self._display.show(Progress(document, documents, running))
            if len(changes) < _PAGE:
                return
            if between is not None:
                between()


def drive(
    control: Control,
    store: SqliteStore,
    folder: Path,
    run_id: str,
    machine: Machine,
    display: Display,
    *,
    found: Callable[[Takeover], None],
) -> Attended | None:
    """Work on a run until it has ended, or until a person stops it.

    Parameters
    ----------
    folder
        The run's own folder.
    found
        Told what earlier engines of the run left behind, before anything else starts.

    Returns
    -------
    Attended or None
        None if another process works on the run.
    """
    with RunLock(folder) as lock:
        if not lock.acquire():
            return None
        run = store.get_run(run_id)
        machine.look_again()
        narrator = _Narrator(store, display, _seen(store, run))
        if machine.pool is not None:
            control = control.bounded(machine.pool.scheduler.max_job_retries)
        options = EngineOptions(
            folder,
            backend_cap=machine.cap,
            backend_name=machine.name,
            is_driven=lambda other: holder_of(folder.parent / other) is not None,
            look_again=machine.look_again,
        )
        with ExitStack() as stack:
            runner, run, left = _take_up(control, store, folder, run, machine, stack)
            found(left)
            engine = Engine(control, store, run, runner, options, left)
            run = engine.drive(narrator)
        narrator.tell(run, [])
        return Attended(run_document(run), interrupted=engine.interrupted or engine.hung_up)


def _take_up(
    control: Control,
    store: SqliteStore,
    folder: Path,
    run: RunRecord,
    machine: Machine,
    stack: ExitStack,
) -> tuple[Runner, RunRecord, Takeover]:
    """Return what runs the run's tasks, after a look at what earlier engines left behind."""
    slots = machine.slots(run.settings.max_concurrent)
    if machine.pool is not None:
        bound = run.settings.max_concurrent or machine.cap
        logs = folder / "logs"
        pool = Serving(machine.pool, store, run, logs, slots=bound, grace=machine.kill_grace)
        serving = stack.enter_context(pool)
        return serving.side, *serving.take_over(time.time())
    options = LocalOptions(
        folder,
        epoch=run.epoch + 1,
        kill_grace=machine.kill_grace,
        expected=run.counts[TaskState.PENDING],
    )
    backend = stack.enter_context(LocalBackend(options))
    run, left = take_over(control, store, run.id, backend, time.time())
    return LocalRunner(backend, slots), run, left


def _seen(store: SqliteStore, run: RunRecord) -> int:
    """Return the place behind what happened before this process came."""
    return store.last_change() if run.epoch else 0


def follow(store: SqliteStore, folder: Path, run_id: str, display: Display) -> Attended | None:
    """Show a run that another process works on, until it ends or nobody works on it any more.

    Returns
    -------
    Attended or None
        None if nobody works on the run.
    """
    run = store.get_run(run_id)
    narrator = _Narrator(store, display, _seen(store, run))
    while True:
        driven = holder_of(folder) is not None
        run = store.get_run(run_id)  # after the look at the lock: an engine writes, then leaves
        narrator.tell(run, _running(store, run_id) if run.ended_at is None else [])
        if run.ended_at is not None:
            return Attended(run_document(run))
        if not driven:
            return None
        time.sleep(_FOLLOW_SECONDS)


def _running(store: SqliteStore, run_id: str) -> list[Running]:
    return [
        Running(task_id, attempt, since)
        for task_id, attempt, since in store.list_running(run_id, _RUNNING_SHOWN)
    ]
