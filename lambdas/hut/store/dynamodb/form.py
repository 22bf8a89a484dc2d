"""The form of what a table holds: which Hut may work on it, and how it becomes that of a later one.

Forms are counted; the one a Hut knows is the number of its `MIGRATIONS`. One item, ``FORM``::

    form     all of the table has at least this form
    needs    the form a Hut must know to read and write what is there
    since    when a Hut that knows the next form worked on the table first
    at       how far the migration to the next form has come
    closed   why nobody may work on the table just now

A table without it has form 0. Each process looks once, before it reads anything else (`check`); the
sweep migrates (`migrate`), a piece at a time, while runs go on. What protects it: a migration begins
once no function of an earlier release can be alive; each piece is the same the second time, and the note
of how far it has come is written under the condition that nobody else has moved on. What a release may
change, and what a rollback may rely on, is in docs/decisions/018-forms.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from hut.store.dynamodb.keys import meta_key
from hut.store.dynamodb.table import Condition, Key, Lost, Pages, Table, Write
from hut.store.dynamodb.values import Item
from hut.store.port import UnusableStore

__all__ = ["FORM", "MIGRATIONS", "Migration", "check", "form_key", "migrate"]

_EARLIER_SECONDS = 180.0  # longer than any function of an earlier release lives
_PIECES = 20  # of one call: the sweep has more to do
_RUNS_AT_ONCE = 50

Piece = Callable[[Table, str], str | None]
"""Does a piece of a migration from a place on; returns the next place, or None where all is done."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What leads from one form to the next.

    Attributes
    ----------
    piece : callable
        See `Piece`; it begins at the place "".
    needs : int
        The form a Hut must know from before the first piece on; 0 where it changes nothing for those
        that don't know it.
    """

    piece: Piece
    needs: int = 0


def form_key() -> Key:
    """Return the key of the item."""
    return Key("FORM", "FORM")


def check(table: Table, known: int | None = None) -> Item:
    """Return what is said of the form.

    Parameters
    ----------
    known
        The form this Hut knows, `FORM`.

    Raises
    ------
    UnusableStore
        If a later Hut is needed, or the table is closed.
    """
    known = FORM if known is None else known
    item = table.get(form_key()) or {}
    if item.get("closed"):
        raise UnusableStore(f"table {table.name} is closed: {item['closed']}")
    needs = int(item.get("needs", 0))
    if needs > known:
        raise UnusableStore(
            f"table {table.name} needs a Hut that knows form {needs} of its data, and this one knows "
            f"{known} at most: deploy the release that worked on it last, or a later one"
        )
    return item


def migrate(
    table: Table,
    now: float,
    has_time: Callable[[], bool],
    migrations: Sequence[Migration] | None = None,
) -> int:
    """Bring the table to the newest form, as far as there is time; return its form.

    Raises
    ------
    UnusableStore
        See `check`.
    """
    migrations = MIGRATIONS if migrations is None else migrations
    form = 0
    for _ in range(_PIECES):
        item = check(table, len(migrations))
        form = int(item.get("form", 0))
        if form >= len(migrations):
            break
        if "since" not in item:
            _note(table, item, "SET #since = :now", {"now": now})
            break
        if now - float(item["since"]) < _EARLIER_SECONDS or not has_time():
            break
        migration = migrations[form]
        if int(item.get("needs", 0)) < migration.needs:
            _note(table, item, "SET #needs = :needs", {"needs": migration.needs})
            continue
        at = migration.piece(table, str(item.get("at", "")))
        if at is None:
            _note(table, item, "SET #form = :next REMOVE #at, #since", {"next": form + 1})
        else:
            _note(table, item, "SET #at = :at", {"at": at})
    return form


def _note(table: Table, before: Item, change: str, values: Item) -> None:
    """Write down how far it has come, unless somebody else has: then the next look shows it."""
    same, known = [], {}
    for name in ("form", "at", "since"):
        if name in before:
            same.append(f"#{name} = :was_{name}")
            known[f"was_{name}"] = before[name]
        else:
            same.append(f"attribute_not_exists(#{name})")
    unmoved = Condition(" AND ".join([*same, "attribute_not_exists(#closed)"]), known)
    try:
        table.update(Write(key=form_key(), change=change, values=values, condition=unmoved))
    except Lost:
        return


def _stamp_runs(table: Table, place: str) -> str | None:
    """Write into runs that go on in which form they are: they began before that was written.

    So a later migration that is to drop what only they need can see whether there are any. Under
    the run's own number of changes, which this raises: a change under way is decided anew.
    """
    pages = Pages("active", first=place or None, index=("active", "active", "listed"))
    listed = list(islice(table.query(pages), _RUNS_AT_ONCE))
    for run in listed:
        unstamped = Condition("attribute_exists(#seq) AND attribute_not_exists(#form)")
        stamp, values = "SET #form = :zero ADD #seq :one", {"zero": 0, "one": 1}
        write = Write(key=meta_key(run["sk"]), change=stamp, values=values, condition=unstamped)
        try:
            table.update(write)
        except Lost:  # it has one, or has expired
            continue
    # The last of a page is looked at again, so that no place is needed behind it.
    return str(listed[-1]["listed"]) if len(listed) == _RUNS_AT_ONCE else None


MIGRATIONS: Sequence[Migration] = (Migration(_stamp_runs),)
"""From form i to form i + 1. Released ones are never changed, and none is taken away."""

FORM = len(MIGRATIONS)
"""The form this Hut knows."""
