"""Every adapter of the pool port passes the same tests: NativeLink's cases, and what ours add.

The cases are those of the reference, each named after its behaviour. What they leave to the run (new
attempts of lost tasks, what is recorded) is played by `tests.contract.pool_worlds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hut.model.problems import InvalidInput
from hut.model.scheduler import Scheduler
from hut.pools.port import How, Started
from tests.contract.pool_worlds import ADAPTERS, LEAST, MOST, SCHEDULER, RecordingFailed, World

Make = Callable[..., World]


@pytest.fixture(params=ADAPTERS, ids=str)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def make(**changes: object) -> World:
        scheduler: Scheduler = replace(SCHEDULER, **changes)  # type: ignore[arg-type]
        return World(ADAPTERS[request.param](tmp_path, scheduler))

    return make


@pytest.fixture
def world(make: Make) -> World:
    return make()


# Starting ----------------------------------------------------------------------------------------


def test_one_worker_one_task_started_then_executing(world: World) -> None:
    lease = world.submit("a")
    worker = world.worker("w")
    (order,) = worker.turn().tasks
    assert (order.lease, order.run, order.epoch) == (lease, "run1", 1)
    assert world.state("a") == "queued"
    worker.turn(starts=(Started(lease, 1, world.now),))
    assert world.state("a") == "executing"
    worker.report(lease)
    assert world.state("a") == "completed"
    assert world.tasks["a"].workers == ["w"]


def test_a_task_that_comes_while_the_worker_waits_is_there_at_its_next_turn(world: World) -> None:
    worker = world.worker("w")
    assert worker.poll() == []
    world.submit("a")
    assert worker.poll() == ["a"]


def test_the_same_task_put_in_twice_is_there_once(world: World) -> None:
    world.submit("a")
    world.pool.enqueue([world.item(world.tasks["a"])], world.now)
    worker = world.worker("w")
    assert worker.poll() == ["a"]
    world.pool.enqueue([world.item(world.tasks["a"])], world.now)
    assert worker.poll() == []


def test_a_rerun_after_completion_executes_anew(world: World) -> None:
    worker = world.worker("w")
    world.submit("a")
    worker.poll()
    worker.report(world.lease("a"))
    world.queue(world.tasks["a"])
    assert worker.poll() == ["a"]
    worker.report(world.lease("a"), exit_code=1)
    assert [outcome.exit_code for outcome in world.tasks["a"].outcomes] == [0, 1]


def test_an_answer_that_was_lost_is_given_again_and_counts_no_attempt(world: World) -> None:
    world.submit("a")
    worker = world.worker("w")
    worker.turn(is_lost=True)
    (order,) = worker.turn().tasks
    assert (order.lease, order.epoch) == (world.lease("a"), 1)
    assert worker.turn().tasks == ()
    assert world.tasks["a"].attempt == 1


# Who is gone -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "state"), [(99.0, "executing"), (101.0, "queued")])
def test_worker_timeout_of_100_s(world: World, after: float, state: str) -> None:
    world.submit("a")
    world.worker("w").poll()
    world.now += after
    world.expire()
    assert world.state("a") == state


def test_a_sign_of_life_beside_its_turns_keeps_a_worker(world: World) -> None:
    world.submit("a")
    worker = world.worker("w")
    worker.poll()
    for _ in range(3):
        world.now += 99.0
        assert not worker.alive().gone
        assert world.expire() == []
    assert world.state("a") == "executing"


def test_a_worker_that_was_removed_is_told_so_and_its_late_report_changes_nothing(
    world: World,
) -> None:
    lease = world.submit("a")
    late = world.worker("late")
    late.poll()
    world.now += 101.0
    assert world.expire() == ["a"]
    answer = late.report(lease)
    assert answer.gone
    assert answer.refused == (lease,)
    assert world.state("a") == "queued"
    assert world.worker("next").poll() == ["a"]
    assert "worker late disconnected" in world.tasks["a"].outcomes[0].message


def test_a_worker_with_two_tasks_leaves_and_both_reappear_on_another(world: World) -> None:
    for name in "ab":
        world.submit(name)
    first, second = world.worker("w1"), world.worker("w2")
    first.poll()
    assert second.poll() == []
    assert first.leave() == ["a", "b"]
    assert sorted(second.poll()) == ["a", "b"]
    assert [world.tasks[name].attempt for name in "ab"] == [2, 2]


def test_a_worker_that_is_started_again_under_its_name_gives_up_what_it_had(world: World) -> None:
    world.submit("a")
    world.worker("w").poll()
    again = world.worker("w")
    assert world.lose(list(again.joined.lost)) == ["a"]
    assert again.poll() == ["a"]


def test_leaving_twice_is_harmless(world: World) -> None:
    worker = world.worker("w")
    assert worker.leave() == []
    assert worker.leave() == []
    assert worker.turn().gone


def test_a_lost_task_comes_back_to_its_old_place(world: World) -> None:
    for name in "abc":
        world.submit(name)
    first = world.worker("w1", slots=1)
    assert first.poll() == ["a"]
    first.leave()
    assert world.worker("w2", slots=2).poll() == ["a", "b"]


# Draining ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_drain_on_the_second_task_stays_queued_drain_off_it_runs(world: World, whole: bool) -> None:
    world.submit("a")
    worker = world.worker("w")
    worker.poll()
    assert world.pool.drain(None if whole else worker.id, True, world.now)
    world.submit("b")
    assert worker.poll() == []
    assert worker.answer.draining
    worker.report(world.lease("a"))
    assert (world.state("a"), world.state("b")) == ("completed", "queued")
    world.pool.drain(None if whole else worker.id, False, world.now)
    assert worker.poll() == ["b"]


def test_draining_somebody_who_is_not_there_is_said(world: World) -> None:
    assert not world.pool.drain("nobody", True, world.now)


def test_what_a_draining_worker_gives_back_waits_in_its_old_place_and_costs_nothing(
    world: World,
) -> None:
    for name in "ab":
        world.submit(name)
    worker = world.worker("w1")
    worker.turn()
    for name in "ba":
        worker.report(world.lease(name), How.RETURNED)
    assert world.pool.describe(world.now).queued == 2
    other = world.worker("w2", slots=1)
    assert other.poll() == ["a"]
    assert other.has[world.lease("a"), 0].epoch == 2
    assert world.tasks["a"].attempt == 1


def test_a_report_of_an_older_epoch_is_refused(world: World) -> None:
    lease = world.submit("a")
    first, second = world.worker("w1"), world.worker("w2")
    first.turn()
    first.report(lease, How.RETURNED)
    second.poll()
    answer = first.say(lease, 1)
    assert answer.refused == (lease,)
    assert not answer.gone
    assert world.state("a") == "executing"


# Matching ----------------------------------------------------------------------------------------


def test_exact_1_against_a_worker_with_2_stays_queued(world: World) -> None:
    first = world.worker("w2", properties={"arch": "2"})
    world.submit("a", arch="1")
    assert first.poll() == []
    second = world.worker("w1", properties={"arch": "1"})
    assert second.poll() == ["a"]
    assert first.poll() == []


def test_minimum_1_on_a_worker_with_one_the_second_waits_and_runs_when_the_first_ends(
    world: World,
) -> None:
    worker = world.worker("w", properties={"slots": "1"})
    world.submit("a", slots="1")
    world.submit("b", slots="1")
    assert worker.poll() == ["a"]
    assert worker.poll() == []
    worker.report(world.lease("a"))
    assert worker.poll() == ["b"]


def test_what_nobody_can_run_keeps_nothing_from_those_behind_it(world: World) -> None:
    worker = world.worker("w", properties={"slots": "1"})
    world.submit("large", slots="2")
    world.submit("small", slots="1")
    assert worker.poll() == ["small"]


def test_a_number_that_is_none_keeps_a_worker_out(world: World) -> None:
    with pytest.raises(InvalidInput) as refused:
        world.worker("w", properties={"slots": "-1", "arch": "x"})
    (problem,) = refused.value.problems
    assert problem.field == "properties.slots"
    assert world.pool.describe(world.now).workers == ()


def test_a_soft_property_chooses_among_workers_that_wait(world: World) -> None:
    other = world.worker("other", properties={"os": "plan9"})
    liked = world.worker("liked", properties={"os": "linux"})
    for worker in (other, liked):
        worker.poll()
    world.submit("a", os="linux")
    assert other.poll() == []
    assert liked.poll() == ["a"]


def test_a_soft_property_excludes_nobody(world: World) -> None:
    world.submit("a", os="linux", tag="whatever")
    assert world.worker("w", properties={"os": "plan9"}).poll() == ["a"]


def test_a_liked_worker_that_does_not_ask_keeps_nothing_from_others(world: World) -> None:
    world.worker("liked", properties={"os": "linux"})
    world.submit("a", os="linux")
    assert world.worker("w").poll() == ["a"]


def test_a_liked_worker_that_died_keeps_nothing_from_others(world: World) -> None:
    world.worker("liked", properties={"os": "linux"}).poll()
    world.submit("a", os="linux")
    other = world.worker("other")
    world.now += 60.0
    other.alive()
    world.now += 60.0
    world.expire()
    assert other.poll() == ["a"]


# Order and allocation ----------------------------------------------------------------------------


def test_inserted_at_ts2_then_ts1_the_one_of_ts1_runs_first(world: World) -> None:
    world.submit("second", arrival="2")
    world.submit("first", arrival="1")
    worker = world.worker("w", slots=1)
    assert worker.poll() == ["first"]
    worker.report(world.lease("first"))
    assert worker.poll() == ["second"]


def test_priority_goes_before_arrival(world: World) -> None:
    world.submit("early", arrival="1")
    world.submit("urgent", arrival="2", priority=5)
    world.submit("modest", arrival="0", priority=-5)
    assert world.worker("w").poll() == ["urgent", "early", "modest"]


@pytest.mark.parametrize(("allocation", "chosen"), [(LEAST, "old"), (MOST, "new")])
def test_the_least_or_the_most_recently_used_worker_gets_it(
    make: Make, allocation: object, chosen: str
) -> None:
    world = make(allocation=allocation)
    workers = {}
    for name in ("old", "new"):
        workers[name] = world.worker(name)
        world.now += 1.0
    for worker in workers.values():
        worker.poll()
    world.submit("a")
    assert {name for name, worker in workers.items() if worker.poll() == ["a"]} == {chosen}


def test_a_sign_of_life_is_no_use_a_report_is(make: Make) -> None:
    world = make(allocation=MOST)
    first, second = world.worker("first"), world.worker("second")
    world.submit("a")
    first.poll()
    world.now += 1.0
    first.report(world.lease("a"))
    world.now += 1.0
    second.alive()
    for worker in (second, first):
        worker.poll()
    world.submit("b")
    assert second.poll() == []
    assert first.poll() == ["b"]


def test_max_inflight_counts_until_the_report(world: World) -> None:
    worker = world.worker("w", max_inflight=1)
    world.submit("a")
    world.submit("b")
    assert worker.poll() == ["a"]
    assert worker.poll() == []
    worker.report(world.lease("a"))
    assert worker.poll() == ["b"]


def test_a_worker_gets_no_more_than_it_wants(world: World) -> None:
    for name in "abc":
        world.submit(name)
    worker = world.worker("w", slots=2)
    assert worker.poll() == ["a", "b"]


# Losses that repeat ------------------------------------------------------------------------------


def test_retries_1_the_second_internal_error_ends_it(make: Make) -> None:
    world = make(max_job_retries=1)
    world.submit("a")
    worker = world.worker("w")
    for _ in range(2):
        assert worker.poll() == ["a"]
        worker.report(world.lease("a"), How.ERROR, said="no space left on device")
    assert world.state("a") == "failed"
    assert "attempted to execute too many times" in world.tasks["a"].message
    assert "no space left" in world.tasks["a"].message
    assert worker.poll() == []


def test_retries_1_the_second_disconnect_ends_it(make: Make) -> None:
    world = make(max_job_retries=1)
    world.submit("a")
    for number in range(2):
        world.worker(f"w{number}").poll()
        world.now += 101.0
        world.expire()
    assert world.state("a") == "failed"
    assert "worker disconnected repeatedly" in world.tasks["a"].message


def test_an_exit_code_of_its_own_spends_no_such_retry(make: Make) -> None:
    world = make(max_job_retries=0)
    world.submit("a")
    worker = world.worker("w")
    worker.poll()
    worker.report(world.lease("a"), exit_code=3)
    assert (world.state("a"), world.tasks["a"].losses) == ("failed", 0)


def test_a_live_worker_that_does_not_speak_of_a_task_loses_it(make: Make) -> None:
    world = make(max_action_executing_timeout_s=10.0)
    world.submit("a")
    worker = world.worker("w")
    worker.poll()
    world.now += 9.0
    worker.turn(want=0)
    world.now += 9.0
    assert world.expire() == []
    world.now += 2.0
    worker.alive()
    assert world.expire() == ["a"]
    assert world.state("a") == "queued"
    assert not worker.alive().gone


# Reports that are refused ------------------------------------------------------------------------


def test_a_rogue_report_is_refused_and_its_worker_removed(world: World) -> None:
    lease = world.submit("a")
    good, rogue = world.worker("good"), world.worker("rogue")
    good.poll()
    answer = rogue.say(lease, good.has[lease, 0].epoch)
    assert answer.gone
    assert answer.refused == (lease,)
    assert world.state("a") == "executing"
    world.expire()
    assert [worker.spec.name for worker in world.pool.describe(world.now).workers] == ["good"]
    assert rogue.turn().gone
    good.report(lease)
    assert world.state("a") == "completed"


def test_what_a_rogue_worker_had_is_lost(world: World) -> None:
    rogue = world.worker("rogue")
    world.submit("mine")
    rogue.poll()
    other = world.submit("other")
    assert rogue.say(other, 1).gone
    assert world.expire() == ["mine"]
    assert "reported what it never had" in world.tasks["mine"].message
    assert sorted(world.worker("w").poll()) == ["mine", "other"]


def test_a_report_nobody_sent_for_is_refused(world: World) -> None:
    worker = world.worker("w")
    answer = worker.say("hut-run1-9-1-1", 1)
    assert answer.refused == ("hut-run1-9-1-1",)
    assert not answer.gone


def test_a_report_that_comes_again_is_recorded_once(world: World) -> None:
    lease = world.submit("a")
    worker = world.worker("w")
    worker.poll()
    worker.report(lease)
    worker.say(lease, 1, exit_code=1)
    assert [outcome.exit_code for outcome in world.tasks["a"].outcomes] == [0]


def test_a_worker_that_says_it_holds_what_is_not_its_own_is_told(world: World) -> None:
    worker = world.worker("w")
    assert worker.turn(holding=("hut-run1-9-1-1",)).refused == ("hut-run1-9-1-1",)


# When recording fails ----------------------------------------------------------------------------


def test_a_failed_final_update_still_frees_the_slot(world: World) -> None:
    worker = world.worker("w", properties={"slots": "1"})
    for name in "ab":
        world.submit(name, slots="1")
    worker.poll()
    world.store_is_broken = True
    with pytest.raises(RecordingFailed):
        worker.report(world.lease("a"))
    world.store_is_broken = False
    assert worker.turn(holding=(world.lease("a"),)).tasks[0].lease == world.lease("b")
    worker.say(world.lease("a"), 1)
    assert world.state("a") == "completed"
    (state,) = world.pool.describe(world.now).workers
    assert state.target.inflight == 1
    assert dict(state.target.remaining) == {"slots": 0}


# Cancelling --------------------------------------------------------------------------------------


def test_what_waits_is_withdrawn_at_once(world: World) -> None:
    lease = world.submit("a")
    world.submit("b")
    assert [item.name for item in world.pool.withdraw([lease, "unknown"], world.now)] == [lease]
    assert world.worker("w").poll() == ["b"]


def test_kill_is_sent_once_its_report_frees_the_slot_and_spends_no_retry(world: World) -> None:
    worker = world.worker("w", properties={"slots": "1"})
    lease = world.submit("a", slots="1")
    world.submit("b", slots="1")
    worker.poll()
    assert world.pool.withdraw([lease], world.now) == []
    assert worker.alive().cancel == (lease,)
    assert worker.turn(stopping=(lease,)).cancel == ()
    worker.report(lease, How.CANCELLED)
    assert (world.state("a"), world.tasks["a"].losses) == ("failed", 0)
    assert worker.poll() == ["b"]


def test_a_kill_whose_answer_was_lost_is_sent_again(world: World) -> None:
    lease = world.submit("a")
    worker = world.worker("w")
    worker.poll()
    world.pool.withdraw([lease], world.now)
    worker.turn(is_lost=True)
    assert worker.turn().cancel == (lease,)


def test_what_is_given_back_while_it_is_cancelled_does_not_wait_again(world: World) -> None:
    lease = world.submit("a")
    worker = world.worker("w")
    worker.turn()
    world.pool.withdraw([lease], world.now)
    worker.report(lease, How.RETURNED)
    assert world.state("a") == "failed"
    assert worker.poll() == []


# Bundles -----------------------------------------------------------------------------------------


def test_a_lease_of_several_tasks_ends_with_the_last_report(world: World) -> None:
    lease = world.submit("a", orders=3)
    worker = world.worker("w", max_inflight=1)
    world.submit("b")
    assert worker.poll() == ["a", "a", "a"]
    worker.report(lease, part=1)
    worker.report(lease, part=0)
    assert worker.poll() == []
    worker.report(lease, part=2)
    assert worker.poll() == ["b"]
    assert len(world.tasks["a"].outcomes) == 3


def test_a_lost_bundle_loses_only_what_had_not_ended(world: World) -> None:
    lease = world.submit("a", orders=3)
    worker = world.worker("w")
    worker.poll()
    worker.report(lease, part=1)
    (loss,) = world.pool.leave(worker.id, world.now)
    assert loss.left == (0, 2)


def test_of_a_bundle_that_is_given_back_only_the_rest_is_given_out_again(world: World) -> None:
    lease = world.submit("a", orders=3)
    worker = world.worker("w")
    worker.turn()
    worker.report(lease, How.RETURNED, part=2)
    worker.report(lease, part=0)
    worker.report(lease, How.RETURNED, part=1)
    other = world.worker("other")
    assert [order.part for order in other.turn().tasks] == [1, 2]


# Looking -----------------------------------------------------------------------------------------


def test_a_pool_shows_its_queue_its_workers_and_what_they_have(world: World) -> None:
    worker = world.worker("w", slots=1, properties={"slots": "4"})
    lease = world.submit("a", slots="3")
    world.submit("b")
    worker.poll()
    world.now += 5.0
    worker.alive()
    state = world.pool.describe(world.now)
    assert (state.name, state.draining, state.queued) == ("gpu", False, 1)
    (shown,) = state.workers
    assert (shown.id, shown.spec, shown.seen_at) == (worker.id, worker.spec, world.now)
    assert (dict(shown.target.remaining), shown.target.inflight) == ({"slots": 1}, 1)
    assert [(has.name, has.task, has.cancelling) for has in shown.leases] == [(lease, "t0", False)]
