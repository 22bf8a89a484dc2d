"""The target ``local``: the store of this machine, and this process as the engine."""

from __future__ import annotations

import getpass
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hut.backends.local import LocalBackend, LocalOptions
from hut.checking import check_document
from hut.control import Control, Setting, Submission, workflow_name
from hut.model.problems import InvalidInput, did_you_mean
from hut.model.records import Attempt, RunRecord, TaskRecord
from hut.model.states import TERMINAL_RUN, RunState, TaskState
from hut.scheduling.twins import Twin, leader_of_attempt
from hut.store.port import AttemptKey, RunFilter, StoreError, TaskFilter, UnknownRun
from hut.store.registry import KnownDefinitions, TaskRegistry
from hut.store.sqlite import SqliteStore
from hut.views import Document, explanation_document, plan_document, run_document, task_document
from hutctl.client import Attended, Display, LogPart, Submitted, Unreachable, WorkflowFile
from hutctl.configuration import find_configuration, load_configuration
from hutctl.local.calls import Calls
from hutctl.local.documents import Documents
from hutctl.local.driving import Machine, drive, follow
from hutctl.local.home import find_home
from hutctl.local.launching import Launcher
from hutctl.local.listing import (
    active_jobs,
    failed_attempts,
    local_backends,
    local_environments,
)
from hutctl.local.lock import holder_of
from hutctl.local.logs import read_attempt_log
from hutctl.local.pool.choosing import kept_pool, pool_of, pool_setting
from hutctl.local.pool.looking import drain_pool, show_pool, show_pools, waiting_in
from hutctl.local.previews import preview_script
from hutctl.local.takeover import Takeover
from hutctl.pace import Pace

if TYPE_CHECKING:
    from hut.model.configuration import Configuration

__all__ = ["LocalClient"]

_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 that don't look like each other
_ID_LENGTH = 10
_MOST_COUNTED = 10_000
_PAGE = 1000
_DETACH_SECONDS = 10.0
_LOOK_SECONDS = 0.2


class LocalClient:
    """See `hutctl.client.Client` for what each method does.

    Parameters
    ----------
    config
        Path of the configuration file, if it was named.
    say
        Tells a person something.
    """

    def __init__(
        self, config: str | None, say: Callable[[str], None], *, verbose: bool = False
    ) -> None:
        self._config = config
        self._say = say
        self._home = find_home()
        self._home.create()
        try:
            self._store = SqliteStore(self._home.database)
        except StoreError as error:
            raise Unreachable(str(error)) from error
        self._control = Control(self._store, check_document)
        self._verbose = verbose
        if verbose:
            say(f"store: {self._home.database}")

    def pace(self) -> Pace:
        """Return how often to look whether something has changed."""
        return Pace(_LOOK_SECONDS, _LOOK_SECONDS)

    # Before a run -------------------------------------------------------------------------------

    def plan(self, file: WorkflowFile, *, scripts: bool) -> Document:
        """Return what would run."""
        setting, _ = self._setting(file.folder, file.pool or file.backend, file.pool)
        submission = _submission(file)
        plan, settings = self._control.plan(submission, setting)
        name = workflow_name(submission, plan)
        return plan_document(
            plan, settings, name=name, script=preview_script(name, settings) if scripts else None
        )

    def submit(self, file: WorkflowFile) -> Submitted:
        """Store a run."""
        setting, _ = self._setting(file.folder, file.pool or file.backend, file.pool)
        new_id = "".join(_ID_LETTERS[byte % 32] for byte in os.urandom(_ID_LENGTH))
        run, plan = self._control.submit(_submission(file), setting, now=time.time(), new_id=new_id)
        return Submitted(run_document(run), [str(warning) for warning in plan.warnings])

    def _setting(
        self, folder: str, backend: str | None = None, pool: str | None = None
    ) -> tuple[Setting, Machine]:
        """Return what the configuration for a folder says.

        Parameters
        ----------
        backend
            Where the run's tasks go; a pool if the configuration says so.
        pool
            A pool they go to, whether it is configured or not.

        Raises
        ------
        InvalidInput
            If the configuration is at fault.
        """
        setting, machine = self._place(folder, backend, pool)
        return replace(setting, definitions=KnownDefinitions(self._store.registry)), machine

    def _place(self, folder: str, backend: str | None, pool: str | None) -> tuple[Setting, Machine]:
        path = find_configuration(self._config, folder)
        if path is None:
            if pool is not None:
                return pool_setting(self._home, pool, folder)
            return Setting(base_dir=folder, queues=False), Machine()
        if self._verbose:
            self._say(f"configuration: {path}")
        configuration = load_configuration(path)
        if (
            found := pool_of(configuration, pool or backend, required=pool is not None)
        ) is not None:
            return pool_setting(self._home, pool or backend or "", folder, configuration, found)
        local = configuration.local_backend()
        others = {
            entry.name: f"is of type {entry.type}, {_elsewhere(entry.type)}"
            for entry in configuration.backends
            if entry != local
        }
        setting = Setting(
            environments=configuration.environments_by_name(),
            backends=(local.name,),
            elsewhere=others,
            base_dir=folder,
            queues=False,
            sites=_sites(configuration),
        )
        return setting, Machine(local.name, local.max_concurrent, local.kill_grace)

    def _machine(self, run: RunRecord) -> Machine:
        """Return how to run the tasks of a run; a configuration that broke since is no obstacle."""
        try:
            return self._setting(run.settings.base_dir, pool=kept_pool(run))[1]
        except InvalidInput as error:
            self._say(f"the configuration is at fault and is left out: {error}")
            pool = kept_pool(run)
            if pool is not None:
                return pool_setting(self._home, pool, run.settings.base_dir)[1]
            return Machine(run.settings.backend)

    def _replacing(self, run: RunRecord) -> Callable[[], bool]:
        """Return what looks after tasks that this machine could not run when they were submitted."""
        if not run.settings.sites:
            return lambda: False
        from hutctl.local.replacing import Replacing

        folder = run.settings.base_dir
        return Replacing(
            self._store,
            run,
            lambda: find_configuration(self._config, folder),
            lambda: self._setting(folder)[0].sites,
        )

    # While it runs ------------------------------------------------------------------------------

    def attend(self, run_id: str, display: Display) -> Attended:
        """Work on a run until it ends; where another process does, follow it and stand by."""
        return self._attend(run_id, display, self._say)

    def _attend(self, run_id: str, display: Display, say: Callable[[str], None]) -> Attended:
        folder = self._home.run_folder(run_id)
        while True:
            run = self._store.get_run(run_id)
            if run.ended_at is not None:
                return Attended(run_document(run))
            if run.held and run.cancel_requested_at is None:
                raise StoreError(
                    f"run {run_id} is still being sent, so nothing of it may start; submit the same "
                    f"again to go on with that, or cancel it: hutctl cancel {run_id}"
                )
            try:
                attended = drive(
                    self._control,
                    self._store,
                    folder,
                    run_id,
                    replace(self._machine(run), look_again=self._replacing(run)),
                    display,
                    found=lambda left: _tell_found(left, say),
                )
            except BrokenPipeError:
                raise  # nobody reads what is shown any more
            except (OSError, sqlite3.Error) as error:
                raise Unreachable(_left_at(run_id, error)) from error
            if attended is None:
                say(f"another hutctl works on run {run_id}; following it")
                attended = follow(self._store, folder, run_id, display)
            if attended is not None:
                return attended

    def watch(self, run_id: str, display: Display) -> Attended:
        """Follow a run that another process works on."""
        attended = follow(self._store, self._home.run_folder(run_id), run_id, display)
        if attended is None:
            raise Unreachable(
                f"no hutctl works on run {run_id}; take it up with: hutctl resume {run_id}"
            )
        return attended

    def detach(self, run_id: str) -> None:
        """Let a process of its own work on the run."""
        folder = self._home.run_folder(run_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "hutctl", "resume", run_id, "--target", "local"]
        if self._config is not None:
            command += ["--config", os.path.abspath(self._config)]
        descriptor = os.open(folder / "hutctl.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "HUT_HOME": str(self._home.path)},
            )
        until = time.monotonic() + _DETACH_SECONDS
        while time.monotonic() < until:
            if holder_of(folder) or self._store.get_run(run_id).state in TERMINAL_RUN:
                return
            if child.poll() is not None:
                break
            time.sleep(0.02)
        raise Unreachable(f"the hutctl in the background did not start; see {folder}/hutctl.log")

    def cancel(self, run_id: str) -> Document:
        """Stop a run; if nobody works on it any more, end here what it left running."""
        run = self._control.cancel(run_id, time.time())
        if run.ended_at is None:
            return self._attend(run_id, _Nowhere(), _say_nothing).run
        return run_document(run)

    def retry(self, run_id: str, *, everything: bool) -> int:
        """Make tasks pending again."""
        return self._control.retry(run_id, time.time(), everything=everything)

    # Open and held runs -------------------------------------------------------------------------

    def add_tasks(self, run_id: str, file: WorkflowFile, *, key: str) -> Submitted:
        """Let tasks join an open or held run, all of them or none, once under a key."""
        adds, _ = self._control.add_tasks(
            run_id, file.text, filename=file.filename, key=key, now=time.time()
        )
        warnings = [] if adds is None else [str(warning) for warning in adds.warnings]
        return Submitted(run_document(self._store.get_run(run_id)), warnings)

    def release(self, run_id: str) -> Document:
        """Let the tasks of a held run be started."""
        return run_document(self._store.release_run(run_id, time.time()))

    def close(self, run_id: str) -> Document:
        """Take no more tasks into an open run; whoever works on it sees it to its end."""
        return run_document(self._control.close(run_id, time.time()))

    # Looking ------------------------------------------------------------------------------------

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
        machine = self._machine(run)
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

    # Task programs ------------------------------------------------------------------------------

    def read_document(self, run_id: str, task_id: str) -> bytes | None:
        """Return the output document of a task's latest attempt; None if it has none."""
        task = self._task(run_id, task_id)
        if task.spec.call is None:
            raise StoreError(
                f"task {task_id!r} is a command and has no output document; see: hutctl logs"
            )
        kept = Documents(self._home.run_folder(run_id))
        return kept.read(task.position, task_id, task.attempt, "output")

    def registry(self) -> TaskRegistry:
        """Return the task registry."""
        return self._store.registry

    def find_keyed(self, key: str) -> Document | None:
        """Return the run that was submitted under an idempotency key."""
        run_id = self._store.run_of_key(key)
        return None if run_id is None else run_document(self._store.get_run(run_id))

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

    def list_jobs(self, *, limit: int) -> list[Document]:
        """Return what is submitted or runs now, of all runs."""
        return active_jobs(self._store, limit)

    def list_audit(
        self,
        *,
        limit: int,  # noqa: ARG002
        filters: Mapping[str, str | None],  # noqa: ARG002
    ) -> list[Document]:
        """Refuse: on this machine there is nobody but its user."""
        raise StoreError(
            "this machine keeps no record of who did what; a control plane does: --target NAME"
        )

    def list_pools(self) -> list[Document]:
        """Return the pools of this machine."""
        return show_pools(self._home)

    def show_pool(self, name: str) -> Document:
        """Return a pool with its workers."""
        return show_pool(self._home, name)

    def drain_pool(self, name: str, worker: str | None, *, draining: bool) -> Document:
        """Let a pool, or one of its workers, take nothing new, or again."""
        return drain_pool(self._home, name, worker, draining=draining)

    def list_backends(self, folder: str) -> list[Document]:
        """Return this machine's backend, then those that are configured for control planes."""
        path = find_configuration(self._config, folder)
        if path is None:
            return local_backends(None, self._active())
        return local_backends(load_configuration(path), self._active())

    def list_environments(self, folder: str) -> list[Document]:
        """Return the environments of the folder's configuration."""
        path = find_configuration(self._config, folder)
        return [] if path is None else local_environments(load_configuration(path))

    def _active(self) -> int:
        return len(active_jobs(self._store, _MOST_COUNTED))

    def diagnose(self) -> list[tuple[str, bool, str]]:
        """Return checks of this machine."""
        from hutctl.local.diagnosis import diagnose

        return diagnose(self._home, self._store)

    def _task(self, run_id: str, task_id: str) -> TaskRecord:
        task = self._store.get_task(run_id, task_id)
        if task is None:
            hint = did_you_mean(task_id, self._store.task_ids(run_id)[:20_000], list_up_to=5)
            raise StoreError(
                f"run {run_id} has no task {task_id!r}; {hint or f'see: hutctl tasks {run_id}'}"
            )
        return task


def _sites(configuration: Configuration) -> dict[str, Any]:
    """Return this machine as schedulers see it; nothing where none is configured."""
    if not configuration.schedulers:
        return {}
    from hut.model.configuration import plain
    from hut.scheduling.placing import offered, plain_sites
    from hutctl.local.machine_properties import machine_properties

    local = configuration.local_backend()
    site = {
        "name": local.name,
        "type": local.type,
        "scheduler": local.scheduler,
        "targets": offered(plain(local), {local.name: machine_properties()}),
    }
    return plain_sites([plain(entry) for entry in configuration.schedulers], [site])


def _left_at(run_id: str, error: OSError | sqlite3.Error) -> str:
    """Say that the files of a run can't be written, and what becomes of it."""
    where, why = "", str(error)
    if isinstance(error, OSError):
        where, why = f"{error.filename}: " if error.filename else "", error.strerror or why
    return (
        f"run {run_id} can't go on: {where}{why}; its tasks that run now go on by themselves, the "
        f"others wait until what is wrong is put right and you say: hutctl resume {run_id}"
    )


def _elsewhere(kind: str) -> str:
    if kind == "workers":
        return "a pool; a run goes to it as a whole: --pool NAME"
    return "which needs a control plane on AWS"


def _say_nothing(message: str) -> None:
    """Say nothing."""


def _tell_found(found: Takeover, say: Callable[[str], None]) -> None:
    parts = [
        (len(found.adopted), "still running"),
        (len(found.ended), "ended meanwhile"),
        (found.lost, "lost"),
        (found.given_back, "never started"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    if told:
        say(f"taken over from an earlier hutctl: {told}")


class _Nowhere:
    """A display for nobody."""

    def show(self, progress: object) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


def _submission(file: WorkflowFile) -> Submission:
    try:
        owner = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in some containers
        owner = str(os.getuid())
    return Submission(
        text=file.text,
        filename=file.filename,
        workflow=file.name or "",
        owner=owner,
        max_concurrent=file.max_concurrent,
        env_vars=file.env_vars,
        tags=file.tags,
        backend=file.pool or file.backend,
        idempotency_key=file.idempotency_key,
        options=file.options,
    )
