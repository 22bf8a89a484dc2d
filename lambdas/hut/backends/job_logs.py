"""Reads the log streams of jobs from CloudWatch Logs, page by page.

A job's log is named by its stream, and by its group too where the job tells it: job definitions of
somebody's own write where they like.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from hut.backends.markers import Damaged, Markers, NoFile, without_markers
from hut.backends.port import LogPage, UnknownCursor
from hut.model.problems import InvalidInput, Problem

__all__ = ["JobLogs", "log_name"]

_MOST_EVENTS = 10_000
_MOST_EMPTY_PAGES = 100
_TAIL_EVENTS = 100


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
        try:
            content = markers.content()
            return None if content is None else content.decode("utf-8")
        except NoFile as error:
            what = f"can't be read: {error}"
        except Damaged as error:
            what = str(error)
        except UnicodeDecodeError as error:
            what = f"is not UTF-8 text ({error})"
        raise InvalidInput([Problem(what)], source=source)

    def _page(
        self, name: str, cursor: str | None, limit: int, *, from_head: bool = True
    ) -> dict[str, Any] | None:
        """Return an answer of GetLogEvents, or None if there is no such stream (yet)."""
        more = {} if cursor is None else {"nextToken": cursor}
        group, _, stream = name.rpartition(":")
        try:
            answer: dict[str, Any] = self._client.get_log_events(
                logGroupName=group or self._group,
                logStreamName=stream,
                startFromHead=from_head,
                limit=limit,
                **more,
            )
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


def _with_end(line: str) -> str:
    if line == " ":
        return "\n"  # an empty line: CloudWatch takes no empty events, so it was sent as a blank
    return line if line.endswith("\n") else f"{line}\n"
