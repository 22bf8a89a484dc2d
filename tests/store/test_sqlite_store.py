"""What is special to the store in a SQLite file, and random operations against a simple model."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hut.model.states import ACTIVE, Reason, RunState, TaskState
from hut.planning import extend_run
from hut.store.port import End, Start, StoreError, TaskFilter
from hut.store.sqlite import SqliteStore
from hut.store.sqlite.schema import MIGRATIONS, migrate
from tests.contract.worlds import CANCELLED, COMPLETED, FAILED, LOST, World, sqlite_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return sqlite_world(tmp_path)


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=30, isolation_level=None)


def version_of(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version


def tables_of(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}


# The file -----------------------------------------------------------------------------------------


def test_a_new_file_is_in_wal_mode_and_has_the_newest_version(tmp_path):
    path = tmp_path / "hut.db"
    SqliteStore(path).close()
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert version_of(connection) == len(MIGRATIONS)
        assert tables_of(connection) >= {"runs", "tasks", "specs", "edges", "attempts", "changes"}


def test_the_store_syncs_at_checkpoints_only(tmp_path):
    with closing(SqliteStore(tmp_path / "hut.db")) as store:
        connection = store._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_opening_again_changes_nothing(tmp_path):
    path = tmp_path / "hut.db"
    world = sqlite_world(tmp_path)
    run = world.create({"id": "a"})
    world.store.close()
    with closing(SqliteStore(path)) as again:
        assert again.get_run(run.id).total == 1
        assert version_of(again._connection) == len(MIGRATIONS)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "hut.db"
    path.write_bytes(b"no database at all, but long enough to have a header" * 40)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"hut\.db"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="can't open the store"):
        SqliteStore(tmp_path)


def test_a_store_in_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(StoreError, match="can't open the store"):
        SqliteStore(tmp_path / "nowhere" / "hut.db")


def newer_file(path: Path, journal_mode: str) -> bytes:
    """Make the file of a Hut that is to come; return what is in it."""
    with closing(connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE of_tomorrow (x)")
        connection.execute("INSERT INTO of_tomorrow VALUES (7)")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 5}")
    return path.read_bytes()


def test_a_file_from_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "hut.db"
    before = newer_file(path, "wal")
    with pytest.raises(StoreError, match=f"schema version {len(MIGRATIONS) + 5}"):
        SqliteStore(path)
    assert path.read_bytes() == before
    with closing(connect(path)) as connection:
        assert tables_of(connection) == {"of_tomorrow"}


def test_a_newer_version_may_have_another_journal_mode(tmp_path):
    path = tmp_path / "hut.db"
    before = newer_file(path, "delete")
    with pytest.raises(StoreError, match="schema version"):
        SqliteStore(path)
    assert path.read_bytes() == before


# Migrations ---------------------------------------------------------------------------------------

STEPS = (
    ("CREATE TABLE one (x INTEGER)", "INSERT INTO one VALUES (1)"),
    ("ALTER TABLE one ADD COLUMN y INTEGER", "UPDATE one SET y = x + 1"),
    ("CREATE TABLE three AS SELECT y FROM one",),
)


@pytest.fixture
def connection(tmp_path):
    with closing(connect(tmp_path / "m.db")) as opened:
        yield opened


def test_an_empty_file_goes_through_every_migration_in_order(connection):
    migrate(connection, STEPS)
    assert version_of(connection) == 3
    assert connection.execute("SELECT * FROM one").fetchall() == [(1, 2)]
    assert connection.execute("SELECT * FROM three").fetchall() == [(2,)]


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_a_file_of_any_version_goes_through_what_it_lacks(connection, start):
    migrate(connection, STEPS[:start])
    assert version_of(connection) == start
    migrate(connection, STEPS)
    assert version_of(connection) == 3
    assert connection.execute("SELECT count(*) FROM one").fetchone() == (1,)
    assert connection.execute("SELECT * FROM three").fetchall() == [(2,)]


def test_the_real_tables_survive_migrations_to_come(tmp_path):
    world = sqlite_world(tmp_path)
    run = world.create({"id": "a"})
    more = (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN colour TEXT DEFAULT 'red'",))
    connection = world.store._connection
    migrate(connection, more)
    assert version_of(connection) == len(MIGRATIONS) + 1
    rows = connection.execute("SELECT id, colour FROM runs").fetchall()
    assert rows == [(run.id, "red")]


@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_migration_that_fails_leaves_the_old_version_whole(connection, good):
    migrate(connection, STEPS[:good])
    before = list(connection.iterdump())
    broken = (*STEPS, ("CREATE TABLE left_behind (x)", "INSERT INTO nothing_like_it VALUES (1)"))
    with pytest.raises(sqlite3.OperationalError, match="nothing_like_it"):
        migrate(connection, broken)
    assert not connection.in_transaction
    assert version_of(connection) == good
    assert list(connection.iterdump()) == before
    migrate(connection, STEPS)
    assert version_of(connection) == 3


def test_a_newer_file_is_refused_within_no_transaction(connection):
    migrate(connection, STEPS)
    with pytest.raises(StoreError, match=r"version 3.*2 at most; use the newer Hut"):
        migrate(connection, STEPS[:2])
    assert not connection.in_transaction
    assert version_of(connection) == 3


ADDED = (
    "ALTER TABLE tasks ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",
    "ALTER TABLE specs ADD COLUMN shape TEXT",
    "ALTER TABLE attempts ADD COLUMN zone TEXT NOT NULL DEFAULT 'eu'",
    "ALTER TABLE runs ADD COLUMN weight REAL",
    "ALTER TABLE edges ADD COLUMN kind TEXT",
    "ALTER TABLE settings ADD COLUMN more TEXT",
    "ALTER TABLE idempotency ADD COLUMN more TEXT",
    "CREATE TABLE planets (name TEXT)",
)


def test_a_file_that_a_later_hut_has_added_to_is_used_forth_and_back(tmp_path):
    world = sqlite_world(tmp_path)
    begun = world.create({"id": "a"}, {"id": "b", "deps": ["a"]})
    (claim,) = world.claim(begun)
    migrate(world.store._connection, (*MIGRATIONS, ADDED))
    world.store._connection.execute("UPDATE tasks SET colour = 'blue'")
    for _ in range(2):  # this Hut, and again
        world.store = SqliteStore(tmp_path / "hut.db")
        assert version_of(world.store._connection) == len(MIGRATIONS) + 1
    world.end(begun, (claim, COMPLETED))
    world.complete(begun, "b")
    assert world.store.settle(begun.id, 9.0).state is RunState.COMPLETED
    run = world.create({"id": "g", "generates_source": "g.json"}, {"id": "h", "deps": ["g"]})
    world.complete(run, "g")
    assert world.check(run).counts[TaskState.PENDING] == 1
    colours = world.store._connection.execute("SELECT colour FROM tasks ORDER BY run, pos")
    assert [colour for (colour,) in colours] == ["blue", "blue", "red", "red"]
    migrate(world.store._connection, (*MIGRATIONS, ADDED))
    assert version_of(world.store._connection) == len(MIGRATIONS) + 1


def test_a_file_that_needs_a_later_hut_is_refused(tmp_path):
    path = tmp_path / "hut.db"
    needed = f"UPDATE form SET needs = {len(MIGRATIONS) + 1}"
    with closing(connect(path)) as connection:
        migrate(connection, (*MIGRATIONS, ("CREATE TABLE x (y)", needed)))
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"knows {len(MIGRATIONS) + 1}, but this one knows"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_of_two_that_migrate_at_once_one_does(tmp_path):
    path = tmp_path / "m.db"
    with closing(connect(path)) as first:
        first.execute("PRAGMA journal_mode = WAL")
        migrate(first, STEPS[:1])
    together = threading.Barrier(4)
    faults: list[BaseException] = []

    def open_and_migrate() -> None:
        with closing(connect(path)) as mine:
            together.wait()
            try:
                migrate(mine, STEPS)
            except BaseException as error:  # noqa: BLE001 - it is told by the test
                faults.append(error)

    threads = [threading.Thread(target=open_and_migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    with closing(connect(path)) as after:
        assert version_of(after) == 3
        assert after.execute("SELECT * FROM one").fetchall() == [(1, 2)]
        assert after.execute("SELECT * FROM three").fetchall() == [(2,)]


def test_who_waited_for_a_migration_does_not_repeat_it(tmp_path):
    """The second reads the old version, waits for the first, and must look again."""
    path = tmp_path / "m.db"
    with closing(connect(path)) as first, closing(connect(path)) as second:
        first.execute("PRAGMA journal_mode = WAL")
        asked = 0

        class Hesitant:
            """The second connection, which lets the first go ahead after its look."""

            def execute(self, statement):
                nonlocal asked
                cursor = second.execute(statement)
                if statement == "PRAGMA user_version" and not asked:
                    asked += 1
                    rows = cursor.fetchall()
                    migrate(first, STEPS)
                    return second.execute(f"SELECT {rows[0][0]}")
                return cursor

        migrate(Hesitant(), STEPS)
        assert asked == 1
        assert version_of(second) == 3
        assert second.execute("SELECT * FROM one").fetchall() == [(1, 2)]


def test_who_opens_a_new_file_waits_for_who_makes_it(tmp_path):
    """Of two processes that open a new file at once, the second finds it locked for a moment."""
    path = tmp_path / "hut.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as first:
        first.execute("BEGIN IMMEDIATE")
        first.execute("CREATE TABLE in_the_making (x)")
        release = threading.Timer(0.3, first.execute, ("ROLLBACK",))
        release.start()
        try:
            SqliteStore(path).close()
        finally:
            release.join()


def test_processes_that_open_an_existing_file_at_once_all_get_it(tmp_path):
    path = tmp_path / "hut.db"
    with closing(connect(path)) as first:
        first.execute("PRAGMA journal_mode = WAL")
    context = multiprocessing.get_context("spawn")
    together, answers = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_open_store, args=(path, together, answers)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    answers.close()
    assert found == [len(MIGRATIONS)] * 3


def _open_store(path, together, answers):
    together.wait(60)
    try:
        store = SqliteStore(path)
        answers.put(version_of(store._connection))
        store.close()
    except Exception as error:  # noqa: BLE001 - it is told by the test
        answers.put(repr(error))


# Ended attempts never change ----------------------------------------------------------------------


def freeze_attempts(world: World) -> None:
    """Let every change of an ended attempt fail."""
    for event in ("UPDATE", "DELETE"):
        world.store._connection.execute(
            f"CREATE TRIGGER no_{event.lower()} BEFORE {event} ON attempts "
            "BEGIN SELECT RAISE(ABORT, 'an ended attempt was changed'); END"
        )


def test_the_freeze_notices_changes(world):
    freeze_attempts(world)
    run = world.create({"id": "a"})
    world.complete(run, "a")
    for statement in ("UPDATE attempts SET exit_code = 1", "DELETE FROM attempts"):
        with pytest.raises(sqlite3.IntegrityError, match="was changed"):
            world.store._connection.execute(statement)


def numbers(world, run, task_id):
    """Return what each ended attempt of a task is: its number and how it ended."""
    return [(a.number, str(a.outcome.reason), a.outcome.exit_code) for a in world.attempts(run, task_id)]  # fmt: skip


def test_no_operation_touches_an_ended_attempt(world):
    freeze_attempts(world)
    run = world.create(
        {"id": "a", "retries": 1},
        {"id": "b", "deps": ["a"]},
        {"id": "gen", "generates_source": "g.json"},
    )
    a, gen = world.claim(run)
    adds = extend_run(
        json.dumps([{"id": "n", "command": "true"}]),
        filename="g.json",
        existing=world.store.task_ids(run.id),
    )
    world.end(run, (a, FAILED))
    world.end(run, (gen, COMPLETED), adds=adds)
    assert world.end(run, (a, COMPLETED), (gen, FAILED)) == [False, False]
    again, n = world.claim(run)
    assert (again.spec.id, n.spec.id) == ("a", "n")
    world.end(run, (again, FAILED), (n, LOST))
    (n,) = world.claim(run)
    world.end(run, (n, COMPLETED))
    assert world.store.settle(run.id, world.now).state is RunState.FAILED
    first = numbers(world, run, "a")
    assert first == [(1, "exit", 1), (2, "exit", 1)]

    assert world.control.retry(run.id, world.now) == 2
    (a,) = world.claim(run)
    world.store.cancel_run(run.id, Reason.CANCELLED, world.now)
    world.end(run, (a, CANCELLED), cancelling=True)
    assert world.store.settle(run.id, world.now).state is RunState.CANCELLED
    assert numbers(world, run, "a") == [*first, (3, "cancelled", None)]

    assert world.control.retry(run.id, world.now, everything=True) == 3
    assert world.store.get_task(run.id, "n") is None
    a, gen = world.claim(run)
    world.end(run, (a, COMPLETED))
    adds = extend_run(
        json.dumps([{"id": "n", "command": "true"}]),
        filename="g.json",
        existing=world.store.task_ids(run.id),
    )
    world.end(run, (gen, COMPLETED), adds=adds)
    b, n = world.claim(run)
    assert (b.spec.id, n.spec.id, n.key.attempt) == ("b", "n", 3)
    world.end(run, (b, COMPLETED), (n, COMPLETED))
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED
    assert [number for number, _, _ in numbers(world, run, "n")] == [1, 2, 3]
    assert numbers(world, run, "a")[:3] == [*first, (3, "cancelled", None)]
    world.check(run)


# What is told twice, counts once ------------------------------------------------------------------


def test_of_two_starts_of_one_attempt_in_one_call_one_counts(world):
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.start(run, claim, claim)
    counts = world.check(run).counts
    assert (counts[TaskState.SUBMITTED], counts[TaskState.RUNNING]) == (0, 1)


# A stopped run ends -------------------------------------------------------------------------------


def test_a_claim_given_back_after_the_run_was_cancelled_ends_with_it(world):
    run = world.create({"id": "a"}, {"id": "b"})
    keys = [claim.key for claim in world.claim(run)]
    world.control.cancel(run.id, world.now)
    world.store.release_claims(run.id, keys)
    assert world.store.settle(run.id, world.now).state is RunState.CANCELLED


def test_a_retry_that_was_decided_before_the_run_was_cancelled_does_not_keep_it_open(world):
    run = world.create({"id": "a", "retries": 1})
    (claim,) = world.claim(run)
    end = world.end_record(claim, FAILED)  # the engine has not heard of the cancellation yet
    world.control.cancel(run.id, world.now)
    world.store.record_ended(run.id, [end])
    assert world.store.settle(run.id, world.now).state is RunState.CANCELLED


def test_tasks_that_join_a_cancelled_run_do_not_keep_it_open(world):
    run = world.create({"id": "gen", "generates_source": "g.json"})
    (claim,) = world.claim(run)
    adds = extend_run(
        json.dumps([{"id": "n", "command": "true"}]), filename="g.json", existing=["gen"]
    )
    world.control.cancel(run.id, world.now)
    world.end(run, (claim, COMPLETED), adds=adds, cancelling=True)
    assert world.store.settle(run.id, world.now).ended_at is not None


# Random operations against a model ----------------------------------------------------------------


class Model:
    """What a run is, in the simplest words; and the operations, on it and on the store alike."""

    def __init__(self, world: World, chance: Random) -> None:
        self.world, self.chance = world, chance
        size = chance.randint(1, 9)
        groups = [f"{chance.choice('ab')}.{number}" for number in range(size)]
        # Patterns are barriers in the store; a few that many tasks share are the hard case.
        patterns = ["".join(map(str, range(chance.randint(1, size)))) for _ in range(2)]
        self.deps: dict[str, set[str]] = {}
        tasks = []
        for number, name in enumerate(groups):
            before = groups[:number]
            written = chance.sample(before, chance.randint(0, min(2, number)))
            found = set(written)
            for digits in patterns:
                if len(digits) <= number and chance.random() < 0.5:
                    written.append(f"?.[{digits}]")
                    found.update(other for other in before if other[-1] in digits)
            self.deps[name] = found
            tasks.append({"id": name, "deps": written, "retries": chance.choice([0, 0, 1, 2])})
        self.state = dict.fromkeys(groups, "pending")
        self.attempt = dict.fromkeys(groups, 0)
        self.active: dict[str, object] = {}
        self.old: list[End] = []
        self.ended: Counter[tuple[str, int]] = Counter()
        self.stopped = self.over = False
        self.run = world.create(*tasks)

    def ready(self) -> list[str]:
        return [
            name
            for name, state in self.state.items()
            if state == "pending"
            and all(self.state[other] == "completed" for other in self.deps[name])
        ]

    def spread(self) -> None:
        """Let failures reach what waits behind them."""
        for name, deps in self.deps.items():  # document order: dependencies stand before
            if self.state[name] == "pending" and any(
                self.state[other] in ("failed", "dep_failed") for other in deps
            ):
                self.state[name] = "dep_failed"

    # Operations

    def claim(self) -> None:
        at_most = self.chance.randint(1, 4)
        expected = [] if self.stopped else self.ready()[:at_most]
        claims = self.world.claim(self.run, at_most)
        assert [claim.spec.id for claim in claims] == expected
        for claim in claims:
            name = claim.spec.id
            self.attempt[name] += 1
            assert claim.key.attempt == self.attempt[name]
            self.state[name], self.active[name] = "submitted", claim

    def release(self) -> None:
        if self.stopped:  # see above: a claim that is given back then keeps the run open
            return
        for name, claim in self.some_active():
            given_back = self.world.store.release_claims(self.run.id, [claim.key])
            assert given_back == (self.state[name] == "submitted")
            if given_back:
                self.attempt[name] -= 1
                self.state[name] = "pending"
                del self.active[name]

    def start(self) -> None:
        chosen = self.some_active()
        starts = [Start(claim.key, self.world.now, "7") for _, claim in chosen]
        for _ in range(self.chance.randint(1, 2)):
            self.world.store.record_started(self.run.id, starts)
        for name, _ in chosen:
            self.state[name] = "running"

    def end(self) -> None:
        ends, expected, failed = [], [], []
        for name, claim in self.some_active():
            outcome = self.chance.choice([COMPLETED, COMPLETED, COMPLETED, FAILED, LOST])
            end = self.world.end_record(claim, outcome, cancelling=self.stopped)
            ends.append(end)
            expected.append(True)
            if self.chance.random() < 0.2:
                ends.append(end)
                expected.append(False)
            self.old.append(end)
            self.ended[name, claim.key.attempt] += 1
            del self.active[name]
            self.state[name] = str(end.next.state)
            failed.append(end.next.state is TaskState.FAILED)
        assert self.world.store.record_ended(self.run.id, ends) == expected
        self.spread()

    def end_again(self) -> None:
        """Tell of ends long known, as a slow machine would: nothing happens."""
        for end in self.chance.sample(self.old, min(3, len(self.old))):
            assert self.world.store.record_ended(self.run.id, [end]) == [False]

    def cancel(self) -> None:
        if self.chance.random() < 0.7:
            return
        self.world.store.cancel_run(self.run.id, Reason.CANCELLED, self.world.now)
        if not self.over:
            self.stopped = True
            for name, state in self.state.items():
                if state == "pending":
                    self.state[name] = "failed"

    def settle(self) -> None:
        record = self.world.store.settle(self.run.id, self.world.now)
        done = {"completed", "failed", "dep_failed"}
        self.over = set(self.state.values()) <= done
        assert (record.ended_at is not None) == self.over
        if self.over:
            whole = set(self.state.values()) == {"completed"}
            bad = RunState.CANCELLED if self.stopped else RunState.FAILED
            assert record.state is (RunState.COMPLETED if whole else bad)

    def reset(self) -> None:
        everything = self.chance.random() < 0.3
        if not self.over:
            with pytest.raises(StoreError, match="has not ended"):
                self.world.control.retry(self.run.id, self.world.now, everything=everything)
            return
        again = [n for n, state in self.state.items() if everything or state != "completed"]
        count = self.world.control.retry(self.run.id, self.world.now, everything=everything)
        assert count == len(again)
        if again:
            self.over = self.stopped = False
        for name in again:
            self.state[name] = "pending"

    def new_epoch(self) -> None:
        """Take the run up again; who held claims before holds them still."""
        if not self.over:
            self.run = self.world.store.begin_epoch(self.run.id, self.world.now)

    def some_active(self):
        names = sorted(self.active)
        chosen = self.chance.sample(names, self.chance.randint(0, len(names)))
        return [(name, self.active[name]) for name in chosen]

    # What always holds

    def check(self) -> None:
        self.world.check(self.run)
        tasks = {
            task.spec.id: task for task in self.world.store.list_tasks(self.run.id, TaskFilter())
        }
        assert {name: str(task.state) for name, task in tasks.items()} == self.state
        assert {name: task.attempt for name, task in tasks.items()} == self.attempt
        for name, task in tasks.items():
            deps = {other: tasks[other].state for other in self.deps[name]}
            whole = all(state is TaskState.COMPLETED for state in deps.values())
            broken = {TaskState.FAILED, TaskState.DEP_FAILED} & set(deps.values())
            if task.state in ACTIVE:
                assert whole, name
            if task.state is TaskState.DEP_FAILED:
                assert broken, name
                assert self.reaches(task.cause, name, tasks)
            elif task.state is TaskState.PENDING:
                assert not broken, name
                assert (task.waiting_for == 0) == whole, name
                waits, count = self.world.store.open_dependencies(self.run.id, task.position, 99)
                assert {d.task_id for d in waits} == {
                    other for other, state in deps.items() if state is not TaskState.COMPLETED
                }
                assert count == len(waits)
            ended = [a.number for a in self.world.attempts(self.run, name)]
            known = sorted(number for (of, number), _ in self.ended.items() if of == name)
            assert ended == known, name
        assert set(self.ended.values()) <= {1}

    def reaches(self, cause, name, tasks) -> bool:
        """Say whether the root cause is a failed task that `name` depends on, however far."""
        roots, seen = [name], set()
        while roots:
            for other in self.deps[roots.pop()] - seen:
                seen.add(other)
                roots.append(other)
        return any(
            tasks[other].position == cause and tasks[other].state is TaskState.FAILED
            for other in seen
        )

    OPERATIONS = (
        claim, claim, claim, release, start, end, end, end, end_again, cancel, settle, reset,
        new_epoch,
    )  # fmt: skip

    def step(self) -> str:
        operation = self.chance.choice(self.OPERATIONS)
        operation(self)
        return operation.__name__

    def finish(self) -> None:
        """Work on the run until it ends, as any run must."""
        for _ in range(200):
            self.claim()
            ends = []
            for name, claim in sorted(self.active.items()):
                ends.append(self.world.end_record(claim, COMPLETED))
                self.ended[name, claim.key.attempt] += 1
                self.state[name] = "completed"
            self.active.clear()
            assert all(self.world.store.record_ended(self.run.id, ends))
            self.settle()
            if self.over:
                return
        pytest.fail("the run did not end")


def drive(folder: Path, chance: Random, steps: int) -> list[str]:
    world = sqlite_world(folder)
    freeze_attempts(world)
    world.store._connection.execute("PRAGMA synchronous = OFF")
    model = Model(world, chance)
    done = []
    try:
        for _ in range(steps):
            done.append(model.step())
            model.check()
        model.finish()
        model.check()
    finally:
        world.store.close()
    return done


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Give every example a folder of its own."""
    return lambda: tmp_path_factory.mktemp("store")


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(chance=st.randoms(use_true_random=False), steps=st.integers(1, 40))
def test_random_operations_do_what_the_model_says(scratch, chance, steps):
    drive(scratch(), chance, steps)


def test_long_lives_of_runs_reach_every_operation(scratch):
    done: Counter[str] = Counter()
    for seed in range(15):
        done.update(drive(scratch(), Random(seed), 80))
    assert done.keys() == {operation.__name__ for operation in Model.OPERATIONS}


def test_a_full_disk_undoes_the_change_and_the_store_goes_on_when_there_is_room(world):
    run = world.create({"id": "a"})
    connection = world.store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = [{"id": f"t{i}", "command": "x" * 500} for i in range(200)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        world.create(*large)
    with pytest.raises(sqlite3.OperationalError, match="full"), world.store.batch():
        world.create(*large)
    assert not connection.in_transaction
    assert world.claimed(run) == ["a"]
    connection.execute("PRAGMA max_page_count = 100000")
    assert world.create(*large).total == 200
    assert world.store.check() is None
