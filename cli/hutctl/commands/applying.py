"""``config apply``, ``diff`` and ``history``: the configuration of a control plane."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from hut.model.problems import InvalidInput
from hutctl.configuration import find_configuration, load_configuration
from hutctl.session import Session, report_input, shared_options

__all__ = ["apply", "apply_file", "diff", "history"]

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}

_File = click.argument(
    "file", required=False, metavar="[FILE]", type=click.Path(exists=True, dir_okay=False)
)


@click.command(
    epilog="""\b
Examples:
  hutctl config apply                               hut.yaml of this folder, or above it
  hutctl config apply lab/hut.yaml --message "more GPUs for Ada"
  hutctl config apply --dry-run                     what would change, and what is wrong
\b
Runs keep the version they were submitted with. Caps (max_concurrent) hold at once, for all runs.
"""
)
@_File
@click.option("--message", metavar="TEXT", default="", help="What the history says of it.")
@click.option("--dry-run", is_flag=True, help="Check and show what would change; apply nothing.")
@shared_options
@click.pass_obj
def apply(session: Session, file: str | None, *, message: str, dry_run: bool) -> int:
    """Put hut.yaml into the control plane, as a version."""
    return apply_file(session, _configuration_file(session, file), message=message, dry_run=dry_run)


def apply_file(
    session: Session,
    path: Path,
    *,
    message: str = "",
    dry_run: bool = False,
    beside: Mapping[str, Any] | None = None,
) -> int:
    """Put a file into the control plane, tell what came of it, and return the exit code.

    Parameters
    ----------
    beside
        What else the JSON document says.
    """
    from hut.model.applied import content_of, left_out

    remote = session.remote_configuration(
        "on this machine hut.yaml itself counts; nothing has to be applied"
    )
    try:
        configuration = load_configuration(path)
        content = content_of(configuration)
        before = remote.show()["version"]
        done = remote.apply(content, path, expected=before, message=message, dry_run=dry_run)
    except InvalidInput as error:
        return report_input(error, session, consequence="; nothing was applied")
    done["notes"] = [*left_out(configuration), *done["notes"]]
    if session.as_json:
        session.emit({**(beside or {}), "file": str(path), "dry_run": dry_run, **done})
        return 0
    for line in difference_lines(done["differences"]):
        click.echo(line)
    for note in done["notes"]:
        click.echo(f"note: {note}")
    click.echo(_outcome(done, remote.target, dry_run=dry_run))
    return 0


def _outcome(done: Mapping[str, Any], target: str, *, dry_run: bool) -> str:
    number = done["version"]
    if not done["changed"]:
        return f"nothing to change: version {number} of {target} says the same"
    if dry_run:
        return f"this would be version {number} of {target}; nothing was applied"
    return f"version {number} of {target} counts now"


@click.command(
    epilog="""\b
Examples:
  hutctl config diff                      hut.yaml of this folder against the control plane
  hutctl config diff lab/hut.yaml
  hutctl config diff --versions 3 4       what version 4 changed
"""
)
@_File
@click.option(
    "--versions", nargs=2, type=click.IntRange(1), metavar="A B", help="Compare two versions."
)
@shared_options
@click.pass_obj
def diff(session: Session, file: str | None, versions: tuple[int, int] | None) -> int:
    """Show what applying would change, or how versions differ."""
    from hut.model.applied import content_of, difference

    if versions is not None and file is not None:
        raise click.UsageError("FILE and --versions are two questions; ask one")
    needs = "on this machine hut.yaml itself counts; there is nothing to compare it with"
    if versions is not None:
        remote = session.remote_configuration(needs)
        old, new = (remote.show(number) for number in versions)
        goal: dict[str, Any] = {"version": versions[1]}
    else:
        path = _configuration_file(session, file)
        remote = session.remote_configuration(needs)
        try:
            new = content_of(load_configuration(path))
        except InvalidInput as error:
            return report_input(error, session, consequence="")
        old, goal = remote.show(), {"file": str(path)}
    found = [each.document() for each in difference(old, new)]
    if session.as_json:
        session.emit({"from": {"version": old["version"]}, "to": goal, "differences": found})
        return 0
    name = f"version {goal['version']}" if "version" in goal else goal["file"]
    for line in difference_lines(found):
        click.echo(line)
    if found:
        session.say(f"from version {old['version']} of {remote.target} to {name}", dim=True)
    else:
        session.say(f"no difference between version {old['version']} of {remote.target} and {name}")
    return 0


@click.command(
    epilog="""\b
Examples:
  hutctl config history
  hutctl config history --limit 100 --json | jq -r '.[].applied_by'
\b
'config diff --versions 3 4' says what version 4 changed, 'config show --version 3' what 3 held.
"""
)
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="At most N (20).")
@shared_options
@click.pass_obj
def history(session: Session, limit: int) -> None:
    """List the versions that were applied, newest first."""
    remote = session.remote_configuration("on this machine hut.yaml itself counts, as it is")
    found = remote.history(limit)
    if session.as_json:
        session.emit_list(found)
        return
    if not found:
        session.say(f"nothing was ever applied to {remote.target}; begin with: hutctl config apply")
        return
    from hutctl.display.text import age, columns, printable

    rows = [
        [
            str(each["version"]),
            age(each["applied_at"]),
            each["applied_by"],
            printable(each["message"]),
        ]
        for each in found
    ]
    for line in columns(("VERSION", "APPLIED", "BY", "MESSAGE"), rows):
        click.echo(line)


def difference_lines(differences: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Yield differences as lines for people: ``~ backends.gpu.max_concurrent: 2 -> 4``."""
    from hutctl.display.text import printable

    for each in differences:
        sign, colour = _SIGNS[each["change"]]
        value = {
            "added": lambda each=each: _shown(each["new"]),
            "removed": lambda each=each: _shown(each["old"]),
            "changed": lambda each=each: f"{_shown(each['old'])} -> {_shown(each['new'])}",
        }[each["change"]]()
        yield click.style(printable(f"{sign} {each['path']}: {value}"), fg=colour)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = {key: entry for key, entry in value.items() if key != "name"}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and (not value or value != value.strip() or "\n" in value):
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:297]}..."


def _configuration_file(session: Session, file: str | None) -> Path:
    path = find_configuration(file or session.config, os.getcwd())
    if path is None:
        raise click.UsageError("there is no hut.yaml here or above; name one: FILE")
    return path
