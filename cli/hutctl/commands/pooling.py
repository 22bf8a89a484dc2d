"""``pool list|show|drain|resume``: pools of workers, here or of a control plane."""

from __future__ import annotations

from typing import Any

import click

from hutctl.session import Session, shared_options

__all__ = ["pool"]


@click.group(
    epilog="""\b
Examples:
  hutctl pool list
  hutctl pool show workers
  hutctl pool drain workers                 give nothing out any more
  hutctl pool drain workers --worker w1-k3  only that worker gets nothing new
  hutctl pool resume workers
\b
What workers have goes on to its end; 'hutctl worker --pool NAME' starts one.
"""
)
def pool() -> None:
    """Look at pools of workers, drain them."""


@pool.command("list")
@shared_options
@click.pass_obj
def list_(session: Session) -> None:
    """List pools: how many tasks wait and run, how many workers there are."""
    found = session.client().list_pools()
    if session.as_json:
        session.emit_list(found)
        return
    if not found:
        session.say("there is no pool")
        return
    from hutctl.display.text import columns

    rows = [
        [
            each["name"],
            f"{len(each['workers']):,}",
            f"{each['slots']:,}",
            f"{each['queued']:,}",
            f"{each['running']:,}",
            "draining" if each["draining"] else "",
        ]
        for each in found
    ]
    for line in columns(("POOL", "WORKERS", "SLOTS", "WAITING", "LEASED", "NOTE"), rows):
        click.echo(line)


@pool.command()
@click.argument("name", metavar="POOL")
@shared_options
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show a pool and its workers."""
    _print(session, session.client().show_pool(name))


@pool.command()
@click.argument("name", metavar="POOL")
@click.option("--worker", metavar="ID", help="Only this worker, as 'pool show' names it.")
@shared_options
@click.pass_obj
def drain(session: Session, name: str, worker: str | None) -> None:
    """Give a pool's workers, or one, nothing new; what they have goes on."""
    _print(session, session.client().drain_pool(name, worker, draining=True))


@pool.command()
@click.argument("name", metavar="POOL")
@click.option("--worker", metavar="ID", help="Only this worker.")
@shared_options
@click.pass_obj
def resume(session: Session, name: str, worker: str | None) -> None:
    """Give a pool's workers, or one, tasks again."""
    _print(session, session.client().drain_pool(name, worker, draining=False))


def _print(session: Session, found: dict[str, Any]) -> None:
    if session.as_json:
        session.emit(found)
        return
    from hutctl.display.text import columns

    state = ", draining" if found["draining"] else ""
    click.echo(
        f"{found['name']}: {found['queued']:,} tasks wait, workers have {found['running']:,}{state}"
    )
    rows = [
        [
            each["id"],
            each["host"],
            f"{sum(lease['tasks'] for lease in each['leases']):,} of {each['slots']:,}",
            each["seen_at"][:19].replace("T", " "),
            " ".join(f"{key}={_value(each, key)}" for key in sorted(each["properties"])),
            "draining" if each["draining"] else "",
        ]
        for each in found["workers"]
    ]
    if rows:
        for line in columns(("WORKER", "HOST", "TASKS", "SEEN", "PROPERTIES", "NOTE"), rows):
            click.echo(line)


def _value(worker: dict[str, Any], name: str) -> str:
    """Return a property as people want it: of a number that is used up, what is left too."""
    value = str(worker["properties"][name])
    left = worker["remaining"].get(name)
    return value if left is None or str(left) == value else f"{value} ({left} left)"
