"""Lists page by page: opaque cursors, and pages that end early where documents are large."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

from hut.model.problems import Problem
from hut.rest.answers import Answer, fitting, json_answer
from hut.rest.exchange import Exchange
from hut.rest.refusals import Refusal, malformed
from hut.views import Document

__all__ = ["answer_page", "decode_cursor", "encode_cursor"]

_Record = TypeVar("_Record")


def encode_cursor(*parts: float | str) -> str:
    """Return a cursor that `decode_cursor` reads."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type[float | int] | re.Pattern[str]) -> list[Any]:
    """Return the parts of a cursor: a number, a whole number from 0 on, a text of this form.

    Raises
    ------
    Refusal
        If it is not one that `encode_cursor` made of such parts.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _not_a_cursor() from None
    if not isinstance(parts, list) or len(parts) != len(kinds):
        raise _not_a_cursor()
    if not all(_is(part, kind) for part, kind in zip(parts, kinds, strict=True)):
        raise _not_a_cursor()
    return parts


def answer_page(
    exchange: Exchange,
    records: Sequence[_Record],
    limit: int,
    documents: Callable[[Sequence[_Record]], Sequence[Document]],
    cursor: Callable[[_Record], str],
    onward: str | None = None,
) -> Answer:
    """Answer with a page of a list.

    Parameters
    ----------
    records
        Of the page; one more than `limit` where the list goes on.
    documents
        Makes a document of each record.
    cursor
        Returns where the list goes on after a record.
    onward
        Where it goes on after all of them, if it may.
    """
    shown = list(islice(records, limit))
    texts = fitting(documents(shown))
    following = cursor(shown[len(texts) - 1]) if len(texts) < len(records) else onward
    return json_answer(f"[{','.join(texts)}]", headers=exchange.next_page(following))


def _is(part: object, kind: type | re.Pattern[str]) -> bool:
    if isinstance(kind, re.Pattern):
        return isinstance(part, str) and kind.fullmatch(part) is not None
    if isinstance(part, bool) or not isinstance(part, (int, float)):
        return False
    if kind is int and not (isinstance(part, int) and part >= 0):
        return False
    return math.isfinite(part) and abs(part) <= 2**53


def _not_a_cursor() -> Refusal:
    message = "is not a cursor of this list; leave it out to begin anew"
    return malformed([Problem(message, field="cursor")])
