"""The task in a container, by docker's command line.

Values of variables never stand in a command line, where every process of the machine could read
them: docker reads them from its standard input as an environment file; a value that such a file
can't hold goes through the environment of docker's own process.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from typing import Any

from hut.backends.ec2.host.attempts import state_folder
from hut.backends.ec2.host.calls import Aws, CallError, Stop, pause_factor
from hut.backends.ec2.host.payload import Payload
from hut.backends.ec2.host.processes import (
    Done,
    Ended,
    Process,
    home_of_user,
    memory_bytes,
    run_command,
)

__all__ = [
    "CannotRun",
    "ContainerProcess",
    "Docker",
    "last_words",
    "registry_of",
    "remove_container",
    "split_environment",
]

_INSTALL = (
    ("amazon-linux-extras", [["amazon-linux-extras", "install", "-y", "docker"]]),
    ("dnf", [["dnf", "install", "-y", "docker"]]),
    ("yum", [["yum", "install", "-y", "docker"]]),
    (
        "apt-get",
        [
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"],
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "docker.io"],
        ],
    ),
)
_START = (["systemctl", "start", "docker"], ["service", "docker", "start"])
_SHORT, _LONG, _PULL = 60, 900, 1500  # seconds of patience
_PULLS = 5
_INSTALLS = 3
_LOOKS = 30  # a daemon that was started needs a moment
_HOPELESS = re.compile(
    "manifest unknown|not found|denied|unauthorized|invalid reference|no matching manifest"
    "|no basic auth|does not exist",
    re.IGNORECASE,
)
_ECR = re.compile(
    r"([0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?)/.+", re.DOTALL
)
_LARGEST_LINE = 60_000  # bytes; docker reads lines of up to 64 KiB from an environment file
# What docker's command line itself, the loader or the runtime of Go would heed.
_HEEDED = re.compile(
    "(DOCKER|BUILDKIT|MOBY|OTEL|GO|LD_|XDG_|SSL_|MALLOC_|GLIBC).*|PATH|HOME|TMPDIR|(?i:.*_proxy)",
    re.DOTALL,
)
_HINTS = ("Run 'docker", "See 'docker")
_NEVER_STARTED = "0001-01-01"
_OWN_CODE = 125  # of docker run, when it is docker that failed
_INSPECTIONS = 5
_PATIENT_KILLS = 6  # half a second each, in which docker run notices the end of its container


class CannotRun(Exception):  # noqa: N818
    """The container can't be started; the message says why."""


def registry_of(image: str) -> tuple[str, str] | None:
    """Return host and region of the image's registry if that is one of ECR."""
    match = _ECR.fullmatch(image)
    return None if match is None else (match[1], match[2])


class Docker:
    """Docker on this machine.

    Parameters
    ----------
    aws
        Gives passwords for ECR.
    stop
        Ends what takes long.
    """

    def __init__(self, aws: Aws, stop: Stop) -> None:
        self._aws = aws
        self._stop = stop

    def make_ready(self) -> None:
        """Install docker if there is none, and start it.

        Raises
        ------
        CannotRun
            With what the package manager or docker says.
        """
        if shutil.which("docker") is None:
            self._install()
        if self._run("version").code == 0:
            return
        said = ""
        for command in _START:
            if shutil.which(command[0]) is not None:
                done = self._command(command, _SHORT)
                said = said or done.errors
                if done.code == 0:
                    break
        for _ in range(_LOOKS):
            done = self._run("version")
            if done.code == 0:
                return
            self._stop.sleep(2)
        raise CannotRun(f"docker does not start: {last_words(said, done.errors)}")

    def _install(self) -> None:
        for program, commands in _INSTALL:
            if shutil.which(program) is None:
                continue
            for number in range(1, _INSTALLS + 1):
                done = Done(None, "", "")
                for command in commands:
                    done = self._command(command, _LONG, DEBIAN_FRONTEND="noninteractive")
                if shutil.which("docker") is not None:
                    return
                if number < _INSTALLS:
                    self._stop.sleep(10 * number)
            said = last_words(done.errors, done.output)
            raise CannotRun(f"the image has no docker, and {program} can't install it: {said}")
        raise CannotRun(
            "the image has no docker, and none of dnf, yum and apt-get to install it; "
            "name an AMI that has docker, or no container image"
        )

    def pull(self, image: str) -> str:
        """Bring an image here, with several tries; return a remark, or nothing.

        Raises
        ------
        CannotRun
            With docker's words, if it can't be pulled and is not here.
        """
        registry = registry_of(image)
        folder = os.path.join(state_folder(), f"docker-{os.getpid()}") if registry else ""
        try:
            for number in range(1, _PULLS + 1):
                try:
                    if registry is not None:
                        self._log_in(registry, folder)
                    done = self._run("pull", image, config=folder, patience=_PULL)
                    if done.code == 0:
                        return ""
                    said = last_words(done.errors, done.output)
                    if done.code is None:
                        said = f"it took longer than {_PULL} s"
                except CallError as error:
                    said = str(error)
                # An image that was put into the AMI may be in no registry.
                if (_HOPELESS.search(said) or number == _PULLS) and self._has(image):
                    return (
                        f"the image could not be pulled, so the one that was there is used: {said}"
                    )
                if number < _PULLS:
                    self._stop.sleep(2**number)
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        raise CannotRun(f"the image {image} can't be pulled: {said}")

    def _log_in(self, registry: tuple[str, str], folder: str) -> None:
        host, region = registry
        token = self._aws.registry_password(region)
        try:
            name, _, password = base64.b64decode(token).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise CallError("ECR answered with a token that is none") from None
        os.makedirs(folder, mode=0o700, exist_ok=True)
        done = self._run(
            "login",
            "--username",
            name,
            "--password-stdin",
            host,
            config=folder,
            given=password.encode(),
        )
        if done.code != 0:
            raise CallError(f"docker login to {host}: {last_words(done.errors, done.output)}")

    def _has(self, image: str) -> bool:
        return self._run("image", "inspect", "--format", "{{.Id}}", image).code == 0

    def _run(
        self, *arguments: str, config: str = "", given: bytes = b"", patience: float = _SHORT
    ) -> Done:
        own = ["--config", config] if config else []
        return self._command(["docker", *own, *arguments], patience, given)

    def _command(self, argv: list[str], patience: float, given: bytes = b"", **env: str) -> Done:
        return run_command(
            argv,
            patience=patience,
            stop=self._stop,
            given=given,
            env={"HOME": home_of_user(), **env},
        )


class ContainerProcess:
    """A task's container, and the ``docker run`` that is attached to it.

    Parameters
    ----------
    output
        The file for what it writes, an open descriptor.
    path
        The same file, for docker's last words.

    Raises
    ------
    CannotRun
        If a variable can't be handed to docker.
    """

    def __init__(self, payload: Payload, image: str, output: int, path: str) -> None:
        self._name = payload.attempt
        self._path = path
        self._kills = 0
        file, direct = split_environment(payload.env)
        argv = ["docker", "run", "--name", self._name, "--init", "--log-driver", "none"]
        argv += ["--env-file", "/dev/stdin"]
        for variable in direct:
            argv += ["--env", variable]
        if payload.gpus is not None:
            argv += ["--gpus", payload.gpus]
        # The machine is the task's: shared memory as on the host, half of what there is, not docker's 64 MiB.
        if memory_bytes():
            argv += ["--shm-size", str(memory_bytes() // 2)]
        argv += ["--entrypoint", payload.argv[0], image, *payload.argv[1:]]
        env = {**os.environ, "HOME": home_of_user(), **direct}
        self._process = Process(argv, env, output, reads=subprocess.PIPE)
        self.pid = self._process.pid
        # More than a pipe holds would wait for docker to read it, and docker may not live to do so.
        threading.Thread(
            target=_write, args=(self._process.stdin, file), name="variables", daemon=True
        ).start()

    def wait(self, seconds: float) -> int | None:
        """Return the exit code of ``docker run``, or None if it runs on after some seconds."""
        return self._process.wait(seconds)

    def send(self, number: int) -> bool:
        """Send a signal to the container; return whether it got there."""
        name = signal.Signals(number).name[3:]
        done = _docker("kill", "--signal", name, self._name)
        if number == signal.SIGKILL:
            self._kills += 1
            if done.code != 0 or self._kills > _PATIENT_KILLS:
                _docker("rm", "--force", self._name)
                self._process.send(signal.SIGKILL)
        return done.code == 0

    def explain(self, code: int) -> Ended:
        """Return what the end of ``docker run`` means, and remove the container.

        Its code alone may be docker's or the command's; the container's state tells which.
        """
        state, said = self._state()
        if state and state.get("Running"):
            ended = Ended("lost", None, f"docker run ended (code {code}) before the container")
        elif state and str(state.get("StartedAt", "")).startswith(_NEVER_STARTED):
            ended = Ended("not_started", None, str(state.get("Error") or self._last_words()))
        elif state:
            code = int(state.get("ExitCode", code))
            is_starved = bool(state.get("OOMKilled")) and code != 0
            ended = Ended("out_of_memory" if is_starved else "exit", code, "")
        elif code == _OWN_CODE and "no such" in said.lower():
            ended = Ended("not_started", None, self._last_words())
        elif code < 0 or (code == _OWN_CODE and said):
            ended = Ended("lost", None, f"docker can't tell how the container ended: {said}")
        else:
            ended = Ended("exit", code, "")
        _docker("rm", "--force", self._name)
        return ended

    def _state(self) -> tuple[dict[str, Any], str]:
        """Return the container's state, or nothing and what docker says instead."""
        said = ""
        for _ in range(_INSPECTIONS):
            done = _docker(
                "inspect", "--type", "container", "--format", "{{json .State}}", self._name
            )
            if done.code == 0:
                try:
                    return dict(json.loads(done.output)), ""
                except (ValueError, TypeError):
                    return {}, ""
            said = last_words(done.errors, done.output)
            if "no such" in said.lower():
                break
            time.sleep(2 * pause_factor())
        return {}, said

    def _last_words(self) -> str:
        try:
            with open(self._path, "rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - 4000, 0))
                return last_words(file.read().decode("utf-8", "replace"))
        except OSError:
            return last_words()


def remove_container(name: str) -> None:
    """Remove a container, whether or not it runs, if there is docker and it."""
    if shutil.which("docker") is not None:
        _docker("rm", "--force", name)


def split_environment(env: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Return variables as docker's environment file, and those that such a file can't hold.

    Raises
    ------
    CannotRun
        If one of the latter would change what docker itself does.
    """
    lines, direct = [], {}
    for name, value in env.items():
        line = f"{name}={value}".encode("utf-8", "replace")
        if name.startswith("#") or b"\n" in line or b"\r" in line or len(line) > _LARGEST_LINE:
            if _HEEDED.fullmatch(name):
                raise CannotRun(
                    f"the variable {name} can't be handed to a container: its value is longer "
                    f"than {_LARGEST_LINE} bytes or has line ends, and docker itself would heed it"
                )
            direct[name] = value
        else:
            lines.append(line + b"\n")
    return b"".join(lines), direct


def last_words(*texts: str) -> str:
    """Return the end of the first text that is not empty, without docker's hints at its manual."""
    for text in texts:
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith(_HINTS)]
        if lines:
            return "; ".join(lines[-3:])[-500:]
    return "it says nothing"


def _docker(*arguments: str) -> Done:
    """Run docker, also while the agent is to end: this is what ends the task."""
    env = {"HOME": home_of_user()}
    return run_command(["docker", *arguments], patience=_SHORT, stop=Stop(), env=env)


def _write(pipe: Any, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(content)
