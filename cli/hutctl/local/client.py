"""The target ``local``: the store of this machine, and this process as the engine."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Mapping

from hut.checking import check_document
from hut.control import Control
from hut.store.port import StoreError
from hut.store.registry import TaskRegistry
from hut.store.sqlite import SqliteStore
from hut.submission import Submission, workflow_name
from hut.views import Document, plan_document, run_document
from hutctl.client import Submitted, Unreachable, WorkflowFile
from hutctl.configuration import find_configuration, load_configuration
from hutctl.local.attending import Attending
from hutctl.local.configured import Configured
from hutctl.local.home import find_home
from hutctl.local.listing import active_jobs, local_backends, local_environments
from hutctl.local.looking import Looking
from hutctl.local.pool.looking import drain_pool, show_pool, show_pools
from hutctl.local.previews import preview_script
from hutctl.pace import Pace

__all__ = ["LocalClient"]

_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 that don't look like each other
_ID_LENGTH = 10
_MOST_COUNTED = 10_000
_LOOK_SECONDS = 0.2


class LocalClient(Attending, Looking):
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
        self._configured = Configured(config, self._home, self._store, say, tell_path=verbose)
        if verbose:
            say(f"store: {self._home.database}")

    def pace(self) -> Pace:
        """Return how often to look whether something has changed."""
        return Pace(_LOOK_SECONDS, _LOOK_SECONDS)

    # Before a run -------------------------------------------------------------------------------

    def plan(self, file: WorkflowFile, *, scripts: bool) -> Document:
        """Return what would run."""
        setting, _ = self._configured.setting(file.folder, file.pool or file.backend, file.pool)
        submission = _submission(file)
        plan, settings = self._control.plan(submission, setting)
        name = workflow_name(submission, plan)
        return plan_document(
            plan, settings, name=name, script=preview_script(name, settings) if scripts else None
        )

    def submit(self, file: WorkflowFile) -> Submitted:
        """Store a run."""
        setting, _ = self._configured.setting(file.folder, file.pool or file.backend, file.pool)
        new_id = "".join(_ID_LETTERS[byte % 32] for byte in os.urandom(_ID_LENGTH))
        run, plan = self._control.submit(_submission(file), setting, now=time.time(), new_id=new_id)
        return Submitted(run_document(run), [str(warning) for warning in plan.warnings])

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

    # Task programs ------------------------------------------------------------------------------

    def registry(self) -> TaskRegistry:
        """Return the task registry."""
        return self._store.registry

    def find_keyed(self, key: str) -> Document | None:
        """Return the run that was submitted under an idempotency key."""
        run_id = self._store.run_of_key(key)
        return None if run_id is None else run_document(self._store.get_run(run_id))

    # This machine -------------------------------------------------------------------------------

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
