"""What runs a task program: its command as it is, then an option and a path for each file."""

from __future__ import annotations

import shlex

from hut.model.task_definition import TaskDefinition

__all__ = ["call_command"]


def call_command(definition: TaskDefinition, given: str | None, output: str, error: str) -> str:
    """Return the shell command that invokes a task.

    The shell only quotes: ``exec`` takes neither its own commands nor functions or aliases for the program.
    The options are opaque words, and each path is a word of its own. There is nothing to read on stdin.

    Parameters
    ----------
    given, output, error
        Paths; without an input file its option is left out.
    """
    words = list(definition.command)
    if given is not None and definition.input_option is not None:
        words += [definition.input_option, given]
    words += [definition.output_option, output, definition.error_option, error]
    return f"(exec {shlex.join(words)}) </dev/null"
