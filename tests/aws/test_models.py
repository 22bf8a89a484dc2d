"""The same things done to the DynamoDB store and the SQLite store end in the same."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hut.control import Control
from hut.lifecycle.task import after_end
from hut.model.states import Reason
from hut.store.dynamodb import DynamoStore
from hut.store.port import Claim, ClaimRequest, End, Start, Store, StoreError, TaskFilter
from hut.store.sqlite import SqliteStore
from hut.submission import Setting, Submission
from tests.aws.store_world import StoreWorld
from tests.contract.worlds import COMPLETED, FAILED, LOST

_RUNS = count(1)


@st.composite
def workflows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Small graphs: dependencies on earlier tasks, and a pattern over the first group."""
    number, second = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    tasks: list[dict[str, Any]] = []
    for position in range(number):
        earlier = [task["id"] for task in tasks]
        deps = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if tasks else []
        if position >= second and draw(st.booleans()):
            deps.append("a*")
        task: dict[str, Any] = {"id": f"{'ab'[position >= second]}{position}", "deps": deps}
        task["command"] = "true"
        if draw(st.booleans()):
            task["retries"] = draw(st.integers(0, 2))
        if draw(st.booleans()):
            task["priority"] = draw(st.integers(-1, 1))
        tasks.append(task)
    return tasks


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(1, 4)),
        st.tuples(st.just("start"), st.integers(0, 7)),
        st.tuples(st.just("release"), st.integers(0, 7)),
        st.tuples(st.just("complete"), st.integers(0, 7)),
        st.tuples(st.just("fail"), st.integers(0, 7)),
        st.tuples(st.just("lose"), st.integers(0, 7)),
        st.tuples(st.just("cancel"), st.just(0)),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("repeat"), st.integers(0, 1)),
    ),
    max_size=25,
)
OUTCOMES = {"complete": COMPLETED, "fail": FAILED, "lose": LOST}


class Model:
    """One store with one run, and the claims that are open."""

    def __init__(self, store: Store, run_id: str, workflow: list[dict[str, Any]]) -> None:
        self.store, self.now = store, 1000.0
        submission = Submission(json.dumps(workflow), "w.json", "w")
        run, _ = Control(store).submit(submission, Setting(), now=self.now, new_id=run_id)
        self.run_id = run.id
        self.epoch = store.begin_epoch(run.id, self.now).epoch
        self.claims: list[Claim] = []

    def step(self, what: str, number: int) -> Any:
        self.now += 1
        claim = self.claims[number % len(self.claims)] if self.claims else None
        if what == "claim":
            found = self.store.claim(ClaimRequest(self.run_id, self.epoch, self.now, number))
            self.claims += found
            return [(c.spec.id, c.key, c.spent) for c in found]
        if what == "cancel":
            self.store.cancel_run(self.run_id, Reason.CANCELLED, self.now)
        elif what == "settle":
            self.store.settle(self.run_id, self.now)
        elif what == "repeat":
            self.store.settle(self.run_id, self.now)
            try:
                again = self.store.reset_tasks(self.run_id, self.now, everything=bool(number))
            except StoreError:
                return "not ended"
            self.claims = []
            return again
        elif claim is not None:
            return self._change(what, claim)
        return None

    def _change(self, what: str, claim: Claim) -> Any:
        if what == "start":
            return self.store.record_started(self.run_id, [Start(claim.key, self.now, "h")])
        if what == "release":
            released = self.store.release_claims(self.run_id, [claim.key])
            if released:
                self.claims.remove(claim)
            return released
        outcome = OUTCOMES[what]
        following = after_end(outcome, claim.spec.retry, claim.spent, self.now)
        self.claims.remove(claim)
        return self.store.record_ended(
            self.run_id, [End(claim.key, outcome, following, self.now, handle="h")]
        )

    def finish(self) -> None:
        """Bring the run to its end."""
        while True:
            self.step("claim", 100)
            if not self.claims:
                break
            for claim in list(self.claims):
                self._change("complete", claim)
        self.store.settle(self.run_id, self.now)

    def seen(self) -> Any:
        run = self.store.get_run(self.run_id)
        tasks = self.store.list_tasks(self.run_id, TaskFilter())
        by_task: dict[str, list[Any]] = defaultdict(list)
        for change in self.store.changes(self.run_id, 0, limit=10_000)[0]:
            by_task[change.task_id].append((str(change.state), change.attempt, change.exit_code))
        return {
            "run": (run.state, run.reason, run.message, dict(run.counts), run.ended_at),
            "tasks": [
                (t.spec.id, t.state, t.reason, t.exit_code, t.attempt, t.cause, t.retries_used)
                for t in tasks
            ],
            "attempts": {
                position: [(a.number, a.outcome, a.ended_at, a.handle) for a in attempts]
                for position, attempts in self.store.list_attempts(
                    self.run_id, range(len(tasks))
                ).items()
            },
            "changes": dict(by_task),
        }


@pytest.fixture(scope="module")
def stores(test_bed: Any, tmp_path_factory: Any) -> tuple[DynamoStore, SqliteStore]:
    path: Path = tmp_path_factory.mktemp("model") / "hut.db"
    return StoreWorld(test_bed).store, SqliteStore(path)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a failure is small as it is; shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(workflow=workflows(), steps=STEPS)
def test_both_stores_agree(
    stores: tuple[DynamoStore, SqliteStore], workflow: list[dict[str, Any]], steps: list[Any]
) -> None:
    run_id = f"run{next(_RUNS)}"
    dynamo, sqlite = (Model(store, run_id, workflow) for store in stores)
    for what, number in steps:
        assert dynamo.step(what, number) == sqlite.step(what, number), what
    assert dynamo.seen() == sqlite.seen()
    for model in (dynamo, sqlite):
        model.finish()
    assert dynamo.seen() == sqlite.seen()
