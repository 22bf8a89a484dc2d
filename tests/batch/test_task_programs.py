"""Task programs in a container: real shells start them and tell of their files, real lines tell Hut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

from hut.backends.launcher import copying, launcher, task_script
from hut.backends.markers import Markers, left_by, nonce_of, without_markers
from hut.lifecycle.task_program import Left
from hut.model.task_definition import read_definition
from hut.model.workflow import Resources, TaskCall, TaskSpec
from hut.script.calling import Ready, call_from_script
from tests.batch.plain_batch import run_of
from tests.batch.test_launcher import EVERY_SHELL, PATH, SHELLS, tools

RUN = run_of()
DOCUMENT = {
    "name": "t",
    "version": "1",
    "input": {"file_argument": "-i $(x)"},
    "output": {"file_argument": "-o"},
    "error": {"file_argument": "-e"},
    "command": ["sh", "-c", "", "it's"],
}


def spec_of(text, given="null", **fields):
    """Return a task whose program is a text for sh: its files are $2, $4 and $6."""
    definition = read_definition({**DOCUMENT, "command": ["sh", "-c", text, "it's"]}, [])
    command = call_from_script(Ready(definition, given))
    return TaskSpec("t", command, call=TaskCall("t", "1", given), **fields)


def command_of(shell, spec, *, pooled=False):
    words = [shutil.which(SHELLS[shell][0]), *SHELLS[shell][1:], "-c"]
    if pooled:
        return [*words, copying(RUN, spec, 1, task_script(RUN, spec, 1, exports=True))]
    return [*words, launcher(RUN, spec, 1), task_script(RUN, spec, 1, exports=False)]


def left(output):
    nonce = nonce_of(RUN, TaskSpec("t", ""), 1)
    lines = output.decode(errors="replace").removesuffix("\n").split("\n")
    return left_by(lines, Markers(nonce, "output"), Markers(nonce, "error"))


def run(shell, spec, folder, *, path=PATH, pooled=False):
    done = subprocess.run(
        command_of(shell, spec, pooled=pooled),
        env={"PATH": path, "HOME": str(folder), "TMPDIR": str(folder)},
        input=b"nobody reads this",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        check=False,
    )
    assert not [each for each in os.listdir(folder) if each.startswith("hut-")]
    return done.returncode, *left(done.stdout)


ODD = '{"é": "it\'s \\"odd\\"\\n$(touch harm) `x` \\\\"}'


@EVERY_SHELL
@pytest.mark.parametrize("pooled", [False, True], ids=["by itself", "of a worker"])
def test_documents_come_and_go_as_they_are(shell, tmp_path, pooled):
    program = (
        'echo "$#" "$1" "$3" "$5"; ls -ld "$TMPDIR"/hut-*; ls "${4%/*}"; read -r x && echo "$x"; '
        'cat "$2" >"$4"; printf said; exit 3'
    )
    code, found, whole = run(shell, spec_of(program, ODD), tmp_path, pooled=pooled)
    assert (code, found.output, found.error, whole) == (3, f"{ODD}\n".encode(), None, True)
    words, folder, *names = found.log_tail.splitlines()
    assert words == "6 -i $(x) -o -e"
    assert folder.startswith("drwx------")
    assert names == ["input.json", "said"]
    assert not (tmp_path / "harm").exists()


CASES = {
    "neither": (":", Left()),
    "error": ('printf "[1]" >"$6"', Left(None, b"[1]")),
    "both, empty": (': >"$4"; : >"$6"; exit 1', Left(b"", b"")),
    "folder": ('mkdir "$4"', Left(None, None, "is no regular file")),
    "link": ('ln -s /etc/hostname "$4"', Left(None, None, "is no regular file")),
    "dangling": ('ln -s nowhere "$6"', Left(None, None, "", "is no regular file")),
    "pipe": ('mkfifo "$4"', Left(None, None, "is no regular file")),
    "killed": ('printf 1 >"$4"; kill -9 $$', Left(b"1")),
    "markers": ('printf "::hut:1234567890abcdef:output end 0 -" >"$4"', None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_program_leaves_is_told(tmp_path, case):
    program, expected = CASES[case]
    _, found, whole = run("dash" if "dash" in SHELLS else "bash", spec_of(program), tmp_path)
    assert whole
    if expected is None:
        assert found.output.startswith(b"::hut:")
    else:
        assert found._replace(log_tail="") == expected


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "busybox"])
def test_od_and_the_shell_alone_will_do(shell, tmp_path):
    names = ("sh", "rm", "mkdir", "cat")
    program = 'cat "$2" >"$4"; printf "[\\"\\303\\251\\"]" >"$6"'
    for number, more in enumerate([("od",), ()]):
        path = tools(tmp_path / f"tools{number}", *names, *more)
        _, found, whole = run(shell, spec_of(program, ODD), tmp_path, path=path)
        assert (found.output, found.error, whole) == (f"{ODD}\n".encode(), '["é"]'.encode(), True)


@EVERY_SHELL
@pytest.mark.parametrize("pooled", [False, True], ids=["by itself", "of a worker"])
def test_what_is_stopped_tells_what_it_left(shell, tmp_path, pooled):
    program = 'printf 1 >"$4"; echo up; sleep 60'
    process = subprocess.Popen(
        command_of(shell, spec_of(program), pooled=pooled),
        env={"PATH": PATH, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"up\n"
    if pooled:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
    rest, _ = process.communicate(timeout=20)
    found, whole = left(rest)
    assert (process.returncode, found.output, whole) == (143, b"1", True)


def test_a_short_time_limit_does_not_hide_the_files(tmp_path):
    spec = spec_of('printf 1 >"$4"; sleep 60', resources=Resources(time_limit=1))
    began = time.monotonic()
    code, found, whole = run("bash", spec, tmp_path)
    assert (code, found.output, whole) == (124, b"1", True)
    assert time.monotonic() - began < 50
    assert "stopped at its time limit" in found.log_tail


def test_a_folder_that_can_not_be_made_is_told(tmp_path):
    spec = spec_of(":")
    done = subprocess.run(
        command_of("bash", spec),
        env={"PATH": PATH, "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "none")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    markers = Markers(nonce_of(RUN, spec, 1))
    for line in done.stdout.decode().splitlines():
        markers.feed(line)
    assert "can't be made" in markers.not_started


def told(*lines):
    nonce = nonce_of(RUN, TaskSpec("t", ""), 1)
    return left("\n".join(f"::hut:{nonce}:{line}" for line in lines).encode())


@pytest.mark.parametrize(
    ("lines", "expected", "whole"),
    [
        ([], Left(), False),
        (
            ["output begin od", "data 1 31"],
            Left(None, None, "did not come back: its copy is"),
            False,
        ),
        (
            ["output no-file larger than 32 MiB"],
            Left(None, None, "can't be read: larger than 32"),
            False,
        ),
        (
            ["output begin od", "output data 1 31", "output end 1 cksum=1,1", "error no-file is x"],
            Left(None, None, "did not come back: its copy in the log is not", "is x"),
            True,
        ),
        (["begin od", "data 1 31", "end 1 -"], Left(), False),
    ],
)
def test_a_log_that_tells_half_is_not_taken_for_none(lines, expected, whole):
    found, is_whole = told(*lines)
    assert is_whole == whole
    assert (found.output, found.error) == (expected.output, expected.error)
    assert found.no_output.startswith(expected.no_output)
    assert found.no_error == expected.no_error
    assert bool(found.no_output) == bool(expected.no_output)


def test_its_lines_are_for_hut_alone():
    assert without_markers("x::hut:1234567890abcdef:output data 1 abc") == "x"
    assert without_markers("::hut:1234567890abcdef:error no-file Is a directory") is None
