"""Simulated CloudWatch Logs, called as its client: what jobs print, read page by page.

Lines are shown some time after they were written, and there may be empty pages between others, where
a test says so ("GetLogEvents" in the API reference: "you may receive an empty result set").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.refusing import refusal_of

__all__ = ["SimulatedLogs"]

_PAGE = 1 << 20  # bytes of one answer
_OVERHEAD = 26  # bytes that count for every event
_LONGEST = 262_118  # bytes of one event; the awslogs driver splits longer lines
_MOST = 10_000
_TOKEN_SECONDS = 86_400.0


@dataclass(slots=True)
class _Stream:
    events: list[dict[str, Any]] = field(default_factory=list)
    shown_at: list[float] = field(default_factory=list)  # never falls


class SimulatedLogs:
    """See the module's docstring.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    lag
        Seconds until a line of a stream is shown.
    is_empty
        Says for a stream whether the page that is asked for now comes without any lines.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        lag: Callable[[str], float] = lambda _: 0.0,
        is_empty: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._clock = clock
        self._lag = lag
        self._is_empty = is_empty
        self._groups: dict[str, dict[str, _Stream]] = {}

    def create_log_group(self, **given: Any) -> dict[str, Any]:
        if given["logGroupName"] in self._groups:
            raise refusal_of(
                "CreateLogGroup",
                "ResourceAlreadyExistsException",
                "The specified log group already exists",
            )
        self._groups[given["logGroupName"]] = {}
        return {}

    def get_log_events(self, **given: Any) -> dict[str, Any]:
        group = self._groups.get(given["logGroupName"])
        if group is None:
            raise _refused("ResourceNotFoundException", "The specified log group does not exist.")
        name = given["logStreamName"]
        if name not in group:
            raise _refused("ResourceNotFoundException", "The specified log stream does not exist.")
        stream, now = group[name], self._clock()
        shown = bisect_right(stream.shown_at, now)
        most = min(given.get("limit") or _MOST, _MOST)
        token = given.get("nextToken")
        if token is None:
            is_forward, turn = bool(given.get("startFromHead")), 0
            at = 0 if is_forward else shown
        else:
            is_forward, at, turn = _read_token(token, name, now)
        if token is not None and self._is_empty(name):
            first = last = at
            turn += 1  # another token for the same place: it is not the end
        else:
            first, last = _page(stream.events, at, most, shown, is_forward=is_forward)
        made = int(now)
        answer = {
            "events": [dict(event) for event in stream.events[first:last]],
            "nextForwardToken": f"f/{name}/{made}/{last}/{turn}",
            "nextBackwardToken": f"b/{name}/{made}/{first}/{turn}",
        }
        if token is not None and first == last and token.endswith(f"/{turn}"):  # the end, for now
            answer["nextForwardToken" if is_forward else "nextBackwardToken"] = token
        return answer

    # What jobs do -------------------------------------------------------------------------------

    def has_group(self, group: str) -> bool:
        return group in self._groups

    def open(self, group: str, stream: str, *, make_group: bool = False) -> bool:
        """Make a stream as the awslogs driver does; say whether there is a group for it."""
        if make_group:
            self._groups.setdefault(group, {})
        if group not in self._groups:
            return False
        self._groups[group].setdefault(stream, _Stream())
        return True

    def write(self, group: str, stream: str, lines: Iterable[str]) -> None:
        """Add lines; empty ones are left out and long ones are split, as the awslogs driver does."""
        found, now = self._groups[group][stream], self._clock()
        stamp = int(now * 1000)
        for line in lines:
            text = line.encode()
            for start in range(0, len(text), _LONGEST):
                message = text[start : start + _LONGEST].decode(errors="replace")
                shown_at = now + self._lag(stream)
                if found.shown_at:
                    shown_at = max(shown_at, found.shown_at[-1])
                found.shown_at.append(shown_at)
                found.events.append(
                    {"timestamp": stamp, "message": message, "ingestionTime": stamp}
                )

    def lines(self, group: str, stream: str) -> list[str]:
        """Return all that was written, shown or not."""
        return [event["message"] for event in self._groups[group][stream].events]


def _page(
    events: list[dict[str, Any]], at: int, most: int, shown: int, *, is_forward: bool
) -> tuple[int, int]:
    """Return where a page begins and ends: as many events as fit, and at least one."""
    size = found = 0
    order = range(at, shown) if is_forward else range(at - 1, -1, -1)
    for index in order:
        size += len(events[index]["message"].encode()) + _OVERHEAD
        if found == most or (found and size > _PAGE):
            break
        found += 1
    return (at, at + found) if is_forward else (at - found, at)


def _read_token(token: str, name: str, now: float) -> tuple[bool, int, int]:
    """Return whether a token goes forward, from which event on, and how many pages were empty."""
    kind, _, rest = token.partition("/")
    parts = rest.rsplit("/", 3)
    if kind not in ("f", "b") or len(parts) != 4 or parts[0] != name:
        raise _refused("InvalidParameterException", "The specified nextToken is invalid.")
    if now - int(parts[1]) > _TOKEN_SECONDS:
        raise _refused("InvalidParameterException", "The specified nextToken is expired.")
    return kind == "f", int(parts[2]), int(parts[3])


def _refused(code: str, message: str) -> Exception:
    return refusal_of("GetLogEvents", code, message)
