"""The root command: which commands there are, found without importing any of them.

A command's module is imported when the command is called. Its line in the overview stands in the
table here, so ``hutctl --help`` stays as quick as Python and click allow.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from hutctl.session import Session, shared_options

__all__ = ["COMMANDS", "invoke", "root"]

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("running", "submit a workflow and follow it to its end"),
        "submit": ("submitting", "submit a task file: one command per line"),
        "plan": ("planning", "show what would run; submit nothing"),
        "watch": ("watching", "follow a run"),
        "resume": ("running", "take up a run whose hutctl died"),
        "retry": ("running", "run again what failed, as new attempts"),
        "cancel": ("cancelling", "stop a run"),
        "worker": ("working", "take tasks from a pool and run them on this machine"),
        "close": ("closing", "let an open run end: it takes no more tasks"),
    },
    "Look": {
        "runs": ("listing", "list runs, newest first"),
        "show": ("listing", "one run: state, counts, what failed"),
        "tasks": ("tasks", "list the tasks of a run"),
        "logs": ("logs", "print or follow what a task printed"),
        "script": ("explaining", "the script of a task, exactly as it ran"),
        "why": ("explaining", "why a task waits, or why it ended as it did"),
        "failures": ("failures", "command lines of failed attempts"),
        "jobs": ("listing", "what is submitted or runs now, of all runs"),
        "audit": ("auditing", "who submitted, cancelled, repeated or changed what"),
        "backends": ("surveying", "list backends: from where, usable or not, how busy"),
        "environments": ("surveying", "list environments that tasks may name"),
        "pool": ("pooling", "look at pools of workers, drain them"),
    },
    "Set up": {
        "task": ("task_programs", "register task programs, run their tasks, read their outputs"),
        "target": ("targeting", "add, choose, list or remove control planes in AWS"),
        "config": ("configuring", "check, show, apply and compare the configuration"),
        "setup": ("setting_up", "look around in an AWS account, write the configuration"),
        "doctor": ("doctor", "check this machine or the target, and the way there"),
        "recover": ("recovering", "restore a control plane's table, find what was left behind"),
        "completion": ("completion", "completion for bash, zsh or fish"),
    },
}
"""Sections of the overview; for each command its module in `hutctl.commands` and its line."""

_MODULES = {name: module for section in COMMANDS.values() for name, (module, _) in section.items()}


class _Root(click.Group):
    """The root group; see the module's docstring."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"hutctl.commands.{module}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _MODULES and not name.startswith("-"):
            from hut.model.problems import nearest

            near = nearest(name, tuple(_MODULES))
            if near is None and name.endswith((".json", ".yaml", ".yml")):
                near = f"run {name}"
            hint = f"did you mean {near!r}?" if near else "see 'hutctl --help'"
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in section.items()])


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  hutctl run workflow.json          run it here and watch
  hutctl plan workflow.json         what would run?
  hutctl why last report            why did 'report' not run?
  hutctl retry last                 run again only what failed
\b
RUN is the id of a run, the beginning of one, or 'last'. 'hutctl COMMAND --help' says more.
""",
)
@click.version_option(package_name="hutctl", message="hutctl %(version)s")
@shared_options
def root() -> None:
    """Run shell tasks with dependencies: on this machine, or in your own AWS account."""


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors are told on stderr."""
    from hutctl.display.text import printable_lines
    from hutctl.session import report

    session = Session()
    color: Any = False if os.environ.get("NO_COLOR") else None
    try:
        result = root.main(
            list(arguments), prog_name="hutctl", standalone_mode=False, obj=session, color=color
        )
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        # It quotes arguments, and is final for those who raise it only.
        error.message = printable_lines(error.message)  # type: ignore[misc]
        error.show()
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a message
        return report(error, session)
    return result if isinstance(result, int) else 0
