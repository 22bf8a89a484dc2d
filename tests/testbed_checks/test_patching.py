"""A change of an emulator that has changed itself is noticed."""

from __future__ import annotations

import types

import pytest

from tests.testbed.patching import replace, replace_entry, replace_text, require


def test_what_is_replaced_must_be_there() -> None:
    emulator = types.ModuleType("emulator")
    emulator.__dict__.update(here=1)
    assert replace(emulator, "here", 2) == 1
    assert emulator.__dict__["here"] == 2
    require(emulator, "here")
    for change in (
        lambda: replace(emulator, "gone", 2),
        lambda: require(emulator, "here", "gone"),
        lambda: replace_entry({}, "gone", 2),
        lambda: replace_text("one two two", "two", "three"),
    ):
        with pytest.raises(AssertionError, match="the emulator changed"):
            change()
