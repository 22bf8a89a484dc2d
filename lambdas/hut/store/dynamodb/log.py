"""The change log, which is the outbox too: what changed, in the transaction that changed it.

Each change of a run leaves one item with its transitions. The table's stream carries it to `advance`,
through a filter that lets only those pass that somebody must act on: `ENDED` says how many tasks have
ended, `SIGNALS` what else there is to do. So claims, handles and starts call nobody.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hut.model.records import Change
from hut.model.states import TERMINAL, TaskState, read_reason
from hut.store.dynamodb.columns import read_columns, write_columns
from hut.store.dynamodb.keys import log_key
from hut.store.dynamodb.values import Item

__all__ = ["ENDED", "LOG", "SIGNALS", "Entry", "Told", "changes_of", "log_item", "told"]

LOG = "log"
"""The ``kind`` of these items."""

ENDED = "ended"
"""Attribute: how many transitions are ends of tasks (a number); absent if none is."""

SIGNALS = "signals"
"""Attribute: what else there is to do (words, in a text); absent if nothing is."""

_FIELDS = ("at", "position", "id", "attempt", "state", "reason", "code")
_TIMES = ("at",)


class Entry(NamedTuple):
    """One transition, before it is written."""

    at: float
    position: int
    id: str
    attempt: int
    state: str
    reason: str | None
    code: int | None


class Told(NamedTuple):
    """What the stream tells of a run.

    Attributes
    ----------
    ended : tuple of int
        Positions of tasks that have ended for good, or whose attempt has and is to be repeated.
    signalled : bool
        Whether to look at all of the run.
    """

    run_id: str
    ended: tuple[int, ...]
    signalled: bool


def log_item(
    run_id: str,
    number: int,
    entries: Sequence[Entry],
    signals: Sequence[str],
    ttl: int | None,
    *,
    done: Sequence[int] = (),
) -> Item:
    """Return the item of one change.

    Parameters
    ----------
    done
        Positions of tasks that completed without an entry, in a run that records failures only: what
        follows from their ends has to be done all the same.
    """
    key = log_key(run_id, number)
    item = {"pk": key.pk, "sk": key.sk, "kind": LOG, "run": run_id, "number": number, "ttl": ttl}
    if entries:
        item["entries"] = write_columns([e._asdict() for e in entries], _FIELDS, _TIMES)
    item["done"] = " ".join(map(str, done)) or None
    ended = sum(TaskState(entry.state) in TERMINAL for entry in entries)
    item[ENDED] = ended + len(done) or None
    item[SIGNALS] = " ".join(dict.fromkeys(signals)) or None
    return item


def changes_of(item: Item) -> list[Change]:
    """Return the transitions of one item."""
    return [
        Change(
            row["at"],
            row["position"],
            row["id"],
            row["attempt"],
            TaskState(row["state"]),
            read_reason(row.get("reason")),
            row.get("code"),
        )
        for row in _rows(item.get("entries"))
    ]


def told(image: Mapping[str, Mapping[str, Any]]) -> Told | None:
    """Return what an item tells, as the stream shows it; None if it is nothing to act on."""
    if image.get("kind", {}).get("S") != LOG or not (ENDED in image or SIGNALS in image):
        return None
    data = image.get("entries", {}).get("B")
    if isinstance(data, str):  # as events of Lambda carry it
        data = base64.b64decode(data)
    ended = tuple(row["position"] for row in _rows(data) if _is_end(row))
    done = tuple(map(int, image.get("done", {}).get("S", "").split()))
    return Told(image["run"]["S"], ended + done, SIGNALS in image)


def _is_end(row: Mapping[str, Any]) -> bool:
    """Say whether a transition is the end of a task, or of an attempt that is repeated."""
    repeated = row["state"] == TaskState.PENDING and row.get("reason") is not None
    return repeated or row["state"] in TERMINAL


def _rows(data: bytes | None) -> list[dict[str, Any]]:
    return [] if data is None else read_columns(data, _TIMES)
