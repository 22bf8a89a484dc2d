"""What runs a task program: its command as it is, then an option and a path for each file.

And what it is given: the input document, with what other tasks wrote in the place of references to it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hut.lifecycle.task_program import Judged, invalid_input
from hut.model.schema_faults import Check, UnusableSchema
from hut.model.task_definition import TaskDefinition
from hut.model.workflow import TaskCall
from hut.planning.calls import FrozenDefinitions
from hut.planning.references import Unresolved, resolve_references

__all__ = ["DOCUMENTS", "Ready", "call_command", "call_from_script", "json_text", "ready"]

DOCUMENTS = "_HUT_DOCUMENTS"
"""Variable with the folder of an attempt's files, where what starts its script makes that folder."""


class Ready(NamedTuple):
    """A task that can be started.

    Attributes
    ----------
    given : str or None
        Its input document as JSON; None for a task without input.
    """

    definition: TaskDefinition
    given: str | None


def ready(
    call: TaskCall,
    definitions: FrozenDefinitions,
    output_of: Callable[[str], Any],
    check: Check,
    *,
    largest: int | None = None,
) -> Ready | Judged:
    """Return what a task is started with; or the verdict on an input that can't be taken.

    Parameters
    ----------
    output_of
        Returns the output document of another task; raises `Unresolved` if it has none.
    largest
        Bytes an input may have.
    """
    definition = definitions.find(call.label)
    if isinstance(definition, str):
        return invalid_input([], definition)
    if definition.input_option is None or call.input is None:
        return Ready(definition, None)
    try:
        document = resolve_references(json.loads(call.input), output_of)
        if faults := check(definition.input_schema, document):
            return invalid_input(faults)
    except (Unresolved, UnusableSchema) as error:
        return invalid_input([], str(error))
    text = json_text(document)
    size = len(text.encode())
    if largest is not None and size > largest:
        most = f"{largest >> 20} MiB are the most that can be handed to a job here"
        return invalid_input([], f"the input has {size:,} bytes; {most}")
    return Ready(definition, text)


def json_text(document: Any) -> str:
    """Return a document as JSON that is text: half of a surrogate pair stays escaped."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document)
    return text


def call_command(definition: TaskDefinition, given: str | None, output: str, error: str) -> str:
    """Return the shell command that invokes a task.

    The shell only quotes: ``exec`` takes neither its own commands nor functions or aliases for the program.
    The options are opaque words, and each path is a word of its own. There is nothing to read on stdin.

    Parameters
    ----------
    given, output, error
        Paths; without an input file its option is left out.
    """
    paths = [None if given is None else shlex.quote(given), shlex.quote(output), shlex.quote(error)]
    return _command(definition, paths)


def call_from_script(ready: Ready) -> str:
    """Return the shell command that writes the input and invokes a task, in the folder `DOCUMENTS`."""
    given = f'"${DOCUMENTS}"/input.json'
    paths = [
        None if ready.given is None else given,
        f'"${DOCUMENTS}"/output.json',
        f'"${DOCUMENTS}"/error.json',
    ]
    command = _command(ready.definition, paths)
    if ready.given is None:
        return command
    return f"printf '%s\\n' {shlex.quote(ready.given)} >{given} &&\n{command}"


def _command(definition: TaskDefinition, paths: Sequence[str | None]) -> str:
    options = (definition.input_option, definition.output_option, definition.error_option)
    words = [shlex.join(definition.command)]
    for option, path in zip(options, paths, strict=True):
        if option is not None and path is not None:
            words += [shlex.quote(option), path]
    return f"(exec {' '.join(words)}) </dev/null"
