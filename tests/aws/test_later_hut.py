"""What a later Hut wrote: this one works on with it, and does not lose what it does not know.

The later Hut keeps the rules of docs/decisions/018-forms.md. It is this one with more: attributes of
items, columns of tasks and changes, fields of plans and settings, a reason, a kind of item.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from hut.model.states import Reason, RunState, TaskState, read_reason
from hut.store.dynamodb.columns import read_columns, write_columns
from hut.store.dynamodb.log import changes_of
from hut.store.dynamodb.packs import _FIELDS, _TIMES
from hut.store.dynamodb.table import Table
from hut.store.dynamodb.values import Kept, load_item, store_item
from hut.store.encoding import decode_settings, decode_spec, encode_settings, encode_spec
from tests.aws.store_world import StoreWorld
from tests.contract.worlds import COMPLETED, FAILED, World, sqlite_world
from tests.testbed.running import TestBed

LATER = {"zone": "eu", "weight": 7, "nested": Kept({"L": [{"N": "1"}, {"M": {"a": {"S": "b"}}}]})}
"""Attributes of a later Hut, also of types that this one never writes."""

COLUMNS = {"paused_at": 1234.5, "colour": "red", "marks": [1, 2]}
"""Columns of a task; times are named so."""

RETRY = {"retries": 1, "delay": 0.0, "backoff": 2.0, "on": [], "jitter": True}


@pytest.fixture
def world(test_bed: TestBed) -> StoreWorld:
    return StoreWorld(test_bed, follow="inline")


@pytest.fixture
def table(world: StoreWorld) -> Table:
    return Table(world.bed.client("dynamodb"), world.options.table)


def is_pack(item: dict[str, Any]) -> bool:
    return item.get("kind") == "pack"


def columns_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    return read_columns(item["states"], _TIMES)


def add_everywhere(world: StoreWorld, table: Table) -> None:
    """Let a later Hut have written all there is."""
    for item in list(world.items()):
        more: dict[str, Any] = dict(LATER)
        if is_pack(item):
            rows = [row | COLUMNS for row in columns_of(item)]
            more["states"] = write_columns(rows, [*_FIELDS, *COLUMNS], _TIMES)
        elif item.get("kind") == "specs":
            entries = json.loads(zlib.decompress(item["body"]))
            for entry in entries:
                spec = json.loads(entry[1])
                spec |= {"flavour": "x", "retry": RETRY}
                entry[1] = json.dumps(spec)
                entry.append({"more": 1})
            more["body"] = zlib.compress(json.dumps(entries).encode())
        elif item.get("kind") == "settings":
            settings = json.loads(zlib.decompress(item["body"])) | {"region": "mars"}
            more["body"] = zlib.compress(json.dumps(settings).encode())
        table.put(item | more)
    table.put({"pk": "RUN#run1", "sk": "PLANET#1", "kind": "planet", **LATER})


def left(world: StoreWorld) -> list[str]:
    """Return the keys of items of the run that have lost what the later Hut added."""
    lost = []
    for item in world.items():
        if item.get("kind") not in ("pack", "run", "settings", "specs", "listing", "planet"):
            continue
        kept = {name: item.get(name) for name in LATER}
        rows = columns_of(item) if is_pack(item) else []
        if kept != LATER or any(row | COLUMNS != row for row in rows):
            lost.append(f"{item['pk']} {item['sk']}")
    return lost


def test_what_a_later_hut_added_survives_every_change(world: StoreWorld, table: Table) -> None:
    run = world.create(
        {"id": "a"},
        {"id": "b", "deps": ["a"]},
        {"id": "bad"},
        *({"id": f"t{i}"} for i in range(20)),
    )
    add_everywhere(world, table)
    world.store = world.open_another()
    claims = world.named(world.claim(run))
    world.start(run, *claims.values())
    world.store.note_handles(run.id, [(claims["a"].key, "job-1")])
    world.end(run, (claims["bad"], FAILED), (claims["a"], COMPLETED))
    world.now += 10_000
    again = world.named(world.claim(run))
    assert set(again) == {"b", "bad"}
    world.store.release_claims(run.id, [again["bad"].key])
    assert left(world) == []
    (bad,) = world.claim(run)
    rest = [claims[f"t{i}"] for i in range(20)]
    world.end(run, (again["b"], COMPLETED), (bad, FAILED), *((claim, COMPLETED) for claim in rest))
    assert world.store.settle(run.id, world.now).state is RunState.FAILED
    assert left(world) == []
    assert world.store.reset_tasks(run.id, world.now) == 1
    world.store.begin_epoch(run.id, world.now)
    (bad,) = world.claim(run)
    world.end(run, (bad, COMPLETED))
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED
    assert left(world) == []
    assert len(world.attempts(run, "bad")) == 3
    world.check(run)


def test_a_cancelled_run_keeps_it_too(world: StoreWorld, table: Table) -> None:
    run = world.create({"id": "a"}, {"id": "b"})
    add_everywhere(world, table)
    world.store = world.open_another()
    world.store.cancel_run(run.id, Reason.CANCELLED, world.now)
    assert world.store.settle(run.id, world.now).state is RunState.CANCELLED
    assert left(world) == []


def test_tasks_that_join_a_pack_of_a_later_hut_leave_its_columns(
    world: StoreWorld, table: Table
) -> None:
    run = world.create({"id": "g", "generates_source": "g.json"})
    add_everywhere(world, table)
    world.store = world.open_another()
    (claim,) = world.claim(run)
    adds = world.extension(run, {"id": "x"}, {"id": "y"})
    assert world.end(run, (claim, COMPLETED), adds=adds) == [True]
    (pack,) = [item for item in world.items() if is_pack(item)]
    assert [row.get("colour") for row in columns_of(pack)] == ["red", None, None]
    assert set(world.claimed(run)) == {"x", "y"}


def test_times_of_a_later_hut_move_with_the_others() -> None:
    rows = [{"submitted": 1000.0, "paused_at": 2000.25}, {"submitted": 3000.5}]
    fields = ["submitted", "paused_at"]
    read = read_columns(write_columns(rows, fields, ["submitted"]), ["submitted"])
    assert read == rows
    later = [row | {"submitted": 10.0} for row in read]
    again = read_columns(write_columns(later, fields, ["submitted"]), ["submitted"])
    assert [row.get("paused_at") for row in again] == [2000.25, None]


def test_types_that_are_never_written_come_back_as_they_were() -> None:
    raw = {"a": {"L": [{"S": "x"}]}, "b": {"M": {}}, "c": {"NULL": True}, "d": {"BS": [b"x"]}}
    assert store_item(load_item(raw)) == raw


# Reasons ------------------------------------------------------------------------------------------


def test_a_reason_that_is_not_known_is_another_one() -> None:
    assert read_reason("eaten_by_bears") is Reason.OTHER
    assert read_reason("timeout") is Reason.TIMEOUT
    assert read_reason(None) is None


def rewrite_reasons(world: World, table: Table) -> None:
    """Let a later Hut have ended what has ended."""
    assert isinstance(world, StoreWorld)
    for item in world.items():
        if is_pack(item):
            rows = [
                row | {"reason": "bears"} if "reason" in row else row for row in columns_of(item)
            ]
            item["states"] = write_columns(rows, _FIELDS, _TIMES)
        elif item.get("kind") in ("attempt", "run") and "reason" in item:
            item["reason"] = "bears"
        elif item.get("kind") == "log" and "entries" in item:
            rows = [row | {"reason": "bears"} for row in read_columns(item["entries"], ["at"])]
            item["entries"] = write_columns(rows, [*rows[0]], ["at"])
            assert changes_of(item)[0].reason is Reason.OTHER
        table.put(item)


def test_a_run_that_ended_for_a_reason_of_a_later_hut_can_be_looked_at(
    world: StoreWorld, table: Table
) -> None:
    run = world.create({"id": "a", "retries": 1}, {"id": "b", "deps": ["a"]})
    for _ in range(2):
        world.end(run, *[(claim, FAILED) for claim in world.claim(run)])
        world.now += 10_000
    world.store.settle(run.id, world.now)
    rewrite_reasons(world, table)
    world.store = world.open_another()
    found = world.store.get_run(run.id)
    assert (found.state, found.reason) == (RunState.FAILED, Reason.OTHER)
    assert world.task(run, "a").reason is Reason.OTHER
    assert [attempt.outcome.reason for attempt in world.attempts(run, "a")] == [Reason.OTHER] * 2
    changes, _ = world.store.changes(run.id, 0)
    assert Reason.OTHER in {change.reason for change in changes}
    assert world.store.reset_tasks(run.id, world.now) == 2
    (pack,) = [item for item in world.items() if is_pack(item)]
    assert "reason" not in columns_of(pack)[0]


# Plans and settings -------------------------------------------------------------------------------


def test_fields_of_plans_and_settings_that_are_not_known_are_passed_over(tmp_path: Any) -> None:
    world = sqlite_world(tmp_path)
    run = world.create({"id": "a", "gres": "gpu:2", "retries": 2, "memory": "3G"})
    spec = world.task(run, "a").spec
    data = json.loads(encode_spec(spec))
    data["flavour"] = data["resources"]["tpu"] = data["retry"]["jitter"] = 1
    data["resources"]["gres"][0]["shape"] = "round"
    assert decode_spec("a", json.dumps(data)) == spec
    settings = world.store.get_run(run.id).settings
    later = json.loads(encode_settings(settings)) | {"region": "mars"}
    assert decode_settings(json.dumps(later)) == settings


def test_states_are_those_of_the_contract() -> None:
    """A new state is a change of the form, which old code refuses: nothing stands in for one."""
    with pytest.raises(ValueError, match="asleep"):
        TaskState("asleep")
