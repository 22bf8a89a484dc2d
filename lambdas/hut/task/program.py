"""The program: reads its arguments, runs a task or tells what there is, and leaves with a code.

    0    the output was written, or the definitions were
    1    the task failed; the error reports were written if they could be
    2    the program was called wrongly; nothing was run

A signal that ends the process is left to do so, and an interrupt ends it too: whoever started the task
knows better why (a limit, a lost machine), and a report of the task's own would hide it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, cast

from hut.task.declaring import DUMP_ALL, DUMP_ONE, HELP, Task, tasks_of
from hut.task.documents import Place
from hut.task.errors import TaskDefinitionError, UsageError, ValidationError, reports_of
from hut.task.schemas import call, definition_of, definitions_of

__all__ = ["main"]

_CALLED_WRONGLY = 2


def main(
    *tasks: Callable[..., object],
    root: bool = False,
    version: str | None = None,
    command: Sequence[str] | None = None,
) -> NoReturn:
    """Be the command-line program of some tasks: do what its arguments say, and exit.

    Parameters
    ----------
    tasks
        Functions decorated with ``@task``; there may be none.
    root
        Whether the program itself is the command of its only task, without the task's name.
    version
        Of the tasks that don't say theirs.
    command
        What starts this program, for the definitions. By default the program's name if that is found
        on ``PATH``, else its absolute path, else ``python -m MODULE`` or ``python PATH`` as it was
        started now.

    Raises
    ------
    TaskDefinitionError
        If the tasks can't be those of one program, or no schema can be made of a type.
    """
    program = _Program(tasks_of(tasks, version), root, command)
    try:
        code = program.run(sys.argv[1:])
    except KeyboardInterrupt:
        _end_by_interrupt()
    sys.exit(code)


class _Program:
    def __init__(self, tasks: list[Task], root: bool, command: Sequence[str] | None) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._root = root
        self._command = command
        self._name = os.path.basename(sys.argv[0]) or "task"
        problems = []
        words = cast("Sequence[object]", command)
        if root and len(tasks) != 1:
            problems.append(f"main(root=True) is for a program of one task; there are {len(tasks)}")
        if command is not None and (
            isinstance(command, str)
            or not command
            or not all(isinstance(word, str) and word and "\0" not in word for word in words)
        ):
            problems.append(f"main(command={command!r}): it must be a list of words, at least one")
        if problems:
            raise TaskDefinitionError(problems)

    def run(self, arguments: list[str]) -> int:
        """Do what the arguments say; return the exit code."""
        try:
            if arguments and arguments[0] == DUMP_ALL:
                return self._dump(DUMP_ALL, arguments[1:])
            if arguments and arguments[0] in HELP:
                return self._help()
            task, rest = self._chosen(arguments)
            if rest and rest[0] == DUMP_ONE:
                return self._dump(DUMP_ONE, rest[1:], task)
            if rest and rest[0] in HELP:
                return self._help()
            return self._invoke(task, rest)
        except UsageError as error:
            _say(f"{self._name}: {error}")
            return _CALLED_WRONGLY

    def _chosen(self, arguments: list[str]) -> tuple[Task, list[str]]:
        if self._root:
            return next(iter(self._tasks.values())), arguments
        known = f"tasks: {', '.join(self._tasks) or 'none'}; or {DUMP_ALL} [FILE]"
        if not arguments:
            raise UsageError(f"the name of a task is missing; {known}")
        # Names are UTF-8 wherever the program runs, whatever Python took the arguments for.
        name = os.fsencode(arguments[0]).decode("utf-8", "surrogateescape")
        if name not in self._tasks:
            raise UsageError(f"{arguments[0]!r} is no task; {known}")
        return self._tasks[name], arguments[1:]

    def _dump(self, option: str, rest: list[str], task: Task | None = None) -> int:
        if len(rest) > 1:
            raise UsageError(f"{option} takes one file, or none to print; there are {len(rest)}")
        place = Place(rest[0]) if rest else None
        if place is not None and (problem := place.problem()):
            raise UsageError(f"{option}: {problem}")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the document alone goes there
                definitions = self._definitions(task)
            document = json.dumps(definitions, ensure_ascii=False, indent=2).encode() + b"\n"
            if place is not None:
                place.put(document)
            else:
                _print(document)
        except (OSError, TaskDefinitionError) as error:
            _say(f"{self._name}: {option}: {error}")
            return 1
        return 0

    def _definitions(self, task: Task | None) -> object:
        if task is not None:
            return definition_of(task, self._command_of(task))
        tasks = list(self._tasks.values())
        return definitions_of(tasks, [self._command_of(each) for each in tasks])

    def _command_of(self, task: Task) -> list[str]:
        command = list(self._command or _started_as())
        try:
            "".join(command).encode()
        except UnicodeEncodeError:
            raise TaskDefinitionError(
                [f"the command {command!r} is no UTF-8, so no definition can hold it"]
            ) from None
        return command if self._root else [*command, task.name]

    def _help(self) -> int:
        lines = [f"{self._name} {DUMP_ALL} [FILE]"]
        for task in self._tasks.values():
            start = self._name if self._root else f"{self._name} {task.name}"
            names = task.arguments
            files = [f"{names.output} FILE", f"{names.error} FILE"]
            if task.parameter is not None:
                given = f"{names.input} FILE"
                files.insert(0, f"[{given}]" if task.optional else given)
            lines += [f"{start} {DUMP_ONE} [FILE]", f"{start} {' '.join(files)}"]
            lines += [f"    {task.description}"] if task.description else []
        try:
            _print("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        except OSError as error:
            _say(f"{self._name}: {error}")
            return 1
        return 0

    def _invoke(self, task: Task, arguments: list[str]) -> int:
        files = _read_arguments(task, arguments)
        if files.problems:
            error = UsageError(f"{task.name}: {'; '.join(files.problems)}")
            if files.error is not None and files.error.problem() is None and not files.mixed:
                _write_reports(self._name, files.output, files.error, error)
            raise error
        assert files.output is not None  # noqa: S101 - else there are problems
        assert files.error is not None  # noqa: S101
        return _run(self._name, task, files.input, files.output, files.error)


@dataclass
class _Files:
    """What was read of a task's arguments.

    Attributes
    ----------
    mixed : bool
        Whether one file is named twice, so that none must be touched.
    """

    problems: list[str]
    input: str | None = None
    output: Place | None = None
    error: Place | None = None
    mixed: bool = False


def _read_arguments(task: Task, arguments: list[str]) -> _Files:
    """Read pairs of an option and a path, in any order, and find all that is wrong with them."""
    names = task.arguments
    options = [names.output, names.error]
    if task.parameter is not None:
        options.insert(0, names.input)
    found: dict[str, str] = {}
    seen: set[str] = set()
    files = _Files([])
    for at in range(0, len(arguments), 2):
        option = os.fsencode(arguments[at]).decode("utf-8", "surrogateescape")
        if option not in options:
            files.problems.append(f"{arguments[at]!r} is unknown; known: {', '.join(options)}")
            continue
        if option in seen:
            files.problems.append(f"{option} stands twice")
        seen.add(option)
        if at + 1 == len(arguments) or not arguments[at + 1]:
            files.problems.append(f"{option} needs a file: write {option} FILE")
        else:
            found[option] = arguments[at + 1]
    for option in options:
        optional = option == names.input and task.optional
        if option not in seen and not optional:
            files.problems.append(f"{option} FILE is missing")
    files.input = found.get(names.input) if task.parameter is not None else None
    for name in (names.output, names.error):
        if name not in found:
            continue
        place = Place(found[name])
        if problem := place.problem():
            files.problems.append(f"{name}: {problem}")
        if name == names.output:
            files.output = place
        else:
            files.error = place
    _find_mixed(files)
    return files


def _find_mixed(files: _Files) -> None:
    paths = [place.path for place in (files.output, files.error) if place is not None]
    if files.input is not None:
        paths.append(os.path.realpath(files.input))
    if len(set(paths)) < len(paths):
        files.mixed = True
        files.problems.append("input, output and error must be different files")


def _run(name: str, task: Task, given: str | None, output: Place, error: Place) -> int:
    """Run a task; leave its output document or its error reports, or nothing if it can't be helped."""
    process = os.getpid()
    try:
        # What an earlier attempt left would count if this one dies without a word.
        output.clear()
        error.clear()
        document = None
        if given is not None:
            document = _bytes_of(given)
        result = call(task, document)
        if os.getpid() != process:  # a fork that came back here: its parent is the task
            return 0
        # The function may have written either itself. Both are away before one comes, so that whenever
        # the process dies there are never two, nor one that is not the task's.
        output.clear()
        error.clear()
        output.put(result)
    except KeyboardInterrupt:
        for place in (output, error) if os.getpid() == process else ():
            with contextlib.suppress(OSError):
                place.clear()
        raise
    except BaseException as raised:  # noqa: BLE001 - whatever ends a task is reported, exit() too
        if os.getpid() == process:
            _write_reports(name, output, error, raised)
        return 1
    return 0


def _bytes_of(given: str) -> bytes:
    try:
        with open(given, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValidationError(f"the input can't be read: {error}") from None


def _write_reports(name: str, output: Place | None, place: Place, error: BaseException) -> None:
    reports = reports_of(error)
    document = json.dumps(reports, ensure_ascii=False).encode() + b"\n"
    steps: list[Callable[[], None]] = [] if output is None else [output.clear]
    steps += [place.clear, lambda: place.put(document)]
    for step in steps:
        try:
            step()
        except OSError as refused:
            _say(f"{name}: {refused}")
    if isinstance(error, UsageError):
        return  # told by whoever called
    for report in reports:
        trace = report.get("traceback")
        _say(str(trace or f"{name}: {report['type']}: {report['message']}").rstrip())


def _print(text: bytes) -> None:
    if sys.stdout is None:
        raise OSError("there is no standard output")
    sys.stdout.flush()
    sys.stdout.buffer.write(text)  # UTF-8, whatever the locale is
    sys.stdout.buffer.flush()


def _say(text: str) -> None:
    """Write to stderr, if it is there; what is written there is a log, nothing hangs on it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def _end_by_interrupt() -> NoReturn:
    """End as the signal would have ended a program that does not know it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(128 + signal.SIGINT)  # where the signal is blocked


def _started_as() -> list[str]:
    """Return what starts this program again, from any folder."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if (
        spec is not None and spec.name != "__main__"
    ):  # that is the name within an archive or a folder
        return [sys.executable, "-m", spec.name.removesuffix(".__main__")]
    path = os.path.abspath(sys.argv[0])
    if not os.path.exists(path):
        raise TaskDefinitionError(
            ["what starts this program can't be told; say main(command=[...])"]
        )
    if not _starts_itself(path):
        return [sys.executable, path]
    found = shutil.which(os.path.basename(path))
    if found is not None and os.path.samefile(found, path):
        return [os.path.basename(path)]
    return [path]


def _starts_itself(path: str) -> bool:
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return False
    with open(path, "rb") as file:
        return file.read(2) == b"#!"
