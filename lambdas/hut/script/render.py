"""Renders the script of a task. Every value is quoted; only what people wrote as shell is shell.

Order: pipefail, the journal (locally), variables, init lines, the working folder, the command. The
command stands last and verbatim, so no quoting mistake in it can reach anything of ours, and the
script's exit code is the command's.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hut.lifecycle.attempt import EXIT_NOT_STARTED
from hut.model.records import RunRecord
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.workflow import TaskSpec
from hut.script.variables import init_lines, run_variables, task_variables, variables_of

__all__ = ["Journal", "ScriptRequest", "Scripts", "quote_path", "render_script"]

_AUTOMATIC = frozenset(AUTOMATIC_VARIABLES)


@dataclass(frozen=True, slots=True)
class Journal:
    """Files in which a script notes its own start and end, so that a dead engine's heir can know.

    Attributes
    ----------
    starts : str
        Path; its folder is renamed to fence off a dead engine: a script that can't write here
        must not run.
    ends : str
        Path.
    """

    starts: str
    ends: str


@dataclass(frozen=True, slots=True)
class ScriptRequest:
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
    """

    def __init__(
        self, run: RunRecord, shell: Literal["bash", "sh"], journal: Journal | None = None
    ) -> None:
        self._run = run
        if shell == "bash":
            self._head = "#!/usr/bin/env bash\n# run {}, task {}, attempt {}\nset -o pipefail\n"
        else:
            # Older shells know no pipefail, and stop at an option they don't know.
            self._head = (
                "#!/bin/sh\n# run {}, task {}, attempt {}\n"
                "(set -o pipefail) 2>/dev/null && set -o pipefail\n"
            )
        self._starts = None if journal is None else shlex.quote(journal.starts)
        self._ends = "" if journal is None else shlex.quote(journal.ends)
        self._exports = _exports(run_variables(run))
        self._quote_path = lru_cache(maxsize=128)(quote_path)

    def render(self, request: ScriptRequest) -> str:
        """Return the script of one attempt."""
        run, spec = self._run, request.spec
        lines = [self._head.format(run.id, spec.id, request.attempt)]
        if request.journal_key is not None and self._starts is not None:
            lines.append(self._journal_lines(request.journal_key))
        given = variables_of(run, spec)
        if given:
            lines.append(_exports({k: v for k, v in given.items() if k not in _AUTOMATIC}))
        lines.append(self._exports)
        lines.append(_exports(task_variables(spec.id, request.attempt)))
        init = init_lines(run, spec).strip("\n")
        if init:
            lines.append(init + "\n")
        if request.working_dir is not None:
            path = self._quote_path(request.working_dir)
            lines.append(f"cd -- {path} || exit {EXIT_NOT_STARTED}\n")
        lines.append(spec.command)
        lines.append("\n")
        return "".join(lines)

    def _journal_lines(self, key: str) -> str:
        """Return what notes the start, and the end when the shell exits.

        A shell that dies of a signal runs its EXIT trap with the status of the command before,
        which may be 0 (bash does): a killed task would look completed. So signals become exits.
        """
        start = f'echo "S {key} $$ $EPOCHREALTIME $HUT_SLOT" >> {self._starts}'
        end = shlex.quote(f'echo "E {key} $? $EPOCHREALTIME" >> {self._ends}')
        return (
            f"{start} || exit {EXIT_NOT_STARTED}\n"
            f"trap {end} EXIT; trap 'exit 143' HUP INT QUIT PIPE ALRM TERM\n"
        )


def render_script(
    run: RunRecord, request: ScriptRequest, *, shell: Literal["bash", "sh"] = "bash"
) -> str:
    """Return the script of one attempt, without a journal."""
    return Scripts(run, shell).render(request)


def quote_path(path: str) -> str:
    """Return `path` quoted for a shell, with ``~`` at its beginning left to the shell's HOME."""
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}' if path[2:] else '"$HOME"'
    return shlex.quote(path)


def _exports(variables: dict[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(text)}\n" for name, text in variables.items())
