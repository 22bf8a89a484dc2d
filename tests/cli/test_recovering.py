"""`hutctl recover` where there is nothing to recover; the drills with it are in tests/e2e."""

from __future__ import annotations

import pytest

from tests.hutctl_process import Hut


@pytest.mark.parametrize("step", ["pause", "resume", "restore t", "check"])
def test_a_machine_has_nothing_to_recover(hut: Hut, step: str) -> None:
    said = hut("recover", *step.split(), exit_code=2).stderr
    assert "for control planes in AWS" in said
    assert "--target NAME" in said


def test_the_table_that_was_restored_is_named(hut: Hut) -> None:
    assert "TABLE" in hut("recover", "restore", exit_code=2).stderr
