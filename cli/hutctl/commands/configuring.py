"""``config``: check the configuration, or show what counts; its other commands are beside this."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from hut.model.problems import InvalidInput
from hutctl.commands.applying import apply, diff, history
from hutctl.configuration import find_configuration, load_configuration
from hutctl.session import Session, report_input, shared_options

if TYPE_CHECKING:
    from hut.model.configuration import Configuration

__all__ = ["config"]


@click.group(
    epilog="""\b
Examples:
  hutctl config check
  hutctl config check lab/hut.yaml
  hutctl config show --json
  hutctl config diff --target lab           hut.yaml against the control plane
  hutctl config apply --target lab          put it there, as the next version
\b
hut.yaml is looked for beside the workflow file (here: in this folder), above it, and in the XDG
configuration folder; --config names one.
"""
)
@shared_options
def config() -> None:
    """Check, show, apply and compare the configuration."""


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
    target = session.target_name() or "local"
    if target == "local":
        notes = _local_notes(configuration)
    else:
        from hut.model.applied import content_of, left_out, secrets_in

        notes = [*left_out(configuration), *secrets_in(content_of(configuration))]
        notes.append(f"what {target} says of it: hutctl config apply --dry-run")
    if session.as_json:
        session.emit({"file": str(path), "errors": [], "notes": notes})
        return 0
    click.echo(f"{path}: good")
    for note in notes:
        click.echo(f"  note: {note}")
    return 0


def _local_notes(configuration: Configuration) -> list[str]:
    given = configuration.settings.model_fields_set
    notes = [
        f"settings.{name} changes nothing on this machine: {why}"
        for name, why in configuration.settings.UNUSED_LOCALLY.items()
        if name in given
    ]
    notes += [
        f"backend {entry.name!r} ({entry.type}) needs a control plane; tasks can't use it here"
        for entry in configuration.backends
        if entry.type not in ("local", "workers")
    ]
    return notes


@config.command(
    epilog="""\b
Examples:
  hutctl config show
  hutctl config show --json | jq .backends
  hutctl config show --target lab                  what counts in a control plane
  hutctl config show --target lab --version 3      what counted there once
"""
)
@click.option("--version", type=click.IntRange(1), metavar="N", help="A version of the target's.")
@shared_options
@click.pass_obj
def show(session: Session, version: int | None) -> int:
    """Print the configuration that counts, here or there."""
    if version is not None or session.target_name() not in (None, "local"):
        return _show_remote(session, version)
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
    click.echo(_as_yaml(document), nl=False)
    return 0


def _show_remote(session: Session, version: int | None) -> int:
    """Print what is applied as a ``hut.yaml``, with what the stack has beside it as comments."""
    remote = session.remote_configuration("on this machine hut.yaml has no versions")
    document = remote.show(version)
    if version is None:
        document["in_force"] = remote.backends()
    if session.as_json:
        session.emit(document)
        return 0
    from hutctl.display.text import age, printable

    if document["version"]:
        said = f": {printable(document['message'])}" if document["message"] else ""
        session.say(
            f"version {document['version']} of {remote.target}, applied {age(document['applied_at'])} "
            f"by {document['applied_by']}{said}"
        )
    else:
        session.say(f"nothing was applied to {remote.target}: what the stack says counts")
    for backend in document.get("in_force", ()):
        click.echo(f"# {_in_force(backend)}")
    named = ("backends", "environments", "schedulers")
    sections = {name: document[name] for name in (*named, "settings") if name in document}
    for name in sections.keys() & set(named):
        sections[name] = [_named_first(entry) for entry in sections[name]]
    click.echo(_as_yaml(sections), nl=False)
    return 0


def _named_first(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("name", "type") if name in entry} | dict(entry)


def _in_force(backend: Mapping[str, Any]) -> str:
    parts = [f"backend {backend['name']}", "from the " + backend["origin"]]
    if backend["refined"]:
        parts[-1] += ", as the configuration refines it"
    if backend["default"]:
        parts.append("the default")
    if not backend["can_run"]:
        return "; ".join([*parts, str(backend["problem"])])
    cap = backend["max_concurrent"]
    parts.append(f"at most {cap:,} tasks at once" if cap else "no cap")
    if backend.get("ec2"):
        from hutctl.commands.surveying import ec2_notes

        parts += ec2_notes(backend["ec2"])
    else:
        parts.append(f"queue {backend['default_queue']}")
    if backend["default_image"]:
        parts.append(f"image {backend['default_image']}")
    return "; ".join(parts)


def _as_yaml(document: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


for _command in (apply, diff, history):
    config.add_command(_command)
