"""What people do in a simulated history: submit, cancel, repeat; and again where no good answer came."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hut.model.states import RunState, TaskState
from hut.store.port import TaskFilter
from tests.rest.api_world import api_event
from tests.simulation.functions import Result
from tests.simulation.workflows import Planned

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["People", "Wish"]

_AGAIN_SECONDS = 10.0
_MOST_TRIES = 400


@dataclass(eq=False)
class Wish:
    """A workflow somebody wants to be run, and what came of it.

    Attributes
    ----------
    run_id : str
        Empty until the API has said it.
    open : int
        How many of their requests have not been answered well yet.
    """

    name: str
    planned: Planned
    run_id: str = ""
    open: int = 0
    then: list[Callable[[], None]] = field(default_factory=list)


class People:
    """Everybody who uses the deployment.

    Attributes
    ----------
    wishes : dict of str to Wish
        By the names of the workflows.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.wishes: dict[str, Wish] = {}

    def plan_of(self, workflow: str) -> Planned | None:
        """Return the workflow of a name."""
        wish = self.wishes.get(workflow)
        return None if wish is None else wish.planned

    def submit(self, planned: Planned, *, after: float = 0.0, copies: int = 1) -> Wish:
        """Submit a workflow after some seconds, perhaps several times at once under one key."""
        name = f"w{len(self.wishes) + 1}"
        wish = self.wishes[name] = Wish(name, planned)
        body = json.dumps({**planned.document, "name": name})
        for _ in range(copies):
            self._world.agenda.after(
                after, lambda: self._ask(wish, "POST", "/runs", body, self._submitted)
            )
            wish.open += 1
        return wish

    def submit_in_pieces(
        self, planned: Planned, *pieces: int, after: float, held: bool = False
    ) -> Wish:
        """Submit some of the tasks as an open run, add the others piece by piece, then close it.

        Parameters
        ----------
        pieces
            How many tasks each has, the first one being what the run is submitted with.
        after
            Seconds between the answer to one request and the next one.
        held
            Hold the run instead, and release it in the end.
        """
        tasks = list(planned.document["tasks"])
        cut = [[tasks.pop(0) for _ in range(size)] for size in pieces]
        assert not tasks, "every task is in a piece"
        name = f"w{len(self.wishes) + 1}"
        wish = self.wishes[name] = Wish(name, planned)
        first = {"workflow": {"tasks": cut[0], "name": name}, "held" if held else "open": True}
        rest = [("tasks", json.dumps(piece)) for piece in cut[1:]]
        rest.append(("release" if held else "close", "{}"))
        wish.open += 1 + len(rest)

        def go_on(wish: Wish, status: int, document: Mapping[str, Any]) -> None:
            stopped = status == 409 and document["type"].endswith("run-closed")
            assert status in (200, 201) or stopped, document
            if rest:
                what, body = rest.pop(0)
                self._world.agenda.after(
                    after, lambda: self._ask_for(wish, what, body, go_on, f"-{len(rest)}")
                )

        def submitted(wish: Wish, status: int, document: Mapping[str, Any]) -> None:
            self._submitted(wish, status, document)
            go_on(wish, 200, document)

        self._world.agenda.after(
            0.0, lambda: self._ask(wish, "POST", "/runs", json.dumps(first), submitted)
        )
        return wish

    def cancel(self, wish: Wish, *, after: float) -> None:
        """Cancel a run some seconds after its submission was answered."""
        self._later(wish, after, lambda: self._ask_for(wish, "cancel", "{}", self._taken))

    def retry(self, wish: Wish, *, everything: bool = False) -> None:
        """Repeat a run a while after it has ended."""
        wish.open += 1

        def look() -> None:
            run = self._world.store.get_run(wish.run_id) if wish.run_id else None
            if run is None or run.ended_at is None:
                self._world.agenda.after(30.0, look)
                return
            wish.open -= 1
            if everything or run.state is not RunState.COMPLETED:
                wish.open += 1
                body = json.dumps({"all": everything})
                self._ask_for(wish, "retry", body, self._taken)

        self._world.agenda.after(60.0, look)

    def stop_execution(self, wish: Wish, *, after: float) -> None:
        """Stop the execution of a run in the console."""

        def stop() -> None:
            name = f"{wish.run_id}-0"
            if name in self._world.states.executions:
                self._world.states.stop(name)

        self._later(wish, after, stop, is_asked=False)

    def _later(
        self, wish: Wish, after: float, what: Callable[[], None], *, is_asked: bool = True
    ) -> None:
        wish.open += is_asked
        wish.then.append(lambda: self._world.agenda.after(after, what))
        if wish.run_id:
            wish.then.pop()()

    # Requests ------------------------------------------------------------------------------------

    def _ask_for(
        self,
        wish: Wish,
        what: str,
        body: str,
        done: Callable[[Wish, int, Any], None],
        key: str = "",
    ) -> None:
        self._ask(wish, "POST", f"/runs/{wish.run_id}/{what}", body, done, key=key)

    def _ask(
        self,
        wish: Wish,
        method: str,
        path: str,
        body: str,
        done: Callable[[Wish, int, Any], None],
        tries: int = 0,
        key: str = "",
    ) -> None:
        """Send a request, and again until there is an answer that is no failure of the service."""
        world = self._world
        assert tries < _MOST_TRIES, f"{method} {path} is never answered"
        again = lambda: self._ask(wish, method, path, body, done, tries + 1, key)  # noqa: E731
        if not world.functions.has_room("api"):
            world.agenda.after(_AGAIN_SECONDS, again)
            return
        headers = {"content-type": "application/json", "idempotency-key": f"key-{wish.name}{key}"}

        def answered(result: Result) -> None:
            status = 502 if result.error else int(result.answer["statusCode"])
            world.history.note("people", f"{method} {path} {wish.name}: {status}")
            if status == 429 or status >= 500:
                world.agenda.after(_AGAIN_SECONDS, again)
                return
            wish.open -= 1
            done(wish, status, json.loads(result.answer["body"] or "null"))

        world.functions.invoke("api", api_event(method, path, body=body, headers=headers), answered)

    def _submitted(self, wish: Wish, status: int, document: Mapping[str, Any]) -> None:
        assert status in (200, 201, 202), document
        assert wish.run_id in ("", document["id"]), "one key, two runs"
        wish.run_id = document["id"]
        then, wish.then = wish.then, []
        for what in then:
            what()

    def _taken(self, wish: Wish, status: int, document: Mapping[str, Any]) -> None:  # noqa: ARG002
        assert status in (200, 202, 409), document

    # At the end ----------------------------------------------------------------------------------

    def are_content(self) -> bool:
        """Say whether everybody has an answer and every run has ended."""
        for wish in self.wishes.values():
            if wish.open or not wish.run_id:
                return False
            run = self._world.watch.runs.get(wish.run_id)
            if run is None or not run.ended:
                return False
        return True

    def check(self, wish: Wish) -> None:
        """A run has ended as it must: by what its tasks do, unless somebody stopped it."""
        store, expect = self._world.store, self._world.watch.expect
        run = store.get_run(wish.run_id)
        tasks = store.list_tasks(wish.run_id, TaskFilter())
        told = {task.spec.id: task.state for task in tasks}
        who = f"run {run.id} ({wish.name})"
        counts = {state: sum(each is state for each in told.values()) for state in TaskState}
        expect(dict(run.counts) == counts, f"{who} counts {run.counts}, its tasks are {counts}")
        expect(run.ended_at is not None, f"{who} has not ended")
        known = self._world.watch.runs[run.id]
        for task in tasks:
            log = known.by_id.get(task.spec.id)
            state = TaskState.PENDING if log is None else log.state
            expect(task.state is state, f"{who}: {task.spec.id} is {task.state}, the log: {state}")
        executions = self._world.states.executions
        abandoned = [name for name, each in executions.items() if each.is_abandoned]
        # What had its effect may have been answered with a failure.
        if run.cancel_requested_at is not None or any(run.id in name for name in abandoned):
            return
        done = {name for name, completes in wish.planned.completes.items() if completes}
        if store.standing(run.id).generation:  # whatever failed once does not fail again
            done = set(wish.planned.everything)
        completed = {name for name, state in told.items() if state is TaskState.COMPLETED}
        done -= self._kept_by_bad_luck(wish, run.id) - completed
        expect(
            completed == done,
            f"{who}: {sorted(completed - done)} should not have completed, "
            f"{sorted(done - completed)} should have",
        )

    def _kept_by_bad_luck(self, wish: Wish, run_id: str) -> set[str]:
        """Return the tasks that need not complete: EC2 or somebody in the console kept them."""
        unlucky = self._world.instance_watch.unlucky(run_id)
        deps = wish.planned.deps
        kept: set[str] = set()
        left = {name for name in deps if name in unlucky}
        while left:
            kept |= left
            left = {name for name in deps if name not in kept and deps[name] & kept}
        generated = set(deps) - {task["id"] for task in wish.planned.document["tasks"]}
        makers = {t["id"] for t in wish.planned.document["tasks"] if "generates_source" in t}
        return kept | generated if kept & makers else kept
