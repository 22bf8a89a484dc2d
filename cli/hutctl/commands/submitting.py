"""``submit``: a task file, one command per line, becomes a run; or its lines join one that is open."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from hutctl.commands.task_runs import Asked, add, begin, forever, restart
from hutctl.session import Session, shared_options

if TYPE_CHECKING:
    from hut.planning.task_files import LineFields

__all__ = ["submit"]

_REMOTE_TIMEOUT = 46 * 3600.0
_LOCAL_TIMEOUT = 366 * 86400.0


class _Submit(click.Command):
    """Knows whether ``--`` was written: what follows it is a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["command"] = "--" in args
        return super().parse_args(ctx, args)


@click.command(
    cls=_Submit,
    epilog="""\b
Examples:
  hutctl submit tasks.txt                     one command per line
  seq 100 | hutctl submit - --template 'simulate --seed {}'
  hutctl submit tasks.txt -r 3 --eager -f failed.txt
  hutctl submit -- make all                   one command
  hutctl submit --forever                     a run that waits for tasks; from elsewhere:
  hutctl submit --to last more.txt            add tasks to it, then: hutctl close last
\b
A comment may hold tags: make x  # HUT: site:eu cores:4 memory:8GB timeout:15m group:2
The whole input is checked before anything is stored. The same file again, while its run has not
ended, takes that run up. See docs/task-files.md for each option beside HyperShell's.
Exit codes: 0 every task completed (or there was none), 1 some failed, 2 the input or the usage is
wrong, 3 cancelled, 130 interrupted.
""",
)
@click.argument("words", metavar="[FILE|-] [-- COMMAND...]", nargs=-1)
@click.option(
    "-b",
    "--bundlesize",
    type=click.IntRange(1, 10_000),
    metavar="SIZE",
    help="Tasks that one job of a backend runs, and that are added at once.",
)
@click.option(
    "-w",
    "--bundlewait",
    type=click.FloatRange(0, 86_400),
    metavar="SEC",
    help="Seconds after which a bundle goes on its way though it is not full (5).",
)
@click.option(
    "-r",
    "--max-retries",
    type=click.IntRange(0, 1000),
    default=0,
    metavar="NUM",
    help="Try a failed task again, so often.",
)
@click.option("--eager", is_flag=True, help="Failed tasks go before new ones, not behind them.")
@click.option(
    "--forever",
    is_flag=True,
    help="Leave the run open for more tasks; '-' reads lines as they come.",
)
@click.option(
    "--restart", is_flag=True, help="Read nothing; go on with the last run that has not ended."
)
@click.option("--to", metavar="RUN", help="Add the tasks to an open run instead of making one.")
@click.option("--no-db", is_flag=True, help="Keep no record of attempts that succeed.")
@click.option("--initdb", is_flag=True, help="Accepted; tables come by themselves.")
@click.option(
    "--print",
    "print_failures",
    is_flag=True,
    help="Print the commands of failed attempts to stdout.",
)
@click.option(
    "-f",
    "--failures",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="Write the commands of failed attempts to a file.",
)
@click.option("--no-confirm", is_flag=True, help="Accepted; a claim is the confirmation.")
@click.option("-H", "--bind", metavar="ADDR", help="Accepted; there is no server to bind.")
@click.option(
    "-p", "--port", type=click.IntRange(0, 65_535), metavar="NUM", help="Accepted, as --bind."
)
@click.option("-k", "--auth", metavar="KEY", help="Accepted; IAM says who may, or the file system.")
@click.option(
    "--template",
    metavar="CMD",
    help="Command that each line is put into: {} {/} {/-} {.} {-} {+} {[0]} ...",
)
@click.option(
    "-t",
    "--tag",
    multiple=True,
    metavar="K[:V]|K=V",
    help="Tag of every task (K:V), or of the run (K=V).",
)
@click.option("-g", "--group", metavar="NUM", help="Group of lines that name none (0).")
@click.option("-c", "--cores", metavar="NUM", help="Cores of each task.")
@click.option("-m", "--memory", metavar="SIZE", help="Memory of each task: 512MB, 4GB.")
@click.option(
    "-W", "--timeout", metavar="SEC", help="Time limit of each task; by default there is none."
)
@click.option("--name", metavar="NAME", help="Name of the run, instead of the file's.")
@click.option("--env", multiple=True, metavar="K=V", help="Variable for all tasks.")
@click.option(
    "-N",
    "--max-concurrent",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Run at most N tasks at once.",
)
@click.option("--backend", metavar="B", help="Where the tasks run.")
@click.option("--pool", metavar="NAME", help="Run them on the workers of a pool.")
@click.option(
    "--idempotency-key", metavar="KEY", help="The same key and input give the same run, not two."
)
@click.option("--detach", is_flag=True, help="Work on it in the background; print its id.")
@click.option("--dry-run", is_flag=True, help="Show what would run, like 'plan'; submit nothing.")
@shared_options
@click.pass_context
def submit(ctx: click.Context, /, **options: Any) -> int:
    """Submit a task file and follow it to its end."""
    from hutctl.reading import check_pool

    session: Session = ctx.obj
    words: tuple[str, ...] = options.pop("words")
    is_command = ctx.meta["command"] or len(words) > 1
    _check(options, words, is_command=is_command)
    if session.as_json and (options["print_failures"] or options["failures"] == "-"):
        raise click.UsageError("--json and --print both write to stdout; write: -f PATH")
    _tell_what_has_no_use(session, options)
    client = session.client()
    if options["restart"]:
        return restart(session, client, options)
    asked = _asked(session, options, words, is_command=is_command)
    check_pool(asked.file)
    if options["forever"]:
        return forever(session, client, asked, reads=words == ("-",))
    with _source(words, is_command=is_command) as stream:
        from hutctl.spooling import read_spool

        spool = read_spool(
            stream, asked.reader, asked.common, source=asked.file.filename.removesuffix(".json")
        )
    if not spool.count:
        session.say("there are no tasks; nothing was submitted")
        if session.as_json:
            session.emit(None)
        return 0
    if options["to"] is not None:
        return add(session, client, asked, spool)
    return begin(session, client, asked, spool)


def _check(options: dict[str, Any], words: tuple[str, ...], *, is_command: bool) -> None:
    """Refuse what excludes each other, as HyperShell does, and what can't be meant."""
    given = {name for name, value in options.items() if value not in (None, False, ())}
    file = bool(words) and words != ("-",)
    pairs = [
        ("forever", "restart"), ("forever", "no_db"), ("restart", "no_db"), ("initdb", "no_db"),
        ("print_failures", "failures"), ("dry_run", "detach"), ("dry_run", "to"), ("dry_run", "forever"),
        ("dry_run", "restart"), ("to", "name"), ("to", "idempotency_key"), ("to", "detach"),
        ("to", "print_failures"), ("to", "failures"), ("to", "env"), ("to", "backend"),
        ("to", "max_concurrent"), ("to", "no_db"), ("to", "eager"), ("detach", "print_failures"),
        ("detach", "failures"), ("restart", "idempotency_key"), ("pool", "backend"), ("to", "pool"),
    ]  # fmt: skip
    names = {"print_failures": "print"}
    for one, other in pairs:
        if (
            one in given
            and other in given
            and not (
                one == "to"
                and "restart" in given
                and other in ("print_failures", "failures", "detach")
            )
        ):
            shown = [f"--{names.get(each, each).replace('_', '-')}" for each in (one, other)]
            raise click.UsageError(f"{shown[0]} does not go with {shown[1]}")
    if "restart" in given and words:
        raise click.UsageError("--restart reads no tasks; leave out FILE")
    if "forever" in given and file:
        raise click.UsageError(
            "--forever takes no FILE; submit it to the open run with --to, or pipe it to '-'"
        )
    if "forever" in given and "detach" in given and words:
        raise click.UsageError("--detach can't read stdin for the run; add tasks to it with --to")
    if options["idempotency_key"] == "":
        raise click.UsageError("--idempotency-key is empty; leave it out or write a key")
    if not is_command and file and not Path(words[0]).exists():
        raise click.UsageError(
            f"there is no file {words[0]!r}; to submit a command, write: hutctl submit -- COMMAND"
        )


def _tell_what_has_no_use(session: Session, options: dict[str, Any]) -> None:
    if any(options[name] is not None for name in ("bind", "port", "auth")):
        session.say(
            "--bind, --port and --auth have no use here: on this machine nothing listens, on AWS the "
            "API does, and IAM says who may ask it"
        )
    if options["initdb"]:
        session.say("--initdb has no use here: tables come with the deployment, or by themselves")
    if options["no_confirm"]:
        session.say("--no-confirm has no use here: the claim of a task is its confirmation")


def _asked(
    session: Session, options: dict[str, Any], words: tuple[str, ...], *, is_command: bool
) -> Asked:
    """Return what was asked for, checked as far as it can be before any line is read."""
    import secrets

    from hut.model.run_options import RunOptions
    from hut.model.workflow import BY_ITSELF
    from hut.planning.task_files import TaskFileReader
    from hut.planning.templates import Template
    from hutctl.client import WorkflowFile
    from hutctl.reading import pairs
    from hutctl.spooling import Common

    fields, run_tags = _fields(options)
    local = session.target_name() in (None, "local")
    common = Common(
        fields,
        timeout=_LOCAL_TIMEOUT if local else _REMOTE_TIMEOUT,
        retries=options["max_retries"],
        prefix=f"{secrets.token_hex(3)}." if options["to"] is not None else "",
    )
    template = options["template"]
    name, folder = "stdin", os.getcwd()
    if is_command:
        name = "command"
    elif words and words[0] != "-":
        name, folder = words[0], str(Path(words[0]).absolute().parent)
    file = WorkflowFile(
        text="",
        filename=f"{name}.json",
        folder=folder,
        name=options["name"],
        max_concurrent=options["max_concurrent"],
        env_vars=pairs(options["env"], "--env"),
        tags=run_tags,
        backend=options["backend"],
        pool=options["pool"],
        options=RunOptions(  # noqa: S604 - the shell of the tasks; it starts nothing
            shell="sh",
            task_variables=True,
            bundle=options["bundlesize"] or BY_ITSELF,
            bundle_wait=options["bundlewait"],
            open=options["forever"],
            retry_order="eager" if options["eager"] else "lazy",
            record="failures" if options["no_db"] else "all",
        ),
    )
    reader = TaskFileReader(fields, None if template is None else Template(template))
    return Asked(options, file, common, reader)


def _fields(options: dict[str, Any]) -> tuple[LineFields, dict[str, str]]:
    """Return what options say of every task, and the tags of the run."""
    from hut.model.problems import InvalidInput, Problem
    from hut.planning.task_files import FIELDS, LineFields, read_field, read_tag

    problems: list[Problem] = []
    found: dict[str, Any] = {}
    tags: dict[str, str] = {}
    run_tags: dict[str, str] = {}
    given = [(name, f"{name}:{options[name]}") for name in FIELDS if options[name] is not None]
    for place, word in [*given, *(("tag", word) for word in options["tag"])]:
        key, equals, text = word.partition("=")
        if place == "tag" and equals and key:
            run_tags[key] = text
            continue
        try:
            name, value = (place, options[place]) if place != "tag" else read_tag(word)
            if name in FIELDS:
                found[name] = read_field(name, value)
            else:
                tags[name] = value
        except ValueError as error:
            problems.append(Problem(str(error), field=f"--{place}"))
    if problems:
        raise InvalidInput(problems)
    return LineFields(**found, tags=tags), run_tags


@contextmanager
def _source(words: tuple[str, ...], *, is_command: bool) -> Iterator[BinaryIO]:
    """Open what the lines come from."""
    import io
    import shlex

    from hut.model.problems import InvalidInput, Problem

    if is_command:
        # One word is a command line; more are its words, and reach the command as they are.
        line = words[0] if len(words) == 1 else shlex.join(words)
        if "\n" in line:
            raise InvalidInput([Problem("a command is one line")], source="COMMAND")
        yield io.BytesIO(os.fsencode(line))
    elif not words or words[0] == "-":
        yield sys.stdin.buffer
    else:
        try:
            file = open(words[0], "rb")  # noqa: SIM115 - closed below; here only its errors are told
        except OSError as error:
            raise InvalidInput([Problem(str(error.strerror))], source=words[0]) from None
        with file:
            yield file
