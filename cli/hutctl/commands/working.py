"""``worker``: take tasks from a pool and run them on this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from hutctl.session import Session, shared_options

__all__ = ["worker"]

_LEVELS = ("debug", "info", "warning", "error")


@click.command(
    epilog="""\b
Examples:
  hutctl worker --pool big                        for runs of this machine: hutctl run FILE --pool big
  hutctl worker --pool big --slots 8 --property gpu=2 --property arch=arm64
  hutctl worker --pool workers --target prod      for a control plane in AWS
  hutctl worker --pool big --idle-exit 600        leave after ten minutes without work
\b
TERM, INT or USR1: finish what runs, give back what has not started, leave. A second TERM or INT stops
the tasks (TERM, then KILL), a third kills them: they run again elsewhere.
Exit codes: 0 it left as it was asked to, 2 the usage is wrong or there is no such pool, 4 the control
plane can't be reached, 130 interrupted.
"""
)
@click.option("--pool", required=True, metavar="NAME", help="The pool it works for.")
@click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="K=V",
    help="What it offers; tasks' properties are matched with it.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Tasks that run at once; by default as many as there are cores.",
)
@click.option("--name", metavar="NAME", help="What it is called; by default host and process.")
@click.option(
    "--bundle",
    type=click.IntRange(0, 10_000),
    metavar="N",
    help="Tasks it has beyond those that run; by default about half a second of work.",
)
@click.option(
    "--max-inflight",
    type=click.IntRange(0, 1_000_000),
    default=0,
    metavar="N",
    help="Tasks it has at most; 0 is no bound.",
)
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", help="What it tells of.")
@click.option(
    "--once", is_flag=True, help="Leave when a run was served and there is nothing more to do."
)
@click.option(
    "--idle-exit",
    type=click.FloatRange(0.0),
    metavar="SECONDS",
    help="Leave after so long without anything to do.",
)
@shared_options
@click.pass_obj
def worker(
    session: Session, /, *, pool: str, properties: tuple[str, ...], log_level: str, **options: Any
) -> int:
    """Take tasks from a pool and run them on this machine."""
    from hutctl.local.home import find_home
    from hutctl.local.pool.places import POOL_NAME, PoolFolder, read_held
    from hutctl.local.runner import usable_cores
    from hutctl.worker.agent import Agent, Places
    from hutctl.worker.options import WorkerOptions, begun_at, default_name, read_properties
    from hutctl.worker.places import ThisMachine

    name = options["name"] or default_name()
    for option, given in (("--pool", pool), ("--name", name)):
        if not POOL_NAME.fullmatch(given):
            raise click.UsageError(
                f"{option} {given!r}: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
            )
    told = WorkerOptions(
        pool,
        name,
        options["slots"] or usable_cores(),
        read_properties(properties),
        options["bundle"],
        options["max_inflight"],
        options["idle_exit"],
        options["once"],
    )
    home = find_home()
    home.create()
    target = session.target_name()
    remote = target not in (None, "local")
    folder = PoolFolder.of(home, f"{target}@{pool}" if remote else pool)
    folder.create()
    if (found := read_held(folder.worker_folder(name) / "worker.json")) is not None and found[1]:
        raise click.UsageError(
            f"a worker {name!r} of pool {pool!r} runs already (process {found[0].get('pid')}); "
            "leave --name out, or give another"
        )
    level = _LEVELS.index(log_level)

    def say(message: str, least: int = 1) -> None:
        if level <= least:
            session.say(f"worker {name}: {message}")

    def debug(message: str) -> None:
        say(message, 0)

    places: Places = ThisMachine(folder, begun_at())
    shipper = None
    if remote:
        from hutctl.worker.remote import control_plane

        places, shipper = control_plane(session.remote_target(), pool, say)
    say(f"pool {pool}, {told.slots} slots, process {os.getpid()}")
    return Agent(told, folder, places, say, debug=debug, shipper=shipper).run()
