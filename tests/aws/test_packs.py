"""What goes into packs and the log comes out again, whatever it is."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hut.store.dynamodb.columns import read_columns, write_columns
from hut.store.dynamodb.log import Entry, changes_of, log_item, told
from hut.store.dynamodb.packs import MOST_INSIDE, Pack, by_packs, fresh
from hut.store.dynamodb.values import load_item, store_item

HEX = "0123456789abcdef"
UUID = "7beee7da-528a-4f58-87eb-18a3cb9c1071"
# Decimals of a clock: microseconds, as time.time() and Batch give them.
TIMES = st.integers(0, 2**51).map(lambda microseconds: microseconds / 1e6)
IDS = st.uuids().map(str)
HANDLES = st.one_of(
    IDS,
    IDS.map(lambda text: text.replace("-", "")),
    st.builds(lambda parent, index: f"{parent}:{index}", IDS, st.integers(0, 9999)),
    st.just(UUID),
    st.sampled_from(["pid-7", "", "~", "*", f"{UUID}~", "\x00", f"{UUID}{UUID}", UUID.upper()]),
    st.text(HEX + "-:/", max_size=80),
    st.text(max_size=20),
)
TASKS = st.fixed_dictionaries(
    {"state": st.sampled_from(["pending", "running", "completed"]), "attempt": st.integers(0, 9)},
    optional={
        "epoch": st.integers(0, 9),
        "submitted": TIMES,
        "started": TIMES,
        "ended": TIMES,
        "handle": HANDLES,
        "log": st.builds("hut-{}/default/{}".format, st.text(HEX, max_size=16), HANDLES),
        "code": st.integers(-1, 255),
        "message": st.text(max_size=MOST_INSIDE),
        "cost": st.floats(0, 100).map(lambda dollars: round(dollars, 9)),
        "not_before": TIMES,
        "own": st.just(value=True),
        "ready": st.just(value=True),
    },
)


def again(pack: Pack, total: int = 10_000) -> Pack:
    """Write a pack and read it as DynamoDB gives it back."""
    item = load_item(store_item(pack.item("run", 1)))
    return Pack.of(pack.number, item, total)


@settings(max_examples=300, deadline=None)
@given(st.lists(TASKS, min_size=1, max_size=16), st.integers(0, 6000))
def test_a_pack_comes_back_as_it_was(tasks: list[dict[str, Any]], number: int) -> None:
    for offset, task in enumerate(tasks):
        task.update(position=number * 16 + offset, generation=3)
    assert again(Pack(number, tasks), 100_000).tasks == tasks


def test_tasks_that_do_not_belong_to_the_run_are_not_seen() -> None:
    pack = Pack(1, [fresh(16 + offset, 0, None) for offset in range(16)])
    assert [task["position"] for task in again(pack, 19).tasks] == [16, 17, 18]
    assert again(pack, 16).tasks == again(pack, 3).tasks == []
    assert again(pack, 19).task(19) is None


def test_a_pack_is_of_one_generation() -> None:
    with pytest.raises(ValueError, match="unpack"):
        Pack(0, [fresh(0, 0, None), fresh(1, 1, None)]).item("run", 1)


def test_ids_that_several_share_take_no_place() -> None:
    def size(handles: list[str]) -> int:
        tasks = [fresh(n, 0, None) | {"handle": handle} for n, handle in enumerate(handles)]
        item = Pack(0, tasks).item("run", 1)
        return len(item["states"]) + len(item["ids"] or b"")

    one = size([f"{UUID}:{n}" for n in range(16)])
    each = size([f"{n:08x}{UUID[8:]}" for n in range(16)])
    assert one < 150
    assert each > 256


def test_entries_are_cut_by_packs_and_keep_their_order() -> None:
    positions = [0, 15, 16, 1, 32, 48, 17, 64]
    assert [list(some) for some in by_packs(positions, int, 2)] == [
        [0, 15, 16, 1],
        [32, 48],
        [17, 64],
    ]
    assert list(by_packs([], int)) == []
    assert sum(map(len, by_packs(range(10_000), int))) == 10_000


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | st.text())))
def test_columns_come_back_without_what_is_absent(rows: list[dict[str, Any]]) -> None:
    kept = [{name: v for name, v in row.items() if v is not None} for row in rows]
    assert read_columns(write_columns(rows, "abc", ()), ()) == kept


# The log ----------------------------------------------------------------------------------------

ENTRIES = [
    Entry(1000.25, 7, "a", 1, "submitted", None, None),
    Entry(1000.5, 7, "a", 1, "completed", "exit", 0),
    Entry(1000.5, 9, "b", 0, "dep_failed", "dependency", None),
    Entry(1000.75, 8, "c", 1, "pending", "lost", None),
]


def image(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as an event of Lambda carries it."""
    found = store_item(item)
    if "entries" in found:
        found["entries"] = {"B": base64.b64encode(found["entries"]["B"]).decode()}
    return found


def test_the_log_tells_ends_and_signals_and_nothing_else() -> None:
    item = log_item("run", 5, ENTRIES, ["waits", "waits"], 1)
    assert (item["ended"], item["signals"]) == (2, "waits")
    assert told(image(item)) == told(store_item(item)) == ("run", (7, 9, 8), True)  # 8 is repeated
    assert told(image(log_item("run", 6, ENTRIES[:1], [], 1))) is None
    assert told(image(log_item("run", 7, [], ["begun"], 1))) == ("run", (), True)
    assert told(image(log_item("run", 8, ENTRIES[1:2], [], 1))) == ("run", (7,), False)
    assert told({"kind": {"S": "pack"}, "ended": {"N": "1"}}) is None
    assert told({}) is None


def test_the_log_keeps_changes_as_they_were() -> None:
    changes = changes_of(load_item(store_item(log_item("run", 5, ENTRIES, [], 1))))
    seen = [
        (
            c.at,
            c.position,
            c.task_id,
            c.attempt,
            str(c.state),
            c.reason and str(c.reason),
            c.exit_code,
        )
        for c in changes
    ]
    assert seen == [tuple(entry) for entry in ENTRIES]
    assert changes_of({"kind": "log"}) == []
