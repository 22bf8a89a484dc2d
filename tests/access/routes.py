"""The reviewed table of routes and callers, `routes.md`, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hut.model.access import Role
from tests.access.tables import HERE, rows

__all__ = ["CALLERS", "ROLES", "Expected", "expectations"]

ROLES: Mapping[str, Role] = {
    "worker": Role.WORKER,
    "reader": Role.READER,
    "submitter": Role.SUBMITTER,
    "admin": Role.ADMIN,
}
CALLERS = ("unsigned", "nobody", *ROLES, "other account")


@dataclass(frozen=True)
class Expected:
    """What callers get of one route: a status of the function, or None where it is not called."""

    method: str
    route: str
    answers: Mapping[str, int | None]

    def may(self, caller: str) -> bool:
        return self.answers[caller] is not None


def expectations() -> list[Expected]:
    """Return the table, a route each."""
    table = [row for row in rows((HERE / "routes.md").read_text()) if "route" in row]
    return [
        Expected(
            row["method"],
            row["route"],
            {who: None if row[who] == "-" else int(row[who]) for who in CALLERS},
        )
        for row in table
    ]
