"""What an applied configuration may choose of a pool of workers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hut.backends.entries import faults_of
from hut.backends.workers.options import read_options
from hut.model.problems import Problem

__all__ = ["FROZEN", "LIVE", "read_options", "refine"]

LIVE = ("max_concurrent", "bundle", "scheduler")
"""What follows the configuration, for all runs at once: workers and tasks of all of them meet in a pool."""

FROZEN = ()
"""What each run keeps."""


def refine(
    entry: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem], list[str]]:
    """Return the refinement an entry of ``backends`` stands for, its problems, and notes on it.

    Parameters
    ----------
    entry
        As `hut.model.applied` keeps it, of type ``workers``.
    base
        The entry of ``HUT_BACKENDS`` that it refines.
    """
    found: dict[str, Any] = {"name": entry["name"], "type": "workers"}
    found |= {name: entry[name] for name in LIVE if entry.get(name) is not None}
    if not isinstance(found.get("scheduler"), Mapping):
        found.pop("scheduler", None)  # its name: whoever knows the entry of that name puts it here
    problems = faults_of(read_options, {**base, **found})
    notes = []
    if entry["name"] not in (base.get("bells") or {}):
        notes.append(
            f"pool {entry['name']!r} has no queue that rings: its workers look every few seconds. Name "
            "it in hut:pools of the CDK context and deploy again, and it has one"
        )
    return found, problems, notes
