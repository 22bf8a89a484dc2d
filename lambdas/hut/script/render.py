"""Renders the script of a task. Every value is quoted; only what people wrote as shell is shell.

Order: pipefail, the journal (locally), variables, init lines, the working folder, the command. The
command stands last and verbatim, so no quoting mistake in it can reach anything of ours, and the
script's exit code is the command's.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from hut.lifecycle.attempt import EXIT_NOT_STARTED
from hut.model.records import RunRecord
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.workflow import TaskSpec
from hut.script.variables import ARGS, init_lines, run_variables, task_variables, variables_of

__all__ = ["Journal", "ScriptRequest", "Scripts", "quote_path", "render_script"]

_AUTOMATIC = frozenset(AUTOMATIC_VARIABLES)


@dataclass(frozen=True, slots=True)
class Journal:
    """Files by which a dead engine's heir learns what became of its scripts.

    Attributes
    ----------
    gate : str
        Path; a script that does not find it must not run: its engine is dead and replaced.
    ends : str
        Path; a script notes its exit code there.
    """

    gate: str
    ends: str


class ScriptRequest(NamedTuple):
    """What a script is rendered from, beside the run.

    Attributes
    ----------
    working_dir : str or None
        Where the command runs; ``~`` at its beginning is the user's home where the script runs.
    journal_key : str or None
        Names the attempt in the journal; letters, digits and dots. None: nothing is noted.
    """

    spec: TaskSpec
    attempt: int
    working_dir: str | None
    journal_key: str | None = None


class Scripts:
    """The scripts of one run; what they have in common is prepared once.

    Parameters
    ----------
    run
        Its id, name, variables and environments.
    shell : {"bash", "sh"}
        What will run them; ``pipefail`` is certain only with bash.
    journal
        Where scripts note starts and ends, if they do.
    exports
        Whether scripts set the variables; if not, what runs them must have set them.
    """

    def __init__(
        self,
        run: RunRecord,
        shell: Literal["bash", "sh"],
        journal: Journal | None = None,
        *,
        exports: bool = True,
    ) -> None:
        self._run = run
        if shell == "bash":
            first, pipefail = "#!/usr/bin/env bash", "set -o pipefail\n"
        else:
            # Older shells know no pipefail, and stop at an option they don't know.
            first, pipefail = "#!/bin/sh", "(set -o pipefail) 2>/dev/null && set -o pipefail\n"
        self._head = f"{first}\n# run {run.id}, task "
        # Lines of a task file mean what `sh -c` makes of them: the last of a pipe says how it went.
        self._pipefail = "" if run.settings.shell == "sh" else pipefail
        self._exports = exports
        self._journal = "" if journal is None else _journal_lines(journal)
        self._run_gives = bool(run.settings.env_vars or run.settings.environment)
        # One export for all: a third of the time of one for each.
        self._automatic = "".join(
            f" \\\n  {name}={shlex.quote(text)}" for name, text in run_variables(run).items()
        )
        self._quote_path = lru_cache(maxsize=128)(quote_path)

    def has_values(self, spec: TaskSpec) -> bool:
        """Say whether the script of a task holds variables or init lines that people gave."""
        if self._run_gives or spec.environment:
            return True
        # What is set by itself anyway is no more private than the command.
        own = self._run.settings.task_variables and spec.env_vars.keys() == {ARGS}
        return bool(spec.env_vars) and not own

    def render(self, request: ScriptRequest) -> str:
        """Return the script of one attempt."""
        spec = request.spec
        return f"{self._head}{spec.id}, attempt {request.attempt}\n{self.body(request)}"

    def body(self, request: ScriptRequest) -> str:
        """Return the script without the two lines that say whose it is."""
        spec, key = request.spec, request.journal_key
        journal = "" if key is None else self._journal.replace("\0", key)
        given = automatic = init = folder = ""
        if self.has_values(spec):
            given, init = self._given(spec) if self._exports else "", self._init(spec)
        if self._exports:
            # An id and a number need no quotes.
            own = f" \\\n  HUT_TASK_ID={spec.id} \\\n  HUT_ATTEMPT={request.attempt}"
            if self._run.settings.task_variables:
                own += "".join(
                    f" \\\n  {name}={shlex.quote(text)}"
                    for name, text in task_variables(self._run, spec, request.attempt).items()
                )
            automatic = f"export{self._automatic}{own}\n"
        if request.working_dir is not None:
            path = self._quote_path(request.working_dir)
            folder = f"cd -- {path} || exit {EXIT_NOT_STARTED}\n"
            if self._run.settings.task_variables:
                folder += 'export TASK_CWD="$PWD"\n'
        return f"{self._pipefail}{journal}{given}{automatic}{init}{folder}{spec.command}\n"

    def _given(self, spec: TaskSpec) -> str:
        """Return the exports of what people gave, each by itself: one may be refused by the shell."""
        given = variables_of(self._run, spec)
        return "".join(
            f"export {name}={shlex.quote(text)}\n"
            for name, text in given.items()
            if name not in _AUTOMATIC
        )

    def _init(self, spec: TaskSpec) -> str:
        lines = init_lines(self._run, spec).strip("\n")
        return f"{lines}\n" if lines else ""


def _journal_lines(journal: Journal) -> str:
    """Return what looks for the gate, and what notes the end when the shell exits.

    NUL, which no path holds, stands for the attempt.

    A shell that dies of a signal runs its EXIT trap with the status of the command before, which
    may be 0 (bash does): a killed task would look completed. So signals become exits.
    """
    note = "'echo \"E \0 $? $EPOCHREALTIME '"
    slot = '"${HUT_SLOT%%[!0-9-]*}"'  # read now: what people give may set it later
    end = note + slot + shlex.quote(f' $$ ." >> {shlex.quote(journal.ends)}')
    return (
        f"[ -e {shlex.quote(journal.gate)} ] || exit {EXIT_NOT_STARTED}\n"
        f"trap {end} EXIT; trap 'exit 143' HUP INT QUIT PIPE ALRM TERM\n"
    )


def render_script(
    run: RunRecord, request: ScriptRequest, *, shell: Literal["bash", "sh"] = "bash"
) -> str:
    """Return the script of one attempt, without a journal."""
    return Scripts(run, shell).render(request)


def quote_path(path: str) -> str:
    """Return `path` quoted for a shell, with ``~`` at its beginning left to the shell's HOME.

    A relative path begins with ``./``, so that neither ``CDPATH`` nor ``-`` makes it another one.
    """
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}' if path[2:] else '"$HOME"'
    return shlex.quote(path if path.startswith("/") else f"./{path}")
