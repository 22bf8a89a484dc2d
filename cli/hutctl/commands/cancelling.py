"""``cancel``: stop a run."""

from __future__ import annotations

import click

from hutctl.session import Session, shared_options

__all__ = ["cancel"]


@click.command(
    epilog="""\b
Examples:
  hutctl cancel last
\b
Running tasks get TERM, then KILL; what has not started never will. What completed stays
completed, and 'hutctl retry' goes on from there.
"""
)
@click.argument("run", metavar="RUN")
@shared_options
@click.pass_obj
def cancel(session: Session, run: str) -> int:
    """Stop a run."""
    from hutctl.display.summary import summary

    client = session.client()
    before = client.find_run(run)
    if before["ended_at"] is not None:
        session.say(f"run {before['id']} has ended already: {before['state']}")
        if session.as_json:
            session.emit(before)
        return 0
    after = client.cancel(before["id"])
    if session.as_json:
        session.emit(after)
    else:
        for line in summary(client, after):
            click.echo(line)
    return 0
