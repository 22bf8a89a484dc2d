"""Which child of an array job, or task of a bundle, is which attempt, and which images get only small arrays.

An array's item is written before its job is submitted and never changes: whoever meets a child (an
event, the sweep) finds the attempt it is. What dies between the two leaves an item that no job has;
the sweep gives the claims back and the item expires with the run.

An image that could not fetch its array's table is remembered for some days, so that one that was
mended under the same name is tried again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.keys import array_key, image_key
from hut.store.dynamodb.table import Condition, Pages, Table
from hut.store.dynamodb.values import Item
from hut.store.events import Bundle
from hut.store.port import AttemptKey

__all__ = ["Arrays", "TableImages"]

_KEPT = 32  # arrays of 10,000 are a few hundred KB each in memory
_ASKED_AGAIN = 300.0
_REMEMBERED = 7 * 86400.0
_NEW = Condition("attribute_not_exists(#pk)")


class _Known(NamedTuple):
    keys: Sequence[AttemptKey]
    of_bundle: tuple[str, int] | None


class Arrays:
    """The arrays of all runs.

    Parameters
    ----------
    table, bodies
        Where items and large texts are.
    """

    def __init__(self, table: Table, bodies: Bodies) -> None:
        self._table = table
        self._bodies = bodies
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    def keep(
        self,
        run_id: str,
        array: str,
        keys: Sequence[AttemptKey],
        ttl: int,
        of_bundle: tuple[str, int] | None = None,
    ) -> None:
        """Store which attempts are the children of an array, the first one first.

        Parameters
        ----------
        of_bundle
            Nonce and slots, if one job runs them.

        Raises
        ------
        Lost
            If there is an array of this id.
        """
        key = array_key(run_id, array)
        body = self._bodies.pack(run_id, json.dumps(keys, separators=(",", ":")))
        item = {"pk": key.pk, "sk": key.sk, "kind": "array", "ttl": ttl, **body}
        if of_bundle is not None:
            item |= {"nonce": of_bundle[0], "slots": of_bundle[1]}
        self._table.put(item, _NEW)
        self._remember(run_id, array, _Known(keys, of_bundle))

    def get(self, run_id: str, array: str) -> Sequence[AttemptKey] | None:
        """Return the attempts that are the children of an array; None if it is not known."""
        known = self._get(run_id, array)
        return None if known is None else known.keys

    def bundle(self, run_id: str, array: str) -> Bundle | None:
        """Return what is known of a bundle."""
        known = self._get(run_id, array)
        if known is None or known.of_bundle is None:
            return None
        return Bundle(known.keys, *known.of_bundle)

    def _get(self, run_id: str, array: str) -> _Known | None:
        known = self._known.get((run_id, array))
        if known is not None:
            return known
        item = self._table.get(array_key(run_id, array))
        if item is None:
            return None
        nonce = item.get("nonce")
        known = _Known(self._keys(item), None if nonce is None else (nonce, int(item["slots"])))
        self._remember(run_id, array, known)
        return known

    def of_run(self, run_id: str) -> dict[str, Sequence[AttemptKey]]:
        """Return all arrays of a run. For a run with lost claims, not for every sweep."""
        first = array_key(run_id, "")
        return {
            item["sk"].removeprefix(first.sk): self._keys(item)
            for item in self._table.query(Pages(first.pk, first.sk))
        }

    def _keys(self, item: Item) -> list[AttemptKey]:
        entries = json.loads(self._bodies.unpack(item))
        return [AttemptKey(*key[: len(AttemptKey._fields)]) for key in entries]

    def _remember(self, run_id: str, array: str, known: _Known) -> None:
        self._known[run_id, array] = known
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


class TableImages:
    """Implements `hut.backends.batch.images.Images` in the table.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, table: Table, *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock
        self._seen: dict[str, tuple[bool, float]] = {}

    def can_fetch(self, image: str) -> bool:
        """Say whether the image has what it takes to fetch a file; asked of the table now and then."""
        known = self._seen.get(image)
        now = self._clock()
        if known is None or now - known[1] > _ASKED_AGAIN:
            item = self._table.get(image_key(_digest(image)))
            known = (item is None or float(item["ttl"]) < now, now)
            self._seen[image] = known
        return known[0]

    def cannot_fetch(self, image: str) -> None:
        """Note that it has not; the same the second time."""
        now = self._clock()
        if self._seen.get(image, (True, 0.0))[0]:
            key = image_key(_digest(image))
            ttl = int(now + _REMEMBERED)
            self._table.put(
                {"pk": key.pk, "sk": key.sk, "kind": "image", "image": image, "ttl": ttl}
            )
        self._seen[image] = (False, now)


def _digest(image: str) -> str:
    return hashlib.sha256(image.encode()).hexdigest()[:32]
