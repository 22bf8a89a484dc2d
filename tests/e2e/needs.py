"""What the functions of a deployment needed of what they may do, kept for after all of its tests.

Each process that runs some of these tests leaves a note in the folder that ``HUT_E2E_NOTES`` names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.e2e.deployment import Deployment
from tests.infra.synthesis import many

__all__ = ["Note", "keep_note", "read_notes"]


class Note(NamedTuple):
    """What one process saw.

    Attributes
    ----------
    files : set of str
        Whose tests it ran.
    granted, used : set of (str, str)
        Function and action.
    """

    files: set[str]
    granted: set[tuple[str, str]]
    used: set[tuple[str, str]]


def keep_note(deployment: Deployment, files: Collection[str]) -> None:
    """Write the note of this process, if somebody wants it."""
    folder = os.environ.get("HUT_E2E_NOTES")
    if folder is None:
        return
    roles: dict[str, str] = {}
    granted = []
    for function, role, action in _granted(deployment):
        roles[role] = function
        granted.append((function, action))
    told = deployment.bed.hook("iam/used")["used"]
    used = [(roles[role], action) for role, action, _ in told if role in roles]
    note = {"files": sorted(files), "granted": granted, "used": used}
    (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(note))


def read_notes() -> list[Note]:
    """Return the notes of all processes; none if nobody wanted them."""
    folder = os.environ.get("HUT_E2E_NOTES")
    texts = [] if folder is None else [path.read_text() for path in Path(folder).glob("*.json")]
    return [
        Note(
            set(note["files"]),
            {(function, action) for function, action in note["granted"]},
            {(function, action) for function, action in note["used"]},
        )
        for note in map(json.loads, texts)
    ]


def _granted(deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """Yield function, role and each action of what functions may do."""
    iam = deployment.bed.client("iam")
    for function in deployment.bed.client("lambda").list_functions()["Functions"]:
        role = function["Role"].rpartition("/")[2]
        prefix, _, short = function["FunctionName"].partition("-")
        if prefix != deployment.prefix:
            continue
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for statement in document["Statement"]:
                for action in many(statement["Action"]):
                    yield short, role, action
