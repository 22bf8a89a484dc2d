"""Whole histories: what people do, until everything is over, and what must hold then."""

from __future__ import annotations

from tests.simulation.chance import Chance
from tests.simulation.faults import Faults
from tests.simulation.instances import Ec2
from tests.simulation.invariants import Violation
from tests.simulation.shrinking import Trial
from tests.simulation.workflows import random_workflow
from tests.simulation.world import BEGIN, World

__all__ = ["IDLE_SWEEPS", "finish", "random_faults", "random_people", "random_trial"]

IDLE_SWEEPS = 2
"""Sweeps that may pass with nothing else going on before a run that has not ended goes on."""

_LONGEST = 40 * 86400.0


def random_trial(seed: int) -> Trial:
    """Return the history of a seed: a few runs, faults of several kinds, perhaps a backend with a cap."""
    chance = Chance(seed)
    cap = None if chance.below("capped", 3) else 2 + chance.below("cap", 8)
    options = {"faults": random_faults(seed), "cap": cap, "ec2": random_ec2(seed)}

    def play(world: World) -> None:
        random_people(world)
        finish(world)

    return Trial(seed, options, play)


def random_ec2(seed: int) -> Ec2 | None:
    """Return a backend on EC2 for two seeds in five; half of them use instances again."""
    chance = Chance(seed)
    if chance.below("on instances", 5) > 1:
        return None
    return Ec2(
        most=3 + chance.below("instances", 8),
        reuse=chance.below("reuse", 2) == 0,
        spot=("never", "prefer", "only")[chance.below("spot", 3)],
        idle=60 * (1 + chance.below("idle", 3)),
    )


def random_people(world: World, *, most: int = 8) -> None:
    """Let people do what they do: submit a few runs, cancel one, repeat another."""
    chance = world.chance

    def do(what: str, share: float) -> bool:  # like faults, it can be left out of a history
        return chance.fault("people", what, share)

    for n in range(3):
        label = f"run {n}"
        if n and not do(f"submit {label}", 0.5):
            continue
        planned = random_workflow(chance, label, most=most, ec2=world.most_instances is not None)
        wish = world.people.submit(
            planned,
            after=chance.between(f"{label} at", 0, 90),
            copies=2 if do(f"submit {label} twice", 0.12) else 1,
        )
        if do(f"cancel {label}", 0.12):
            world.people.cancel(wish, after=chance.between(f"{label} cancelled", 0.0, 120.0))
        elif do(f"repeat {label}", 0.15):
            world.people.retry(wish)
        elif do(f"repeat all of {label}", 0.15):
            world.people.retry(wish, everything=True)
        elif do(f"stop {label} in the console", 0.08):
            world.people.stop_execution(wish, after=chance.between(f"{label} stopped", 5.0, 60.0))


def random_faults(seed: int) -> Faults:
    """Return faults of several kinds, at strengths that differ from seed to seed."""
    chance = Chance(seed)

    def share(kind: str, most: float) -> float:
        roll = chance.roll(f"share {kind}")
        return 0.0 if roll < 0.5 else most * (2 * roll - 1)

    return Faults(
        crash=share("crash", 0.06),
        throttled=share("throttled", 0.5),
        broken=share("broken", 0.1),
        unanswered=share("unanswered", 0.1),
        raced=share("raced", 0.2),
        lost=share("lost", 1.0),
        repeated=share("repeated", 0.6),
        late=share("late", 120.0),
        left=share("left", 0.3),
        skew=share("skew", 5.0),
        index_lag=share("index lag", 20.0),
        list_lag=share("list lag", 20.0),
        reclaimed=share("reclaimed", 0.2),
        stopped=share("stopped", 0.01),
        no_capacity=share("no capacity", 0.9),
        offline=share("offline", 0.15),
        vanished=share("vanished", 0.1),
        poisoned=share("poisoned", 0.1),
        calls_at_most=0.02 + share("calls", 2.0),
    )


def finish(world: World) -> None:
    """Let everything happen until everything is over, and check how it ended.

    Raises
    ------
    Violation
        If anything is not as it must be.
    """
    idle, swept = 0, world.sweeps
    busy = True
    while True:
        world.agenda.step()
        busy = busy or not _is_idle(world)
        if world.sweeps == swept or world.functions.running["sweep"]:
            continue
        swept = world.sweeps
        if world.people.are_content() and _is_idle(world) and _is_over(world):
            break
        idle = 0 if busy or world.agenda.now < world.faults_end else idle + 1
        busy = False
        if idle > IDLE_SWEEPS:
            raise Violation(f"{idle} sweeps with nothing else going on, and yet: {_left(world)}")
        if world.agenda.now > BEGIN + _LONGEST:
            raise Violation(f"no end: {_left(world)}")
    for wish in world.people.wishes.values():
        world.people.check(wish)
    _check_left(world)


def _is_idle(world: World) -> bool:
    """Say whether nothing is going on but what a sweep would begin."""
    running = sum(n for name, n in world.functions.running.items() if name != "sweep")
    jobs = world.active_jobs > 0 or world.instances.machine.running
    messages = world.observe_queue.messages or world.wake_queue.messages
    if running or jobs or messages or world.stream.behind():
        return False
    until = world.instance_watch.idle_until()
    return until is None or until <= world.agenda.now


def _is_over(world: World) -> bool:
    """Say whether nobody looks at any run any more, and no instance is there, nor noted as idle."""
    if world.store.active_runs() or world.instances.ec2.alive:
        return False
    if world.instance_watch.idle_until() is not None:
        return False
    return all(each.status != "RUNNING" for each in world.states.executions.values())


def _left(world: World) -> str:
    """Say what is not over."""
    runs = {
        wish.run_id or wish.name: f"{run.state} {dict(run.counts)}"
        for wish in world.people.wishes.values()
        if wish.run_id and (run := world.store.get_run(wish.run_id)).ended_at is None
    }
    open_ = [wish.name for wish in world.people.wishes.values() if wish.open]
    executions = [e.name for e in world.states.executions.values() if e.status == "RUNNING"]
    instances = [each.id for each in world.instances.ec2.alive]
    listed = world.store.active_runs()
    return (
        f"runs {runs}, requests of {open_}, executions {executions}, listed {listed}, "
        f"instances {instances}"
    )


def _check_left(world: World) -> None:
    """Nothing is left behind: no job, no count, no message but those nobody can read."""
    expect = world.watch.expect
    left = [
        job.handle for job in world.batch.jobs.values() if not job.has_ended and job.summary is None
    ]
    expect(not left, f"jobs are left: {left}")
    for backend in world.options.counted:
        busy = world.store.active_on(backend)
        expect(busy == 0, f"{backend} counts {busy} active tasks")
    world.instance_watch.check_left()
    bad = [m.body for m in world.observe_queue.dead if m.body != '{"source": "aws.batch"}']
    expect(not bad, f"given up: {bad[:3]}")
    expect(not world.wake_queue.dead, f"given up: {world.wake_queue.dead[:3]}")
