"""``watch``: follow a run that somebody else works on."""

from __future__ import annotations

import click

from hutctl.session import Session, shared_options

__all__ = ["watch"]


@click.command(
    epilog="""\b
Examples:
  hutctl watch last
\b
The exit code is the run's: 0 completed, 1 failed, 3 cancelled. Ctrl-C stops watching; the run
goes on.
"""
)
@click.argument("run", metavar="RUN")
@shared_options
@click.pass_obj
def watch(session: Session, run: str) -> int:
    """Follow a run to its end."""
    from hutctl.commands.running import conclude, new_display

    client = session.client()
    run_id = client.find_run(run)["id"]
    display = new_display()
    try:
        attended = client.watch(run_id, display)
    except KeyboardInterrupt:
        display.close()
        session.say(f"run {run_id} goes on")
        return 130
    finally:
        display.close()
    return conclude(session, client, attended)
