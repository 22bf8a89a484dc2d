"""Reads the log streams of jobs from CloudWatch Logs, page by page.

A job's log is named by its stream, and by its group too where the job tells it: job definitions of
somebody's own write where they like. What one task of a bundle printed is a block of the stream, and named by
`hut.backends.bundle_markers.block_log`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from hut.backends.bundle_markers import BLOCK, BlockLog, BundleMarkers, parse_block_log
from hut.backends.markers import Markers, content_of, left_by, without_markers
from hut.backends.port import LogPage, UnknownCursor
from hut.lifecycle.task_program import Left

__all__ = ["JobLogs", "events_page", "log_name"]

_MOST_EVENTS = 10_000
_MOST_EMPTY_PAGES = 100
_TAIL_EVENTS = 100
_BEFORE, _INSIDE, _BEHIND = "<=>"  # where in a bundle's log a cursor lies, beside the block


def log_name(group: str | None, stream: str | None) -> str | None:
    """Return the name of a job's log; neither groups nor streams hold a colon."""
    return stream if group is None or stream is None else f"{group}:{stream}"


class JobLogs:
    """The logs of one backend.

    Parameters
    ----------
    client
        Of boto3, for CloudWatch Logs.
    group
        Of logs that are named without one.
    """

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._group = group

    def read(self, name: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page, without the lines that are for Hut only.

        At the end of what there is, the page is empty and the cursor stays what it was. Empty
        pages in between, which CloudWatch has, are passed over.

        Raises
        ------
        UnknownCursor
            If the cursor is none of this stream, or older than a day.
        """
        block = parse_block_log(name)
        if block is not None:
            return self._read_block(block, cursor, limit)
        for _ in range(_MOST_EMPTY_PAGES):
            answer = self._page(name, cursor, min(limit, _MOST_EVENTS))
            if answer is None:
                return LogPage("", None)
            lines = (without_markers(event["message"]) for event in answer["events"])
            text = "".join(_with_end(line) for line in lines if line is not None)
            before, cursor = cursor, str(answer["nextForwardToken"])
            if text or before == cursor:
                return LogPage(text, cursor)
        return LogPage("", cursor)

    def _read_block(self, block: BlockLog, cursor: str | None, limit: int) -> LogPage:
        """Return a page of what one task of a bundle printed.

        The cursor is one of the stream, behind a sign: whether it lies before the block, in it or
        behind it.
        """
        where, token = _BEFORE, None
        if cursor is not None:
            where, token = cursor[:1], cursor[1:] or None
            if where not in (_BEFORE, _INSIDE, _BEHIND):
                raise UnknownCursor("this cursor does not belong to this log; read from the start")
        for _ in range(_MOST_EMPTY_PAGES):
            if where == _BEHIND:
                break
            most = _MOST_EVENTS if where == _BEFORE else min(limit, _MOST_EVENTS)
            answer = self._page(block.log, token, most)
            if answer is None:
                return LogPage("", cursor)
            lines = [event["message"] for event in answer["events"]]
            begin = _begin_of(block, lines) if where == _BEFORE else None
            if begin is not None and begin + 1 < len(lines):
                # Read again to where it begins: a cursor points behind whole pages only.
                answer = self._page(block.log, token, begin + 1) or answer
                begin = _begin_of(block, [event["message"] for event in answer["events"]])
            before, token = token, str(answer["nextForwardToken"])
            if begin is not None:
                where = _INSIDE
                continue
            text = ""
            if where == _INSIDE:
                text, where = _text_of(block, lines)
            if text or before == token:
                return LogPage(text, f"{where}{token}")
        return LogPage("", f"{where}{token or ''}")

    def bundle(self, name: str, nonce: str) -> BundleMarkers:
        """Return what a bundle says in its log; all of it is read only if its last words are missing."""
        markers = BundleMarkers(nonce)
        answer = self._page(name, None, _MOST_EVENTS, from_head=False)
        for event in answer["events"] if answer else ():
            markers.feed(event["message"])
        if answer is not None and not markers.is_whole:
            for line in self.all_lines(name):
                markers.feed(line)
        return markers

    def all_lines(self, name: str) -> Iterator[str]:
        """Yield every line of a stream, with those that are for Hut only."""
        cursor: str | None = None
        while (answer := self._page(name, cursor, _MOST_EVENTS)) is not None:
            for event in answer["events"]:
                yield event["message"]
            if answer["nextForwardToken"] == cursor:
                return
            cursor = answer["nextForwardToken"]

    def tail(self, name: str, markers: Markers) -> Markers:
        """Feed the last lines of a stream to `markers`: the launcher's word comes last."""
        answer = self._page(name, None, _TAIL_EVENTS, from_head=False)
        for event in answer["events"] if answer else ():
            markers.feed(event["message"])
        return markers

    def generated(self, name: str, nonce: str, source: str) -> str | None:
        """Return the file that a job copied into its log, or None if not all of it is there (yet).

        Parameters
        ----------
        nonce
            Of the attempt.
        source
            Path of the file, for messages.

        Raises
        ------
        InvalidInput
            If the job found no such file, or what is in the log can't be used.
        """
        markers = Markers(nonce)
        for line in self.all_lines(name):
            markers.feed(line)
        return content_of(markers, source)

    def left(self, name: str, nonce: str) -> tuple[Left, bool]:
        """Return the files that a task program left, with the end of its log; say if both are told of."""
        output, error = Markers(nonce, "output"), Markers(nonce, "error")
        return left_by(self.all_lines(name), output, error)

    def _page(
        self, name: str, cursor: str | None, limit: int, *, from_head: bool = True
    ) -> dict[str, Any] | None:
        """Return an answer of GetLogEvents, or None if there is no such stream (yet)."""
        group, _, stream = name.rpartition(":")
        return events_page(
            self._client,
            cursor,
            logGroupName=group or self._group,
            logStreamName=stream,
            startFromHead=from_head,
            limit=limit,
        )


def events_page(client: Any, cursor: str | None, **asked: Any) -> dict[str, Any] | None:
    """Return an answer of GetLogEvents, or None if there is no such stream (yet).

    Raises
    ------
    UnknownCursor
    """
    more = {} if cursor is None else {"nextToken": cursor}
    try:
        answer: dict[str, Any] = client.get_log_events(**asked, **more)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ResourceNotFoundException":
            return None
        if code == "InvalidParameterException" and cursor is not None:
            raise UnknownCursor(
                "this cursor does not belong to this log, or is older than a day; "
                "read from the start"
            ) from None
        raise
    return answer


def _begin_of(block: BlockLog, lines: list[str]) -> int | None:
    """Return which line the block of a task begins with, if it is there."""
    for number, line in enumerate(lines):
        match = BLOCK.search(line) if block.nonce in line else None
        if match is None or match["nonce"] != block.nonce:
            continue
        if _number(match["block"]) == block.place:
            return number
    return None


def _text_of(block: BlockLog, lines: list[str]) -> tuple[str, str]:
    """Return what of lines that come behind a block's beginning belongs to it, and where they end."""
    found: list[str] = []
    for line in lines:
        match = BLOCK.search(line) if block.nonce in line else None
        if match is None or match["nonce"] != block.nonce:
            found.append(_with_end(line))
            continue
        if match.start():
            found.append(_with_end(line[: match.start()]))
        if block.place in (_number(match["index"]), _number(match["cut"])):
            return "".join(found), _BEHIND
    return "".join(found), _INSIDE


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _with_end(line: str) -> str:
    if line == " ":
        return "\n"  # an empty line: CloudWatch takes no empty events, so it was sent as a blank
    return line if line.endswith("\n") else f"{line}\n"
