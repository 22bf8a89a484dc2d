"""Histories of all released versions are understood, repeated and continued by today's code.

What may differ is written down here, and only here: `_holds` (fields that were added later).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hut
from hut.lifecycle.run import end_of_run
from hut.model.records import Change
from hut.model.states import Reason, TaskState
from hut.store.port import Store
from hut.store.sqlite import SqliteStore
from tests.histories.files import FOLDER, VERSIONS, Aws, load_sqlite, recorded_stories
from tests.histories.player import Player
from tests.histories.recording import marks, record, run_of
from tests.histories.replay import disagreements, play
from tests.histories.stories import STORIES

HISTORIES = {version: recorded_stories(version) for version in VERSIONS}
CASES = [(version, name) for version, stories in HISTORIES.items() for name in stories]
LOGS = {"sqlite": "changes", "dynamodb": "changes_in_dynamodb"}


def test_the_histories_of_all_versions_are_there_and_of_no_other() -> None:
    """A version is added to `VERSIONS` when it is released; see CONTRIBUTING.md."""
    folders = sorted(path.parent.parent.name for path in FOLDER.glob("*/stories/completes.json"))
    assert folders == sorted(VERSIONS)
    assert hut.__version__ == VERSIONS[-1], "record the histories of this version first"
    for version in VERSIONS:
        kept = {path.name for path in (FOLDER / version).iterdir()}
        assert kept == {"stories", "sqlite.sql", "table.json", "bucket.json"}
    assert len(HISTORIES["0.1.0"]) == 11
    assert set(HISTORIES[VERSIONS[-1]]) == set(STORIES), "record the new stories too"


def _holds(recorded: Any, today: Any, where: str = "") -> list[str]:
    """Return what a version said otherwise than today's.

    Fields that were added later may be there; nothing that was there may be gone or differ.
    """
    if isinstance(recorded, dict) and isinstance(today, dict):
        return [
            problem
            for key, value in recorded.items()
            for problem in (
                _holds(value, today[key], f"{where}.{key}")
                if key in today
                else [f"{where}.{key} is gone"]
            )
        ]
    if isinstance(recorded, list) and isinstance(today, list) and len(recorded) == len(today):
        pairs = enumerate(zip(recorded, today, strict=True))
        return [p for i, (old, new) in pairs for p in _holds(old, new, f"{where}[{i}]")]
    return [] if recorded == today else [f"{where}: {recorded!r} became {today!r}"]


def _log(recorded: dict[str, Any], store: str) -> list[list[Any]]:
    log: list[list[Any]] = recorded.get(LOGS[store], recorded["changes"])
    return log


@pytest.mark.parametrize("store", LOGS)
@pytest.mark.parametrize(("version", "name"), CASES)
def test_a_log_plays_to_the_same_states(version: str, name: str, store: str) -> None:
    recorded = HISTORIES[version][name]
    changes = [
        Change(at, 0, task_id, attempt, TaskState(state), reason and Reason(reason), code)
        for at, task_id, attempt, state, reason, code in _log(recorded, store)
    ]
    played = play(changes, recorded["dependencies"], recorded["generated_by"])
    tasks = {task["id"]: task for task in recorded["tasks"]}
    states = {name: (TaskState(t["state"]), t["attempt"]) for name, t in tasks.items()}
    assert disagreements(played, states) == []
    for task_id, log in played.items():
        assert (log.reason, log.exit_code) == (
            tasks[task_id]["reason"],
            tasks[task_id]["exit_code"],
        )
        ended = [attempt["attempt"] for attempt in tasks[task_id]["attempts"]]
        assert [number for number in log.ended if number] == ended
    counts = {state: sum(p.state is state for p in played.values()) for state in TaskState}
    run = recorded["run"]
    assert {str(state): count for state, count in counts.items()} == run["counts"]
    stops = [step[2] for step, _ in recorded["steps"] if step[1] == "cancel"]
    end = end_of_run(counts, stopped=Reason(stops[0]) if stops else None)
    assert end is not None
    assert (end.state, end.reason, end.message) == (run["state"], run["reason"], run["message"])


def _play(player: Player, aws: Aws, steps: list[Any]) -> list[str]:
    """Take recorded steps; return which are answered otherwise than they were."""
    found: list[str] = []
    for step, answered in steps:
        aws.now = step[0]
        if (answer := json.loads(json.dumps(player.take(step)))) != answered:
            found.append(f"{step}: {answered} became {answer}")
    return found


def _differences(recorded: dict[str, Any], player: Player, store: str) -> list[str]:
    today = player.seen()
    log = _log(recorded, store)
    expected = {key: recorded[key] for key in ("run", "tasks", "dependencies", "generated_by")}
    # The id of the run is not a part of its history: phases have names of their own.
    expected["run"] = {**expected["run"], "id": today["run"]["id"]}
    return [*_holds(expected, today), *_holds(log, today["changes"], "changes")]


@pytest.mark.parametrize("store", LOGS)
@pytest.mark.parametrize(("version", "name"), CASES)
def test_the_same_steps_lead_to_the_same_end(
    version: str, name: str, store: str, tmp_path: Path
) -> None:
    recorded, aws = HISTORIES[version][name], Aws()
    opened: Store = SqliteStore(tmp_path / "hut.db") if store == "sqlite" else aws.open()
    player = Player(opened, run_of(name), recorded["workflow"])
    assert _play(player, aws, recorded["steps"]) == []
    assert _differences(recorded, player, store) == []


@pytest.mark.parametrize("store", LOGS)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_kept_is_read_and_gone_on_with(
    version: str, store: str, tmp_path: Path
) -> None:
    """Each run stands where the version left it; today's code takes the steps that are left."""
    folder, aws = FOLDER / version, Aws(FOLDER / version)
    opened: Store = load_sqlite(folder, tmp_path / "hut.db") if store == "sqlite" else aws.open()
    wrong: list[str] = []
    for name, recorded in HISTORIES[version].items():
        steps = recorded["steps"]
        for left_at in (None, *marks([step for step, _ in steps])):
            run_id = run_of(name, left_at)
            player = Player(opened, run_id, recorded["workflow"])
            player.go_on()
            found = [] if left_at is None else _play(player, aws, steps[left_at:])
            found += _differences(recorded, player, store)
            wrong += [f"{run_id}: {problem}" for problem in found]
    assert wrong == []


@pytest.mark.parametrize("store", LOGS)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_left_in_the_middle_can_be_cancelled_and_repeated(
    version: str, store: str, tmp_path: Path
) -> None:
    aws = Aws(FOLDER / version)
    opened: Store = (
        load_sqlite(FOLDER / version, tmp_path / "hut.db") if store == "sqlite" else aws.open()
    )
    for name, recorded in HISTORIES[version].items():
        for left_at in marks([step for step, _ in recorded["steps"]]):
            player = Player(opened, run_of(name, left_at), recorded["workflow"])
            player.go_on()
            aws.now = 5000.0
            player.stop_and_repeat(aws.now)
            run = player.run()
            assert (run.state, run.counts[TaskState.COMPLETED]) == ("completed", run.total), run


def test_recording_again_writes_the_same(tmp_path: Path) -> None:
    """Else a history would differ from the next one in more than what was changed."""
    texts = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        record(folder)
        texts.append({str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.*")})
    assert len(texts[0]) == len(STORIES) + 3
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "log",
    [
        [("a", 1, "running")],
        [("a", 1, "submitted"), ("a", 1, "completed"), ("a", 1, "failed")],
        [("a", 1, "submitted"), ("a", 1, "completed"), ("a", 2, "submitted")],
        [("a", 2, "submitted")],
        [("b", 1, "submitted")],
        [("a", 1, "submitted"), ("a", 1, "failed"), ("b", 1, "submitted")],
        [("b", 0, "dep_failed")],
    ],
    ids=str,
)
def test_a_log_that_breaks_the_rules_is_not_played(log: list[tuple[str, int, str]]) -> None:
    changes = [
        Change(0.0, 0, task_id, attempt, TaskState(state), None, None)
        for task_id, attempt, state in log
    ]
    with pytest.raises(AssertionError):
        play(changes, {"a": [], "b": ["a"]}, {})


def test_only_fields_that_were_added_may_differ() -> None:
    assert _holds({"a": [{"b": 1}]}, {"a": [{"b": 1, "new": 2}], "new": 3}) == []
    assert _holds({"a": [{"b": 1}]}, {"a": [{}]}) == [".a[0].b is gone"]
    assert _holds([1, 2], [1]) == [": [1, 2] became [1]"]
    assert _holds({"a": None}, {"a": 0}) == [".a: None became 0"]
