"""``plan``: what would run, without submitting it."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator

import click

from hutctl.client import Document, WorkflowFile
from hutctl.session import Session, shared_options

__all__ = ["plan", "show_plan"]

_TASKS_LISTED = 60
_DEPS_SHOWN = 4


@click.command(
    epilog="""\b
Examples:
  hutctl plan workflow.json
  hutctl plan workflow.json --scripts     also the script of each task
  hutctl plan workflow.json --json | jq '.tasks[] | select(.level == 0) | .id'
"""
)
@click.argument("file", metavar="FILE|-")
@click.option("--scripts", is_flag=True, help="Also print the script of each task.")
@shared_options
@click.pass_obj
def plan(session: Session, file: str, *, scripts: bool) -> int:
    """Show what would run: dependencies, levels, limits. Nothing is submitted."""
    from hutctl.reading import read_workflow_file

    return show_plan(session, read_workflow_file(file), scripts=scripts)


def show_plan(session: Session, workflow: WorkflowFile, *, scripts: bool) -> int:
    """Print the plan of a workflow."""
    document = session.client().plan(workflow, scripts=scripts)
    for warning in document["warnings"]:
        place = " ".join(filter(None, (warning["task"], warning["field"])))
        session.say(f"warning: {place}: {warning['message']}")
    if session.as_json:
        session.emit(document)
        return 0
    for line in _overview(document):
        click.echo(line)
    if document.get("truncated"):
        session.say(f"only the first {len(document['tasks']):,} tasks fit into the answer")
    if scripts and document.get("scripts_left_out"):
        session.say(
            "the scripts of all tasks don't fit into the answer; plan fewer tasks to see them"
        )
    elif scripts:
        for task in document["tasks"]:
            if task["script"] is None:
                continue
            click.echo(f"\n{click.style('# ' + task['id'], bold=True)}")
            click.echo(_for_terminal(task["script"]), nl=False)
    return 0


def _for_terminal(script: str) -> str:
    """Return a script as it is for a file, and without what a terminal would obey for a terminal."""
    from hutctl.display.text import printable_lines

    return printable_lines(script) if sys.stdout.isatty() else script


def _overview(document: Document) -> Iterator[str]:
    from hutctl.display.text import columns, plural

    cap = document["max_concurrent"]
    bound = f", at most {cap} at once" if cap else ""
    yield (
        f"{click.style(document['workflow'], bold=True)}: {plural(document['total'], 'task')} in "
        f"{plural(document['levels'], 'level')}, on {document['backend']}{bound}"
    )
    tasks = document["tasks"]
    if len(tasks) <= _TASKS_LISTED:
        rows = [
            [str(task["level"]), task["id"], _deps(task["deps"]), _first_line(task["command"])]
            for task in sorted(tasks, key=lambda task: int(task["level"]))
        ]
        yield from columns(("LEVEL", "TASK", "WAITS FOR", "COMMAND"), rows)
    else:
        yield from columns(("LEVEL", "TASKS", "IDS"), _levels(tasks))
        yield "Each task: hutctl plan FILE --json"
    for task in tasks:
        if "generates_source" in task:
            yield f"{task['id']} writes more tasks into {task['generates_source']}"


def _levels(tasks: list[Document]) -> Iterator[list[str]]:
    counts = Counter(task["level"] for task in tasks)
    first: defaultdict[int, list[str]] = defaultdict(list)
    for task in tasks:
        if len(first[task["level"]]) < _DEPS_SHOWN:
            first[task["level"]].append(task["id"])
    levels = sorted(counts)
    shown = levels if len(levels) <= _TASKS_LISTED else levels[: _TASKS_LISTED - 1]
    for level in shown:
        more = counts[level] - len(first[level])
        yield [str(level), f"{counts[level]:,}", " ".join(first[level]) + (" ..." if more else "")]
    if len(shown) < len(levels):
        rest = sum(counts[level] for level in levels[len(shown) :])
        yield ["...", f"{rest:,}", f"in {len(levels) - len(shown):,} more levels"]


def _deps(deps: list[str]) -> str:
    more = len(deps) - _DEPS_SHOWN
    return " ".join(deps[:_DEPS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _first_line(command: str) -> str:
    from hutctl.display.text import printable

    lines = command.strip().split("\n")
    return printable(lines[0]) + (" ..." if len(lines) > 1 else "")
