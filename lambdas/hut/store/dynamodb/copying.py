"""Bring what a backup holds back into the table that is in use; the functions stand still meanwhile.

DynamoDB restores into a table of another name, without stream, expiry or alarms, which nothing of the
deployment knows. So what differs is copied back, item by item, and what came since is deleted. Two
things of the present are kept, because the world outside has moved on:

- the token by which the execution of a run waits, if there is a newer one;
- numbers that name things outside: a run goes on behind the epochs (names of jobs) and generations
  (names of executions) that were used since.

A backup is not of one moment: DynamoDB promises each item, not what was written in one transaction. A
run that goes on therefore takes up a new generation (`Repeating.take_up`), which works out of the
states of its tasks what stands elsewhere.

What protects it: the table is closed (see `form`) before the first write and opened after the last.
All of it may be done again from the start, as often as it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from hut.store.dynamodb.form import check, form_key
from hut.store.dynamodb.keys import backend_key, meta_key
from hut.store.dynamodb.table import Key, Table, Write
from hut.store.dynamodb.values import Item

__all__ = ["Copied", "bring_back", "close", "count_active", "open_again", "runs_since"]

_AT_ONCE = 100  # items per BatchGetItem
_TOKEN = "token"  # noqa: S105 - the kind of the items that hold one


@dataclass
class Copied:
    """What became of a table.

    Attributes
    ----------
    written, deleted, same : int
        Items.
    runs : list of str
        Runs that go on and have changed since the backup: to be taken up.
    """

    written: int = 0
    deleted: int = 0
    same: int = 0
    runs: list[str] = field(default_factory=list)


def close(table: Table, why: str) -> None:
    """Let no process that starts from now on work on the table."""
    table.update(Write(key=form_key(), change="SET #closed = :why", values={"why": why}))


def open_again(backup: Table, table: Table) -> None:
    """Let processes work on the table again, which has the backup's form."""
    there = backup.get(form_key()) or {}
    key = form_key()
    kept = {name: value for name, value in there.items() if name not in ("closed", "since")}
    table.put({"pk": key.pk, "sk": key.sk, **kept})


def runs_since(backup: Table, table: Table) -> list[Item]:
    """Return the items of runs that the backup does not know, oldest first."""
    found: list[Item] = []
    for items in _chunks(item for item in table.scan() if item.get("kind") == "run"):
        there = backup.get_many([_key(item) for item in items])
        found.extend(item for item in items if _key(item) not in there)
    return sorted(found, key=lambda run: (run["created"], run["id"]))


def bring_back(backup: Table, table: Table, now: float) -> Copied:
    """Make the table what the backup holds, but for what the module's docstring says.

    Raises
    ------
    UnusableStore
        If the backup is of a later Hut.
    """
    check(backup)
    copied = Copied()
    for items in _chunks(_lasting(backup, now)):
        present = table.get_many([_key(item) for item in items])
        wanted = [_as_it_goes_on(item, present.get(_key(item)), copied) for item in items]
        changed = [item for item in wanted if present.get(_key(item)) != item]
        table.put_all(changed)
        copied.written += len(changed)
        copied.same += len(items) - len(changed)
    for items in _chunks(item for item in table.scan() if _key(item) != form_key()):
        there = backup.get_many([_key(item) for item in items])
        gone = [item for item in items if _key(item) not in there and not _keeps(backup, item)]
        table.delete_all([_key(item) for item in gone])
        copied.deleted += len(gone)
    return copied


def count_active(table: Table) -> dict[str, int]:
    """Let backends know how many tasks are active on them, from what runs say; return it."""
    active: Counter[str] = Counter()
    names: set[str] = set()
    for item in table.scan():
        if item["pk"].startswith("BACKEND#"):
            names.add(item["pk"].removeprefix("BACKEND#"))
        elif item.get("kind") == "run":
            for name, number in item.items():
                if name.startswith("on_"):
                    active[name.removeprefix("on_")] += int(number)
    for name in sorted(names | active.keys()):
        values = {"busy": active[name]}
        table.update(Write(key=backend_key(name), change="SET #busy = :busy", values=values))
    return {name: active[name] for name in sorted(names | active.keys())}


def _lasting(backup: Table, now: float) -> Iterator[Item]:
    """Yield what a backup holds and what has not expired since."""
    for item in backup.scan():
        if _key(item) != form_key() and float(item.get("ttl", now)) >= now:
            yield item


def _as_it_goes_on(item: Item, present: Item | None, copied: Copied) -> Item:
    """Return an item of the backup as it is to be in the table."""
    if item.get("kind") == _TOKEN and present is not None:
        return present
    if item.get("kind") != "run" or item == present:
        return item
    both = [item, present or item]
    # Who reads the log of changes goes on behind the number he has seen.
    numbers = {name: max(int(each[name]) for each in both) + 1 for name in ("seq", "epoch")}
    used = max(
        int(each.get(name, 0)) for each in both for name in ("generation", "past", "restored")
    )
    if item.get("ended") is not None:
        return item | numbers | {"past": used}
    copied.runs.append(item["id"])
    return item | numbers | {"restored": used + 1}


def _keeps(backup: Table, item: Item) -> bool:
    """Say whether an item that the backup does not have stays: the token of a run it has."""
    run_id = item["pk"].removeprefix("RUN#")
    return item.get("kind") == _TOKEN and backup.get(meta_key(run_id)) is not None


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _AT_ONCE)):
        yield chunk


def _key(item: Item) -> Key:
    return Key(item["pk"], item["sk"])
