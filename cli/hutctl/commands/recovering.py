"""``recover``: let a deployment stand still, restore its table, let it go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hutctl.session import Session, shared_options

if TYPE_CHECKING:
    from hutctl.recovery.place import Place

__all__ = ["recover"]

_LONGEST = 130  # seconds: no function lives longer


@click.group(
    epilog="""\b
Examples:
  hutctl recover check --target lab         what goes on in AWS that no run wants
  hutctl recover pause --target lab
  hutctl recover restore TABLE --target lab
  hutctl recover resume --target lab
\b
These use your own credentials, not the API: an administrator's of the AWS account. What happens
and when to do it is in docs/operations.md, "Restore the table".
"""
)
@shared_options
def recover() -> None:
    """Restore a control plane's table; find what it left behind."""


@recover.command(
    epilog="""\b
Examples:
  hutctl recover pause --target lab
\b
Jobs that run go on; their ends wait in the queue. The API answers with errors until 'resume'.
"""
)
@click.option(
    "--wait",
    metavar="S",
    type=click.IntRange(min=0),
    default=_LONGEST,
    show_default=True,
    help="Seconds to wait for functions that run.",
)
@shared_options
@click.pass_obj
def pause(session: Session, wait: int) -> None:
    """Let no function be called any more."""
    place = _place(session)
    place.stand_still()
    session.say(f"nothing calls the functions; waiting {wait} s for those that still run")
    deadline = time.monotonic() + wait
    while not place.stands_still() or time.monotonic() < deadline:
        time.sleep(min(5.0, max(deadline - time.monotonic(), 0.2)))
    _tell(session, "the control plane stands still; go on with: hutctl recover resume", paused=True)


@recover.command(
    epilog="""\b
Examples:
  hutctl recover resume --target lab
"""
)
@shared_options
@click.pass_obj
def resume(session: Session) -> None:
    """Let the functions be called again, by new processes."""
    place = _place(session)
    place.go_on(str(int(time.time())))
    _tell(session, "the control plane goes on; the next sweep takes up its runs", paused=False)


@recover.command(
    epilog="""\b
Examples:
  hutctl recover restore hut-restored --target lab
  hutctl recover restore hut-restored --target lab --report incident-42.json
\b
TABLE is the table into which AWS restored the backup; it is only read. What came after the backup
is gone afterwards: its runs are in the report, its jobs and executions are ended. The control
plane must stand still. If it breaks off, do it again.
"""
)
@click.argument("table", metavar="TABLE")
@click.option(
    "--report",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("hut-restore.json"),
    show_default=True,
    help="Where to write what was done and what is lost.",
)
@shared_options
@click.pass_obj
def restore(session: Session, table: str, path: Path) -> None:
    """Put the table back to what a restored backup holds."""
    from dataclasses import asdict

    from hutctl.recovery.restoring import restore as put_back

    place = _place(session)
    report = put_back(
        place,
        place.table_named(table),
        path,
        clock=time.time,
        sleep=time.sleep,
        say=session.say,
    )
    if session.as_json:
        session.emit(asdict(report))
    session.say(f"all is done and written to {path}; go on with: hutctl recover resume")


@recover.command(
    epilog="""\b
Examples:
  hutctl recover check --target lab
  hutctl recover check --end --target lab
"""
)
@click.option("--end", "end_them", is_flag=True, help="End them, and wait until they have ended.")
@shared_options
@click.pass_obj
def check(session: Session, *, end_them: bool) -> None:
    """List jobs and executions that go on and that no run wants."""
    from hutctl.recovery.leftovers import find
    from hutctl.recovery.restoring import Report, end_leftovers

    place = _place(session)
    if end_them:
        report = Report()
        end_leftovers(place, report, sleep=time.sleep, say=session.say)
        documents = report.ended
    else:
        documents = [each.document() for each in find(place, place.store())]
    if session.as_json:
        session.emit_list(documents)
        return
    from hutctl.display.text import columns

    rows = [[each["kind"], each["state"], each["name"], each["handle"]] for each in documents]
    for line in columns(("KIND", "STATE", "NAME", "ID"), rows):
        click.echo(line)


def _place(session: Session) -> Place:
    from hutctl.recovery.place import Place
    from hutctl.remote.targets import load_targets

    name = session.target_name()
    target = load_targets().known.get(name or "")
    if target is None:
        raise click.UsageError(
            "recovery is for control planes in AWS; name one: --target NAME (hutctl target list)"
        )
    return Place(target)


def _tell(session: Session, sentence: str, **document: Any) -> None:
    if session.as_json:
        session.emit(document)
    session.say(sentence)
