"""How a run gets into the table: blocks in any order, more than once, late, and the beginning."""

from __future__ import annotations

import contextlib

import pytest
from botocore.exceptions import ClientError

from hut.model.states import RunState, TaskState
from hut.store.events import NotRegistered
from hut.store.port import ClaimRequest, UnknownRun
from tests.aws.store_world import StoreWorld, tasks
from tests.aws.watched_client import Killed, refusal
from tests.contract.worlds import COMPLETED


def many(number: int) -> list[dict[str, str]]:
    return tasks(*(f"t{i}" for i in range(number)))


def begin(world: StoreWorld, run) -> None:
    world.store.begin_run(run.id, 0, world.now)


def test_nothing_is_claimed_before_a_run_begins(world: StoreWorld) -> None:
    run = world.reserve({"id": "a"})
    assert world.store.standing(run.id).begun is False
    assert world.claim(run, epoch=1) == []
    world.store.register_block(run.id, 0, world.now)
    assert world.claim(run, epoch=1) == []
    begin(world, run)
    assert world.store.standing(run.id).begun is True
    assert world.claimed(run) == ["a"]


def test_blocks_may_come_in_any_order_and_more_than_once(world: StoreWorld) -> None:
    run = world.reserve(*many(2500), {"id": "sum", "deps": ["t*"]})
    assert world.store.standing(run.id).blocks == 3
    for block in (2, 0, 1, 0):
        world.store.register_block(run.id, block, world.now)
    begin(world, run)
    assert world.store.task_ids(run.id) == [*(f"t{i}" for i in range(2500)), "sum"]
    world.check(run)


def test_a_run_waits_for_all_its_blocks(world: StoreWorld) -> None:
    run = world.reserve(*many(1025))
    with pytest.raises(NotRegistered, match=f"block 0 of run {run.id} is not written yet"):
        begin(world, run)
    world.store.register_block(run.id, 0, world.now)
    with pytest.raises(NotRegistered, match="block 1"):
        begin(world, run)
    assert world.store.get_run(run.id).state is RunState.PENDING
    world.store.register_block(run.id, 1, world.now)
    begin(world, run)


def test_a_block_that_comes_late_writes_nothing(world: StoreWorld) -> None:
    run = world.register(world.reserve(*tasks("a", "b")))
    (claim,) = world.claim(run, 1)
    world.end(run, (claim, COMPLETED))
    before = sorted(map(str, world.items()))
    world.store.register_block(run.id, 0, world.now)
    assert sorted(map(str, world.items())) == before


def test_a_run_waits_for_a_block_that_is_being_written_again(world: StoreWorld) -> None:
    run = world.reserve({"id": "a"})
    other, client = world.another()
    client.die("batch_write_item")
    with pytest.raises(Killed):  # it may write on for as long as its Lambda may live
        other.register_block(run.id, 0, world.now)
    world.store.register_block(run.id, 0, world.now)
    world.now += 129
    with pytest.raises(NotRegistered, match="is being written again"):
        begin(world, run)
    world.now += 2
    begin(world, run)


def test_a_run_does_not_wait_for_a_call_that_is_known_to_have_failed(world: StoreWorld) -> None:
    run = world.reserve({"id": "a"})
    world.s3.fail("get_object", refusal("InternalError"))
    with pytest.raises(Exception, match="InternalError"):
        world.store.register_block(run.id, 0, world.now)
    world.now += 2  # the state machine repeats the step
    world.store.register_block(run.id, 0, world.now)
    world.now += 90  # about as long as it repeats the next one
    begin(world, run)


def test_a_block_that_is_written_again_while_the_run_begins_undoes_nothing(
    world: StoreWorld,
) -> None:
    run = world.reserve({"id": "a"})
    world.store.register_block(run.id, 0, world.now)
    other, client = world.another()
    claims = []

    def begin_meanwhile(call, arguments):
        # The notes on the blocks were read before the second call counts itself.
        def write_late(write, items):
            with contextlib.suppress(ClientError):
                call(**arguments)
            claims.extend(world.store.claim(ClaimRequest(run.id, 1, world.now, 1)))
            return write(**items)

        client.instead("batch_write_item", write_late)
        other.register_block(run.id, 0, world.now)
        return call(**arguments)

    world.client.instead("transact_write_items", begin_meanwhile)
    try:
        begin(world, run)
    except NotRegistered:
        return  # it begins when the second call is over
    assert world.states(run) == {"a": "submitted" if claims else "pending"}


def test_a_run_begins_once_for_each_generation(world: StoreWorld) -> None:
    run = world.register(world.reserve({"id": "a"}))
    world.now += 5
    for generation in (0, 0, 1, 7):
        again = world.store.begin_run(run.id, generation, world.now)
        assert (again.epoch, again.started_at) == (1, 1000.0)
    world.complete(run, "a")
    world.store.settle(run.id, world.now)
    world.store.begin_reset(run.id, everything=True)
    assert world.store.standing(run.id).begun is False
    assert world.store.begin_run(run.id, 0, world.now).epoch == 1
    again = world.store.begin_run(run.id, 1, world.now)
    assert (again.epoch, again.started_at, again.state) == (2, 1005.0, RunState.RUNNING)
    assert world.claimed(run) == ["a"]


def test_a_plan_that_is_not_there_is_an_error_not_an_empty_run(world: StoreWorld) -> None:
    run = world.reserve({"id": "a"})
    with pytest.raises(Exception, match="NoSuchKey"):
        world.store.register_block(run.id, 5, world.now)
    with pytest.raises(NotRegistered):
        begin(world, run)


def test_unknown_runs_are_refused(world: StoreWorld) -> None:
    for call in (
        lambda: world.store.register_block("nope", 0, 0.0),
        lambda: world.store.begin_run("nope", 0, 0.0),
        lambda: world.store.standing("nope"),
        lambda: world.store.follow("nope", [0]),
        lambda: world.store.reopen("nope"),
        lambda: world.store.keep_token("nope", 0, "t"),
        lambda: world.store.begin_reset("nope"),
    ):
        with pytest.raises(UnknownRun, match="nope"):
            call()


# Repeating --------------------------------------------------------------------------------------


def ended(world: StoreWorld):
    run = world.register(world.reserve({"id": "a"}, {"id": "b", "deps": ["a"]}))
    world.complete(run, "a")
    world.store.follow(run.id, [0])
    world.complete(run, "b")
    world.store.settle(run.id, world.now)
    return run


@pytest.fixture
def streaming(make_world) -> StoreWorld:
    return make_world(follow="stream")


def test_what_comes_late_of_an_earlier_generation_changes_nothing(streaming: StoreWorld) -> None:
    world = streaming
    run = ended(world)
    world.store.begin_reset(run.id, everything=True)
    for _ in range(2):
        world.store.follow(run.id, [0, 1])
        world.store.begin_run(run.id, 1, world.now)
    before = sorted(map(str, world.items()))
    world.store.follow(run.id, [0, 1])
    assert sorted(map(str, world.items())) == before
    assert world.claimed(run) == ["a"]


def test_what_comes_late_between_two_steps_of_a_repetition_changes_nothing(
    streaming: StoreWorld,
) -> None:
    world = streaming
    entries = [{"id": "a"}, *({"id": f"b{i}", "deps": ["a"]} for i in range(100))]
    run = world.register(world.reserve(*entries, {"id": "z", "deps": ["b*"]}))
    (a,) = world.claim(run)
    world.end(run, (a, COMPLETED))
    world.store.follow(run.id, [0])
    claims = world.claim(run, 200)
    world.end(run, *((claim, COMPLETED) for claim in claims))
    world.store.follow(run.id, range(1, 101))
    world.complete(run, "z")
    world.store.settle(run.id, world.now)
    world.store.begin_reset(run.id, everything=True)
    other, _ = world.another()

    def follow_late(call, arguments):
        answer = call(**arguments)
        other.follow(run.id, range(102))
        return answer

    world.client.instead("transact_write_items", follow_late, times=50)
    world.client.instead("update_item", follow_late, times=50)
    world.store.begin_run(run.id, 1, world.now)
    assert world.claimed(run) == ["a"]
    assert world.task(run, "z").waiting_for == 1
    world.check(run)


def test_a_repetition_that_dies_goes_on_where_it_stopped(world: StoreWorld) -> None:
    run = world.create(*many(200))
    claims = world.claim(run, 200)
    world.end(run, *((claim, COMPLETED) for claim in claims))
    world.store.settle(run.id, world.now)
    world.store.begin_reset(run.id, everything=True)

    for _ in range(4):  # three pieces, their end; only the beginning is left
        other, client = world.another()
        client.die("transact_write_items", after=1)
        with pytest.raises(Killed):
            other.begin_run(run.id, 1, world.now)
        assert world.store.standing(run.id).begun is False
    world.store.begin_run(run.id, 1, world.now)
    assert world.check(run).counts[TaskState.PENDING] == 200
    assert len(world.claim(run, 300)) == 200
