"""``audit``: who changed what on a control plane."""

from __future__ import annotations

from typing import Any

import click

from hutctl.session import Session, shared_options

__all__ = ["audit"]


def _moment(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    from hut.model.rfc3339 import parse_time

    if value is not None:
        try:
            parse_time(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return value


@click.command(
    epilog="""\b
Examples:
  hutctl audit
  hutctl audit --since 2026-11-01 --who user/alice
  hutctl audit --action cancel --json | jq -r '.[] | .run'
\b
Submissions, cancellations, repetitions and changes of the configuration, newest first. It takes the
policy of administrators. An outcome of '?' is not known: it may have been done or not.
"""
)
@click.option("--since", metavar="TIME", callback=_moment, help="From this day or time on (UTC).")
@click.option("--until", metavar="TIME", callback=_moment, help="Before this day or time.")
@click.option("--who", metavar="OWNER", help="Of one caller only, named as runs name owners.")
@click.option("--action", metavar="ACTION", help="Of one kind only: submit, cancel, retry, ...")
@click.option("--run", metavar="ID", help="About one run only, by its full id.")
@click.option("--limit", type=click.IntRange(1), default=100, metavar="N", help="At most N (100).")
@shared_options
@click.pass_obj
def audit(session: Session, /, *, limit: int, **filters: str | None) -> None:
    """Show who submitted, cancelled, repeated or changed what."""
    found = session.client().list_audit(limit=limit, filters=filters)
    if session.as_json:
        session.emit_list(found)
        return
    if not found:
        session.say("nothing of that kind is on record")
        return
    from hutctl.display.text import columns

    rows = [
        [
            entry["at"][:19].replace("T", " "),
            entry["action"],
            entry["who"],
            entry["outcome"] or "?",
            entry["run"] or "",
            entry["source_ip"],
            _note(entry["detail"]),
        ]
        for entry in found
    ]
    for line in columns(("AT (UTC)", "ACTION", "WHO", "OUTCOME", "RUN", "FROM", "NOTE"), rows):
        click.echo(line)


def _note(detail: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in detail.items())
