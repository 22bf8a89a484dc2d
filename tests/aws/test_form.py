"""The form of a table: who may work on it, and how it becomes another one while runs go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from hut.store.dynamodb import form
from hut.store.dynamodb.form import FORM, Migration, check, form_key, migrate
from hut.store.dynamodb.keys import meta_key
from hut.store.dynamodb.table import Table
from hut.store.port import UnusableStore
from tests.aws.store_world import StoreWorld, tasks
from tests.aws.watched_client import Killed
from tests.contract.worlds import COMPLETED
from tests.testbed.running import TestBed

LATER = 1_000_000.0


@pytest.fixture
def world(test_bed: TestBed) -> StoreWorld:
    return StoreWorld(test_bed, follow="stream")


@pytest.fixture
def table(world: StoreWorld) -> Table:
    return Table(world.client, world.options.table, sleep=world.slept.append)


def always() -> bool:
    return True


def said(table: Table) -> dict[str, Any]:
    return table.get(form_key()) or {}


def counting(pieces: int, done: list[str]) -> Migration:
    """A migration of some pieces, which notes what it does."""

    def piece(_: Table, at: str) -> str | None:
        done.append(at)
        return None if len(at) == pieces - 1 else at + "i"

    return Migration(piece)


def through(table: Table, migrations: list[Migration], calls: int = 10) -> int:
    """Sweep until nothing more happens; return the form."""
    found, now = 0, LATER
    for _ in range(calls):
        found = migrate(table, now, always, migrations)
        now += 200.0
    return found


# Who may work on it -------------------------------------------------------------------------------


def test_a_table_that_nothing_is_said_of_is_fine(table: Table) -> None:
    assert check(table) == {}


def test_a_table_of_a_later_form_that_needs_no_more_is_fine(table: Table) -> None:
    table.put({"pk": "FORM", "sk": "FORM", "form": FORM + 3, "needs": FORM})
    assert check(table)["form"] == FORM + 3
    assert migrate(table, LATER, always) == FORM + 3
    assert said(table)["form"] == FORM + 3


def test_a_table_that_needs_a_later_hut_is_refused_and_left_alone(table: Table) -> None:
    table.put({"pk": "FORM", "sk": "FORM", "form": FORM + 1, "needs": FORM + 1})
    before = said(table)
    for work in (lambda: check(table), lambda: migrate(table, LATER, always)):
        with pytest.raises(UnusableStore, match=f"knows form {FORM + 1} .* deploy the release"):
            work()
    assert said(table) == before


def test_a_closed_table_says_why(table: Table) -> None:
    table.put({"pk": "FORM", "sk": "FORM", "closed": "it is being restored"})
    with pytest.raises(UnusableStore, match="is closed: it is being restored"):
        check(table)


# Migrations ---------------------------------------------------------------------------------------


def test_a_migration_waits_until_no_earlier_function_can_be_alive(table: Table) -> None:
    done: list[str] = []
    steps = [counting(1, done)]
    assert migrate(table, LATER, always, steps) == 0
    assert migrate(table, LATER + 170, always, steps) == 0
    assert done == []
    assert migrate(table, LATER + 190, always, steps) == 1
    assert done == [""]


def test_the_next_release_waits_too(table: Table) -> None:
    first, second = list[str](), list[str]()
    steps = [counting(1, first), counting(1, second)]
    through(table, steps[:1])
    assert migrate(table, LATER + 10_000, always, steps) == 1
    assert second == []
    assert migrate(table, LATER + 10_200, always, steps) == 2


def test_a_large_migration_takes_several_sweeps(table: Table) -> None:
    done: list[str] = []
    assert through(table, [counting(50, done)], calls=2) == 0
    assert 0 < len(done) < 50
    assert through(table, [counting(50, done)]) == 1
    assert done == ["i" * number for number in range(50)]


def test_a_migration_ends_with_the_time(table: Table) -> None:
    done: list[str] = []
    migrate(table, LATER, always, [counting(2, done)])
    assert migrate(table, LATER + 200, lambda: not done, [counting(2, done)]) == 0
    assert done == [""]


def test_what_needs_it_is_said_before_anything_is_changed(table: Table) -> None:
    needs: list[int] = []

    def piece(table: Table, _: str) -> None:
        needs.append(said(table)["needs"])

    through(table, [counting(1, []), Migration(piece, needs=2)])
    assert needs == [2]
    assert said(table) | {"form": 2, "needs": 2} == said(table)


@pytest.mark.parametrize("after", range(9))
def test_a_migration_that_dies_before_any_write_goes_on(
    world: StoreWorld, table: Table, after: int
) -> None:
    done: list[str] = []
    steps = [counting(3, done), dataclasses.replace(counting(2, done), needs=2)]
    world.client.die("update_item", after)
    try:
        through(table, steps)
    except Killed:
        world.client.dead = False
    assert through(table, steps) == 2
    assert said(table)["needs"] == 2
    assert set(done) == {"", "i", "ii"}


def test_two_that_migrate_at_once_do_not_take_each_other_back(
    world: StoreWorld, table: Table
) -> None:
    done: list[str] = []
    steps = [counting(4, done), counting(1, done)]
    migrate(table, LATER, always, steps)
    other = Table(world.bed.client("dynamodb"), world.options.table)

    def another_first(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        migrate(other, LATER + 200, always, steps)
        return call(**arguments)

    world.client.instead("update_item", another_first)
    migrate(table, LATER + 200, always, steps)
    assert said(table)["form"] >= 1
    assert through(table, steps) == 2


# The real ones ------------------------------------------------------------------------------------


def test_runs_that_go_on_are_stamped_and_new_ones_are(world: StoreWorld, table: Table) -> None:
    runs = [world.register(world.reserve(*tasks("a", "b"))) for _ in range(3)]
    for run in runs[:2]:  # as an earlier Hut submitted them
        item = table.get(meta_key(run.id))
        assert item is not None
        del item["form"]
        table.put(item)
    claims = world.claim(runs[0])
    assert through(table, list(form.MIGRATIONS)) == FORM
    stamps = [table.get(meta_key(run.id)) for run in runs]
    assert [item["form"] for item in stamps if item] == [0, 0, FORM]
    # It goes on as before, also under an earlier Hut, which keeps what it does not know.
    world.end(runs[0], *[(claim, COMPLETED) for claim in claims])
    assert world.check(runs[0]).counts["completed"] == 2
    assert (table.get(meta_key(runs[0].id)) or {})["form"] == 0


def test_very_many_runs_are_stamped_page_by_page(
    world: StoreWorld, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "_RUNS_AT_ONCE", 3)
    runs = [world.reserve(*tasks("a")) for _ in range(10)]
    for run in runs:
        item = table.get(meta_key(run.id))
        assert item is not None
        table.put({name: value for name, value in item.items() if name != "form"})
    assert through(table, list(form.MIGRATIONS)) == FORM
    assert all("form" in (table.get(meta_key(run.id)) or {}) for run in runs)


def test_a_change_under_way_does_not_lose_the_stamp(world: StoreWorld, table: Table) -> None:
    run = world.register(world.reserve(*tasks("a")))
    item = table.get(meta_key(run.id))
    assert item is not None
    table.put({name: value for name, value in item.items() if name != "form"})

    def stamp_first(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        plain = Table(world.bed.client("dynamodb"), world.options.table)
        through(plain, list(form.MIGRATIONS))
        return call(**arguments)

    world.client.instead("transact_write_items", stamp_first)
    assert len(world.claim(run)) == 1
    assert (table.get(meta_key(run.id)) or {})["form"] == 0
