"""The sandbox, as a person uses it: started, used from another shell, ended by Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.deployment import ROOT
from tests.e2e.remote_hut import until

LIMIT = 240  # seconds


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that have to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line or str(folder) in str((path.parent / "cwd").readlink()):
                found.append(line)
    return found


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.sandbox", "--folder", str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the Ctrl-C of this test is for it only
    )


def ended(process: subprocess.Popen[str], number: int) -> str:
    """End a sandbox; return what it has said."""
    process.send_signal(number)
    try:
        return process.communicate(timeout=LIMIT)[1]
    finally:
        process.kill()


def test_a_sandbox_from_start_to_end(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    process = start(folder)
    try:
        env = folder / "env"
        until(lambda: env.exists() or process.poll() is not None, "it is up", LIMIT)
        assert env.exists(), process.communicate()[1]
        again = start(folder)
        assert "running already" in again.communicate(timeout=LIMIT)[1]
        assert again.returncode == 1

        def shell(command: str) -> str:
            return subprocess.run(
                ["sh", "-ec", f". {env}; {command}"],
                cwd=ROOT,
                env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_PROFILE": "mine"},
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=True,
            ).stdout

        shell("hutctl run examples/diamond/workflow.json")
        assert shell("hutctl logs last mean") == "mean of 1000 numbers: 1000\n"
        shell("hutctl run examples/montecarlo/workflow.json --env SAMPLES=200 --env STREAMS=2")
        assert "agree with theory" in shell("hutctl logs last report")
        assert list(folder.glob("home/results/*/mean.txt"))
        left = [{"id": "a", "command": "trap '' TERM; echo $$ > left; sleep 600; sleep 600"}]
        (tmp_path / "left.json").write_text(json.dumps(left))
        shell(f"hutctl run {tmp_path}/left.json --detach")
        until((folder / "home/left").exists, "its command began")
    finally:
        said = ended(process, signal.SIGINT)
    assert process.returncode == 0, said
    assert "not AWS" in said
    assert re.search(r"source \S+/env$", said, re.MULTILINE)
    [url] = set(re.findall(r"http://127\.0\.0\.1:\d+", said))
    until(lambda: not processes_of(folder), "no process is left")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)
    assert not env.exists()


def test_a_sandbox_that_is_ended_while_it_deploys(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    process = start(folder)
    try:
        until((folder / "cdk/cdk.log").exists, "it deploys", LIMIT)
    finally:
        said = ended(process, signal.SIGTERM)
    assert process.returncode == 130, said
    until(lambda: not processes_of(folder), "no process is left")
    assert not (folder / "env").exists()
