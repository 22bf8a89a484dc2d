"""The app, synthesized once per process with the settings most people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.synthesis import Synthesis, synthesize


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in place of the bundle: synthesis only needs one."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "handlers").mkdir()
    (folder / "handlers" / "api.py").write_text("")
    return folder


@pytest.fixture(scope="session")
def default(code: Path) -> Synthesis:
    return synthesize(code)


@pytest.fixture(scope="session")
def disposable(code: Path) -> Synthesis:
    """What a test bed gets."""
    return synthesize(code, {"removal": "destroy", "prefix": "lab"})


QUEUE_ARN = "arn:aws:batch:eu-west-1:123456789012:job-queue/mine"


@pytest.fixture(scope="session")
def borrowed(code: Path) -> Synthesis:
    """Everything about jobs exists already."""
    return synthesize(
        code,
        {
            "region": "eu-west-1",
            "account": "123456789012",
            "queues": {"main": {"arn": QUEUE_ARN, "platform": "EC2"}},
            "default_partition": "main",
            "job_role_arn": "arn:aws:iam::123456789012:role/job",
            "execution_role_arn": "arn:aws:iam::123456789012:role/pull",
            "reserve_sweep": False,
            "api_log_role": False,
        },
    )
