"""Stands in for ``docker``: a container is a process tree on this machine.

What is modelled: containers outlive ``docker run``; only their first process gets a signal, and all ends
with it; names are taken until a container is removed; variables come from options, the environment file
and nothing else; states tell what started. A folder (``HUT_FAKE_DOCKER``, else ``docker`` in the agent's)
keeps:

    calls              a line of JSON for each command
    images             names of those that are here
    errors-COMMAND     lines; each makes one ``docker COMMAND`` fail with it (``create``, ``run``: before
                       and after the container was made)
    out-of-memory      if there: containers that fail were killed for want of memory
    containers/        their states

``python fake_docker.py kill-all`` ends everything. Nothing is imported beyond the standard library.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "HUT_TESTBED_INSTANCE")
_WITH_VALUE = (
    *("-e", "--env", "--env-file", "-v", "--volume", "--mount", "-w", "--workdir", "--name"),
    *("--gpus", "--network", "--net", "--entrypoint", "-u", "--user", "--log-driver", "--ulimit"),
    *("-l", "--label", "--stop-timeout", "--shm-size", "-m", "--memory", "--cpus", "--cidfile"),
    *("--format", "--type", "-f", "--signal", "-s", "--username", "--config", "--pull"),
)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_NEVER = "0001-01-01T00:00:00Z"
FOLDER = Path(
    os.environ.get("HUT_FAKE_DOCKER") or Path(os.environ.get("HUT_HOST_DIR", "/nowhere"), "docker")
)


def main() -> int:
    (FOLDER / "containers").mkdir(parents=True, exist_ok=True)
    words = sys.argv[1:]
    if words[:1] == ["--config"]:
        words = words[2:]
    command, *rest = words or ["help"]
    note({"argv": sys.argv[1:], "variables": sorted(os.environ)})
    if command != "run" and (error := take_error(command)):
        return fail(error)
    options, rest = parse(rest, removal=command == "rm")
    if command == "run":
        return run(options, rest)
    if command == "pull":
        with (FOLDER / "images").open("a") as file:
            file.write(f"{rest[0]}\n")
    elif command == "login":
        password = sys.stdin.read()
        note({"login": rest[0], "user": options["--username"], "password": password})
    elif command == "image":
        images = (FOLDER / "images").read_text() if (FOLDER / "images").exists() else ""
        if rest[1] not in images.splitlines():
            return fail(f"Error response from daemon: No such image: {rest[1]}")
    elif command == "kill":
        return kill(rest[0], options.get("--signal") or options.get("-s") or "KILL")
    elif command == "inspect":
        if not state_path(rest[0]).exists():
            return fail(f"Error: No such object: {rest[0]}")
        print(json.dumps(look(rest[0])))
    elif command == "rm":
        return remove(rest[0])
    elif command == "kill-all":
        for path in (FOLDER / "containers").glob("*.json"):
            remove(path.stem)
    return 0


def parse(words: list[str], *, removal: bool) -> tuple[dict[str, str], list[str]]:
    """Return options and what follows them; repeated ones are joined by line ends."""
    options: dict[str, str] = {}
    rest = list(words)
    found = []
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            found.append(word)
            if "--entrypoint" in options or "--name" in options:  # of run: what follows is its own
                return options, [*found, *rest]
            continue
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE and not (removal and name == "-f"):
            value = value if equals else rest.pop(0)
            options[name] = f"{options[name]}\n{value}" if name in options else value
        else:
            options[name] = ""
    return options, found


def run(options: dict[str, str], words: list[str]) -> int:
    name, image = options["--name"], words[0]
    if error := take_error("create"):
        return fail(f"docker: Error response from daemon: {error}.", 125)
    if state_path(name).exists():
        why = f'Conflict. The container name "/{name}" is already in use'
        return fail(f"docker: Error response from daemon: {why}.", 125)
    environment = {
        key: value
        for key, value in os.environ.items()
        if key in _KEPT or key.startswith(("AWS_", "HUT_TESTBED_"))
    }
    if "--env-file" in options:
        # Bytes, and split as docker does it: at line ends only.
        for line in Path(options["--env-file"]).read_bytes().decode().split("\n"):
            key, equals, value = line.lstrip().partition("=")
            if equals and not key.startswith("#"):
                environment[key] = value
    for pair in filter(None, (options.get("--env") or options.get("-e") or "").split("\n")):
        key, equals, value = pair.partition("=")
        environment[key] = value if equals else os.environ[key]
    entry = options.get("--entrypoint")
    argv = [*([entry] if entry else []), *words[1:]]
    note({"run": name, "image": image, "command lines": command_lines()})
    write(name, {"Running": False, "StartedAt": _NEVER, "ExitCode": 0, "Error": ""})
    if error := take_error("run"):
        write(name, {"Running": False, "StartedAt": _NEVER, "ExitCode": 127, "Error": error})
        return fail(f"docker: Error response from daemon: {error}.", 125)
    shim = os.fork()
    if shim == 0:
        os._exit(contain(name, argv, environment))
    _, status = os.waitpid(shim, 0)
    state = look(name)
    if state["Error"]:
        print(f"docker: Error response from daemon: {state['Error']}.", file=sys.stderr)
    return os.waitstatus_to_exitcode(status)


def contain(name: str, argv: list[str], environment: dict[str, str]) -> int:
    """Be the first process of a container: start the command, and let nothing outlive it."""
    os.setsid()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # what it starts has the usual ones again
    home = environment.get("HOME", "/")
    try:
        process = subprocess.Popen(
            argv,
            cwd=home if os.path.isdir(home) else "/",
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        why = f"failed to create task for container: exec: {argv[0]!r}: {error.strerror}"
        write(name, {"Running": False, "StartedAt": _NEVER, "ExitCode": 127, "Error": why})
        return 127
    state = {
        "Running": True,
        "Pid": process.pid,
        "Shim": os.getpid(),
        "StartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "Error": "",
    }
    write(name, {**state, "ExitCode": 0})
    code = process.wait()
    code = code if code >= 0 else 128 - code
    kill_below(os.getpid())
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    is_starved = code != 0 and (FOLDER / "out-of-memory").exists()
    write(name, {**state, "Running": False, "ExitCode": code, "OOMKilled": is_starved})
    return code


def kill(name: str, which: str) -> int:
    if not state_path(name).exists():
        return fail(f"Error response from daemon: No such container: {name}")
    state = look(name)
    if not state["Running"]:
        return fail(f"Error response from daemon: container {name} is not running")
    if which.removeprefix("SIG") in ("KILL", "9"):
        kill_below(state["Shim"])
    else:
        os.kill(state["Pid"], getattr(signal, f"SIG{which.removeprefix('SIG')}"))
    return 0


def remove(name: str) -> int:
    if not state_path(name).exists():
        return fail(f"Error: No such container: {name}")
    while (state := look(name))["Running"]:
        kill_below(state["Shim"])
        time.sleep(0.02)
    state_path(name).unlink()
    return 0


def look(name: str) -> dict:
    state = json.loads(state_path(name).read_text())
    if state["Running"] and not parents().get(state["Shim"]):  # it was killed, as by a reboot
        state |= {"Running": False, "ExitCode": 137}
    return state


def kill_below(shim: int) -> None:
    """Kill all descendants of a process, until none is left."""
    while True:
        above = parents()
        found = {shim}
        while more := {pid for pid, parent in above.items() if parent in found} - found:
            found |= more
        if found == {shim}:
            return
        for pid in found - {shim}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def parents() -> dict[int, int]:
    """Return all processes that are more than a zombie, and their parents."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                found[int(path.parent.name)] = int(parent)
    return found


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def state_path(name: str) -> Path:
    return FOLDER / "containers" / f"{name}.json"


def write(name: str, state: dict) -> None:
    path = state_path(name)
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({"OOMKilled": False, **state}))
    new.replace(path)


def take_error(command: str) -> str:
    """Return the next error a command is to fail with."""
    path = FOLDER / f"errors-{command}"
    if not path.exists() or not (lines := path.read_text().splitlines()):
        return ""
    path.write_text("".join(f"{line}\n" for line in lines[1:]))
    return lines[0]


def note(what: dict) -> None:
    with (FOLDER / "calls").open("a") as file:
        file.write(json.dumps(what) + "\n")


def fail(why: str, code: int = 1) -> int:
    print(why, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
