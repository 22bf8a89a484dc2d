"""Hut on this machine to try it out: ``python -m tests.e2e.sandbox`` (``make sandbox``).

Starts a test bed, deploys the app to it, and says what to type in another terminal. It stays in the
foreground; Ctrl-C ends everything. What is left in the folder is for looking at, until the next one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.deployment import ROOT, Cdk, DeployError, Deployment, deploy
from tests.testbed.running import TestBed, start_test_bed

__all__ = ["main"]

TARGET = "sandbox"
_EXAMPLE = "montecarlo"
_HEALTH = 5.0  # seconds between two looks whether the test bed is there
_NOT_OURS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE")
_INTERRUPTED = 130


class _NotOursError(Exception):
    """Another sandbox has the folder."""


def main(arguments: list[str] | None = None) -> int:
    """Run a sandbox until somebody ends it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.sandbox", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".sandbox", help="(%(default)s)")
    folder: Path = parser.parse_args(arguments).folder.resolve()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    is_up = False
    try:
        with _own(folder), start_test_bed(folder / "bed", home=folder / "home") as bed:
            try:
                deployment = _deploy(bed, folder)
                _write_environment(deployment, folder)
                is_up = True
                _say(_guide(deployment, folder))
                while True:
                    time.sleep(_HEALTH)
                    bed.hook("health")
            finally:
                (folder / "env").unlink(missing_ok=True)
                _say("\nEnding the sandbox and every job in it.")
    except KeyboardInterrupt:
        return 0 if is_up else _INTERRUPTED  # it is how one ends it
    except (_NotOursError, DeployError, OSError) as error:
        _say(f"sandbox: {error}")
        return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Have a folder for this process only, and empty."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            env = _shown(folder / "env")
            raise _NotOursError(f"one is running already; use it with: source {env}") from None
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
        yield


def _deploy(bed: TestBed, folder: Path) -> Deployment:
    _say("Preparing an account in an AWS emulator (cdk bootstrap) ...")
    cdk = Cdk(bed, folder / "cdk")
    cdk.folder.mkdir()
    cdk.bootstrap()
    _say("Deploying Hut to it (cdk deploy) ...")
    deployment = deploy(cdk, sweep_minutes=1)
    hutctl = [sys.executable, "-m", "hutctl", "target", "add", TARGET, "--url", deployment.url]
    environment = {**bed.environment(), "XDG_CONFIG_HOME": str(folder / "config")}
    added = subprocess.run(hutctl, env=environment, check=False, capture_output=True, text=True)
    if added.returncode:
        raise DeployError(f"the deployment does not answer: {added.stderr.strip()}")
    ignored = shutil.ignore_patterns("results", "__pycache__", "workflow.json", "README.md")
    source = ROOT / "examples" / _EXAMPLE
    shutil.copytree(source, bed.home, ignore=ignored, dirs_exist_ok=True)
    return deployment


def _write_environment(deployment: Deployment, folder: Path) -> None:
    """Write what a shell needs so that hutctl and the AWS CLI go to the sandbox."""
    wanted = {
        name: value
        for name, value in deployment.bed.environment().items()
        if name.startswith("AWS_")
    }
    wanted |= {"HUT_TARGET": TARGET, "XDG_CONFIG_HOME": str(folder / "config")}
    lines = ["# Points a shell to the sandbox: hutctl, and AWS's own command line.", "unset"]
    lines[-1] += "".join(f" {name}" for name in _NOT_OURS)
    lines += [f"export {name}={shlex.quote(value)}" for name, value in wanted.items()]
    binaries = shlex.quote(str(Path(sys.executable).parent))
    lines.append(f'export PATH={binaries}:"$PATH"')
    new = folder / "env.new"
    new.write_text("\n".join(lines) + "\n")
    new.replace(folder / "env")  # who waits for the file finds all of it


def _guide(deployment: Deployment, folder: Path) -> str:
    home = _shown(deployment.bed.home)
    return f"""
Hut is deployed to an emulator of AWS on this machine, at {deployment.bed.url}.
It is not AWS. Jobs are processes of this machine: no containers, no images, and cpus and memory
are not reserved. Nothing is sent to AWS and nothing costs. All of it is forgotten at its end.

In another terminal, from here:

    source {_shown(folder / "env")}
    hutctl run examples/{_EXAMPLE}/workflow.json
    hutctl logs last report
    hutctl runs

Tasks begin in {home}, as they would in the home of their image: put the files there that
they read. Those of examples/{_EXAMPLE} are there already.
What the emulator says is in {_shown(deployment.bed.folder / "test-bed.log")}.

Ctrl-C ends the sandbox and every job in it."""


def _shown(path: Path) -> str:
    """Return a path as a person in this folder would type it."""
    with contextlib.suppress(ValueError):
        return shlex.quote(str(path.relative_to(Path.cwd())))
    return shlex.quote(str(path))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
