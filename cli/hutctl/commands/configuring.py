"""``config``: check the configuration, or show what counts."""

from __future__ import annotations

import os

import click

from hut.model.problems import InvalidInput
from hutctl.configuration import find_configuration, load_configuration
from hutctl.session import Session, report_input, shared_options

__all__ = ["config"]


@click.group(
    epilog="""\b
Examples:
  hutctl config check
  hutctl config check lab/hut.yaml
  hutctl config show --json
\b
hut.yaml is looked for beside the workflow file (here: in this folder), above it, and in the XDG
configuration folder; --config names one.
"""
)
@shared_options
def config() -> None:
    """Check or show the configuration."""


@config.command(
    epilog="""\b
Examples:
  hutctl config check
  hutctl config check lab/hut.yaml
"""
)
@click.argument(
    "file", required=False, metavar="[FILE]", type=click.Path(exists=True, dir_okay=False)
)
@shared_options
@click.pass_obj
def check(session: Session, file: str | None) -> int:
    """Report every problem of a configuration, each with its line."""
    path = find_configuration(file or session.config, os.getcwd())
    if path is None:
        raise click.UsageError(
            "there is no hut.yaml here or above; name one: hutctl config check FILE"
        )
    try:
        configuration = load_configuration(path)
    except InvalidInput as error:
        return report_input(error, session, consequence="")
    given = configuration.settings.model_fields_set
    notes = [
        f"settings.{name} changes nothing on this machine: {why}"
        for name, why in configuration.settings.UNUSED_LOCALLY.items()
        if name in given
    ]
    notes += [
        f"backend {entry.name!r} ({entry.type}) needs a control plane; tasks can't use it here"
        for entry in configuration.backends
        if entry.type != "local"
    ]
    if session.as_json:
        session.emit({"file": str(path), "errors": [], "notes": notes})
        return 0
    click.echo(f"{path}: good")
    for note in notes:
        click.echo(f"  note: {note}")
    return 0


@config.command(
    epilog="""\b
Examples:
  hutctl config show
  hutctl config show --json | jq .backends
"""
)
@shared_options
@click.pass_obj
def show(session: Session) -> int:
    """Print the configuration that counts here, with its defaults."""
    path = find_configuration(session.config, os.getcwd())
    if path is None:
        session.say("there is no hut.yaml here or above: defaults count")
        from hut.model.configuration import Configuration

        configuration = Configuration()
    else:
        session.say(f"from {path}")
        configuration = load_configuration(path)
    document = configuration.model_dump(mode="json", serialize_as_any=True)
    if not any(entry["type"] == "local" for entry in document["backends"]):
        built_in = configuration.local_backend().model_dump(mode="json")
        document["backends"].insert(0, built_in)
    if session.as_json:
        session.emit(document)
        return 0
    import yaml

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    return 0
