"""hutctl with credentials of its own, and a fake of AWS it talks to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hutctl_process import Hut
from tests.remote.fake_aws import KEY, REGION, SECRET, FakeAws


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    """The fake; every request it got must have been signed rightly."""
    fake = FakeAws()
    yield fake
    fake.stop()
    assert fake.faults == []


@pytest.fixture
def bare(tmp_path: Path, aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> Hut:
    """hutctl without a target and without credentials."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "HUT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    environment = {
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_CLOUDFORMATION": aws.host,
        "AWS_ENDPOINT_URL_STS": aws.host,
        "AWS_MAX_ATTEMPTS": "3",
    }
    return Hut(tmp_path, environment)


@pytest.fixture
def keyed(bare: Hut) -> Hut:
    """hutctl with credentials in its environment, without a target."""
    environment = {
        **bare.environment,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
    }
    return Hut(bare.folder, environment)


@pytest.fixture
def lab(keyed: Hut, aws: FakeAws) -> Hut:
    """hutctl whose commands go to the fake, as the target ``lab``."""
    add_target(keyed, aws.url)
    return keyed


def add_target(hut: Hut, url: str, **fields: str) -> None:
    """Write the file that ``hutctl target add`` and ``use`` write."""
    path = hut.folder / "xdg" / "hut" / "targets.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    target = {"url": url, "region": REGION, **fields}
    path.write_text(json.dumps({"current": "lab", "targets": {"lab": target}}))
