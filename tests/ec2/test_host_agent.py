"""The agent runs tasks on the host: ends, limits, signals, commands that come twice."""

import json
import os
import signal
import stat
import subprocess

import pytest

from tests.ec2.host_world import NAME, is_running, wait_for


@pytest.mark.parametrize(
    ("script", "how", "code"),
    [
        ("exit 0", "exit", 0),
        ("exit 3", "exit", 3),
        ("exit 194", "exit", 194),
        ("no-such-command", "exit", 127),
        ("sh -c 'kill -9 $$'", "exit", 137),
        ("kill -9 $$", "signal", 137),
        ("kill -TERM $$", "signal", 143),
    ],
)
def test_how_a_command_ends(world, script, how, code):
    report = world.run(script)
    assert (report["how"], report["exit_code"]) == (how, code)
    assert report["started"] <= report["ended"]
    assert not (world.host / "attempts" / NAME / "output").exists()


def test_a_command_runs_at_home_with_its_variables_and_the_hosts(world):
    report = world.run(
        'pwd; umask; echo "$GREETING"; echo "$USER"; env',
        env={"GREETING": "ö 'x' \"$HOME\"\n second"},
    )
    assert report["said"] == ""
    lines = world.log()
    assert lines[:4] == [str(world.home), "0022", "ö 'x' \"$HOME\"", " second"]
    assert "USER=root" in lines or os.getuid() != 0
    assert not [line for line in lines if line.startswith("HUT_HOST_")]


def test_the_command_is_executed_as_it_is(world):
    words = [
        "a b",
        "'",
        '"',
        "$(exit 9)",
        "`exit 9`",
        "\\",
        "-n",
        "é\n",
        "",
        "*",
        ";exit 9",
        "{{x}}",
    ]
    world.run("", argv=["/bin/sh", "-c", 'for word; do echo "<$word>"; done', "sh", *words])
    assert "\n".join(world.log()) == "\n".join(f"<{word}>" for word in words)


def test_both_outputs_and_lines_of_all_kinds(world):
    world.run("printf 'one\\n\\n\\ntwo\\377\\n  \\n\\tthree\\r\\n'; echo err >&2; printf end")
    assert world.log() == ["one", " ", " ", "two\ufffd", "  ", "\tthree\r", "err", "end"]


def test_a_time_limit_ends_all_of_a_group_that_ignores_term(world):
    script = f"""
trap '' TERM
sh -c 'trap "" TERM; echo $$ >{world.folder}/child; while :; do sleep 0.05; done' &
echo $$ >{world.folder}/first
while :; do sleep 0.05; done"""
    report = world.run(script, time_limit=0.5, grace=0.3)
    assert (report["how"], report["exit_code"]) == ("timeout", 137)
    assert report["said"] == "stopped at its time limit of 0.5 s"
    for name in ("child", "first"):
        assert not is_running(int((world.folder / name).read_text()))


def test_a_time_limit_lets_a_command_clean_up(world):
    report = world.run("trap 'echo cleaned; exit 7' TERM; sleep 60 & wait", time_limit=0.5)
    assert (report["how"], report["exit_code"]) == ("timeout", 7)
    assert world.log() == ["cleaned"]


def test_what_a_command_leaves_behind_is_killed(world):
    world.run(f"sleep 60 & echo $! >{world.folder}/child; exit 0")
    assert not is_running(int((world.folder / "child").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_agent_is_handed_on(world, number):
    world.payload("trap 'echo got it; exit 5' TERM; echo ready; sleep 60 & wait")
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    os.kill(world.agent_of(process), number)
    report = world.end(process)
    assert (report["how"], report["exit_code"]) == ("host_terminated", 5)
    assert world.log() == ["ready", "got it"]


def test_a_signal_to_the_group_of_the_agent_is_handed_on_too(world):
    world.payload("trap 'exit 5' TERM; echo ready; sleep 60 & wait")
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    os.killpg(process.pid, signal.SIGTERM)
    assert world.end(process)["how"] == "host_terminated"


def test_a_signal_while_the_payload_is_fetched_starts_nothing(world):
    world.payload(f"touch {world.folder}/ran")
    world.aws.away.add("GetObject")
    world.environment["HUT_HOST_PACE"] = "10"
    process = world.begin()
    wait_for(lambda: world.aws.count("GetObject"))
    os.kill(world.agent_of(process), signal.SIGTERM)
    assert world.end(process)["how"] == "host_terminated"
    assert not (world.folder / "ran").exists()


def test_two_commands_at_the_same_time_run_it_once_and_tell_the_same(world):
    world.payload(
        f"echo ran >>{world.folder}/ran; while [ ! -e {world.folder}/go ]; do sleep 0.05; done"
    )
    processes = [world.begin() for _ in range(4)]
    wait_for((world.folder / "ran").exists)
    (world.folder / "go").touch()
    reports = [world.end(process) for process in processes]
    assert reports == [reports[0]] * 4
    assert reports[0]["how"] == "exit"
    assert (world.folder / "ran").read_text() == "ran\n"


def test_a_command_that_comes_again_later_tells_the_same(world):
    first = world.run(f"echo ran >>{world.folder}/ran; exit 4")
    assert world.end(world.begin()) == first
    assert (world.folder / "ran").read_text() == "ran\n"


def test_another_attempt_on_the_same_instance_runs(world):
    world.run("echo one")
    world.run("echo two", name="hut-01hxyz-4-2-3")
    assert (world.log(), world.log("hut-01hxyz-4-2-3")) == (["one"], ["two"])


def test_an_agent_that_dies_is_found_out_and_the_task_is_ended(world):
    """The shell starts it once more; the task is not run a second time."""
    world.payload(f"echo $$ >>{world.folder}/ran; echo ready; sleep 60")
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    os.kill(world.agent_of(process), signal.SIGKILL)
    report = world.end(process)
    assert (report["how"], report["exit_code"]) == ("lost", None)
    assert report["started"] is not None
    [pid] = (world.folder / "ran").read_text().split()
    wait_for(lambda: not is_running(int(pid)))
    assert world.end(world.begin()) == report


def test_an_agent_that_dies_before_the_start_ran_nothing(world):
    world.payload(f"touch {world.folder}/ran")
    world.aws.away.add("GetObject")
    world.environment["HUT_HOST_PACE"] = "10"
    process = world.begin()
    wait_for(lambda: world.aws.count("GetObject"))
    os.kill(world.agent_of(process), signal.SIGKILL)
    report = world.end(process)
    assert (report["how"], "before it started" in report["said"]) == ("not_started", True)
    world.aws.away.clear()
    assert world.end(world.begin()) == report
    assert not (world.folder / "ran").exists()


def test_a_command_waits_for_the_one_that_came_first_until_that_dies(world):
    world.payload("echo ready; sleep 60")
    first = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    second = world.begin()
    agent = world.agent_of(second)
    os.killpg(first.pid, signal.SIGKILL)
    report = world.end(second)
    assert report["how"] == "lost"
    assert not is_running(agent)


def test_a_command_that_waits_can_be_told_to_end(world):
    world.payload(f"echo ready; while [ ! -e {world.folder}/go ]; do sleep 0.05; done")
    first = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    second = world.begin()
    os.kill(world.agent_of(second), signal.SIGTERM)
    assert world.end(second)["how"] == "host_terminated"
    (world.folder / "go").touch()
    assert world.end(first)["how"] == "exit"


def test_the_process_of_somebody_else_is_left_alone(world):
    """A number that was given to another process since is not killed for it."""
    world.run("exit 0")
    folder = world.host / "attempts" / NAME
    (folder / "result").unlink()
    started = json.loads((folder / "started").read_text())
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        (folder / "started").write_text(json.dumps({**started, "pid": stranger.pid}))
        assert world.end(world.begin())["how"] == "lost"
        assert stranger.poll() is None
        stranger.kill()


def test_a_task_that_removes_what_the_agent_keeps_changes_nothing(world):
    # The agent may write just then, and a folder that is not empty stays.
    remove = f"while [ -e '{world.host}' ]; do rm -rf '{world.host}' 2>/dev/null; done"
    report = world.run(f"echo one; {remove}; echo two; exit 6")
    assert (report["how"], report["exit_code"], report["said"]) == ("exit", 6, "")
    assert world.log() == ["one", "two"]


def test_a_task_that_fills_the_disk_is_told_as_it_ended(world):
    """The room for the report is there before the task starts."""
    world.payload(f"echo ready; while [ ! -e {world.folder}/go ]; do sleep 0.05; done; exit 6")
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    folder = world.host / "attempts" / NAME
    assert (folder / "room").stat().st_blocks * 512 >= 64 * 1024
    (folder / "result.new").mkdir()  # nothing can be written there
    (world.folder / "go").touch()
    report = world.end(process)
    assert (report["how"], report["exit_code"]) == ("exit", 6)
    assert not (folder / "room").exists()


def test_nobody_else_can_read_what_the_agent_keeps(world):
    world.payload(
        "echo ready; while [ ! -e $HOME/go ]; do sleep 0.05; done", env={"TOKEN": "s3cret"}
    )
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    paths = [world.host, *world.host.rglob("*")]
    assert len(paths) > 5
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert not path.is_file() or b"s3cret" not in path.read_bytes()
    (world.home / "go").touch()
    assert "s3cret" not in json.dumps(world.end(process))


@pytest.mark.parametrize("idle", [None, 1800])
def test_the_instance_ends_itself_whatever_happens(world, idle):
    world.run(f"cat {world.folder}/shutdowns", time_limit=100, slack=500, idle_seconds=idle)
    assert world.log() == [
        "-h +41",  # what comes before the task may take half an hour
        "-h +11",  # from the start of the task on, with its grace
    ]
    assert world.shutdowns()[2:] == ([] if idle is None else ["-h +40"])


def test_the_timer_is_set_again_while_the_task_runs(world):
    """Somebody else may have set another; user data that is slower than SSM's agent, for one."""
    report = world.run(
        f"echo '-h +1' >>{world.folder}/shutdowns;"
        f"until [ $(wc -l <{world.folder}/shutdowns) -gt 3 ]; do sleep 0.05; done",
        time_limit=100,
        slack=500,
    )
    assert report["how"] == "exit"
    first, again = world.shutdowns()[2:4]
    assert (first, again in ("-h +10", "-h +11")) == ("-h +1", True)


def test_an_image_without_shutdown_runs_tasks_and_says_so(world):
    (world.bin / "shutdown").unlink()
    report = world.run("exit 0")
    assert report["how"] == "exit"
    assert "no shutdown" in report["said"]


def test_a_shutdown_that_fails_is_told(world):
    world.program("shutdown", "echo 'no bus' >&2; exit 1")
    report = world.run("exit 0")
    assert (report["how"], "no bus" in report["said"]) == ("exit", True)


def test_a_payload_that_is_not_there(world):
    report = world.end(world.begin())
    assert report["how"] == "not_started"
    assert "NoSuchKey" in report["said"]
    assert f"s3://bucket/scripts/{NAME}" in report["said"]


def test_a_payload_of_another_attempt(world):
    world.payload(f"touch {world.folder}/ran", attempt="hut-other-1-1-1")
    report = world.end(world.begin())
    assert (report["how"], "hut-other-1-1-1" in report["said"]) == ("not_started", True)
    assert not (world.folder / "ran").exists()


def test_a_text_that_linux_does_not_take(world):
    report = world.run("exit 0", env={"LARGE": "x" * 140_000})
    assert report["how"] == "not_started"
    assert "Argument list too long" in report["said"]


def test_a_home_that_does_not_exist(world):
    assert world.run("pwd", env={"HOME": "/no/such/home"})["how"] == "exit"
    assert world.log() == ["/"]
