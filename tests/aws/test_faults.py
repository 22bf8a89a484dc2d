"""Throttling, what a batch leaves unprocessed, answers that are lost: repeated, and given up clearly."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from hut.store.dynamodb.table import Key, Pages, Table, pauses
from tests.aws.store_world import StoreWorld, tasks
from tests.aws.watched_client import Call, cancelled, refusal
from tests.contract.worlds import COMPLETED
from tests.testbed.running import TestBed


class TableWorld:
    """A table without a store."""

    def __init__(self, bed: TestBed) -> None:
        world = StoreWorld(bed)
        self.client = world.client
        self.slept: list[float] = []
        self.table = Table(self.client, world.options.table, sleep=self.slept.append)
        self.keys = [Key(f"p{number}", "s") for number in range(60)]

    def fill(self) -> None:
        self.table.put_all([{"pk": key.pk, "sk": key.sk, "n": 1} for key in self.keys])


@pytest.fixture
def alone(test_bed: TestBed) -> TableWorld:
    return TableWorld(test_bed)


def leave_some(call: Call, arguments: dict[str, Any]) -> Any:
    """Do the first three requests of a batch and leave the others."""
    ((name, requests),) = arguments["RequestItems"].items()
    if isinstance(requests, dict):
        done, left = requests["Keys"][:3], requests["Keys"][3:]
        answer = call(RequestItems={name: {**requests, "Keys": done}})
        answer["UnprocessedKeys"] = {name: {**requests, "Keys": left}} if left else {}
    else:
        answer = call(RequestItems={name: requests[:3]})
        answer["UnprocessedItems"] = {name: requests[3:]} if requests[3:] else {}
    return answer


def leave_all(call: Call, arguments: dict[str, Any]) -> Any:
    ((name, requests),) = arguments["RequestItems"].items()
    key = "UnprocessedKeys" if isinstance(requests, dict) else "UnprocessedItems"
    return {"Responses": {}, key: {name: requests}}


def growing(slept: list[float]) -> bool:
    """Say whether pauses keep to full jitter under a bound that doubles."""
    return all(0 <= pause <= min(5.0, 0.05 * 2**number) for number, pause in enumerate(slept))


def test_items_that_are_left_are_written_then(alone: TableWorld) -> None:
    alone.client.instead("batch_write_item", leave_some, times=7)
    alone.fill()
    assert len(alone.table.get_many(alone.keys)) == 60
    assert len(alone.slept) == 7
    assert growing(alone.slept)


def test_keys_that_are_left_are_read_then(alone: TableWorld) -> None:
    alone.fill()
    alone.client.instead("batch_get_item", leave_some, times=7)
    assert set(alone.table.get_many(alone.keys)) == set(alone.keys)
    assert len(alone.slept) == 7


def test_items_that_are_always_left_are_given_up_by_name(alone: TableWorld) -> None:
    alone.client.instead("batch_write_item", leave_all, times=1000)
    with pytest.raises(TimeoutError, match="BatchWriteItem left items unprocessed 8 times"):
        alone.fill()
    assert growing(alone.slept)


def test_keys_that_are_always_left_are_given_up_by_name(alone: TableWorld) -> None:
    alone.client.instead("batch_get_item", leave_all, times=1000)
    with pytest.raises(TimeoutError, match="BatchGetItem left items unprocessed 8 times"):
        alone.table.get_many(alone.keys)


@pytest.mark.parametrize(
    "code",
    [
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "InternalServerError",
        "ServiceUnavailable",
        "TransactionInProgressException",
        "TransactionConflictException",
    ],
)
def test_throttled_calls_are_repeated(alone: TableWorld, code: str) -> None:
    alone.client.fail("put_item", refusal(code), times=3)
    alone.table.put({"pk": "p0", "sk": "s"})
    assert alone.table.get(alone.keys[0]) is not None
    assert len(alone.slept) == 3
    assert growing(alone.slept)


def test_calls_that_are_always_throttled_end_with_their_error(alone: TableWorld) -> None:
    alone.client.fail("get_item", refusal("ThrottlingException"), times=1000)
    with pytest.raises(ClientError, match="ThrottlingException"):
        alone.table.get(alone.keys[0])
    assert alone.client.count("get_item") == 9


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException"])
def test_other_errors_are_not_repeated(alone: TableWorld, code: str) -> None:
    alone.client.fail("get_item", refusal(code), times=1000)
    with pytest.raises(ClientError, match=code):
        alone.table.get(alone.keys[0])
    assert alone.slept == []


def test_a_transaction_that_can_never_be_done_is_not_repeated(world: StoreWorld) -> None:
    run = world.create({"id": "a"})
    error = cancelled("None", "ValidationError")
    world.client.fail("transact_write_items", error, times=1000)
    with pytest.raises(ClientError):
        world.claim(run)
    assert world.slept == []


def test_a_query_is_read_to_its_end_page_by_page(alone: TableWorld) -> None:
    alone.table.put_all([{"pk": "q", "sk": f"{n:03}", "n": n} for n in range(25)])
    found = [item["n"] for item in alone.table.query(Pages("q", limit=4))]
    assert found == list(range(25))
    assert alone.client.count("query") == 7
    some = alone.table.query(Pages("q", limit=4, one_of=("n", [3, 24])))
    assert [item["n"] for item in some] == [3, 24]


def test_deletions_are_repeated_too(alone: TableWorld) -> None:
    alone.fill()
    alone.client.instead("batch_write_item", leave_some, times=2)
    alone.table.delete_all(alone.keys)
    assert alone.table.get_many(alone.keys) == {}


def test_pauses_end() -> None:
    assert len(list(pauses())) == 8
    assert max(pauses(50, base=0.05, most=0.2)) <= 0.2


# A store under pressure -------------------------------------------------------------------------


def test_a_run_is_registered_and_driven_through_throttling(world: StoreWorld) -> None:
    for operation, code in (
        ("get_item", "ThrottlingException"),
        ("query", "ProvisionedThroughputExceededException"),
        ("update_item", "InternalServerError"),
        ("transact_write_items", "ThrottlingException"),
    ):
        world.client.fail(operation, refusal(code), times=3)
    for operation in ("batch_write_item", "batch_get_item"):
        world.client.instead(operation, leave_some, times=5)
    run = world.register(world.reserve(*tasks(*(f"m{i}" for i in range(60)))))
    claims = world.claim(run)
    assert len(claims) == 60
    assert world.end(run, *((claim, COMPLETED) for claim in claims)) == [True] * 60
    world.check(run)


def lose_answer(call: Call, arguments: dict[str, Any]) -> Any:
    call(**arguments)
    raise refusal("InternalServerError")


def test_a_transaction_is_repeated_under_its_token(world: StoreWorld) -> None:
    run = world.create({"id": "a"})
    world.client.calls.clear()
    world.client.fail("transact_write_items", refusal("InternalServerError"))
    world.claim(run)
    first, second = (a for name, a in world.client.calls if name == "transact_write_items")
    assert first["ClientRequestToken"] == second["ClientRequestToken"]


def test_an_end_whose_answer_is_lost_changes_nothing_the_second_time(world: StoreWorld) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]})
    (claim,) = world.claim(run)
    world.client.instead("transact_write_items", lose_answer)
    world.end(run, (claim, COMPLETED))
    world.store.follow(run.id, [0])
    assert world.states(run) == {"a": "completed", "b": "pending"}
    assert world.claimed(run) == ["b"]
    world.check(run)
