"""Reads a log from any byte on, over an API whose pages are named by opaque cursors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from hut.store.port import StoreError
from hutctl.client import Document, LogPart

__all__ = ["RemoteLog"]

_MOST_PAGES = 40
_EMPTY_PAGES = 5  # CloudWatch may answer with a page of nothing, and go on behind it


class RemoteLog:
    """The log of one attempt. Only where pages begin is kept, not what is in them.

    Parameters
    ----------
    fetch
        Returns the page at a cursor (None: the first) of an attempt (None: the latest).
    attempt
        Whose log; None for the latest there is at the first look.
    """

    def __init__(
        self, fetch: Callable[[str | None, int | None], Document], attempt: int | None
    ) -> None:
        self._fetch = fetch
        self.attempt = attempt
        self._starts = [0]
        self._cursors: list[str | None] = [None]

    def read(self, offset: int) -> LogPart:
        """Return a piece from a byte on; a negative offset counts from the end."""
        if offset < 0:
            return self._tail(-offset)
        empty = 0
        while True:
            place = bisect_right(self._starts, offset) - 1
            part, following = self._page(place)
            part = _from(part, offset - self._starts[place])
            if part.content or not following:
                return part
            empty += 1
            if empty > _EMPTY_PAGES:
                return part

    def _page(self, place: int) -> tuple[LogPart, bool]:
        """Return a whole page, and whether another one is known to begin behind it."""
        cursor = self._cursors[place]
        page = self._fetch(cursor, self.attempt)
        number = int(page["attempt"])
        if self.attempt is None and number:
            self.attempt = number
        content = str(page["content"]).encode(errors="replace")
        following = page["cursor"]
        new = following is not None and following != cursor
        if new:
            # A page of a log that still grows may be longer now than at the last look.
            del self._starts[place + 1 :], self._cursors[place + 1 :]
            if content:
                self._starts.append(self._starts[place] + len(content))
                self._cursors.append(following)
            else:
                self._cursors[place] = following
        ended = bool(page["ended"]) and not new
        return LogPart(number, content, ended, merged=bool(page.get("merged"))), new

    def _tail(self, count: int) -> LogPart:
        """Return the last bytes.

        Raises
        ------
        StoreError
            If the log is too long to be read for its end.
        """
        kept, empty = b"", 0
        for _ in range(_MOST_PAGES):
            part, following = self._page(len(self._starts) - 1)
            kept = (kept + part.content)[-count:]
            empty = 0 if part.content else empty + 1
            if not following or empty > _EMPTY_PAGES:
                return LogPart(part.attempt, kept, part.ended, part.merged)
        raise StoreError("the log is too long to show its end here; read it with: hutctl logs")


def _from(part: LogPart, skipped: int) -> LogPart:
    return LogPart(part.attempt, part.content[skipped:], part.ended, part.merged)
