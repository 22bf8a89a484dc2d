"""``failures``: the command lines of failed attempts, ready to be run again."""

from __future__ import annotations

import click

from hutctl.client import Document
from hutctl.session import Session, shared_options

__all__ = ["failures", "one_line"]


@click.command(
    epilog="""\b
Examples:
  hutctl failures last                     one line per failed attempt
  hutctl failures last --final             each task that is failed now, once
  hutctl failures last --final > again.txt
\b
A command of several lines is written as one, with $'...' quoting.
"""
)
@click.argument("run", metavar="RUN")
@click.option("--final", is_flag=True, help="Only tasks that are failed now, each once.")
@click.option("--with-tags", is_flag=True, help="Append '# HUT: id:... attempt:... tag:value'.")
@shared_options
@click.pass_obj
def failures(session: Session, run: str, *, final: bool, with_tags: bool) -> None:
    """Print the command lines of failed attempts, one per line."""
    client = session.client()
    found = client.list_failures(client.find_run(run)["id"], final=final)
    if session.as_json:
        session.emit_list(found)
        return
    for failure in found:
        line = one_line(failure["command"])
        if with_tags:
            line += f"  # HUT: {_tags(failure)}"
        click.echo(line)


def one_line(command: str) -> str:
    """Return a command on one line."""
    text = command.strip()
    if "\n" not in text:
        return text
    quoted = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"bash -c $'{quoted}'"


def _tags(failure: Document) -> str:
    tags = {
        "id": failure["task"],
        "attempt": failure["attempt"],
        "reason": failure["reason"],
        **({} if failure["exit_code"] is None else {"exit": failure["exit_code"]}),
        **failure["tags"],
    }
    words = (f"{key}:{value}" if value != "" else key for key, value in tags.items())
    return " ".join(" ".join(words).split())  # a line end in a tag must not end the line
