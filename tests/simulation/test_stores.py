"""All stores against one model of a run: whatever is called, in whatever order, by whomever.

Reports come late, twice and of attempts that are over; two callers work on the same data, one of them
between the reads of the other and its write; the stream is read late, twice and in another order.
After each step everything that can be read is compared with the model.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hut.control import Control
from hut.lifecycle.retry import Spent
from hut.lifecycle.task import after_end
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.planning import Extension, extend_run
from hut.scheduling.room import NO_CAPS, Caps
from hut.store.dynamodb import blocks, dependencies
from hut.store.dynamodb.log import told
from hut.store.port import Claim, ClaimRequest, End, Start, StoreError, TaskFilter
from hut.store.sqlite import SqliteStore
from hut.submission import Setting, Submission
from tests.aws.watched_client import WatchedClient
from tests.aws_table import Clients, new_options, open_store
from tests.contract.worlds import CANCELLED, COMPLETED, FAILED, LOST
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.run_model import RunModel, Told
from tests.simulation.s3 import SimulatedS3
from tests.sized import sized

RUN = "run1"
GENERATED = "n"
EVERYBODY = 10**6


# What is drawn ------------------------------------------------------------------------------------


@st.composite
def workflows(draw: Any) -> list[dict[str, Any]]:
    """Tasks in up to four stages; a task waits for some of earlier stages, by name or by pattern."""
    tasks: list[dict[str, Any]] = []
    for stage in "abcd"[: draw(st.integers(1, 4))]:
        earlier = [task["id"] for task in tasks]
        names = earlier + [f"{letter}*" for letter in dict.fromkeys(name[0] for name in earlier)]
        for number in range(draw(st.integers(2, 5))):
            deps = draw(st.lists(st.sampled_from(names), max_size=4, unique=True)) if names else []
            tasks.append(
                {
                    "id": f"{stage}{number}",
                    "command": "true",
                    "deps": deps,
                    "priority": draw(st.sampled_from([0, 0, 0, 1, 2])),
                    "retries": draw(st.sampled_from([2, 1, 0])),
                    "retry_delay": draw(st.sampled_from(["0s", "10s"])),
                }
            )
    return tasks


outcomes = st.sampled_from([COMPLETED, FAILED, COMPLETED, FAILED, COMPLETED, LOST, CANCELLED])
caps = st.sampled_from([NO_CAPS, NO_CAPS, Caps(run=2), Caps(backend=3), Caps(run=3, backend=2)])
picks = st.lists(st.integers(0, 40), min_size=1, max_size=5)
callers = st.integers(0, 1)


class Undo(Exception):  # noqa: N818
    """Nothing of it was meant."""


class Sqlite:
    """Two connections to a file."""

    follows_at_once, tells_returns = True, False

    def __init__(self, ends: ExitStack) -> None:
        folder = ends.enter_context(tempfile.TemporaryDirectory())
        self.stores: list[Any] = [SqliteStore(Path(folder) / "hut.db") for _ in range(2)]
        for store in self.stores:
            ends.callback(store.close)
        self.news: list[Any] = []

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo all that the first store does inside."""
        with suppress(Undo), self.stores[0].batch():
            yield
            raise Undo


class Dynamo:
    """Two processes with a client each, on one table; what follows is done at once."""

    follows_at_once, tells_returns = True, True
    follow = "inline"

    def __init__(self, ends: ExitStack) -> None:
        # Small pieces, so that small runs have many: parts of barriers, edges that stand apart.
        ends.enter_context(
            mock.patch.multiple(blocks, _PART=2, _LITERALS=2, _INSIDE=2, _EDGES=2, _IDS=3)
        )
        ends.enter_context(mock.patch.object(dependencies, "_FEW", 1))
        self.db = SimulatedDynamoDB(lambda: 0.0)
        self.db.committed.append(self._hear)
        services = {"dynamodb": self.db, "s3": SimulatedS3(lambda: 0.0)}
        self.options = new_options(Clients(services), follow=self.follow)
        self.clients = [WatchedClient(self.db) for _ in range(2)]
        self.stores: list[Any] = []
        for client in self.clients:
            store = open_store(Clients({**services, "dynamodb": client}), self.options)
            store._table.sleep = lambda _: None
            self.stores.append(store)
        self.news: list[Any] = []
        self._deaf = False

    def _hear(self, changes: Sequence[Any]) -> None:
        found = [told(change.new) for change in changes if change.new is not None]
        self.news += [news for news in found if news is not None and not self._deaf]

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo all that is done inside."""
        backup, self._deaf = self.db.copy(self.options.table), True
        try:
            yield
        finally:
            self.db.restore(backup)
            self._deaf = False

    def overtake(self, caller: int, other: Callable[[], None]) -> Callable[[], None]:
        """Let something be done before the next transaction of a caller; it is returned.

        Whoever calls it later does what was not done by then.
        """
        done: list[None] = []

        def once() -> None:
            if not done:
                done.append(None)
                other()

        def before(call: Any, arguments: Any) -> Any:
            once()
            return call(**arguments)

        self.clients[caller].instead("transact_write_items", before)
        return once


class DynamoStream(Dynamo):
    """The same; what follows is done by whoever reads the stream."""

    follows_at_once = False
    follow = "stream"


# The machine --------------------------------------------------------------------------------------


class Runs(RuleBasedStateMachine):
    """One run in one kind of store."""

    kind: type[Any]

    def __init__(self) -> None:
        super().__init__()
        self.ends = ExitStack()
        self.world = self.kind(self.ends)
        self.stores = self.world.stores
        self.now = 1000.0
        self.claims: list[Claim] = []
        self.withdrawn: set[str] = set()
        self.steps = 0

    @property
    def goes_on(self) -> bool:
        """Whether there is something to report of a run that has not ended."""
        return self.model.ended is None and bool(self.present)

    def teardown(self) -> None:
        self.ends.close()

    @initialize(workflow=workflows())
    def submit(self, workflow: list[dict[str, Any]]) -> None:
        submission = Submission(json.dumps({"tasks": workflow}), "w.json", "w")
        control = Control(self.stores[0])
        _, plan = control.submit(submission, Setting(), now=self.now, new_id=RUN)
        self.model = RunModel(
            plan.tasks,
            plan.graph,
            follows_at_once=self.world.follows_at_once,
            tells_returns=self.world.tells_returns,
        )
        self.take_up(0)

    # Calls, each of the store and of the model

    def take_up(self, caller: int) -> None:
        record = self.stores[caller].begin_epoch(RUN, self.now)
        assert record.epoch == self.model.begin_epoch()

    def take(self, caller: int, at_most: int, bounds: Caps, epoch: int, now: float) -> None:
        request = ClaimRequest(RUN, epoch, now, at_most, caps=bounds)
        claims = self.stores[caller].claim(request)
        assert [claim.key for claim in claims] == self.model.claim(epoch, now, at_most, bounds)
        for claim in claims:
            task = self.model.tasks[claim.key.position]
            assert (claim.spec, claim.spent) == (task.spec, Spent(task.retries, task.losses))
        self.claims += claims

    def end_record(self, claim: Claim, outcome: Outcome, adds: Extension | None = None) -> End:
        following = after_end(outcome, claim.spec.retry, claim.spent, self.now)
        return End(claim.key, outcome, following, self.now, adds=adds)

    def record_ends(self, caller: int, ends: list[End]) -> None:
        assert self.stores[caller].record_ended(RUN, ends) == self.model.end(ends)

    @property
    def present(self) -> list[Claim]:
        """The claims of attempts that have not ended."""
        return [claim for claim in self.claims if self.model.is_active(claim.key)]

    @property
    def past(self) -> list[Claim]:
        """The others; only those of tasks that have another attempt now, where there are some."""
        present = {claim.key: claim.key.position for claim in self.present}
        past = [claim for claim in self.claims if claim.key not in present]
        again = [claim for claim in past if claim.key.position in present.values()]
        return again or past

    def some(self, numbers: Sequence[int]) -> list[Claim]:
        """Return claims, mostly of present attempts."""
        among = self.present * 3 + self.past[-5:]
        return [among[number % len(among)] for number in numbers]

    # Rules

    @rule(seconds=st.sampled_from([10.0, 5.0, 1.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.steps % 5 == 0)
    @rule(caller=callers)
    def begin_epoch(self, caller: int) -> None:
        self.take_up(caller)

    @rule(caller=callers)
    def claim_everything(self, caller: int) -> None:
        self.take(caller, 100, NO_CAPS, self.model.epoch, self.now)

    @rule(
        caller=callers,
        at_most=st.sampled_from([100, 3, 2, 1, 0]),
        bounds=caps,
        epochs_ago=st.sampled_from([0, 0, 0, 1]),
        slow=st.sampled_from([0.0, 5.0]),
    )
    def claim(self, caller: int, at_most: int, bounds: Caps, epochs_ago: int, slow: float) -> None:
        """The clock of the caller may be slow."""
        self.take(caller, at_most, bounds, self.model.epoch - epochs_ago, self.now - slow)

    @precondition(lambda self: self.goes_on)
    @rule(caller=callers, numbers=picks)
    def release(self, caller: int, numbers: list[int]) -> None:
        """Give claims back."""
        keys = [claim.key for claim in self.some(numbers)]
        assert self.stores[caller].release_claims(RUN, keys) == self.model.release(keys)

    @precondition(lambda self: self.goes_on)
    @rule(caller=callers, numbers=picks)
    def start(self, caller: int, numbers: list[int]) -> None:
        starts = [
            Start(claim.key, self.now, f"pid-{claim.key.position}") for claim in self.some(numbers)
        ]
        self.stores[caller].record_started(RUN, starts)
        self.model.start(starts)

    @precondition(lambda self: self.goes_on)
    @rule(caller=callers, numbers=picks, data=st.data())
    def end(self, caller: int, numbers: list[int], data: st.DataObject) -> None:
        chosen = self.some(numbers)
        self.record_ends(caller, [self.end_record(c, data.draw(outcomes)) for c in chosen])

    @precondition(lambda self: self.goes_on)
    @rule(caller=callers, number=st.integers(0, 40), data=st.data(), before=outcomes)
    def end_and_join(self, caller: int, number: int, data: st.DataObject, before: Outcome) -> None:
        """A task has generated others; another end may be told in the same call."""
        generator, other = self.some([number, number + 1])
        adds = self.extension(data)
        ends = [self.end_record(generator, COMPLETED, adds)]
        if data.draw(st.booleans()):
            ends.insert(0, self.end_record(other, before))
        self.record_ends(caller, ends)

    def extension(self, data: st.DataObject) -> Extension:
        existing = self.stores[0].task_ids(RUN)
        first = sum(name.startswith(GENERATED) for name in existing)
        fresh: list[dict[str, Any]] = []
        for number in range(data.draw(st.integers(1, 3))):
            names = [*existing, *(task["id"] for task in fresh), "a*"]
            deps = data.draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
            fresh.append(
                {
                    "id": f"{GENERATED}{first + number}",
                    "command": "true",
                    "deps": deps,
                    "retries": 1,
                }
            )
        return extend_run(json.dumps(fresh), filename="g.json", existing=existing)

    @precondition(lambda self: self.goes_on)
    @rule(caller=callers, number=st.integers(0, 40), data=st.data())
    def join_with_an_old_plan(self, caller: int, number: int, data: st.DataObject) -> None:
        """Others joined since the tasks were planned: nothing of it is stored."""
        old = self.extension(data)
        self.end_and_join(caller, number + 1, data, COMPLETED)
        (generator,) = self.some([number])
        end = self.end_record(generator, COMPLETED, old)
        is_active = self.model.is_active(end.key)
        if is_active and old.graph.first != len(self.model.tasks):
            with pytest.raises(StoreError, match="plan them again"):
                self.stores[caller].record_ended(RUN, [end])
        else:
            self.record_ends(caller, [end])

    @precondition(lambda self: self.steps > 8)
    @rule(caller=callers, reason=st.sampled_from([Reason.CANCELLED, Reason.TIMEOUT]))
    def cancel(self, caller: int, reason: Reason) -> None:
        self.stores[caller].cancel_run(RUN, reason, self.now)
        self.model.cancel(reason)

    @precondition(lambda self: self.past)
    @rule(caller=callers, numbers=picks, outcome=outcomes)
    def report_late(self, caller: int, numbers: list[int], outcome: Outcome) -> None:
        """Nobody is the first to tell of what is over."""
        store, past = self.stores[caller], self.past
        late = [past[number % len(past)] for number in numbers]
        store.record_started(RUN, [Start(claim.key, self.now) for claim in late])
        assert store.release_claims(RUN, [claim.key for claim in late]) == 0
        ends = [self.end_record(claim, outcome) for claim in late]
        assert not any(store.record_ended(RUN, ends))

    @precondition(lambda self: self.steps % 5 == 0)
    @rule(caller=callers)
    def settle(self, caller: int) -> None:
        self.stores[caller].settle(RUN, self.now)
        self.model.settle(self.now)

    @precondition(lambda self: self.model.ended is not None or self.steps == 10)
    @rule(caller=callers, everything=st.booleans())
    def repeat(self, caller: int, everything: bool) -> None:
        if self.model.ended is None:
            with pytest.raises(StoreError, match="has not ended"):
                self.stores[caller].reset_tasks(RUN, self.now, everything=everything)
            return
        if everything:
            self.withdrawn |= {t.spec.id for t in self.model.tasks if t.generated_by is not None}
        again = self.stores[caller].reset_tasks(RUN, self.now, everything=everything)
        assert again == self.model.reset(everything=everything)
        self.take_up(caller)

    @precondition(lambda self: self.steps > 20)
    @rule(caller=callers)
    def work_to_the_end(self, caller: int) -> None:
        """Everybody does what is to be done, and the run ends."""
        for _ in range(20 * len(self.model.tasks)):
            self.read_everything()
            epoch = self.model.epoch
            self.take(caller, 100, NO_CAPS, epoch, self.now)
            if self.present:
                distinct = {claim.key: claim for claim in self.present}
                self.record_ends(
                    caller, [self.end_record(claim, COMPLETED) for claim in distinct.values()]
                )
            self.now += 10.0
            self.settle(caller)
            if self.model.ended is not None:
                return
        raise AssertionError("the run does not end")

    def read_everything(self) -> None:
        """Nothing is to be read where all that follows is done at once."""

    # What is to be seen

    @invariant()
    def the_run_is_as_it_should_be(self) -> None:
        self.steps += 1
        model, store = self.model, self.stores[1]
        run = store.get_run(RUN)
        assert (run.counts, run.total) == (model.counts, len(model.tasks))
        assert (run.state, run.ended_at, run.epoch) == (model.state, model.ended, model.epoch)
        tasks = store.list_tasks(RUN, TaskFilter())
        for record, task in zip(tasks, model.tasks, strict=True):
            seen = (record.spec, record.state, record.reason, record.exit_code, record.attempt)
            assert seen == (task.spec, task.state, task.reason, task.code, task.attempt)
            assert (record.retries_used, record.losses) == (task.retries, task.losses)
            assert (record.epoch, record.generated_by) == (task.epoch, task.generated_by)
            assert (record.submitted_at, record.started_at) == (task.submitted, task.started)
            assert record.handle == task.handle
            if record.state is TaskState.PENDING:
                assert record.not_before == task.not_before
            if record.state is TaskState.DEP_FAILED:
                assert record.cause in model.failures_before(record.position)
        assert store.next_retry(RUN, self.now) == model.next_retry(self.now)

    @invariant()
    def attempts_and_changes_are_all_there(self) -> None:
        store = self.stores[1]
        attempts = store.list_attempts(RUN, range(len(self.model.tasks)))
        for position, task in enumerate(self.model.tasks):
            found = [
                Told(one.number, one.outcome.state, one.outcome.reason, one.outcome.exit_code)
                for one in attempts.get(position, [])
            ]
            assert found == self.model.attempts.get(task.spec.id, [])
        changes, _ = store.changes(RUN, 0, EVERYBODY)
        seen: dict[str, list[Told]] = {}
        for change in changes:
            entry = Told(change.attempt, change.state, change.reason, change.exit_code)
            seen.setdefault(change.task_id, []).append(entry)
        for task in self.model.tasks:
            if task.spec.id not in self.withdrawn:
                assert seen.get(task.spec.id, []) == self.model.told.get(task.spec.id, [])

    @invariant()
    def what_may_run_could_be_claimed(self) -> None:
        with self.world.undone():
            claims = self.stores[0].claim(ClaimRequest(RUN, EVERYBODY, self.now, 1000))
        assert [claim.key.position for claim in claims] == self.model.ready(self.now)


class RacedRuns(Runs):
    """Callers that come in between, and sweeps; for stores that don't lock."""

    @precondition(lambda self: self.goes_on)
    @rule(caller=callers, numbers=picks, first=outcomes, second=outcomes, data=st.data())
    def overtake(
        self, caller: int, numbers: list[int], first: Outcome, second: Outcome, data: st.DataObject
    ) -> None:
        """What one caller does comes between the reads and the write of another."""
        other, chosen = 1 - caller, self.some(numbers)
        between = [
            lambda: self.record_ends(other, [self.end_record(chosen[0], first)]),
            lambda: self.take(other, 2, NO_CAPS, self.model.epoch, self.now),
            lambda: self.release(other, numbers[:1]),
            lambda: self.start(other, numbers),
            lambda: self.take_up(other),
            *([lambda: self.stop(other)] if self.steps > 8 else []),
        ]
        afterwards: list[Callable[[], None]] = [
            lambda: self.record_ends(caller, [self.end_record(c, second) for c in chosen]),
            lambda: self.take(caller, 3, NO_CAPS, self.model.epoch, self.now),
            lambda: self.release(caller, numbers),
            lambda: self.start(caller, numbers),
            *([lambda: self.stop(caller)] if self.steps > 8 else []),
        ]
        before = data.draw(st.sampled_from(between))
        once = self.world.overtake(caller, before)
        data.draw(st.sampled_from(afterwards))()
        once()

    def stop(self, caller: int) -> None:
        self.stores[caller].cancel_run(RUN, Reason.CANCELLED, self.now)
        self.model.cancel(Reason.CANCELLED)

    @precondition(lambda self: self.model.ended is None and self.steps % 5 == 0)
    @rule(caller=callers)
    def sweep(self, caller: int) -> None:
        self.stores[caller].reopen(RUN)
        self.model.reopen()


class StreamedRuns(RacedRuns):
    """A reader of the stream that comes late, twice, and in another order."""

    @precondition(lambda self: self.world.news)
    @rule(caller=callers, numbers=picks, again=st.booleans())
    def read_the_stream(self, caller: int, numbers: list[int], again: bool) -> None:
        news = self.world.news
        chosen = list({number % len(news): None for number in numbers})
        told_now = [news[number] for number in chosen]
        if not again:
            self.world.news = [n for place, n in enumerate(news) if place not in chosen]
        self.act(caller, told_now)

    def act(self, caller: int, news: Sequence[Any]) -> None:
        """Do what the reader of the stream does with some records."""
        ended = list(dict.fromkeys(position for one in news for position in one.ended))
        store = self.stores[caller]
        if self.model.stop is None:
            store.follow(RUN, ended)
            self.model.follow(ended)
        elif any(one.signalled for one in news):
            store.end_pending(RUN)
            self.model.end_pending()

    def read_everything(self) -> None:
        while self.world.news:
            news, self.world.news = self.world.news, []
            self.act(0, news)


@pytest.mark.parametrize(
    ("machine", "kind"),
    [(Runs, Sqlite), (RacedRuns, Dynamo), (StreamedRuns, DynamoStream)],
    ids=["sqlite", "dynamodb", "dynamodb-stream"],
)
def test_a_store_does_what_the_model_does(machine: type[Runs], kind: type[Any]) -> None:
    class Machine(machine):
        pass

    Machine.kind = kind
    run_state_machine_as_test(Machine, settings=settings(sized(20), stateful_step_count=30))
