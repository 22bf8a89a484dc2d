"""What hutctl prints for people does nothing to their terminal, whoever wrote it.

What a task printed (``logs``), its script and its command lines (``failures``) are handed on byte by
byte, as ``cat`` does: they are for other programs too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.fuzz.hostile import CONTROL, EVERYTHING
from tests.hutctl_process import Hut

_ALLOWED = frozenset("\n\t")


def obeyed(text: str) -> list[str]:
    """Return the characters that a terminal would obey."""
    return sorted({c for c in text if (c < " " and c not in _ALLOWED) or "\x7f" <= c < "\xa0"})


HOSTILE = "".join(CONTROL)


@pytest.fixture
def plain(hut: Hut) -> Hut:
    hut.environment["NO_COLOR"] = "1"
    return hut


def test_what_is_told_of_a_hostile_run_is_told_harmlessly(plain: Hut) -> None:
    tasks = [
        {"id": "fails", "command": f"printf '%s' '{HOSTILE}' >&2; exit 3", "retries": 1},
        {"id": "lost", "command": "true", "working_dir": "$(x)nowhere", "tags": {"k": HOSTILE}},
        {"id": "after", "command": "true", "deps": ["fails"], "env_vars": {"V": HOSTILE}},
    ]
    file = plain.write(tasks, description=HOSTILE, env_vars={"W": HOSTILE}, notify=HOSTILE)
    told = [plain("run", file, exit_code=1)]
    told += [plain("plan", file), plain("show", "last"), plain("runs"), plain("tasks", "last")]
    told += [plain("why", "last", task) for task in ("fails", "lost", "after")]
    told += [plain("cost", "last", exit_code=2), plain("tasks", "last", "--match", "*[a-z]*")]
    for each in told:
        assert obeyed(each.stdout) == []
        assert obeyed(each.stderr) == []


WRONG = [
    {"id": HOSTILE, "command": "true"},
    {"command": "true", HOSTILE: 1},
    {"command": "true", "deps": [HOSTILE]},
    {"command": "true", "memory": HOSTILE},
    {"command": "true", "time_limit": HOSTILE},
    {"command": "true", "gres": HOSTILE},
    {"command": "true", "retry_on": [HOSTILE]},
    {"command": "true", "env_vars": {HOSTILE: "x"}},
    {"command": "true", "environment": HOSTILE},
    {"command": "true", "backend": HOSTILE},
    {"command": "true", "output_file": HOSTILE},
    {"command": "true", "tags": {HOSTILE: "x"}},
]


def test_what_is_wrong_with_a_hostile_file_is_told_harmlessly(plain: Hut) -> None:
    tasks = [{"id": f"t{n}", **task} for n, task in enumerate(WRONG)]
    told = plain("plan", plain.write(tasks), exit_code=2)
    assert obeyed(told.stdout + told.stderr) == []
    assert all(f"t{n}" in told.stderr for n in range(1, len(tasks)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", HOSTILE),
        ("plan", HOSTILE),
        ("run", HOSTILE),
        ("runs", "--state", HOSTILE),
        ("tasks", "last", "--state", HOSTILE),
        ("logs", "last", HOSTILE),
        (HOSTILE,),
        ("--target", HOSTILE, "runs"),
        ("config", "check", "--config", HOSTILE),
    ],
)
def test_hostile_arguments_are_refused_harmlessly(plain: Hut, arguments: tuple[str, ...]) -> None:
    told = plain(*arguments, exit_code=2)
    assert obeyed(told.stdout + told.stderr) == []
    assert "Traceback" not in told.stderr


def test_a_hostile_configuration_is_refused_harmlessly(plain: Hut) -> None:
    data = {"environments": [{"name": HOSTILE, HOSTILE: 1}], HOSTILE: 2}
    (plain.folder / "hut.yaml").write_text(json.dumps(data))
    told = plain("config", "check", exit_code=2)
    assert obeyed(told.stdout + told.stderr) == []


@pytest.mark.parametrize("name", [b"w\xff.json", b"w\x1b[2J.json", b"w\n.json", b"-w.json"])
def test_a_file_may_have_any_name(plain: Hut, name: bytes) -> None:
    path = os.fsencode(plain.folder) + b"/" + name
    with open(path, "wb") as file:
        file.write(b'[{"id": "a", "command": "printf %s \\"$HUT_WORKFLOW\\""}]')
    done = subprocess.run(
        [sys.executable, "-m", "hutctl", "run", "--", path],
        env=plain.env,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert obeyed(done.stderr.decode()) == []
    shown = plain("runs")
    assert obeyed(shown.stdout) == []


def test_the_corpus_is_worth_its_name() -> None:
    assert len(set(EVERYTHING)) == len(EVERYTHING)
    assert obeyed(HOSTILE)
