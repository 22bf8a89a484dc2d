"""``why`` and ``script``: why a task is where it is, and what exactly it ran."""

from __future__ import annotations

import click

from hutctl.session import Session, shared_options

__all__ = ["script", "why"]

_LOG_LINES = 10


@click.command(
    epilog="""\b
Examples:
  hutctl why last report
\b
For a waiting task: which dependencies, which limit, which delay. For a failed one: the reason and
the end of its log. For one that was not run: the task whose failure is the root cause.
"""
)
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="TASK")
@shared_options
@click.pass_obj
def why(session: Session, run: str, task: str) -> None:
    """Say why a task waits, or why it ended as it did."""
    client = session.client()
    run_id = client.find_run(run)["id"]
    answer = client.why(run_id, task)
    if session.as_json:
        session.emit(answer)
        return
    from hutctl.display.summary import log_tail
    from hutctl.display.text import printable_lines, report_line

    click.echo(printable_lines(answer["why"]))
    for detail in answer["details"]:
        click.echo(f"  {printable_lines(detail)}")
    for told in answer.get("reports", ()):
        click.echo(f"  {printable_lines(report_line(told))}")
    failed = answer["cause"] or (task if answer["state"] == "failed" else None)
    if failed is not None:
        kind, lines = log_tail(client, run_id, client.get_task(run_id, failed), _LOG_LINES)
        if lines:
            name = {"err": "stderr", "out": "stdout"}.get(kind, "the log")
            click.echo(f"The end of {name} of {failed}:")
            for line in lines:
                click.echo(f"    {line}")


@click.command(
    epilog="""\b
Examples:
  hutctl script last train
  hutctl script last train > train.sh
"""
)
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="TASK")
@shared_options
@click.pass_obj
def script(session: Session, run: str, task: str) -> None:
    """Print the script of a task: as its latest attempt ran it, or as its first will."""
    client = session.client()
    run_id = client.find_run(run)["id"]
    text = client.script(run_id, task)
    if session.as_json:
        session.emit({"run": run_id, "task": task, "script": text})
    else:
        click.echo(text, nl=False)
