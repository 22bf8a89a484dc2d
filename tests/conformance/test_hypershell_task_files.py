"""Task files as HyperShell has them: what a line is, what its comment says, what a template makes of it."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hut.model.limits import MOST_TAGS
from hut.model.problems import InvalidInput
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from hut.planning.comments import split_line
from hut.planning.task_files import LONGEST_LINE, NO_FIELDS, LineFields, TaskFileReader, TaskLine
from hut.planning.templates import Template
from hut.script import Scripts, attempt_variables
from hut.script.render import ScriptRequest
from tests.unit.plain_records import plain_run


def read(text: str | bytes, fields: LineFields = NO_FIELDS, template: str | None = None) -> Any:
    """Return the tasks of a file, and its problems as text."""
    reader = TaskFileReader(fields, None if template is None else Template(template))
    content = text if isinstance(text, bytes) else text.encode()
    found = (reader.read(n, line) for n, line in enumerate(io.BytesIO(content), 1))
    tasks = [task for task in found if task is not None]
    return tasks, [str(problem) for problem in reader.problems]


def only(line: str, **options: Any) -> TaskLine:
    tasks, problems = read(line, **options)
    assert not problems
    [task] = tasks
    return task


# Where the command ends --------------------------------------------------------------------------

KEPT = [  # HyperShell cuts each of these at its first '#'
    'echo "a # b"',
    "echo 'a # b'",
    r"echo \# b",
    r'echo "\" # "',
    "echo a#b",
    'echo "a"#b',
    "echo $#",
    "test $# -eq 0",
    "echo ${x#y}",
    "echo ${x##*/}",
    "echo ${#x}",
    'echo "${x:-it\'s # this}"',
    "echo ${x:-'}' # b}",
    "echo $((16#ff))",
    "echo $(( (1 + 2) * 3 ))",
    'echo "$(echo "x # y")"',
    'echo "$(echo "$(echo "# deep")")"',
    "echo `echo '# x'`",
    'echo $(case a in a) echo "# b";; esac)',
    'echo $(case a in (a) echo "# b";; esac)',
    'echo "$(case a in a) echo "b # c";; esac)"',
    "echo $(echo case)",
    "echo $(if true; then case a in a) echo '# x';; esac; fi)",
    "f() { echo '# f'; }; f",
    "(echo '# sub')",
]


@pytest.mark.parametrize("command", KEPT)
def test_a_sharp_that_is_no_comment_for_a_shell_is_kept(command: str) -> None:
    for line in (command, f"  {command}  ", f"{command} # a comment", f"{command}\t#x"):
        assert only(line).command == command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("echo a # b", "echo a"),
        ("echo a #", "echo a"),
        ("echo a;#b", "echo a;"),
        ("echo a # 'b", "echo a"),
        ("echo a # b # c", "echo a"),
        ("echo a > b # to b", "echo a > b"),
        ("  echo a\t", "echo a"),
        ("echo a\r\n", "echo a"),
        ("echo a\\ # b", "echo a\\ # b"),
        ("echo a\\ ", "echo a\\ "),
        ("echo 'a\tb'", "echo 'a\tb'"),
    ],
)
def test_a_line_is_stripped_and_its_comment_dropped(line: str, command: str) -> None:
    assert only(line).command == command


PIECES = st.sampled_from(
    ["a", "#", " ", " # ", "'", '"', "\\", "$", "${x", "${x#", "}", "$(", ")", "`", ";", "(", "$((",
     "echo ", "case a in a) ", "esac", "b", "|", "$'"]
)  # fmt: skip


def shell_takes(lines: list[str]) -> list[bool]:
    """Say for each line whether sh takes it for whole: as the body of a function, so nothing runs."""
    script = """for l in "$@"; do (eval "f() { :; $l
    }") 2>/dev/null && echo 1 || echo 0; done"""
    done = subprocess.run(
        ["sh", "-c", script, "sh", *lines], capture_output=True, text=True, check=True, timeout=60
    )
    return [word == "1" for word in done.stdout.split()]


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=40, max_size=80))
def test_what_is_cut_off_is_what_a_shell_passes_over(lines: list[str]) -> None:
    """A line that sh takes is never refused as unclosed, and is whole without its comment too."""
    splits = [split_line(line) for line in lines]
    whole = shell_takes(lines)
    alone = shell_takes([split.command for split in splits])
    # What comes behind a command is read; behind a comment, the open quote would not be.
    continued = shell_takes([f"{split.command} ; : '" for split in splits])
    for line, split, before, after, more in zip(
        lines, splits, whole, alone, continued, strict=True
    ):
        if before and not line.rstrip().endswith("\\"):
            assert split.unclosed is None, line
            assert after, line
            assert not more, line


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a\n\n  \n\t\nb\n", [1, 5]),
        ("#!/bin/sh\n# only words\na", [3]),
        ("\ufeffa\nb", [1, 2]),
        ("a\r\nb\r\n", [1, 2]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_blank_lines_and_comments_are_skipped(text: str, numbers: list[int]) -> None:
    tasks, problems = read(text)
    assert (problems, [task.number for task in tasks]) == ([], numbers)


# Tags --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["# HYPERSHELL:", "#HYPERSHELL:", "#  HUT:", "# HYPERSHELL", "# x # HUT:"])  # fmt: skip
def test_tags_stand_in_a_comment_behind_a_marker(marker: str) -> None:
    task = only(f"make all {marker} site:eu-1 flag n:1.5 v:a+b_c.d")
    assert task.command == "make all"
    assert task.fields.tags == {"site": "eu-1", "flag": "", "n": "1.5", "v": "a+b_c.d"}


def test_other_comments_are_no_tags() -> None:
    tasks, problems = read("a # site:eu\nb # HUTS: x:y\nc # the HUT: x:y")
    assert not problems
    assert [task.fields.tags for task in tasks] == [{}, {}, {}]


def test_a_marker_in_quotes_is_a_part_of_the_command() -> None:
    line = 'echo "x # HYPERSHELL: a:b"'
    assert only(line) == TaskLine(1, line, line, LineFields())


@pytest.mark.parametrize(
    ("tag", "field", "value"),
    [
        ("group:2", "group", 2),
        ("group:-1", "group", -1),
        ("cores:8", "cores", 8),
        ("memory:4GB", "memory", 4096),
        ("memory:512mb", "memory", 512),
        ("memory:1.5G", "memory", 1536),
        ("timeout:90", "timeout", 90.0),
        ("timeout:15m", "timeout", 900.0),
        ("timeout:0.5", "timeout", 0.5),
    ],
)
def test_some_tags_are_fields_of_the_task(tag: str, field: str, value: float) -> None:
    assert only(f"true # HUT: {tag}").fields == LineFields()._replace(**{field: value})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a # HUT: group:first", "line 1, field 'group': 'first' is no group"),
        ("a # HUT: group:1.5", "'1.5' is no group"),
        ("a # HUT: cores:0", "field 'cores': '0' is not a whole number of cores"),
        ("a # HUT: cores:x", "'x' is not a whole number of cores"),
        ("a # HUT: cores: 8", "field 'cores': has no value; write cores:VALUE, without a space"),
        ("a # HUT: memory:4096", "has no unit, and HyperShell would take it for bytes"),
        ("a # HUT: memory:4X", "is not an amount of memory"),
        ("a # HUT: timeout:soon", "is not a duration"),
        ("a # HUT: timeout:0", "0 is no time at all"),
        ("a # HUT: timeout", "field 'timeout': has no value"),
        ("a # HUT: k:a,b", "field 'tags': 'k:a,b' is no tag; its value"),
        ("a # HUT: k:v:w", "its value has to be"),
        ("a # HUT: k/l:v", "its name has to be"),
        ("a # HUT: :v", "its name has to be"),
        ("a # HUT: é:v", "its name has to be"),
        (f"a # HUT: {'k' * 121}", "its name has to be"),
        (f"a # HUT: k:{'v' * 121}", "its value has to be"),
        ("a # HUT: " + " ".join(f"k{n}" for n in range(MOST_TAGS + 1)), "has 101 tags"),
        ("make#HUT: k:v", "the tags at column 5 are a part of the word before them"),
        ("echo it's # HUT: k:v", "the quote ' at column 8 is never closed"),
        ('echo "a', 'the quote " at column 6 is never closed; a command stands on one line'),
        ("echo $(date # HUT: k:v)", "the $( at column 6 is never closed"),
        ("echo `date", "the backquote at column 6 is never closed"),
        ("echo ${x", "the ${ at column 6 is never closed"),
        ("make \\", "a backslash stands at the end, as if it went on"),
        ("echo a\rb", "carriage return in its middle"),
        ("echo \0", "NUL character"),
        (b"echo \xff", "is not UTF-8 text: byte 0xff"),
        ("a".encode("utf-16"), "the file is UTF-16"),
        (b"x" * (LONGEST_LINE + 1), "is longer than 1,048,576 bytes"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(
    line: str | bytes, said: str
) -> None:
    tasks, [problem] = read(line)
    assert not tasks
    assert problem.startswith("line 1")
    assert said in problem


def test_every_problem_of_a_file_is_told() -> None:
    tasks, problems = read("a # HUT: cores:x\nb\nc # HUT: k:,\nd 'e\n")
    assert [task.command for task in tasks] == ["b"]
    assert [problem.split(",")[0].split(":")[0] for problem in problems] == ["line 1", "line 3", "line 4"]  # fmt: skip


def test_the_longest_line_is_taken() -> None:
    assert only("x" * LONGEST_LINE).command == "x" * LONGEST_LINE


def test_tags_on_a_line_of_their_own_hold_for_all_lines_that_follow() -> None:
    text = "a\n# HYPERSHELL: site:eu cores:2\nb\nc # HUT: site:us timeout:5\n# HUT: cores:4 x\nd\n"
    tasks, problems = read(text, fields=LineFields(memory=8, tags={"all": ""}))
    assert not problems
    assert [task.fields for task in tasks] == [
        LineFields(memory=8, tags={"all": ""}),
        LineFields(cores=2, memory=8, tags={"all": "", "site": "eu"}),
        LineFields(cores=2, memory=8, timeout=5.0, tags={"all": "", "site": "us"}),
        LineFields(cores=4, memory=8, tags={"all": "", "site": "eu", "x": ""}),
    ]


NAMES = st.from_regex(r"[A-Za-z0-9_.+-]{1,8}", fullmatch=True)
COMMANDS = st.sampled_from(KEPT) | st.text("ab '\"#\\;", max_size=12)


@given(COMMANDS, st.dictionaries(NAMES.filter(lambda n: n not in LineFields._fields), NAMES | st.just("")))  # fmt: skip
def test_a_task_written_as_a_line_is_read_as_the_same_task(
    command: str, tags: dict[str, str]
) -> None:
    """What `hutctl failures --with-tags` prints is a task file again."""
    tasks, problems = read(command)
    if problems or not tasks:
        return
    words = " ".join(f"{key}:{value}" if value else key for key, value in tags.items())
    again = only(f"{tasks[0].command}  # HUT: {words}")
    assert (again.command, again.fields.tags) == (tasks[0].command, tags)


# Templates ---------------------------------------------------------------------------------------

PATH = "/some/path/to/file.tar.h5"


@pytest.mark.parametrize(
    ("template", "line", "command"),
    [
        ("{}", PATH, PATH),
        ("run {} > {}.log", "a b", "run a b > a b.log"),
        ("{.}", PATH, "/some/path/to"),
        ("{//}", PATH, "/some/path/to"),
        ("{..}", PATH, "/some/path"),
        ("{/}", PATH, "file.tar.h5"),
        ("{/-}", PATH, "file.tar"),
        ("{-}", PATH, "/some/path/to/file.tar"),
        ("{+}", PATH, ".h5"),
        ("{++}", PATH, "h5"),
        ("x{.}x{+}x", "plain", "xxx"),
        ("{ / }", PATH, "file.tar.h5"),
        ("{[0]}", "a b  c d", "a"),
        ("{[-1]}", "a b  c d", "d"),
        ("{[1:3]}", "a b  c d", "b c"),
        ("{[:2]}", "a b  c d", "a b"),
        ("{[-2:]}", "a b  c d", "c d"),
        ("{[::2]}", "a b  c d", "a c"),
        ("{[1::2]}", "a b  c d", "b d"),
        ("{[::-1]}", "a b  c d", "d c b a"),
        ("x {[5:]}", "a b", "x "),
        ("awk '${x}' {}", "f", "awk '${x}' f"),
        ("f {} # dropped by the shell", "a", "f a # dropped by the shell"),
    ],
)
def test_a_template_puts_a_line_or_a_part_of_it_into_the_command(
    template: str, line: str, command: str
) -> None:
    assert only(line, template=template) == TaskLine(1, command, line, LineFields())


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("x {% mktemp -d %}", "'{% mktemp -d %}', column 3: expressions are not evaluated"),
        ("x {= x * 2 =}", "expressions are not evaluated"),
        ("x {name}", "'{name}', column 3: is no pattern; known: {} {.} {..}"),
        ("x {[]}", "is no pattern"),
        ("x {[a]}", "is no pattern"),
        ("x {[1:2:3:4]}", "is no pattern"),
        ("x {[::0]}", "a step of 0 leads nowhere"),
        ("x {[__import__('os')]}", "is no pattern"),
        ("make all", "has no pattern"),
    ],
)
def test_a_wrong_template_is_refused_before_any_line_is_read(template: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Template(template)
    assert said in str(caught.value)


def test_every_pattern_that_is_wrong_is_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        Template("{% a %} {} {= b =} {c}")
    assert len(caught.value.problems) == 3


def test_an_expression_in_a_line_is_text() -> None:
    assert (
        only("{% touch pwned %} {}", template="echo '{}'").command == "echo '{% touch pwned %} {}'"
    )


@pytest.mark.parametrize(
    ("template", "line", "said"),
    [
        ("x {[2]}", "a b", "line 1: the template asks for {[2]}, the line has 2 words"),
        ("x {}", "it's", "in the command it becomes, \"x it's\", the quote ' at column 5"),
        ("x {}", "a\\", "a backslash stands at the end"),
        ("{+}", "plain", "the command it becomes is empty"),
        ('x "{}"', "it's # HUT: k:v", "so it can't be told whether the tags belong to the line"),
    ],
)
def test_a_line_the_template_can_not_take_is_told(template: str, line: str, said: str) -> None:
    tasks, [problem] = read(line, template=template)
    assert not tasks
    assert said in problem


def test_a_line_for_a_template_need_be_no_command() -> None:
    assert only("it's.txt", template='wc "{}"').command == 'wc "it\'s.txt"'
    assert only("a b # HUT: k:v", template="wc '{}'").command == "wc 'a b'"


# What a task finds in its environment ------------------------------------------------------------


def spec_of(task: TaskLine, task_id: str = "1") -> TaskSpec:
    document = task.document(NO_FIELDS)
    return TaskSpec(
        task_id,
        document["command"],
        document.get("name", task_id),
        resources=Resources(document.get("cpus", 1), document.get("memory", 4096), (), 90.5),
        env_vars=document.get("env_vars", {}),
        group=document.get("group"),
        tags=document.get("tags", {}),
    )


RUN = plain_run(settings=RunSettings(shell="sh", task_variables=True))


def test_a_task_finds_what_hypershell_tells_it() -> None:
    line = "make x # HUT: site:us-west-1 n.o:1 flag cores:2 memory:1GB group:3"
    variables = attempt_variables(RUN, spec_of(only(line)), 2)
    assert {name: text for name, text in variables.items() if name.startswith("TASK_")} == {
        "TASK_ID": "1",
        "TASK_ATTEMPT": "2",
        "TASK_ARGS": "make x",
        "TASK_COMMAND": "make x",
        "TASK_GROUP": "3",
        "TASK_CORES": "2",
        "TASK_MEMORY": str(2**30),
        "TASK_TIMEOUT": "91",
        "TASK_SUBMIT_ID": "r1",
        "TASK_SUBMIT_TIME": "1970-01-01T00:00:00.000000Z",
        "TASK_TAG_SITE": "us-west-1",
        "TASK_TAG_N_O": "1",
        "TASK_TAG_FLAG": "",
    }


@pytest.mark.parametrize("line", ["a b", "1", "0.1", "tab\there", "x" * 2000])
def test_a_task_of_a_template_finds_the_line_it_was_made_of(line: str) -> None:
    variables = attempt_variables(RUN, spec_of(only(line, template="run '{}'")), 1)
    assert (variables["TASK_ARGS"], variables["TASK_COMMAND"]) == (line, f"run '{line}'")


def test_a_command_too_long_for_a_variable_is_in_none() -> None:
    variables = attempt_variables(RUN, TaskSpec("7", "é" * 60_000), 1)
    assert not {"TASK_ARGS", "TASK_COMMAND"} & variables.keys()


def test_tasks_of_workflows_find_none_of_them() -> None:
    assert not [n for n in attempt_variables(plain_run(), TaskSpec("a", "b"), 1) if n.startswith("TASK")]  # fmt: skip


def test_a_script_sets_them_and_runs_the_line_as_sh_does(tmp_path: Any) -> None:
    line = 'echo "$TASK_ID|$TASK_ARGS|$TASK_TAG_K|$TASK_CWD"; false | true'
    spec = spec_of(only(f"{line} # HUT: k:v"))
    script = Scripts(RUN, "sh").render(ScriptRequest(spec, 1, str(tmp_path)))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"1|{line}|v|{tmp_path}\n")
    assert "pipefail" not in script
