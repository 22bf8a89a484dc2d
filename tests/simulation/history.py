"""What happened in a simulated history, as lines a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

__all__ = ["History", "about"]


@dataclass(frozen=True, slots=True)
class _Line:
    at: float
    who: str
    what: str
    is_fault: bool


class History:
    """Lines with the second at which something happened and who did it.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    kept
        Lines are kept; else they only count for the digest.
    """

    def __init__(self, clock: Callable[[], float], *, kept: bool) -> None:
        self._clock = clock
        self._begin = clock()
        self._kept = kept
        self._lines: list[_Line] = []
        self._digest = blake2b(digest_size=8)

    def note(self, who: str, what: str, *, is_fault: bool = False) -> None:
        """Note what somebody did, or what happened to them."""
        self._digest.update(f"{self._clock():.6f} {who} {what}\n".encode())
        if self._kept:
            self._lines.append(_Line(self._clock() - self._begin, who, what, is_fault))

    @property
    def digest(self) -> str:
        """Digits that two histories share if they are the same, step by step."""
        return self._digest.hexdigest()

    def text(self, *, last: int | None = None) -> str:
        """Return the history, or its last lines; faults are marked."""
        lines = self._lines if last is None else self._lines[-last:]
        left_out = len(self._lines) - len(lines)
        head = [f"  ... {left_out:,} lines before"] if left_out else []
        wide = max((len(line.who) for line in lines), default=0)
        told = [
            f"{'!' if line.is_fault else ' '} {line.at:9.3f}  {line.who:<{wide}}  {line.what}"
            for line in lines
        ]
        return "\n".join([*head, *told])


def about(operation: str, arguments: Mapping[str, Any]) -> str:
    """Say what an AWS call is about, in a few words."""
    if "TransactItems" in arguments:
        items = [next(iter(entry.values())) for entry in arguments["TransactItems"]]
        keys = [_key(item.get("Item") or item.get("Key") or {}) for item in items]
        more = f" and {len(keys) - 6} more" if len(keys) > 6 else ""
        return f"{operation} {', '.join(keys[:6])}{more}"
    for name in ("Item", "Key"):
        if isinstance(arguments.get(name), Mapping):
            return f"{operation} {_key(arguments[name])}"
    if operation == "query":
        values = arguments.get("ExpressionAttributeValues", {})
        return f"query {next(iter(values.get(':pk', {'': '?'}).values()))}"
    if operation == "batch_get_item":
        (asked,) = arguments["RequestItems"].values()
        return f"batch_get_item of {len(asked['Keys'])}"
    if operation == "batch_write_item":
        (written,) = arguments["RequestItems"].values()
        return f"batch_write_item of {len(written)}"
    for name in ("jobName", "jobId", "name", "Key", "taskToken", "MessageBody", "arrayJobId"):
        if name in arguments:
            return f"{operation} {arguments[name]}"
    if "jobs" in arguments:
        return f"{operation} {' '.join(arguments['jobs'][:3])}"
    if "filters" in arguments:
        return f"{operation} {' '.join(arguments['filters'][0]['values'])}"
    return operation


def _key(item: Mapping[str, Any]) -> str:
    parts = (item.get(name, {}).get("S", "?") for name in ("pk", "sk"))
    return " ".join(parts)
