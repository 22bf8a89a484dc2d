"""``backends`` and ``environments``: what tasks may name, here or in a control plane."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from hutctl.session import Session, shared_options

__all__ = ["backends", "ec2_notes", "environments"]


@click.command(
    epilog="""\b
Examples:
  hutctl backends
  hutctl backends --target lab
  hutctl backends --json | jq -r '.[] | select(.can_run) | .name'
"""
)
@shared_options
@click.pass_obj
def backends(session: Session) -> None:
    """List backends: where they come from, if tasks can run on them, how busy they are."""
    found = session.client().list_backends(os.getcwd())
    if session.as_json:
        session.emit_list(found)
        return
    from hutctl.display.text import columns

    rows = [
        [
            each["name"],
            each["type"],
            _origin(each),
            "" if each["active"] is None else f"{each['active']:,}",
            f"{each['max_concurrent']:,}" if each["max_concurrent"] else "",
            _backend_note(each),
        ]
        for each in found
    ]
    for line in columns(("BACKEND", "TYPE", "FROM", "ACTIVE", "AT MOST", "NOTE"), rows):
        click.echo(line)


def _origin(backend: Mapping[str, Any]) -> str:
    return f"{backend['origin']}, configuration" if backend["refined"] else str(backend["origin"])


def _backend_note(backend: Mapping[str, Any]) -> str:
    if not backend["can_run"]:
        return click.style(f"no tasks here: {backend['problem']}", fg="yellow")
    notes = ["the default"] if backend["default"] else []
    if backend.get("ec2"):
        notes += ec2_notes(backend["ec2"])
    elif backend.get("default_queue"):
        notes.append(f"queue {backend['default_queue']}")
    if backend.get("default_image"):
        notes.append(f"image {backend['default_image']}")
    return ", ".join(notes)


def ec2_notes(ec2: Mapping[str, Any]) -> list[str]:
    """Return phrases on the instances of a backend: types by partition, market, reuse."""
    notes = [f"{name}: {' '.join(types)}" for name, types in sorted(ec2["instance_types"].items())]
    notes += {"prefer": ["spot before on-demand"], "only": ["spot only"]}.get(ec2["spot"], [])
    return [*notes, "instances are reused"] if ec2["reuse"] else notes


@click.command(
    epilog="""\b
Examples:
  hutctl environments
  hutctl environments --target lab
  hutctl environments --json | jq -r '.[] | select(.name == "py") | .variables'
\b
With a control plane: what a workflow of this folder may name. An environment of the hut.yaml here
goes before the control plane's of the same name.
"""
)
@shared_options
@click.pass_obj
def environments(session: Session) -> None:
    """List environments: what tasks may name as their environment."""
    found = session.client().list_environments(os.getcwd())
    if session.as_json:
        session.emit_list(found)
        return
    if not found:
        session.say("no environments; hut.yaml defines them")
        return
    from hutctl.display.text import columns

    rows = [
        [
            each["name"],
            each["origin"],
            " ".join(sorted(each["variables"])),
            "yes" if each["extra_init"] else "",
            "hides the control plane's, which differs" if each["hides"] else "",
        ]
        for each in found
    ]
    for line in columns(("ENVIRONMENT", "FROM", "VARIABLES", "INIT", "NOTE"), rows):
        click.echo(line)
