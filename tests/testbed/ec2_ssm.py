"""EC2 and SSM Run Command: an instance is a folder, a command a child process in it.

The events both services send are sent. Not modelled: images, types, spot, networks, the agent.
An instance is managed by SSM as soon as it runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, ssm

from tests.testbed.events import emit
from tests.testbed.patching import (
    environment_of_children,
    on_reset,
    replace,
    replace_entry,
    require,
    settings,
)

_PUBLIC_IMAGES = (
    "/aws/service/ami-amazon-linux-latest/",
    "/aws/service/canonical/",
    "/aws/service/debian/",
    "/aws/service/ecs/optimized-ami/",
)
_processes: dict[str, set[int]] = {}
_lock = threading.Lock()


def install() -> None:
    require(ec2, "_instances", "_parse_member_list")
    require(ssm, "_commands")
    replace(ec2, "instance_is_managed", _is_managed)
    replace(ec2, "exec_in_instance_blocking", _execute)
    finish = replace(ssm, "_finish_invocation", None)
    find_public = replace(ssm, "_public_parameter", None)

    def finish_and_tell(command: str, instance: str, arguments: list[str]) -> None:
        finish(command, instance, arguments)
        invocation = (ssm._commands.get(command) or {}).get("Invocations", {}).get(instance, {})
        detail = {
            "command-id": command,
            "document-name": invocation.get("DocumentName"),
            "instance-id": instance,
            "status": invocation.get("Status"),
        }
        name = "EC2 Command Invocation Status-change Notification"
        emit("aws.ssm", name, detail, [_arn(instance)])

    def find_any_image(name: str) -> Any:
        """Return an image for every alias of a well-known kind."""
        known = find_public(name)
        if known is not None or not name.startswith(_PUBLIC_IMAGES):
            return known
        return {
            "Name": name,
            "Type": "String",
            "Value": "ami-0abcdef1234567890",
            "Version": 1,
            "LastModifiedDate": 1_728_518_400,
            "ARN": f"arn:aws:ssm:{get_region()}::parameter{name}",
        }

    ssm._finish_invocation = finish_and_tell
    ssm._public_parameter = find_any_image
    table = _action_table()
    for action, changed in (("RunInstances", _started), ("TerminateInstances", _terminated)):
        replace_entry(table, action, _then(table[action], changed))
    on_reset.append(_kill_all)


def _action_table() -> dict[str, Any]:
    """Find where the emulator keeps the functions of EC2's actions."""
    for value in vars(ec2).values():
        if isinstance(value, dict) and callable(value.get("RunInstances")):
            return value
    raise AssertionError("the emulator changed: EC2 has no table of actions")


def _then(action: Callable[[Any], Any], changed: Callable[[list[str]], None]) -> Any:
    def act(parameters: Any) -> Any:
        before = set(ec2._instances)
        answer = action(parameters)
        if answer[0] < 300:
            named = ec2._parse_member_list(parameters, "InstanceId")
            changed(named or sorted(set(ec2._instances) - before))
        return answer

    return act


def _arn(instance: str) -> str:
    return f"arn:aws:ec2:{get_region()}:{get_account_id()}:instance/{instance}"


def _folder(instance: str) -> Path:
    folder = settings.work / "ec2" / instance
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_managed(instance: str) -> bool:
    found = ec2._instances.get(instance)
    return bool(found) and found.get("State", {}).get("Name") == "running"


def _execute(instance: str, arguments: list[str]) -> tuple[int, str, str]:
    folder = _folder(instance)
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env=environment_of_children(HOME=str(folder), INSTANCE_ID=instance),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
    )
    with _lock:
        _processes.setdefault(instance, set()).add(process.pid)
    try:
        output, errors = process.communicate()
    finally:
        with _lock:
            _processes.get(instance, set()).discard(process.pid)
    code = process.returncode
    return (code if code >= 0 else 128 - code), output, errors


def _started(instances: list[str]) -> None:
    for instance in instances:
        _tell_state(instance, "pending")
        _tell_state(instance, "running")


def _terminated(instances: list[str]) -> None:
    for instance in instances:
        _kill(instance)
        shutil.rmtree(_folder(instance), ignore_errors=True)
        _tell_state(instance, "shutting-down")
        _tell_state(instance, "terminated")


def _tell_state(instance: str, state: str) -> None:
    detail = {"instance-id": instance, "state": state}
    emit("aws.ec2", "EC2 Instance State-change Notification", detail, [_arn(instance)])


def _kill(instance: str) -> None:
    with _lock:
        groups = _processes.pop(instance, set())
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _kill_all() -> None:
    for instance in list(_processes):
        _kill(instance)
