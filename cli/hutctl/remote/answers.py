"""Answers of the API become documents, or the errors that the local target raises too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hut.model.problems import InvalidInput, Problem
from hut.store.port import IdempotencyConflict, StoreError, UnknownRun
from hutctl.client import Document, Unreachable
from hutctl.remote.http import Answer

__all__ = ["check", "document_of", "documents_of", "problems_of"]

_KINDS = {"unknown-run": UnknownRun, "idempotency-conflict": IdempotencyConflict}
"""What the API's types of problems are here."""


def check(answer: Answer, *, source: str | None = None) -> Answer:
    """Return an answer that is none of a fault.

    Parameters
    ----------
    source
        The file that was sent, if one was.

    Raises
    ------
    InvalidInput
        If the input is at fault.
    UnknownRun, IdempotencyConflict, StoreError
        As the local target does.
    Unreachable
        If this is no answer of Hut's API.
    """
    if 200 <= answer.status < 300:
        return answer
    document = answer.document()
    if not isinstance(document, dict):
        raise _strange(answer)
    told = str(document.get("detail") or document.get("title") or document.get("message") or "")
    if source is not None and (answer.status in (400, 413, 422) or document.get("errors")):
        raise InvalidInput(problems_of(document) or [Problem(told)], source=source)
    if answer.status == 404 and "problem" not in answer.headers.get("content-type", ""):
        raise _strange(answer)
    kind = _KINDS.get(str(document.get("type")).rpartition(":")[2], StoreError)
    raise kind(told or f"the API refused it with status {answer.status}")


def problems_of(document: Document) -> Sequence[Problem]:
    """Return the faults of the input that a problem document lists."""
    errors = document.get("errors")
    if not isinstance(errors, list):
        return []
    return [
        Problem(
            str(entry.get("message") or entry.get("detail") or "is wrong"),
            task=_text(entry.get("task")),
            field=_text(entry.get("field")),
            line=entry["line"] if isinstance(entry.get("line"), int) else None,
        )
        for entry in errors
        if isinstance(entry, dict)
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def document_of(answer: Answer) -> Document:
    """Return the object that an answer is."""
    document = check(answer).document()
    if not isinstance(document, dict):
        raise _strange(answer)
    return document


def documents_of(answer: Answer) -> list[Document]:
    """Return the entries of a list."""
    documents: Any = check(answer).document()
    if not isinstance(documents, list):
        raise _strange(answer)
    return documents


def _strange(answer: Answer) -> Unreachable:
    begin = " ".join(answer.body[:200].decode(errors="replace").split())
    return Unreachable(
        f"what answers there is not Hut's API (status {answer.status}: {begin or 'nothing'}); "
        "is the address of the target right? hutctl doctor"
    )
