"""What is known of instances, in the table: each change under its condition, also with two callers.

The fake that the tests of the backend use keeps the same promises.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hut.backends.hosts import Host, Hosts, IdleHost, JobNote, Phase
from hut.store.dynamodb.hosts import TableHosts
from hut.store.dynamodb.keys import ec2_job_key, host_key, idle_key
from hut.store.dynamodb.table import Table
from tests.aws.store_world import StoreWorld
from tests.aws.watched_client import cancelled, refusal
from tests.ec2.fake_aws import MemoryHosts

ONE, TWO = "i-00000000000000001", "i-00000000000000002"
IDLE = IdleHost(ONE, "c5.xlarge", True, "ec2", "shape", 2000.5)


class Kept:
    """Hosts, and what the state machine writes of them."""

    hosts: Hosts

    def own(self, instance: str, name: str, shape: str = "shape", at: float = 1.5) -> None:
        raise NotImplementedError

    def rest(self, host: IdleHost, name: str) -> None:
        raise NotImplementedError


class InTable(Kept):
    def __init__(self, world: StoreWorld) -> None:
        self.table = Table(world.client, world.options.table, sleep=world.slept.append)
        self.hosts = TableHosts(self.table, clock=lambda: 1000.0)

    def own(self, instance: str, name: str, shape: str = "shape", at: float = 1.5) -> None:
        self.table.put({**key_of(host_key(instance)), "name": name, "backend": "ec2", "shape": shape, "at": at})  # fmt: skip

    def rest(self, host: IdleHost, name: str) -> None:
        self.own(host.instance, name, host.shape)
        key = key_of(idle_key(host.backend, host.shape, host.instance))
        told = {"instance": host.instance, "type": host.type, "spot": host.spot}
        self.table.put({**key, **told, "until": host.until})


class InMemory(Kept):
    def __init__(self) -> None:
        self.memory = MemoryHosts()
        self.hosts = self.memory

    def own(self, instance: str, name: str, shape: str = "shape", at: float = 1.5) -> None:
        self.memory.own(instance, name, at, shape)

    def rest(self, host: IdleHost, name: str) -> None:
        self.own(host.instance, name, host.shape)
        self.memory.free[host.instance] = host


def key_of(key: Iterable[str]) -> dict[str, Any]:
    pk, sk = key
    return {"pk": pk, "sk": sk}


@pytest.fixture(params=["table", "memory"])
def kept(request: pytest.FixtureRequest) -> Kept:
    if request.param == "memory":
        return InMemory()
    return InTable(request.getfixturevalue("world"))


@pytest.fixture
def in_table(world: StoreWorld) -> InTable:
    return InTable(world)


def owner(kept: Kept, instance: str = ONE) -> str | None:
    host = kept.hosts.hosts([instance]).get(instance)
    return host and host.name


def test_whose_an_instance_is(kept: Kept) -> None:
    kept.own(ONE, "first", at=7.25)
    assert kept.hosts.hosts([ONE, TWO]) == {ONE: Host(ONE, "first", "ec2", "shape", 7.25)}
    assert kept.hosts.hosts([]) == {}


def test_what_is_idle_is_listed_and_found(kept: Kept) -> None:
    sooner = IDLE._replace(instance=TWO, shape="another", until=1500.0)
    kept.rest(IDLE, "first")
    kept.rest(sooner, "second")
    kept.rest(IDLE._replace(instance="i-3", backend="gpu"), "third")
    assert list(kept.hosts.idle("ec2")) == [sooner, IDLE]
    hosts = kept.hosts.hosts([ONE, TWO]).values()
    assert kept.hosts.idle_among(list(hosts)) == {ONE: IDLE, TWO: sooner}
    assert kept.hosts.idle_among([Host("i-4", "x", "ec2", "", 0.0)]) == {}


def test_an_idle_instance_is_taken_once(kept: Kept) -> None:
    kept.rest(IDLE, "first")
    assert kept.hosts.take(IDLE, "second", 99.5)
    assert not kept.hosts.take(IDLE, "third", 100.0)
    assert kept.hosts.idle("ec2") == []
    assert kept.hosts.hosts([ONE]) == {ONE: Host(ONE, "second", "ec2", "shape", 99.5)}


def test_what_was_taken_for_nothing_is_idle_again(kept: Kept) -> None:
    kept.rest(IDLE, "first")
    assert kept.hosts.take(IDLE, "second", 99.5)
    kept.hosts.give_back(IDLE, "second")
    assert list(kept.hosts.idle("ec2")) == [IDLE]
    assert kept.hosts.take(IDLE, "third", 100.0)
    kept.hosts.give_back(IDLE, "second")
    assert kept.hosts.idle("ec2") == []
    assert owner(kept) == "third"


def test_what_is_put_out_is_nobodys(kept: Kept) -> None:
    kept.rest(IDLE, "first")
    assert kept.hosts.evict(IDLE)
    assert not kept.hosts.evict(IDLE)
    assert not kept.hosts.take(IDLE, "second", 99.5)
    assert owner(kept) is None
    kept.rest(IDLE, "first")
    assert kept.hosts.take(IDLE, "second", 99.5)
    assert not kept.hosts.evict(IDLE)
    assert owner(kept) == "second"


def test_an_attempts_instance_is_made_nobodys(kept: Kept) -> None:
    kept.rest(IDLE, "first")
    host = kept.hosts.hosts([ONE])[ONE]
    assert not kept.hosts.disown(ONE, "second", host)
    assert list(kept.hosts.idle("ec2")) == [IDLE]
    assert kept.hosts.disown(ONE, "first", host)
    assert kept.hosts.idle("ec2") == []
    assert owner(kept) is None
    assert kept.hosts.disown(ONE, "first", None)  # again, and of one that was never noted
    kept.own(ONE, "third")
    assert not kept.hosts.disown(ONE, "first", None)
    assert owner(kept) == "third"


def test_eight_at_once_and_one_has_it(in_table: InTable, world: StoreWorld) -> None:
    in_table.rest(IDLE, "first")
    host = in_table.hosts.hosts([ONE])[ONE]
    gate = threading.Barrier(8)

    def change(number: int) -> bool:
        table = Table(world.bed.client("dynamodb"), world.options.table)
        hosts = TableHosts(table, clock=lambda: 1000.0)
        gate.wait()
        if number == 0:
            return hosts.evict(IDLE)
        if number == 1:
            return hosts.disown(ONE, "first", host)
        return hosts.take(IDLE, f"taker{number}", 50.0)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(change, range(8)))
    # One takes it or it is ended. What was evicted is nobody's: disowning that is no harm.
    assert sum(done[2:]) == (not any(done[:2]))
    winner = done.index(True)
    assert owner(in_table) == (f"taker{winner}" if winner > 1 else None)
    assert in_table.hosts.idle("ec2") == []


def test_a_transaction_in_the_way_is_waited_for(in_table: InTable, world: StoreWorld) -> None:
    in_table.rest(IDLE, "first")
    world.client.fail("transact_write_items", cancelled("TransactionConflict", "None"))
    assert in_table.hosts.take(IDLE, "second", 50.0)
    assert len(world.slept) == 1


def test_a_lost_answer_of_a_write_is_not_taken_for_a_lost_race(
    in_table: InTable, world: StoreWorld
) -> None:
    in_table.rest(IDLE, "first")

    def twice(call: Any, arguments: dict[str, Any]) -> Any:
        call(**arguments)
        return call(**arguments)  # as the client repeats what had no answer: the same token

    world.client.instead("transact_write_items", twice)
    assert in_table.hosts.take(IDLE, "second", 50.0)


def test_other_errors_are_errors(in_table: InTable, world: StoreWorld) -> None:
    world.client.fail("transact_write_items", refusal("AccessDeniedException"))
    with pytest.raises(Exception, match="AccessDeniedException"):
        in_table.hosts.take(IDLE, "second", 50.0)


def test_what_the_state_machine_notes_of_a_job(in_table: InTable) -> None:
    item = {
        **key_of(ec2_job_key("first")),
        "name": "first",
        "backend": "ec2",
        "phase": "running",
        "since": 12.75,
        "launching_since": 3,
        "capacity_errors": 4,
        "said": "no room",
        "instance": ONE,
        "type": "c5.xlarge",
        "spot": True,
        "subnet": "subnet-1",
        "command": "c",
        "token": "secret",
        "sent_at": 12.75,
        "ttl": 99,
    }
    in_table.table.put(item)
    launching = {**key_of(ec2_job_key("second")), "phase": "launching", "since": 3}
    in_table.table.put(launching)
    in_table.table.put({**key_of(ec2_job_key("third")), "phase": "of a later Hut"})
    assert in_table.hosts.jobs(["first", "second", "third", "fourth"]) == {
        "first": JobNote(
            "first",
            "ec2",
            Phase.RUNNING,
            since=12.75,
            launching_since=3.0,
            capacity_errors=4,
            said="no room",
            instance=ONE,
            type="c5.xlarge",
            subnet="subnet-1",
            spot=True,
            command="c",
            token="secret",
            sent_at=12.75,
        ),
        "second": JobNote("second", "", Phase.LAUNCHING, since=3.0),
    }


def test_what_is_written_goes_away_some_day(in_table: InTable) -> None:
    in_table.rest(IDLE, "first")
    assert in_table.hosts.take(IDLE, "second", 50.0)
    in_table.hosts.give_back(IDLE, "second")
    for key in (host_key(ONE), idle_key("ec2", "shape", ONE)):
        item = in_table.table.get(key)
        assert item is not None
        assert item["ttl"] == 1000 + 30 * 86400
