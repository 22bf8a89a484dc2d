"""Looks at runs and tasks of this machine. Nothing here changes them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from hut.backends.local import LocalBackend, LocalOptions
from hut.control import Control
from hut.model.problems import InvalidInput, did_you_mean
from hut.model.records import Attempt, TaskRecord
from hut.model.states import TERMINAL_RUN, RunState, TaskState
from hut.scheduling.twins import Twin, leader_of_attempt
from hut.store.port import AttemptKey, RunFilter, StoreError, TaskFilter, UnknownRun
from hut.store.sqlite import SqliteStore
from hut.views import Document, explanation_document, run_document, task_document
from hutctl.client import LogPart
from hutctl.local.calls import Calls
from hutctl.local.configured import Configured
from hutctl.local.documents import Documents
from hutctl.local.home import Home
from hutctl.local.launching import Launcher
from hutctl.local.listing import failed_attempts
from hutctl.local.lock import holder_of
from hutctl.local.logs import read_attempt_log
from hutctl.local.pool.looking import waiting_in

__all__ = ["Looking"]

_PAGE = 1000


class Looking:
    """The part of `LocalClient` that shows runs and their tasks."""

    _configured: Configured
    _control: Control
    _home: Home
    _store: SqliteStore

    def find_run(self, reference: str) -> Document:
        """Return the run that an id, the beginning of one, or ``last`` means."""
        if not reference:
            raise UnknownRun("the run's name is empty; write its id, or: last")
        if reference == "last":
            found = self._store.list_runs(RunFilter(limit=1))
            if not found:
                raise UnknownRun("there are no runs yet; begin with: hutctl run workflow.json")
            return run_document(found[0])
        found = self._store.find_runs(reference, limit=6)
        exact = [run for run in found if run.id == reference]
        if not exact and len(found) > 1:
            ids = ", ".join(run.id for run in found[:5])
            raise UnknownRun(f"{reference!r} begins the ids of several runs: {ids}; write more")
        if not found:
            raise UnknownRun(f"there is no run {reference!r}; see: hutctl runs")
        return run_document((exact or found)[0])

    def list_runs(
        self,
        *,
        limit: int,
        states: Collection[str] | None = None,
        workflow: str | None = None,
        owner: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[Document]:
        """Return runs, newest first."""
        wanted = None if states is None else [RunState(state) for state in states]
        query = RunFilter(wanted, workflow, owner, limit=limit, tags=tags or {})
        return [run_document(run) for run in self._store.list_runs(query)]

    def list_tasks(
        self,
        run_id: str,
        *,
        states: Collection[str] | None = None,
        match: str | None = None,
        where: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> Iterator[Document]:
        """Yield tasks in document order, page by page."""
        if where or tags:
            return self._search(run_id, states, match, where, tags)
        return self._list_tasks(run_id, states, match)

    def _search(
        self,
        run_id: str,
        states: Collection[str] | None,
        match: str | None,
        where: Sequence[str],
        tags: Sequence[str],
    ) -> Iterator[Document]:
        from hut.searching import all_hold, read_conditions

        conditions, problems = read_conditions(where, tags, time.time())
        if problems:
            raise InvalidInput(problems)
        return (
            task for task in self._list_tasks(run_id, states, match) if all_hold(conditions, task)
        )

    def _list_tasks(
        self, run_id: str, states: Collection[str] | None, match: str | None
    ) -> Iterator[Document]:
        wanted = None if states is None else [TaskState(state) for state in states]
        after = -1
        while True:
            page = self._store.list_tasks(run_id, TaskFilter(wanted, match, after, _PAGE))
            attempts = self._store.list_attempts(run_id, [task.position for task in page])
            for task in page:
                yield self._task_document(run_id, task, attempts.get(task.position, ()))
            if len(page) < _PAGE:
                return
            after = page[-1].position

    def get_task(self, run_id: str, task_id: str) -> Document:
        """Return a task."""
        task = self._task(run_id, task_id)
        attempts = self._store.list_attempts(run_id, [task.position])
        return self._task_document(run_id, task, attempts.get(task.position, ()))

    def _task_document(
        self, run_id: str, task: TaskRecord, attempts: Sequence[Attempt]
    ) -> Document:
        """Return a task; failed attempts of a task program come with their error reports."""
        document = task_document(task, attempts)
        if task.spec.call is not None:
            kept = Documents(self._home.run_folder(run_id))
            for attempt in document["attempts"]:
                if attempt["state"] == TaskState.FAILED:
                    reports = kept.reports(task.position, task.spec.id, attempt["attempt"])
                    attempt["reports"] = reports
        return document

    def script(self, run_id: str, task_id: str) -> str:
        """Return the script of a task's latest attempt, or of its first if it has none."""
        run, task = self._store.get_run(run_id), self._task(run_id, task_id)
        key = AttemptKey(task.position, max(task.attempt, 1), max(task.epoch, 1))
        options = LocalOptions(self._home.run_folder(run_id), key.epoch)
        launcher = Launcher(run, LocalBackend(options))
        spec = task.spec
        if spec.call is not None:
            folder = self._home.run_folder(run_id)
            calls = Calls(run, self._store, Documents(folder), folder / "logs")
            spec = calls.shown(spec, key)
        return launcher.script(spec, key)

    def why(self, run_id: str, task_id: str) -> Document:
        """Say why a task is where it is."""
        run, task = self._store.get_run(run_id), self._task(run_id, task_id)
        machine = self._configured.machine(run)
        driven = run.state in TERMINAL_RUN or holder_of(self._home.run_folder(run_id)) is not None
        slots: int | None = machine.slots(run.settings.max_concurrent)
        waiting = None
        if machine.pool is not None:
            slots = None  # of which every worker has its own
            if task.state in (TaskState.PENDING, TaskState.SUBMITTED):
                waiting = waiting_in(machine.pool.folder, machine.pool.scheduler, task.spec)
        answer = self._control.explain(
            run, task, time.time(), slots=slots, driven=driven, waiting=waiting
        )
        document = explanation_document(task, answer)
        if task.spec.call is not None:
            kept = Documents(self._home.run_folder(run_id))
            document["reports"] = kept.reports(task.position, task_id, task.attempt)
        return document

    def read_document(self, run_id: str, task_id: str) -> bytes | None:
        """Return the output document of a task's latest attempt; None if it has none."""
        task = self._task(run_id, task_id)
        if task.spec.call is None:
            raise StoreError(
                f"task {task_id!r} is a command and has no output document; see: hutctl logs"
            )
        kept = Documents(self._home.run_folder(run_id))
        return kept.read(task.position, task_id, task.attempt, "output")

    def read_log(
        self, run_id: str, task_id: str, kind: str, *, attempt: int | None, offset: int
    ) -> LogPart:
        """Return what a task printed (``out``) or complained (``err``), from a byte on."""
        run, task = self._store.get_run(run_id), self._task(run_id, task_id)
        attempts = self._store.list_attempts(run_id, [task.position]).get(task.position, [])
        if (leader := leader_of_attempt(task, attempts, attempt)) is not None:
            number = task.attempt if attempt is None else attempt
            return replace(self._log_of_leader(leader, kind, offset), attempt=number)
        folder = self._home.run_folder(run_id) / "logs"
        return read_attempt_log(
            folder, run, task, kind, attempts=attempts, attempt=attempt, offset=offset
        )

    def _log_of_leader(self, leader: Twin, kind: str, offset: int) -> LogPart:
        """Return the log of the attempt that another one follows: it is the other's, too."""
        try:
            task = self._store.get_tasks(leader.run_id, [leader.position])[leader.position]
        except (UnknownRun, KeyError):
            raise StoreError(f"its log was in run {leader.run_id}, which is gone") from None
        return self.read_log(
            leader.run_id, task.spec.id, kind, attempt=leader.attempt, offset=offset
        )

    def list_failures(self, run_id: str, *, final: bool) -> Iterator[Document]:
        """Yield failed attempts, or only those of tasks that are failed now."""
        return failed_attempts(
            self.list_tasks(run_id, states=["failed"] if final else None), final=final
        )

    def _task(self, run_id: str, task_id: str) -> TaskRecord:
        task = self._store.get_task(run_id, task_id)
        if task is None:
            hint = did_you_mean(task_id, self._store.task_ids(run_id)[:20_000], list_up_to=5)
            raise StoreError(
                f"run {run_id} has no task {task_id!r}; {hint or f'see: hutctl tasks {run_id}'}"
            )
        return task
