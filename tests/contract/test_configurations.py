"""What every store of applied configurations does: numbered versions, one of them current."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from hut.store.configurations import (
    ConfigurationStore,
    Current,
    Recent,
    Version,
    VersionConflict,
)
from hut.store.dynamodb.configurations import DynamoConfigurations
from hut.store.dynamodb.table import Key, Table
from tests.aws_table import new_options
from tests.fake_configurations import FakeConfigurations
from tests.testbed.running import TestBed


@dataclass
class Place:
    """A store; `another` is the same as another process sees it."""

    store: ConfigurationStore
    another: Callable[[], ConfigurationStore]


@pytest.fixture(params=["memory", "dynamodb"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        fake = FakeConfigurations()
        return Place(fake, lambda: fake)
    bed: TestBed = request.getfixturevalue("test_bed")
    name = new_options(bed).table

    def another() -> ConfigurationStore:
        return DynamoConfigurations(Table(bed.client("dynamodb"), name))

    return Place(another(), another)


def version(number: int, by: str = "user/ada") -> Version:
    return Version(number, 1000.5 + number, by, f"change {number}", f"{number:064}")


def test_without_a_version_nothing_counts(place: Place) -> None:
    assert place.store.current() == Current()
    assert place.store.current().number == 0
    assert place.store.versions() == []
    assert place.store.version(1) is None
    assert place.store.content(1) is None


def test_what_was_added_counts_and_what_was_before_stays(place: Place) -> None:
    first = [{"name": "gpu", "max_concurrent": 2, "default_image": "é"}]
    place.store.add(version(1), '{"a":"ü"}', first)
    place.store.add(version(2), '{"a":2}', [])
    other = place.another()
    assert other.current() == Current(version(2), ())
    assert other.version(1) == version(1)
    assert other.content(1) == '{"a":"ü"}'
    assert other.content(2) == '{"a":2}'
    assert other.version(3) is None
    assert other.content(3) is None


def test_refinements_come_back_as_they_were(place: Place) -> None:
    found = ({"name": "gpu", "max_concurrent": 2}, {"name": "old", "retired": True})
    place.store.add(version(1), "{}", found)
    assert place.another().current().backends == found


def test_a_large_content_comes_back_whole(place: Place) -> None:
    letters = random.Random(1)
    text = "".join(letters.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(262_144))
    place.store.add(version(1), text, [])
    assert place.another().content(1) == text


def test_versions_are_listed_newest_first_page_by_page(place: Place) -> None:
    for number in range(1, 13):
        place.store.add(version(number), "{}", [])
    listed = [each.number for each in place.store.versions()]
    assert listed == list(range(12, 0, -1))
    assert [each.number for each in place.store.versions(limit=5)] == [12, 11, 10, 9, 8]
    assert [each.number for each in place.store.versions(before=8, limit=3)] == [7, 6, 5]
    assert place.store.versions(before=1) == []
    assert place.store.versions(before=0) == []
    assert [each.number for each in place.store.versions(before=2**53, limit=1)] == [12]
    assert place.store.versions(limit=1) == [version(12)]


@pytest.mark.parametrize("number", [1, 3])
def test_only_the_next_version_can_be_added(place: Place, number: int) -> None:
    place.store.add(version(1, by="user/bob"), "{}", [])
    with pytest.raises(VersionConflict) as caught:
        place.another().add(version(number), '{"lost":1}', [])
    assert caught.value.current == version(1, by="user/bob")
    assert "version 1 is current, by user/bob at 1970-01-01T00:16:41.5" in str(caught.value)
    assert place.store.current().version == version(1, by="user/bob")
    assert place.store.content(1) == "{}"
    assert place.store.version(3) is None


def test_the_first_version_can_be_added_once(place: Place) -> None:
    with pytest.raises(VersionConflict) as caught:
        place.store.add(version(2), "{}", [])
    assert caught.value.current is None
    assert "nothing is applied" in str(caught.value)
    assert place.store.versions() == []


def test_of_many_at_once_one_wins_each_time(place: Place) -> None:
    def attempt(writer: int) -> list[int]:
        store, won = place.another(), []
        for number in range(1, 6):
            try:
                store.add(version(number, by=f"user/{writer}"), f'{{"by":{writer}}}', [])
            except VersionConflict:
                continue
            won.append(number)
        return won

    with ThreadPoolExecutor(6) as pool:
        won = [number for numbers in pool.map(attempt, range(6)) for number in numbers]
    assert len(won) == len(set(won))
    listed = place.store.versions()
    assert sorted(won) == sorted(each.number for each in listed)
    assert 1 in won
    for each in listed:  # what a version holds is what its author wrote, whoever else tried
        writer = each.by.rpartition("/")[2]
        assert place.store.content(each.number) == f'{{"by":{writer}}}'


def test_recent_reads_once_in_a_while() -> None:
    store, now = FakeConfigurations(), 0.0
    recent = Recent(store.current, lambda: now, seconds=30)
    assert recent.current().number == 0
    store.add(version(1), "{}", [])
    now = 29.9
    assert recent.current().number == 0
    assert store.reads == 1
    now = 30.0
    assert recent.current().number == 1
    assert store.reads == 2
    store.add(version(2), "{}", [])
    assert recent.current(1).number == 1
    assert recent.current(2).number == 2  # it is known to exist
    store.add(version(3), "{}", [])
    recent.forget()
    assert recent.current().number == 3
    assert store.reads == 4


def test_backends_of_all_types_count_and_an_earlier_release_sees_those_of_batch(
    test_bed: TestBed,
) -> None:
    """It would take whatever it sees for a backend on AWS Batch, and submit tasks there."""
    options = new_options(test_bed)
    store = DynamoConfigurations(Table(test_bed.client("dynamodb"), options.table))
    batch = [{"name": "gpu", "max_concurrent": 2}, {"name": "old", "retired": True}]
    big = {"name": "big", "type": "ec2", "spot": "only"}
    store.add(version(1), "{}", [batch[0], big, batch[1]])
    assert list(store.current().backends) == [*batch, big]
    item = store._table.get(Key("CONFIG", "CURRENT"))
    assert item is not None
    assert json.loads(item["backends"]) == batch
    # What such a release has written has nothing beside it.
    store.add(version(2), "{}", batch)
    assert list(store.current().backends) == batch
