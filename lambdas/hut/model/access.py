"""Who may call which route of the REST API: one table, from which everything else follows.

The stack makes IAM policies of it (`infra.access`), hutctl says which of them a caller lacks, and a
test holds it against the OpenAPI document: a route that is not in it fails the test. AWS alone
decides about a request, before the function is called; nothing here checks one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import cache
from types import MappingProxyType

__all__ = ["ROUTES", "Role", "allowed", "includes", "patterns_of", "policy_name", "role_needed"]


class Role(IntEnum):
    """What somebody may do; each role may also do what is said of those below it, but for workers."""

    WORKER = 0
    """Join a pool, take tasks and say how they ended: of machines, and of nobody else."""

    READER = 1
    """Look at everything but the audit record, and plan, which stores nothing."""

    SUBMITTER = 2
    """Start, stop and repeat runs, whoever began them."""

    ADMIN = 3
    """Everything: also change what holds for all runs, and read the audit record."""


ROUTES: Mapping[tuple[str, str], Role] = MappingProxyType(
    {
        ("GET", "/audit"): Role.ADMIN,
        ("DELETE", "/backends/{name}"): Role.ADMIN,
        ("DELETE", "/environments/{name}"): Role.ADMIN,
        ("PUT", "/backends/{name}"): Role.ADMIN,
        ("PUT", "/config"): Role.ADMIN,
        ("PUT", "/environments/{name}"): Role.ADMIN,
        ("GET", "/backends"): Role.READER,
        ("GET", "/backends/{name}"): Role.READER,
        ("GET", "/config"): Role.READER,
        ("GET", "/config/history"): Role.READER,
        ("GET", "/config/versions/{number}"): Role.READER,
        ("GET", "/environments"): Role.READER,
        ("GET", "/environments/{name}"): Role.READER,
        ("GET", "/health"): Role.READER,
        ("GET", "/openapi.json"): Role.READER,
        ("GET", "/jobs"): Role.READER,
        ("GET", "/pools"): Role.READER,
        ("GET", "/pools/{pool}"): Role.READER,
        ("POST", "/pools/{pool}/drain"): Role.ADMIN,
        ("POST", "/pools/{pool}/resume"): Role.ADMIN,
        ("POST", "/pools/{pool}/workers/{worker}/drain"): Role.ADMIN,
        ("POST", "/pools/{pool}/workers/{worker}/resume"): Role.ADMIN,
        ("DELETE", "/pools/{pool}/workers/{worker}"): Role.WORKER,
        ("POST", "/pools/{pool}/workers"): Role.WORKER,
        ("POST", "/pools/{pool}/workers/{worker}/turn"): Role.WORKER,
        ("GET", "/runs"): Role.READER,
        ("GET", "/runs/{run}"): Role.READER,
        ("GET", "/runs/{run}/changes"): Role.READER,
        ("GET", "/runs/{run}/failures"): Role.READER,
        ("GET", "/runs/{run}/tasks"): Role.READER,
        ("GET", "/runs/{run}/tasks/{task}"): Role.READER,
        ("GET", "/runs/{run}/tasks/{task}/logs/error"): Role.READER,
        ("GET", "/runs/{run}/tasks/{task}/logs/output"): Role.READER,
        ("GET", "/runs/{run}/tasks/{task}/script"): Role.READER,
        ("GET", "/runs/{run}/tasks/{task}/why"): Role.READER,
        ("POST", "/plan"): Role.READER,
        ("POST", "/runs"): Role.SUBMITTER,
        ("POST", "/runs/{run}/cancel"): Role.SUBMITTER,
        ("POST", "/runs/{run}/close"): Role.SUBMITTER,
        ("POST", "/runs/{run}/release"): Role.SUBMITTER,
        ("POST", "/runs/{run}/retry"): Role.SUBMITTER,
        ("POST", "/runs/{run}/tasks"): Role.SUBMITTER,
        ("GET", "/runs/{run}/tasks/{task}/document"): Role.READER,
        ("POST", "/uploads"): Role.SUBMITTER,
        ("GET", "/submissions"): Role.READER,
        # What others run is not changed by a new version; it is by another one in its place.
        ("DELETE", "/tasks"): Role.ADMIN,
        ("GET", "/tasks"): Role.READER,
        ("POST", "/tasks"): Role.SUBMITTER,
        ("PUT", "/tasks"): Role.ADMIN,
    }
)
"""The least role of each route: its method, and its path as the OpenAPI document writes it.

A part in braces becomes ``*`` in a policy, which matches slashes too. So no route may be a beginning
and an end of which a route of a higher role, with the same method, can be made; a test tries.
"""

_PART = re.compile(r"\{[^}]*\}")


def includes(role: Role, least: Role) -> bool:
    """Say whether a role may do what another one is needed for at least."""
    return role is Role.ADMIN or role is least or Role.WORKER < least < role


def patterns_of(role: Role) -> list[str]:
    """Return what a role may invoke, as the ends of ``execute-api`` ARNs: ``GET/runs/*``.

    What another pattern says already is left out: a managed policy has 6,144 characters. People do not
    get what workers may: who reports for a worker says how the tasks of others ended.
    """
    if role is Role.ADMIN:
        return ["*/*"]
    found = {
        f"{method}{_PART.sub('*', path)}"
        for (method, path), least in ROUTES.items()
        if includes(role, least)
    }
    return sorted(
        pattern
        for pattern in found
        if not any(other != pattern and _matches(other, pattern) for other in found)
    )


def policy_name(prefix: str, role: Role) -> str:
    """Return the name of a role's IAM policy in the deployment of a prefix: ``HutReader``."""
    return f"{prefix.capitalize()}{role.name.capitalize()}"


def role_needed(method: str, path: str) -> Role | None:
    """Return the least role that may send a request; None if there is no such route."""
    for (known, route), role in ROUTES.items():
        if known == method and _as_expression(route).fullmatch(path):
            return role
    return None


def allowed(patterns: Iterable[str], method: str, path: str) -> bool:
    """Say whether IAM lets a request through, as it matches resources: ``*`` is any text."""
    return any(_matches(pattern, f"{method}{path}") for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


@cache
def _as_expression(route: str) -> re.Pattern[str]:
    parts = (re.escape(part) for part in _PART.split(route))
    return re.compile("[^/]+".join(parts))
