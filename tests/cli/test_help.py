"""What hutctl says of itself, and where shared options may stand."""

from __future__ import annotations

import json
import re

import pytest

from tests.hutctl_process import Hut

COMMANDS = [
    *("run", "submit", "plan", "watch", "resume", "retry", "cancel", "close"),
    *("runs", "show", "tasks", "logs", "script", "why", "failures"),
    *("recover", "config", "doctor", "completion", "jobs", "target", "backends", "environments"),
    "setup",
]


def test_the_overview_lists_every_command_with_a_line(hut: Hut) -> None:
    text = hut("--help").stdout
    listed = dict(re.findall(r"^  ([a-z]+)  +(\S.*)$", text, re.MULTILINE))
    assert listed.keys() >= set(COMMANDS)
    assert text == hut("-h").stdout
    assert "Examples:" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert not (hut.folder / "home").exists()


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        *(f"config {each}" for each in ("check", "show", "apply", "diff", "history")),
        "target add",
        "setup ec2",
        *(f"recover {each}" for each in ("pause", "resume", "restore", "check")),
    ],
)
def test_every_command_has_help_with_examples(hut: Hut, command: str) -> None:
    done = hut(*command.split(), "--help")
    assert "Examples:" in done.stdout
    assert f"hutctl {command}" in done.stdout.partition("Examples:")[2]
    assert "--json" in done.stdout
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) <= 100


def test_help_shows_the_options_of_the_contract(hut: Hut) -> None:
    options = {
        "run": "--detach --max-concurrent --env --name --tag --backend --idempotency-key --dry-run",
        "submit": "--bundlesize --bundlewait --max-retries --eager --forever --restart --no-db --initdb "
        "--print --failures --no-confirm --bind --port --auth --template --to --tag --group --cores "
        "--memory --timeout --detach --dry-run",
        "plan": "--scripts",
        "tasks": "--state --match",
        "logs": "--follow --attempt --tail --error",
        "retry": "--all",
        "failures": "--final --with-tags",
        "config apply": "--message --dry-run",
        "config diff": "--versions",
        "config show": "--version",
    }
    for command, names in options.items():
        text = hut(*command.split(), "--help").stdout
        for name in [*names.split(), "--json", "--target", "--verbose"]:
            assert name in text, (command, name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("runn", "'run'"), ("tsaks", "'tasks'"), ("fail", "'failures'"), ("statu", "--help")],
)
def test_an_unknown_command_names_the_nearest(hut: Hut, typed: str, meant: str) -> None:
    done = hut(typed, exit_code=2)
    assert f"'{typed}'" in done.stderr
    assert meant in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["workflow.json", "study/w.yaml", "w.yml"])
def test_a_file_in_place_of_a_command_hints_at_run(hut: Hut, name: str) -> None:
    assert f"run {name}" in hut(name, exit_code=2).stderr


def test_an_unknown_option_names_the_nearest(hut: Hut) -> None:
    assert "--max-concurrent" in hut("run", "w.json", "--max-concurent", "3", exit_code=2).stderr


def test_version(hut: Hut) -> None:
    assert re.fullmatch(r"hutctl \d+\.\d+\.\d+\S*\n", hut("--version").stdout)


def test_shared_options_stand_before_or_after_the_command(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": "true"}]))
    (hut.folder / "c.yaml").write_text("")
    before = hut("--json", "--target", "local", "-v", "--config", "c.yaml", "show", "last")
    after = hut("show", "last", "--json", "--target", "local", "-v", "--config", "c.yaml")
    between = hut("--json", "show", "--target", "local", "last", "--verbose")
    assert before.stdout == after.stdout == between.stdout
    assert json.loads(before.stdout)["state"] == "completed"
    assert before.stderr == after.stderr
    assert hut("--json", "config", "show").stdout == hut("config", "--json", "show").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_names_hutctl(hut: Hut, shell: str) -> None:
    done = hut("completion", shell)
    assert "hutctl" in done.stdout
    assert done.stderr == ""
