"""``close``: an open run takes no more tasks, and ends."""

from __future__ import annotations

import click

from hutctl.session import Session, shared_options

__all__ = ["close"]


@click.command(
    epilog="""\b
Examples:
  hutctl close last
\b
The run goes on with the tasks it has, and ends when they do. Whoever works on it sees it to its
end; a run on this machine that nobody works on waits for: hutctl resume RUN
"""
)
@click.argument("run", metavar="RUN")
@shared_options
@click.pass_obj
def close(session: Session, run: str) -> int:
    """Take no more tasks into an open run, so that it ends."""
    client = session.client()
    found = client.find_run(run)
    was_open = found["open"]
    document = client.close(found["id"])
    run_id, left = document["id"], sum(document["counts"][each] for each in _OPEN)
    if document["ended_at"] is not None:
        session.say(f"run {run_id} has ended: {document['state']}")
    elif was_open:
        session.say(f"run {run_id} is closed; {left:,} of its tasks are still to end")
    else:
        session.say(f"run {run_id} was not open")
    if session.as_json:
        session.emit(document)
    return 0


_OPEN = ("pending", "submitted", "running")
