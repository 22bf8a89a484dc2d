"""What every store must do for identical tasks. Written against the ports alone."""

from __future__ import annotations

from typing import Any

import pytest

from hut.model.records import Outcome, RunRecord
from hut.model.states import TaskState
from hut.scheduling.twins import Follower, Twin, shared_end, twin_handle
from hut.store.port import Claim, End, UnknownRun
from hut.twins import Found, Joining, Sorted, twin_of
from tests.contract.worlds import CANCELLED, COMPLETED, FAILED, LOST, World


class Twins:
    """Words for tests about identical tasks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.driven = True
        self.joining = Joining(self.store, is_driven=lambda _: self.driven)

    @property
    def store(self) -> Any:
        return self.world.store

    def create(self, *ids: str, **fields: Any) -> RunRecord:
        return self.world.create(*({"id": task_id, "dedupe": True} for task_id in ids), **fields)

    def claim(self, run: RunRecord, at_most: int = 100) -> Sorted:
        return self.joining.sort(self.store.get_run(run.id), self.world.claim(run, at_most))

    def look(self, *followers: Follower) -> Found:
        return self.joining.look(followers)

    def end(self, run: RunRecord, claim: Claim, outcome: Outcome, **more: Any) -> list[bool]:
        return self.world.end(run, (claim, outcome), **more)


@pytest.fixture
def twins(world: World) -> Twins:
    return Twins(world)


def ids(found: Sorted) -> tuple[list[str], list[str]]:
    return [c.spec.id for c in found.alone], [claim.spec.id for claim, _ in found.joined]


def test_of_two_identical_tasks_of_a_run_one_begins_and_the_other_follows_it(twins: Twins) -> None:
    run = twins.create("a", "b")
    found = twins.claim(run)
    assert ids(found) == (["a"], ["b"])
    leader = twin_of(run.id, found.alone[0].key)
    assert found.joined[0][1] == Follower(twin_of(run.id, found.joined[0][0].key), leader)
    task = twins.world.task(run, "b")
    assert (task.state, task.handle) == (TaskState.SUBMITTED, twin_handle(leader))
    twins.world.check(run)


def test_two_runs_with_the_same_task_begin_it_once(twins: Twins) -> None:
    first, second = twins.create("a"), twins.create("x")
    assert ids(twins.claim(first)) == (["a"], [])
    assert ids(twins.claim(second)) == ([], ["x"])


def test_a_task_that_is_not_marked_neither_follows_nor_is_followed(twins: Twins) -> None:
    first, second = twins.world.create({"id": "a"}), twins.create("x")
    third = twins.world.create({"id": "y"})
    assert ids(twins.claim(first)) == (["a"], [])
    assert ids(twins.claim(second)) == (["x"], [])
    assert ids(twins.claim(third)) == (["y"], [])


def test_a_task_that_differs_begins_by_itself(twins: Twins) -> None:
    first, second = twins.create("a"), twins.create("x", env_vars={"SEED": "2"})
    assert ids(twins.claim(first)) == (["a"], [])
    assert ids(twins.claim(second)) == (["x"], [])


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_the_end_of_a_leader_is_its_followers_too(twins: Twins, outcome: Outcome) -> None:
    run, other = twins.create("a"), twins.create("x")
    (claim,) = twins.claim(run).alone
    ((_, follower),) = twins.claim(other).joined
    assert twins.look(follower) == Found()
    twins.world.start(run, claim)
    assert twins.look(follower) == Found()
    twins.end(run, claim, outcome)
    ((who, task_id, end),) = twins.look(follower).ended
    assert (who, task_id, end.outcome.state) == (follower, "a", outcome.state)


@pytest.mark.parametrize("outcome", [CANCELLED, LOST], ids=["cancelled", "lost"])
def test_followers_of_what_was_cancelled_or_lost_are_free(twins: Twins, outcome: Outcome) -> None:
    run, other = twins.create("a"), twins.create("x", "y")
    (claim,) = twins.claim(run).alone
    followers = [follower for _, follower in twins.claim(other).joined]
    twins.end(run, claim, outcome, cancelling=True)
    assert twins.look(*followers) == Found(free=followers)
    assert twins.store.leave(other.id, followers) == 2
    again = twins.claim(other)
    assert ids(again) == (["x"], ["y"])
    assert [claim.key.attempt for claim in again.alone] == [1], "the attempt did not count"
    twins.world.check(other)


def test_an_attempt_that_is_followed_by_another_ends_for_its_followers(twins: Twins) -> None:
    run = twins.world.create({"id": "a", "dedupe": True, "retries": 1})
    other = twins.create("x")
    (claim,) = twins.claim(run).alone
    ((_, follower),) = twins.claim(other).joined
    twins.end(run, claim, FAILED)
    assert twins.world.task(run, "a").state is TaskState.PENDING
    assert [end.number for _, _, end in twins.look(follower).ended] == [1]


def test_followers_of_a_claim_that_was_given_back_are_free(twins: Twins) -> None:
    run, other, third = twins.create("a"), twins.create("x"), twins.create("y")
    (claim,) = twins.claim(run).alone
    ((_, follower),) = twins.claim(other).joined
    twins.store.release_claims(run.id, [claim.key])
    assert twins.look(follower) == Found(free=[follower])
    assert ids(twins.claim(third)) == (["y"], []), "what is given back is not joined"
    assert ids(twins.claim(run)) == ([], ["a"]), "another one leads by now"


def test_a_claim_that_is_made_again_leads_on(twins: Twins) -> None:
    run, other = twins.create("a"), twins.create("x")
    (claim,) = twins.claim(run).alone
    ((_, follower),) = twins.claim(other).joined
    twins.store.release_claims(run.id, [claim.key])
    (again,) = twins.claim(run).alone
    assert again.key == claim.key
    assert twins.look(follower) == Found()


def test_nobody_waits_for_what_nothing_works_on(twins: Twins) -> None:
    run, other, third = twins.create("a"), twins.create("x"), twins.create("y")
    twins.claim(run)
    ((_, follower),) = twins.claim(other).joined
    twins.driven = False
    assert twins.look(follower) == Found(free=[follower])
    assert ids(twins.claim(third)) == (["y"], [])


def test_what_has_ended_is_executed_anew(twins: Twins) -> None:
    run, other = twins.create("a"), twins.create("x")
    (claim,) = twins.claim(run).alone
    twins.end(run, claim, COMPLETED)
    twins.store.settle(run.id, twins.world.now)
    assert ids(twins.claim(other)) == (["x"], [])


def test_a_success_that_is_not_recorded_is_shared_all_the_same(twins: Twins) -> None:
    run, other = twins.create("a"), twins.create("x")
    (claim,) = twins.claim(run).alone
    ((_, follower),) = twins.claim(other).joined
    twins.end(run, claim, COMPLETED)
    task = twins.world.task(run, "a")
    end = shared_end(follower.leader, task, [])
    assert end is not None
    assert end.outcome == COMPLETED
    assert shared_end(follower.leader._replace(attempt=2), task, []) is None


def test_only_who_still_follows_leaves(twins: Twins) -> None:
    run, other = twins.create("a"), twins.create("x")
    (claim,) = twins.claim(run).alone
    ((_, follower),) = twins.claim(other).joined
    twins.end(run, claim, LOST)
    assert twins.store.leave(other.id, [follower]) == 1
    assert twins.store.leave(other.id, [follower]) == 0
    (again,) = twins.claim(other).alone
    assert again.key == (0, 1, follower.twin.epoch)
    # Under the same number and epoch it leads now: what comes late of its time as a follower is void.
    assert twins.store.leave(other.id, [follower]) == 0
    late = twins.world.end_record(again, COMPLETED)._replace(handle=twin_handle(follower.leader))
    assert twins.store.record_ended(other.id, [late]) == [False]
    assert twins.world.task(other, "x").state is TaskState.SUBMITTED
    twins.world.check(other)


def test_who_has_a_job_or_has_ended_does_not_join(twins: Twins) -> None:
    run, other = twins.create("a"), twins.create("x", "y")
    (leader,) = twins.claim(run).alone
    first, second = twins.world.claim(other)
    twins.world.start(other, first)
    twins.end(other, second, FAILED)
    (digest,) = {"d": None}
    lead = twin_of(run.id, leader.key)
    assert twins.store.lead({digest: lead}) == {digest: lead}
    wishes = [(digest, Follower(twin_of(other.id, claim.key), lead)) for claim in (first, second)]
    assert twins.store.join(other.id, wishes) == []


def test_nobody_joins_a_leader_that_leads_no_more(twins: Twins) -> None:
    run, other = twins.create("a", "b"), twins.create("x")
    a, b = (twin_of(run.id, claim.key) for claim in twins.world.claim(run))
    (x,) = twins.world.claim(other)
    assert twins.store.lead({"d": a}) == {"d": a}
    assert twins.store.lead({"d": b}) == {"d": a}, "the first one leads"
    assert twins.store.lead({"d": b}, {"d": b}) == {"d": a}, "it was not the one that is over"
    assert twins.store.lead({"d": b}, {"d": a}) == {"d": b}
    assert twins.store.lead({"d": a, "e": a}) == {"d": b, "e": a}
    wish = Follower(twin_of(other.id, x.key), a)
    assert twins.store.join(other.id, [("d", wish)]) == []
    joined = wish._replace(leader=b)
    assert twins.store.join(other.id, [("d", joined)]) == [joined]


def test_two_that_come_at_once_get_one_leader(twins: Twins) -> None:
    run, other = twins.create("a"), twins.create("x")
    (a,), (x,) = twins.world.claim(run), twins.world.claim(other)
    first, second = twins.store, twins.world.open_another()
    mine, theirs = twin_of(run.id, a.key), twin_of(other.id, x.key)
    assert first.lead({"d": mine}) == second.lead({"d": theirs})  # type: ignore[attr-defined]


def test_many_identical_tasks_are_one_execution(twins: Twins) -> None:
    run = twins.create(*(f"t{number}" for number in range(120)))
    found = twins.claim(run, 120)
    assert (len(found.alone), len(found.joined)) == (1, 119)
    twins.end(run, found.alone[0], COMPLETED)
    followers = [follower for _, follower in found.joined]
    ended = twins.look(*followers).ended
    assert [follower for follower, _, _ in ended] == followers
    ends = [
        End(claim.key, COMPLETED, twins.world.end_record(claim, COMPLETED).next, twins.world.now,
            handle=twin_handle(follower.leader))
        for claim, follower in found.joined
    ]  # fmt: skip
    assert all(twins.store.record_ended(run.id, ends))
    assert twins.store.settle(run.id, twins.world.now).state == "completed"
    twins.world.check(run)


def test_tasks_are_found_by_their_positions(twins: Twins) -> None:
    run = twins.create("a", "b")
    found = twins.store.get_tasks(run.id, [1, 7])
    assert {position: task.spec.id for position, task in found.items()} == {1: "b"}
    with pytest.raises(UnknownRun):
        twins.store.get_tasks("none", [0])


def test_a_leader_whose_run_is_gone_leaves_its_followers_free(twins: Twins) -> None:
    gone = Follower(Twin("run1", 0, 1, 1), Twin("gone", 0, 1, 1))
    assert twins.look(gone) == Found(free=[gone])
