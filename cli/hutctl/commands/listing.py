"""``runs``, ``show`` and ``jobs``: what there is and how it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from hutctl.client import Document
from hutctl.session import Session, shared_options

__all__ = ["jobs", "runs", "show", "states_of"]

_RUN_STATES = ("pending", "running", "completed", "failed", "cancelled")


def states_of(
    known: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], list[str] | None]:
    """Return what reads ``--state a,b --state c``."""

    def read(
        _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
    ) -> list[str] | None:
        states = [state for value in values for state in value.split(",") if state]
        for state in states:
            if state not in known:
                from hut.model.problems import did_you_mean

                hint = did_you_mean(state, known)
                raise click.BadParameter(f"there is no state {state!r}; {hint}")
        return states or None

    return read


@click.command(
    epilog="""\b
Examples:
  hutctl runs
  hutctl runs --state failed,running --limit 50
  hutctl runs --owner user/alice --tag project=x
  hutctl runs --json | jq -r '.[].id'
"""
)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    callback=states_of(_RUN_STATES),
    help=f"Only these: {', '.join(_RUN_STATES)}.",
)
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--owner", metavar="OWNER", help="Only runs that this caller submitted.")
@click.option("--tag", multiple=True, metavar="K=V", help="Only runs with this tag.")
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="At most N (20).")
@shared_options
@click.pass_obj
def runs(
    session: Session,
    /,
    *,
    states: list[str] | None,
    tag: tuple[str, ...],
    limit: int,
    **names: str | None,
) -> None:
    """List runs, newest first."""
    from hutctl.display.text import age, columns, counts_text, elapsed, paint
    from hutctl.reading import pairs

    tags = pairs(tag, "--tag")
    found = session.client().list_runs(limit=limit, states=states, tags=tags, **names)
    if session.as_json:
        session.emit_list(found)
        return
    if not found:
        if states or tags or any(names.values()):
            session.say("no runs match")
        else:
            session.say("no runs yet; begin with: hutctl run workflow.json")
        return
    rows = [
        [
            run["id"],
            run["workflow"],
            paint(run["state"]),
            age(run["created_at"]),
            elapsed(run),
            counts_text(run["counts"]),
        ]
        for run in found
    ]
    for line in columns(("RUN", "WORKFLOW", "STATE", "CREATED", "TOOK", "TASKS"), rows):
        click.echo(line)


@click.command(
    epilog="""\b
Examples:
  hutctl show last
  hutctl show last --json | jq .counts
"""
)
@click.argument("run", metavar="RUN")
@shared_options
@click.pass_obj
def show(session: Session, run: str) -> None:
    """Show one run: state, counts, and what failed."""
    client = session.client()
    document = client.find_run(run)
    if session.as_json:
        session.emit(document)
        return
    from hutctl.display.summary import summary

    for name, value in _facts(document):
        click.echo(f"{click.style(f'{name:<12}', dim=True)}{value}")
    for line in summary(client, document):
        click.echo(line)


def _facts(run: Document) -> Iterator[tuple[str, str]]:
    from hutctl.display.text import printable, printable_lines

    if run["description"]:
        yield "description", printable_lines(run["description"]).replace("\n", f"\n{'':<12}")
    yield "owner", run["owner"]
    yield "created", run["created_at"]
    for name in ("started_at", "ended_at"):
        if run[name]:
            yield name.removesuffix("_at"), run[name]
    bound = f", at most {run['max_concurrent']} tasks at once" if run["max_concurrent"] else ""
    yield "backend", printable(run["backend"]) + bound
    if run.get("config_version"):
        yield "config", f"version {run['config_version']}"
    if run["tags"]:
        yield "tags", printable(", ".join(f"{key}={value}" for key, value in run["tags"].items()))
    if run["cancel_requested_at"]:
        yield "cancelled", run["cancel_requested_at"]
    for refusal in run.get("refusals", ()):
        where = f"{refusal['backend']}, partition {refusal['partition'] or '(default)'}"
        yield "refused", f"{where}, since {refusal['since']}: {printable(refusal['message'])}"


@click.command(
    epilog="""\b
Examples:
  hutctl jobs
  hutctl jobs --json | jq -r '.[] | select(.state == "submitted") | .job_id'
"""
)
@click.option("--limit", type=click.IntRange(1), default=100, metavar="N", help="At most N (100).")
@shared_options
@click.pass_obj
def jobs(session: Session, limit: int) -> None:
    """List what is submitted or runs now, of all runs."""
    found = session.client().list_jobs(limit=limit)
    if session.as_json:
        session.emit_list(found)
        return
    if not found:
        session.say("nothing is submitted or runs now")
        return
    from hutctl.display.text import age, columns, paint

    rows = [
        [
            job["run"],
            job["task"],
            str(job["attempt"]),
            paint(job["state"]),
            age(job["started_at"] or job["submitted_at"]),
            job["job_id"] or "",
        ]
        for job in found
    ]
    for line in columns(("RUN", "TASK", "ATTEMPT", "STATE", "SINCE", "JOB"), rows):
        click.echo(line)
