"""The table's stream and the mapping that brings it to `advance`: in order by partition, at least once."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hut.store.dynamodb.log import told
from tests.simulation.functions import Result

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["BATCH", "RETRIES", "Record", "Stream"]

_SHARDS = 2
BATCH = 100
RETRIES = 20
_LATENCY = 0.1


@dataclass(eq=False)
class Record:
    """A change of an item that passes the mapping's filter."""

    number: int
    image: dict[str, Any]
    at: float


@dataclass(eq=False)
class _Shard:
    records: list[Record] = field(default_factory=list)
    next: int = 0
    tries: int = 0
    most: int = BATCH
    busy: bool = False
    polled: bool = False


class Stream:
    """The stream of a table.

    Attributes
    ----------
    acknowledged : callable
        Told of each record that is about to be passed.
    given_up : list of Record
        What was tried too often; it goes to the dead letters.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._shards = [_Shard() for _ in range(_SHARDS)]
        self._numbers = 0
        self.acknowledged: Callable[[Record], None] = lambda _: None
        self.given_up: list[Record] = []

    def changed(self, partition: str, image: dict[str, Any] | None) -> None:
        """Take in the new image of an item."""
        if image is None or told(image) is None:
            return
        self._numbers += 1
        shard = self._shards[zlib.crc32(partition.encode()) % _SHARDS]
        shard.records.append(Record(self._numbers, image, self._world.agenda.now))
        self._soon(shard)

    def behind(self) -> int:
        """Return how many records nobody has taken yet."""
        return sum(len(shard.records) - shard.next for shard in self._shards)

    def _soon(self, shard: _Shard, seconds: float = _LATENCY) -> None:
        if not shard.polled:
            shard.polled = True
            late = self._world.faults_now().late / 10
            label = f"stream {shard.next} {shard.tries} {len(shard.records)}"
            pause = self._world.chance.between(label, seconds, seconds + late)
            self._world.agenda.after(pause, partial(self._poll, shard))

    def _poll(self, shard: _Shard) -> None:
        shard.polled = False
        if shard.busy or shard.next >= len(shard.records):
            return
        if not self._world.functions.has_room("advance"):
            self._soon(shard, 0.5)
            return
        some = shard.records[shard.next : shard.next + shard.most]
        shard.busy = True
        event = {"Records": [_event(record) for record in some]}
        self._world.functions.invoke(
            "advance", event, lambda result: self._done(shard, some, result)
        )

    def _done(self, shard: _Shard, some: Sequence[Record], result: Result) -> None:
        """Go on behind what was taken: up to the first that failed; halve a batch that died."""
        shard.busy = False
        taken = 0
        if not result.error:
            failed = {each["itemIdentifier"] for each in result.answer["batchItemFailures"]}
            numbers = [str(record.number) for record in some]
            places = [place for place, number in enumerate(numbers) if number in failed]
            taken = min(places, default=len(some))
        label = f"stream from {some[0].number} try {shard.tries}"
        if taken and self._world.chance.fault("repeated", label, self._world.faults_now().repeated):
            taken = 0  # it was not noted how far it came
        elif taken:
            for record in some[:taken]:
                self.acknowledged(record)
        if taken:
            shard.next += taken
            shard.tries, shard.most = 0, BATCH
        elif result.error and len(some) > 1:
            shard.most = (len(some) + 1) // 2
        else:
            shard.tries += 1
            if shard.tries > RETRIES:
                self.given_up.append(some[0])
                self._world.history.note("stream", f"gives up {some[0].number}")
                shard.next, shard.tries, shard.most = shard.next + 1, 0, BATCH
        if shard.next < len(shard.records):
            self._soon(shard, min(0.1 * 2**shard.tries, 60.0))


def _event(record: Record) -> dict[str, Any]:
    return {
        "eventSource": "aws:dynamodb",
        "eventName": "INSERT",
        "dynamodb": {
            "ApproximateCreationDateTime": record.at,
            "SequenceNumber": str(record.number),
            "NewImage": json.loads(json.dumps(record.image, default=_as_text)),
        },
    }


def _as_text(value: object) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(type(value).__name__)
