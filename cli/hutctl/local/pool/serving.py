"""Serves a pool for one run: the endpoint, its file, and what workers still have from an earlier engine."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Self

from hut.lifecycle.retry import Spent
from hut.model.records import RunRecord
from hut.model.scheduler import OF_POOLS, Scheduler
from hut.model.states import ACTIVE, TaskState
from hut.store.port import AttemptKey, Claim, TaskFilter
from hut.store.sqlite import SqliteStore
from hutctl.local.launching import Launcher
from hutctl.local.pool.places import PoolFolder
from hutctl.local.pool.server import PoolServer
from hutctl.local.pool.side import PoolSide
from hutctl.local.takeover import Takeover

__all__ = ["PoolPlan", "Serving"]


class PoolPlan:
    """Which pool a run's tasks go to.

    Parameters
    ----------
    folder
        Where workers of this machine find it.
    """

    def __init__(self, folder: PoolFolder, scheduler: Scheduler = OF_POOLS) -> None:
        self.folder = folder
        self.scheduler = scheduler


class Serving:
    """An engine's side of a pool, as a context manager: workers find it meanwhile.

    Parameters
    ----------
    logs
        Folder of the run's logs.
    slots
        Tasks that may be in the pool at once; None is no bound.
    """

    def __init__(
        self,
        plan: PoolPlan,
        store: SqliteStore,
        run: RunRecord,
        logs: Path,
        *,
        slots: int | None,
        grace: float,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = plan.folder.name
        self._plan = plan
        self._store = store
        self._run_id = run.id
        self._token = secrets.token_hex(32)
        self.side = PoolSide(
            name,
            plan.scheduler,
            run,
            logs,
            slots=slots,
            grace=grace,
            is_draining=plan.folder.is_draining,
        )
        self._server = PoolServer(self.side.desk, self._token)
        self._file = plan.folder.endpoint_file(run.id)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Workers keep what they have for an heir, unless the run is over.
        over = self._store.get_run(self._run_id).ended_at is not None
        if over:
            self._plan.folder.note_end()  # before the file is gone: workers look for it, then for this
        self._file.release(remove=over)
        self.side.close()
        self._server.close()

    def take_over(self, now: float) -> tuple[RunRecord, Takeover]:
        """Begin a new epoch of the run, expect what workers have of it, and let them come."""
        found = Takeover()
        tasks = self._store.list_tasks(self._run_id, TaskFilter(states=ACTIVE))
        run = self._store.begin_epoch(self._run_id, now)
        launcher = Launcher(run, None)
        expected = []
        for task in tasks:
            key = AttemptKey(task.position, task.attempt, task.epoch)
            claim = Claim(key, task.spec, Spent(task.retries_used, task.losses))
            has_started = task.state is TaskState.RUNNING
            if has_started:
                found.adopted.append((claim, task.started_at or now))
            else:
                found.waiting.append(claim)
            expected.append((claim, launcher.launch(claim), has_started))
        self._plan.folder.create()
        some_live = any(lives for _, _, lives in self._plan.folder.workers())
        patience = self._plan.scheduler.worker_timeout_s if some_live else 0.0
        self.side.expect(expected, patience)
        self._file.write(
            {
                "run": run.id,
                "port": self._server.port,
                "token": self._token,
                "pid": os.getpid(),
                "since": time.time(),
            }
        )
        return run, found
