"""Reads what one attempt printed out of the log stream of its worker's session; see `hut.pools.logs`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hut.backends.job_logs import events_page
from hut.backends.markers import Markers, content_of, left_by, without_markers
from hut.backends.port import LogPage
from hut.lifecycle.task_program import Left
from hut.pools.logs import LogName, parse, read_event

__all__ = ["AttemptLogs"]

_MOST_EVENTS = 10_000
_MOST_EMPTY_PAGES = 20
_EARLIER = 1000  # milliseconds a worker's clock may have been set back
_END = "end"


class AttemptLogs:
    """The logs of one pool.

    Parameters
    ----------
    client
        Of boto3 or botocore, for CloudWatch Logs.
    group
        Of all of them.
    """

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._group = group

    def read(self, name: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page, without the lines that are for Hut only.

        An event is whole lines, and there may be more of them than were asked for: it is read as a
        whole. At the end of what there is, the page is empty and the cursor stays what it was.

        Raises
        ------
        UnknownCursor
            If the cursor is none of this stream, or older than a day.
        """
        log = parse(name)
        if log is None or cursor == _END:
            return LogPage("", cursor)
        for _ in range(_MOST_EMPTY_PAGES):
            answer = self._page(log, cursor, min(limit, _MOST_EVENTS))
            if answer is None:
                return LogPage("", None)
            text, is_over = self._text(log, answer)
            before, cursor = cursor, str(answer["nextForwardToken"])
            if is_over:
                return LogPage(text, _END)
            if text or before == cursor:
                return LogPage(text, cursor)
        return LogPage("", cursor)

    def generated(self, name: str, nonce: str, source: str) -> str | None:
        """Return the file that an attempt copied into its log, or None if not all of it is there (yet).

        Raises
        ------
        InvalidInput
            If the attempt found no such file, or what is in the log can't be used.
        """
        markers = Markers(nonce)
        for line in self._lines(name):
            markers.feed(line)
        return content_of(markers, source)

    def left(self, name: str, nonce: str) -> tuple[Left, bool]:
        """Return the files that a task program left, with the end of its log; say if both are told of."""
        output, error = Markers(nonce, "output"), Markers(nonce, "error")
        return left_by(self._lines(name), output, error)

    def _lines(self, name: str) -> Iterator[str]:
        log, cursor = parse(name), None
        while log is not None and (answer := self._page(log, cursor, _MOST_EVENTS)) is not None:
            for found in self._events(log, answer):
                yield from found.text.splitlines()
                if found.is_last:
                    return
            if answer["nextForwardToken"] == cursor:
                return
            cursor = str(answer["nextForwardToken"])

    def _text(self, log: LogName, answer: dict[str, Any]) -> tuple[str, bool]:
        texts: list[str] = []
        is_over = False
        for found in self._events(log, answer):
            for line in found.text.split("\n")[:-1]:
                shown = without_markers(line)
                if shown is not None:
                    texts.append(f"{shown}\n")
            is_over = is_over or found.is_last
        return "".join(texts), is_over

    @staticmethod
    def _events(log: LogName, answer: dict[str, Any]) -> Iterator[Any]:
        """Yield the events of an attempt; those of others stand between them."""
        for event in answer["events"]:
            found = read_event(event["message"])
            if found is not None and found.id == log.id:
                text = (
                    found.text if found.text.endswith("\n") or not found.text else f"{found.text}\n"
                )
                yield found._replace(text=text)

    def _page(self, log: LogName, cursor: str | None, limit: int) -> dict[str, Any] | None:
        """Return an answer of GetLogEvents, or None if there is no such stream (yet)."""
        return events_page(
            self._client,
            cursor,
            logGroupName=self._group,
            logStreamName=log.stream,
            startTime=max(log.since - _EARLIER, 0),
            startFromHead=True,
            limit=limit,
        )
