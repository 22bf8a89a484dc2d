"""Records what this version of Hut makes of the stories.

Each story is played to its end, and once more up to each of its marks: the run of such a phase is
named ``STORY.STEP``, with the number of the step at which it was left. All runs are in one store.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hut.store.port import Store
from hut.store.sqlite import SqliteStore
from tests.histories.files import Aws, dump_sqlite, write_story
from tests.histories.player import Player
from tests.histories.stories import STORIES

__all__ = ["marks", "record", "run_of"]


def run_of(story: str, step: int | None = None) -> str:
    """Return the id of a story's run: of all of it, or of a phase."""
    name = story.replace(" ", "-")
    return name if step is None else f"{name}.{step}"


def marks(steps: list[list[Any]]) -> list[int]:
    """Return the numbers of the steps that are marks."""
    return [number for number, step in enumerate(steps) if step[1] == "mark"]


def record(folder: Path) -> None:
    """Write the histories of this version to a folder, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chance = random.Random(0)  # names that are drawn are drawn again when it is recorded again

    def drawn() -> uuid.UUID:
        return uuid.UUID(int=chance.getrandbits(128))

    with mock.patch("uuid.uuid4", drawn), tempfile.TemporaryDirectory() as scratch:
        path, aws = Path(scratch) / "hut.db", Aws()
        sqlite, dynamodb = SqliteStore(path), aws.open()

        def turn_clock(at: float) -> None:
            aws.now = at

        for name in STORIES:
            _record_story(folder, name, sqlite, dynamodb, turn_clock)
        sqlite.close()
        dump_sqlite(path, folder)
        aws.write(folder)


def _record_story(
    folder: Path,
    name: str,
    sqlite: SqliteStore,
    dynamodb: Store,
    turn_clock: Callable[[float], None],
) -> None:
    workflow, steps = STORIES[name]

    def play(store: Store, run_id: str, until: int | None = None) -> tuple[list[Any], Any]:
        player, answers = Player(store, run_id, workflow), []
        for step in steps[:until]:
            turn_clock(step[0])
            answers.append(player.take(step))
        return answers, player.seen()

    for step in marks(steps):
        for store in (sqlite, dynamodb):
            play(store, run_of(name, step), step)
    answers, seen = play(sqlite, run_of(name))
    answers_aws, seen_aws = play(dynamodb, run_of(name))
    assert answers == answers_aws, f"the stores answer differently in: {name}"
    changes, changes_aws = seen.pop("changes"), seen_aws.pop("changes")
    assert seen == seen_aws, f"the stores end differently in: {name}"
    recorded = {
        "story": name,
        "workflow": workflow,
        "steps": [[step, answer] for step, answer in zip(steps, answers, strict=True)],
        **seen,
        "changes": changes,
    }
    if changes_aws != changes:
        recorded["changes_in_dynamodb"] = changes_aws
    write_story(folder / "stories", name, recorded)
