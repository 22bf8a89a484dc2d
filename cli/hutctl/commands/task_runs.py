"""What becomes of the tasks of a task file: a run that is followed to its end, or more of an open one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from hutctl.commands.running import attend_and_report, conclude, detach_run, new_display
from hutctl.session import Session

if TYPE_CHECKING:
    from hut.planning.task_files import TaskFileReader
    from hutctl.client import Client, Document, WorkflowFile
    from hutctl.spooling import Common, Spool

__all__ = ["Asked", "add", "begin", "forever", "restart"]

_WHOLE = 10_000
"""Tasks that are submitted at once; more are sent in pieces."""

_MARK = "task-file"
"""Tag of runs of task files; its value tells submissions of the same apart from others."""

_BUNDLE_WAIT = 5.0

_LOOKED_UP = 1000
"""Failures that are asked of a control plane one by one, as they come; others come at the end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, apart from where the lines come from."""

    options: dict[str, Any]
    file: WorkflowFile
    common: Common
    reader: TaskFileReader

    def __getitem__(self, name: str) -> Any:
        return self.options[name]


def begin(session: Session, client: Client, asked: Asked, spool: Spool) -> int:
    """Make a run of the tasks, or take up the one they are in already, and see it to its end."""
    from dataclasses import replace

    from hutctl.display.text import plural
    from hutctl.spooling import options_digest

    whole = spool.count <= _WHOLE or spool.ordered or asked["dry_run"]
    file = replace(
        asked.file,
        text=spool.text() if whole else asked.common.text([]),
        options=replace(asked.file.options, held=not whole),
    )
    if asked["dry_run"]:
        from hutctl.commands.planning import show_plan

        return show_plan(session, file, scripts=False)
    about = {"folder": file.folder, "file": file.filename, **_without_source(asked.options)}
    digest = options_digest(spool, about)
    mark = digest[:16]
    key, run = asked["idempotency_key"], None
    if key is None:
        run, key = _find_unended(client, mark, digest)
    file = replace(file, tags={**file.tags, _MARK: mark}, idempotency_key=key)
    if run is not None:
        run_id = run["id"]
        session.say(
            f"run {run_id} of the same tasks has not ended; taking it up (--name makes another)"
        )
    else:
        submitted = client.submit(file)
        for warning in submitted.warnings:
            session.say(f"warning: {warning}")
        run = submitted.run
        run_id = run["id"]
        session.say(f"run {run_id}: {run['workflow']}, {plural(spool.count, 'task')}")
    if run["held"] and run["ended_at"] is None:
        _send(session, client, run_id, spool, digest)
    if asked["detach"]:
        return detach_run(session, client, run_id)
    return _follow(session, client, run_id, asked.options)


def _without_source(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that make a run another one; how it is followed does not."""
    aside = ("detach", "print_failures", "failures", "dry_run", "idempotency_key", "bind", "port",
             "auth", "initdb", "no_confirm")  # fmt: skip
    return {name: value for name, value in options.items() if name not in aside}


def _find_unended(client: Client, mark: str, digest: str) -> tuple[Document | None, str]:
    """Return the run of the same tasks that has not ended, and the key for another.

    The key changes with each run that has ended. So two that submit at once get one run, and who
    submits after its end gets another.
    """
    found = client.list_runs(limit=1, tags={_MARK: mark})
    if found and found[0]["ended_at"] is None:
        return found[0], ""
    last = found[0]["id"] if found else "first"
    return None, f"task-file-{digest[:32]}-{last}"


def _send(session: Session, client: Client, run_id: str, spool: Spool, digest: str) -> None:
    """Add all tasks to a held run, and let it begin; what was sent before is not added twice."""
    from hutctl.client import WorkflowFile

    try:
        for number, piece in enumerate(spool.pieces()):
            file = WorkflowFile(piece, "tasks.json", "")
            client.add_tasks(run_id, file, key=f"{digest[:32]}-{number}")
        client.release(run_id)
    except KeyboardInterrupt:
        client.cancel(run_id)
        session.say(f"run {run_id} was cancelled before it began")
        raise


def add(session: Session, client: Client, asked: Asked, spool: Spool) -> int:
    """Add tasks to an open run."""
    from hutctl.client import WorkflowFile
    from hutctl.display.text import plural

    run = client.find_run(asked["to"])
    run_id, key = run["id"], asked.common.prefix
    pieces = [spool.text()] if spool.ordered else spool.pieces()
    for number, piece in enumerate(pieces):
        submitted = client.add_tasks(
            run_id, WorkflowFile(piece, "tasks.json", ""), key=f"{key}{number}"
        )
        run = submitted.run
    session.say(f"run {run_id}: {plural(spool.count, 'task')} added; {run['total']:,} in all")
    if session.as_json:
        session.emit(run)
    else:
        click.echo(run_id)
    return 0


def forever(session: Session, client: Client, asked: Asked, *, reads: bool) -> int:
    """Keep a run open, and add the lines of stdin to it as they come."""
    from dataclasses import replace

    from hutctl.streaming import Source, Stream

    if asked["to"] is not None:
        run_id = client.find_run(asked["to"])["id"]
    else:
        file = replace(
            asked.file, text=asked.common.text([]), tags={**asked.file.tags, _MARK: "open"}
        )
        run_id = client.submit(file).run["id"]
        session.say(f"run {run_id} is open; add tasks: hutctl submit --to {run_id} FILE")
        session.say(f"  let it end: hutctl close {run_id}    stop it: hutctl cancel {run_id}")
    wait = _BUNDLE_WAIT if asked["bundlewait"] is None else asked["bundlewait"]
    # Of its own: Python aborts where a thread still waits in `sys.stdin` when the process ends.
    pipe = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 - as long as the process
    source = Source(pipe, asked.reader, asked.common, asked["bundlesize"], wait)
    stream = Stream(run_id, source, session.new_client, session.say)
    if asked["to"] is not None:
        stream.run()
        session.say(f"run {run_id}: {stream.added:,} tasks added")
        return 1 if stream.refused else 0
    if reads:
        stream.start()
    if asked["detach"]:
        return detach_run(session, client, run_id)
    code = _follow(session, client, run_id, asked.options)
    return 1 if code == 0 and stream.refused else code


def restart(session: Session, client: Client, options: dict[str, Any]) -> int:
    """Go on with a run that has not ended; if there is none, nothing remains."""
    if options["to"] is not None:
        found = [client.find_run(options["to"])]
    else:
        going = client.list_runs(limit=100, states=["pending", "running"])
        found = [run for run in going if _MARK in run["tags"]]
    if not found or found[0]["ended_at"] is not None:
        session.say("nothing remains to be done")
        if session.as_json:
            session.emit(found[0] if found else None)
        return 0
    run_id = found[0]["id"]
    others = f"; {len(found) - 1} more have not ended" if len(found) > 1 else ""
    session.say(f"going on with run {run_id}{others}")
    if options["detach"]:
        return detach_run(session, client, run_id)
    return _follow(session, client, run_id, options)


def _follow(session: Session, client: Client, run_id: str, options: dict[str, Any]) -> int:
    """See a run to its end, and write down what fails."""
    path = options["failures"]
    if not options["print_failures"] and path is None:
        return attend_and_report(session, client, run_id)
    from hutctl.failing import FailureLines

    with _opened(path) as file:
        printed = file is sys.stdout
        lines = FailureLines(
            client,
            run_id,
            file,
            new_display(live=not (printed and file.isatty())),
            retried=bool(options["max_retries"]),
            most=None if session.target_name() in (None, "local") else _LOOKED_UP,
        )
        if client.find_run(run_id)["started_at"] is not None:
            lines.catch_up()
        try:
            attended = client.attend(run_id, lines)
        finally:
            lines.close()
        lines.catch_up()
    return conclude(session, client, attended, summarised=not printed)


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    """Open the file for what failed: that it can't be written is known before anything runs."""
    if path is None or path == "-":
        yield sys.stdout
    else:
        with open(path, "w", encoding="utf-8") as file:
            yield file
