"""Submit, cancel and repeat runs on AWS: store first, then start the execution.

A crash between the two leaves a run that is stored and listed; the sweep starts its execution. The
name of an execution is the run's id and its generation, so starting it twice is starting it once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from hut.control import Control
from hut.model.records import RunRecord
from hut.model.states import Reason
from hut.planning import Plan
from hut.service.ports import Executions
from hut.store.events import LONGEST_OPEN, EventStore, NotRegistered
from hut.store.port import RunExists
from hut.submission import Setting, Submission

__all__ = ["DEFAULT_TIME_LIMIT", "Submitting", "start_execution"]

DEFAULT_TIME_LIMIT = 30 * 86400.0
"""Seconds a run may take if its file does not say; data is kept for longer than that."""


class Submitting:
    """What people do with runs.

    Parameters
    ----------
    store, executions
        The ports.
    """

    def __init__(self, store: EventStore, executions: Executions) -> None:
        self._store = store
        self._executions = executions
        self._control = Control(store)

    def submit(
        self, submission: Submission, setting: Setting, *, now: float, new_id: str
    ) -> tuple[RunRecord, Plan, bool]:
        """Plan a workflow, store it as a run, and start it; say whether the run is new.

        Raises
        ------
        InvalidInput
            With every problem of the input; nothing is stored.
        IdempotencyConflict
            If the key was used with another body.
        """
        new, plan = self._control.prepare(submission, setting, now=now, new_id=new_id)
        for attempt in ("", "0", "1"):
            try:
                run, created = self._store.reserve_run(replace(new, id=f"{new_id}{attempt}"))
            except RunExists:
                continue  # the same random id twice: one in 10^15, but a lost run if ignored
            if created and self._store.standing(run.id).blocks == 1:
                # A small run is there at once; its execution finds that nothing is left to write.
                self._store.register_block(run.id, 0, now)
            start_execution(self._store, self._executions, run)
            if run.settings.open or run.settings.held:
                # Tasks can be added once it has begun. The execution begins it too, a moment later.
                with suppress(NotRegistered):
                    run = self._store.begin_run(run.id, 0, now)
            return run, plan, created
        raise RunExists(f"the run id {new_id!r} is taken")

    def cancel(self, run_id: str, now: float, *, reason: Reason = Reason.CANCELLED) -> RunRecord:
        """Stop a run: nothing starts any more; what waits and what runs is ended by `advance`."""
        return self._store.cancel_run(run_id, reason, now)

    def retry(self, run_id: str, *, everything: bool = False) -> tuple[int, RunRecord]:
        """Make what did not complete (or everything) pending again, as new attempts."""
        repeated = self._store.begin_reset(run_id, everything=everything)
        run = self._store.get_run(run_id)
        if run.ended_at is None:
            start_execution(self._store, self._executions, run)
        return repeated, run


def start_execution(store: EventStore, executions: Executions, run: RunRecord) -> bool:
    """Start what registers a run's tasks and waits for its end, unless the run has begun.

    Returns
    -------
    bool
        False if the execution is over without having begun the run: nothing will begin it any more.
    """
    standing = store.standing(run.id)
    if standing.begun:
        return True
    limit = run.settings.time_limit or (LONGEST_OPEN if run.settings.open else DEFAULT_TIME_LIMIT)
    blocks = 0 if standing.generation else standing.blocks
    return executions.start(run.id, standing.generation, blocks, limit)
