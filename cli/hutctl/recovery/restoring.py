"""Put a deployment's table back to what a backup holds, and what goes on outside with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import ClientError

from hut.store.dynamodb import DynamoStore
from hut.store.dynamodb.copying import (
    bring_back,
    close,
    count_active,
    open_again,
    runs_since,
)
from hut.store.dynamodb.table import Table
from hut.store.dynamodb.values import Item
from hut.store.port import StoreError
from hutctl.recovery.leftovers import Leftover, end, find
from hutctl.recovery.place import Place

__all__ = ["Report", "end_leftovers", "restore"]

_CLOSED = "it is being restored; do it again until it says that all is done: hutctl recover restore"
_PAUSE = 2.0  # seconds between looks at what was told to end


@dataclass
class Report:
    """What a restore did.

    Attributes
    ----------
    lost : list of dict
        Runs that came since the backup and are gone.
    taken_up : list of str
        Runs that go on from where the backup has them.
    broken : dict of str to str
        Runs of which the backup does not hold all, and what is missing.
    ended : list of dict
        Jobs and executions that nothing in the table wants.
    """

    written: int = 0
    deleted: int = 0
    same: int = 0
    lost: list[dict[str, Any]] = field(default_factory=list)
    taken_up: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    ended: list[dict[str, str]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON; what an earlier try has lost stays in it."""
        if path.exists():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            known = {run["id"] for run in self.lost}
            self.lost += [run for run in earlier["lost"] if run["id"] not in known]
            known = {each["handle"] for each in self.ended}
            self.ended += [each for each in earlier["ended"] if each["handle"] not in known]
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def restore(
    place: Place,
    backup: Table,
    path: Path,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    say: Callable[[str], None],
) -> Report:
    """Restore; the same the second time, so what dies on the way is just done again.

    Raises
    ------
    click.UsageError
        If the deployment does not stand still, or there is no such table.
    UnusableStore
        If the backup is of a later Hut.
    """
    if not place.stands_still():
        raise click.UsageError(
            "functions may be called; let them stand still: hutctl recover pause"
        )
    if backup.name == place.table.name:
        raise click.UsageError(
            "that is the table in use; name the one AWS restored the backup into"
        )
    _there(place, backup)
    report = Report()
    close(place.table, _CLOSED)
    report.lost = [_lost(item) for item in runs_since(backup, place.table)]
    report.save(path)  # before they are gone
    say(f"runs since the backup, which will be gone: {len(report.lost):,}")
    copied = bring_back(backup, place.table, clock())
    report.written, report.deleted, report.same = copied.written, copied.deleted, copied.same
    say(f"items written {copied.written:,}, deleted {copied.deleted:,}, as before {copied.same:,}")
    store = place.store()
    for run_id in _to_take_up(place.table):
        _take_up(store, run_id, clock(), report)
    say(f"runs that go on from the backup: {len(report.taken_up):,}")
    for run_id, why in report.broken.items():
        say(f"run {run_id} can't go on: {why}")
    report.active = count_active(place.table)
    end_leftovers(place, report, sleep=sleep, say=say)
    report.save(path)
    open_again(backup, place.table)
    return report


def end_leftovers(
    place: Place,
    report: Report,
    *,
    sleep: Callable[[float], None],
    say: Callable[[str], None],
) -> None:
    """End what goes on and nobody wants, and wait until it has ended."""
    seen: dict[str, Leftover] = {}
    # Another store each time: what one has read of a run it keeps.
    while found := find(place, place.store()):
        new = [each for each in found if each.handle not in seen]
        if new:
            say(f"jobs and executions that nothing wants, told to end: {len(new):,}")
        end(place, new)
        seen.update((each.handle, each) for each in new)
        sleep(_PAUSE)
    report.ended += [each.document() for each in seen.values()]


def _to_take_up(table: Table) -> list[str]:
    """Return the runs that go on; of those that an earlier try began with, what is left to do."""
    return sorted(
        item["id"]
        for item in table.scan()
        if item.get("kind") == "run" and ("restored" in item or "keeps" in item)
    )


def _take_up(store: DynamoStore, run_id: str, now: float, report: Report) -> None:
    try:
        store.take_up(run_id, now)
    except (StoreError, ClientError) as error:  # the others go on
        report.broken[run_id] = str(error)
    else:
        report.taken_up.append(run_id)


def _there(place: Place, backup: Table) -> None:
    try:
        found = place.client("dynamodb").describe_table(TableName=backup.name)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise click.UsageError(f"there is no table {backup.name!r}") from None
    if found["TableStatus"] != "ACTIVE":
        raise click.UsageError(
            f"table {backup.name} is {found['TableStatus']}; wait for it: "
            f"aws dynamodb wait table-exists --table-name {backup.name}"
        )


def _lost(item: Item) -> dict[str, Any]:
    """Return what there is to tell of a run that will be gone."""
    names = ("id", "workflow", "owner", "created", "state", "total")
    return {name: item[name] for name in names}
