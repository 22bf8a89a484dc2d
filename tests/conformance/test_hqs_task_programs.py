"""The Task CLI of HQS Tasks, as programs made with `hut.task` keep to it. Each is a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LIMIT = 120  # seconds for one program

PROGRAM = '''
from __future__ import annotations

import enum, os, signal, sys, threading, time
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, Field

from hut.task import FileArguments, main, task

print("the program greets whoever reads its log", file=sys.stderr)

def path_after(option):
    return sys.argv[sys.argv.index(option) + 1]

class Order(BaseModel):
    count: int = Field(ge=1, alias="Count")
    at: datetime | None = None
    unit: str = "kg"

class Bill(BaseModel):
    total: float = Field(serialization_alias="Total")

class Refused(Exception):
    """Knows more than its message."""
    def __init__(self, details):
        super().__init__("refused")
        self.details = details

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

@task(version="0.5.0", provisioning={"vcpu": 2, "memory": 512, "gpu": 0, "timeout": 60})
def hello(name: str) -> str:
    """Greet
    someone.

    Nothing more.
    """
    return f"Hello, {name}!"

@task
def bill(order: Order) -> Bill:
    return Bill(total=order.count * 1.5)

@task
def nothing() -> None:
    print("called")

@task
def half(number: int = 8) -> float:
    return number / 2

@task
def total(rows: list[Annotated[int, Field(ge=0)]]) -> int:
    print("called")
    return sum(rows)

@task(version="two", validate=False)
def raw(document: dict[str, Any]) -> list[Any]:
    assert "pydantic" in sys.modules
    return [document]

@task
def raises(text: str) -> str:
    raise LookupError(f"there is no {text}")

@task
def group() -> None:
    raise ExceptionGroup("both", [ValueError("one"), ExceptionGroup("in", [KeyError("two")])])

@task
def knows() -> None:
    raise Refused({"rows": [1, 2]})

@task
def knows_too_much() -> None:
    raise Refused(threading.Lock())

@task
def mute() -> None:
    raise Mute

@task
def long_winded() -> None:
    raise ValueError("x" * 1_000_000)

@task
def odd_words() -> None:
    open("/nowhere/caf\\udce9")

@task
def endless() -> None:
    endless()

@task
def no_memory() -> None:
    raise MemoryError

@task
def exits(code: int) -> str:
    sys.exit(code)

@task
def dies() -> None:
    os._exit(0)

@task
def is_killed(number: int) -> str:
    with open(path_after("--output-file"), "w") as file:
        file.write('"half a docum')
    signal.raise_signal(number)
    return "lived"

@task
def interrupts_itself() -> None:
    signal.raise_signal(signal.SIGINT)

@task
def wrong() -> int:
    return "3"

@task
def flag() -> int:
    return True

@task
def not_a_number() -> float:
    return float("nan")

@task
def unsayable() -> Any:
    return {"lock": threading.Lock()}

@task
def surrogate() -> str:
    return "\\udce9"

@task
def negative() -> Annotated[int, Field(ge=0)]:
    return -1

@task
def mutated() -> Bill:
    made = Bill(total=1)
    made.total = "much"
    return made

@task
def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value

@task
def garbage() -> str:
    sys.stdout.write("\\x00{]" * 1000)
    print("warned", file=sys.stderr)
    return "clean"

@task
def closes() -> str:
    os.close(1)
    os.close(2)
    sys.stdout = sys.stderr = None
    return "quiet"

@task
def meddles() -> str:
    for option in ("--output-file", "--error-file"):
        with open(path_after(option), "w") as file:
            file.write("[]")
    return "mine"

@task
def meddles_and_raises() -> str:
    meddles()
    raise RuntimeError("no")

@task
def blocks_output() -> str:
    os.mkdir(path_after("--output-file"))
    return "x"

@task
def blocks_error() -> str:
    os.mkdir(path_after("--error-file"))
    return "x"

@task
def is_killed_at_the_end(fails: bool) -> str:
    meddles()
    os.replace = lambda *paths: signal.raise_signal(signal.SIGKILL)
    if fails:
        raise RuntimeError("no")
    return "x" * 1_000_000

@task
def wanders() -> str:
    os.chdir("/")
    return "back"

@task
def forks(raises: bool) -> str:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:  # until its document is there
            time.sleep(0.01)
        if raises:
            raise RuntimeError("in the child")
        return "child"
    return "parent"

@task
def threads() -> str:
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    return "main"

@task(name="odd $(touch harm) 'né\\" -x", arguments=FileArguments("in", "out put", "--é"))
def odd(text: str) -> str:
    return text

if __name__ == "__main__":
    main(*[each for each in list(globals().values()) if hasattr(each, "__hut_task__")], version="1")
'''

ROOT = """
from hut.task import main, task

@task(version="7")
def only(x: int) -> int:
    return x + 1

if __name__ == "__main__":
    main(only, root=True)
"""


@dataclass(frozen=True)
class Ended:
    """A program's end and what it left."""

    code: int
    stdout: bytes
    stderr: str
    folder: Path

    @property
    def output(self) -> Any:
        return json.loads((self.folder / "out.json").read_bytes())

    @property
    def reports(self) -> Any:
        return json.loads((self.folder / "err.json").read_bytes())

    @property
    def left(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"in.json"}


@dataclass(frozen=True)
class Program:
    """A program and a folder to call it in."""

    path: Path
    folder: Path

    def __call__(self, *arguments: str, **options: Any) -> Ended:
        """Call it with arguments as they are."""
        command = options.pop("command", [sys.executable, str(self.path)])
        done = subprocess.run(
            [*command, *arguments],
            cwd=options.pop("cwd", self.folder),
            stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            check=False,
            **options,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode(), self.folder)

    def invoke(self, *task: str, given: Any = None, raw: bytes | None = None) -> Ended:
        """Run a task as a runner does, with an input file if there is an input."""
        files = ["--output-file", "out.json", "--error-file", "err.json"]
        if given is not None or raw is not None:
            document = json.dumps(given).encode() if raw is None else raw
            (self.folder / "in.json").write_bytes(document)
            files = ["--input-file", "in.json", *files]
        return self(*task, *files)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def program(source: Path, tmp_path: Path) -> Program:
    return Program(source, tmp_path)


def made(folder: Path, text: str, name: str = "made.py") -> Program:
    """Write a program of a test's own; it is called in an empty folder."""
    path = folder / "programs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (folder / "work").mkdir(exist_ok=True)
    return Program(path, folder / "work")


def run_of(functions: str, main: str = "main(*tasks)") -> str:
    return f"from hut.task import *\nfrom hut.task import FileArguments\n{functions}\n{main}\n"


# Successful ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Success:
    behaviour: str
    task: str
    output: Any
    given: Any = None
    raw: bytes | None = None


SUCCESSES = [
    Success("the output is a document adhering to the schema", "hello", "Hello, é!", "é"),
    Success("models are read and written by their aliases", "bill", {"Total": 3.0}, {"Count": 2}),
    Success("a task without input takes two options", "nothing", None),
    Success("an input with a default may be left out", "half", 4.0),
    Success("and may be given", "half", 1.0, 2),
    Success("to the schema 2.0 is an integer", "half", 1.0, raw=b"2.0"),
    Success("in a list too", "total", 3, raw=b"[1.0, 2]"),
    Success("a text may say NaN", "hello", "Hello, NaN!", "NaN"),
    Success("checks can be switched off", "raw", [{"count": "x"}], {"count": "x"}),
    Success("stdout is a log", "garbage", "clean"),
    Success("closed streams are no matter", "closes", "quiet"),
    Success("of what a task writes itself nothing is left", "meddles", "mine"),
    Success("paths hold where the task goes", "wanders", "back"),
    Success("a forked child that returns leaves no document", "forks", "parent", False),
    Success("nor does one that fails", "forks", "parent", True),
    Success("a thread that fails is the task's own affair", "threads", "main"),
]


@pytest.mark.parametrize("case", SUCCESSES, ids=lambda case: case.behaviour)
def test_success_writes_the_output_and_no_error_file(case: Success, program: Program) -> None:
    ended = program.invoke(case.task, given=case.given, raw=case.raw)
    assert (ended.code, ended.left) == (0, {"out.json"}), ended.stderr
    assert ended.output == case.output


# Failures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    behaviour: str
    task: str
    types: Sequence[str]
    says: str
    given: Any = None
    raw: bytes | None = None
    code: int = 1
    details: Any = None
    traceback: bool = True


def _input(behaviour: str, task: str, says: str, **given: Any) -> Failure:
    return Failure(behaviour, task, ["ValidationError"], says, **given, traceback=False)


def _output(behaviour: str, task: str, says: str, **more: Any) -> Failure:
    return Failure(behaviour, task, ["OutputValidationError"], says, **more, traceback=False)


FAILURES = [
    Failure("an exception becomes a report", "raises", ["LookupError"], "there is no x", "x"),
    Failure("a group of them becomes several", "group", ["ValueError", "KeyError"], "one"),
    Failure("details are kept", "knows", ["Refused"], "refused", details={"rows": [1, 2]}),
    Failure("unless JSON can't say them", "knows_too_much", ["Refused"], "refused"),
    Failure("an exception without words", "mute", ["Mute"], "RuntimeError"),
    Failure("a long message is cut", "long_winded", ["ValueError"], "x" * 10_000),
    Failure("words that are no UTF-8", "odd_words", ["FileNotFoundError"], r"caf\udce9"),
    Failure("endless recursion", "endless", ["RecursionError"], "recursion"),
    Failure("no memory, told by Python", "no_memory", ["MemoryError"], ""),
    Failure("exit with 0 is no success", "exits", ["SystemExit"], "exit(0)", 0),
    Failure("exit with another code", "exits", ["SystemExit"], "exit(3)", 3),
    Failure("what it wrote itself is gone", "meddles_and_raises", ["RuntimeError"], "no"),
    _input(
        *("an input of the wrong type", "total", "1: Input should be a valid integer"),
        given=[1, "2", -1],
        details=[
            {"path": [1], "message": "Input should be a valid integer"},
            {"path": [2], "message": "Input should be greater than or equal to 0"},
        ],
    ),
    _input(
        *("an input without a field", "bill", "Count: Field required"),
        given={},
        details=[{"path": ["Count"], "message": "Field required"}],
    ),
    _input("an input with a field's name for its alias", "bill", "Count", given={"count": 1}),
    _input("an input that is no JSON", "total", "no JSON document", raw=b"[1"),
    _input("an empty input file", "total", "no JSON document", raw=b""),
    _input("an input that is no UTF-8", "hello", "the input", raw=b'"\xff"'),
    _input("an input with what JSON has no word for", "total", "NaN is no number", raw=b"[NaN]"),
    _input("no JSON where checks are off", "raw", "no JSON document", raw=b"{"),
    _output("a result of the wrong type", "wrong", "valid integer"),
    _output("true is no integer", "flag", "valid integer"),
    _output("NaN is no number", "not_a_number", "JSON"),
    _output("a result JSON can't say", "unsayable", "lock"),
    _output("a text UTF-8 can't say", "surrogate", "surrogates"),
    _output("a result out of range", "negative", "greater than or equal to 0"),
    _output("a model that was changed after it was checked", "mutated", "float"),
    _output("a result that is too deep", "deep", "depth"),
]


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.behaviour)
def test_failure_writes_reports_and_no_output_file(case: Failure, program: Program) -> None:
    ended = program.invoke(case.task, given=case.given, raw=case.raw)
    assert (ended.code, ended.left) == (case.code, {"err.json"}), ended.stderr
    assert [each["type"] for each in ended.reports] == case.types
    assert case.says in ended.reports[0]["message"]
    assert len(ended.reports[0]["message"]) <= 10_000
    if case.details is not None:
        assert ended.reports[0]["details"] == case.details
    for report in ended.reports:
        assert report["type"] in ended.stderr  # the log tells it, too
        assert ("traceback" in report) is case.traceback
        assert "hut/task" not in report.get("traceback", "")
    assert b"called" not in ended.stdout


def test_failure_tells_where_in_the_function(program: Program) -> None:
    trace = program.invoke("raises", given="x").reports[0]["traceback"]
    assert trace.startswith("Traceback")
    assert re.search(r'program\.py", line \d+, in raises\n', trace)


def test_failure_when_the_output_file_cannot_be_replaced(program: Program) -> None:
    ended = program.invoke("blocks_output")
    assert ended.code == 1
    assert [each["type"] for each in ended.reports] == ["IsADirectoryError"]
    assert (program.folder / "out.json").is_dir()  # the task's own, and no document
    assert ended.left == {"out.json", "err.json"}


def test_failure_when_no_error_file_can_be_written_leaves_no_document(program: Program) -> None:
    """It shall not write the error file on success, so this is none; and there is no other place."""
    ended = program.invoke("blocks_error")
    assert (ended.code, ended.left) == (1, {"err.json"})
    assert (program.folder / "err.json").is_dir()
    assert "IsADirectoryError" in ended.stderr


def test_failure_when_there_is_no_room_for_the_output(tmp_path: Path) -> None:
    program = made(
        tmp_path,
        run_of(
            "import resource, signal\n"
            "@task(version='1')\n"
            "def large() -> str:\n"
            "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            "    return 'x' * 30_000",
            "main(large)",
        ),
    )
    ended = program.invoke("large")
    assert (ended.code, ended.left) == (1, {"err.json"})
    assert ended.reports[0]["type"] == "OSError"


def test_failure_when_the_input_file_is_not_there(program: Program) -> None:
    files = ["--output-file", "out.json", "--error-file", "err.json"]
    ended = program("hello", "--input-file", "no", *files)
    assert (ended.code, ended.left) == (1, {"err.json"})
    assert ended.reports[0]["type"] == "ValidationError"
    assert "'no'" in ended.reports[0]["message"]


# Abnormal termination ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP], ids=lambda n: n.name
)
def test_a_signal_ends_the_task_without_a_report(number: int, program: Program) -> None:
    ended = program.invoke("is_killed", given=number)
    assert ended.code == -number
    assert "err.json" not in ended.left
    with pytest.raises(json.JSONDecodeError):  # what the task itself had begun; no document
        _ = ended.output


@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_before_the_document_has_its_name_leaves_none(
    fails: bool, program: Program
) -> None:
    ended = program.invoke("is_killed_at_the_end", given=fails)
    assert ended.code == -signal.SIGKILL
    [written] = ended.left
    assert re.fullmatch(r"\.hut-[0-9a-f]+\.tmp", written)
    assert program.invoke("garbage").output == "clean"


@pytest.mark.parametrize("task", ["interrupts_itself", "is_killed"])
def test_an_interrupt_ends_it_as_a_signal_and_leaves_nothing(task: str, program: Program) -> None:
    given = None if task == "interrupts_itself" else int(signal.SIGINT)
    ended = program.invoke(task, given=given)
    assert (ended.code, ended.left) == (-signal.SIGINT, set())


def test_a_process_that_is_gone_leaves_nothing(program: Program) -> None:
    ended = program.invoke("dies")
    assert (ended.code, ended.left) == (0, set())


@pytest.mark.parametrize("task", ["dies", "is_killed"])
def test_what_an_earlier_attempt_left_is_never_taken_for_this_one(
    task: str, program: Program
) -> None:
    (program.folder / "out.json").write_text('"old"')
    (program.folder / "err.json").write_text('[{"type": "Old"}]')
    ended = program.invoke(task, given=None if task == "dies" else int(signal.SIGKILL))
    assert "err.json" not in ended.left
    assert "out.json" not in ended.left or b"old" not in (program.folder / "out.json").read_bytes()


# Invoking a task -----------------------------------------------------------------------------------


def test_options_stand_in_any_order(program: Program) -> None:
    (program.folder / "in.json").write_text('"you"')
    files = ["--error-file", "err.json", "--output-file", "out.json", "--input-file", "in.json"]
    ended = program("hello", *files)
    assert (ended.code, ended.output) == (0, "Hello, you!")


def test_paths_are_taken_as_they_are(program: Program) -> None:
    names = ["--input-file", "--error-file", "out put\n'$(x)'"]
    (program.folder / names[0]).write_text('"you"')
    ended = program(
        "hello", "--input-file", names[0], "--error-file", names[1], "--output-file", names[2]
    )
    assert ended.code == 0
    assert ended.left == {names[0], names[2]}


@dataclass(frozen=True)
class Misuse:
    behaviour: str
    arguments: str
    says: str
    left: set[str] = field(default_factory=lambda: {"err.json"})


MISUSES = [
    Misuse("no task", "", "the name of a task is missing", set()),
    Misuse("an unknown task", "hallo", "'hallo' is no task; tasks: hello", set()),
    Misuse("no options", "hello", "--input-file FILE is missing; --output-file FILE", set()),
    Misuse(
        "no output", "hello --input-file in.json --error-file err.json", "--output-file FILE is"
    ),
    Misuse("no error", "hello --input-file in.json --output-file o", "--error-file FILE is", set()),
    Misuse(
        "no input", "hello --output-file o --error-file err.json", "--input-file FILE is missing"
    ),
    Misuse(
        "an input for a task without one",
        "nothing --input-file in.json --output-file o --error-file err.json",
        "'--input-file' is unknown; known: --output-file, --error-file",
    ),
    Misuse(
        "an option with its path in one word",
        "nothing --output-file=o --error-file err.json",
        "'--output-file=o' is unknown",
        set(),
    ),
    Misuse(
        "an option without its path",
        "nothing --error-file err.json --output-file",
        "write --output-file FILE",
    ),
    Misuse(
        "an option that stands twice",
        "nothing --output-file o --error-file err.json --output-file p",
        "--output-file stands twice",
    ),
    Misuse(
        "a folder that is not there",
        "nothing --output-file no/o --error-file err.json",
        "there is no folder",
    ),
    Misuse("a folder for a file", "nothing --output-file / --error-file err.json", "is a folder"),
    Misuse(
        "one file for both", "nothing --output-file x --error-file ./x", "must be different", set()
    ),
    Misuse(
        "the input as output",
        "hello --input-file in.json --output-file in.json --error-file err.json",
        "must be different",
        set(),
    ),
    Misuse("two files to dump to", "--dump-task-definitions a b", "takes one file", set()),
]


@pytest.mark.parametrize("case", MISUSES, ids=lambda case: case.behaviour)
def test_misuse_is_told_and_nothing_runs(case: Misuse, program: Program) -> None:
    (program.folder / "in.json").write_text('"x"')
    ended = program(*case.arguments.split())
    assert (ended.code, ended.stdout) == (2, b"")
    assert case.says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.left == case.left
    if case.left:
        assert ended.reports[0]["type"] == "UsageError"
        assert case.says in ended.reports[0]["message"]
    assert (program.folder / "in.json").read_text() == '"x"'


def test_documents_have_the_rights_of_new_files_and_links_are_followed(program: Program) -> None:
    (program.folder / "there").mkdir()
    (program.folder / "out.json").symlink_to("there/real.json")
    ended = program.invoke("garbage")
    assert ended.output == "clean"
    assert (program.folder / "out.json").is_symlink()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((program.folder / "there/real.json").stat().st_mode) == 0o666 & ~mask


def test_a_pipe_is_written_to_and_stays(program: Program) -> None:
    pipe = program.folder / "out.json"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    ended = program.invoke("garbage")
    reader.join(LIMIT)
    assert (ended.code, read) == (0, [b'"clean"\n'])
    assert pipe.is_fifo()


# Exposing definitions ------------------------------------------------------------------------------


def test_definitions_have_the_published_form(program: Program) -> None:
    ended = program("--dump-task-definitions", "tasks.json")
    assert (ended.code, ended.stdout, ended.left) == (0, b"", {"tasks.json"})
    registry = json.loads((program.folder / "tasks.json").read_bytes())
    by_name = {each["name"]: each for each in registry}
    assert list(by_name)[:3] == ["hello", "bill", "nothing"]
    assert by_name["hello"] == {
        "name": "hello",
        "description": "Greet someone.",
        "version": "0.5.0",
        "input": {"file_argument": "--input-file", "json_schema": {"type": "string"}},
        "output": {"file_argument": "--output-file", "json_schema": {"type": "string"}},
        "error": {"file_argument": "--error-file"},
        "command": [sys.executable, str(program.path), "hello"],
        "provisioning_defaults": {"vcpu": 2, "memory": 512, "gpu": 0, "timeout": 60},
    }
    assert by_name["nothing"]["input"] is None
    assert by_name["nothing"]["output"]["json_schema"] == {"type": "null"}
    assert (by_name["bill"]["version"], by_name["raw"]["version"]) == ("1", "two")
    order = by_name["bill"]["input"]["json_schema"]
    assert (order["required"], order["properties"]["Count"]["minimum"]) == (["Count"], 1)
    assert list(by_name["bill"]["output"]["json_schema"]["properties"]) == ["Total"]


def test_both_forms_tell_the_same(program: Program) -> None:
    (program.folder / "tasks.json").write_text("old")
    program("--dump-task-definitions", "tasks.json")
    printed = program("--dump-task-definitions")
    assert (printed.code, printed.stdout) == (0, (program.folder / "tasks.json").read_bytes())
    assert "greets" in printed.stderr


def test_what_a_type_prints_while_its_schema_is_made_is_a_log(tmp_path: Path) -> None:
    program = made(
        tmp_path,
        run_of(
            "from pydantic import BaseModel\n"
            "class Loud(BaseModel):\n"
            "    @classmethod\n"
            "    def __get_pydantic_json_schema__(cls, schema, handler):\n"
            "        print('loud')\n"
            "        return handler(schema)\n"
            "@task(version='1')\ndef a(x: Loud) -> None: ...",
            "main(a)",
        ),
    )
    ended = program("--dump-task-definitions")
    assert json.loads(ended.stdout)[0]["name"] == "a"
    assert "loud" in ended.stderr


def test_one_definition_is_the_registry_entry(program: Program) -> None:
    registry = json.loads(program("--dump-task-definitions").stdout)
    printed = program("bill", "--dump-task-definition")
    program("bill", "--dump-task-definition", "task.json")
    assert printed.stdout == (program.folder / "task.json").read_bytes()
    assert json.loads(printed.stdout) == registry[1]


def test_a_program_may_have_no_task(tmp_path: Path) -> None:
    ended = made(tmp_path, run_of("", "main()"))("--dump-task-definitions")
    assert (ended.code, json.loads(ended.stdout)) == (0, [])


def test_the_command_may_be_the_bare_program(tmp_path: Path) -> None:
    program = made(tmp_path, ROOT)
    registry = json.loads(program("--dump-task-definitions").stdout)
    assert [each["command"] for each in registry] == [[sys.executable, str(program.path)]]
    assert json.loads(program("--dump-task-definition").stdout) == registry[0]
    ended = program.invoke(given=1)
    assert (ended.code, ended.left, ended.output) == (0, {"out.json"}, 2)
    assert program("only").code == 2


def test_the_command_of_a_definition_runs_the_task_from_any_folder(program: Program) -> None:
    """Odd characters in names and options too; no shell ever sees them."""
    registry = json.loads(program("--dump-task-definitions").stdout)
    [odd] = [each for each in registry if each["name"].startswith("odd ")]
    assert odd["command"][-1] == odd["name"] == "odd $(touch harm) 'né\" -x"
    (program.folder / "in.json").write_text('"as it was"')
    for locale in ("C.UTF-8", "C", "POSIX"):
        ended = program(
            *(odd["input"]["file_argument"], str(program.folder / "in.json")),
            *(odd["output"]["file_argument"], str(program.folder / "out.json")),
            *(odd["error"]["file_argument"], str(program.folder / "err.json")),
            command=odd["command"],
            cwd="/",
            env={"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        )
        assert (ended.code, ended.left) == (0, {"out.json"}), ended.stderr
        assert ended.output == "as it was"


_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _as_script(path: Path) -> tuple[list[str], dict[str, str], list[str]]:
    return [str(path)], {"PATH": _PATH}, [str(path)]


def _on_path(path: Path) -> tuple[list[str], dict[str, str], list[str]]:
    search = f"{path.parent}{os.pathsep}{_PATH}"
    return [str(path)], {"PATH": search}, [path.name]


def _as_module(path: Path) -> tuple[list[str], dict[str, str], list[str]]:
    start = [sys.executable, "-m", path.stem]
    return start, {"PYTHONPATH": str(path.parent)}, start


@pytest.mark.parametrize("how", [_as_script, _on_path, _as_module])
def test_the_command_is_what_started_the_program(
    how: Callable[[Path], tuple[list[str], dict[str, str], list[str]]], tmp_path: Path
) -> None:
    program = made(tmp_path, f"#!/usr/bin/env {Path(sys.executable).name}\n{ROOT}", "startable.py")
    program.path.chmod(0o755)
    start, environment, command = how(program.path)
    ended = program("--dump-task-definition", command=start, env={**os.environ, **environment})
    assert json.loads(ended.stdout)["command"] == command


def test_the_command_can_be_said(tmp_path: Path) -> None:
    text = ROOT.replace("root=True", "command=['hqs_task_example']")
    ended = made(tmp_path, text)("only", "--dump-task-definition")
    assert json.loads(ended.stdout)["command"] == ["hqs_task_example", "only"]


def test_the_program_of_the_docs_runs(tmp_path: Path) -> None:
    page = Path(__file__).parents[2].joinpath("docs/task-programs.md").read_text()
    text = page.partition("    # quotes.py\n")[2].partition("\n    $ ")[0]
    program = made(tmp_path, textwrap.dedent(text), "quotes.py")
    registry = json.loads(program("--dump-task-definitions").stdout)
    assert [each["name"] for each in registry] == ["price", "catalogue"]
    assert program.invoke("price", given={"item": "nails", "count": 10}).output == 3.0
    assert program.invoke("catalogue").output == ["screws", "nails"]


@dataclass(frozen=True)
class Broken:
    behaviour: str
    program: str
    says: Sequence[str]


BROKEN = [
    Broken(
        "every type without a schema",
        run_of(
            "import threading\nfrom collections.abc import Callable\n"
            "@task(version='1')\ndef a(x: threading.Thread) -> 'Nobody': ...\n"
            "@task(version='1')\ndef b(x: Callable[[], int]) -> None: ...\n",
            "main(a, b)",
        ),
        ["task a, parameter 'x'", "task a, its result", "'Nobody'", "task b, parameter 'x'"],
    ),
    Broken(
        "types that are not JSON's own where checks are off",
        run_of(
            "from pathlib import Path\n"
            "@task(version='1', validate=False)\ndef a(x: list[Path]) -> dict[int, str]: ...\n",
            "main(a)",
        ),
        ["task a, parameter 'x': with validate=False", "task a, its result: with validate=False"],
    ),
    Broken(
        "tasks that can't be together",
        run_of(
            "def no() -> None: ...\n@task\ndef a() -> None: ...\n"
            "@task(name='a', version='2')\ndef b() -> None: ...\n",
            "main(no, a, b, root=False)",
        ),
        ["no is no task; decorate it", "task a: it has no version", "task b: a has the name 'a'"],
    ),
]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.behaviour)
def test_what_is_wrong_with_a_program_is_told_at_once(case: Broken, tmp_path: Path) -> None:
    ended = made(tmp_path, case.program)("--dump-task-definitions", "tasks.json")
    assert (ended.code, ended.stdout, ended.left) == (1, b"", set())
    for text in case.says:
        assert text in ended.stderr


def test_a_task_whose_type_is_unusable_reports_it(tmp_path: Path) -> None:
    program = made(
        tmp_path,
        run_of("@task(version='1')\ndef a(x: 'Nobody') -> None:\n    print('called')", "main(a)"),
    )
    ended = program.invoke("a", given=1)
    assert (ended.code, ended.stdout, ended.left) == (1, b"", {"err.json"})
    assert ended.reports[0]["type"] == "TaskDefinitionError"


def test_help_shows_how_tasks_are_invoked(program: Program) -> None:
    ended = program("--help")
    assert ended.code == 0
    text = ended.stdout.decode()
    assert "program.py hello --input-file FILE --output-file FILE --error-file FILE" in text
    assert "program.py half [--input-file FILE] --output-file FILE" in text
    assert "program.py nothing --output-file FILE --error-file FILE" in text


def test_a_reader_of_stdout_that_has_gone_is_told(program: Program) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = program("--dump-task-definitions", stdout=writing)
    os.close(writing)
    assert ended.code != 0
    assert "Traceback" not in ended.stderr
