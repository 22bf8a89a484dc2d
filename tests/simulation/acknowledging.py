"""No message is acknowledged before its effect is stored: looked at whenever one is about to be deleted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hut.backends.port import bundled_handle, parse_job_name
from hut.model.states import ACTIVE, TaskState
from hut.store.dynamodb.keys import PAGE, ready_partition
from hut.store.dynamodb.log import changes_of, told
from hut.store.dynamodb.table import Pages
from hut.store.dynamodb.values import load_item
from hut.store.port import UnknownRun
from tests.simulation.executions import MACHINE
from tests.simulation.queues import Message
from tests.simulation.streams import Record

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Acknowledging"]

_FAILED = frozenset({TaskState.FAILED, TaskState.DEP_FAILED})


class Acknowledging:
    """Holds what is acknowledged against what is stored.

    Attributes
    ----------
    looked_at : int
        How many messages and records it has looked at.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.looked_at = 0
        self._told: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._failed: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._followers: dict[str, dict[str, list[str]]] = {}
        world.observe_queue.acknowledged = self._observed
        world.wake_queue.acknowledged = self._woken
        world.stream.acknowledged = self._streamed

    def _observed(self, message: Message) -> None:
        self.looked_at += 1
        body = json.loads(message.body)
        source, detail = body["source"], body.get("detail")
        if source == "aws.states" and detail["stateMachineArn"] == MACHINE:
            self._stopped(detail)
        elif source == "aws.states":
            self._check_told(detail["name"], detail["name"], None, detail["status"])
            if detail["status"] == "ABORTED":
                self._check_ended(detail["name"])
        elif source == "hut.ec2":
            self._check_told(detail["name"], detail["name"], None, "RUNNING")
        elif source == "aws.batch":
            job = self._world.batch.jobs[detail["jobId"]]
            self._check_told(job.name, job.handle, job.index, detail["status"])

    def _check_ended(self, name: str) -> None:
        """What was launched for an attempt that was stopped is ended, as far as EC2 shows it."""
        now = self._world.agenda.now
        left = [
            each.id
            for each in self._world.instance_watch.left_over()
            if each.tags["hut:attempt"] == name and each.launched_at + each.nature.seen < now - 60
        ]
        self._world.watch.expect(not left, f"the end of {name} acknowledged while {left} are there")

    def _check_told(self, job_name: str, handle: str, index: int | None, status: str) -> None:
        """What is told of an attempt's own job is stored: that it runs, or that it has ended."""
        name = parse_job_name(job_name)
        assert name is not None
        for place, _ in enumerate(self._world.bundles.keys(name)):
            if status != "RUNNING":
                self._check_attempt(job_name, bundled_handle(handle, place), place, status)
        if not name.is_bundle:
            self._check_attempt(job_name, handle, index, status)

    def _check_attempt(self, job_name: str, handle: str, index: int | None, status: str) -> None:
        found, name = self._world.attempt_of(job_name, index), parse_job_name(job_name)
        assert found is not None
        assert name is not None
        run_id, position, attempt, task_id = found
        tasks = self._world.store.get_tasks(run_id, [position])
        task = tasks.get(position)
        if task is None or task.attempt != attempt or task.handle not in (None, handle):
            return
        if name.key is not None and task.epoch != name.key.epoch:
            return
        ended = status != "RUNNING"
        open_states = ACTIVE if ended else (TaskState.SUBMITTED,)
        self._world.watch.expect(
            task.state not in open_states,
            f"{status} of {job_name} ({task_id}) acknowledged while it is {task.state}",
        )

    def _stopped(self, detail: dict[str, Any]) -> None:
        run_id, _, generation = detail["name"].rpartition("-")
        run = self._world.store.get_run(run_id)
        over = run.ended_at is not None or run.generation != int(generation)
        self._world.watch.expect(
            over or run.cancel_requested_at is not None,
            f"{detail['status']} of {detail['name']} acknowledged before the run was stopped",
        )

    def _woken(self, message: Message) -> None:
        self.looked_at += 1
        body = json.loads(message.body)
        run = self._world.watch.runs[body["run"]]
        told = self._told[body["run"], run.generation]
        # It may hand on the end of an attempt that was repeated, and has ended since.
        ended = [p for p in body["ended"] if p in run.tasks and run.tasks[p].id in told]
        self._followed(body["run"], ended, "wake message", message.sent_at, message)

    def _streamed(self, record: Record) -> None:
        self.looked_at += 1
        news = told(record.image)
        assert news is not None
        changes = changes_of(load_item(record.image))
        again = {each.position for each in changes if each.state is TaskState.PENDING}
        ended = [position for position in news.ended if position not in again]
        self._followed(news.run_id, ended, "record", record.at)

    def _followed(
        self,
        run_id: str,
        ended: Sequence[int],
        what: str,
        told_at: float,
        message: Message | None = None,
    ) -> None:
        """What waited for tasks that ended is free, or will never run; or somebody else is told."""
        run = self._world.watch.runs[run_id]
        of_the_past = told_at < run.began_at  # of an earlier generation
        if run.stopped or run.ended or run.planned is None or of_the_past:
            return
        names = {run.tasks[p].id for p in ended if p in run.tasks}
        if not names:
            return
        told, bad = self._told[run_id, run.generation], self._failed[run_id, run.generation]
        told |= names
        bad |= {name for name in names if run.by_id[name].state in _FAILED}
        waiting = self._waiting_for(run_id, run.planned.deps, names)
        if not waiting:
            return
        handed_on = self._handed_on(run_id, message)
        try:
            ids = self._world.store.task_ids(run_id)
        except UnknownRun:
            return
        for position, task_id in enumerate(ids):
            if task_id not in waiting:
                continue
            deps = run.planned.deps[task_id]
            mine = names & deps
            if mine <= handed_on:
                continue
            # An end may just have been stored whose own record is still to come.
            failed = any(run.by_id[dep].state in _FAILED for dep in deps & bad)
            if not failed and not (
                deps <= told and all(run.by_id[dep].state is TaskState.COMPLETED for dep in deps)
            ):
                continue
            (task,) = self._world.store.get_tasks(run_id, [position]).values()
            known = run.tasks.get(position)
            waits = task.state is TaskState.PENDING and not (known and known.was_free)
            is_free = waits and not failed and position in self._ready(run_id, run.generation)
            self._world.watch.expect(
                is_free or not waits,
                f"{what} of the ends of {sorted(mine)} acknowledged while {task_id} still waits",
            )

    def _waiting_for(
        self, run_id: str, deps: Mapping[str, frozenset[str]], names: Iterable[str]
    ) -> set[str]:
        """Return the tasks that may wait for nothing any more, now that some have ended.

        Of a task with thousands of dependencies, most news changes nothing: it is left out at once.
        """
        if run_id not in self._followers:
            followers: defaultdict[str, list[str]] = defaultdict(list)
            for task_id, dependencies in deps.items():
                for name in dependencies:
                    followers[name].append(task_id)
            self._followers[run_id] = dict(followers)
        run = self._world.watch.runs[run_id]
        key = run_id, run.generation
        found = {each for name in names for each in self._followers[run_id].get(name, ())}
        return {
            each
            for each in found
            if (each not in run.by_id or run.by_id[each].state is TaskState.PENDING)
            and (len(deps[each]) <= len(self._told[key]) or deps[each] & self._failed[key])
        }

    def _ready(self, run_id: str, generation: int) -> set[int]:
        """Return the positions of the tasks that may be claimed."""
        pages = self._world.store._table.query(Pages(ready_partition(run_id, generation)))
        return {
            int(page["sk"].rpartition("#")[2]) * PAGE + offset
            for page in pages
            for offset in page.get("ready", ())
        }

    def _handed_on(self, run_id: str, but: Message | None) -> set[str]:
        """Return the tasks whose ends a message in the wake queue tells of."""
        run = self._world.watch.runs[run_id]
        found: set[str] = set()
        for message in self._world.wake_queue.messages.values():
            body = json.loads(message.body)
            if message is not but and body["run"] == run_id:
                found |= {run.tasks[p].id for p in body["ended"] if p in run.tasks}
        return found
