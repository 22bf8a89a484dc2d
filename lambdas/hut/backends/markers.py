"""Lines by which a job tells Hut something through its log. Pure.

A container may have neither credentials nor an HTTP client, but it always has a log. What travels
in it has to survive the way: a line is cut at 16 KiB, an empty one is lost, bytes that are not UTF-8
are replaced, and lines of two streams mix. So a file goes as numbered short lines of plain ASCII
between a beginning and an end that says how many there were, with a checksum. The nonce of the
attempt is in each of them: the text of another attempt's log, printed, means nothing.

``::hut:<nonce>:`` is followed by one of::

    begin <encoding>             base64, od or text
    data <number> <piece>
    end <pieces> <check>         check: cksum=<crc>,<bytes> or sha256=<hex> or -
    no-file <why>
    no-fetch <sentence>          from a child of an array
    timeout <sentence>
    not-started <sentence>

The files of a task program have ``output`` or ``error`` before the first four of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from hut.lifecycle.task_program import Left
from hut.model.problems import InvalidInput, Problem
from hut.model.records import RunRecord
from hut.model.rfc3339 import format_time
from hut.model.workflow import TaskSpec

__all__ = [
    "ABSENT",
    "Damaged",
    "Markers",
    "NoFile",
    "cksum",
    "content_of",
    "left_by",
    "nonce_of",
    "nonce_of_child",
    "without_markers",
]

_MARKER = re.compile(
    r"::hut:([0-9a-f]{16}):(?:(?P<file>output|error) )?(?:"
    r"(?P<begin>begin) (?P<encoding>base64|od|text)$"
    r"|data (?P<number>[0-9]{1,9}) (?P<piece>.*)"
    r"|end (?P<pieces>[0-9]{1,9}) (?P<check>[a-z0-9=,-]+)$"
    r"|no-file (?P<why>.+)"
    r"|(?P<what>timeout|not-started|no-fetch) (?P<sentence>.+)"
    r")",
    re.ASCII | re.DOTALL,
)


ABSENT = "No such file or directory"
"""What a job says of a file that is not there."""

_TAIL_LINES = 100
_MOST_CHARACTERS = 128 * 1024 * 1024  # of pieces; od writes 32 MiB, the largest file, as 96


class Damaged(ValueError):  # noqa: N818 - named after what it says
    """The log holds the whole of a file, but not as the file was."""


class NoFile(ValueError):  # noqa: N818
    """The job found no file to copy; the message says why."""


def nonce_of(run: RunRecord, spec: TaskSpec, attempt: int) -> str:
    """Return what marks the lines of one attempt. Not a secret: nobody meets it by accident."""
    parts = (run.id, format_time(run.created_at), spec.id, str(attempt))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def nonce_of_child(name: str, index: int | str) -> str:
    """Return what marks the lines of an array's child, which it knows from its number alone.

    Parameters
    ----------
    name
        Of the array.
    index
        Which child; a text is put in as it is, for a shell to fill in six hexadecimal digits.
    """
    digits = f"{index:06x}" if isinstance(index, int) else index
    return f"{hashlib.sha256(name.encode()).hexdigest()[:10]}{digits}"


def without_markers(line: str) -> str | None:
    """Return a line of a log as people see it, or None for one that is not for them."""
    match = _MARKER.search(line) if "::hut:" in line else None
    if match is None:
        return line
    if sentence := match["sentence"]:
        return f"{line[: match.start()]}hut: {sentence}"
    return line[: match.start()] or None


@dataclass(slots=True)
class Markers:
    """What the lines of a log tell, as far as they have been fed.

    Attributes
    ----------
    nonce : str
        Of the attempt whose lines count.
    file : str
        Which file of a task program; empty for what others copy.
    timed_out : bool
        The script stopped the command at its time limit.
    not_started : str
        Why the command was never reached; empty if nothing says so.
    not_fetched : bool
        The image could not fetch the script.
    """

    nonce: str
    file: str = ""
    timed_out: bool = False
    not_started: str = ""
    not_fetched: bool = False
    _encoding: str = ""
    _pieces: dict[int, str] = field(default_factory=dict)
    _end: tuple[int, str] | None = None
    _why_no_file: str = ""
    _size: int = 0

    def feed(self, line: str) -> None:
        """Take a line of the log; any other line than a marker changes nothing."""
        match = _MARKER.search(line) if self.nonce in line else None
        if match is None or match[1] != self.nonce or (match["file"] or "") != self.file:
            return
        if match["begin"]:
            self._encoding = match["encoding"]
        elif match["number"]:
            # A copy by the launcher is smaller; what else a task prints must not fill the memory.
            self._size += len(match["piece"])
            if self._size <= _MOST_CHARACTERS:
                self._pieces[int(match["number"])] = match["piece"]
        elif match["pieces"]:
            self._end = int(match["pieces"]), match["check"]
        elif match["why"]:
            self._why_no_file = match["why"]
        elif match["what"] == "timeout":
            self.timed_out = True
        elif match["what"] == "no-fetch":
            self.not_fetched = True
        else:
            self.not_started = match["sentence"]

    @property
    def says_nothing(self) -> bool:
        """Whether no line was about the file."""
        return not (self._encoding or self._pieces or self._end or self._why_no_file)

    def content(self) -> bytes | None:
        """Return the file that was copied into the log, or None if not all of it is there.

        Raises
        ------
        NoFile
            If the job says that there was none.
        Damaged
            If all of it is there, but was changed on its way.
        """
        if self._why_no_file:
            raise NoFile(self._why_no_file)
        if self._size > _MOST_CHARACTERS:
            raise Damaged("the log holds more than a copy of a file can have")
        if self._end is None or not self._encoding:
            return None
        count, check = self._end
        if not all(number in self._pieces for number in range(1, count + 1)):
            return None
        pieces = [self._pieces[number] for number in range(1, count + 1)]
        content = _decode(self._encoding, pieces)
        if not _matches(content, check):
            raise Damaged(
                "its copy in the log is not what the file was; it may have been written to"
            )
        return content


def left_by(lines: Iterable[str], output: Markers, error: Markers) -> tuple[Left, bool]:
    """Return what a log tells of a task program's files, and whether that is all of both of them.

    What is told of in part is not a file that is missing.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    for line in lines:
        output.feed(line)
        error.feed(line)
        shown = without_markers(line)
        if shown is not None:
            tail.append(shown if shown.endswith("\n") else f"{shown}\n")
    contents, problems, whole = [], [], True
    for markers in (output, error):
        content, problem = None, ""
        try:
            content = markers.content()
            if content is None:
                whole = False
                problem = "" if markers.says_nothing else "did not come back: its copy is not whole"
        except NoFile as why:
            said = str(why)
            problem = (
                "" if said == ABSENT else said if said[:3] == "is " else f"can't be read: {said}"
            )
        except Damaged as why:
            problem = f"did not come back: {why}"
        contents.append(content)
        problems.append(problem)
    return Left(
        contents[0], contents[1], problems[0], problems[1], "".join(tail).rstrip("\n")
    ), whole


def content_of(markers: Markers, source: str) -> str | None:
    """Return the text of the file that was copied into a log, or None if not all of it is there.

    Parameters
    ----------
    source
        Path of the file, for messages.

    Raises
    ------
    InvalidInput
        If the job found no such file, or what is in the log can't be used.
    """
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


def _decode(encoding: str, pieces: list[str]) -> bytes:
    try:
        if encoding == "base64":
            return base64.b64decode("".join(pieces), validate=True)
        if encoding == "od":
            return bytes.fromhex(" ".join(pieces))
    except (binascii.Error, ValueError):
        raise Damaged("its copy in the log can't be decoded") from None
    # "text": a piece that ends a line begins with a dot; the bar keeps blanks at the end.
    if not all(len(piece) > 1 and piece[0] in ".+" and piece[-1] == "|" for piece in pieces):
        raise Damaged("its copy in the log can't be decoded")
    return "".join(p[1:-1] + ("\n" if p[0] == "." else "") for p in pieces).encode()


def _matches(content: bytes, check: str) -> bool:
    kind, _, value = check.partition("=")
    if kind == "cksum":
        return value == f"{cksum(content)},{len(content)}"
    if kind == "sha256":
        return value == hashlib.sha256(content).hexdigest()
    # Without a checksum, bytes that are no UTF-8 still show: the log replaces them.
    return check == "-" and "\ufffd".encode() not in content


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def cksum(content: bytes) -> int:
    """Return the checksum POSIX's ``cksum`` prints.

    It is CRC-32 with the bits of each byte in the other order, no bits set at the beginning, and the
    length behind the content; so zlib can do it.
    """
    length = len(content)
    octets = length.to_bytes((length.bit_length() + 7) // 8, "little")
    crc = zlib.crc32((content + octets).translate(_REVERSED), 0xFFFFFFFF)
    return int(f"{crc:032b}"[::-1], 2)
