"""The agent runs tasks in containers, by a docker that is a stand-in with real processes."""

import json
import os
import shlex
import signal
import sys

import pytest

from hut.backends.ec2.host.containers import (
    CannotRun,
    last_words,
    registry_of,
    split_environment,
)
from tests.ec2.host_world import FAKE_DOCKER, NAME, is_running, wait_for

IMAGE = "ghcr.io/org/image:latest"
ECR = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/team/image:1"


def write(world, name, *lines):
    (world.docker / name).write_text("".join(f"{line}\n" for line in lines))


def is_empty(world):
    return not list((world.docker / "containers").glob("*"))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        *(("exit 0", 0), ("exit 3", 3), ("exit 125", 125), ("exit 126", 126), ("exit 127", 127)),
        *(("no-such-command", 127), ("kill -9 $$", 137)),
    ],
)
def test_how_a_command_ends(world, script, code):
    report = world.with_docker().run(script, image=IMAGE)
    assert (report["how"], report["exit_code"]) == ("exit", code)
    assert is_empty(world)


def test_the_containers_variables_and_arguments_are_exactly_those_of_the_task(world):
    variables = {
        "PLAIN": "a b",
        "QUOTES": "'\"$HOME`id`\\",
        "LINES": "first\nsecond\r\n",
        "TEXT": "é😀 = #",
        "EMPTY": "",
        "BLANKS": "  blanks  ",
        "DOCKER_HOST": "tcp://nowhere",
        "PATH": f"{world.bin}:/hostile",
        "LONG": "x" * 100_000,
        "LD_PRELOAD": "",
        "HASH": "#",
    }
    script = 'for n in "$@"; do eval "printf \'%s=[%s]\\n\' $n \\"\\$$n\\""; done'
    names = list(variables)
    report = world.with_docker().run(
        "", image=IMAGE, env=variables, argv=["/bin/sh", "-c", script, "sh", *names]
    )
    assert (report["how"], report["said"]) == ("exit", "")
    cut = "LONG=[" + "x" * 65_530  # a line that is longer than an event
    text = "\n".join(world.log()).replace(f"{cut}\n", cut)
    expected = "\n".join(f"{name}=[{value}]" for name, value in variables.items())
    assert text.split("\n") == expected.split("\n")


def test_values_are_in_no_command_line_and_docker_does_not_heed_them(world):
    variables = {"TOKEN": "s3cret-one", "KEY": "s3cret-two\nlines", "DOCKER_HOST": "s3cret-three"}
    world.with_docker().run("exit 0", image=IMAGE, env=variables)
    [call] = world.docker_calls("run", "image")
    assert len(call["command lines"]) > 3
    assert any("docker" in line for line in call["command lines"])
    assert "s3cret" not in json.dumps(call["command lines"])
    [asked] = world.docker_calls("run", "--entrypoint")
    assert "DOCKER_HOST" not in asked["variables"]
    assert "TOKEN" not in asked["variables"]


def test_the_entry_point_is_replaced_and_nothing_is_taken_for_an_option(world):
    argv = ["/bin/sh", "-c", 'echo "$@"', "sh", "--rm", "-e", "X=1", "--name", "other"]
    world.with_docker().run("", image=IMAGE, argv=argv)
    assert world.log() == ["--rm -e X=1 --name other"]


@pytest.mark.parametrize(("gpus", "words"), [("all", "all"), (2, "2"), (None, None)])
def test_gpus(world, gpus, words):
    world.with_docker().run("exit 0", image=IMAGE, gpus=gpus)
    [call] = world.docker_calls("run", "--entrypoint")
    argv = call["argv"]
    assert (argv[argv.index("--gpus") + 1] if "--gpus" in argv else None) == words
    assert int(argv[argv.index("--shm-size") + 1]) > 64 * 1024 * 1024


def test_a_pull_that_fails_twice_and_then_works(world):
    world.with_docker()
    write(world, "errors-pull", "connection reset by peer", "toomanyrequests: rate exceeded")
    assert world.run("echo ran", image=IMAGE)["said"] == ""
    assert len(world.docker_calls("pull")) == 3
    assert world.log() == ["ran"]


@pytest.mark.parametrize("words", ["manifest unknown", "pull access denied for org/image"])
def test_a_pull_that_never_works_is_told_in_dockers_words(world, words):
    world.with_docker()
    write(world, "errors-pull", *[f"Error response from daemon: {words}"] * 20)
    report = world.run(f"touch {world.folder}/ran", image=IMAGE)
    assert report["how"] == "not_started"
    assert report["said"] == (
        f"the image {IMAGE} can't be pulled: Error response from daemon: {words}"
    )
    assert len(world.docker_calls("pull")) == 5
    assert not (world.folder / "ran").exists()


def test_an_image_that_came_with_the_ami_is_used(world):
    world.with_docker()
    write(world, "images", IMAGE)
    write(world, "errors-pull", *["manifest unknown"] * 20)
    report = world.run("exit 0", image=IMAGE)
    assert report["how"] == "exit"
    assert "could not be pulled, so the one that was there is used" in report["said"]
    assert len(world.docker_calls("pull")) == 1


def test_ecr_is_logged_in_to_with_a_password_nobody_sees(world):
    world.with_docker().run("exit 0", image=ECR)
    [login] = world.docker_calls("login", "password")
    assert login["user"] == "AWS"
    assert login["password"] == "ecr-password"
    assert login["login"] == ECR.partition("/")[0]
    assert "ecr-password" not in json.dumps([call.get("argv") for call in world.docker_calls()])
    [pull] = world.docker_calls("pull")
    assert pull["argv"][:1] == ["--config"]
    assert not list(world.host.glob("docker-*"))


def test_ecr_refuses_a_password(world):
    world.aws.failures["GetAuthorizationToken"] = [(400, "AccessDeniedException")] * 99
    report = world.with_docker().run("exit 0", image=ECR)
    assert (report["how"], "AccessDeniedException" in report["said"]) == ("not_started", True)


def test_a_login_that_fails_once(world):
    world.with_docker()
    write(world, "errors-login", "net/http: TLS handshake timeout")
    assert world.run("exit 0", image=ECR)["how"] == "exit"


def test_other_registries_need_no_call(world):
    world.with_docker().run("exit 0", image=IMAGE)
    assert world.aws.count("GetAuthorizationToken") == 0


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        (ECR, ("123456789012.dkr.ecr.eu-north-1.amazonaws.com", "eu-north-1")),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/x",
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ),
        ("123456789012.dkr.ecr.eu-north-1.amazonaws.com.evil.org/x", None),
        ("evil.org/123456789012.dkr.ecr.eu-north-1.amazonaws.com/x", None),
        ("public.ecr.aws/x/y", None),
        ("debian", None),
    ],
)
def test_registries_of_ecr(image, registry):
    assert registry_of(image) == registry


def test_a_container_that_can_not_be_made(world):
    world.with_docker()
    write(world, "errors-create", 'could not select device driver "" with capabilities: [[gpu]]')
    report = world.run("exit 0", image=IMAGE, gpus=1)
    assert (report["how"], report["exit_code"]) == ("not_started", None)
    assert "could not select device driver" in report["said"]
    assert any("could not select device driver" in line for line in world.log())


def test_a_container_that_can_not_be_started(world):
    report = world.with_docker().run("", image=IMAGE, argv=["/no/such/program"])
    assert (report["how"], report["exit_code"]) == ("not_started", None)
    assert "/no/such/program" in report["said"]
    assert is_empty(world)


def test_a_container_without_memory(world):
    world.with_docker()
    write(world, "out-of-memory")
    report = world.run("exit 137", image=IMAGE)
    assert (report["how"], report["exit_code"]) == ("out_of_memory", 137)


def test_a_time_limit_ends_all_of_a_container_that_ignores_term(world):
    script = f"""
trap '' TERM
setsid sh -c 'trap "" TERM; echo $$ >{world.folder}/child; while :; do sleep 0.05; done' &
while :; do sleep 0.05; done"""
    (world.bin / "setsid").symlink_to("/usr/bin/setsid")
    report = world.with_docker().run(script, image=IMAGE, time_limit=0.5, grace=0.3)
    assert (report["how"], report["exit_code"]) == ("timeout", 137)
    assert not is_running(int((world.folder / "child").read_text()))
    assert is_empty(world)


def test_the_time_limit_begins_after_the_pull(world):
    """The pull takes longer than the limit, and the task runs all the same."""
    world.with_docker()
    own = world.bin / "docker"
    text = own.read_text().replace("exec", '[ "$1" != pull ] || sleep 1.2\nexec')
    own.write_text(text)
    assert world.run("exit 0", image=IMAGE, time_limit=1)["how"] == "exit"


def test_a_signal_to_the_agent_reaches_the_container(world):
    world.with_docker().payload(
        "trap 'echo got it; exit 5' TERM; echo ready; sleep 60 & wait", image=IMAGE
    )
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    os.kill(world.agent_of(process), signal.SIGTERM)
    report = world.end(process)
    assert (report["how"], report["exit_code"]) == ("host_terminated", 5)
    assert world.log() == ["ready", "got it"]


def test_a_signal_during_a_pull_starts_nothing(world):
    world.with_docker()
    own = world.bin / "docker"
    text = own.read_text().replace(
        "exec", f'[ "$1" != pull ] || {{ echo >{world.folder}/pulls; sleep 60; }}\nexec'
    )
    own.write_text(text)
    world.payload("exit 0", image=IMAGE)
    process = world.begin()
    wait_for((world.folder / "pulls").exists)
    os.kill(world.agent_of(process), signal.SIGTERM)
    assert world.end(process)["how"] == "host_terminated"


def test_a_container_that_outlives_the_agent_does_not_stay(world):
    world.with_docker().payload(f"echo $$ >{world.folder}/pid; echo ready; sleep 60", image=IMAGE)
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    os.kill(world.agent_of(process), signal.SIGKILL)
    report = world.end(process)
    assert report["how"] == "lost"
    assert not is_running(int((world.folder / "pid").read_text()))
    assert is_empty(world)


def test_a_docker_run_that_is_killed_leaves_no_container(world):
    """The container is ended with it, and nobody claims to know how the task would have ended."""
    world.with_docker().payload(f"echo $$ >{world.folder}/pid; echo ready; sleep 60", image=IMAGE)
    process = world.begin()
    wait_for(lambda: world.log() == ["ready"])
    for path in (world.docker / "containers").glob("*.json"):
        shim = json.loads(path.read_text())["Shim"]
        with open(f"/proc/{shim}/stat") as file:
            os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    report = world.end(process)
    assert (report["how"], report["exit_code"]) == ("lost", None)
    assert not is_running(int((world.folder / "pid").read_text()))
    assert is_empty(world)


def test_a_container_of_an_earlier_life_makes_room(world):
    world.with_docker()
    folder = world.docker / "containers"
    folder.mkdir()
    state = {"Running": False, "StartedAt": "2026", "ExitCode": 0, "Error": ""}
    (folder / f"{NAME}.json").write_text(json.dumps(state))
    assert world.run("exit 6", image=IMAGE)["exit_code"] == 6


def test_docker_is_installed_where_it_is_missing(world):
    start = f'exec {shlex.join([sys.executable, "-I", str(FAKE_DOCKER)])} "$@"'
    copy = f"printf '%s\\n' '#!/bin/sh' {shlex.quote(start)}"
    world.program(
        "dnf",
        f'echo "$*" >>{world.folder}/dnf; {copy} >{world.bin}/docker; chmod 755 {world.bin}/docker',
    )
    (world.bin / "chmod").symlink_to("/usr/bin/chmod")
    assert world.run("exit 3", image=IMAGE)["exit_code"] == 3
    assert (world.folder / "dnf").read_text() == "install -y docker\n"


def test_docker_can_not_be_installed(world):
    world.program(
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >>{world.folder}/apt; echo "E: no network" >&2; exit 100',
    )
    report = world.run("exit 0", image=IMAGE)
    assert report["how"] == "not_started"
    assert report["said"] == "the image has no docker, and apt-get can't install it: E: no network"
    lines = (world.folder / "apt").read_text().splitlines()
    assert len(lines) == 6
    assert all(line.startswith("noninteractive ") for line in lines)


def test_nothing_can_install_docker(world):
    report = world.run("exit 0", image=IMAGE)
    assert (report["how"], "none of dnf, yum and apt-get" in report["said"]) == (
        "not_started",
        True,
    )


def test_a_task_on_the_host_needs_no_docker(world):
    assert world.run("exit 0")["how"] == "exit"


@pytest.mark.parametrize("program", ["systemctl", "service"])
def test_a_daemon_that_does_not_run_is_started(world, program):
    world.with_docker()
    write(world, "errors-version", "Cannot connect to the Docker daemon")
    world.program(program, f'echo "$*" >>{world.folder}/started')
    assert world.run("exit 0", image=IMAGE)["how"] == "exit"
    words = (world.folder / "started").read_text().split()
    assert sorted(words) == ["docker", "start"]


def test_a_daemon_that_never_runs(world):
    world.with_docker()
    write(world, "errors-version", *["Cannot connect to the Docker daemon"] * 99)
    world.program("systemctl", "echo 'Unit docker.service is masked' >&2; exit 1")
    report = world.run("exit 0", image=IMAGE)
    assert report["how"] == "not_started"
    assert report["said"] == "docker does not start: Unit docker.service is masked"


def test_a_docker_that_tells_no_state(world):
    world.program("docker", 'case "$1" in run) cat >/dev/null; echo out; exit 9 ;; esac')
    report = world.run("exit 0", image=IMAGE)
    assert (report["how"], report["exit_code"]) == ("exit", 9)
    assert world.log() == ["out"]


def test_a_docker_that_does_not_kill(world):
    world.program(
        "docker", 'case "$1" in run) cat >/dev/null; while :; do sleep 0.05; done ;; esac'
    )
    report = world.run("exit 0", image=IMAGE, time_limit=0.3, grace=0.1)
    assert report["how"] == "timeout"


def test_a_daemon_that_dies_with_the_task(world):
    world.program(
        "docker",
        'case "$1" in run) echo "docker: unexpected EOF"; exit 125 ;; '
        'inspect) echo "Cannot connect to the Docker daemon" >&2; exit 1 ;; esac',
    )
    report = world.run("exit 0", image=IMAGE)
    assert (report["how"], report["exit_code"]) == ("lost", None)
    assert "Cannot connect" in report["said"]


def test_values_that_only_dockers_own_process_could_carry():
    file, direct = split_environment({"A": "1", "B": "x\ny", "C": "x" * 60_001, "#D": "1", "E": ""})
    assert file == b"A=1\nE=\n"
    assert sorted(direct) == ["#D", "B", "C"]
    for name in ("DOCKER_HOST", "PATH", "LD_PRELOAD", "https_proxy", "HOME", "GODEBUG"):
        assert split_environment({name: "a"}) == (f"{name}=a\n".encode(), {})
        with pytest.raises(CannotRun, match=f"{name} can't be handed"):
            split_environment({name: "a\nb"})


def test_words_of_docker():
    assert last_words("", "a\n\nb\nc\nd\n") == "b; c; d"
    assert last_words(" \n", "") == "it says nothing"
    assert (
        last_words("docker: no.\n\nRun 'docker run --help' for more information\n") == "docker: no."
    )
