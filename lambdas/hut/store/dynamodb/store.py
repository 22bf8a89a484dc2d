"""The writing half of the DynamoDB store.

Each public operation is one unit of work, or several one after the other where it is too large for
a transaction; see `unit` for the condition that protects them all. What follows from ends is done
at once (``follow="inline"``) or left to the reader of the table's stream (``follow="stream"``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

from hut.lifecycle.money import spending
from hut.lifecycle.retry import Spent
from hut.lifecycle.run import end_of_run, is_over
from hut.model.records import Refusal, RunRecord
from hut.model.states import ACTIVE, Reason, RunState, TaskState, read_reason
from hut.scheduling.room import Caps, is_spent, room
from hut.scheduling.twins import speaks_of
from hut.store.dynamodb.arrays import Arrays
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.dependencies import Followers
from hut.store.dynamodb.growth import Growth
from hut.store.dynamodb.items import counts_of, put_away, wanted_at
from hut.store.dynamodb.joining import Joining, wake
from hut.store.dynamodb.keys import PACK, backend_key, listing_key
from hut.store.dynamodb.options import StoreOptions
from hut.store.dynamodb.packs import MOST_PACKS, by_packs
from hut.store.dynamodb.reading import Reading
from hut.store.dynamodb.ready import take_ready
from hut.store.dynamodb.refusals import forget_refusals, note_refusals
from hut.store.dynamodb.repeating import Repeating
from hut.store.dynamodb.table import Condition, Key, Lost, Table, Write, pauses
from hut.store.dynamodb.twins import Twins
from hut.store.dynamodb.unit import NoRoom, Raced, Unit
from hut.store.dynamodb.values import Item
from hut.store.dynamodb.waiting import View, Waiting
from hut.store.events import Bundle, Destination
from hut.store.port import (
    AttemptKey,
    Claim,
    ClaimRequest,
    End,
    Start,
    StoreError,
)

__all__ = ["DynamoStore"]

_T = TypeVar("_T")

RACES = 16  # tries of one change; eight callers at once need three or four, on a busy machine more
_AT_ONCE = MOST_PACKS * PACK  # tasks that one change concerns at most
_MOST_MESSAGE = 2000
_OF_LAST_ATTEMPT = (
    "started",
    "ended",
    "reason",
    "message",
    "code",
    "cause",
    "handle",
    "log",
    "own",
)
_BEFORE_START = "cancelled before it started"


class GivenUp(StoreError):  # noqa: N818 - says what happened
    """Other changes of a run came first each time."""


class DynamoStore(Growth, Joining, Repeating, Twins):
    """Runs in one DynamoDB table.

    Parameters
    ----------
    dynamodb, s3
        Clients of boto3 or botocore.
    options
        See `StoreOptions`.
    clock
        Seconds since the epoch, for locks.
    sleep
        How to wait for a throttled call or a race.
    """

    def __init__(
        self,
        dynamodb: Any,
        s3: Any,
        options: StoreOptions,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        table = Table(dynamodb, options.table, sleep=sleep)
        Reading.__init__(self, table, Bodies(s3, options.bucket))
        self._options = options
        self._clock = clock
        self._units: dict[str, Unit] | None = None
        self._followers = Followers(self._table, self._tasks, self._bodies, self._work)
        self._arrays = Arrays(self._table, self._bodies)
        self._waiting = Waiting(self._table)

    # Units of work ------------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write the calls inside together, one transaction for each run they change.

        Raises
        ------
        StoreError
            At the end, if the run was changed by somebody else or it is too much for a transaction;
            then nothing of it was written.
        """
        if self._units is not None:
            yield
            return
        self._units = {}
        try:
            yield
            units = self._units
        finally:
            self._units = None
        for run_id, unit in units.items():
            try:
                unit.commit()
            except (Raced, NoRoom):
                raise StoreError(f"run {run_id} was changed meanwhile; do it again") from None
        for run_id, unit in units.items():
            self._after(run_id, unit.follow)

    def _work(self, run_id: str, work: Callable[[Unit], _T]) -> _T:
        """Do a change of a run, anew as often as another one comes first."""
        if self._units is not None:
            if run_id not in self._units:
                self._units[run_id] = self._unit(run_id)
            return work(self._units[run_id])
        for pause in pauses(RACES, base=0.02, most=2.0):
            unit = self._unit(run_id)
            result = work(unit)
            try:
                unit.commit()
            except Raced:
                self._table.sleep(pause)
                continue
            self._after(run_id, unit.follow)
            return result
        raise GivenUp(f"run {run_id} is being changed by too many at once; do it again")

    def _unit(self, run_id: str) -> Unit:
        return Unit(self._table, self._tasks, run_id, self._options.counts)

    def _after(self, run_id: str, positions: Sequence[int]) -> None:
        if positions and self._options.follow == "inline":
            self._followers.follow(run_id, positions)

    def follow(self, run_id: str, positions: Sequence[int]) -> None:
        """Do what follows from the ends of tasks; the same the second time."""
        self._followers.follow(run_id, positions)

    # Claiming -----------------------------------------------------------------------------------

    def begin_epoch(self, run_id: str, now: float) -> RunRecord:
        """Note that an engine takes the run up; claims of earlier epochs can be told apart."""

        def begin(unit: Unit) -> Item:
            meta = unit.meta
            meta["epoch"] += 1
            meta.setdefault("started", now)
            if meta["state"] == RunState.PENDING:
                meta["state"] = str(RunState.RUNNING)
            unit.touch_run()
            return meta

        return self._record(self._work(run_id, begin))

    def claim(self, request: ClaimRequest) -> list[Claim]:
        """Take ready tasks: higher priority first, then document order.

        On a capped backend no more than the run's share of the free places; what more is ready then
        waits for room (see `waiting`).
        """
        claims: list[Claim] = []
        turns = pauses(RACES, base=0.02, most=1.0)
        while len(claims) < request.at_most:
            try:
                wanted = min(request.at_most - len(claims), _AT_ONCE)
                found, more, meta, view = self._work(
                    request.run_id, partial(self._claim, request, wanted)
                )
            except NoRoom:  # somebody else took a place, or began to wait for one: look again
                pause = next(turns, None)
                if pause is None:
                    break
                self._table.sleep(pause)
                continue
            except GivenUp:
                if claims:  # they are stored, so the caller must have them
                    break
                raise
            claims.extend(found)
            if more and (found or self._units is None):
                continue
            # A batch does not get any further by looking again.
            if view is None or self._keep_place(request, meta, view, wanted, len(found)):
                break
            if next(turns, None) is None:
                break
        return claims

    def _keep_place(
        self, request: ClaimRequest, meta: Item, view: View, wanted: int, found: int
    ) -> bool:
        """Note whether a run waits for room; say whether that is how it is."""
        backend, run_id = request.backend, request.run_id
        active = sum(counts_of(meta)[state] for state in ACTIVE)
        own = wanted - found if request.caps.run is None else request.caps.run - active
        waits = found == view.share * request.share < wanted and own > 0
        if waits and self._waiting.has_ready(backend, meta, request.now):
            return self._waiting.keep(backend, meta, view, request.now)
        if view.note is not None:
            self._waiting.leave(backend, run_id)
        return True

    def _claim(
        self, request: ClaimRequest, most: int, unit: Unit
    ) -> tuple[list[Claim], bool, Item, View | None]:
        """Take what fits into one transaction; say whether there may be more, and what was seen."""
        meta = unit.meta
        begun = meta.get("begun", meta["generation"]) == meta["generation"]
        if meta.get("stop") or meta["phase"] != "active" or not begun:
            return [], False, meta, None
        if is_spent(meta.get("cost"), request.caps):
            return [], False, meta, None
        counts = counts_of(meta)
        if not counts[TaskState.PENDING]:
            return [], False, meta, None
        active = counts[TaskState.SUBMITTED] + counts[TaskState.RUNNING]
        wanted = room(most, Caps(run=request.caps.run), active_in_run=active, active_on_backend=0)
        cap, view = request.caps.backend, None
        if cap is not None:
            places = -(-wanted // request.share)
            view = self._waiting.view(request.backend, cap, meta, places, request.now)
            wanted = min(wanted, view.share * request.share)
            unit.cap(request.backend, cap, view.number)
        if not wanted:
            return [], False, meta, view
        taken, is_full = take_ready(unit, request.backend, request.now, wanted)
        given = self._tasks.given(meta, [task["position"] for task in taken])
        if taken:
            meta.pop("part", None)
        claims: list[Claim] = []
        for place, task in enumerate(taken):
            number = task["attempt"] + 1
            begins = place % request.share == 0
            for name in _OF_LAST_ATTEMPT:
                task.pop(name, None)
            task.update(attempt=number, epoch=request.epoch, submitted=request.now, ready=True)
            unit.move(task, TaskState.SUBMITTED, request.now, counts=begins)
            key = AttemptKey(task["position"], number, request.epoch)
            spent = Spent(task.get("retries", 0), task.get("losses", 0))
            claims.append(Claim(key, given[key.position].spec, spent, wanted_at(task), begins))
            if claims[-1].spec.dedupe:
                meta["twins"] = True
        return claims, is_full or len(claims) == wanted == most, meta, view

    def release_claims(self, run_id: str, keys: Sequence[AttemptKey]) -> int:
        """Give claims back whose attempts never started. The attempt does not count."""
        return self.give_back(run_id, keys, ())

    def give_back(
        self, run_id: str, keys: Sequence[AttemptKey], refusals: Sequence[Refusal]
    ) -> int:
        """Give claims back that a backend did not take, and keep what it said of each place."""

        def release(chunk: Sequence[AttemptKey], unit: Unit) -> int:
            released = 0
            tasks = unit.tasks([key.position for key in chunk])
            for key in chunk:
                task = tasks.get(key.position)
                if task is None or task["state"] != TaskState.SUBMITTED or _key(task) != key:
                    continue
                if refusals:
                    task.setdefault("wanted", float(task["submitted"]))
                self._unclaim(unit, task)
                released += 1
            if released:
                note_refusals(unit.meta, refusals)
            return released

        # Each may get a page of its own.
        chunks = by_packs(keys, _position_of_key, MOST_PACKS // 2)
        return sum(self._work(run_id, partial(release, chunk)) for chunk in chunks)

    def _unclaim(self, unit: Unit, task: Item) -> None:
        """Let a task wait again whose attempt never started."""
        at = float(task["submitted"])
        task.update(attempt=task["attempt"] - 1, epoch=0)
        task.pop("submitted", None)
        task.pop("handle", None)
        unit.move(task, TaskState.PENDING, at)
        if unit.meta.get("stop"):
            self._end_waiting(unit, task)
        else:
            unit.page(task, ready=True)

    # Starting and ending ------------------------------------------------------------------------

    def note_handles(
        self,
        run_id: str,
        handles: Sequence[tuple[AttemptKey, str]],
        accepted: Collection[Destination] = (),
    ) -> None:
        """Note under which handle attempts were submitted, if they are still those."""

        def note(chunk: Sequence[tuple[AttemptKey, str]], unit: Unit) -> None:
            tasks = unit.tasks([key.position for key, _ in chunk])
            if forget_refusals(unit.meta, accepted):
                unit.touch_run()
            for key, handle in chunk:
                task = tasks.get(key.position)
                if task is None or TaskState(task["state"]) not in ACTIVE or _key(task) != key:
                    continue
                if "handle" not in task:
                    task["handle"] = handle
                    unit.touch(task)

        for chunk in by_packs(sorted(handles), lambda noted: noted[0].position):
            self._work(run_id, partial(note, chunk))

    def keep_array(self, run_id: str, array: str, keys: Sequence[AttemptKey]) -> None:
        """Store which attempts are the children of an array, before it is submitted."""
        self._arrays.keep(run_id, array, keys, self._meta(run_id)["ttl"])

    def keep_bundle(
        self, run_id: str, array: str, bundle: Bundle, *, has_place: bool = False
    ) -> None:
        """Store which attempts one job runs, before it is submitted, and which of them has its place.

        The place goes with the last claim: what dies before the job is submitted, gives it back with it.
        """
        self._arrays.keep(
            run_id, array, bundle.keys, self._meta(run_id)["ttl"], (bundle.nonce, bundle.slots)
        )
        if not has_place or len(bundle.keys) == 1:
            return
        first, last = bundle.keys[0], bundle.keys[-1]

        def move(unit: Unit) -> None:
            tasks = unit.tasks([first.position, last.position])
            some = [tasks.get(key.position) for key in (first, last)]
            claimed = [
                task
                for key, task in zip((first, last), some, strict=True)
                if task is not None and task["state"] == TaskState.SUBMITTED and _key(task) == key
            ]
            if len(claimed) == 2 and claimed[0].get("counted"):
                for task, holds in zip(claimed, (False, True), strict=True):
                    unit.hold_place(task, holds=holds)
                    unit.touch(task)

        self._work(run_id, move)

    def keep_part(self, run_id: str, now: float) -> float:
        """Return since when tasks wait that make no full bundle: from now on, if none did before."""

        def keep(unit: Unit) -> float:
            if "part" not in unit.meta:
                unit.meta["part"] = now
                unit.touch_run()
            return float(unit.meta["part"])

        return self._work(run_id, keep)

    def bundle(self, run_id: str, array: str) -> Bundle | None:
        """Return what `keep_bundle` stored; None if it is not known."""
        return self._arrays.bundle(run_id, array)

    def array(self, run_id: str, array: str) -> Sequence[AttemptKey] | None:
        """Return the attempts that are the children of an array, in order; None if it is not known."""
        return self._arrays.get(run_id, array)

    def arrays(self, run_id: str) -> Mapping[str, Sequence[AttemptKey]]:
        """Return all arrays of a run by their ids."""
        return self._arrays.of_run(run_id)

    def active_on(self, backend: str) -> int:
        """Return how many tasks of all runs are active on a backend."""
        return int((self._table.get(backend_key(backend)) or {}).get("busy", 0))

    def call_waiting(self, backend: str, most: int, now: float) -> list[str]:
        """Return the runs that are to take what is free on a backend now, each once for a while."""
        return self._waiting.call(backend, most, now)

    def record_started(self, run_id: str, starts: Sequence[Start]) -> None:
        """Note that attempts run."""

        def start(chunk: Sequence[Start], unit: Unit) -> None:
            tasks = unit.tasks([entry.key.position for entry in chunk])
            for entry in chunk:
                task = tasks.get(entry.key.position)
                if task is None or task["state"] != TaskState.SUBMITTED or _key(task) != entry.key:
                    continue
                if entry.handle is not None and task.get("handle") not in (None, entry.handle):
                    continue
                task.update(started=entry.at, handle=entry.handle or task.get("handle"))
                task["log"] = entry.log or task.get("log")
                unit.move(task, TaskState.RUNNING, entry.at)

        for chunk in by_packs(starts, lambda entry: entry.key.position):
            self._work(run_id, partial(start, chunk))

    def record_ended(self, run_id: str, ends: Sequence[End]) -> list[bool]:
        """Note how attempts ended; say for each end whether it was the first to be told."""
        applied: list[bool] = []
        while len(applied) < len(ends):
            rest = ends[len(applied) :]
            if rest[0].adds is not None and rest[0].adds.tasks:
                applied.append(self._end_and_join(run_id, rest[0]))
            else:
                applied.extend(self._work(run_id, partial(self._end_some, rest)))
        return applied

    def _end_some(self, ends: Sequence[End], unit: Unit) -> list[bool]:
        """Note the first of some ends, as many as fit into a transaction."""
        applied: list[bool] = []
        alone = list(takewhile(lambda end: end.adds is None or not end.adds.tasks, ends))
        some = next(by_packs(alone, lambda end: end.key.position))
        unit.tasks([end.key.position for end in some])
        for end in some:
            # Beside its pack: a page or a delay, the attempt that is put away, a long message.
            if applied and not unit.has_room(4) and self._units is None:
                break
            applied.append(self._end(end, unit))
        return applied

    def _end(self, end: End, unit: Unit) -> bool:
        task = unit.tasks([end.key.position]).get(end.key.position)
        if task is None or TaskState(task["state"]) not in ACTIVE or _key(task) != end.key:
            return False
        if end.handle is not None and task.get("handle") not in (None, end.handle):
            return False  # another job that was submitted for the same attempt
        if not speaks_of(task.get("handle"), end.handle):
            return False
        outcome, following = end.outcome, end.next
        failures_only = unit.meta.get("record") == "failures"
        task.update(
            reason=str(outcome.reason),
            message=outcome.message[:_MOST_MESSAGE] or None,
            code=outcome.exit_code,
            started=task.get("started") if end.started_at is None else end.started_at,
            handle=end.handle or task.get("handle"),
            log=end.log or task.get("log"),
            ended=end.at,
            not_before=following.not_before or None,
            retries=following.retries_used or None,
            losses=following.losses or None,
            cost=end.cost,
            own=None if failures_only and outcome.state is TaskState.COMPLETED else True,
        )
        _drop_none(task)
        task.pop("wanted", None)
        spent = spending([(outcome, end.cost)])
        if spent.cost is not None:
            sums = spent.added_to(unit.meta.get("cost"), unit.meta.get("cost_lost"))
            unit.meta["cost"], unit.meta["cost_lost"] = sums
        if spent.losses:
            unit.meta["losses"] = unit.meta.get("losses", 0) + spent.losses
        if end.work is not None:
            unit.meta["work"] = unit.meta.get("work", 0) + end.work
            unit.meta["worked"] = unit.meta.get("worked", 0) + 1
        unit.meta["last_end"] = end.at
        unit.move(task, following.state, end.at, reason=outcome.reason, code=outcome.exit_code)
        if following.state is TaskState.PENDING:
            self._archive(unit, task, outcome.state)
            del task["ended"]
            self._wait(unit, task)
        else:
            unit.follow.append(end.key.position)
        return True

    def _archive(self, unit: Unit, task: Item, state: TaskState) -> None:
        """Give the last attempt an item of its own: another one follows."""
        away = put_away(unit.meta, task, state)
        unit.put(Key(away["pk"], away["sk"]), away)
        task["archived"] = task["attempt"]
        task.pop("own", None)

    def _wait(self, unit: Unit, task: Item) -> None:
        """Let a task wait for its next attempt, or end it if there will be none."""
        if unit.meta.get("stop"):
            self._end_waiting(unit, task)
            return
        # Whoever reads the stream is told of ends and signals: somebody must come for this task.
        unit.signal("waits")
        if task.get("not_before", 0) > 0:
            unit.wait(task)
        else:
            unit.page(task, ready=True)

    # Stopping and repeating ---------------------------------------------------------------------

    def settle(self, run_id: str, now: float) -> RunRecord:
        """End the run if all its tasks have ended; dependents were released with each end."""

        def settle(unit: Unit) -> Item:
            meta = unit.meta
            counts = counts_of(meta)
            if meta.get("ended") is not None or not is_over(counts) or meta["phase"] != "active":
                return meta
            if meta.get("open"):  # a stop closes it
                return meta
            stopped = meta.get("stop")
            end = end_of_run(counts, stopped=read_reason(stopped))
            if end is None:
                return meta
            meta.update(state=str(end.state), message=end.message, ended=now)
            meta["reason"] = None if end.reason is None else str(end.reason)
            unit.touch_run()
            unit.signal("ended")
            return meta

        meta = self._work(run_id, settle)
        if meta.get("ended") is not None and self._options.follow == "inline":
            self.unlist(run_id, meta["generation"])
        return self._record(meta)

    def unlist(self, run_id: str, generation: int) -> None:
        """Take a run that ended in a generation off the list of active ones."""
        same, values = "attribute_not_exists(#generation)", {}
        if generation:
            same, values = "#generation = :generation", {"generation": generation}
        listed = Condition(f"attribute_exists(#active) AND {same}", values)
        with suppress(Lost):  # it is off already, has expired, or was repeated
            self._table.update(
                Write(key=listing_key(run_id), change="REMOVE #active", condition=listed)
            )

    def cancel_run(self, run_id: str, reason: Reason, now: float) -> RunRecord:
        """Stop the run: pending tasks end at once, no attempt starts any more.

        With ``follow="stream"`` this only notes it; `end_pending` does the rest.
        """

        def stop(unit: Unit) -> Item:
            meta = unit.meta
            if meta.get("ended") is None:
                meta.setdefault("stop", str(reason))
                meta.setdefault("stop_at", now)
                meta.pop("open", None)
                if meta["phase"] == "held":
                    meta["phase"] = "active"
                wake(unit)
                unit.signal("stopped")
            return meta

        meta = self._work(run_id, stop)
        if self._options.follow == "inline" and meta.get("ended") is None:
            self.end_pending(run_id)
        return self.get_run(run_id)

    def end_pending(self, run_id: str, has_time: Callable[[], bool] | None = None) -> bool:
        """End what waits in a stopped run: nothing would ever start it; say if all of it is."""
        meta = self._meta(run_id)
        if not meta.get("stop") or not meta["n_pending"] or meta["phase"] != "active":
            return True

        def end(positions: range, unit: Unit) -> bool:
            """End those that wait in some packs; say whether others may wait."""
            if not unit.meta.get("stop"):
                return False
            for task in unit.tasks(positions).values():
                if task["state"] == TaskState.PENDING:
                    self._end_waiting(unit, task)
            return bool(unit.meta["n_pending"])

        for first in range(0, meta["total"], _AT_ONCE):
            if has_time is not None and not has_time():
                return False
            if not self._work(run_id, partial(end, range(first, first + _AT_ONCE))):
                break
        return True

    def _end_waiting(self, unit: Unit, task: Item) -> None:
        at = float(unit.meta["stop_at"])
        task.update(reason=str(Reason.CANCELLED), message=_BEFORE_START, ended=at)
        for name in ("code", "not_before"):
            task.pop(name, None)
        unit.move(task, TaskState.FAILED, at, reason=Reason.CANCELLED)


def _key(task: Item) -> AttemptKey:
    return AttemptKey(task["position"], task["attempt"], task["epoch"])


def _position_of_key(key: AttemptKey) -> int:
    return key.position


def _drop_none(item: Item) -> None:
    for name in [name for name, value in item.items() if value is None]:
        del item[name]
