"""Takes recorded steps on a store, from the beginning or from a phase that a snapshot holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hut.control import Control
from hut.model.records import Change, Outcome, RunRecord
from hut.model.states import Reason, TaskState
from hut.scheduling.room import NO_CAPS, Caps
from hut.store.dynamodb import DynamoStore
from hut.store.port import Claim, ClaimRequest, Start, Store, TaskFilter
from hut.submission import Setting, Submission
from hut.views import run_document, task_document
from tests.histories.replay import dependencies_of, generators_of

__all__ = ["Player"]


class Player:
    """One run in a store.

    Parameters
    ----------
    workflow
        As people write it.
    """

    def __init__(self, store: Store, run_id: str, workflow: Mapping[str, Any]) -> None:
        self._store, self._control = store, Control(store)
        self._run_id, self._workflow = run_id, workflow
        self._claims: dict[str, Claim] = {}

    def go_on(self) -> None:
        """Take the run up as it stands in the store: its active attempts are claims."""
        self._claims = {claim.spec.id: claim for claim in self._control.open_claims(self._run_id)}

    def take(self, step: list[Any]) -> Any:
        """Take a step and return what the store answers, as JSON."""
        at, what, *arguments = step
        return getattr(self, f"_{what}")(float(at), *arguments)

    def _submit(self, at: float) -> None:
        submission = Submission(json.dumps(self._workflow), "w.json", "", owner="me")
        new, _ = self._control.prepare(submission, Setting(), now=at, new_id=self._run_id)
        if isinstance(self._store, DynamoStore):
            self._store.reserve_run(new)
        else:
            self._store.create_run(new)

    def _begin(self, at: float) -> int:
        if not isinstance(self._store, DynamoStore):
            return self._store.begin_epoch(self._run_id, at).epoch
        standing = self._store.standing(self._run_id)
        for block in self._store.missing_blocks(self._run_id):
            self._store.register_block(self._run_id, block, at)
        return self._store.begin_run(self._run_id, standing.generation, at).epoch

    def _claim(self, at: float, most: int, *, capped: bool = True) -> list[list[Any]]:
        run = self._store.get_run(self._run_id)
        bounds = Caps(run=run.settings.max_concurrent, cost=run.settings.max_cost)
        caps = bounds if capped else NO_CAPS
        claims = self._control.claim(ClaimRequest(run.id, run.epoch, at, most, caps=caps))
        self._claims.update({claim.spec.id: claim for claim in claims})
        return [[claim.spec.id, claim.key.attempt, claim.key.epoch] for claim in claims]

    def _array(self, _: float, name: str, tasks: list[str]) -> None:
        if isinstance(self._store, DynamoStore):
            keys = [self._claims[task].key for task in tasks]
            self._store.keep_array(self._run_id, name, keys)
            assert self._store.array(self._run_id, name) == keys

    def _release(self, _: float, tasks: list[str]) -> int:
        return self._store.release_claims(
            self._run_id, [self._claims.pop(task).key for task in tasks]
        )

    def _start(self, at: float, handles: Mapping[str, str]) -> None:
        starts = [Start(self._claims[task].key, at, handle) for task, handle in handles.items()]
        self._store.record_started(self._run_id, starts)

    def _end(self, at: float, outcomes: Mapping[str, Any], more: Mapping[str, Any]) -> list[bool]:
        ends = []
        for task, (state, reason, code, message) in outcomes.items():
            adds = None
            if "adds" in more:
                run = self._store.get_run(self._run_id)
                adds = self._control.plan_generated(run, json.dumps(more["adds"]), "g.json")
            end = self._control.end_of_attempt(
                self._claims.pop(task),
                Outcome(TaskState(state), Reason(reason), code, message),
                at,
                cancelling=more.get("cancelling", False),
                adds=adds,
            )
            ends.append(end._replace(cost=more.get("cost")))
        return self._store.record_ended(self._run_id, ends)

    def _follow(self, _: float) -> None:
        if isinstance(self._store, DynamoStore):  # SQLite does it in the transaction of the end
            ended = self._store.list_tasks(
                self._run_id, TaskFilter(states=(TaskState.COMPLETED, TaskState.FAILED))
            )
            self._store.follow(self._run_id, [task.position for task in ended])

    def _cancel(self, at: float, reason: str) -> None:
        self._control.cancel(self._run_id, at, reason=Reason(reason))
        if isinstance(self._store, DynamoStore):
            self._store.end_pending(self._run_id)

    def _settle(self, at: float) -> str:
        return self._store.settle(self._run_id, at).state

    def _reset(self, at: float, everything: bool) -> int:
        return self._store.reset_tasks(self._run_id, at, everything=everything)

    def _mark(self, _: float, __: str) -> None:
        """Nothing happens."""

    def stop_and_repeat(self, at: float) -> None:
        """Cancel the run where it stands, end what is active, repeat everything, and complete it."""
        if self._store.get_run(self._run_id).started_at is None:
            self._begin(at)
        if self._store.get_run(self._run_id).ended_at is None:
            self._follow(at)
            self._cancel(at, Reason.CANCELLED)
            stopped = ["failed", "cancelled", 143, "cancelled while it ran"]
            active = list(self._claims)
            self._end(at, dict.fromkeys(active, stopped), {"cancelling": True})
            self._settle(at)
        self._reset(at + 1, True)
        self._begin(at + 2)
        while claimed := self._claim(at + 3, 100, capped=False):  # a budget may be spent
            completed = ["completed", "exit", 0, ""]
            self._end(at + 4, {task: completed for task, *_ in claimed}, {})
            self._follow(at + 4)
        self._settle(at + 5)

    def run(self) -> RunRecord:
        return self._store.get_run(self._run_id)

    def changes(self) -> list[Change]:
        return self._store.changes(self._run_id, 0, 10_000)[0]

    def seen(self) -> dict[str, Any]:
        """Return the run and its tasks as people see them, and what the log says, as JSON."""
        tasks = self._store.list_tasks(self._run_id, TaskFilter())
        attempts = self._store.list_attempts(self._run_id, [task.position for task in tasks])
        seen = {
            "run": run_document(self.run()),
            "tasks": [task_document(task, attempts.get(task.position, ())) for task in tasks],
            "dependencies": {name: sorted(deps) for name, deps in dependencies_of(tasks).items()},
            "generated_by": generators_of(tasks),
            "changes": [
                [c.at, c.task_id, c.attempt, c.state, c.reason, c.exit_code] for c in self.changes()
            ],
        }
        found: dict[str, Any] = json.loads(json.dumps(seen))
        return found
