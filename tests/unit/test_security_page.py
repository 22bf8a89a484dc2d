"""docs/security.md: the tests and places it names are there, and every border has a test."""

import re
from pathlib import Path

from tests.access.tables import rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_the_tests_it_names_are_there():
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_every_border_is_held_by_a_test():
    borders = [row for row in rows(PAGE) if "border" in row]
    assert len(borders) > 20
    for row in borders:
        assert NAMED.search(row["held by"]), row["border"]


def test_the_places_it_names_are_there():
    for path in re.findall(r"`((?:cli|docs|infra|lambdas|tests)/[\w./]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path


def test_it_names_each_caller_of_the_reviewed_table():
    for caller in ("unsigned", "nobody", "reader", "submitter", "admin", "other account"):
        assert caller in PAGE
