"""Answers: JSON text that fits into what a Lambda may return.

A Lambda answers with at most 6 MiB, counted after the body has become a JSON string inside the
answer, so quotes and backslashes count twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from aws_lambda_powertools.event_handler import Response

from hut.rest.refusals import Refusal
from hut.views import Document, problem_document

__all__ = [
    "MOST_BYTES",
    "PROBLEM_TYPE",
    "TITLES",
    "Answer",
    "dump",
    "fitting",
    "json_answer",
    "problem_answer",
    "shortened",
    "text_answer",
    "wire_size",
]

Answer: TypeAlias = Response[str]
"""What routes return; powertools reads their annotations."""

MOST_BYTES = 5_000_000
"""Size of an answer's body at most, as it is sent."""

PROBLEM_TYPE = "application/problem+json"

TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Content",
    428: "Precondition Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
"""As in RFC 9110; Python's own differ between its versions."""

_LONGEST_DETAIL = 1000
_MOST_ERRORS = 500
"""Entries of ``errors`` at most; the detail says how many there are."""

_LONG = 10_000
"""Characters of a text that are left where a document has to be shortened."""


def dump(document: object) -> str:
    """Return a document as compact JSON."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, e.g. in what a backend said
        return json.dumps(document, separators=(",", ":"))
    return text


def wire_size(text: str) -> int:
    """Return how many bytes a body has inside a Lambda's answer."""
    return len(text.encode()) + text.count('"') + text.count("\\") + text.count("\n")


def json_answer(
    document: Document | str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Answer with a document, or with one that is JSON text already."""
    text = document if isinstance(document, str) else _whole(document)
    return Answer(status, "application/json", _checked(text), headers=headers)


def text_answer(text: str) -> Answer:
    """Answer with plain text."""
    text = text.encode(errors="replace").decode()
    return Answer(200, "text/plain; charset=utf-8", _checked(text))


def fitting(documents: Iterable[Document], room: int = MOST_BYTES) -> list[str]:
    """Return the first documents as JSON texts, as many as there is room for, but at least one.

    One that has no room even alone is shortened, so that nobody is stuck at it.
    """
    texts: list[str] = []
    left = room - 2
    for document in documents:
        text = dump(document)
        size = wire_size(text) + 1
        if size > left and not texts:
            text = dump(shortened(document))
            size = wire_size(text) + 1
        elif size > left:
            break
        texts.append(text)
        left -= size
    return texts


def problem_answer(refusal: Refusal | None, request_id: str | None) -> Answer:
    """Answer with the problem document (RFC 9457) of a refusal, or of a fault of our own."""
    if refusal is None:
        detail = "the control plane failed at this request; its log says more"
        refusal = Refusal(500, "internal-error", detail)
    detail = refusal.detail
    document: Document = {
        "type": f"urn:hut:problem:{refusal.kind}",
        "title": TITLES[refusal.status],
        "status": refusal.status,
        "detail": detail if len(detail) <= _LONGEST_DETAIL else f"{detail[:_LONGEST_DETAIL]}...",
    }
    if request_id is not None:
        document["instance"] = f"urn:uuid:{request_id}"
    document["errors"] = [problem_document(entry) for entry in refusal.errors[:_MOST_ERRORS]]
    return Answer(refusal.status, PROBLEM_TYPE, _whole(document), headers=refusal.headers)


def _whole(document: Document) -> str:
    text = dump(document)
    return text if wire_size(text) <= MOST_BYTES else dump(shortened(document))


def shortened(value: Any) -> Any:
    """Return a document whose long texts end with a note of what was left out."""
    if isinstance(value, str) and len(value) > _LONG:
        return f"{value[:_LONG]}... ({len(value) - _LONG:,} more characters)"
    if isinstance(value, dict):
        return {name: shortened(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    return value


def _checked(text: str) -> str:
    if (size := wire_size(text)) > MOST_BYTES:
        raise Refusal(
            413, "answer-too-large", f"the answer has {size:,} bytes; {MOST_BYTES:,} can be sent"
        )
    return text
