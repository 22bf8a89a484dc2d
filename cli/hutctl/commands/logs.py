"""``logs``: what a task printed."""

from __future__ import annotations

import sys
import time

import click

from hutctl.client import Client
from hutctl.session import Session, shared_options

__all__ = ["logs"]


@click.command(
    epilog="""\b
Examples:
  hutctl logs last report
  hutctl logs last train --error --tail 20
  hutctl logs last train -f               follow until the task ends
  hutctl logs last train --attempt 1      what the first attempt printed
"""
)
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="TASK")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option(
    "--attempt", type=click.IntRange(1), metavar="N", help="Of this attempt, not the last."
)
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option("--error", is_flag=True, help="What it wrote to stderr, not to stdout.")
@shared_options
@click.pass_obj
def logs(
    session: Session,
    run: str,
    task: str,
    *,
    follow: bool,
    attempt: int | None,
    tail: int | None,
    error: bool,
) -> int:
    """Print or follow what a task printed."""
    client = session.client()
    run_id = client.find_run(run)["id"]
    kind = "err" if error else "out"
    if follow:
        attempt = _wait_for_attempt(client, run_id, task, attempt)
    offset = 0 if tail is None else _start_of_tail(client, run_id, task, kind, attempt, tail)
    printed = 0
    pace = client.pace()
    told = not error
    while True:
        part = client.read_log(run_id, task, kind, attempt=attempt, offset=offset)
        attempt = part.attempt or attempt
        if part.merged and not told:
            told = True
            session.say("stdout and stderr are one log there; this is both")
        sys.stdout.buffer.write(part.content)
        sys.stdout.buffer.flush()
        offset += len(part.content)
        printed += len(part.content)
        if part.content:
            pace.changed()
            continue
        if part.ended or not follow:
            break
        time.sleep(pace.next())
    if not printed and tail != 0:
        _tell_empty(session, client, run_id, task, kind, attempt)
    return 0


def _wait_for_attempt(client: Client, run_id: str, task: str, attempt: int | None) -> int | None:
    """Return the attempt to follow, after waiting for the first one to begin."""
    pace = client.pace()
    while attempt is None:
        document = client.get_task(run_id, task)
        if document["attempt"] or document["state"] in ("failed", "dep_failed"):
            return document["attempt"] or None
        time.sleep(pace.next())
    return attempt


def _start_of_tail(
    client: Client, run_id: str, task: str, kind: str, attempt: int | None, count: int
) -> int:
    """Return the byte at which the last `count` lines begin."""
    size = 0
    lines: list[int] = []  # where each line begins, the last few
    begun = True
    while True:
        part = client.read_log(run_id, task, kind, attempt=attempt, offset=size)
        if not part.content:
            break
        if begun:
            lines.append(size)
        place = part.content.find(b"\n")
        while place >= 0 and place + 1 < len(part.content):
            lines.append(size + place + 1)
            place = part.content.find(b"\n", place + 1)
        begun = part.content.endswith(b"\n")
        size += len(part.content)
        del lines[: -count or None]
    return lines[0] if lines and count else size


def _tell_empty(
    session: Session, client: Client, run_id: str, task: str, kind: str, attempt: int | None
) -> None:
    if attempt is None or not client.get_task(run_id, task)["attempt"]:
        session.say(f"{task} has not started; hutctl why {run_id} {task}")
        return
    state = client.get_task(run_id, task)["state"]
    so_far = " so far" if state in ("submitted", "running") else ""
    other = "out" if kind == "err" else "err"
    part = client.read_log(run_id, task, other, attempt=attempt, offset=-1)
    if part.content and not part.merged:
        flag = "--error" if other == "err" else "without --error"
        what = "stderr" if kind == "err" else "stdout"
        session.say(f"attempt {attempt} wrote nothing to {what}{so_far}, but to the other: {flag}")
    else:
        session.say(f"attempt {attempt} of {task} printed nothing{so_far}")
