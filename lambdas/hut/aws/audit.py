"""The audit record in a table of its own.

The one function that writes it may put items and query them, and nothing else: it has no leave to
change or delete one. Each act has two items, the act and its outcome, beside each other:

    pk  ``AUDIT#2026-11``, the month in which the act began
    sk  ``<time>#<request>#0`` for the act, ``...#1`` for its outcome

Both are new items, so a record that was written once is never written again by this module; what
protects it is the condition that there is none under its key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from hut.model.audit import Act, ActFilter, Ended, Outcome, Recorded
from hut.store.dynamodb.table import Condition, Pages, Table
from hut.store.dynamodb.values import Item

__all__ = ["AuditTable"]

_NEW = Condition("attribute_not_exists(#pk)")
_DAY = 86_400
_ACT, _OUTCOME = "#0", "#1"
_LONGEST = 300  # characters of what clients say of themselves
_MOST_READ = 2000
"""Acts that one call looks at."""


class AuditTable:
    """The audit record of one deployment.

    Parameters
    ----------
    days
        How long it is kept.
    """

    def __init__(self, table: Table, *, days: int) -> None:
        self._table = table
        self._days = days

    def begin(self, act: Act) -> None:
        """Note what is about to be done.

        Raises
        ------
        Lost
            If there is a note of this request already.
        """
        item = {
            "kind": "act",
            "id": act.id,
            "at": act.at,
            "action": act.action,
            "who": act.who,
            "source_ip": act.source_ip,
            "user_agent": act.user_agent[:_LONGEST],
            "run": act.run,
            "detail": json.dumps(dict(act.detail)),
        }
        self._put(act, _ACT, item)

    def end(self, act: Act, ended: Ended) -> None:
        """Note what became of it."""
        item = {
            "kind": "outcome",
            "at": ended.at,
            "outcome": ended.outcome.value,
            "run": ended.run,
            "detail": json.dumps(dict(ended.detail)),
        }
        self._put(act, _OUTCOME, item)

    def acts(self, query: ActFilter, now: float) -> tuple[list[Recorded], str | None]:
        """Return acts, newest first, and where the list goes on, if it may.

        A page may be short, or empty, and still be followed by another.
        """
        found: list[Recorded] = []
        oldest = max(query.since or 0.0, now - self._days * _DAY)
        for number, (place, recorded) in enumerate(self._acts(query, oldest, now), 1):
            if query.takes(recorded):
                found.append(recorded)
            if len(found) == query.limit or number == _MOST_READ:
                return found, place
        return found, None

    def _put(self, act: Act, end: str, item: Item) -> None:
        key = {"pk": _month(act.at), "sk": f"{_place(act.at, act.id)}{end}"}
        self._table.put({**item, **key, "ttl": int(act.at) + self._days * _DAY}, _NEW)

    def _acts(self, query: ActFilter, oldest: float, now: float) -> Iterator[tuple[str, Recorded]]:
        """Yield acts, newest first, each with its place in the record."""
        # Nothing is noted ahead of time. A year far off would be a query for each month until then,
        # and its number of seconds, being longer, would not even sort behind ours.
        newest = now + _DAY if query.until is None else min(query.until, now + _DAY)
        last = _time(newest)
        if query.before is not None:
            last = min(last, query.before)
        first = _time(oldest)
        if last < first:
            return  # DynamoDB refuses bounds that hold nothing
        for month in _months(float(last.partition("#")[0]), oldest):
            outcome: Item = {}
            pages = Pages(month, first=first, last=last, forward=False, limit=200)
            for item in self._table.query(pages):
                place, end = item["sk"][:-2], item["sk"][-2:]
                if end == _OUTCOME:
                    outcome = {**item, "place": place}
                else:
                    mine = outcome if outcome.get("place") == place else None
                    yield place, Recorded(_act_of(item), _ended_of(mine))


def _time(seconds: float) -> str:
    return f"{seconds:017.6f}"


def _place(at: float, request: str) -> str:
    return f"{_time(at)}#{request}"


def _month(at: float) -> str:
    return f"AUDIT#{datetime.fromtimestamp(at, UTC):%Y-%m}"


def _months(newest: float, oldest: float) -> Iterator[str]:
    """Yield the partitions between two times, the newest first."""
    at = newest
    while at >= oldest:
        yield _month(at)
        begin = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0)
        at = begin.replace(microsecond=0).timestamp() - 1
    if _month(at) == _month(oldest):
        yield _month(oldest)


def _act_of(item: Item) -> Act:
    return Act(
        id=item["id"],
        at=float(item["at"]),
        action=item["action"],
        who=item["who"],
        source_ip=item["source_ip"],
        user_agent=item["user_agent"],
        run=item.get("run"),
        detail=json.loads(item["detail"]),
    )


def _ended_of(item: Item | None) -> Ended | None:
    if item is None:
        return None
    detail = json.loads(item["detail"])
    return Ended(float(item["at"]), Outcome(item["outcome"]), item.get("run"), detail)
