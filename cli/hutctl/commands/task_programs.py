"""``task``: register task programs, run one of their tasks, read the document a task wrote."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from hutctl.session import Session, json_text, shared_options

if TYPE_CHECKING:
    from hut.store.registry import Registered
    from hutctl.client import Client, Document

__all__ = ["task"]

_NAME = "NAME[@VERSION]"
_RUN_ANEW = ("failed", "cancelled")


@click.group(
    epilog="""\b
Examples:
  hutctl task register python3 quotes.py
  hutctl task list
  hutctl task run price --input order.json
  hutctl task output last price
\b
A task program says by --dump-task-definitions which tasks it has. Workflows name them by 'task' and give
them an 'input'; docs/task-programs.md says how. Without @VERSION the highest version is meant.
"""
)
@shared_options
def task() -> None:
    """Register task programs, run their tasks, read their outputs."""


@task.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  hutctl task register ./quotes
  hutctl task register --replace python3 quotes.py
""",
)
@click.argument("program", nargs=-1, required=True, metavar="PROGRAM...", type=click.UNPROCESSED)
@click.option("--replace", is_flag=True, help="Also where another definition is registered.")
@shared_options
@click.pass_obj
def register(session: Session, program: tuple[str, ...], *, replace: bool) -> None:
    """Ask a program for its tasks and register them, by name and version."""
    import getpass
    import time

    from hut.store.registry import Registered
    from hutctl.asking import ask_program

    registry = session.client().registry()
    definitions = ask_program(program)
    try:
        by = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in some containers
        by = str(os.getuid())
    changed = [
        registry.put(Registered(each, by, time.time()), replace=replace) for each in definitions
    ]
    done = list(zip(definitions, changed, strict=True))
    if session.as_json:
        session.emit(
            [{"name": d.name, "version": d.version, "changed": is_new} for d, is_new in done]
        )
        return
    for definition, is_new in done:
        click.echo(f"{definition.label}{'' if is_new else ' (as before)'}")
        if "/" in definition.command[0] and not os.path.isabs(definition.command[0]):
            session.say(
                f"warning: {definition.label} runs {definition.command[0]!r}, which is found from "
                "some folders only"
            )
    if not done:
        session.say("the program has no tasks")


@task.command("list")
@shared_options
@click.pass_obj
def list_tasks(session: Session) -> None:
    """List what is registered, the highest version of each name first."""
    found = session.client().registry().all()
    if session.as_json:
        session.emit_list(_document(each) for each in found)
        return
    from hutctl.display.text import columns

    rows = [
        [d.name, d.version, " ".join(d.command)[:60], d.description]
        for d in (each.definition for each in found)
    ]
    for line in columns(("TASK", "VERSION", "COMMAND", "DESCRIPTION"), rows):
        click.echo(line)


@task.command()
@click.argument("name", metavar=_NAME)
@shared_options
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Print a definition, as its program said it."""
    from hut.store.registry import find_definition

    found = find_definition(session.client().registry(), name)
    if session.as_json:
        session.emit(_document(found))
    else:
        click.echo(json_text(found.definition.document, 2))


@task.command()
@click.argument("name", metavar="NAME@VERSION")
@shared_options
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Remove a definition; runs that were submitted with it keep theirs."""
    from hut.model.task_definition import split_name
    from hut.store.registry import find_definition

    registry = session.client().registry()
    if split_name(name)[1] is None:
        raise click.UsageError("say which version to remove: NAME@VERSION")
    definition = find_definition(registry, name).definition
    registry.remove(definition.name, definition.version)
    session.say(f"{definition.label} is removed")


def _document(entry: Registered) -> Document:
    from hut.model.rfc3339 import format_time

    return {
        **entry.definition.document,
        "registered_by": entry.by,
        "registered_at": format_time(entry.at),
    }


@task.command(
    epilog="""\b
Examples:
  hutctl task run price --input order.json
  echo '{"item": "nails", "count": 10}' | hutctl task run price@1.2 --input -
\b
The output document is printed. An earlier execution of the same task with the same input is found again: its
output is printed at once, or it is followed if it still runs; one that failed is not counted.
Exit codes: 0 the task completed, 1 it failed, 2 its input violates its schema, or the usage is wrong.
"""
)
@click.argument("name", metavar=_NAME)
@click.option("--input", "given", metavar="FILE|-", help="The input document.")
@click.option("--fresh", is_flag=True, help="Don't look for an earlier execution.")
@click.option("--cpus", type=click.IntRange(1), metavar="N", help="Over the task's default.")
@click.option("--memory", metavar="SIZE", help="As in workflows: 4G, 512M.")
@click.option("--gpus", type=click.IntRange(1), metavar="N", help="Over the task's default.")
@click.option("--time-limit", metavar="TIME", help="As in workflows: 90s, 2h.")
@click.option("--backend", metavar="B", help="Where it runs.")
@shared_options
@click.pass_obj
def run(
    session: Session,
    /,
    *,
    name: str,
    given: str | None,
    fresh: bool,
    backend: str | None,
    **wants: Any,
) -> int:
    """Run a task and print its output document."""
    from hut.store.registry import find_definition
    from hutctl.commands.running import exit_code

    client = session.client()
    definition = find_definition(client.registry(), name).definition
    document = _read_input(given)
    from hut.planning.calls import digest_of
    from hut.planning.references import escape

    task_id = re.sub(r"[^A-Za-z0-9._-]", "-", definition.name)[:200]
    gpus = wants.pop("gpus")
    fields = {"id": task_id, "task": definition.label, "input": escape(document), **wants}
    fields["gres"] = None if gpus is None else f"gpu:{gpus}"
    text = json.dumps({"name": definition.name, "tasks": [fields]})
    says = json.dumps([definition.label, digest_of(definition), document], sort_keys=True)
    key = None if fresh else f"task:{hashlib.sha256(says.encode()).hexdigest()[:40]}"
    found = _submit(session, client, text, key, backend)
    attended = client.attend(found["id"], _Quiet())
    code = exit_code(attended)
    return _tell(session, client, found["id"], task_id, code)


class _Quiet:
    """A display for nobody: the output document is all that is wanted."""

    def show(self, progress: object) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


def _read_input(path: str | None) -> Any:
    """Return the input document.

    Raises
    ------
    InvalidInput
        If it is none.
    """
    if path is None:
        return None
    from hut.lifecycle.task_program import parse_document
    from hut.model.problems import InvalidInput, Problem

    try:
        if path == "-":
            content = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                content = file.read()
        return parse_document(content)
    except OSError as error:
        raise InvalidInput([Problem(str(error.strerror))], source=path) from None
    except ValueError as error:
        raise InvalidInput([Problem(str(error))], source=path) from None


def _submit(
    session: Session, client: Client, text: str, key: str | None, backend: str | None
) -> Document:
    """Return the run of a task: an earlier one that has not failed, or a new one.

    Executions of one task with one input are numbered. Each number is an idempotency key, so of two who come
    at once one makes the run and the other finds it.
    """
    from hut.store.port import IdempotencyConflict
    from hutctl.client import WorkflowFile

    number = 0
    while True:
        numbered = None if key is None else f"{key}:{number}"
        earlier = None if numbered is None else client.find_keyed(numbered)
        if earlier is not None and earlier["state"] not in _RUN_ANEW:
            session.say(f"run {earlier['id']}: an earlier execution", dim=True)
            return earlier
        if earlier is not None:
            number += 1
            continue
        file = WorkflowFile(
            text, "task.json", os.getcwd(), backend=backend, idempotency_key=numbered
        )
        try:
            submitted = client.submit(file)
        except IdempotencyConflict:
            continue  # somebody else made it meanwhile, asking for other resources
        session.say(f"run {submitted.run['id']}", dim=True)
        return submitted.run


def _tell(session: Session, client: Client, run_id: str, task_id: str, code: int) -> int:
    """Print the output or the error reports of a task."""
    from hutctl.display.text import printable_lines, report_line

    document = client.get_task(run_id, task_id)
    if document["state"] == "completed":
        content = client.read_document(run_id, task_id)
        if content is None:
            from hut.store.port import StoreError

            raise StoreError(f"the output of run {run_id} is gone; run it anew with --fresh")
        if document["message"]:
            session.say(f"warning: {document['message']}")
        if session.as_json:
            session.emit({"run": run_id, "output": json.loads(content.decode("utf-8-sig"))})
        else:
            click.echo(content.decode("utf-8-sig").rstrip("\n"))
        return code
    attempts = document["attempts"]
    reports = attempts[-1].get("reports", []) if attempts else []
    if session.as_json:
        session.emit({"run": run_id, "errors": reports})
    for report in reports:
        session.say(printable_lines(report_line(report)))
    if not reports:
        session.say(f"{task_id} {document['state']}: {document['message']}")
    invalid = document["reason"] == "invalid_input"
    return 2 if invalid else code


@task.command(
    epilog="""\b
Examples:
  hutctl task output last price
"""
)
@click.argument("run_name", metavar="RUN")
@click.argument("task_id", metavar="TASK")
@shared_options
@click.pass_obj
def output(session: Session, run_name: str, task_id: str) -> None:
    """Print the output document of a task of a run."""
    from hut.store.port import StoreError

    client = session.client()
    run_id = client.find_run(run_name)["id"]
    content = client.read_document(run_id, task_id)
    if content is None:
        raise StoreError(
            f"task {task_id!r} has no output document; see: hutctl why {run_id} {task_id}"
        )
    click.echo(content.decode("utf-8-sig").rstrip("\n"))
