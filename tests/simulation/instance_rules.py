"""What must hold of EC2 instances at each step of a simulated history.

An instance is *in use* while it is alive and either idle or an attempt's whose execution runs. Those
are never more than ``max_instances``. Others are left over, by an execution that was stopped or could
not terminate its own; they may come on top until they are ended: by whoever takes note of the
execution's end, by the sweep, at last by their own timer. They run nothing that is still wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hut.backends.ec2.tidying import IDLE_SLACK
from hut.backends.port import parse_job_name
from hut.model.states import ACTIVE
from hut.store.dynamodb.hosts import TableHosts
from hut.store.port import AttemptKey, UnknownRun
from tests.simulation.dynamodb import Change as Written
from tests.simulation.ec2 import BY_CALL, SimulatedInstance
from tests.simulation.hosts import SimulatedAttempt
from tests.simulation.instances import outcome_of

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["InstanceWatch"]

_WITHOUT_INSTANCE = ("no_capacity", "launch_failed")  # the latter if it was throttled in the end

_STOPPED_WITHIN = 600.0
"""Seconds from a run's cancellation, or from the last fault, until nothing is launched for it any more."""


class InstanceWatch:
    """Looks at instances, idle items and what runs where.

    Attributes
    ----------
    most : int
        The most instances that were in use at once.
    launched : Counter of str
        Instances by the attempts they were launched for.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._hosts = TableHosts(world.store._table, clock=lambda: world.agenda.now)
        self.most = 0
        self.launched: Counter[str] = Counter()
        self._stopped_at: dict[str, float] = {}

    def changed(self, instance: SimulatedInstance) -> None:
        """Look at an instance whose state has changed."""
        name = instance.tags.get("hut:attempt", "")
        self._world.history.note("ec2", f"{instance.id} of {name} {instance.state}")
        expect = self._world.watch.expect
        if len(instance.history) > 1:
            expect(not self._is_taken_away(instance), f"{instance.id} was ended under {name}")
            return
        found = parse_job_name(name)
        is_known = found is not None and (found.key is not None or found.is_bundle)
        expect(is_known, f"{instance.id} is of no attempt: {name}")
        assert found is not None
        executions = self._world.instances.machine.executions
        expect(name in executions, f"{instance.id} was launched for {name}, which has no execution")
        token = executions[name].given["token"]
        expect(instance.launch.token.startswith(token), f"a token of another: {instance.launch}")
        expect(instance.tags.get("hut") == "hut", f"{instance.id} lacks the deployment's tag")
        self.launched[name] += 1
        self._check_wanted(instance, found.run_id)
        self._check_most()

    def _is_taken_away(self, instance: SimulatedInstance) -> bool:
        """Say whether somebody ended an instance, and not the execution that has it and runs."""
        if instance.state != "shutting-down" or instance.history[-1][2] != BY_CALL:
            return False
        owner = self._hosts.hosts([instance.id]).get(instance.id)
        name = instance.tags["hut:attempt"] if owner is None else owner.name
        execution = self._world.instances.machine.executions.get(name)
        return (
            execution is not None
            and execution.status == "RUNNING"
            and execution.variables.get("instance") == instance.id
            and execution.state != "Terminate"
        )

    def _check_wanted(self, instance: SimulatedInstance, run_id: str) -> None:
        """Nothing is launched for a run that was stopped a while ago."""
        run, now = self._world.watch.runs[run_id], self._world.agenda.now
        if not (run.stopped or run.ended):
            self._stopped_at.pop(run_id, None)
            return
        since = max(self._stopped_at.setdefault(run_id, run.stopped_at), self._world.faults_end)
        self._world.watch.expect(
            now < since + _STOPPED_WITHIN, f"{instance.id} was launched for {run_id}, long stopped"
        )

    def _check_most(self) -> None:
        most, used = self._world.most_instances, self.in_use()
        self.most = max(self.most, len(used))
        told = ", ".join(f"{each.id} of {each.tags['hut:attempt']}" for each in used)
        self._world.watch.expect(
            most is None or len(used) <= most, f"{len(used)} instances in use, of {most}: {told}"
        )

    def in_use(self) -> list[SimulatedInstance]:
        """Return the instances that are idle, or of an attempt whose execution runs."""
        alive = self._world.instances.ec2.alive
        hosts = self._hosts.hosts([each.id for each in alive])
        idle = self._hosts.idle_among(hosts.values())
        running = {each.name for each in self._world.instances.running}
        return [
            each
            for each in alive
            if each.id in idle
            or (hosts[each.id].name if each.id in hosts else each.tags["hut:attempt"]) in running
        ]

    def ran(self, attempt: SimulatedAttempt) -> None:
        """Look at an attempt that has begun to run: alone on its instance, which is not idle."""
        instance, expect = attempt.instance, self._world.watch.expect
        others = [e.name for e in self._world.instances.hosts.live_on(instance) if e is not attempt]
        expect(not others, f"{attempt.handle} runs beside {others}")
        idle = [host.instance for host in self._hosts.idle("ec2")]
        expect(instance.id not in idle, f"{attempt.handle} runs on an instance that is idle")

    def wrote(self, changes: Sequence[Written]) -> None:
        """Look at what a call wrote: an instance that becomes idle runs nothing."""
        for change in changes:
            if change.new is None or not change.key["pk"]["S"].startswith("IDLE#"):
                continue
            name = change.new["instance"]["S"]
            live = self._world.instances.hosts.live_on(self._world.instances.ec2.instances[name])
            self._world.watch.expect(not live, f"{name} is idle while {[e.name for e in live]} run")

    def idle_until(self) -> float | None:
        """Return when the time of all idle instances is over; None if none is noted."""
        return max((host.until + IDLE_SLACK for host in self._hosts.idle("ec2")), default=None)

    def unlucky(self, run_id: str) -> set[str]:
        """Return the tasks of a run that EC2 had nothing for, or whose execution somebody stopped.

        What the state machine says is not enough: what the world did must be such.
        """
        there = self._world.instances
        found = set()
        for execution in there.machine.executions.values():
            name = parse_job_name(execution.name)
            if name is None or name.run_id != run_id:
                continue
            reason = outcome_of(execution).get("reason")
            launched = [
                e for e in there.ec2.instances.values() if e.tags["hut:attempt"] == execution.name
            ]
            if (
                execution.name in there.machine.stopped
                or (reason in _WITHOUT_INSTANCE and execution.name in there.refused)
                or (
                    reason == "startup_timeout"
                    and any(each.nature.online is None for each in launched)
                )
            ):
                tasks = self._world.watch.runs[run_id].tasks
                keys = [each for each in (name.key, *self._world.bundles.keys(name)) if each]
                found |= {tasks[key.position].id for key in keys if key.position in tasks}
        return found

    # At the end ----------------------------------------------------------------------------------

    def left_over(self) -> list[SimulatedInstance]:
        """Return the instances that are alive and not in use."""
        used = self.in_use()
        return [each for each in self._world.instances.ec2.alive if each not in used]

    def check_left(self) -> None:
        """Nothing is left: no instance, no execution, no idle item."""
        expect, there = self._world.watch.expect, self._world.instances
        alive = [each.id for each in there.ec2.alive]
        expect(not alive, f"instances are left: {alive}")
        running = [each.name for each in there.running]
        expect(not running, f"executions are left: {running}")
        live = [e.handle for e in there.hosts.attempts.values() if not e.is_over]
        expect(not live, f"attempts run on: {live}")
        for name in self.launched:
            expect(self._is_claimed(name), f"an instance was launched for {name}, never claimed")

    def _is_claimed(self, name: str) -> bool:
        """Say whether an attempt of this name was ever claimed."""
        found = parse_job_name(name)
        assert found is not None
        keys = [each for each in (found.key, *self._world.bundles.keys(found)) if each]
        return all(self._was_claimed(found.run_id, key) for key in keys)

    def _was_claimed(self, run_id: str, key: AttemptKey) -> bool:
        try:
            task = self._world.store.get_tasks(run_id, [key.position]).get(key.position)
        except UnknownRun:
            return False
        if task is None:  # a generated task that was withdrawn
            return run_id in self._world.watch.runs
        is_now = task.attempt == key.attempt and task.state in ACTIVE
        return is_now or task.attempt >= key.attempt
