"""Task scripts, run by real shells: every value arrives as it is, and the exit code is the command's."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hut.model.records import RunRecord, RunSettings
from hut.model.states import AUTOMATIC_VARIABLES, RunState, TaskState
from hut.model.workflow import TaskSpec
from hut.script import Journal, ScriptRequest, Scripts, init_lines, render_script, variables_of
from hut.script.render import quote_path

SHELLS = [name for name in ("bash", "sh") if shutil.which(name)]
ENV = shutil.which("env") or "env"
# Each example starts a process.
few = settings(max_examples=25)

EVERY_SHELL = pytest.mark.parametrize("shell", SHELLS)

NASTY = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$HOME ${PATH} $$ !! !-1",
    "\\",
    "\\'",
    "'",
    "''",
    '"',
    "a\nb\n",
    "\n\n",
    " lead and trail ",
    "\t\r\v\f\b\a\x1b[31m",
    "\x01\x7f\x81\x88",
    "* ? [a-z] {a,b} ~ ~root",
    "# no comment",
    "-n",
    "--",
    "é\u2028😀\ufeff",
    "EOF\nEOF",
    "\\n\\0\\c",
    "a=b;c&d|e<f>g",
    "",
]
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("'\"\\$`!\n \t*?[]{}()<>|&;#~=%^-\x01\x7f\x81"),
    max_size=40,
)


def run_of(fixed=None, **fields):
    return RunRecord(
        **{
            "id": "run-1",
            "workflow": "nightly",
            "state": RunState.RUNNING,
            "reason": None,
            "message": "",
            "owner": "",
            "created_at": 1_700_000_000.25,
            "started_at": None,
            "ended_at": None,
            "total": 1,
            "counts": dict.fromkeys(TaskState, 0),
            "settings": fixed or RunSettings(),
        }
        | fields
    )


def script_of(shell, command, *, run=None, working_dir=None, attempt=1, **fields):
    spec = TaskSpec(**{"id": "a.task", "command": command, "name": "a.task"} | fields)
    return render_script(run or run_of(), ScriptRequest(spec, attempt, working_dir), shell=shell)


def execute(shell, script, *, cwd=None, **environment):
    """Run a script as a backend does: as the argument of a shell, in a small environment."""
    return subprocess.run(
        [shell, "-c", script],
        check=False,
        capture_output=True,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": "/"} | environment,
        timeout=60,
    )


def environment_of(shell, *, extra=None, **options):
    """Return the variables that a command sees."""
    done = execute(shell, script_of(shell, f"exec {ENV} -0", **options), **(extra or {}))
    assert done.returncode == 0, done.stderr
    entries = (entry.partition(b"=") for entry in done.stdout.split(b"\0") if entry)
    return {name.decode(): value.decode("utf-8") for name, _, value in entries}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path


# Variables ---------------------------------------------------------------------------------------

# A shell gives a meaning of its own to some names (UID, IFS, LC_ALL); no values are at fault then.
VARIABLES = st.dictionaries(
    st.from_regex(r"[VW]_[A-Za-z0-9_]{0,8}", fullmatch=True), TEXT, max_size=4
)


@EVERY_SHELL
@few
@given(variables=VARIABLES)
def test_any_variable_of_a_task_arrives_as_it_was_written(shell, variables):
    seen = environment_of(shell, env_vars=variables)
    assert {name: seen.get(name) for name in variables} == variables


@EVERY_SHELL
def test_values_that_look_like_shell_arrive_and_do_nothing(shell, folder):
    variables = {f"V_{number}": value for number, value in enumerate(NASTY)}
    run = run_of(RunSettings(env_vars={f"W{name}": value for name, value in variables.items()}))
    script = script_of(shell, f"exec {ENV} -0", run=run, env_vars=variables)
    done = execute(shell, script, cwd=folder)
    entries = done.stdout.decode().split("\0")
    for name, value in variables.items():
        assert f"{name}={value}" in entries
        assert f"W{name}={value}" in entries
    assert not (folder / "pwned").exists()


@EVERY_SHELL
def test_variables_arrive_whatever_the_locale(shell):
    variables = {f"V_{number}": value for number, value in enumerate(NASTY)}
    for locale in ("C", "C.UTF-8", "POSIX"):
        seen = environment_of(shell, env_vars=variables, extra={"LC_ALL": locale})
        assert {name: seen.get(name) for name in variables} == variables


@EVERY_SHELL
@few
@given(workflow=TEXT)
def test_a_workflow_may_have_any_name(shell, workflow):
    seen = environment_of(shell, run=run_of(workflow=workflow))
    assert seen["HUT_WORKFLOW"] == seen["SCRIPTHUT_WORKFLOW"] == workflow


@EVERY_SHELL
def test_a_command_sees_what_hut_knows_of_it(shell):
    seen = environment_of(shell, attempt=3)
    assert {name: value for name, value in seen.items() if "HUT" in name} == {
        "HUT_RUN_ID": "run-1",
        "HUT_WORKFLOW": "nightly",
        "HUT_TASK_ID": "a.task",
        "HUT_ATTEMPT": "3",
        "HUT_CREATED_AT": "2023-11-14T22:13:20.250000Z",
        "SCRIPTHUT_WORKFLOW": "nightly",
        "SCRIPTHUT_RUN_ID": "run-1",
        "SCRIPTHUT_CREATED_AT": "2023-11-14T22:13:20.250000Z",
    }


@EVERY_SHELL
@pytest.mark.parametrize("giver", ["workflow", "environment", "task", "caller"])
def test_nobody_overrides_what_hut_sets(shell, giver):
    mine = dict.fromkeys(AUTOMATIC_VARIABLES, "mine") | {"V": "mine"}
    run_settings = RunSettings(
        env_vars=mine if giver == "workflow" else {},
        environments={"e": {"variables": mine}} if giver == "environment" else {},
        environment="e" if giver == "environment" else None,
    )
    seen = environment_of(
        shell,
        run=run_of(run_settings),
        env_vars=mine if giver == "task" else {},
        extra=mine if giver == "caller" else {},
    )
    assert seen["V"] == "mine"
    expected = environment_of(shell)
    assert {name: seen.get(name) for name in expected if "HUT" in name} == {
        name: value for name, value in expected.items() if "HUT" in name
    }
    if giver != "caller":  # what a backend's own environment holds is the backend's business
        assert "mine" not in {seen.get(name) for name in AUTOMATIC_VARIABLES}


@EVERY_SHELL
@pytest.mark.parametrize("named_by", ["workflow", "task"])
def test_of_a_variable_that_is_given_twice_the_task_wins_over_environment_and_workflow(
    shell, named_by
):
    run_settings = RunSettings(
        env_vars={"A": "workflow", "B": "workflow", "C": "workflow"},
        environments={"e": {"variables": {"B": "environment", "C": "environment", "D": "e"}}},
        environment="e" if named_by == "workflow" else None,
    )
    own = {"environment": "e"} if named_by == "task" else {}
    options = {"run": run_of(run_settings), "env_vars": {"C": "task", "E": "task"}} | own
    seen = environment_of(shell, extra={"A": "caller", "E": "caller"}, **options)
    assert {name: seen[name] for name in "ABCDE"} == {
        "A": "workflow",
        "B": "environment",
        "C": "task",
        "D": "e",
        "E": "task",
    }


def test_a_tasks_environment_replaces_that_of_the_workflow():
    run = run_of(
        RunSettings(
            environments={
                "one": {"variables": {"A": "1"}, "extra_init": "one"},
                "two": {"variables": {"B": "2"}, "extra_init": "two"},
            },
            environment="one",
        )
    )
    plain, own = TaskSpec("t", ":"), TaskSpec("t", ":", environment="two")
    assert variables_of(run, plain) == {"A": "1"}
    assert variables_of(run, own) == {"B": "2"}
    assert init_lines(run, plain) == "one"
    assert init_lines(run, own) == "two"
    assert variables_of(run_of(), plain) == {}
    assert init_lines(run_of(), plain) == ""


@EVERY_SHELL
def test_init_lines_are_shell_and_see_variables_before_the_command_runs(shell):
    init = '\nexport SUM="$A-$HUT_TASK_ID"\ngreet() { echo "hello $1"; }\n\n'
    run = run_of(RunSettings(environments={"e": {"variables": {"A": "1"}, "extra_init": init}}))
    script = script_of(shell, 'greet "$SUM"', run=run, environment="e")
    assert execute(shell, script).stdout == b"hello 1-a.task\n"


@EVERY_SHELL
def test_init_lines_may_end_in_a_comment_or_a_here_document(shell):
    for init in ("A=1 # one", "A=$(cat <<X\n1\nX\n)", "read A <<X\n1\nX"):
        run = run_of(RunSettings(environments={"e": {"extra_init": init}}, environment="e"))
        assert execute(shell, script_of(shell, 'echo "$A"', run=run)).stdout == b"1\n"


# Folders -----------------------------------------------------------------------------------------

FOLDER_NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/\n")
    | st.sampled_from("'\"\\$`! \t*?[]{}()<>|&;#~=%^-"),
    min_size=1,
    max_size=20,
).filter(lambda name: name.strip(".") and len(name.encode()) < 200)


def where(shell, working_dir, **options):
    """Return the folder a command runs in."""
    done = execute(shell, script_of(shell, "pwd -P; echo .", working_dir=working_dir), **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().removesuffix("\n.\n")


@EVERY_SHELL
@few
@given(name=FOLDER_NAMES)
@example(name="-")
@example(name="-P")
@example(name="~")
@example(name="$(touch pwned)")
@example(name="a'b")
def test_a_command_runs_in_its_folder_whatever_its_name(shell, name):
    with tempfile.TemporaryDirectory() as parent:
        base = os.path.realpath(parent)
        target = os.path.join(base, name)
        os.mkdir(target)
        home = os.path.join(base, "$HOME it's")
        os.makedirs(os.path.join(home, name))
        assert where(shell, target) == target
        assert where(shell, f"~/{name}", HOME=home) == os.path.join(home, name)
        assert sorted(os.listdir(base)) == sorted([name, "$HOME it's"])


@EVERY_SHELL
@pytest.mark.parametrize("working_dir", ["~", "~/"])
def test_a_tilde_is_the_home_where_the_script_runs(shell, working_dir, folder):
    assert where(shell, working_dir, HOME=str(folder)) == os.path.realpath(folder)


@EVERY_SHELL
@pytest.mark.parametrize("name", ["work", "-P", "-work", "a b", "a'b", "$(touch pwned)", "~a"])
def test_a_relative_folder_starts_where_the_shell_was_started(shell, name, folder):
    (folder / name).mkdir(exist_ok=True)
    assert where(shell, name, cwd=folder) == os.path.realpath(folder / name)
    assert not (folder / "pwned").exists()


@EVERY_SHELL
def test_without_a_folder_a_command_stays_where_the_shell_was_started(shell, folder):
    assert where(shell, None, cwd=folder) == os.path.realpath(folder)


@EVERY_SHELL
@pytest.mark.parametrize("name", ["work", "-"])
def test_a_relative_folder_is_never_another_one(shell, name, folder):
    (folder / "elsewhere" / name).mkdir(parents=True)
    (folder / name).mkdir(exist_ok=True)
    variables = {"CDPATH": str(folder / "elsewhere"), "OLDPWD": str(folder / "elsewhere")}
    assert where(shell, name, cwd=folder, **variables) == os.path.realpath(folder / name)


@EVERY_SHELL
@pytest.mark.parametrize("working_dir", ["/nowhere/at/all", "~/nowhere", "nowhere", "nowhere\n"])
def test_without_its_folder_a_command_does_not_run_and_the_script_exits_125(
    shell, working_dir, folder
):
    script = script_of(shell, "echo ran", working_dir=working_dir)
    done = execute(shell, script, cwd=folder, HOME=str(folder))
    assert done.returncode == 125
    assert done.stdout == b""
    assert b"nowhere" in done.stderr


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("~", '"$HOME"'),
        ("~/", '"$HOME"'),
        ("~/a", '"$HOME"/a'),
        ("~/a b", "\"$HOME\"/'a b'"),
        ("a~", "'./a~'"),
        ("/a/~/b", "'/a/~/b'"),
        ("a b", "'./a b'"),
    ],
)
def test_only_a_tilde_at_the_beginning_of_a_path_is_left_to_the_shell(path, quoted):
    assert quote_path(path) == quoted


# Commands ----------------------------------------------------------------------------------------


@EVERY_SHELL
@pytest.mark.parametrize("code", [0, 1, 2, 75, 125, 255])
@pytest.mark.parametrize(
    "command", ["exit {}", "(exit {})", "sh -c 'exit {}'", "f() {{ return {}; }}; f"]
)
def test_the_exit_code_is_the_commands(shell, command, code):
    done = execute(shell, script_of(shell, command.format(code), working_dir="/"))
    assert done.returncode == code


@EVERY_SHELL
@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("echo one # a comment", 0, "one\n"),
        ("echo one; # done", 0, "one\n"),
        ("cat <<EOF\none $((1 + 1))\nEOF", 0, "one 2\n"),
        ("cat <<'EOF'\n$HOME `id`\nEOF", 0, "$HOME `id`\n"),
        ("cat <<-EOF\n\tone\n\tEOF\n", 0, "one\n"),
        ("cat <<EOF\nno end", 0, "no end\n"),
        ("echo 'it''s'", 0, "its\n"),
        ('echo "a\'b"', 0, "a'b\n"),
        ("echo one \\", 0, "one\n"),
        ("echo one &&\n\n  echo two\n\n\n", 0, "one\ntwo\n"),
        ("if true\nthen echo yes\nfi", 0, "yes\n"),
        ("for i in 1 2; do echo $i; done", 0, "1\n2\n"),
        ("false; echo $?", 0, "1\n"),
        ("false\ntrue", 0, ""),
        ("true\nfalse", 1, ""),
        ("set -e; false; echo never", 1, ""),
        ("no-such-command-anywhere", 127, ""),
        ("echo é", 0, "é\n"),
        ("echo %s {} {0} %%", 0, "%s {} {0} %%\n"),
        ("echo $0", 0, None),
        ("kill -TERM $$", -15, ""),
        ("echo a | cat | tr a b", 0, "b\n"),
    ],
)
def test_a_command_runs_as_it_stands(shell, command, code, output):
    done = execute(shell, script_of(shell, command, env_vars={"V": "1"}))
    assert done.returncode == code, done.stderr
    if output is not None:
        assert done.stdout.decode() == output


@EVERY_SHELL
@pytest.mark.parametrize(
    "command", ["echo 'open", 'echo "open', "if true", "echo )", "{ echo", "$("]
)
def test_a_command_that_is_no_shell_fails_and_nothing_else_breaks(shell, command):
    done = execute(shell, script_of(shell, command))
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert done.stderr


def knows_pipefail(shell):
    return execute(shell, "set -o pipefail").returncode == 0


@EVERY_SHELL
def test_a_pipe_fails_with_any_of_its_parts_where_the_shell_knows_how(shell):
    done = execute(shell, script_of(shell, "(exit 7) | cat"))
    assert done.returncode == (7 if knows_pipefail(shell) else 0)
    assert done.stderr == b""
    assert knows_pipefail(shell) or shell != "bash"


@EVERY_SHELL
@few
@given(argument=TEXT)
def test_what_a_person_quotes_in_a_command_stays_quoted(shell, argument):
    quoted = "'" + argument.replace("'", "'\\''") + "'"
    done = execute(shell, script_of(shell, f"printf %s {quoted}"))
    assert done.stdout.decode() == argument


def test_a_script_says_which_shell_run_task_and_attempt_it_is_for():
    for shell in ("bash", "sh"):
        first, second, *_ = script_of(shell, ":", attempt=4).splitlines()
        assert first.startswith("#!")
        assert first.endswith(shell)
        for words in ("run-1", "a.task", "4"):
            assert words in second


@EVERY_SHELL
def test_a_script_runs_from_a_file_as_well(shell, folder):
    path = folder / "script"
    path.write_text(script_of(shell, "echo $HUT_TASK_ID; exit 3", working_dir=str(folder / "work")))
    path.chmod(0o755)
    done = subprocess.run([path], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (3, b"a.task\n")


# The journal -------------------------------------------------------------------------------------


class Noted:
    """A journal in a folder of its own with awkward characters in its path."""

    def __init__(self, folder):
        self.gate = folder / "it's $HOME" / "gate-1"
        self.gate.parent.mkdir()
        self.gate.touch()
        self.paths = Journal(str(self.gate), str(self.gate.parent / "ends"))

    def script(self, shell, command, *, key="4.1", working_dir=None, run=None):
        request = ScriptRequest(TaskSpec("t", command), 1, working_dir, key)
        return Scripts(run or run_of(), shell, self.paths).render(request)

    @staticmethod
    def _lines(path):
        return [line.split(" ") for line in Path(path).read_text().splitlines()]

    @property
    def ends(self):
        """Key and exit code of each end."""
        assert all(words[0] == "E" for words in self._lines(self.paths.ends))
        return [(words[1], words[2]) for words in self._lines(self.paths.ends)]

    @property
    def slots(self):
        return [words[4] for words in self._lines(self.paths.ends)]


@pytest.fixture
def journal(tmp_path):
    return Noted(tmp_path)


@EVERY_SHELL
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("exit 42", 42),
        ("cd /; exit 3", 3),
        ("set -e; false; true", 1),
        ("cat <<EOF\nno end", 0),
        ("true # comment", 0),
        ("no-such-command-anywhere 2>&1", 127),
        ("exec 2>&1; echo 'open", None),
        ("(kill -KILL $(sh -c 'echo $PPID')); true", 0),
        ("sh -c 'kill -KILL $$'", 137),
        ("cd .. || exit; false", 1),
    ],
)
def test_a_script_notes_the_exit_code_it_leaves_with(shell, command, code, journal):
    done = execute(shell, journal.script(shell, command))
    if code is not None:
        assert done.returncode == code
    assert done.returncode >= 0
    assert journal.ends == [("4.1", str(done.returncode))]


@EVERY_SHELL
def test_a_missing_folder_is_noted_as_125(shell, journal):
    done = execute(shell, journal.script(shell, "echo ran", working_dir="/nowhere/at/all"))
    assert (done.returncode, done.stdout) == (125, b"")
    assert journal.ends == [("4.1", "125")]


@EVERY_SHELL
def test_a_script_that_finds_no_gate_runs_nothing(shell, journal):
    journal.gate.unlink()
    done = execute(shell, journal.script(shell, "echo ran"))
    assert (done.returncode, done.stdout) == (125, b"")
    assert not Path(journal.paths.ends).exists()


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail("nothing happened for half a minute")


@EVERY_SHELL
@pytest.mark.parametrize("number", SIGNALS)
def test_a_script_that_a_signal_kills_never_looks_completed(shell, number, journal, folder):
    # Only once another program runs does a signal to the group reach both it and the shell's trap.
    wait = f"true; sh -c 'echo > {folder}/up; exec sleep 60'; true"
    arguments = [shell, "-c", journal.script(shell, wait)]
    pid = os.posix_spawnp(shell, arguments, os.environ, setpgroup=0, setsigdef=SIGNALS)
    codes = []

    def is_over():
        found, status = os.waitpid(pid, os.WNOHANG)
        codes.extend([os.waitstatus_to_exitcode(status)] if found else [])
        return codes

    try:
        wait_until((folder / "up").exists)
        os.killpg(pid, number)
        wait_until(is_over)
    finally:
        if not codes:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert codes == [143]
    assert journal.ends == [("4.1", "143")]


@EVERY_SHELL
def test_a_killed_script_that_could_note_nothing_has_no_end(shell, journal):
    done = execute(shell, journal.script(shell, "kill -KILL $$"))
    assert done.returncode == -9
    assert not Path(journal.paths.ends).exists()


@EVERY_SHELL
def test_what_a_command_starts_notes_nothing_of_its_own(shell, journal):
    command = "(exit 3); (true) & wait; sh -c 'exit 5'; a=$(exit 7); true"
    execute(shell, journal.script(shell, command))
    assert journal.ends == [("4.1", "0")]


@EVERY_SHELL
def test_variables_cannot_change_what_is_noted(shell, journal):
    variables = {"HUT_RUN_ID": "x", "HUT_SLOT": "9 9\nE 4.1 0", "IFS": "4.1E", "V": "'"}
    run = run_of(RunSettings(env_vars=variables))
    execute(shell, journal.script(shell, "HUT_SLOT=7; exit 6", run=run), HUT_SLOT="3-1")
    assert journal.ends == [("4.1", "6")]
    assert journal.slots == ["3-1"]


@EVERY_SHELL
@pytest.mark.parametrize(
    ("given", "noted"), [('1-0"; echo oops; "', "1-0"), ("$(ls)", ""), ("", "")]
)
def test_a_slot_is_digits_and_a_dash_whatever_is_in_the_environment(shell, journal, given, noted):
    execute(shell, journal.script(shell, "true"), HUT_SLOT=given)
    assert (journal.ends, journal.slots) == ([("4.1", "0")], [noted])


@EVERY_SHELL
def test_scripts_of_many_tasks_share_the_journal(shell, journal):
    scripts = Scripts(run_of(), shell, journal.paths)
    for number in range(3):
        request = ScriptRequest(TaskSpec(f"t{number}", f"exit {number}"), 1, None, f"{number}.2")
        assert execute(shell, scripts.render(request)).returncode == number
    assert journal.ends == [("0.2", "0"), ("1.2", "1"), ("2.2", "2")]


@EVERY_SHELL
def test_without_a_key_or_a_journal_nothing_is_noted(shell, journal):
    execute(shell, journal.script(shell, "true", key=None))
    request = ScriptRequest(TaskSpec("t", "exit 4"), 1, None, "1.1")
    assert execute(shell, Scripts(run_of(), shell).render(request)).returncode == 4
    assert not Path(journal.paths.ends).exists()
