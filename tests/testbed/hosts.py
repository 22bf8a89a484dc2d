"""What an EC2 instance is here: a folder, the processes in it, a state, and a timer that ends it.

Processes find stand-ins for what would reach this machine (``shutdown``, ``docker``, ``systemctl``,
package tools) before the real ones, and none of them outlives its instance. Times of start, of SSM's
agent and the length of a minute of ``shutdown`` are ours, and set by hooks.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ministack.core.concurrency import spawn_background
from ministack.core.responses import get_account_id, get_region

from tests.testbed.events import emit
from tests.testbed.hooks import hook
from tests.testbed.patching import environment_of_children, on_reset, settings

_TESTS = Path(__file__).resolve().parents[1]
_STAND_INS = {
    "docker": _TESTS / "ec2/fake_docker.py",
    "shutdown": _TESTS / "testbed/fake_shutdown.py",
}
_HARMLESS = ("systemctl", "service", "dnf", "yum", "apt-get", "amazon-linux-extras", "nvidia-smi")
_ENDING = ("poweroff", "halt", "reboot", "init", "telinit")
_MARK = "HUT_TESTBED_INSTANCE"
_DYING = 0.1  # seconds from shutting-down to terminated
_CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
_KILLED = 128


@dataclass(frozen=True)
class Boot:
    """How an instance starts; the hook ``ec2/boot`` sets it.

    Attributes
    ----------
    running
        Seconds it is pending.
    online
        Seconds until SSM's agent is there once it runs; None: never.
    hidden
        Seconds in which DescribeInstances does not know it yet.
    times
        Of so many launches; None: of all.
    type
        Of instances of a type; None: of all.
    """

    running: float = 0.1
    online: float | None = 0.1
    hidden: float = 0.0
    times: int | None = None
    type: str | None = None


@dataclass
class Host:
    """An instance; `record` is the emulator's."""

    instance: str
    record: dict[str, Any]
    boot: Boot
    shutdown: str  # what the instance does when it is shut down from inside: terminate or stop
    launched: float = field(default_factory=time.time)
    ended: float | None = None  # when it began to shut down
    is_online: bool = False
    was_online: bool = False
    history: list[tuple[float, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _timer: int = 0
    _groups: dict[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return settings.work / "ec2" / self.instance

    @property
    def state(self) -> str:
        return str(self.record["State"]["Name"])

    @property
    def is_visible(self) -> bool:
        return time.time() >= self.launched + self.boot.hidden

    def turn(self, state: str) -> None:
        """Change the state, and tell."""
        self.record["State"] = {"Code": _CODES[state], "Name": state}
        self.history.append((time.time(), state))
        tell(self.instance, "EC2 Instance State-change Notification", state=state)

    def end(self, code: str, message: str, *, why: str = "", into: str = "terminated") -> None:
        """Shut it down; nothing happens if it is ending already."""
        going = "shutting-down" if into == "terminated" else "stopping"
        with self.lock:
            if self.state in ("shutting-down", into):
                return
            self.ended, self.is_online = time.time(), False
            self.record["StateReason"] = {"Code": code, "Message": f"{code}: {message}"}
            self.record["StateTransitionReason"] = why
            self.turn(going)
        spawn_background(self._die, into, thread_name="testbed-host")

    def _die(self, into: str) -> None:
        self.kill()
        time.sleep(_DYING)
        with self.lock:
            if into == "terminated":
                self.record["_terminated_at"] = time.time()
            self.turn(into)

    # Processes ----------------------------------------------------------------------------------

    def environment(self, **more: str) -> dict[str, str]:
        """Return what a process on the instance starts with."""
        own = environment_of_children(**more)
        return {
            **own,
            "PATH": os.pathsep.join([str(self.folder / "bin"), own["PATH"]]),
            "HUT_HOST_DIR": str(self.folder / "host"),
            _MARK: self.instance,
        }

    def run(self, text: str, name: str, limit: float | None, **more: str) -> Ended:
        """Run a script in the folder, in a process group of its own, and wait for its end."""
        script = self.folder / name
        script.write_text(text)
        command = [str(script)] if text.startswith("#!") else ["/bin/sh", str(script)]
        script.chmod(0o700)
        said = [script.with_suffix(f".{kind}") for kind in ("out", "err")]
        with said[0].open("wb") as output, said[1].open("wb") as errors:
            with self.lock:
                if self.state != "running":
                    return Ended(None, "", "")
                process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=self.environment(**more),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    process_group=0,
                )
                self._groups[name] = process.pid
            is_late = False
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                is_late = True
                self.stop(name)
                process.wait()
            del self._groups[name]
        code = process.returncode
        texts = [each.read_text(errors="replace") for each in said]
        return Ended(code if code >= 0 else _KILLED - code, *texts, is_late)

    def stop(self, name: str) -> None:
        """Kill a script and what it started in its group."""
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.killpg(self._groups[name], signal.SIGKILL)

    def kill(self) -> None:
        """Kill all its processes, whatever groups and sessions they made."""
        mark = f"{_MARK}={self.instance}".encode()
        for _ in range(20):
            found = list(_processes_with(mark))
            for process in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            if not found:
                return
            time.sleep(0.02)

    # The timer of ``shutdown`` ------------------------------------------------------------------

    def shut_down_in(self, minutes: float | None) -> None:
        """Set the timer anew; None: none."""
        with self.lock:
            self._timer += 1
            number = self._timer
        if minutes is not None:
            spawn_background(self._wait, number, minutes * _pace["minute"], thread_name="timer")

    def _wait(self, number: int, seconds: float) -> None:
        time.sleep(seconds)
        if number == self._timer and self.state == "running":
            into = "terminated" if self.shutdown == "terminate" else "stopped"
            self.end("Client.InstanceInitiatedShutdown", "Instance initiated shutdown", into=into)


@dataclass(frozen=True)
class Ended:
    """How a script ended; without a code it never began."""

    code: int | None
    output: str
    errors: str
    is_late: bool = False


hosts: dict[str, Host] = {}
_boots: list[Boot] = []
_pace = {"minute": 60.0}


def start(record: dict[str, Any], shutdown: str, user_data: str) -> Host:
    """Let an instance begin its life; it is pending."""
    host = Host(record["InstanceId"], record, _next_boot(record["InstanceType"]), shutdown)
    hosts[host.instance] = host
    _furnish(host)
    host.turn("pending")
    spawn_background(_boot, host, user_data, thread_name="testbed-host")
    return host


def _next_boot(kind: str) -> Boot:
    for number, boot in enumerate(_boots):
        if boot.type not in (None, kind):
            continue
        if boot.times is None:
            return boot
        if boot.times > 0:
            _boots[number] = replace(boot, times=boot.times - 1)
            return boot
    return Boot()


def _furnish(host: Host) -> None:
    """Make the folder, and put the stand-ins where they are found first."""
    folder = host.folder / "bin"
    folder.mkdir(parents=True)
    texts = dict.fromkeys(_HARMLESS, 'echo "$0 $*" >> "$HUT_HOST_DIR/../harmless"')
    texts |= dict.fromkeys(_ENDING, f"exec {shlex.quote(str(folder / 'shutdown'))} -h now")
    for name, program in _STAND_INS.items():
        texts[name] = f'exec {shlex.join([sys.executable, "-I", str(program)])} "$@"'
    for name, text in texts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (host.folder / "host").mkdir()


def _boot(host: Host, user_data: str) -> None:
    time.sleep(host.boot.running)
    with host.lock:
        if host.state != "pending":
            return
        host.turn("running")
    text = base64.b64decode(user_data).decode()
    if text.startswith("#!"):
        spawn_background(host.run, text, "user-data", None, thread_name="testbed-user-data")
    if host.boot.online is None:
        return
    time.sleep(host.boot.online)
    with host.lock:
        host.is_online = host.was_online = host.state == "running"


def tell(instance: str, name: str, **detail: str) -> None:
    """Send an event about an instance."""
    emit("aws.ec2", name, {"instance-id": instance, **detail}, [arn_of(instance)])


def arn_of(instance: str) -> str:
    return f"arn:aws:ec2:{get_region()}:{get_account_id()}:instance/{instance}"


def _processes_with(mark: bytes) -> Iterator[int]:
    """Yield the processes whose environment has a mark; none where there is no /proc."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0") and not _is_dead(path.parent):
                yield int(path.parent.name)


def _is_dead(process: Path) -> bool:
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"


# Hooks --------------------------------------------------------------------------------------------


def host_of(body: Mapping[str, Any]) -> Host:
    found = hosts.get(body["instance"])
    if found is None:
        raise ValueError(f"there is no instance {body['instance']}")
    return found


@hook("POST", "ec2/boot")
def _set_boot(body: dict[str, Any]) -> dict[str, Any]:
    """Let instances start otherwise: the next `times` ones, or all; without anything as usual."""
    if body:
        _boots.insert(0, Boot(**body))
    else:
        _boots.clear()
    return {}


@hook("POST", "ec2/minute")
def _set_minute(body: dict[str, Any]) -> dict[str, Any]:
    """Say how many seconds a minute of ``shutdown -h +N`` has."""
    _pace["minute"] = float(body["seconds"])
    return {}


@hook("POST", "ec2/shutdown")
def _shut_down(body: dict[str, Any]) -> dict[str, Any]:
    """Do what the stand-in of ``shutdown`` was told."""
    host_of(body).shut_down_in(body["minutes"])
    return {}


@hook("POST", "ec2/agent")
def _turn_agent(body: dict[str, Any]) -> dict[str, Any]:
    """Connect SSM's agent of an instance, or cut it off."""
    host = host_of(body)
    host.is_online = bool(body["online"])
    host.was_online |= host.is_online
    return {}


@hook("POST", "ec2/age")
def _age(body: dict[str, Any]) -> dict[str, Any]:
    """Let an instance have been launched so many seconds ago."""
    launched = time.gmtime(time.time() - float(body["seconds"]))
    host_of(body).record["LaunchTime"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", launched)
    return {}


@hook("POST", "ec2/end")
def _end(body: dict[str, Any]) -> dict[str, Any]:
    """Let AWS take an instance away."""
    code = body.get("code", "Server.InternalError")
    host_of(body).end(code, body.get("message", "Internal error on launch"), why=code)
    return {}


@hook("POST", "ec2/interrupt")
def _interrupt(body: dict[str, Any]) -> dict[str, Any]:
    """Reclaim a spot instance: warn, and terminate it `after` seconds (AWS: two minutes)."""
    host = host_of(body)
    if host.record.get("InstanceLifecycle") != "spot":
        raise ValueError(f"{host.instance} is no spot instance")
    warning = "EC2 Spot Instance Interruption Warning"
    tell(host.instance, warning, **{"instance-action": "terminate"})

    def reclaim() -> None:
        time.sleep(float(body.get("after", 0)))
        code = "Server.SpotInstanceTermination"
        host.end(code, "Spot instance termination", why=code)

    spawn_background(reclaim, thread_name="testbed-reclaim")
    return {}


def _forget() -> None:
    for host in list(hosts.values()):
        host.record["State"] = {"Code": 48, "Name": "terminated"}
        host.shut_down_in(None)
        host.kill()
    hosts.clear()
    _boots.clear()
    _pace["minute"] = 60.0


on_reset.append(_forget)


def kill_all() -> None:
    """Leave no process behind."""
    for host in list(hosts.values()):
        if host.state in ("pending", "running", "shutting-down"):
            host.kill()
