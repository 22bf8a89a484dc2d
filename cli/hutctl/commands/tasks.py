"""``tasks``: the tasks of a run, searched, sorted, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import heapq
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click

from hutctl.client import Document
from hutctl.commands.listing import states_of
from hutctl.session import Session, shared_options

__all__ = ["tasks"]

_STATES = ("pending", "submitted", "running", "completed", "failed", "dep_failed")
_MOST_SORTED = 100_000
_CSV = (
    *("id", "state", "reason", "exit_code", "attempt", "backend", "job_id"),
    *("created_at", "submitted_at", "started_at", "ended_at", "message", "command"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SAFE_NUMBER = (int, float)


@click.command(
    epilog="""\b
Examples:
  hutctl tasks last
  hutctl tasks last --state failed,dep_failed
  hutctl tasks last --match 'map.*' --json
  hutctl tasks last --where 'exit_code != 0' -t site:eu
  hutctl tasks last -w 'started_at > -2h' --sort duration --reverse --limit 10
  hutctl tasks last --format csv --columns id,exit_code,duration > tasks.csv
\b
A condition is FIELD OP VALUE, with == != < <= > >= or ~ (a pattern, as in --match).
Times are written as 2026-11-23T08:45:00Z, or as how long ago they are: -2h.
All conditions must hold; a field without a value fulfils none but '== null'.
"""
)
@click.argument("run", metavar="RUN")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    callback=states_of(_STATES),
    help=f"Only these: {', '.join(_STATES)}.",
)
@click.option("--match", metavar="PATTERN", help="Only ids that match, as in deps: 'map.*'.")
@click.option("-w", "--where", multiple=True, metavar="COND", help="Only where 'FIELD OP VALUE'.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="K[:V]", help="Only with this tag.")
@click.option("--sort", metavar="FIELD", help="Sort by a field; those without a value come last.")
@click.option("--reverse", is_flag=True, help="The other way round; with --sort.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N.")
@click.option("--columns", metavar="A,B", help="What to show of each, as in --format csv.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), help="How to print them."
)
@shared_options
@click.pass_obj
def tasks(session: Session, /, run: str, **options: Any) -> None:
    """List the tasks of a run, in the order of its file."""
    _list(session, run, _Wish(**options))


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the options say."""

    states: list[str] | None
    match: str | None
    where: tuple[str, ...]
    tags: tuple[str, ...]
    sort: str | None
    reverse: bool
    limit: int | None
    columns: str | None
    form: str | None


def _list(session: Session, run: str, wish: _Wish) -> None:
    if session.as_json and wish.form not in (None, "json"):
        raise click.UsageError(f"--json and --format {wish.form} exclude each other")
    if wish.reverse and wish.sort is None:
        raise click.UsageError("--reverse turns the order of --sort round; give a field")
    key = None if wish.sort is None else _fields(wish.sort, "--sort")[0]
    wanted = None if wish.columns is None else _fields(wish.columns, "--columns")
    client = session.client()
    document = client.find_run(run)
    found: Iterable[Document] = client.list_tasks(
        document["id"], states=wish.states, match=wish.match, where=wish.where, tags=wish.tags
    )
    if key is not None:
        found = _sorted(found, key, wish.limit, reverse=wish.reverse)
    elif wish.limit is not None:
        found = islice(found, wish.limit)
    if session.as_json or wish.form == "json":
        session.emit_list(found if wanted is None else (_only(task, wanted) for task in found))
    elif wish.form == "csv":
        _write_csv(found, wanted or _CSV)
    else:
        is_filtered = bool(wish.states or wish.match or wish.where or wish.tags)
        _print_table(session, found, wanted, is_filtered=is_filtered)


def _fields(text: str, option: str) -> list[str]:
    from hut.searching import read_field

    try:
        return [read_field(name.strip()) for name in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def _sorted(
    found: Iterable[Document], field: str, limit: int | None, *, reverse: bool
) -> list[Document]:
    """Return tasks by the value of a field; no more are held than asked for, or than fit."""
    from hut.searching import value_of

    def place(task: Document) -> Any:
        return value_of(task, field)

    without: list[Document] = []
    most = _MOST_SORTED if limit is None else limit

    def having() -> Iterator[Document]:
        for number, task in enumerate(found, 1):
            if limit is None and number > most:
                raise click.UsageError(
                    f"more than {most:,} tasks can't be sorted at once; say how many you want to "
                    "see with --limit, or leave some out with --where"
                )
            if place(task) is not None:
                yield task
            elif len(without) < most:
                without.append(task)

    # Both are stable: equal ones stay in document order.
    if limit is None:
        some = sorted(having(), key=place, reverse=reverse)
    else:
        some = (heapq.nlargest if reverse else heapq.nsmallest)(limit, having(), key=place)
    return [*some, *without][:limit]


def _only(task: Document, fields: Sequence[str]) -> dict[str, Any]:
    return {field: _shown(task, field) for field in fields}


def _shown(task: Mapping[str, Any], field: str) -> Any:
    """Return a field as the task document has it, with what is worked out of it."""
    if field == "duration" or field.startswith("tags."):
        from hut.searching import value_of

        value = value_of(task, field)
        return round(value, 6) if isinstance(value, float) else value
    return task.get(field)


def _write_csv(found: Iterable[Document], fields: Sequence[str]) -> None:
    """Write tasks as CSV (RFC 4180, but for its line ends), one at a time."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(fields)
    for task in found:
        rows.writerow([_cell(_shown(task, field)) for field in fields])


def _cell(value: Any) -> Any:
    """Return a value for a cell; a text that a spreadsheet would run as a formula gets a quote before it."""
    if value is None or isinstance(value, _SAFE_NUMBER):
        return value
    text = "".join(
        c if c.isprintable() or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in value
    )
    return f"'{text}" if text.startswith(_FORMULA) else text


def _print_table(
    session: Session, found: Iterable[Document], wanted: Sequence[str] | None, *, is_filtered: bool
) -> None:
    from hutctl.display.text import columns, elapsed, paint, printable

    header: Sequence[str] = ("TASK", "STATE", "ATTEMPT", "TOOK", "NOTE")
    if wanted is None:
        rows = [
            [
                task["id"],
                paint(task["state"]),
                str(task["attempt"] or ""),
                elapsed(task),
                _note(task),
            ]
            for task in found
        ]
    else:
        header = [field.upper() for field in wanted]
        rows = [
            [
                "" if (value := _shown(task, field)) is None else printable(str(value))
                for field in wanted
            ]
            for task in found
        ]
    if not rows:
        session.say("no tasks match" if is_filtered else "the run has no tasks")
        return
    for line in columns(header, rows):
        click.echo(line)


def _note(task: dict[str, Any]) -> str:
    if task["state"] == "pending" and task["deps"]:
        return f"waits for {' '.join(task['deps'][:4])}{' ...' * (len(task['deps']) > 4)}"
    if task["state"] == "dep_failed":
        return "a dependency failed"
    from hutctl.display.text import printable

    return printable(str(task["message"] or ""))
