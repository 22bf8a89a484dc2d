"""EC2 instances of a deployment on the test bed: what was launched for which attempt, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e.remote_hut import RemoteHut, until

__all__ = [
    "MACHINE",
    "attempts",
    "backends",
    "begin",
    "calm_ec2",
    "instances",
    "live",
    "settled",
    "swept",
]

MACHINE = "ec2-task"
PACE = 0.04  # of the machine's waits: a quarter of a minute is more than half a second
SLOW = 240.0  # seconds; instances of some tests start one after the other
_ATTEMPT = "hut:attempt"
_LIVE = ("pending", "running", "shutting-down", "stopping", "stopped")


def backends(**fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with EC2 backends that differ so from the deployment's."""
    return {
        "backends": [{"name": name, "type": "ec2", **some} for name, some in fields.items()],
    }


def begin(hut: RemoteHut, configuration: Mapping[str, Any]) -> None:
    """Apply a configuration, and let the state machine wait shorter than it says."""
    answer = hut.call("PUT", "/config", configuration, headers={"If-Match": "*"})
    assert answer.status in (200, 201), answer.text
    name = f"{hut.deployment.prefix}-{MACHINE}"
    hut.bed.hook("states/pace", {"machine": name, "waits": PACE, "timeouts": PACE})


def calm_ec2(hut: RemoteHut) -> None:
    """End what a test disturbed, and all instances."""
    for source in ("aws.ec2", "aws.ssm"):
        hut.bed.hook("events/lose", {"source": source, "share": 0})
    for path in ("ec2/boot", "ec2/capacity"):
        hut.bed.hook(path, {})
    hut.bed.hook("ec2/minute", {"seconds": 60})
    alive = [each["instance"] for each in _all(hut) if each["state"] in ("pending", "running")]
    if alive:
        hut.bed.client("ec2").terminate_instances(InstanceIds=alive)
    until(lambda: not live(_all(hut)), "the instances of a test ended")


def instances(hut: RemoteHut, run: str) -> list[dict[str, Any]]:
    """Return the instances that were launched for a run, the first one first."""
    begins = f"{hut.deployment.prefix}-{run}-"
    return [each for each in _all(hut) if each["tags"].get(_ATTEMPT, "").startswith(begins)]


def attempts(hut: RemoteHut, run: str) -> list[dict[str, Any]]:
    """Return the attempts of a run's tasks."""
    return [each for task in hut.tasks(run) for each in hut.task(run, task)["attempts"]]


def settled(hut: RemoteHut, run: str, *, state: str = "completed", shared: bool = False) -> Any:
    """Wait for the end of a run and return it; its instances and its launches must add up.

    Each attempt launched one instance, or none if there was none; where they are shared, no more
    than that. None of them is left, unless it may be idle.
    """
    ended = hut.ended(run, SLOW)
    assert ended["state"] == state, hut.tasks(run)
    launched = instances(hut, run)
    until(lambda: shared or not live(instances(hut, run)), f"the instances of {run} ended", SLOW)
    names = {each["job_id"].partition("#")[0] for each in attempts(hut, run)}
    per_attempt = Counter(each["tags"][_ATTEMPT] for each in launched)
    assert set(per_attempt.values()) <= {1}
    begins = f"{hut.deployment.prefix}-{run}-"
    calls = [
        call
        for call in hut.bed.hook("ec2/launches")["launches"]
        if (call["token"] or "").startswith(begins)
    ]
    tried = {call["token"].rpartition("-")[0] for call in calls}
    assert tried <= names if shared else tried == names
    made = [call for call in calls if call.get("instances") and not call.get("repeated")]
    assert len(made) == len(launched)
    failed = [call["error"] for call in calls if "error" in call]
    assert len(calls) == len(launched) + len(failed) + sum("repeated" in call for call in calls)
    return ended


def swept(hut: RemoteHut, run: str) -> None:
    """Sweep until a run has ended, as the schedule does."""
    until(lambda: hut.sweep() and hut.show(run)["state"] not in ("pending", "running"), run, SLOW)


def _all(hut: RemoteHut) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hut.bed.hook("ec2/instances")["instances"]
    return found


def live(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return those of some instances that are not terminated."""
    return [each["instance"] for each in found if each["state"] in _LIVE]
