"""Queues of SQS around a pool: one that rings for its workers, one that tells of ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from hut.backends.port import Job
from hut.backends.workers.outcomes import message_of

__all__ = ["Bell", "News", "QueueBell", "QueueNews"]

_OF_ONE_CALL = 10
_MOST_RINGS = 100
_OF_ONE_MESSAGE = 200  # jobs; a message has 256 KiB at most


class Bell(Protocol):
    """Lets workers know that something waits. It may not be heard: they also come by themselves."""

    def ring(self, times: int) -> None:
        """Ring for so many items."""


class News(Protocol):
    """Tells the control plane of ends."""

    def tell(self, jobs: Sequence[Job]) -> None:
        """Tell of jobs that have ended."""


class QueueBell:
    """Implements `Bell`; without a queue, nothing rings.

    Parameters
    ----------
    client
        Of SQS.
    url
        Of the pool's queue.
    """

    def __init__(self, client: Any, url: str | None) -> None:
        self._client = client
        self._url = url

    def ring(self, times: int) -> None:
        """Send a message for each item; one that is not sent costs a worker's time of looking."""
        if self._url is None:
            return
        entries = [
            {"Id": str(number), "MessageBody": "{}"} for number in range(min(times, _MOST_RINGS))
        ]
        try:
            for some in _in_chunks(entries, _OF_ONE_CALL):
                self._client.send_message_batch(QueueUrl=self._url, Entries=some)
        except (ClientError, BotoCoreError):
            return  # the item waits in the pool all the same


class QueueNews:
    """Implements `News` over the queue of events.

    Parameters
    ----------
    client
        Of SQS.
    url
        Of the queue that the function ``observe`` reads.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def tell(self, jobs: Sequence[Job]) -> None:
        """Send messages; what can't be sent raises, and is for the sweep to find."""
        for some in _in_chunks(jobs, _OF_ONE_MESSAGE):
            body = json.dumps(message_of(some), ensure_ascii=False, separators=(",", ":"))
            self._client.send_message(QueueUrl=self._url, MessageBody=body)


def _in_chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
