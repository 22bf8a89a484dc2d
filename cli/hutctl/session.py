"""One call of the command line: its shared options, what it prints, how its errors are told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hutctl.display.text import printable_lines

if TYPE_CHECKING:
    from hut.model.problems import InvalidInput
    from hutctl.client import Client
    from hutctl.remote.configuration import RemoteConfiguration
    from hutctl.remote.targets import Target, Targets

__all__ = [
    "EXIT_FAULT",
    "EXIT_INPUT",
    "EXIT_UNREACHABLE",
    "Session",
    "complete_target",
    "json_text",
    "report",
    "report_input",
    "shared_options",
    "unknown_target",
]

EXIT_INPUT = 2
EXIT_UNREACHABLE = 4
EXIT_FAULT = 70
_PROBLEMS_SHOWN = 50

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """What the shared options say, and the way to stdout and stderr.

    Attributes
    ----------
    as_json : bool
        Print JSON documents instead of text.
    target : str or None
        Where runs run, as ``--target`` says it; None if it does not.
    config : str or None
        Path of the configuration file, if it was named.
    """

    as_json: bool = False
    target: str | None = None
    config: str | None = None
    verbose: bool = False
    _client: Client | None = field(default=None, repr=False)

    def client(self) -> Client:
        """Return the client of the target.

        Raises
        ------
        click.UsageError
            If there is no such target.
        InvalidInput
            If the file of the targets is broken.
        """
        if self._client is None:
            name = self.target_name()
            if name is None:
                self.say("no target configured: using local, this machine", dim=True)
            self._client = self._local() if name in (None, "local") else self._remote()
        return self._client

    def new_client(self) -> Client:
        """Return another client of the target, for a thread of its own."""
        name = self.target_name()
        return self._local() if name in (None, "local") else self._remote()

    def remote_configuration(self, otherwise: str) -> RemoteConfiguration:
        """Return the configuration of the target's control plane.

        Parameters
        ----------
        otherwise
            What to say where the target is this machine.

        Raises
        ------
        click.UsageError
            If it is, or there is no such target.
        """
        name = self.target_name()
        if name in (None, "local"):
            raise click.UsageError(f"{otherwise}; a control plane is named by: --target NAME")
        from hutctl.remote.client import RemoteClient

        client = self.client()
        assert isinstance(client, RemoteClient)  # noqa: S101 - every other target is one
        return client.configuration()

    def target_name(self) -> str | None:
        """Return where commands go: by option, by ``HUT_TARGET``, by ``target use``, or None."""
        named = self.target or os.environ.get("HUT_TARGET")
        if named:
            return named
        from hutctl.remote.targets import load_targets

        return load_targets().current

    def _local(self) -> Client:
        from hutctl.local.client import LocalClient

        return LocalClient(self.config, self.say, verbose=self.verbose)

    def remote_target(self) -> Target:
        """Return the control plane that is the target.

        Raises
        ------
        click.UsageError
            If there is no such target.
        """
        from hutctl.remote.targets import load_targets

        name, targets = self.target_name() or "", load_targets()
        target = targets.known.get(name)
        if target is None:
            raise unknown_target(name, targets)
        return target

    def _remote(self) -> Client:
        from hutctl.remote.client import RemoteClient

        return RemoteClient(self.remote_target(), self.config, self.say, verbose=self.verbose)

    def say(self, message: str, *, dim: bool = False) -> None:
        """Tell a person something that is not a result."""
        message = printable_lines(message)
        click.echo(click.style(message, dim=True) if dim else message, err=True)

    def emit(self, document: object) -> None:
        """Print a JSON document as the result."""
        indent = 2 if sys.stdout.isatty() else None
        click.echo(json_text(document, indent))

    def emit_list(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Print a JSON array, entry by entry, however long it is."""
        separator = "["
        for document in documents:
            click.echo(separator, nl=False)
            click.echo(json_text(document), nl=False)
            separator = ",\n "
        click.echo("[]" if separator == "[" else "]")


def json_text(document: object, indent: int | None = None) -> str:
    """Return a document as JSON that can be printed: half a character stays escaped."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent)
    return text


def unknown_target(name: str, targets: Targets) -> click.UsageError:
    """Return what to raise where a target is named that was never added."""
    from hut.model.problems import nearest

    known = ["local", *sorted(targets.known)]
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    said = "" if name != os.environ.get("HUT_TARGET") else " (HUT_TARGET says it)"
    return click.UsageError(
        f"there is no target {name!r}{said}; {hint}known: {', '.join(known)}; "
        "add it with: hutctl target add"
    )


def complete_target(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of targets that begin with what was typed."""
    from hut.model.problems import InvalidInput
    from hutctl.remote.targets import load_targets

    try:
        known = load_targets().known
    except (InvalidInput, OSError):  # a shell that completes is no place for errors
        known = {}
    return [name for name in ("local", *sorted(known)) if name.startswith(begun)]


def shared_options(command: _Command) -> _Command:
    """Add the options that stand before or after a command's name."""

    def take(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
            if value not in (None, False):
                setattr(ctx.ensure_object(Session), name, value)

        return callback

    for decorator in (
        click.option(
            "-v", "--verbose", is_flag=True, expose_value=False, callback=take("verbose"),
            help="Say more when something goes wrong.",
        ),
        click.option(
            "--config", metavar="FILE", expose_value=False, callback=take("config"),
            type=click.Path(exists=True, dir_okay=False),
            help="Configuration; by default hut.yaml beside or above the workflow.",
        ),
        click.option(
            "--target", metavar="NAME", expose_value=False, callback=take("target"),
            shell_complete=complete_target,
            help="Where runs run: local (this machine), or one of 'hutctl target list'.",
        ),
        click.option(
            "--json", is_flag=True, expose_value=False, callback=take("as_json"),
            help="Print JSON.",
        ),
    ):  # fmt: skip
        command = decorator(command)
    return command


def report(error: Exception, session: Session) -> int:
    """Tell of an error on stderr and return the exit code it means."""
    from hut.model.problems import InvalidInput
    from hut.store.port import StoreError
    from hutctl.client import Unreachable

    if isinstance(error, InvalidInput):
        return report_input(error, session)
    if isinstance(error, Unreachable):
        _error(str(error))
        return EXIT_UNREACHABLE
    if isinstance(error, StoreError):
        _error(str(error))
        return EXIT_INPUT
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        _error(f"{where}{error.strerror or error}")
        if session.verbose:
            import traceback

            traceback.print_exception(error)
        return EXIT_UNREACHABLE
    import sqlite3
    import traceback

    if isinstance(error, sqlite3.Error):
        _error(f"the store of this machine can't be used: {error}")
        return EXIT_UNREACHABLE
    traceback.print_exception(error)
    _error("this is a fault of hutctl; nothing of your run is lost. Please report the lines above")
    return EXIT_FAULT


def report_input(
    error: InvalidInput, session: Session, consequence: str = "; nothing was submitted"
) -> int:
    """Tell of every problem of an input, and return the exit code."""
    if session.as_json:
        from hut.views import problem_document

        session.emit({"errors": [problem_document(problem) for problem in error.problems]})
    count = len(error.problems)
    source = f"{error.source}: " if error.source else ""
    _error(f"{source}{count:,} problem{'s' if count > 1 else ''}{consequence}")
    for problem in error.problems[:_PROBLEMS_SHOWN]:
        click.echo(f"  {printable_lines(str(problem))}", err=True)
    if count > _PROBLEMS_SHOWN:
        click.echo(f"  ... and {count - _PROBLEMS_SHOWN:,} more", err=True)
    return EXIT_INPUT


def _error(message: str) -> None:
    color = False if os.environ.get("NO_COLOR") else None
    # What it quotes may be anything: names of files, what a server answered.
    told = printable_lines(message)
    click.echo(f"{click.style('hutctl:', fg='red', bold=True)} {told}", err=True, color=color)
