"""What backends said that would not take a run's jobs, in the run's own item.

The item is written anyway when claims are given back, and when handles are noted, so a refusal costs
no request of its own. It is bounded, because the item is part of every change of the run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from hut.model.records import Refusal
from hut.store.dynamodb.values import Item
from hut.store.events import Destination

__all__ = ["forget_refusals", "note_refusals", "refusals_of"]

_MOST = 4  # places; the newest ones
_MOST_SAID = 300  # characters
_GAP = 1800.0  # seconds without a refusal, after which the next one is another story


def refusals_of(meta: Item) -> tuple[Refusal, ...]:
    """Return what is kept, the newest last."""
    entries = json.loads(meta.get("refused", "[]"))
    return tuple(Refusal(*entry[: len(Refusal._fields)]) for entry in entries)


def note_refusals(meta: Item, refusals: Sequence[Refusal]) -> None:
    """Keep what was said last of each place, and since when it is refused."""
    if not refusals:
        return
    kept = {(entry.backend, entry.partition): entry for entry in refusals_of(meta)}
    for refusal in refusals:
        before = kept.pop((refusal.backend, refusal.partition), None)
        since = refusal.since
        if before is not None and refusal.at - before.at < _GAP:
            since = min(since, before.since)
        kept[refusal.backend, refusal.partition] = refusal._replace(
            said=refusal.said[:_MOST_SAID], since=since
        )
    _keep(meta, list(kept.values())[-_MOST:])


def forget_refusals(meta: Item, accepted: Collection[Destination]) -> bool:
    """Forget refusals of places that took a job since; say if there were any."""
    before = refusals_of(meta)
    left = [entry for entry in before if (entry.backend, entry.partition) not in accepted]
    if len(left) == len(before):
        return False
    _keep(meta, left)
    return True


def _keep(meta: Item, refusals: Sequence[Refusal]) -> None:
    if refusals:
        meta["refused"] = json.dumps(refusals, ensure_ascii=False, separators=(",", ":"))
    else:
        meta.pop("refused", None)
