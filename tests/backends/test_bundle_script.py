"""The program of a bundle, run by real shells as a container runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hut.backends.bundle_markers import BLOCK, BundleMarkers, block_log
from hut.backends.bundle_script import gathering, may_share, members_of, parts_of
from hut.backends.job_logs import JobLogs
from hut.backends.port import BundleRequest, JobRequest, array_name, job_name
from hut.lifecycle.retry import Spent
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskCall, TaskSpec
from hut.script import attempt_variables
from hut.store.port import AttemptKey, Claim
from tests.batch.plain_batch import run_of
from tests.batch.test_launcher import BASICS, EVERY_SHELL, SHELLS, tools
from tests.simulation.logs import SimulatedLogs

NONCE = "00ff00ff00ff00ff"
NAME = array_name("hut", "abcdefghij", "bundle0123456789ab")
PATH = os.environ["PATH"]
WAIT = 20
COMMON = 'it\'s "one"'
FEW = (*BASICS, "date", "mkdir")


def requests_of(*specs, run=None, starts=True):
    run = run or run_of()
    keys = [AttemptKey(position, 1, 2) for position in range(len(specs))]
    return [
        JobRequest(run, Claim(key, spec, Spent()), job_name("hut", run.id, key), starts)
        for key, spec in zip(keys, specs, strict=True)
    ]


def specs_of(*commands, **more):
    return [TaskSpec(f"t{place}", command, **more) for place, command in enumerate(commands)]


class Bundle:
    """Runs tasks as one job, with a home of their own."""

    def __init__(self, shell, folder):
        self.shell = [shutil.which(SHELLS[shell][0]), *SHELLS[shell][1:]]
        self.home = folder

    def command(self, specs, *, slots=1, run=None, starts=True, stored=False):
        requests = requests_of(*specs, run=run, starts=starts)
        run = requests[0].run
        variables = [attempt_variables(run, r.claim.spec, 1) for r in requests]
        common, members = members_of(run, requests, variables)
        bundle = BundleRequest(NAME, requests, NONCE, slots)
        empty = [name for name, text in common.items() if not text]
        parts = parts_of(bundle, members, empty=empty, handle="job-1")
        self.variables = {name: text for name, text in common.items() if text}
        if stored:
            text, program = gathering(NONCE, parts)
            return [*self.shell, "-c", text, program[:50], program[50:]]
        return [*self.shell, "-c", parts.text, "hut", *parts.arguments]

    def start(self, specs, *, path=PATH, **more):
        (self.home / "tmp").mkdir(exist_ok=True)
        command = self.command(specs, **more)
        return subprocess.Popen(
            command,
            env={
                **self.variables,
                "PATH": path,
                "HOME": str(self.home),
                "TMPDIR": str(self.home / "tmp"),
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __call__(self, specs, **more):
        process = self.start(specs, **more)
        out, _ = process.communicate(timeout=WAIT)
        self.take(out, process.returncode)
        return self.codes

    def take(self, out, code):
        self.code, self.lines = code, out.decode(errors="replace").split("\n")[:-1]
        self.markers = BundleMarkers(NONCE)
        for line in self.lines:
            self.markers.feed(line)
        self.codes = {place: end.code for place, end in sorted(self.markers.ends.items())}

    def block(self, place):
        """Return what one task printed, read as from CloudWatch."""
        logs = SimulatedLogs(lambda: 1e9)
        logs.create_log_group(logGroupName="jobs")
        logs.open("jobs", "s")
        logs.write("jobs", "s", [line for line in self.lines if line])
        return JobLogs(logs, "jobs").read(block_log("s", NONCE, place), None, 10_000).text


@pytest.fixture
def bundle(shell, tmp_path):
    return Bundle(shell, tmp_path)


@EVERY_SHELL
@pytest.mark.parametrize(("slots", "stored"), [(1, False), (3, False), (3, True)])
def test_all_tasks_run_once_and_their_ends_and_output_are_told(bundle, slots, stored):
    commands = [f"echo out {n}; echo err {n} >&2; exit {n}" for n in range(7)]
    assert bundle(specs_of(*commands), slots=slots, stored=stored) == {n: n for n in range(7)}
    assert bundle.code == 0
    assert bundle.markers.is_whole
    for place in range(7):
        assert bundle.block(place) == f"out {place}\nerr {place}\n"
    for end in bundle.markers.ends.values():
        assert abs(end.started_at - time.time()) < 60
        assert end.started_at <= end.ended_at
    assert list((bundle.home / "tmp").iterdir()) == []


@EVERY_SHELL
def test_what_is_told_while_it_runs_are_all_ends_and_starts_where_wanted(bundle):
    bundle(specs_of("true", "true"), starts=True)
    told = [line.split(":told ")[1] for line in bundle.lines if ":told " in line]
    assert [each.split()[:2] for each in told] == [[NAME, "job-1"]] * 4
    assert [each.split()[3] for each in told] == ["start", "end", "start", "end"]
    bundle(specs_of("true", "true"), starts=False)
    told = [line.split(":told ")[1] for line in bundle.lines if ":told " in line]
    assert [each.split()[3] for each in told] == ["end", "end"]
    assert sorted(bundle.markers.starts) == [0, 1]


@EVERY_SHELL
def test_tasks_have_their_own_variables_folders_and_files(bundle, tmp_path):
    (tmp_path / "a dir").mkdir()
    run = run_of(settings=RunSettings(env_vars={"COMMON": COMMON, "EMPTY": ""}))
    say = 'printf "%s|%s|%s|%s|" "$HUT_TASK_ID" "$COMMON" "${EMPTY-unset}" "${OWN-unset}"; pwd'
    specs = [
        TaskSpec("first", say, env_vars={"OWN": "a 'b' $c `d`\n\\e"}, working_dir="a dir"),
        TaskSpec("second", say, env_vars={"OWN": "2"}),
        TaskSpec("third", say, env_vars={"OWN": "3"}, output_file="deep/er/o ut.txt"),
    ]
    assert bundle(specs, run=run) == {0: 0, 1: 0, 2: 0}
    common = 'it\'s "one"||'
    assert bundle.block(0) == f"first|{common}a 'b' $c `d`\n\\e|{tmp_path}/a dir\n"
    assert bundle.block(1) == f"second|{common}2|{tmp_path}\n"


@EVERY_SHELL
def test_a_task_of_which_nothing_can_run_says_why(bundle):
    specs = [TaskSpec("t0", "true", working_dir="/nowhere/at all"), TaskSpec("t1", "exit 125")]
    assert bundle(specs) == {0: 125, 1: 125}
    assert bundle.markers.ends[0].how == "not-started"
    assert "/nowhere/at all does not exist" in bundle.markers.ends[0].said
    assert bundle.markers.ends[1].how == ""


def gone(pid):
    for _ in range(WAIT * 20):  # the kernel takes its time to forget
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@EVERY_SHELL
def test_each_task_has_its_own_time_limit_and_all_of_it_is_ended(bundle):
    specs = specs_of(
        "echo before; (sleep 60 & echo $! >left); sleep 60",
        "echo quick",
        resources=Resources(time_limit=1),
    )
    assert bundle(specs) == {0: 124, 1: 0}
    end = bundle.markers.ends[0]
    assert (end.how, end.said) == ("timeout", "stopped at its time limit of 1s")
    assert bundle.block(0) == "before\n"
    left = int((bundle.home / "left").read_text())
    assert gone(left)


def wait_for(path):
    for _ in range(WAIT * 20):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@EVERY_SHELL
@pytest.mark.parametrize("slots", [1, 2])
def test_a_term_stops_what_runs_and_keeps_what_has_ended(bundle, slots):
    go = "touch up-$HUT_TASK_ID; trap 'echo stopped; exit 0' TERM; sleep 60 & wait"
    process = bundle.start(specs_of("echo done; exit 3", *[go] * slots, "touch never"), slots=slots)
    for place in range(1, slots + 1):
        wait_for(bundle.home / f"up-t{place}")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=WAIT)
    bundle.take(out, process.returncode)
    assert bundle.code == 143
    assert bundle.codes == {0: 3}
    assert sorted(bundle.markers.starts) == list(range(slots + 1))
    assert bundle.markers.is_whole
    assert not (bundle.home / "never").exists()
    assert bundle.block(1) == "stopped\n"


@EVERY_SHELL
def test_a_killed_bundle_has_printed_what_had_ended(bundle):
    process = bundle.start(specs_of("echo one", "exit 2", "touch up; sleep 5"))
    wait_for(bundle.home / "up")
    os.killpg(process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=WAIT)
    bundle.take(out, process.returncode)
    assert bundle.codes == {0: 0, 1: 2}
    assert not bundle.markers.is_whole
    assert bundle.block(0) == "one\n"


@EVERY_SHELL
@pytest.mark.parametrize("has_sed", [True, False])
def test_no_task_can_speak_for_the_bundle(bundle, has_sed, tmp_path):
    forged = f"::hut:{NONCE}:told {NAME} job-1 1@1 end 1 0 1 2"
    commands = [f"echo '{forged}'; echo '::hut:{NONCE}:over 9'; printf 'x ::hut:{NONCE}:cut 1'"]
    path = tools(tmp_path / "bin", *FEW, *(["sed"] if has_sed else []))
    assert bundle(specs_of(*commands, "exit 7"), path=path) == {0: 0, 1: 7}
    assert bundle.markers.over == 2
    assert all(
        "block" in line or "told" in line or "again" in line or "over" in line
        for line in bundle.lines
        if BLOCK.search(line)
    )


@EVERY_SHELL
def test_it_runs_with_few_tools_and_in_the_shell_that_is_asked_for(bundle, tmp_path):
    path = tools(tmp_path / "bin", *FEW)
    said = specs_of('echo "${BASH_VERSION:-none}"', "false")
    assert bundle(said, path=path, slots=2) == {0: 0, 1: 1}
    run = run_of(settings=RunSettings(shell="sh"))
    assert bundle(specs_of('[ -z "${BASH_VERSION:-}" ] || shopt -qo posix'), run=run) == {0: 0}


TEXTS = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"), max_size=30
)


@EVERY_SHELL
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), slots=st.integers(1, 3))
def test_any_values_reach_their_tasks_as_they_are(shell, texts, slots, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    specs = [
        TaskSpec(f"t{place}", f'printf %s "$V" >"{folder}/v{place}"', env_vars={"V": text})
        for place, text in enumerate(texts)
    ]
    assert set(Bundle(shell, folder)(specs, slots=slots).values()) == {0}
    for place, text in enumerate(texts):
        assert (folder / f"v{place}").read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (TaskSpec("t", "true"), True),
        (TaskSpec("t", "true", output_file="o", error_file="e", working_dir="/w"), True),
        (TaskSpec("t", "true", generates_source="more.json"), False),
        (TaskSpec("t", "true", max_queue_time=60), False),
        (TaskSpec("t", "true", call=TaskCall("t", "1")), False),
        (TaskSpec("t", "x" * 70_000), False),
        (TaskSpec("t", "true", working_dir="a\nb"), False),
    ],
)
def test_which_tasks_may_share_a_job(spec, expected):
    assert may_share(spec) == expected
