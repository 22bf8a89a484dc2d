"""How much is written of a run that records failures only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hut.model.run_options import Recording, RunOptions
from hut.store.sqlite import SqliteStore
from tests.contract.worlds import COMPLETED, FAILED, World, simulated_world

TASKS, FAILURES = 100, 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = SqliteStore(tmp_path / "hut.db")
    yield World(store, lambda: SqliteStore(tmp_path / "hut.db"))
    store.close()


def play(world: World, record: Recording) -> str:
    """Run a hundred tasks, three of which fail; their ends are told in one call."""
    tasks = [{"id": f"t{number}"} for number in range(TASKS)]
    run = world.create(*tasks, options=RunOptions(record=record))
    claims = world.claim(run, TASKS)
    world.start(run, *claims)
    failed = {claim.spec.id for claim in claims[:FAILURES]}
    world.end(run, *((c, FAILED if c.spec.id in failed else COMPLETED) for c in claims))
    return run.id


@pytest.mark.parametrize(
    ("record", "attempts", "changes"),
    [("all", TASKS, 3 * TASKS), ("failures", FAILURES, FAILURES)],
)
def test_rows_of_the_file_on_one_machine(
    world: World, tmp_path: Path, record: Recording, attempts: int, changes: int
) -> None:
    import sqlite3

    play(world, record)
    with sqlite3.connect(tmp_path / "hut.db") as connection:
        for table, rows in (("attempts", attempts), ("changes", changes)):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,)
        assert connection.execute("SELECT completed, failed, running FROM runs").fetchone() == (
            TASKS - FAILURES,
            FAILURES,
            0,
        )


def test_a_group_of_ends_is_one_transaction_on_dynamodb(tmp_path: Path) -> None:
    """Claims leave nothing in the log, and the ends one entry, with the failures alone in it."""
    world = simulated_world(tmp_path, lambda: pytest.fail("no test bed is needed"))
    run = play(world, "failures")
    told, last = world.store.changes(run, 0)
    assert [str(each.state) for each in told] == ["failed"] * FAILURES
    items = [
        item
        for item in world.store._table.scan()  # type: ignore[attr-defined]
        if item["pk"] == f"RUN#{run}#LOG"
    ]
    assert len(items) == 1
    assert items[0]["ended"] == TASKS
    assert len(items[0]["done"].split()) == TASKS - FAILURES
    assert last == items[0]["number"]
