"""A table that comes back from a backup, at any moment of a run, whole or torn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hut.model.records import RunRecord
from hut.model.states import ACTIVE, Reason, RunState, TaskState
from hut.store.dynamodb.copying import bring_back, close, count_active, open_again, runs_since
from hut.store.dynamodb.form import check
from hut.store.dynamodb.table import Table
from hut.store.port import StoreError, UnknownRun, UnusableStore
from tests.aws.watched_client import WRITES, Killed
from tests.aws_table import new_options
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import CANCELLED, FAILED, FakeJob

Snapshot = list[dict[str, Any]]

GENERATED = '[{"id": "x", "command": "true"}, {"id": "y", "command": "true", "deps": ["x", "b"]}]'
TASKS: list[dict[str, Any]] = [
    {"id": "a", "retries": 2, "retry_delay": "60s"},
    {"id": "b"},
    {"id": "c", "deps": ["a", "b"]},
    {"id": "g", "deps": ["b"], "generates_source": "g.json"},
    *({"id": f"t{i}", "deps": ["b"]} for i in range(20)),
    {"id": "end", "deps": ["t*", "c"]},
    {"id": "bad", "deps": ["b"]},
    {"id": "never", "deps": ["bad", "c"]},
]
ENDS = {"completed": 27, "failed": 1, "dep_failed": 1}


@pytest.fixture
def plane(make_plane: Callable[..., ControlPlane]) -> ControlPlane:
    return make_plane(caps={"batch": 12})


def scenario(plane: ControlPlane) -> Iterator[Snapshot]:
    """Bring a run from its submission to its end; yield what the table holds after each step."""
    plane.backend.generated["g"] = GENERATED
    plane.backend.outcomes |= {"a": [FAILED], "bad": [FAILED] * 9}
    run = plane.submit(*TASKS)
    yield snapshot(plane)
    for _ in range(100):
        for step in (
            plane.step_executions,
            plane.deliver_stream,
            plane.deliver_wakes,
            plane.deliver_jobs,
        ):
            if step():
                yield snapshot(plane)
        active = plane.backend.active()
        if active:
            plane.backend.start(*active)
            plane.backend.end(*active[: max(1, len(active) // 2)])
        elif plane.wakes.waiting:
            plane.clock.now = min(due for due, _, _ in plane.wakes.waiting)
        elif plane.run(run).ended_at is not None:
            return


def snapshot(plane: ControlPlane) -> Snapshot:
    return list(table_of(plane).scan())


def torn(items: Snapshot, others: Snapshot, *, runs: bool) -> Snapshot:
    """Return a backup whose run items, or all but them, are from another moment."""

    def is_taken(item: dict[str, Any]) -> bool:
        return (item.get("kind") == "run") is not runs

    return [i for i in items if is_taken(i)] + [i for i in others if not is_taken(i)]


def backup_of(plane: ControlPlane, items: Snapshot) -> Table:
    """Make the table that AWS restores a backup into."""
    table = Table(plane.bed.client("dynamodb"), new_options(plane.bed).table)
    table.put_all(items)
    return table


def table_of(plane: ControlPlane) -> Table:
    return Table(plane.bed.client("dynamodb"), plane.options.table)


def restore(plane: ControlPlane, items: Snapshot) -> dict[str, str]:
    """Do what `hutctl recover restore` does; return the runs that can't go on."""
    backup, table = backup_of(plane, items), table_of(plane)
    close(table, "it is being restored")
    with pytest.raises(UnusableStore, match="closed"):
        check(table)
    broken = {}
    copied = bring_back(backup, table, plane.clock.now)
    store = plane.store = plane.store.__class__(
        plane.client, plane.s3, plane.options, clock=plane.clock
    )
    store._table.sleep = lambda _: None
    for run_id in copied.runs:
        try:
            store.take_up(run_id, plane.clock.now)
        except StoreError as error:
            broken[run_id] = str(error)
    count_active(table)
    end_leftovers(plane)
    open_again(backup, table)
    return broken


def end_leftovers(plane: ControlPlane) -> None:
    for job in plane.backend.active():
        if not is_wanted(plane, job):
            plane.backend._end(job, CANCELLED)
    for execution in plane.executions.started.values():
        try:
            generation = plane.store.standing(execution.run_id).generation
        except UnknownRun:
            generation = -1
        if generation != execution.generation:
            execution.over = True


def is_wanted(plane: ControlPlane, job: FakeJob) -> bool:
    key = job.parsed.key
    assert key is not None
    try:
        task = plane.store.get_tasks(job.run_id, [key.position]).get(key.position)
    except UnknownRun:
        return False
    is_it = task is not None and (task.attempt, task.epoch) == (key.attempt, key.epoch)
    return is_it and task.state in ACTIVE and task.handle in (None, job.handle)


def go_on(plane: ControlPlane) -> None:
    """Let the run end, and see that it is what it would have been."""
    for run_id in ("run1",):
        done = plane.finish(plane.run(run_id), sweeps=8)
        assert done.state is RunState.FAILED
        counts = {str(state): number for state, number in done.counts.items() if number}
        assert counts == ENDS, plane.states(done)
        assert plane.is_over(done)
    assert plane.busy() == 0
    # A job that ran and that is not an attempt's ran before the backup's end was known.
    assert not plane.backend.active()


def finished(plane: ControlPlane, run_id: str) -> RunRecord:
    """Let a run end of which not all tasks are there."""
    for _ in range(20):
        plane.clock.now += 200
        plane.invoke(plane.sweep)
        plane.deliver()
        if plane.run(run_id).ended_at is not None:
            return plane.run(run_id)
    raise AssertionError(f"run {run_id} does not end")


@pytest.mark.parametrize("later", [2, 100])
@pytest.mark.parametrize("moment", range(20))
def test_a_run_goes_on_from_any_moment(plane: ControlPlane, moment: int, later: int) -> None:
    kept: list[Snapshot] = []
    for items in scenario(plane):
        kept.append(items)
        if len(kept) == moment + later:
            break
    backup = kept[min(moment, len(kept) - 1)]
    plane.clock.now += 300
    assert restore(plane, backup) == {}
    go_on(plane)


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("moment", range(2, 20))
def test_a_torn_backup_is_mended(plane: ControlPlane, moment: int, runs: bool) -> None:
    kept = list(scenario(plane))
    assert moment + 1 < len(kept)
    plane.clock.now += 300
    broken = restore(plane, torn(kept[moment], kept[moment + 1], runs=runs))
    if broken:  # tasks joined just then: it says so, and a person decides
        assert "missing" in broken["run1"]
        plane.submitting.cancel("run1", plane.clock.now)
        assert finished(plane, "run1").state is RunState.CANCELLED
        return
    go_on(plane)


def test_what_has_not_changed_is_left_alone(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver_stream()
    backup = snapshot(plane)
    before = plane.run(run)
    assert restore(plane, backup) == {}
    assert plane.run(run) == before
    assert plane.finish(run).state is RunState.COMPLETED
    assert len(plane.backend.jobs) == 2


def test_runs_since_the_backup_are_told_and_gone(plane: ControlPlane) -> None:
    old = plane.begin({"id": "a"})
    backup = snapshot(plane)
    plane.clock.now += 1
    new = [plane.begin({"id": "b"}, key=f"k{number}") for number in range(3)]
    plane.deliver_stream()
    told = runs_since(backup_of(plane, backup), table_of(plane))
    assert [item["id"] for item in told] == [run.id for run in new]
    restore(plane, backup)
    left = {item["pk"].split("#")[1] for item in snapshot(plane) if item["pk"].startswith("RUN#")}
    assert left == {old.id}
    assert not [job for job in plane.backend.active() if job.run_id != old.id]
    assert all(e.over for e in plane.executions.started.values() if e.run_id != old.id)
    # The same key is another submission now.
    again = plane.submit({"id": "b"}, key="k1")
    assert again.id not in {run.id for run in new}
    plane.finish(old, sweeps=2)


def test_a_run_that_was_being_cancelled_ends_so(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver_stream()
    plane.submitting.cancel(run.id, plane.clock.now)
    backup = snapshot(plane)
    plane.deliver()
    plane.clock.now += 300
    assert restore(plane, backup) == {}
    done = plane.finish(run, sweeps=5)
    assert (done.state, done.reason) == (RunState.CANCELLED, Reason.CANCELLED)


def test_a_run_that_was_repeated_since_can_be_repeated_again(plane: ControlPlane) -> None:
    plane.backend.outcomes["a"] = [FAILED] * 3
    run = plane.begin({"id": "a"})
    plane.finish(run)
    backup = snapshot(plane)
    plane.submitting.retry(run.id)
    plane.finish(run)
    assert restore(plane, backup) == {}
    assert plane.run(run).state is RunState.FAILED
    assert plane.submitting.retry(run.id)[0] == 1
    assert plane.executions.calls[-1] == f"{run.id}-2"  # not one that was there before
    assert plane.finish(run, sweeps=2).state is RunState.FAILED
    assert plane.task(run, "a").attempt == 2
    assert plane.is_over(run)


def test_a_repetition_under_way_goes_on(plane: ControlPlane) -> None:
    plane.backend.outcomes["a"] = [FAILED]
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.finish(run)
    plane.submitting.retry(run.id)
    backup = snapshot(plane)
    plane.finish(run)
    plane.clock.now += 300
    assert restore(plane, backup) == {}
    assert plane.finish(run, sweeps=3).state is RunState.COMPLETED
    assert plane.task(run, "b").attempt == 1
    assert plane.is_over(run)


def test_a_delayed_retry_keeps_its_time(plane: ControlPlane) -> None:
    plane.backend.outcomes["a"] = [FAILED]
    run = plane.begin({"id": "a", "retries": 1, "retry_delay": "1h"})
    plane.deliver_stream()
    plane.backend.run_all()
    plane.deliver_jobs()
    backup = snapshot(plane)
    plane.finish(run)
    plane.clock.now -= 3000
    plane.lose_events()
    assert restore(plane, backup) == {}
    at = plane.task(run, "a").not_before
    plane.sweep()
    plane.deliver()
    assert plane.store.next_retry(run.id, plane.clock.now) == at
    assert not plane.backend.active()
    assert plane.finish(run, sweeps=3).state is RunState.COMPLETED
    assert plane.task(run, "a").attempt == 2


def test_a_newer_token_is_kept(plane: ControlPlane) -> None:
    run = plane.submit({"id": "a"})
    backup = snapshot(plane)
    plane.step_executions()
    restore(plane, backup)
    assert plane.store.token(run.id, 0) == f"token-{run.id}-0"


def test_what_has_expired_does_not_come_back(plane: ControlPlane) -> None:
    plane.begin({"id": "a"})
    backup = snapshot(plane)
    plane.clock.now += 91 * 86400
    for item in backup:
        plane.bed.client("dynamodb").delete_item(
            TableName=plane.options.table, Key={n: {"S": item[n]} for n in ("pk", "sk")}
        )
    restore(plane, backup)
    assert [item for item in snapshot(plane) if item["pk"].startswith("RUN")] == []


def test_a_backup_of_a_later_hut_is_refused_before_anything_is_written(
    plane: ControlPlane,
) -> None:
    plane.begin({"id": "a"})
    before = snapshot(plane)
    backup = backup_of(plane, [{"pk": "FORM", "sk": "FORM", "form": 9, "needs": 9}])
    with pytest.raises(UnusableStore, match="needs a Hut that knows form 9"):
        bring_back(backup, table_of(plane), plane.clock.now)
    assert snapshot(plane) == before


def test_tasks_that_are_missing_are_told(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{number}"} for number in range(40)))
    items = [item for item in snapshot(plane) if item["sk"] != "PACK#0000016"]
    plane.deliver()
    plane.clock.now += 300
    broken = restore(plane, items)
    assert broken == {run.id: f"of run {run.id} 16 of 40 tasks are missing"}
    plane.submitting.cancel(run.id, plane.clock.now)
    done = finished(plane, run.id)
    assert (done.state, done.counts[TaskState.FAILED]) == (RunState.CANCELLED, 40)


@pytest.mark.parametrize("write", range(40))
def test_a_restore_that_dies_is_done_again(plane: ControlPlane, write: int) -> None:
    kept = list(scenario(plane))
    plane.clock.now += 300
    dying = Table(_Dying(plane.bed.client("dynamodb"), write), plane.options.table)
    backup = backup_of(plane, kept[7])
    try:
        close(dying, "restoring")
        copied = bring_back(backup, dying, plane.clock.now)
        store = plane.store.__class__(dying._client, plane.s3, plane.options, clock=plane.clock)
        for run_id in copied.runs:
            store.take_up(run_id, plane.clock.now)
        count_active(dying)
    except Killed:
        pass
    assert restore(plane, kept[7]) == {}
    go_on(plane)


class _Dying:
    """A client whose process dies before one of its writes."""

    def __init__(self, client: Any, before: int) -> None:
        self._client = client
        self._left = before

    def __getattr__(self, operation: str) -> Any:
        if operation in WRITES:
            self._left -= 1
            if self._left < 0:
                raise Killed
        return getattr(self._client, operation)
