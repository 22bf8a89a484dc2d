"""Tasks that no queue can run yet, in the real store: they hold nothing up, and start when one can."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hut.backends.as_submitted import AsSubmitted
from hut.model.states import RunState
from hut.scheduling.matching import Target
from hut.scheduling.placing import plain_sites
from hut.service.surroundings import Surroundings
from tests.service.control_plane import ControlPlane
from tests.testbed.running import TestBed

SCHEDULER = {
    "name": "MAIN",
    "simple": {"supported_platform_properties": {"cpus": "minimum"}, "unsatisfiable": "wait"},
}


@dataclass(frozen=True)
class Options:
    name: str


class Configured(ControlPlane):
    """A control plane whose backend offers what is configured, by now."""

    def offer(self, *targets: Target) -> None:
        self.targets = targets

    def around(self) -> Surroundings:
        around, options = super().around(), Options(self.backend.name)
        now: Any = AsSubmitted(options, lambda _: options, lambda _: self.backend, self.targets)  # type: ignore[arg-type, return-value]
        return replace(around, backends={**around.backends, options.name: now})


def test_a_task_that_waits_for_a_target_starts_when_one_is_there(test_bed: TestBed) -> None:
    plane = Configured(test_bed)
    name = plane.backend.name
    plane.offer(Target("ec2", {"cpus": "4"}))
    offered = [("ec2", {"cpus": "4"})]
    plane.sites = plain_sites([SCHEDULER], [{"name": name, "type": "batch", "targets": offered}])
    run = plane.begin({"id": "big", "properties": {"cpus": "8"}}, {"id": "small"}, backend=name)
    for _ in range(3):  # the others go on, and it is tried again
        plane.deliver()
        plane.backend.run_all()
        plane.deliver()
        plane.clock.now += 200
        plane.sweep()
    assert plane.states(run) == {"big": "pending", "small": "completed"}
    task = plane.task(run, "big")
    assert (task.attempt, task.losses, task.retries_used) == (0, 0, 0)
    plane.offer(Target("ec2", {"cpus": "4"}), Target("large", {"cpus": "16"}))
    ended = plane.finish(run, sweeps=3)
    assert ended.state is RunState.COMPLETED
    assert plane.task(run, "big").attempt == 1
