"""Every right that the templates give is one that a person has reviewed, with a reason, in one file.

The file is `tests/access/roles.md`; ``python -m tests.access.renew`` writes it anew.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

import pytest

from tests.access import roles
from tests.access.renew import current
from tests.infra.synthesis import Synthesis


def test_roles_may_do_what_was_reviewed_and_nothing_else(code: Path) -> None:
    reviewed = roles.read_file().splitlines()
    now = current(code).splitlines()
    difference = difflib.unified_diff(reviewed, now, "reviewed", "templates", lineterm="", n=1)
    if told := "\n".join(difference):
        pytest.fail(
            f"review what changed, then: python -m tests.access.renew\n{told}", pytrace=False
        )


def test_every_right_has_a_reason() -> None:
    reasons = roles.known_reasons(roles.read_file())
    assert reasons
    missing = [key for key, why in reasons.items() if not why or roles.UNREVIEWED in why]
    assert not missing


def test_a_new_or_wider_right_needs_a_reason_of_its_own(default: Synthesis) -> None:
    found = roles.rows_of(default)
    reasons = roles.known_reasons(roles.read_file())
    assert roles.render({"as it is": found}, reasons).count(roles.UNREVIEWED) == 1  # in the head
    some = next(row for row in found if row.may == ("batch:TerminateJob",))
    for wider in (
        dataclasses.replace(some, may=("batch:CancelJob", "batch:TerminateJob")),
        dataclasses.replace(some, on=("*",)),
        dataclasses.replace(some, role="HutControl/FinishRole"),
        dataclasses.replace(some, condition="StringEquals aws:ResourceTag/a b"),
    ):
        text = roles.render({"as it is": {*found, wider}}, reasons)
        [line] = [each for each in text.splitlines() if each.endswith(f"| {roles.UNREVIEWED} |")]
        assert wider.on[0] in line


def test_every_role_of_the_templates_is_in_the_file(default: Synthesis) -> None:
    named = {row.role for row in roles.rows_of(default)}
    every = {name.rstrip("0123456789ABCDEF") for name in default.resources("AWS::IAM::Role")}
    assert every <= named
    assert len(every) == 15


def test_wildcards_are_explained_where_they_stand(default: Synthesis) -> None:
    """A right on a pattern says why no narrower one holds."""
    reasons = roles.known_reasons(roles.read_file())
    for row in roles.rows_of(default):
        if any("*" in each for each in row.on) and not row.may[0].startswith("NOT "):
            assert len(reasons[row.key]) > 25, row
