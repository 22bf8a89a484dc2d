"""``run``, ``resume`` and ``retry``: everything that works on a run until it ends."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from hutctl.client import Attended, Client, Display
from hutctl.session import Session, shared_options

__all__ = [
    "attend_and_report",
    "conclude",
    "detach_run",
    "exit_code",
    "new_display",
    "resume",
    "retry",
    "run",
]

_INTERRUPTED = 130
_EXIT = {"completed": 0, "failed": 1, "cancelled": 3}


@click.command(
    epilog="""\b
Examples:
  hutctl run workflow.json
  hutctl run workflow.json --max-concurrent 4 --env DEPTH=12
  hutctl run workflow.json --pool big     workers of the pool run the tasks
  hutctl run workflow.json --detach       print the run's id and return
  hutctl run workflow.json --dry-run      only show what would run
  generate.py | hutctl run -              read the workflow from stdin
\b
Ctrl-C cancels a local run: its tasks get TERM, then KILL; a second Ctrl-C kills at once. A run on
another target goes on; its id and how to follow it are printed.
Exit codes: 0 every task completed, 1 failed, 2 the input is wrong, 3 cancelled, 130 interrupted.
"""
)
@click.argument("file", metavar="FILE|-")
@click.option("--detach", is_flag=True, help="Work on it in the background; print its id.")
@click.option(
    "--max-concurrent",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Run at most N tasks at once; by default as many as there are cores.",
)
@click.option(
    "--env", multiple=True, metavar="K=V", help="Variable for all tasks; over the file's env_vars."
)
@click.option("--name", metavar="NAME", help="Name of the run, instead of the workflow's.")
@click.option("--tag", multiple=True, metavar="K=V", help="Note something on the run.")
@click.option("--backend", metavar="B", help="Where tasks run that don't say it.")
@click.option("--pool", metavar="NAME", help="Let workers run the tasks: see 'hutctl worker'.")
@click.option(
    "--idempotency-key", metavar="KEY", help="The same key and file give the same run, not two."
)
@click.option("--dry-run", is_flag=True, help="Show what would run, like 'plan'; submit nothing.")
@shared_options
@click.pass_obj
def run(
    session: Session,
    /,
    *,
    file: str,
    detach: bool,
    dry_run: bool,
    env: tuple[str, ...],
    tag: tuple[str, ...],
    **options: Any,
) -> int:
    """Submit a workflow and follow it to its end."""
    from hutctl.display.text import plural
    from hutctl.reading import check_pool, pairs, read_workflow_file

    if options["idempotency_key"] == "":
        raise click.UsageError("--idempotency-key is empty; leave it out or write a key")
    variables, tags = pairs(env, "--env"), pairs(tag, "--tag")
    workflow = replace(read_workflow_file(file), env_vars=variables, tags=tags, **options)
    check_pool(workflow)
    if dry_run:
        from hutctl.commands.planning import show_plan

        return show_plan(session, workflow, scripts=False)
    client = session.client()
    submitted = client.submit(workflow)
    for warning in submitted.warnings:
        session.say(f"warning: {warning}")
    run_id = submitted.run["id"]
    tasks = plural(submitted.run["total"], "task")
    session.say(f"run {run_id}: {submitted.run['workflow']}, {tasks}")
    if detach:
        return detach_run(session, client, run_id)
    return attend_and_report(session, client, run_id)


def detach_run(session: Session, client: Client, run_id: str) -> int:
    """Let a run go on without this process; print its id."""
    client.detach(run_id)
    if session.as_json:
        session.emit(client.find_run(run_id))
    else:
        click.echo(run_id)
        session.say(f"follow it with: hutctl watch {run_id}", dim=True)
    return 0


@click.command(
    epilog="""\b
Examples:
  hutctl resume last
  hutctl resume k3w
\b
What completed is not run again. What still runs is found again; what is gone without a trace of
its end is tried anew, with reason 'lost'. If another hutctl works on the run, it is followed.
"""
)
@click.argument("run", metavar="RUN")
@shared_options
@click.pass_obj
def resume(session: Session, run: str) -> int:
    """Take up a run whose hutctl died."""
    client = session.client()
    return attend_and_report(session, client, client.find_run(run)["id"])


@click.command(
    epilog="""\b
Examples:
  hutctl retry last            only what failed or was not run because of it
  hutctl retry last --all      everything, also what completed
\b
The run goes on under its id; each repeated task gets a new attempt, earlier ones stay on record.
"""
)
@click.argument("run", metavar="RUN")
@click.option("--all", "everything", is_flag=True, help="Also what completed.")
@click.option("--detach", is_flag=True, help="Work on it in the background; print its id.")
@shared_options
@click.pass_obj
def retry(session: Session, run: str, *, everything: bool, detach: bool) -> int:
    """Run again what failed, as new attempts of the same run."""
    from hutctl.display.text import plural

    client = session.client()
    document = client.find_run(run)
    run_id = document["id"]
    count = client.retry(run_id, everything=everything)
    if not count:
        session.say(f"run {run_id} has nothing to repeat: every task completed")
        if session.as_json:
            session.emit(document)
        return 0
    session.say(f"run {run_id}: {plural(count, 'task')} to repeat")
    if detach:
        return detach_run(session, client, run_id)
    return attend_and_report(session, client, run_id)


def new_display(*, live: bool = True) -> Display:
    """Return what shows progress: drawn on a terminal, a line per change elsewhere.

    Parameters
    ----------
    live
        Whether it may be drawn: not where something else prints to the same terminal meanwhile.
    """
    if live and sys.stderr.isatty():
        from hutctl.display.live import LiveDisplay

        return LiveDisplay()
    from hutctl.display.lines import LineDisplay

    return LineDisplay()


def attend_and_report(session: Session, client: Client, run_id: str) -> int:
    """See a run through to its end, print how it went, and return the exit code."""
    display = new_display()
    try:
        attended = client.attend(run_id, display)
    finally:
        display.close()
    return conclude(session, client, attended)


def conclude(
    session: Session, client: Client, attended: Attended, *, summarised: bool = True
) -> int:
    """Print how a run ended, or that it goes on without us, and return the exit code."""
    run = attended.run
    if attended.interrupted and run["ended_at"] is None:
        run_id = run["id"]
        session.say(f"run {run_id} goes on")
        session.say(f"  follow it: hutctl watch {run_id}    stop it: hutctl cancel {run_id}")
    if session.as_json:
        session.emit(run)
    elif run["ended_at"] is not None and summarised:
        from hutctl.display.summary import summary

        for line in summary(client, run):
            click.echo(line)
    return exit_code(attended)


def exit_code(attended: Attended) -> int:
    """Return the exit code a run's end means."""
    if attended.interrupted:
        return _INTERRUPTED
    return _EXIT.get(attended.run["state"], 1)
