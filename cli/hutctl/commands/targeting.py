"""``target``: the control planes commands can go to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from hutctl.remote.targets import (
    LOCAL,
    Target,
    Targets,
    change_targets,
    is_target_name,
    load_targets,
)
from hutctl.session import Session, complete_target, shared_options

__all__ = ["target"]

_STACK = "HutApi"


@click.group(
    epilog="""\b
Examples:
  hutctl target add lab --profile lab --region eu-west-1
  hutctl target use lab                   from now on commands go there
  hutctl --target local run w.json        ... but not this one
  hutctl target list
\b
A target is a control plane in an AWS account; 'local' is this machine. Which one counts is said
by --target, else by HUT_TARGET in the environment, else by 'target use'.
"""
)
@shared_options
def target() -> None:
    """Add, choose, list or remove control planes in AWS."""


@target.command(
    epilog="""\b
Examples:
  hutctl target add lab
  hutctl target add lab --stack LabApi --profile lab --region eu-west-1
  hutctl target add lab --url https://a1b2c3.execute-api.eu-west-1.amazonaws.com/prod
\b
The address of the API comes from the outputs of its CloudFormation stack. Credentials come from
AWS's own configuration each time; none are stored.
"""
)
@click.argument("name", metavar="NAME")
@click.option("--stack", metavar="STACK", help=f"Stack of the API, by default {_STACK}.")
@click.option("--url", metavar="URL", help="Address of the API, where it is known.")
@click.option("--profile", metavar="P", help="AWS profile with the credentials.")
@click.option("--region", metavar="R", help="AWS region, by default the profile's.")
@shared_options
@click.pass_obj
def add(
    session: Session,
    name: str,
    *,
    stack: str | None,
    url: str | None,
    profile: str | None,
    region: str | None,
) -> None:
    """Add a control plane under a name, after a look whether it answers."""
    if name == LOCAL:
        raise click.UsageError(f"{LOCAL!r} is this machine; choose another name")
    if not is_target_name(name):
        raise click.UsageError(
            f"{name!r} is no name for a target; use letters, digits, '.', '_' and '-'"
        )
    if stack is not None and url is not None:
        raise click.UsageError("--stack and --url are two ways to say the same; give one")
    load_targets()  # a broken file is told before the way to AWS is gone
    from hutctl.remote.discovery import by_stack, by_url, reached

    if url is not None:
        found = by_url(name, url, profile, region)
    else:
        found = by_stack(name, stack or _STACK, profile, region)
    if found.url.startswith("http://"):
        session.say("warning: the address is not https; who listens can read what you send")
    found = reached(found)
    with change_targets() as targets:
        replaced = name in targets.known
        targets.known[name] = found
        current = targets.current
    if session.as_json:
        session.emit(_document(found, current=current == name))
        return
    session.say(
        f"target {name}{' (replaced)' if replaced else ''}: Hut {found.version} at {found.url}"
    )
    if current != name:
        session.say(f"let commands go there with: hutctl target use {name}", dim=True)


@target.command(
    "list",
    epilog="""\b
Examples:
  hutctl target list
  hutctl target list --json | jq -r '.[] | select(.current) | .name'
""",
)
@shared_options
@click.pass_obj
def list_(session: Session) -> None:
    """List the targets; the one that commands go to has a star."""
    targets = load_targets()
    chosen = session.target_name() or LOCAL
    documents = [
        {**_nothing(), "name": LOCAL, "current": chosen == LOCAL},
        *(
            _document(entry, current=chosen == name)
            for name, entry in sorted(targets.known.items())
        ),
    ]
    if session.as_json:
        session.emit_list(documents)
        return
    from hutctl.display.text import columns

    rows = [
        [
            "*" if entry["current"] else "",
            entry["name"],
            entry["region"] or "",
            entry["profile"] or "",
            entry["url"] or "this machine",
        ]
        for entry in documents
    ]
    for line in columns(("", "NAME", "REGION", "PROFILE", "ADDRESS"), rows):
        click.echo(line)


@target.command(
    epilog="""\b
Examples:
  hutctl target use lab
  hutctl target use local                 back to this machine
"""
)
@click.argument("name", metavar="NAME", shell_complete=complete_target)
@shared_options
@click.pass_obj
def use(session: Session, name: str) -> None:
    """Let commands that name no target go to this one."""
    with change_targets() as targets:
        if name != LOCAL:
            _known(targets, name)
        targets.current = name
    session.say(f"commands go to {name} now{', this machine' if name == LOCAL else ''}")


@target.command(
    epilog="""\b
Examples:
  hutctl target remove lab
\b
Only the name is forgotten: the control plane and its runs stay.
"""
)
@click.argument("name", metavar="NAME", shell_complete=complete_target)
@shared_options
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Forget a target."""
    if name == LOCAL:
        raise click.UsageError(f"{LOCAL!r} is this machine and can't be removed")
    with change_targets() as targets:
        _known(targets, name)
        del targets.known[name]
        was_current = targets.current == name
        if was_current:
            targets.current = None
    session.say(f"target {name} is removed{'; commands go to local now' * was_current}")


def _known(targets: Targets, name: str) -> Target:
    found = targets.known.get(name)
    if found is None:
        from hutctl.session import unknown_target

        raise unknown_target(name, targets)
    return found


def _nothing() -> dict[str, Any]:
    return asdict(Target(LOCAL, "", "")) | {"url": None, "region": None}


def _document(entry: Target, *, current: bool) -> dict[str, Any]:
    return {**asdict(entry), "current": current}
