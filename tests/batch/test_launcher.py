"""The launcher and the script, run by real shells as a container runs them."""

import contextlib
import http.server
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hut.backends.launcher import (
    StoredScript,
    launcher,
    resolve,
    task_script,
    working_dir_of,
)
from hut.backends.markers import Markers, NoFile, nonce_of
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from tests.batch.plain_batch import run_of

SHELLS = {
    name: command
    for name, command in {
        "dash": ["dash"],
        "bash": ["bash"],
        "posix": ["bash", "--posix"],
        "busybox": ["busybox", "sh"],
    }.items()
    if shutil.which(command[0])
}
EVERY_SHELL = pytest.mark.parametrize("shell", SHELLS)
PATH = os.environ["PATH"]


class Container:
    """Runs tasks with a home of their own, and their process group, as a container has it."""

    def __init__(self, shell, folder):
        self.shell = [shutil.which(SHELLS[shell][0]), *SHELLS[shell][1:]]
        self.home = folder
        self.run = run_of()

    def command(self, spec, **more):
        text = launcher(self.run, spec, 1, **more)
        return [*self.shell, "-c", text, task_script(self.run, spec, 1, exports=False)]

    def __call__(self, spec, *, path=PATH, variables=None, **more):
        self.spec = spec
        self.process = subprocess.run(
            self.command(spec, **more),
            env={"PATH": path, "HOME": str(self.home), **(variables or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            check=False,
        )
        self.out, self.err = self.process.stdout.decode(), self.process.stderr.decode()
        return self.process.returncode

    @property
    def markers(self):
        markers = Markers(nonce_of(self.run, self.spec, 1))
        for line in self.process.stdout.decode(errors="replace").split("\n"):
            markers.feed(line)
        return markers


@pytest.fixture
def container(shell, tmp_path):
    return Container(shell, tmp_path)


def task(command, **fields):
    return TaskSpec("t", command, **fields)


def tools(folder, *names):
    """Return a folder with these programs only."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name))
    return str(folder)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@EVERY_SHELL
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("exit 3", 3),
        ("false; true", 0),
        ("false", 1),
        ("exit 125", 125),
        ("exit 124", 124),
        ("no-such-command-here", 127),
        ("kill -9 $$", 137),
        ("sh -c 'kill -TERM $$'", 143),
        ("set -e; false; true", 1),
        ("false | true", 1),
        ("echo )", 2),
    ],
)
def test_the_exit_code_is_the_commands(container, command, code):
    assert container(task(command)) == code
    assert container.markers == Markers(nonce_of(container.run, container.spec, 1))


@EVERY_SHELL
def test_output_goes_to_the_log_and_nothing_else_does(container):
    container(task("echo out; echo err >&2"))
    assert (container.out, container.err) == ("out\n", "err\n")


@EVERY_SHELL
def test_the_command_runs_in_bash_if_the_image_has_it(container, tmp_path):
    container(task('echo "${BASH_VERSION:+bash}"'))
    assert container.out == "bash\n"
    container(task('echo "${BASH_VERSION:-sh}"'), path=tools(tmp_path / "bin", "sh"))
    assert container.out == "sh\n" or os.path.realpath("/bin/sh").endswith("bash")


@EVERY_SHELL
def test_a_bash_that_does_not_run_is_passed_over(container, tmp_path):
    path = tools(tmp_path / "bin", "sh")
    (tmp_path / "bin" / "bash").write_text("\x7fELF for another machine")
    (tmp_path / "bin" / "bash").chmod(0o755)
    assert container(task("exit 4"), path=path) == 4
    assert container.err == ""


@EVERY_SHELL
def test_the_folder_is_the_home_where_the_task_names_none(container):
    container(task("pwd"))
    assert container.out == f"{container.home}\n"
    container(task("pwd; echo $HOME"), variables={"HOME": ""})
    assert container.out == "/\n/\n"


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        (None, "~"),
        ("~", "~"),
        ("~/a b", "~/a b"),
        ("a", "~/a"),
        ("../a", "~/../a"),
        ("~user", "~/~user"),
        ("/data", "/data"),
    ],
)
def test_relative_folders_start_at_the_home(folder, place):
    spec = task("true", working_dir=folder)
    assert working_dir_of(spec) == place
    assert resolve(spec, "x") == f"{place}/x"
    assert resolve(spec, "/x") == "/x"
    assert resolve(spec, "~/x") == "~/x"


@EVERY_SHELL
def test_a_missing_folder_is_told(container):
    assert container(task("echo no", working_dir="a 'b'")) == 125
    folder = container.home / "a 'b'"
    assert container.markers.not_started == f"the working folder {folder} does not exist"
    assert "echo" not in container.out


@EVERY_SHELL
def test_init_lines_come_before_the_folder(container):
    environment = {"extra_init": "mkdir -p ~/made\nGREETING=hello"}
    container.run = run_of(settings=RunSettings(environments={"e": environment}, environment="e"))
    assert container(task('echo "$GREETING"', working_dir="made")) == 0
    assert container.out == "hello\n"


@EVERY_SHELL
def test_variables_without_a_value_are_set(container):
    command = 'echo "${A+set}${A:-empty}${B+set}"'
    container(task(command), empty=["A"])
    assert container.out == "setempty\n"


@EVERY_SHELL
def test_output_files_are_made_emptied_and_written(container):
    (container.home / "out").mkdir()
    (container.home / "out" / "e").write_text("old")
    spec = task("echo out; echo err >&2", output_file="~/new 'x'/o", error_file="out/e")
    assert container(spec) == 0
    assert (container.out, container.err) == ("", "")
    assert (container.home / "new 'x'" / "o").read_text() == "out\n"
    assert (container.home / "out" / "e").read_text() == "err\n"


@EVERY_SHELL
def test_output_and_errors_share_a_file(container):
    assert container(task("echo 1; echo 2 >&2; echo 3", output_file="o", error_file="~/o")) == 0
    assert (container.home / "o").read_text() == "1\n2\n3\n"


@EVERY_SHELL
def test_errors_alone_go_to_a_file(container):
    container(task("echo out; echo err >&2", error_file="e"))
    assert container.out == "out\n"
    assert (container.home / "e").read_text() == "err\n"


@EVERY_SHELL
def test_an_output_file_that_cannot_be_written_is_told(container):
    (container.home / "file").write_text("")
    assert container(task("echo no", output_file="file/o")) == 125
    told = f"the task could not be started: {container.home}/file/o can't be written"
    assert container.markers.not_started == told


SHORT = Resources(time_limit=0.5)


@EVERY_SHELL
def test_a_short_time_limit_is_enforced_by_the_launcher(container):
    assert container(task("sleep 600 & sleep 600; echo no", resources=SHORT)) == 124
    assert container.markers.timed_out
    assert "no\n" not in container.out.replace("::hut:", "")


@EVERY_SHELL
def test_the_command_can_tidy_up_at_its_time_limit(container):
    command = "trap 'echo tidy; exit 3' TERM; sleep 600 & wait"
    assert container(task(command, resources=SHORT)) == 124
    assert container.out.startswith("tidy\n")


def test_what_ignores_its_time_limit_is_killed(tmp_path):
    container = Container(next(iter(SHELLS)), tmp_path)
    command = "trap '' TERM; while :; do sleep 600; done"
    assert container(task(command, resources=SHORT)) == 124


@pytest.mark.skipif(
    not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK),
    reason="needs to choose a process's number",
)
@EVERY_SHELL
def test_the_timer_of_a_launcher_that_was_killed_harms_nobody_who_gets_its_number(container):
    command = container.command(task("sleep 600", resources=SHORT))
    launched = subprocess.Popen(command, env={"PATH": PATH, "HOME": str(container.home)})
    children = f"/proc/{launched.pid}/task/{launched.pid}/children"
    while len(others := Path(children).read_text().split()) < 2:  # the command, and the timer
        time.sleep(0.01)
    launched.kill()
    launched.wait()
    stranger = None
    for _ in range(200):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(launched.pid - 1))
        found = subprocess.Popen(["/bin/sleep", "60"])
        if found.pid == launched.pid:
            stranger = found
            break
        found.kill()
        found.wait()
    if stranger is None:
        pytest.skip("others were given the number")
    time.sleep(SHORT.time_limit + 1.5)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    for pid in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@EVERY_SHELL
def test_what_ends_before_its_short_limit_ends_as_it_ends(container):
    assert container(task("exit 7", resources=Resources(time_limit=59))) == 7
    assert container.out == ""


@EVERY_SHELL
def test_without_sleep_no_limit_is_enforced_here(container, tmp_path):
    spec = task("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", resources=SHORT)
    assert container(spec, path=tools(tmp_path / "bin", "sh")) in (0, 124)
    assert container.err == ""


@EVERY_SHELL
def test_what_the_command_leaves_behind_is_ended(container):
    # It holds the log open: if it were not ended, this would take ten minutes.
    assert container(task("sleep 600 & echo x")) == 0


@EVERY_SHELL
@pytest.mark.parametrize("path", ["all tools", "no setsid"])
def test_a_term_reaches_the_command(container, tmp_path, path):
    command = "trap 'echo got it; kill $!; exit 9' TERM; sleep 600 >/dev/null & echo ready; wait"
    place = PATH if path == "all tools" else tools(tmp_path / "bin", "sh", "bash", "sleep")
    process = subprocess.Popen(
        container.command(task(command)),
        env={"PATH": place, "HOME": str(container.home)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    assert (process.returncode, out) == (9, b"got it\n")


@EVERY_SHELL
def test_a_command_that_does_not_care_about_term_ends_by_it(container):
    process = subprocess.Popen(
        container.command(task("echo ready; sleep 600")),
        env={"PATH": PATH, "HOME": str(container.home)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


CONTENTS = {
    "json": b'[{"id": "a", "command": "true"}]\n',
    "empty": b"",
    "no end": b"a\n\n b \nlast  ",
    "empty lines": b"\n\n",
    "shell": b"\\n \\c $x `y` '%s' \" -n *\n",
    "utf-8": '[\n\n"é\u2028😀"]\r\n'.encode(),
    "long": ("x" * 5000 + "é" * 1500 + " " + "y" * 3000 + "\n").encode() * 3,
    "cut": "".join(f"{'x' * n}{c * 1300}\n" for n in range(4) for c in "éࠀ€😀퟿").encode(),
    "zeros": b"a\0\0b\n",
    "any": bytes(range(256)) * 40,
}


@EVERY_SHELL
@pytest.mark.parametrize("kind", CONTENTS)
def test_what_was_generated_is_copied_into_the_log(container, kind):
    (container.home / "a b").write_bytes(CONTENTS[kind])
    assert container(task("printf x", generates_source="a b")) == 0
    assert container.out.startswith("x::hut:")
    assert container.markers.content() == CONTENTS[kind]
    lines = container.out.split("\n")
    assert max(map(len, lines)) < 4096
    assert all(lines[:-1])


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("with_cksum", [True, False])
def test_od_will_do(tmp_path, kind, with_cksum):
    container = Container("dash" if "dash" in SHELLS else "bash", tmp_path)
    (container.home / "a").write_bytes(CONTENTS[kind])
    names = ("sh", "od", "wc", *(["cksum"] if with_cksum else []))
    spec = task(":", generates_source="a")
    assert container(spec, path=tools(tmp_path / "bin", *names)) == 0
    assert ":begin od\n" in container.out
    assert container.markers.content() == CONTENTS[kind]


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "busybox"])
@pytest.mark.parametrize("kind", [kind for kind in CONTENTS if kind not in ("zeros", "any")])
@pytest.mark.parametrize("names", [("sh",), ("sh", "wc", "cksum"), ("sh", "bash", "sha256sum")])
def test_the_shell_alone_will_do_for_text(container, tmp_path, kind, names):
    (container.home / "a").write_bytes(CONTENTS[kind])
    spec = task(":", generates_source="a")
    assert container(spec, path=tools(tmp_path / "bin", *names)) == 0
    assert ":begin text\n" in container.out
    assert container.markers.content() == CONTENTS[kind]
    assert max(map(len, container.process.stdout.split(b"\n"))) < 16384


@EVERY_SHELL
def test_a_missing_generated_file_is_told(container):
    assert container(task("true", generates_source="none")) == 0
    with pytest.raises(NoFile, match=r"^No such file or directory$"):
        container.markers.content()
    (container.home / "folder").mkdir()
    assert container(task("true", generates_source="folder")) == 0
    with pytest.raises(NoFile, match=r"^Is a directory$"):
        container.markers.content()


@EVERY_SHELL
def test_nothing_is_copied_after_a_failure(container):
    (container.home / "a").write_text("[]")
    assert container(task("exit 3", generates_source="a")) == 3
    assert container.out == ""


@EVERY_SHELL
def test_a_large_generated_file_is_not_copied(container):
    spec = task("exit 0", generates_source="large")
    with open(container.home / "large", "wb") as file:
        file.truncate(32 * 1024 * 1024 + 1)
    assert container(spec) == 0
    with pytest.raises(NoFile, match=r"^larger than 32 MiB$"):
        container.markers.content()


class _Store(http.server.BaseHTTPRequestHandler):
    """Answers like S3: the script under one path, 403 elsewhere."""

    script = b""

    def do_GET(self):
        found = self.path.startswith("/bucket/script.sh?")
        body = self.script if found else b"<Error><Code>AccessDenied</Code></Error>"
        self.send_response(200 if found else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def store():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


URL = "http://127.0.0.1:{}/bucket/{}?X-Amz-Signature=a'b&X-Amz-Date=1"
BASICS = ("sh", "bash", "rm", "cat", "dirname", "readlink")


def stored(container, store, folder, name="script.sh", *, tool, place=None):
    spec = task("echo large; exit 6")
    _Store.script = task_script(container.run, spec, 1, exports=False).encode()
    path = tools(folder / "bin", *BASICS, *tool)
    url = URL.format(store.server_port, name)
    temporary = folder / "tmp"
    temporary.mkdir()
    variables = {"TMPDIR": str(temporary)}
    code = container(spec, path=path, variables=variables, stored=StoredScript(url, place))
    return code, list(temporary.iterdir())


@EVERY_SHELL
@pytest.mark.parametrize("tool", [name for name in ("curl", "wget") if shutil.which(name)])
def test_a_stored_script_is_fetched(container, store, tmp_path, tool):
    assert stored(container, store, tmp_path, tool=[tool]) == (6, [])
    assert container.out == "large\n"


@EVERY_SHELL
def test_a_stored_script_is_fetched_with_python(container, store, tmp_path):
    program(tmp_path / "python3", f'exec {shlex.quote(sys.executable)} "$@"')
    spec = task("echo large; exit 6")
    _Store.script = task_script(container.run, spec, 1, exports=False).encode()
    url = URL.format(store.server_port, "script.sh")
    path = f"{tools(tmp_path / 'bin', *BASICS)}:{tmp_path}"
    assert container(spec, path=path, stored=StoredScript(url)) == 6
    assert container.out == "large\n"


@EVERY_SHELL
def test_a_stored_script_that_cannot_be_fetched_is_told(container, store, tmp_path):
    tool = ["curl"] if shutil.which("curl") else []
    assert stored(container, store, tmp_path, "expired.sh", tool=tool)[0] == 125
    assert "could not be fetched from S3" in container.markers.not_started
    assert "curl, wget, python3 or aws" in container.markers.not_started


@EVERY_SHELL
def test_the_aws_cli_is_asked_where_the_url_no_longer_works(container, store, tmp_path):
    program(tmp_path / "aws", '[ "$1$2$4" = "s3cps3://b/k" ] && echo "exit 8" >"$5"')
    spec = task("true")
    url = URL.format(store.server_port, "expired.sh")
    path = f"{tools(tmp_path / 'bin', *BASICS)}:{tmp_path}"
    where = StoredScript(url, "s3://b/k")
    assert container(spec, path=path, stored=where) == 8
    assert container(spec, path=path, stored=StoredScript(url)) == 125


def test_only_its_owner_can_read_a_fetched_script(tmp_path, store):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    container = Container(next(iter(SHELLS)), tmp_path)
    spec = task('ls -l "$TMPDIR"/hut-*')
    _Store.script = task_script(container.run, spec, 1, exports=False).encode()
    where = StoredScript(URL.format(store.server_port, "script.sh"))
    assert container(spec, variables={"TMPDIR": str(tmp_path)}, stored=where) == 0
    assert container.out.startswith("-rw-------")


TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\n")
    | st.sampled_from("'\"\\$`! *?[]{}()<>|&;#~=%^-"),
    min_size=1,
    max_size=30,
)


@settings(max_examples=20, deadline=None)
@given(name=TEXT)
def test_no_path_reaches_the_shell_as_code(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    container = Container(next(iter(SHELLS)), folder)
    place = f"missing/{name}"
    spec = task("exit 125", working_dir=place, generates_source=name)
    assert container(spec) == 125
    assert list(folder.iterdir()) == []
