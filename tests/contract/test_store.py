"""What every store must do. Written against the port alone; see `worlds` for the adapters."""

from __future__ import annotations

import json
import threading

import pytest

from hut.lifecycle.retry import MOST_LOSSES
from hut.model.problems import InvalidInput
from hut.model.records import RunRecord
from hut.model.states import Reason, RunState, TaskState
from hut.planning import extend_run
from hut.scheduling.room import Caps
from hut.store.port import (
    ClaimRequest,
    IdempotencyConflict,
    RunFilter,
    StoreError,
    TaskFilter,
    UnknownRun,
)
from hut.submission import Setting, Submission
from tests.contract.worlds import CANCELLED, COMPLETED, FAILED, HOST_TERMINATED, LOST, World

DIAMOND = (
    {"id": "a"},
    {"id": "b", "deps": ["a"]},
    {"id": "c", "deps": ["a"]},
    {"id": "d", "deps": ["b", "c"]},
)


# Creating ---------------------------------------------------------------------------------------


def test_a_created_run_is_read_back_with_everything_its_file_said(world: World) -> None:
    run = world.create(
        {
            "id": "x",
            "command": "echo 'é\n\"'",
            "name": "the x",
            "cpus": 2,
            "memory": "8G",
            "gres": "gpu:a100:2",
            "time_limit": "2h",
            "retries": 3,
            "retry_delay": "5s",
            "retry_on": [75, "timeout"],
            "env_vars": {"A": "1"},
            "priority": 7,
            "properties": {"os": "linux"},
            "tags": {"who": "me"},
            "group": "g",
            "output_file": "o",
            "generates_source": "more.json",
        },
        env_vars={"W": "2"},
        max_concurrent=3,
        time_limit="1h",
        description="what it is",
    )
    spec = world.task(run, "x").spec
    assert (spec.command, spec.name) == ("echo 'é\n\"'", "the x")
    assert (spec.resources.cpus, spec.resources.memory) == (2, 8192)
    assert [str(gres) for gres in spec.resources.gres] == ["gpu:a100:2"]
    assert spec.resources.time_limit == 7200
    assert (spec.retry.retries, spec.retry.delay) == (3, 5)
    assert spec.retry.on == {75, "timeout"}
    assert dict(spec.env_vars) == {"A": "1"}
    assert (spec.priority, spec.group, spec.output_file) == (7, "g", "o")
    assert dict(spec.properties) == {"os": "linux"}
    assert dict(spec.tags) == {"who": "me"}
    assert spec.generates_source == "more.json"
    settings = world.store.get_run(run.id).settings
    assert dict(settings.env_vars) == {"W": "2"}
    assert (settings.max_concurrent, settings.time_limit) == (3, 3600)
    assert settings.description == "what it is"


def test_nothing_is_stored_of_an_invalid_workflow(world: World) -> None:
    with pytest.raises(InvalidInput):
        world.create({"id": "a"}, {"id": "b", "deps": ["nobody"]})
    assert world.store.list_runs(RunFilter()) == []


def submit(world: World, key: str | None, text: str, new_id: str) -> str:
    submission = Submission(text, "w.json", "w", idempotency_key=key)
    run, _ = world.control.submit(submission, Setting(), now=world.now, new_id=new_id)
    return run.id


ONE = json.dumps([{"id": "a", "command": "true"}])
OTHER = json.dumps([{"id": "a", "command": "false"}])


def test_an_idempotency_key_gives_one_run(world: World) -> None:
    first = submit(world, "k", ONE, "r1")
    assert submit(world, "k", ONE, "r2") == first
    assert submit(world, "other", ONE, "r3") == "r3"
    keys = ("k", "other", "none")
    assert [world.store.run_of_key(key) for key in keys] == ["r1", "r3", None]
    assert len(world.store.list_runs(RunFilter())) == 2


def test_an_idempotency_key_with_another_body_is_refused(world: World) -> None:
    submit(world, "k", ONE, "r1")
    with pytest.raises(IdempotencyConflict, match="'k'"):
        submit(world, "k", OTHER, "r2")
    assert [run.id for run in world.store.list_runs(RunFilter())] == ["r1"]


def test_an_id_that_is_taken_does_not_replace_the_run(world: World) -> None:
    submit(world, None, ONE, "r1")
    second = submit(world, None, OTHER, "r1")
    assert second != "r1"
    task = world.store.get_task("r1", "a")
    assert task is not None
    assert task.spec.command == "true"


# Claiming ---------------------------------------------------------------------------------------


def test_only_tasks_without_open_dependencies_are_claimed(world: World) -> None:
    run = world.create(*DIAMOND)
    assert world.claimed(run) == ["a"]
    assert world.claimed(run) == []


def test_higher_priority_goes_first_then_the_order_of_the_file(world: World) -> None:
    run = world.create(
        {"id": "a"}, {"id": "b", "priority": 5}, {"id": "c"}, {"id": "d", "priority": 5}
    )
    assert world.claimed(run, 3) == ["b", "d", "a"]
    assert world.claimed(run, 3) == ["c"]


def test_a_claim_names_attempt_and_epoch_and_is_stored(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    assert (claim.key.attempt, claim.key.epoch) == (1, run.epoch)
    task = world.task(run, "a")
    assert (task.state, task.attempt, task.submitted_at) == (TaskState.SUBMITTED, 1, world.now)
    world.check(run)


@pytest.mark.parametrize(
    ("caps", "fits"),
    [(Caps(run=2), 2), (Caps(backend=3), 3), (Caps(run=2, backend=1), 1), (Caps(), 5)],
)
def test_caps_bound_what_is_active(world: World, caps: Caps, fits: int) -> None:
    run = world.create(*({"id": f"t{i}"} for i in range(5)))
    assert len(world.claim(run, caps=caps)) == fits
    assert world.claim(run, caps=caps) == []


def test_the_cap_of_a_backend_counts_all_runs(world: World) -> None:
    one, two = world.create({"id": "a"}, {"id": "b"}), world.create({"id": "a"}, {"id": "b"})
    world.claim(one, 1)
    assert len(world.claim(two, caps=Caps(backend=2))) == 1


def test_a_freed_place_can_be_taken(world: World) -> None:
    run = world.create({"id": "a"}, {"id": "b"})
    (claim,) = world.claim(run, caps=Caps(run=1))
    world.end(run, (claim, COMPLETED))
    assert [c.spec.id for c in world.claim(run, caps=Caps(run=1))] == ["b"]


def test_nothing_is_claimed_once_the_budget_is_spent(world: World) -> None:
    run = world.create(*({"id": name} for name in "abc"))
    claims = world.claim(run, 2, caps=Caps(cost=1.0))
    world.end(run, (claims[0], COMPLETED), cost=0.75)
    world.end(run, (claims[1], COMPLETED), cost=0.25)
    assert world.claim(run, caps=Caps(cost=1.0)) == []
    assert [claim.spec.id for claim in world.claim(run, caps=Caps(cost=1.5))] == ["c"]


def test_tasks_of_other_backends_are_left_alone(world: World) -> None:
    run = world.create({"id": "a"})
    request = ClaimRequest(run.id, run.epoch, world.now, 10, backend="elsewhere")
    assert world.store.claim(request) == []


def test_two_dispatchers_never_claim_a_task_twice(world: World) -> None:
    run = world.create(*({"id": f"t{i}"} for i in range(300)))
    claimed: list[list[str]] = [[] for _ in range(4)]

    def dispatch(number: int) -> None:
        store = world.open_another()
        while True:
            request = ClaimRequest(run.id, run.epoch, world.now, 7)
            try:
                claims = store.claim(request)
            except StoreError:  # others were quicker each time: a dispatcher is called again
                continue
            if not claims:
                return
            claimed[number].extend(claim.spec.id for claim in claims)

    threads = [threading.Thread(target=dispatch, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [task_id for part in claimed for task_id in part]
    assert sorted(everything) == sorted(f"t{i}" for i in range(300))
    world.check(run)


def test_a_claim_that_is_given_back_does_not_count_as_an_attempt(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    assert world.store.release_claims(run.id, [claim.key]) == 1
    assert (world.task(run, "a").state, world.task(run, "a").attempt) == (TaskState.PENDING, 0)
    assert world.store.release_claims(run.id, [claim.key]) == 0
    (again,) = world.claim(run)
    assert again.key.attempt == 1
    world.check(run)


def test_a_started_attempt_can_not_be_given_back(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.start(run, claim)
    assert world.store.release_claims(run.id, [claim.key]) == 0
    assert world.task(run, "a").state is TaskState.RUNNING


# Starting and ending ----------------------------------------------------------------------------


def test_a_start_is_noted_once(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.start(run, claim)
    first = world.task(run, "a")
    world.now += 5
    world.start(run, claim)
    assert world.task(run, "a") == first
    assert (first.state, first.started_at, first.handle) == (TaskState.RUNNING, 1000.0, "pid-0")
    world.check(run)


def test_the_first_end_counts_and_later_ones_change_nothing(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.start(run, claim)
    assert world.end(run, (claim, COMPLETED)) == [True]
    assert world.end(run, (claim, FAILED)) == [False]
    assert world.task(run, "a").state is TaskState.COMPLETED
    assert len(world.attempts(run, "a")) == 1
    world.check(run)


def test_of_two_ends_in_one_call_the_first_counts(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    assert world.end(run, (claim, FAILED), (claim, COMPLETED)) == [True, False]
    assert world.task(run, "a").state is TaskState.FAILED
    world.check(run)


def test_an_end_may_overtake_its_start(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.end(run, (claim, COMPLETED))
    world.start(run, claim)
    assert world.task(run, "a").state is TaskState.COMPLETED
    world.check(run)


def test_an_end_of_an_older_attempt_is_refused(world: World) -> None:
    run = world.create({"id": "a", "retries": 1})
    (old,) = world.claim(run)
    world.end(run, (old, FAILED))
    (new,) = world.claim(run)
    assert new.key.attempt == 2
    assert world.end(run, (old, COMPLETED)) == [False]
    assert world.task(run, "a").state is TaskState.SUBMITTED


def test_an_end_of_an_older_epoch_is_refused(world: World) -> None:
    run = world.create({"id": "a"})
    (old,) = world.claim(run)
    world.store.release_claims(run.id, [old.key])
    later = world.store.begin_epoch(run.id, world.now)
    (new,) = world.claim(run)
    assert later.epoch == run.epoch + 1
    assert new.key.attempt == old.key.attempt
    assert world.end(run, (old, COMPLETED)) == [False]
    assert world.end(run, (new, COMPLETED)) == [True]


def test_an_ended_attempt_is_a_record_of_its_own(world: World) -> None:
    run = world.create({"id": "a", "retries": 1})
    (first,) = world.claim(run)
    world.start(run, first)
    world.now = 1010.0
    world.end(run, (first, FAILED))
    (second,) = world.claim(run)
    world.now = 1020.0
    world.end(run, (second, COMPLETED))
    one, two = world.attempts(run, "a")
    assert (one.number, one.outcome, one.started_at, one.ended_at) == (1, FAILED, 1000.0, 1010.0)
    assert one.handle == "pid-0"
    assert (two.number, two.outcome, two.ended_at) == (2, COMPLETED, 1020.0)


def test_a_retry_waits_for_its_delay(world: World) -> None:
    run = world.create({"id": "a", "retries": 2, "retry_delay": "10s"})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    assert world.task(run, "a").state is TaskState.PENDING
    assert world.store.next_retry(run.id, world.now) == 1010.0
    assert world.claimed(run) == []
    world.now = 1010.0
    assert world.store.next_retry(run.id, world.now) is None
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    assert world.store.next_retry(run.id, world.now) == 1030.0  # backoff: twice as long


def test_losses_do_not_use_up_retries(world: World) -> None:
    run = world.create({"id": "a"})
    for number in range(MOST_LOSSES):
        (claim,) = world.claim(run)
        assert claim.key.attempt == number + 1
        world.end(run, (claim, LOST))
    (claim,) = world.claim(run)
    world.end(run, (claim, LOST))
    task = world.task(run, "a")
    assert (task.state, task.reason) == (TaskState.FAILED, Reason.LOST)
    assert len(world.attempts(run, "a")) == MOST_LOSSES + 1


# Money ------------------------------------------------------------------------------------------


def money(world: World, run: RunRecord) -> tuple[float | None, float | None, int]:
    record = world.store.get_run(run.id)
    return record.cost, record.cost_lost, record.losses


def test_a_run_of_which_no_cost_is_known_has_none(world: World) -> None:
    run = world.create({"id": "a"})
    assert money(world, run) == (None, None, 0)
    (claim,) = world.claim(run)
    world.end(run, (claim, LOST))
    assert money(world, run) == (None, None, 1)
    world.complete(run, "a")
    assert money(world, run) == (None, None, 1)
    assert [attempt.cost for attempt in world.attempts(run, "a")] == [None, None]


def test_a_run_costs_what_its_attempts_cost_and_tells_what_was_lost(world: World) -> None:
    run = world.create({"id": "a", "retries": 1}, {"id": "b"}, {"id": "c"})
    a, b, c = world.claim(run)
    world.end(run, (a, LOST), cost=0.25)
    world.end(run, (b, COMPLETED), cost=0.0000123)
    world.end(run, (c, COMPLETED))
    assert money(world, run) == (0.2500123, 0.25, 1)
    (a,) = world.claim(run)
    assert world.end(run, (a, FAILED), cost=1.5) == [True]
    assert world.end(run, (a, FAILED), cost=1.5) == [False]  # told twice, paid once
    (a,) = world.claim(run)
    world.end(run, (a, HOST_TERMINATED), cost=0.5)
    assert money(world, run) == (2.2500123, 0.75, 2)
    assert [attempt.cost for attempt in world.attempts(run, "a")] == [0.25, 1.5, 0.5]
    (a,) = world.claim(run)
    assert [attempt.cost for attempt in world.attempts(run, "a")] == [0.25, 1.5, 0.5]
    world.end(run, (a, COMPLETED))
    assert [attempt.cost for attempt in world.attempts(run, "a")] == [0.25, 1.5, 0.5, None]
    assert world.store.list_runs(RunFilter())[0].cost == 2.2500123


def test_ends_that_come_together_are_paid_together(world: World) -> None:
    run = world.create(*({"id": f"t{n}"} for n in range(30)))
    claims = world.claim(run)
    world.end(run, *((claim, COMPLETED) for claim in claims), cost=0.1)
    assert money(world, run) == (3.0, 0.0, 0)


def test_what_a_run_cost_before_it_was_repeated_still_counts(world: World) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.end(run, (claim, COMPLETED), cost=1.0)
    world.store.settle(run.id, world.now)
    world.store.reset_tasks(run.id, world.now, everything=True)
    world.store.begin_epoch(run.id, world.now)
    assert [attempt.cost for attempt in world.attempts(run, "a")] == [1.0]
    (claim,) = world.claim(run)
    world.end(run, (claim, COMPLETED), cost=2.0)
    assert money(world, run) == (3.0, 0.0, 0)
    assert [attempt.cost for attempt in world.attempts(run, "a")] == [1.0, 2.0]


# Dependencies -----------------------------------------------------------------------------------


def test_dependents_are_released_when_all_they_wait_for_completed(world: World) -> None:
    run = world.create(*DIAMOND)
    world.complete(run, "a")
    assert sorted(world.claimed(run)) == ["b", "c"]
    b, c = (world.task(run, task_id) for task_id in "bc")
    assert (b.waiting_for, c.waiting_for) == (0, 0)
    assert world.states(run)["d"] == "pending"


def test_a_barrier_opens_with_its_last_member(world: World) -> None:
    members = [{"id": f"m{i}"} for i in range(5)]
    readers = [{"id": f"r{i}", "deps": ["m*"]} for i in range(3)]
    run = world.create(*members, *readers)
    claims = world.claim(run)
    assert len(claims) == 5
    for claim in claims[:-1]:
        world.end(run, (claim, COMPLETED))
    assert world.claimed(run) == []
    world.end(run, (claims[-1], COMPLETED))
    assert world.claimed(run) == ["r0", "r1", "r2"]


def test_ends_that_come_together_release_as_if_they_came_alone(world: World) -> None:
    members = [{"id": f"m{i}"} for i in range(1200)]
    run = world.create(
        *members, {"id": "r", "deps": ["m*"]}, {"id": "s", "deps": ["m0", "m1", "r"]}
    )
    claims = world.claim(run, 2000)
    world.end(run, *((claim, COMPLETED) for claim in claims))
    assert world.claimed(run) == ["r"]
    world.check(run)


def test_a_failure_reaches_everything_behind_it_and_nothing_else(world: World) -> None:
    run = world.create(
        *DIAMOND, {"id": "e", "deps": ["d"]}, {"id": "free"}, {"id": "f", "deps": ["free"]}
    )
    world.complete(run, "a")
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.end(run, (claims["b"], FAILED))
    states = world.states(run)
    assert {states[task_id] for task_id in "de"} == {"dep_failed"}
    assert states["f"] == "pending"
    assert world.task(run, "e").cause == world.task(run, "b").position
    assert world.task(run, "e").reason is Reason.DEPENDENCY
    assert world.attempts(run, "e") == []
    world.check(run)


def test_a_failure_goes_through_barriers(world: World) -> None:
    members = [{"id": f"m{i}"} for i in range(4)]
    readers = [{"id": f"r{i}", "deps": ["m*"]} for i in range(3)]
    run = world.create(*members, *readers, {"id": "last", "deps": ["r*"]})
    claims = world.claim(run)
    world.end(run, (claims[1], FAILED))
    states = world.states(run)
    assert {states[f"r{i}"] for i in range(3)} | {states["last"]} == {"dep_failed"}
    world.end(run, *((claim, COMPLETED) for claim in (claims[0], claims[2], claims[3])))
    assert world.claimed(run) == []
    assert world.store.settle(run.id, world.now).state is RunState.FAILED


def test_a_failed_attempt_that_is_retried_fails_nobody(world: World) -> None:
    run = world.create({"id": "a", "retries": 1}, {"id": "b", "deps": ["a"]})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    assert world.states(run) == {"a": "pending", "b": "pending"}


def test_open_dependencies_are_named(world: World) -> None:
    members = [{"id": f"m{i}"} for i in range(6)]
    run = world.create(*members, {"id": "x"}, {"id": "r", "deps": ["m*", "x"]})
    world.complete(run, "m0", "x")
    found, total = world.store.open_dependencies(run.id, world.task(run, "r").position, 3)
    assert [(entry.task_id, entry.state) for entry in found] == [
        (f"m{i}", TaskState.PENDING) for i in (1, 2, 3)
    ]
    assert total == 5


# Tasks that join --------------------------------------------------------------------------------


def join(world: World, run, text: str):
    return extend_run(text, filename="g.json", existing=world.store.task_ids(run.id))


def test_generated_tasks_join_with_the_end_of_their_generator(world: World) -> None:
    run = world.create({"id": "gen", "generates_source": "g.json"}, {"id": "other"})
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    adds = join(
        world,
        run,
        json.dumps(
            [
                {"id": "n.1", "command": "true", "deps": ["gen"]},
                {"id": "n.2", "command": "true", "deps": ["other"]},
                {"id": "sum", "command": "true", "deps": ["n.*"]},
            ]
        ),
    )
    world.end(run, (claims["gen"], COMPLETED), adds=adds)
    assert world.check(run).total == 5
    assert world.claimed(run) == ["n.1"]
    assert world.task(run, "n.1").generated_by == 0
    world.end(run, (claims["other"], COMPLETED))
    assert world.claimed(run) == ["n.2"]


def test_a_generator_whose_end_is_late_adds_nothing(world: World) -> None:
    run = world.create({"id": "gen", "generates_source": "g.json"})
    (claim,) = world.claim(run)
    adds = join(world, run, json.dumps([{"id": "n", "command": "true"}]))
    assert world.end(run, (claim, COMPLETED), adds=adds) == [True]
    assert world.end(run, (claim, COMPLETED), adds=adds) == [False]
    assert world.check(run).total == 2


def test_a_generated_task_behind_a_failed_one_is_dep_failed(world: World) -> None:
    run = world.create({"id": "bad"}, {"id": "gen", "generates_source": "g.json"})
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.end(run, (claims["bad"], FAILED))
    adds = join(world, run, json.dumps([{"id": "n", "command": "true", "deps": ["bad"]}]))
    world.end(run, (claims["gen"], COMPLETED), adds=adds)
    assert world.states(run)["n"] == "dep_failed"
    assert world.store.settle(run.id, world.now).state is RunState.FAILED
    world.check(run)


def test_what_two_tasks_generate_may_wait_for_each_others_generator(world: World) -> None:
    run = world.create(*({"id": name, "generates_source": "g.json"} for name in ("g0", "g1")))
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    for mine, other in (("g0", "g1"), ("g1", "g0")):
        text = json.dumps([{"id": f"by-{mine}", "command": "true", "deps": [other]}])
        world.end(run, (claims[mine], COMPLETED), adds=join(world, run, text))
    assert world.claimed(run) == ["by-g0", "by-g1"]
    world.check(run)


def test_a_generated_task_behind_a_skipped_one_names_the_root_cause(world: World) -> None:
    run = world.create(
        {"id": "gen", "generates_source": "g.json"}, {"id": "bad"}, {"id": "b", "deps": ["bad"]}
    )
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.end(run, (claims["bad"], FAILED))
    adds = join(world, run, json.dumps([{"id": "n", "command": "true", "deps": ["b"]}]))
    world.end(run, (claims["gen"], COMPLETED), adds=adds)
    assert world.states(run)["n"] == "dep_failed"
    assert world.task(run, "n").cause == world.task(run, "bad").position


def test_a_run_does_not_end_before_what_was_generated_has(world: World) -> None:
    run = world.create({"id": "gen", "generates_source": "g.json"})
    (claim,) = world.claim(run)
    adds = join(world, run, json.dumps([{"id": "n", "command": "true"}]))
    with world.store.batch():
        world.end(run, (claim, COMPLETED), adds=adds)
        assert world.store.settle(run.id, world.now).ended_at is None
    world.complete(run, "n")
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED


# The run's end, cancelling, repeating -----------------------------------------------------------


def test_a_run_ends_once_when_every_task_has(world: World) -> None:
    run = world.create({"id": "a"})
    assert world.store.settle(run.id, world.now).ended_at is None
    world.complete(run, "a")
    world.now = 1005.0
    ended = world.store.settle(run.id, world.now)
    assert (ended.state, ended.ended_at) == (RunState.COMPLETED, 1005.0)
    assert world.store.settle(run.id, 2000.0).ended_at == 1005.0


def test_cancelling_ends_what_waits_and_lets_nothing_start(world: World) -> None:
    run = world.create({"id": "late", "retries": 1, "retry_delay": "10s"}, *DIAMOND, {"id": "z"})
    claims = {claim.spec.id: claim for claim in world.claim(run, 2)}
    world.end(run, (claims["late"], FAILED))
    assert world.store.next_retry(run.id, world.now) == 1010.0
    world.store.cancel_run(run.id, Reason.CANCELLED, world.now)
    assert world.claimed(run) == []
    assert world.states(run) == {
        "late": "failed",
        "a": "submitted",
        "b": "failed",
        "c": "failed",
        "d": "failed",
        "z": "failed",
    }
    assert world.task(run, "z").reason is Reason.CANCELLED
    assert world.store.next_retry(run.id, world.now) is None
    late = world.task(run, "late")
    assert (late.reason, late.exit_code, late.not_before) == (Reason.CANCELLED, None, 0.0)
    assert world.store.settle(run.id, world.now).ended_at is None
    world.end(run, (claims["a"], CANCELLED), cancelling=True)
    ended = world.store.settle(run.id, world.now)
    assert (ended.state, ended.reason) == (RunState.CANCELLED, Reason.CANCELLED)
    world.check(run)


def test_a_run_whose_tasks_all_completed_is_completed_although_it_was_cancelled(
    world: World,
) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.store.cancel_run(run.id, Reason.CANCELLED, world.now)
    world.end(run, (claim, COMPLETED))
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED


def test_cancelling_an_ended_run_changes_nothing(world: World) -> None:
    run = world.create({"id": "a"})
    world.complete(run, "a")
    ended = world.store.settle(run.id, world.now)
    world.now += 10
    assert world.store.cancel_run(run.id, Reason.CANCELLED, world.now) == ended


def failed_run(world: World):
    run = world.create(*DIAMOND, {"id": "e", "deps": ["a"]})
    world.complete(run, "a")
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.end(run, (claims["b"], FAILED), (claims["c"], COMPLETED), (claims["e"], COMPLETED))
    world.store.settle(run.id, world.now)
    return run


def test_repeating_takes_only_what_did_not_complete(world: World) -> None:
    run = failed_run(world)
    assert world.store.get_run(run.id).state is RunState.FAILED
    assert world.store.reset_tasks(run.id, world.now) == 2
    assert world.check(run).state is RunState.PENDING
    world.store.begin_epoch(run.id, world.now)
    claims = world.claim(run)
    assert [(claim.spec.id, claim.key.attempt) for claim in claims] == [("b", 2)]
    world.end(run, (claims[0], COMPLETED))
    world.complete(run, "d")
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED
    assert [attempt.outcome.state for attempt in world.attempts(run, "b")] == [
        TaskState.FAILED,
        TaskState.COMPLETED,
    ]


def test_repeating_gives_a_task_its_retries_back(world: World) -> None:
    run = world.create({"id": "a", "retries": 1})
    for _ in range(2):
        (claim,) = world.claim(run)
        world.end(run, (claim, FAILED))
    world.store.settle(run.id, world.now)
    world.store.reset_tasks(run.id, world.now)
    for number in (3, 4):
        (claim,) = world.claim(run)
        assert claim.key.attempt == number
        world.end(run, (claim, FAILED))
    assert world.task(run, "a").state is TaskState.FAILED


def test_repeating_everything_starts_from_the_beginning(world: World) -> None:
    run = failed_run(world)
    assert world.store.reset_tasks(run.id, world.now, everything=True) == 5
    assert world.claimed(run) == ["a"]
    assert world.task(run, "a").attempt == 2
    world.check(run)


def test_repeating_everything_withdraws_what_was_generated(world: World) -> None:
    run = world.create({"id": "gen", "generates_source": "g.json"})
    adds = join(world, run, json.dumps([{"id": "n", "command": "true", "deps": ["gen"]}]))
    (claim,) = world.claim(run)
    world.end(run, (claim, COMPLETED), adds=adds)
    world.complete(run, "n")
    world.store.settle(run.id, world.now)
    world.store.reset_tasks(run.id, world.now, everything=True)
    assert world.check(run).total == 1
    (claim,) = world.claim(run)
    adds = join(
        world, run, json.dumps([{"id": "n", "command": "true"}, {"id": "m", "command": "true"}])
    )
    world.end(run, (claim, COMPLETED), adds=adds)
    claims = world.claim(run)
    assert [(c.spec.id, c.key.attempt) for c in claims] == [("n", 2), ("m", 1)]


def test_a_run_that_has_not_ended_is_not_repeated(world: World) -> None:
    run = world.create({"id": "a"})
    with pytest.raises(StoreError, match="has not ended"):
        world.store.reset_tasks(run.id, world.now)


def test_a_cancelled_run_can_be_gone_on_with(world: World) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]})
    world.complete(run, "a")
    world.store.cancel_run(run.id, Reason.CANCELLED, world.now)
    assert world.store.settle(run.id, world.now).state is RunState.CANCELLED
    assert world.store.reset_tasks(run.id, world.now) == 1
    assert world.claimed(run) == ["b"]


# Reading ----------------------------------------------------------------------------------------


def test_unknown_runs_are_refused_by_name(world: World) -> None:
    for call in (
        lambda: world.store.get_run("nope"),
        lambda: world.store.list_tasks("nope", TaskFilter()),
        lambda: world.store.claim(ClaimRequest("nope", 1, world.now, 1)),
        lambda: world.store.cancel_run("nope", Reason.CANCELLED, world.now),
    ):
        with pytest.raises(UnknownRun, match="nope"):
            call()


def test_tasks_are_listed_in_order_page_by_page_and_filtered(world: World) -> None:
    run = world.create(*({"id": f"{'ab'[i % 2]}.{i}"} for i in range(10)))
    everything = world.store.list_tasks(run.id, TaskFilter())
    assert [task.position for task in everything] == list(range(10))
    page = world.store.list_tasks(run.id, TaskFilter(after=3, limit=4))
    assert [task.position for task in page] == [4, 5, 6, 7]
    match = world.store.list_tasks(run.id, TaskFilter(match="a.[0-4]", limit=2))
    assert [task.spec.id for task in match] == ["a.0", "a.2"]
    assert [t.spec.id for t in world.store.list_tasks(run.id, TaskFilter(match="b.3"))] == ["b.3"]
    world.complete(run, "a.0", "b.1")
    done = world.store.list_tasks(run.id, TaskFilter(states=[TaskState.COMPLETED]))
    assert [task.spec.id for task in done] == ["a.0", "b.1"]


def test_runs_are_listed_newest_first_page_by_page_and_filtered(world: World) -> None:
    runs = []
    for _ in range(5):
        world.now += 1
        runs.append(world.create({"id": "a"}).id)
    assert [run.id for run in world.store.list_runs(RunFilter())] == runs[::-1]
    first = world.store.list_runs(RunFilter(limit=2))
    rest = world.store.list_runs(RunFilter(before=(first[-1].created_at, first[-1].id)))
    assert [run.id for run in rest] == runs[2::-1]
    world.store.cancel_run(runs[0], Reason.CANCELLED, world.now)
    world.store.settle(runs[0], world.now)
    cancelled = world.store.list_runs(RunFilter(states=[RunState.CANCELLED]))
    assert [run.id for run in cancelled] == [runs[0]]
    assert world.store.list_runs(RunFilter(workflow="nobody's")) == []
    assert len(world.store.list_runs(RunFilter(owner="me"))) == 5


def test_runs_are_found_by_their_tags(world: World) -> None:
    both = world.create({"id": "a"}, tags={"project": "x", "grant": "7"}).id
    one = world.create({"id": "a"}, tags={"project": "x", "grant": ""}).id
    world.create({"id": "a"})

    def found(limit: int = 50, **tags: str) -> list[str]:
        return [run.id for run in world.store.list_runs(RunFilter(tags=tags, limit=limit))]

    assert found(project="x") == [one, both]
    assert found(project="x", grant="7") == [both]
    assert found(grant="") == [one]
    assert found(project="y") == found(other="x") == []
    assert found(1, project="x") == [one]


def test_runs_are_found_by_the_beginning_of_their_id(world: World) -> None:
    run = world.create({"id": "a"})
    assert [found.id for found in world.store.find_runs(run.id[:3])] == [run.id]
    assert world.store.find_runs("%") == []


def test_changes_tell_every_transition_in_order_from_a_cursor_on(world: World) -> None:
    run = world.create({"id": "a", "retries": 1}, {"id": "b", "deps": ["a"]})
    (claim,) = world.claim(run)
    world.start(run, claim)
    world.end(run, (claim, FAILED))
    seen, cursor = world.store.changes(run.id, 0)
    assert [(c.task_id, str(c.state), c.attempt) for c in seen] == [
        ("a", "submitted", 1),
        ("a", "running", 1),
        ("a", "pending", 1),
    ]
    assert world.store.changes(run.id, cursor) == ([], cursor)
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    more, _ = world.store.changes(run.id, cursor)
    assert [(c.task_id, str(c.state), c.exit_code) for c in more] == [
        ("a", "submitted", None),
        ("a", "failed", 1),
        ("b", "dep_failed", None),
    ]


def test_an_error_in_a_batch_undoes_all_of_it(world: World) -> None:
    run = world.create({"id": "a"})
    before = world.store.get_run(run.id)

    def claim_and_break() -> None:
        with world.store.batch():
            world.claim(run)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_and_break()
    assert world.store.get_run(run.id) == before
    assert world.claimed(run) == ["a"]


def test_another_process_sees_what_was_written(world: World) -> None:
    run = world.create({"id": "a"})
    world.complete(run, "a")
    other = world.open_another()
    assert other.get_run(run.id).counts[TaskState.COMPLETED] == 1


def test_a_claim_by_a_slow_clock_takes_nothing_away(world: World) -> None:
    run = world.create({"id": "a", "retries": 1, "retry_delay": "10s"})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    world.now += 10
    (claim,) = world.claim(run)
    world.store.release_claims(run.id, [claim.key])
    world.now -= 5
    assert world.claimed(run) == []
    world.now += 5
    assert world.claimed(run) == ["a"]
