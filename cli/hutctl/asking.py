"""Asks a task program for its definitions: the file form first, then stdout."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hut.lifecycle.task_program import parse_document
from hut.model.problems import InvalidInput, Problem
from hut.model.task_definition import TaskDefinition, read_definitions
from hut.store.registry import schema_problems_of

__all__ = ["ask_program"]

_OPTION = "--dump-task-definitions"
_SECONDS = 60.0
_MOST_BYTES = 64 * 1024 * 1024
_SAID = 500


def ask_program(argv: Sequence[str], *, seconds: float = _SECONDS) -> list[TaskDefinition]:
    """Return the definitions of a program.

    Raises
    ------
    InvalidInput
        If it can't be started, does not answer in time, or with everything wrong with what it says.
    """
    with tempfile.TemporaryDirectory(prefix="hut-") as folder:
        path = Path(folder) / "tasks.json"
        said = _run([*argv, _OPTION, str(path)], folder, seconds)
        content = _content(path)
        if content is None:
            said = _run([*argv, _OPTION], folder, seconds)
            content = _content(Path(folder) / "stdout")
    if content is None:
        message = f"it wrote no definitions, neither into a file nor to stdout ({said})"
        raise InvalidInput([Problem(message)], source=argv[0])
    try:
        data: Any = parse_document(content)
    except ValueError as error:
        message = f"what it wrote for {_OPTION} {error} ({said})"
        raise InvalidInput([Problem(message)], source=argv[0]) from None
    problems: list[Problem] = []
    definitions = read_definitions(data, problems)
    for definition in definitions:
        problems += schema_problems_of(definition)
    if problems:
        raise InvalidInput(problems, source=argv[0])
    return definitions


def _run(argv: Sequence[str], folder: str, seconds: float) -> str:
    """Run a program with nothing to read; return how it ended, with the end of what it complained."""
    stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
    with stdout.open("wb") as output, stderr.open("wb") as errors:
        try:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise InvalidInput([Problem(_not_started(argv[0], error))], source=argv[0]) from None
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            message = f"it did not say its definitions within {seconds:g} s, and was stopped"
            raise InvalidInput([Problem(message)], source=argv[0]) from None
        finally:
            _kill(child)
    told = stderr.read_bytes()[-_SAID:].decode("utf-8", "replace").strip()
    return f"exit code {code}; {told}" if told else f"exit code {code}"


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a program's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _not_started(program: str, error: OSError) -> str:
    if isinstance(error, PermissionError) and Path(program).is_file():
        return f"it is not executable; put what runs it in front: python3 {program}"
    if isinstance(error, FileNotFoundError) and "/" not in program and Path(program).is_file():
        return f"there is no such command; the file here is ./{program}"
    return f"it can't be started: {error.strerror}"


def _content(path: Path) -> bytes | None:
    """Return what a program wrote; None for nothing."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except OSError:
        return None
    return content if content.strip() else None
