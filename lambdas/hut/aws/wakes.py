"""Wake messages: a run is looked at again, at once or after a while."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["WakeQueue"]

_LONGEST = 900  # seconds; what SQS delays a message at most


class WakeQueue:
    """Implements `hut.service.ports.Wakes`.

    Parameters
    ----------
    client
        An SQS client.
    url
        The queue.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def wake(self, run_id: str, delay: float = 0.0, ended: Sequence[int] = ()) -> None:
        """Have a run advanced after some seconds, at most a quarter of an hour."""
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=json.dumps({"run": run_id, "ended": list(ended)}),
            DelaySeconds=min(_LONGEST, max(0, math.ceil(delay))),
        )
