"""What every task registry does: one definition for a name and version, unless it is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hut.model.task_definition import TaskDefinition, read_definition
from hut.store.dynamodb.registry import DynamoRegistry
from hut.store.dynamodb.table import Condition, Table
from hut.store.registry import (
    DefinitionExists,
    KnownDefinitions,
    Registered,
    TaskRegistry,
    UnknownDefinition,
    find_definition,
)
from hut.store.sqlite import SqliteStore
from tests.aws_table import Clients, new_options
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3


@dataclass
class Place:
    """A registry; `another` is the same as another process sees it."""

    registry: TaskRegistry
    another: Callable[[], TaskRegistry]


@pytest.fixture(params=["sqlite", "dynamodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":

        def opened() -> TaskRegistry:
            return SqliteStore(tmp_path / "hut.db").registry

        return Place(opened(), opened)
    client = SimulatedDynamoDB(time.time, copies=True)
    bed = Clients({"dynamodb": client, "s3": SimulatedS3(time.time)})
    name = new_options(bed).table

    def another() -> TaskRegistry:
        return DynamoRegistry(Table(client, name))

    return Place(another(), another)


def definition(name: str, version: str, **more: Any) -> TaskDefinition:
    document = {
        "name": name,
        "version": version,
        "command": [name],
        "output": {"file_argument": "-o", "json_schema": {"type": "string", "title": "é"}},
        "error": {"file_argument": "-e"},
        **more,
    }
    found = read_definition(document, [])
    assert found is not None
    return found


def entry(name: str, version: str, by: str = "ada", **more: Any) -> Registered:
    return Registered(definition(name, version, **more), by, 5.5)


def test_what_was_registered_comes_back_as_it_was(place: Place) -> None:
    assert place.registry.put(entry("a", "1", later={"x": 1}))
    found = place.another().get("a", "1")
    assert found == entry("a", "1")
    assert found is not None
    assert found.definition.document["later"] == {"x": 1}
    assert place.another().get("a", "2") is None


def test_the_same_again_changes_nothing(place: Place) -> None:
    assert place.registry.put(entry("a", "1"))
    assert not place.another().put(entry("a", "1", by="bob"))
    assert place.registry.get("a", "1") == entry("a", "1")


def test_another_one_is_refused_unless_it_replaces(place: Place) -> None:
    place.registry.put(entry("a", "1"))
    other = entry("a", "1", by="bob", description="another")
    with pytest.raises(DefinitionExists, match="registered by ada"):
        place.another().put(other)
    assert place.registry.get("a", "1") == entry("a", "1")
    assert place.another().put(other, replace=True)
    assert place.registry.get("a", "1") == other


def test_what_is_removed_is_gone_once(place: Place) -> None:
    place.registry.put(entry("a", "1"))
    assert place.another().remove("a", "1")
    assert not place.registry.remove("a", "1")
    assert place.registry.all() == []


def test_all_are_listed_by_name_the_highest_version_first(place: Place) -> None:
    for name, version in [("b", "1"), ("ab", "1"), ("a", "1.2"), ("a", "1.10"), ("a", "1.10rc1")]:
        place.registry.put(entry(name, version))
    labels = [each.definition.label for each in place.registry.all()]
    assert labels == ["a@1.10", "a@1.10rc1", "a@1.2", "ab@1", "b@1"]
    versions = [each.definition.version for each in place.registry.versions("a")]
    assert versions == ["1.10", "1.10rc1", "1.2"]


def test_names_are_found_and_the_nearest_is_told(place: Place) -> None:
    for version in ("1.2", "1.10"):
        place.registry.put(entry("hello", version))
    assert find_definition(place.registry, "hello").definition.version == "1.10"
    assert find_definition(place.registry, "hello@1.2").definition.version == "1.2"
    for label, told in [("helo", "'hello'"), ("hello@1.1", "did you mean"), ("x", "known: hello")]:
        with pytest.raises(UnknownDefinition, match=told):
            find_definition(place.registry, label)


def test_a_version_that_is_registered_meanwhile_splits_no_workflow(place: Place) -> None:
    place.registry.put(entry("a", "1"))
    known = KnownDefinitions(place.registry)
    first = known.find("a")
    place.another().put(entry("a", "2"))
    assert known.find("a") == first
    assert "there is no task" in str(known.find("b"))


def test_two_who_register_at_once_are_told_apart() -> None:
    """The second finds nothing when it looks, and the first's when it writes."""
    client = SimulatedDynamoDB(time.time, copies=True)
    bed = Clients({"dynamodb": client, "s3": SimulatedS3(time.time)})
    name = new_options(bed).table
    first = DynamoRegistry(Table(client, name))

    class Slow(Table):
        def put(self, item: Any, condition: Condition | None = None) -> None:
            first.put(entry("a", "1"))
            super().put(item, condition)

    with pytest.raises(DefinitionExists, match="ada"):
        DynamoRegistry(Slow(client, name)).put(entry("a", "1", by="bob", description="another"))
    assert first.get("a", "1") == entry("a", "1")
    assert not DynamoRegistry(Slow(client, name)).put(entry("a", "1", by="bob"))
