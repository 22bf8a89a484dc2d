"""What is to be run: a JSON document in S3, checked before anything is done. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["BadPayload", "Payload", "parse_place", "read_payload"]

_NAME = re.compile(r"[^\s=\0]+")
_LONGEST = 100_000_000  # seconds
_PLACE = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)


class BadPayload(ValueError):  # noqa: N818 - named after what it says
    """The document is not one that can be run; the message names all that is wrong with it."""


class Payload(NamedTuple):
    """A task as the instance gets it.

    Attributes
    ----------
    attempt : str
        The name of the attempt's job.
    image : str or None
        The container's image; None to run on the host itself.
    argv : list of str
        What is executed, whatever entry point an image has.
    env : dict
        Variables, beside those of the image or the host.
    gpus : str or None
        As ``docker run --gpus`` takes it: ``all`` or how many.
    time_limit, grace : float
        Seconds the command may run, and how long it may take to end when asked.
    group, stream, log_region : str
        Where the output goes, in CloudWatch Logs.
    idle_seconds : float or None
        How long the instance may wait for its next task; None if there will be none.
    slack : float
        Seconds beyond the limit after which the instance ends itself.
    """

    attempt: str
    image: str | None
    argv: list[str]
    env: dict[str, str]
    gpus: str | None
    time_limit: float
    grace: float
    group: str
    stream: str
    log_region: str
    idle_seconds: float | None
    slack: float


def parse_place(url: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://bucket/key``."""
    match = _PLACE.fullmatch(url)
    if match is None:
        raise BadPayload(f"{url!r} is no place in S3; it would be s3://bucket/key")
    return match[1], match[2]


def read_payload(content: bytes, attempt: str) -> Payload:
    """Return what a document says.

    Raises
    ------
    BadPayload
        With everything that is wrong with it, or if it is another attempt's.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise BadPayload("the payload is no JSON") from None
    if not isinstance(document, dict):
        raise BadPayload("the payload is no JSON object")
    reader = _Reader(document)
    log = _Reader(reader.take("log", dict, "an object", {}), "log.", reader.problems)
    gpus = reader.take("gpus", (int, str), "a number, all or null", None, optional=True)
    payload = Payload(
        attempt=reader.take("attempt", str, "a text", ""),
        image=reader.take("image", str, "a text or null", None, optional=True),
        argv=reader.take("argv", list, "a list of texts", [], _is_argv),
        env=reader.take("env", dict, "names with texts", {}, _is_environment),
        gpus=None if gpus is None else str(gpus),
        time_limit=reader.take("time_limit", (int, float), "seconds", 0, _is_limit),
        grace=reader.take("grace", (int, float), "seconds", 0, _is_duration),
        group=log.take("group", str, "a text", ""),
        stream=log.take("stream", str, "a text", ""),
        log_region=log.take("region", str, "a text", ""),
        idle_seconds=reader.take(
            "idle_seconds", (int, float), "seconds or null", None, _is_duration, optional=True
        ),
        slack=reader.take("slack", (int, float), "seconds", 0, _is_duration),
    )
    if payload.gpus is not None and not re.fullmatch("all|[1-9][0-9]{0,2}", payload.gpus):
        reader.problems.append(f"gpus is {payload.gpus!r:.50}, not all, a number or null")
    if payload.image is not None and not re.fullmatch(r"[A-Za-z0-9]\S*", payload.image):
        reader.problems.append(f"image is {payload.image!r:.100}, which names no image")
    if not reader.problems and payload.attempt != attempt:
        reader.problems.append(f"it is for {payload.attempt!r:.200}, not for {attempt!r:.200}")
    if reader.problems:
        raise BadPayload("the payload can't be used: " + "; ".join(reader.problems))
    return payload


class _Reader:
    """Takes fields from an object, and collects what is wrong with them."""

    def __init__(
        self, document: dict[str, Any], where: str = "", problems: list[str] | None = None
    ) -> None:
        self._document = document
        self._where = where
        self.problems: list[str] = [] if problems is None else problems

    def take(
        self,
        name: str,
        kind: type | tuple[type, ...],
        words: str,
        otherwise: Any,
        is_right: Callable[[Any], bool] = lambda _: True,
        *,
        optional: bool = False,
    ) -> Any:
        value = self._document.get(name)
        if value is None and optional:
            return None
        if isinstance(value, bool) or not isinstance(value, kind) or not is_right(value):
            what = "is missing" if value is None else "is not right"
            self.problems.append(f"{self._where}{name} {what}; it would be {words}")
            return otherwise
        return value


def _is_duration(value: float) -> bool:
    return 0 <= value < _LONGEST


def _is_limit(value: float) -> bool:
    return 0 < value < _LONGEST


def _is_argv(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(word, str) and "\0" not in word for word in value)


def _is_environment(value: dict[str, Any]) -> bool:
    return all(
        _NAME.fullmatch(name) and isinstance(text, str) and "\0" not in text
        for name, text in value.items()
    )
