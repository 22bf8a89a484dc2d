"""A test bed with the app on it in each process of these tests; each test has runs and files of its own.

It can enforce IAM. That costs each request some milliseconds, so only the tests of access ask for it;
``HUT_E2E_ENFORCED=1`` lets all of them run with the roles of the functions, as the stacks make them.

The tests of a process change how its test bed behaves and share the jobs' home: they run one after the
other. `make test` runs two processes, each with whole files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment import Cdk, Deployment, deploy
from tests.e2e.needs import keep_note
from tests.e2e.remote_hut import RemoteHut, until
from tests.testbed.running import TestBed, start_test_bed

ENFORCED = os.environ.get("HUT_E2E_ENFORCED") == "1"
_SLOTS = 8  # Batch jobs at a time, where a test does not say otherwise
_ran: set[str] = set()  # files of which this process ran tests


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    folder = tmp_path_factory.mktemp("bed")
    with start_test_bed(folder, options={"AUTH": "true", "HUT_TESTBED_JOBS": str(_SLOTS)}) as it:
        it.hook("iam", {"enforced": ENFORCED})
        yield it


@pytest.fixture(scope="session")
def cdk(bed: TestBed, tmp_path_factory: pytest.TempPathFactory) -> Cdk:
    """The CDK, in an account that is bootstrapped."""
    it = Cdk(bed, tmp_path_factory.mktemp("cdk"))
    it.bootstrap()
    return it


def pytest_runtest_setup(item: pytest.Item) -> None:
    _ran.add(item.path.name)


@pytest.fixture(scope="session")
def deployment(cdk: Cdk) -> Iterator[Deployment]:
    # Tests that want a sweep call for it: none may be saved by one it did not ask for.
    it = deploy(cdk, sweep_minutes=60)
    yield it
    keep_note(it, _ran)


@pytest.fixture(scope="session")
def targets(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a person who added the deployment as a target."""
    hut = RemoteHut(tmp_path_factory.mktemp("person"), deployment=deployment)
    hut.add_target()
    return hut.folder / "xdg"


@pytest.fixture
def hut(deployment: Deployment, targets: Path, tmp_path: Path) -> Iterator[RemoteHut]:
    """hutctl with the deployment as its target; what it left is ended and forgotten."""
    it = RemoteHut(tmp_path, {"XDG_CONFIG_HOME": str(targets)}, deployment=deployment)
    it.empty_home()
    yield it
    calm(it)


def calm(hut: RemoteHut) -> None:
    """End what a test disturbed and what it left running."""
    bed = hut.bed
    hut.go()
    bed.hook("events/lose", {"source": "aws.batch", "share": 0})
    bed.hook("events/lose", {"source": "aws.states", "share": 0})
    bed.hook("faults/clear", {})
    bed.hook("batch/timeouts", {"scale": 1})
    bed.hook("batch/slots", {"jobs": _SLOTS})
    for run in _active_runs(hut):
        hut.call("POST", f"/runs/{run['id']}/cancel")
    for job in bed.hook("batch/jobs", {"active": True})["jobs"]:
        with contextlib.suppress(ValueError):  # it has ended meanwhile
            hut.force(job, "FAILED", statusReason="hut: cancelled")
    until(lambda: not bed.hook("batch/jobs", {"active": True})["jobs"], "the jobs of a test ended")
    until(lambda: not (_active_runs(hut) and hut.sweep()), "the runs of a test ended", 240)


def _active_runs(hut: RemoteHut) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hut.get("/runs", state="pending,running", limit=100).document
    return found
