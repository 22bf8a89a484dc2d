"""Who changes what is written down: before it is done, and what became of it. And the list of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AfterValidator

from hut.model.audit import Act, ActFilter, Ended, Outcome, Recorded
from hut.model.rfc3339 import format_time, parse_time
from hut.rest.answers import Answer, dump, json_answer
from hut.rest.exchange import Exchange, exchange_of
from hut.rest.observing import log_failure
from hut.rest.paging import decode_cursor, encode_cursor
from hut.rest.refusals import refusal_of
from hut.rest.routing import Limit, OpaqueCursor, new_router
from hut.views import Document

__all__ = ["Found", "audited", "router"]

router = new_router()

_PLACE = re.compile(r"[0-9]{10}\.[0-9]{6}#[0-9A-Za-z-]{1,64}")


@dataclass
class Found:
    """What is known of an act only when it is done.

    Attributes
    ----------
    detail : dict
        Names and numbers. Never commands, variables or contents of files.
    """

    run: str | None = None
    detail: dict[str, str | int] = field(default_factory=dict)


@contextmanager
def audited(
    exchange: Exchange, action: str, *, run: str | None = None, **detail: str | int
) -> Iterator[Found]:
    """Write a change down: that it is about to be made, then what became of it.

        with audited(exchange, "config.apply", version=7) as found:
            change = apply(...)
            found.detail["applied"] = change.number

    Nothing is changed that could not be noted before: then the block is not entered. If the second
    note can't be written, the change stands, its outcome stays unknown, and the log tells why.

    Parameters
    ----------
    run
        The run it is about, if that exists already.
    detail
        Names and numbers; see `Found`.
    """
    services = exchange.services
    act = Act(
        id=exchange.request_id or os.urandom(16).hex(),
        at=services.clock(),
        action=action,
        who=exchange.owner,
        **exchange.origin,
        run=run,
        detail=detail,
    )
    services.audit.begin(act)
    found = Found()
    outcome = Outcome.FAILED
    try:
        yield found
        outcome = Outcome.DONE
    except Exception as error:
        if (refusal := refusal_of(error)) is not None:
            outcome = Outcome.REFUSED
            found.detail = {"refusal": refusal.kind}
        raise
    finally:
        _note_end(exchange, act, Ended(services.clock(), outcome, found.run, found.detail))


def _note_end(exchange: Exchange, act: Act, ended: Ended) -> None:
    try:
        exchange.services.audit.end(act, ended)
    except Exception as error:  # noqa: BLE001 - the change is made; only its outcome stays unknown
        log_failure(error, exchange.notes, "the outcome of a change could not be noted")


def _time(text: str) -> str:
    parse_time(text)
    return text


Moment = Annotated[str | None, AfterValidator(lambda text: None if text is None else _time(text))]


@router.get("/audit", summary="List who changed what, newest first", operation_id="listAudit")
def list_audit(
    limit: Limit = 100,
    cursor: OpaqueCursor = None,
    since: Annotated[Moment, Query(max_length=40, description="From this day or time on.")] = None,
    until: Annotated[Moment, Query(max_length=40, description="Before this day or time.")] = None,
    who: Annotated[str | None, Query(max_length=2048, description="As in `owner`.")] = None,
    action: Annotated[str | None, Query(pattern="^[a-z._-]{1,64}$")] = None,
    run: Annotated[str | None, Query(pattern="^[a-z0-9]{1,64}$")] = None,
) -> Answer:
    """Answer with a page of the audit record.

    A page may be short, or empty, and still be followed by another: one request looks through so
    many entries only.
    """
    exchange = exchange_of(router)
    services = exchange.services
    query = ActFilter(
        since=None if since is None else parse_time(since),
        until=None if until is None else parse_time(until),
        who=who,
        action=action,
        run=run,
        before=None if cursor is None else decode_cursor(cursor, _PLACE)[0],
        limit=limit,
    )
    found, onward = services.audit.acts(query, services.clock())
    following = None if onward is None else encode_cursor(onward)
    entries = ",".join(dump(_document(each)) for each in found)  # each is small: all fit
    return json_answer(f"[{entries}]", headers=exchange.next_page(following))


def _document(recorded: Recorded) -> Document:
    act, ended = recorded.act, recorded.ended
    detail: dict[str, Any] = {**act.detail, **(ended.detail if ended is not None else {})}
    return {
        "id": act.id,
        "at": format_time(act.at),
        "action": act.action,
        "who": act.who,
        "source_ip": act.source_ip,
        "user_agent": act.user_agent,
        "run": recorded.run,
        "detail": detail,
        "outcome": None if ended is None else ended.outcome,
        "ended_at": None if ended is None else format_time(ended.at),
    }
