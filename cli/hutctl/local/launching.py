"""From a claimed task to what the local backend needs to start it."""

from __future__ import annotations

import os
import shutil
from typing import Literal

from hut.backends.local import Launch, LocalBackend
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hut.store.port import AttemptKey, Claim

__all__ = ["Launcher", "resolve", "working_dir_of"]


def working_dir_of(run: RunRecord, spec: TaskSpec) -> str:
    """Return the folder a task runs in; ``~`` at its beginning is left to the shell."""
    base = run.settings.base_dir
    if spec.working_dir is None:
        return base
    if is_home(spec.working_dir):
        return spec.working_dir
    return os.path.join(base, spec.working_dir)


def resolve(run: RunRecord, spec: TaskSpec, path: str) -> str:
    """Return the absolute path of a file a task names: relative to its folder, or as it is."""
    folder, name = (
        os.path.expanduser(place) if is_home(place) else place
        for place in (working_dir_of(run, spec), path)
    )
    return os.path.join(folder, name)


def is_home(path: str) -> bool:
    """Say whether a path begins in the home folder; ``~user`` is a name like any other."""
    return path == "~" or path.startswith("~/")


class Launcher:
    """Makes launches for the claims of one run.

    Parameters
    ----------
    run
        The run; what matters of it here never changes.
    backend
        Gives names in the journal. None for scripts that note nothing: workers of a pool run them.
    """

    def __init__(self, run: RunRecord, backend: LocalBackend | None) -> None:
        self._run = run
        self._backend = backend
        self._plain = run.settings.shell == "sh"
        journal = None if backend is None else backend.journal.paths
        self._scripts = Scripts(run, "sh" if self._plain else _shell_of(backend), journal)

    def script(self, spec: TaskSpec, key: AttemptKey) -> str:
        """Return the script of an attempt, exactly as it is run."""
        folder = working_dir_of(self._run, spec)
        name = None if self._backend is None else self._backend.journal_key(key)
        return self._scripts.render(ScriptRequest(spec, key.attempt, folder, name))

    def launch(self, claim: Claim) -> Launch:
        """Return what to start for a claim."""
        run, spec = self._run, claim.spec
        output, error = spec.output_file, spec.error_file
        return Launch(
            key=claim.key,
            task_id=spec.id,
            script=self.script(spec, claim.key),
            # Every user of a machine can read the arguments of every process: values stay out.
            private=self._scripts.has_values(spec),
            folder=working_dir_of(run, spec),
            time_limit=spec.resources.time_limit,
            output_file=None if output is None else resolve(run, spec, output),
            error_file=None if error is None else resolve(run, spec, error),
            plain=self._plain,
        )


def _shell_of(backend: LocalBackend | None) -> Literal["bash", "sh"]:
    if backend is not None:
        return backend.shell
    return "sh" if shutil.which("bash") is None else "bash"  # workers are on this machine, too
