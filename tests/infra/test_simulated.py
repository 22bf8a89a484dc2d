"""The deployment that `tests.simulation` models has the numbers and rules of the stacks."""

from __future__ import annotations

import re

from infra.functions import FUNCTIONS
from infra.run_machine import definition
from infra.task_parts import GONE
from tests.infra.synthesis import Synthesis
from tests.infra.test_control import mapping
from tests.simulation import executions, functions, queues, streams, task_executions
from tests.simulation.world import SWEEP_SECONDS, passes, simulated


def test_functions_have_their_time_limits() -> None:
    simulated_ones = {name: each.timeout for name, each in functions.FUNCTIONS.items()}
    assert simulated_ones == {name: each.timeout for name, each in FUNCTIONS.items()}
    alone = {name for name, each in functions.FUNCTIONS.items() if each.at_once == 1}
    assert alone == {name for name, each in FUNCTIONS.items() if each.only_once}


def test_queues_deliver_as_often_and_as_much(default: Synthesis) -> None:
    with simulated(0) as world:
        for queue, name, source in (
            (world.observe_queue, "ObserveQueue", "QueueToObserve"),
            (world.wake_queue, "WakeQueue", "QueueToAdvance"),
        ):
            made, taken = default.properties("AWS::SQS::Queue", name), mapping(default, source)
            assert queue.visibility == made["VisibilityTimeout"]
            assert queue.most_received == made["RedrivePolicy"]["maxReceiveCount"]
            assert queue.batch == taken["BatchSize"]
        assert world.observe_queue.at_once == 2
    assert mapping(default, "QueueToObserve")["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert queues.LONGEST_DELAY == 900


def test_the_stream_is_told_as_often_and_as_much(default: Synthesis) -> None:
    found = mapping(default, "StreamToAdvance")
    assert found["BatchSize"] == streams.BATCH
    assert found["MaximumRetryAttempts"] == streams.RETRIES


def test_the_sweep_comes_as_often(default: Synthesis) -> None:
    schedule = default.properties("AWS::Scheduler::Schedule")
    minutes = re.fullmatch(r"rate\((\d+) minutes\)", schedule["ScheduleExpression"])
    assert minutes is not None
    assert int(minutes[1]) * 60 == SWEEP_SECONDS


def test_the_same_events_pass(default: Synthesis) -> None:
    for name, status in (("JobEnds", "SUCCEEDED"), ("JobEnds", "FAILED"), ("JobStarts", "RUNNING")):
        rule = default.properties("AWS::Events::Rule", name)["EventPattern"]["detail"]
        told = {key: values[0] for key, values in rule.get("parameters", {}).items()}
        assert status in rule["status"]
        assert passes({"status": status, "parameters": told})
        assert rule["arrayProperties"] == {"size": [{"exists": False}]}
        assert not passes({"status": status, "parameters": told, "arrayProperties": {"size": 2}})
        assert passes({"status": status, "parameters": told, "arrayProperties": {"index": 1}})
    assert not passes({"status": "RUNNING", "parameters": {}})
    assert not passes({"status": "RUNNABLE", "parameters": {"hutStarts": "told"}})


def test_tasks_on_instances_are_told_of_by_the_same_events(default: Synthesis) -> None:
    machine = default.properties("AWS::StepFunctions::StateMachine", "Control/Task")
    assert task_executions.MACHINE.endswith(f":{machine['StateMachineName']}")
    rule = default.properties("AWS::Events::Rule", "TaskEnds")["EventPattern"]
    assert set(rule["detail"]["status"]) == {"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"}
    commands = default.properties("AWS::Events::Rule", "TaskCommands")["EventPattern"]["detail"]
    [[unwanted]] = [each.values() for each in commands["status"]]
    ended = {"Success", "Failed", "TimedOut", "Cancelled"}
    assert not ended & set(unwanted)
    hosts = default.properties("AWS::Events::Rule", "TaskHosts")["EventPattern"]["detail"]
    assert set(hosts["state"]) <= set(GONE)


def test_the_machine_has_the_states_and_repeats_that_are_modelled() -> None:
    states = definition()["States"]
    ends = {"HowItEnded", "Completed", "Failed"}
    assert set(states) - ends == {"AnyTasks", "Register", "Start", "Expire", "Finish", "Abandon"}
    block = states["Register"]["ItemProcessor"]["States"]["StoreBlock"]
    for state in (block, states["Start"], states["Expire"], states["Finish"], states["Abandon"]):
        most = {each["ErrorEquals"][0]: each["MaxAttempts"] for each in state["Retry"]}
        assert most["States.ALL"] == executions.RETRIES
        assert most.get("NotRegistered", executions.NOT_REGISTERED_RETRIES) == 36
        assert most.get("States.Timeout", 0) == 0
    assert states["Register"]["MaxConcurrency"] == executions.BLOCKS_AT_ONCE
    assert states["Expire"]["TimeoutSeconds"] == executions.DAY
    for name in ("Register", "Start", "Expire", "Finish"):
        assert states[name]["Catch"][-1]["Next"] == "Abandon"
    assert [each["Next"] for each in states["Start"]["Catch"]] == ["Expire", "Abandon"]
