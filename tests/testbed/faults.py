"""Make requests fail, late or early, to see what becomes of them. All of this is ours.

``POST /_hut/faults`` with {"service", "operation", "code", "message", "status", "times",
"share", "after", "delay", "body"}: the next `times` requests (of the `share` that is chosen at
random) are answered with an error, before the service sees them or - with `after` - once it
has done what was asked. Without a code they are only slow. ``POST /_hut/faults/clear`` ends it.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset

_lock = threading.Lock()


@dataclass
class Fault:
    """What happens to the requests of an operation (``*``: of all operations)."""

    service: str
    operation: str = "*"
    code: str | None = None
    message: str = "made to fail by a test"
    status: int = 400
    times: int = 1
    share: float = 1.0
    after: bool = False
    delay: float = 0.0
    body: dict[str, Any] = field(default_factory=dict)

    async def answer(self, service: str) -> Any:
        """Wait, and return the error to answer with (None: only wait)."""
        await asyncio.sleep(self.delay)
        if self.code is None:
            return None
        if service == "s3":
            text = f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
            body = f'<?xml version="1.0" encoding="UTF-8"?><Error>{text}</Error>'
            return self.status, {"Content-Type": "application/xml"}, body.encode()
        document = {"__type": self.code, "message": self.message, **self.body}
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": self.code}
        return self.status, headers, json.dumps(document).encode()


_faults: list[Fault] = []


def install() -> None:
    on_reset.append(_faults.clear)


def find_fault(service: str, operation: str) -> Fault | None:
    """Return the fault that meets a request, and count it."""
    with _lock:
        for fault in _faults:
            if fault.service != service or fault.operation not in ("*", operation):
                continue
            if random.random() < fault.share:
                fault.times -= 1
                if fault.times <= 0:
                    _faults.remove(fault)
                return fault
    return None


@hook("POST", "faults")
def _add(body: dict[str, Any]) -> dict[str, Any]:
    with _lock:
        _faults.append(Fault(**body))
    return {}


@hook("POST", "faults/clear")
def _clear(_: dict[str, Any]) -> dict[str, Any]:
    with _lock:
        left = [vars(fault) for fault in _faults]
        _faults.clear()
    return {"left": left}
