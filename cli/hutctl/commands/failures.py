"""``failures``: the command lines of failed attempts, ready to be run again."""

from __future__ import annotations

import re

import click

from hutctl.client import Document
from hutctl.session import Session, shared_options

__all__ = ["failures", "one_line"]

_NO_LIMIT = (366 * 86400.0, 46 * 3600.0)  # seconds; of lines of a task file that name none
_GROUP = re.compile(r"-?[0-9]+", re.ASCII)  # of a task file; those of workflows are any words
_ESCAPED = {"\\": "\\\\", "'": "\\0047", "\n": "\\n", "\r": "\\r"}


@click.command(
    epilog="""\b
Examples:
  hutctl failures last                     one line per failed attempt
  hutctl failures last --final             each task that is failed now, once
  hutctl failures last --final > again.txt
\b
A command of several lines is written as one: bash -c "$(printf ...)".
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
            words, unfit = _tags(failure)
            line += f"  # HUT: {' '.join(words)}"
            if unfit:
                told = ", ".join(map(repr, unfit))
                session.say(f"{failure['task']}: a task file can't hold the tags {told}")
        click.echo(line)


def one_line(command: str) -> str:
    """Return a command as one line that does the same, in any shell: sh runs the lines of task files."""
    text = command.strip()
    if "\n" not in text and "\r" not in text:
        return text
    escaped = "".join(_ESCAPED.get(character, character) for character in text)
    return f"""bash -c "$(printf %b '{escaped}')\""""


def _tags(failure: Document) -> tuple[list[str], list[str]]:
    """Return tags as a task file holds them, and those it can't hold."""
    from hut.planning.task_files import FIELDS, read_tag

    tags = {
        "id": failure["task"],
        "attempt": failure["attempt"],
        "reason": failure["reason"],
        **({} if failure["exit_code"] is None else {"exit": failure["exit_code"]}),
        **_fields(failure),
        **{name: value for name, value in failure["tags"].items() if name not in FIELDS},
    }
    words: list[str] = []
    unfit = [name for name in failure["tags"] if name in FIELDS]
    for key, value in tags.items():
        word = f"{key}:{value}" if value != "" else key
        try:
            read_tag(word)
        except ValueError:
            unfit.append(key)
        else:
            words.append(word)
    return words, unfit


def _fields(failure: Document) -> dict[str, str]:
    """Return what the task asked for, as tags; what every task has that asks for nothing is left out."""
    from hut.model.quantities import parse_duration
    from hut.model.workflow import Resources

    usual, found = Resources(), dict[str, str]()
    if _GROUP.fullmatch(failure.get("group") or ""):
        found["group"] = failure["group"]
    if failure.get("cpus") not in (None, usual.cpus):
        found["cores"] = str(failure["cpus"])
    if failure.get("memory") not in (None, f"{usual.memory}M"):
        found["memory"] = str(failure["memory"])
    if (limit := failure.get("time_limit")) is not None:
        seconds = parse_duration(limit)
        if seconds not in _NO_LIMIT:
            found["timeout"] = f"{seconds:.9g}s"
    return found
