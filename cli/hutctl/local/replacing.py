"""Tasks that this machine could not run when they were submitted, and may be able to run by now.

They stand under `UNPLACED`, where nothing claims them. When an engine begins, and whenever hut.yaml has
changed, they are judged anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hut.model.records import RunRecord
from hut.model.states import TaskState
from hut.scheduling.placing import UNPLACED, sites_of, waits_for_target
from hut.store.port import TaskFilter
from hut.store.sqlite import SqliteStore

__all__ = ["Replacing"]

_Stamp = tuple[str, int, int]


class Replacing:
    """Called now and then while a run is worked on; says whether a task may run that could not.

    Parameters
    ----------
    path
        Returns where the configuration is, if there is one.
    sites
        Returns what it says; raises InvalidInput if it is at fault.
    """

    def __init__(
        self,
        store: SqliteStore,
        run: RunRecord,
        path: Callable[[], Path | None],
        sites: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._store = store
        self._run = run
        self._path = path
        self._sites = sites
        self._seen: _Stamp | None = None

    def __call__(self) -> bool:
        """Move tasks to this machine that it can run by now."""
        from hut.model.problems import InvalidInput

        stamp = self._stamp()
        if stamp == self._seen or not self._run.settings.sites:
            return False
        self._seen = stamp
        try:
            site = sites_of(self._sites()).get(self._run.settings.backend)
        except InvalidInput:  # it is being written, or `config check` says what is wrong
            return False
        pending = TaskFilter(states={TaskState.PENDING})
        found = [
            task.position
            for task in self._store.list_tasks(self._run.id, pending)
            if task.backend == UNPLACED and not (site and waits_for_target(task.spec, site))
        ]
        return self._store.move_tasks(self._run.id, found, UNPLACED, self._run.settings.backend) > 0

    def _stamp(self) -> _Stamp:
        path = self._path()
        try:
            told = None if path is None else path.stat()
        except OSError:
            told = None
        return ("", 0, 0) if told is None else (str(path), told.st_mtime_ns, told.st_size)
