"""The audit record in DynamoDB: every act with its outcome, newest first, and never written twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hut.aws.audit import AuditTable
from hut.model.audit import Act, ActFilter, Ended, Outcome
from hut.store.dynamodb.table import Lost, Pages, Table
from tests.aws_table import new_options
from tests.testbed.running import TestBed


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-26T12:00:00")
TIMES = [
    "2026-09-30T23:59:59.5",
    "2026-10-01T00:00:00",
    "2026-10-31T12:00:00",
    "2026-11-26T11:00:00",
]


@pytest.fixture
def audit_table(test_bed: TestBed) -> Table:
    return Table(test_bed.client("dynamodb"), new_options(test_bed).table)


@pytest.fixture
def record(audit_table: Table) -> AuditTable:
    return AuditTable(audit_table, days=400)


def act(when: str | float, request: str = "r", **more: Any) -> Act:
    seconds = at(when) if isinstance(when, str) else when
    return Act(**{"id": request, "at": seconds, "action": "submit", "who": "user/alice", **more})


def acts(record: AuditTable, now: float = NOW, **query: Any) -> list[str]:
    found, onward = record.acts(ActFilter(**query), now)
    assert onward is None
    return [each.act.id for each in found]


@pytest.fixture
def filled(record: AuditTable) -> AuditTable:
    for number, when in enumerate(TIMES):
        record.begin(act(when, f"r{number}", who=f"user/{number % 2}"))
    return record


def test_an_act_comes_back_with_its_outcome(record: AuditTable) -> None:
    begun = act(
        TIMES[3], "r", source_ip="192.0.2.1", user_agent="hutctl/1", run="r1", detail={"all": 1}
    )
    ended = Ended(begun.at + 0.25, Outcome.DONE, None, {"tasks": 3})
    record.begin(begun)
    record.end(begun, ended)
    [found], onward = record.acts(ActFilter(), NOW)
    assert (found.act, found.ended, found.run, onward) == (begun, ended, "r1", None)


def test_where_nothing_is_known_of_an_outcome_the_act_stands_alone(record: AuditTable) -> None:
    """Whoever did it died in between; outcomes of acts at the same time are not taken for its own."""
    first, second = act(TIMES[3], "a"), act(TIMES[3], "b")
    record.begin(first)
    record.begin(second)
    record.end(first, Ended(NOW, Outcome.REFUSED))
    found, _ = record.acts(ActFilter(), NOW)
    assert [(each.act.id, each.ended is None) for each in found] == [("b", True), ("a", False)]


def test_what_was_noted_is_not_written_again(record: AuditTable) -> None:
    record.begin(act(TIMES[3], "r", who="user/alice"))
    with pytest.raises(Lost):
        record.begin(act(TIMES[3], "r", who="user/mallory"))
    ended = Ended(NOW, Outcome.DONE)
    record.end(act(TIMES[3], "r"), ended)
    with pytest.raises(Lost):
        record.end(act(TIMES[3], "r"), Ended(NOW, Outcome.REFUSED))
    [found], _ = record.acts(ActFilter(), NOW)
    assert (found.act.who, found.ended) == ("user/alice", ended)


def test_the_newest_comes_first_over_months(filled: AuditTable) -> None:
    assert acts(filled) == ["r3", "r2", "r1", "r0"]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (TIMES[1], None, ["r3", "r2", "r1"]),
        (None, TIMES[1], ["r0"]),
        (TIMES[0], TIMES[0], []),
        (TIMES[0], TIMES[2], ["r1", "r0"]),
        ("2026-09-30T23:59:59.6", "2026-10-02", ["r1"]),
        (TIMES[2], TIMES[1], []),
        ("2027-01-01", None, []),
        (None, "2020-01-01", []),
        (None, "2290-01-01", ["r3", "r2", "r1", "r0"]),
        (None, "9999-12-31", ["r3", "r2", "r1", "r0"]),
    ],
)
def test_times_bound_it(
    filled: AuditTable, since: str | None, until: str | None, expected: list[str]
) -> None:
    query = {name: at(text) for name, text in (("since", since), ("until", until)) if text}
    assert acts(filled, **query) == expected


def test_a_time_far_off_costs_no_more_than_now(
    filled: AuditTable, audit_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Pages] = []
    query = Table.query

    def count(table: Table, pages: Pages) -> Any:
        asked.append(pages)
        return query(table, pages)

    monkeypatch.setattr(Table, "query", count)
    acts(filled)
    now = len(asked)
    acts(filled, until=at("9999-12-31"))
    assert len(asked) == 2 * now


def test_it_ends_where_the_record_does(filled: AuditTable, audit_table: Table) -> None:
    assert acts(AuditTable(audit_table, days=27)) == ["r3", "r2"]


def test_filters_choose(record: AuditTable) -> None:
    record.begin(act(TIMES[1], "a", action="cancel", run="r1"))
    submitted = act(TIMES[2], "b", who="user/bob")
    record.begin(submitted)
    record.end(submitted, Ended(NOW, Outcome.DONE, run="r1"))
    record.begin(act(TIMES[3], "c", action="cancel", run="r2"))
    assert acts(record, who="user/bob") == ["b"]
    assert acts(record, action="cancel") == ["c", "a"]
    assert acts(record, run="r1") == ["b", "a"]
    assert acts(record, run="r1", action="cancel") == ["a"]
    assert acts(record, who="user") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_neither_lose_nor_repeat(record: AuditTable, limit: int) -> None:
    for number in range(7):
        one = act(at(TIMES[number % 4]) + number // 4, f"r{number}")
        record.begin(one)
        if number % 2:
            record.end(one, Ended(NOW, Outcome.DONE))
    found, before = [], None
    for _ in range(9):
        page, before = record.acts(ActFilter(before=before, limit=limit), NOW)
        assert len(page) <= limit
        found += [(each.act.id, each.ended is not None) for each in page]
        if before is None:
            break
    assert [name for name, _ in found] == ["r3", "r6", "r2", "r5", "r4", "r1", "r0"]
    assert {name for name, ended in found if ended} == {"r1", "r3", "r5"}


def test_one_call_looks_at_so_many_only(
    filled: AuditTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hut.aws.audit._MOST_READ", 2)
    found, before = filled.acts(ActFilter(who="user/0"), NOW)
    assert [each.act.id for each in found] == ["r2"]
    found, _ = filled.acts(ActFilter(who="user/0", before=before), NOW)
    assert [each.act.id for each in found] == ["r0"]


def test_it_goes_away_by_itself(record: AuditTable, audit_table: Table) -> None:
    one = act(TIMES[3], "r", user_agent="x" * 9999)
    record.begin(one)
    record.end(one, Ended(NOW, Outcome.DONE))
    items = list(audit_table.query(Pages("AUDIT#2026-11")))
    assert {item["ttl"] for item in items} == {int(one.at) + 400 * 86400}
    assert len(items[0]["user_agent"]) == 300
