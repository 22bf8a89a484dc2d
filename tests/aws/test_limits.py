"""Large and odd things: what DynamoDB's limits shape, and what must still be as small runs have it."""

from __future__ import annotations

import json
import random
import string

import pytest

from hut.model import limits
from hut.model.records import Refusal
from hut.model.states import Reason, RunState, TaskState
from hut.service.dispatching import _CLAIMED_AT_ONCE, _JOBS_AT_ONCE
from hut.store.dynamodb import specifications
from hut.store.port import ClaimRequest, RunFilter, TaskFilter
from tests.aws.store_world import StoreWorld, tasks
from tests.contract.worlds import COMPLETED, FAILED

_RANDOM = random.Random(1)


def noise(length: int) -> str:
    """Return text that can't be compressed to much less than three quarters."""
    return "".join(_RANDOM.choices(string.ascii_letters + string.digits, k=length))


def complete_all(world: StoreWorld, run, most: int = 5000) -> int:
    """Claim and complete what is ready; return how much it was."""
    claims = world.claim(run, most)
    world.end(run, *((claim, COMPLETED) for claim in claims))
    return len(claims)


# Bodies -----------------------------------------------------------------------------------------


def test_large_specifications_and_settings_go_to_the_bucket(world: StoreWorld) -> None:
    command, value = "echo " + noise(200_000), noise(90_000)
    large = {"LARGE": value, "TOO": noise(90_000)}
    run = world.create({"id": "a", "command": command}, {"id": "b"}, env_vars=large)
    listed = world.bed.client("s3").list_objects_v2(Bucket=world.options.bucket)
    assert len(listed["Contents"]) == 2
    assert {entry["Key"].split("/")[0] for entry in listed["Contents"]} == {"bodies"}
    other = world.open_another()
    task = other.get_task(run.id, "a")
    assert task is not None
    assert task.spec.command == command
    assert other.get_run(run.id).settings.env_vars["LARGE"] == value
    assert sorted(world.claimed(run)) == ["a", "b"]


def test_small_bodies_stay_in_their_items(world: StoreWorld) -> None:
    world.create({"id": "a", "command": "echo " + "x" * 200_000})  # compresses well
    assert "Contents" not in world.bed.client("s3").list_objects_v2(Bucket=world.options.bucket)


def test_no_item_comes_near_the_limit_of_400_kb(world: StoreWorld) -> None:
    names = [f"{'n' * 190}{i:06}" for i in range(600)]
    run = world.create(
        *({"id": name, "command": noise(1500)} for name in names),
        {"id": "all", "deps": names[:300]},
        {"id": "pattern", "deps": ["n*"]},
    )
    claims = world.claim(run, 90)
    world.end(run, *((claim, FAILED._replace(message="é" * 5000)) for claim in claims))
    sizes = [len(str(item).encode()) for item in world.items()]
    assert max(sizes) < 150_000


def test_a_workflow_at_every_limit_is_stored_in_items_half_as_large_as_they_may_be(
    world: StoreWorld,
) -> None:
    """DynamoDB takes 400 KB. Texts can't be compressed, and are counted as JSON writes them."""
    variables = {noise(limits.LONGEST_VARIABLE - 1).replace("0", "_"): "v" for _ in range(3)}
    variables = {f"V{name}": noise(limits.LARGEST_VALUE) for name in variables}
    name = noise(limits.LONGEST_NAME)
    tags = {noise(limits.LONGEST_TAG): "\U0001f6d6" * limits.LONGEST_TAG_VALUE for _ in range(40)}
    many = {noise(limits.LONGEST_TAG): noise(limits.LONGEST_NAME) for _ in range(limits.MOST_TAGS)}
    path = noise(limits.LONGEST_PATH)
    full = {
        "command": noise(limits.LONGEST_COMMAND),
        "name": name,
        "group": name,
        "partition": name,
        "image": name,
        "env_vars": variables,
        "tags": many,
        "properties": many,
        "working_dir": path,
        "output_file": path,
        "error_file": path,
        "generates_source": path,
        "retry_on": [*range(256), "timeout"],
        "retries": 1,
    }
    ids = [noise(limits.LONGEST_TASK_ID - 3) + f"{n:03}" for n in range(200)]
    run = world.create(
        *({"id": each} for each in ids),
        {"id": "full", **full, "deps": ids},
        {"id": "list", **full, "deps": ["full", *ids[:60]]},
        name=noise(limits.LONGEST_NAME),
        description="\U0001f6d6" * limits.LONGEST_DESCRIPTION,
        notify=noise(limits.LONGEST_DESCRIPTION - 2),
        env_vars=variables,
        tags=tags,
    )
    claims = world.claim(run, 300)
    world.end(run, *((claim, COMPLETED) for claim in claims))
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED._replace(message="\U0001f6d6" * 5000)))
    refusal = Refusal("batch", name, "\U0001f6d6" * 5000, 1.0, 1.0, 1.0)
    world.store.give_back(run.id, [world.claim(run)[0].key], [refusal])
    sizes = [
        len(json.dumps(item, default=lambda binary: "x" * len(binary)))
        for item in world.raw_items()
    ]
    assert max(sizes) < 200_000
    assert world.open_another().get_run(run.id).settings.tags == tags


def test_ids_of_200_characters_and_of_one(world: StoreWorld) -> None:
    long = "x" * 200
    run = world.create({"id": long, "retries": 1}, {"id": "y", "deps": [long]})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    (claim,) = world.claim(run)
    world.end(run, (claim, COMPLETED))
    assert world.claimed(run) == ["y"]
    assert len(world.attempts(run, long)) == 2
    assert world.task(run, long).state is TaskState.COMPLETED


def test_messages_are_cut(world: StoreWorld) -> None:
    run = world.create({"id": "a"})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED._replace(message="m" * 100_000)))
    assert len(world.task(run, "a").message) == 2000


# Shapes of graphs -------------------------------------------------------------------------------


def test_a_barrier_of_many_members_is_counted_in_parts(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"m{i}" for i in range(650))), {"id": "sum", "deps": ["m*"]})
    assert sum(item.get("kind") == "barrier" for item in world.items()) == 5
    claims = world.claim(run, 700)
    _RANDOM.shuffle(claims)
    for start in range(0, 649, 100):
        world.end(run, *((claim, COMPLETED) for claim in claims[start : min(start + 100, 649)]))
    assert world.claimed(run) == []
    world.end(run, (claims[649], COMPLETED))
    assert world.claimed(run) == ["sum"]


@pytest.mark.parametrize("number", [50, 51, 250])
def test_a_long_list_of_dependencies_is_a_barrier_of_its_own(
    world: StoreWorld, number: int
) -> None:
    ids = [f"d{i}" for i in range(number)]
    run = world.create(*tasks(*ids), {"id": "z", "deps": ids})
    barriers = sum(item.get("kind") == "barrier" for item in world.items())
    assert barriers == {50: 0, 51: 1, 250: 3}[number]
    claims = world.claim(run, 300)
    world.end(run, *((claim, COMPLETED) for claim in claims[1:]))
    assert world.claimed(run) == []
    world.end(run, (claims[0], COMPLETED))
    assert world.claimed(run) == ["z"]


@pytest.mark.parametrize(("number", "apart"), [(30, 0), (31, 1), (2001, 2)])
def test_many_that_wait_for_one_stand_apart(world: StoreWorld, number: int, apart: int) -> None:
    run = world.create({"id": "a"}, *({"id": f"b{i}", "deps": ["a"]} for i in range(number)))
    assert sum(item.get("kind") == "edges" for item in world.items()) == apart
    assert complete_all(world, run) == 1
    claims = world.claim(run, 3000)
    assert [claim.spec.id for claim in claims] == [f"b{i}" for i in range(number)]


def test_many_that_wait_for_a_barrier_are_released_and_failed(world: StoreWorld) -> None:
    run = world.create(
        *tasks(*(f"m{i}" for i in range(201))),
        *({"id": f"r{i}", "deps": ["m*"]} for i in range(99)),
    )
    claims = world.claim(run, 300)
    world.end(run, *((claim, COMPLETED) for claim in claims[:-1]), (claims[-1], FAILED))
    record = world.check(run)
    assert record.counts[TaskState.DEP_FAILED] == 99
    assert world.task(run, "r98").cause == 200
    assert world.store.settle(run.id, world.now).state is RunState.FAILED


def test_a_repetition_of_a_run_with_barriers_counts_anew(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"m{i}" for i in range(250))), {"id": "sum", "deps": ["m*"]})
    claims = world.claim(run, 300)
    world.end(run, *((claim, COMPLETED) for claim in claims[:-1]), (claims[-1], FAILED))
    world.store.settle(run.id, world.now)
    assert world.store.reset_tasks(run.id, world.now) == 2
    assert world.task(run, "sum").waiting_for == 1
    assert complete_all(world, run) == 1
    assert world.claimed(run) == ["sum"]
    world.check(run)


# Order ------------------------------------------------------------------------------------------


def test_thousands_are_claimed_by_priority_then_in_order(world: StoreWorld) -> None:
    entries = [{"id": f"t{i}", "priority": (i * 7) % 5 - 2} for i in range(2500)]
    run = world.create(*entries)
    expected = sorted(range(2500), key=lambda i: (-entries[i]["priority"], i))
    claimed: list[int] = []
    while claims := world.claim(run, 400):
        claimed.extend(claim.key.position for claim in claims)
    assert claimed == expected
    world.check(run)


def test_a_delayed_retry_stands_in_line_by_its_priority(world: StoreWorld) -> None:
    run = world.create(
        {"id": "low", "retries": 1, "retry_delay": "5s"},
        {"id": "high", "priority": 9, "retries": 1, "retry_delay": "5s"},
        {"id": "middle", "priority": 5},
    )
    claims = world.named(world.claim(run))
    world.end(run, (claims["low"], FAILED), (claims["high"], FAILED))
    world.store.release_claims(run.id, [claims["middle"].key])
    world.now += 5
    assert world.claimed(run) == ["high", "middle", "low"]


def test_a_task_that_stands_on_a_page_twice_is_claimed_once(world: StoreWorld) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]})
    assert complete_all(world, run) == 1
    (claim,) = world.claim(run)
    world.store.follow(run.id, [0])
    world.store.reopen(run.id)
    assert world.claim(run) == []
    world.end(run, (claim, COMPLETED))
    world.store.follow(run.id, [0])
    assert world.claim(run) == []
    world.check(run)


def test_claims_are_folded_into_few_calls(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(500))))
    world.client.calls.clear()
    assert len(world.claim(run, 80)) == 80
    assert len(world.client.calls) <= 7


@pytest.mark.parametrize("number", [_JOBS_AT_ONCE, _CLAIMED_AT_ONCE])
def test_a_batch_of_claims_is_one_transaction(world: StoreWorld, number: int) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(1100))))
    world.client.calls.clear()
    assert len(world.claim(run, number)) == number
    assert world.client.count("transact_write_items") == 1


def test_looking_for_lost_follow_ups_puts_nothing_on_the_pages_that_has_ended(
    world: StoreWorld,
) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "c", "deps": ["b"]})
    for _ in range(2):
        assert complete_all(world, run) == 1
    world.store.reopen(run.id)
    ready = [item.get("ready", set()) for item in world.items() if "#R" in item["pk"]]
    assert set().union(*ready) == {2}


@pytest.mark.parametrize("what", ["ends", "repetition"])
def test_a_run_that_has_grown_is_not_read_task_by_task(world: StoreWorld, what: str) -> None:
    run = world.create(
        {"id": "gen", "generates_source": "g"}, *tasks(*(f"t{i}" for i in range(70)))
    )
    claims = world.named(world.claim(run))
    adds = world.extension(run, {"id": "n"})
    world.end(run, (claims.pop("gen"), COMPLETED), adds=adds)
    outcomes = [(claim, COMPLETED) for claim in claims.values()]
    outcomes[0] = (outcomes[0][0], FAILED)
    world.client.calls.clear()
    world.end(run, *outcomes)
    if what == "repetition":
        assert complete_all(world, run) == 1
        world.store.settle(run.id, world.now)
        world.client.calls.clear()
        assert world.store.reset_tasks(run.id, world.now) == 1
    assert world.client.count("query") <= 20


# What is left ------------------------------------------------------------------------------------

TTL = 1000 + 90 * 86400


def test_everything_of_a_run_expires_even_if_it_died_at_once(world: StoreWorld) -> None:
    run = world.reserve({"id": "a"})
    world.s3.fail("get_object", ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        world.store.register_block(run.id, 0, world.now)
    assert [i for i in world.items() if i.get("ttl") != TTL] == []


def test_everything_of_a_run_expires(world: StoreWorld) -> None:
    run = world.reserve(
        *tasks(*(f"m{i}" for i in range(40))),
        {"id": "sum", "deps": ["m*"]},
        {"id": "wide", "priority": 3},
        *({"id": f"w{i}", "deps": ["wide"]} for i in range(40)),
        {"id": "late", "retries": 1, "retry_delay": "9s"},
        {"id": "two", "deps": ["m0", "wide"]},
        {"id": "gen", "generates_source": "g"},
    )
    run = world.register(run)
    claims = world.named(world.claim(run, 300))
    world.start(run, claims["wide"])
    world.store.note_handles(run.id, [(claims["m0"].key, "h")])
    world.end(run, (claims.pop("late"), FAILED._replace(message="m" * 500)))
    world.store.release_claims(run.id, [claims.pop("m1").key])
    generator = claims.pop("gen")
    world.end(run, *((claim, COMPLETED) for claim in claims.values()))
    adds = world.extension(run, {"id": "n", "deps": ["wide"]}, {"id": "o", "deps": ["m*"]})
    world.end(run, (generator, COMPLETED), adds=adds)
    world.store.keep_token(run.id, 0, "token")
    world.store.cancel_run(run.id, Reason.CANCELLED, world.now)
    world.store.settle(run.id, world.now)
    world.store.reset_tasks(run.id, world.now)
    world.store.begin_run(run.id, 1, world.now)
    while complete_all(world, run):
        pass
    world.store.settle(run.id, world.now)
    assert {item["kind"] for item in world.items() if "kind" in item} >= {
        "run",
        "settings",
        "token",
        "log",
        "pack",
        "message",
        "specs",
        "edges",
        "barrier",
        "ids",
        "attempt",
        "grew",
        "listing",
    }
    endless = [item for item in world.items() if item.get("ttl") != TTL]
    assert [item["pk"] for item in endless] == ["BACKEND#local"]  # it belongs to no run


def test_a_run_that_expired_is_not_listed_again(world: StoreWorld) -> None:
    run = world.create({"id": "a"})
    table = world.bed.client("dynamodb")
    key = {"pk": {"S": "RUNS#r"}, "sk": {"S": run.id}}
    table.delete_item(TableName=world.options.table, Key=key)
    world.store.unlist(run.id, 0)
    assert [item for item in world.items() if item["pk"] == "RUNS#r"] == []


# Reading ----------------------------------------------------------------------------------------


def test_pages_of_tasks_cross_partitions(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(620))))
    after, seen = -1, []
    while page := world.store.list_tasks(run.id, TaskFilter(after=after, limit=97)):
        seen += [task.position for task in page]
        after = page[-1].position
    assert seen == list(range(620))
    claims = world.claim(run, 620)
    world.end(run, *((c, COMPLETED) for c in claims if c.key.position % 100 == 99))
    query = TaskFilter(states=[TaskState.COMPLETED], after=150)
    assert [t.position for t in world.store.list_tasks(run.id, query)] == [199, 299, 399, 499, 599]
    query = TaskFilter(states=[TaskState.COMPLETED], match="t1*", limit=2)
    assert [t.spec.id for t in world.store.list_tasks(run.id, query)] == ["t199"]


def test_a_search_stops_when_it_has_found_all(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(1300))))
    world.claim(run, 1)
    world.client.calls.clear()
    found = world.store.list_tasks(run.id, TaskFilter(states=[TaskState.SUBMITTED]))
    assert [task.position for task in found] == [0]
    assert world.client.count("query") <= 2


def test_changes_are_read_piece_by_piece(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(300))))
    for _ in range(6):
        assert complete_all(world, run, 50) == 50
    cursor, seen = 0, []
    while True:
        some, further = world.store.changes(run.id, cursor, limit=100)
        if not some:
            break
        assert len(some) <= 149  # a change is never torn apart
        seen += some
        cursor = further
    assert len(seen) == 600
    assert [c.state for c in seen] == (["submitted"] * 50 + ["completed"] * 50) * 6


def test_runs_of_many_owners_and_workflows_are_listed(world: StoreWorld) -> None:
    runs = []
    for _ in range(7):
        world.now += 1
        runs.append(world.create({"id": "a"}).id)
    before, seen = None, []
    while page := world.store.list_runs(RunFilter(owner="me", limit=3, before=before)):
        seen += [run.id for run in page]
        before = (page[-1].created_at, page[-1].id)
    assert seen == runs[::-1]
    assert world.store.active_runs() == runs
    world.complete(world.store.get_run(runs[0]), "a")
    world.store.settle(runs[0], world.now)
    assert world.store.active_runs() == runs[1:]
    request = ClaimRequest(runs[1], 1, world.now, 1)
    assert len(world.store.claim(request)) == 1


def test_a_task_whose_one_dependency_has_completed_waits_for_nothing(world: StoreWorld) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]})
    assert world.task(run, "b").waiting_for == 1
    assert complete_all(world, run) == 1
    assert world.task(run, "b").waiting_for == 0


def test_a_task_that_is_ready_and_waits_for_its_time_is_claimed_once(world: StoreWorld) -> None:
    run = world.create({"id": "a", "retries": 1, "retry_delay": "5s"})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    world.store.reopen(run.id)
    world.now += 5
    (claim,) = world.claim(run)
    assert claim.key.attempt == 2
    assert world.store.next_retry(run.id, 0.0) is None
    world.check(run)


def test_a_claim_in_a_batch_that_is_full_ends(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(2000))))
    with world.store.batch():
        claims = world.claim(run, 5000)
    assert 1000 < len(claims) < 2000
    assert world.check(run).counts[TaskState.SUBMITTED] == len(claims)


def test_long_commands_are_not_all_kept_in_memory(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specifications, "_MOST_TEXT", 50_000)
    run = world.create(*({"id": f"t{i}", "command": f"echo {i} {'x' * 150}"} for i in range(1300)))
    found = world.store.list_tasks(run.id, TaskFilter())
    assert [task.spec.command.split()[1] for task in found] == [str(i) for i in range(1300)]
    assert len(world.store._tasks._specifications._kept) <= 2
