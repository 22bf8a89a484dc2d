from __future__ import annotations

import json
from typing import Any

import pytest

from hut.store.dynamodb.log import ENDED, LOG, SIGNALS
from tests.infra.synthesis import Synthesis, flat

LIMITS = {
    "api": (29, 1769),
    "register": (120, 512),
    "advance": (60, 512),
    "observe": (60, 512),
    "sweep": (120, 512),
    "finish": (60, 256),
    "check": (18, 1024),
}
WAKERS = {"advance", "sweep"}


def functions(synthesis: Synthesis) -> dict[str, Any]:
    found = synthesis.resources("AWS::Lambda::Function").items()
    return {
        resource["Properties"]["FunctionName"].rpartition("-")[2]: resource["Properties"]
        for name, resource in found
        if "Control/" in name
    }


def mapping(synthesis: Synthesis, name: str) -> dict[str, Any]:
    return synthesis.properties("AWS::Lambda::EventSourceMapping", name)


@pytest.mark.parametrize("name", LIMITS)
def test_a_function(default: Synthesis, name: str) -> None:
    function = functions(default)[name]
    assert (function["Timeout"], function["MemorySize"]) == LIMITS[name]
    assert function["FunctionName"] == f"hut-{name}"
    assert function["Handler"] == f"handlers.{name}.handler"
    assert function["Runtime"] == "python3.12"
    assert function["Architectures"] == ["arm64"]
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert "Logs" in flat(function["LoggingConfig"]["LogGroup"])
    assert name.capitalize() in flat(function["Role"])


@pytest.mark.parametrize("name", LIMITS)
def test_the_variables_of_a_function(default: Synthesis, name: str) -> None:
    variables = functions(default)[name]["Environment"]["Variables"]
    common = {
        "HUT_TABLE",
        "HUT_BUCKET",
        "HUT_PREFIX",
        "HUT_BACKENDS",
        "HUT_RETENTION_DAYS",
        "POWERTOOLS_SERVICE_NAME",
        "LOG_LEVEL",
    }
    special = {"HUT_WAKE_QUEUE_URL"} if name in WAKERS else set()
    special |= {"HUT_STATE_MACHINE_ARN"} if name in {"api", "sweep"} else set()
    if name in {"api", "advance", "observe", "sweep"}:  # what takes things out of pools
        special |= {"HUT_OBSERVE_QUEUE_URL"}
    special |= {"HUT_SUBMIT_RATE"} if name in {"advance", "sweep"} else set()
    special |= {"HUT_AUDIT_TABLE", "HUT_AUDIT_DAYS"} if name == "api" else set()
    assert set(variables) == common | special
    assert variables["HUT_PREFIX"] == "hut"
    assert variables["HUT_RETENTION_DAYS"] == "90"
    assert variables["POWERTOOLS_SERVICE_NAME"] == f"hut-{name}"


def test_the_sweep_runs_alone_and_is_not_made_up_for(default: Synthesis) -> None:
    reserved = {
        name: function.get("ReservedConcurrentExecutions")
        for name, function in functions(default).items()
    }
    assert {name: count for name, count in reserved.items() if count is not None} == {"sweep": 1}
    config = default.properties("AWS::Lambda::EventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 0


def test_the_reservation_can_be_left_out(borrowed: Synthesis) -> None:
    assert "ReservedConcurrentExecutions" not in functions(borrowed)["sweep"]


def test_the_sweep_is_scheduled(default: Synthesis) -> None:
    schedule = default.properties("AWS::Scheduler::Schedule")
    assert schedule["ScheduleExpression"] == "rate(2 minutes)"
    assert schedule["State"] == "ENABLED"
    assert "SweepFunction" in flat(schedule["Target"]["Arn"])
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0


def test_the_stream_is_followed(default: Synthesis) -> None:
    found = mapping(default, "StreamToAdvance")
    assert "AdvanceFunction" in flat(found["FunctionName"])
    assert "StreamArn" in flat(found["EventSourceArn"])
    assert found["StartingPosition"] == "TRIM_HORIZON"
    assert found["BatchSize"] == 100
    assert found["MaximumBatchingWindowInSeconds"] == 1
    assert found["BisectBatchOnFunctionError"] is True
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert found["MaximumRetryAttempts"] == 20
    assert "StreamDeadLetters" in flat(found["DestinationConfig"]["OnFailure"]["Destination"])


def test_only_ends_and_signals_pass_the_streams_filter(default: Synthesis) -> None:
    filters = mapping(default, "StreamToAdvance")["FilterCriteria"]["Filters"]
    assert [json.loads(entry["Pattern"]) for entry in filters] == [
        {"dynamodb": {"NewImage": {"kind": {"S": [LOG]}, ENDED: {"N": [{"exists": True}]}}}},
        {"dynamodb": {"NewImage": {"kind": {"S": [LOG]}, SIGNALS: {"S": [{"exists": True}]}}}},
    ]


def test_the_queues_are_read_in_batches(default: Synthesis) -> None:
    observe = mapping(default, "QueueToObserve")
    assert "ObserveFunction" in flat(observe["FunctionName"])
    assert observe["BatchSize"] == 500
    assert observe["MaximumBatchingWindowInSeconds"] == 1
    assert observe["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert observe["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    wake = mapping(default, "QueueToAdvance")
    assert "AdvanceFunction" in flat(wake["FunctionName"])
    assert wake["BatchSize"] == 10
    assert wake["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_queues_are_encrypted_and_take_tls_only(default: Synthesis) -> None:
    queues = default.resources("AWS::SQS::Queue")
    assert len(queues) == 6
    assert all(queue["Properties"]["SqsManagedSseEnabled"] for queue in queues.values())
    denied = {
        flat(reference)
        for policy in default.resources("AWS::SQS::QueuePolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for reference in policy["Properties"]["Queues"]
    }
    assert denied == {f"<{name.partition('/')[2]}>" for name in queues}


@pytest.mark.parametrize("name", ["ObserveQueue", "WakeQueue"])
def test_what_is_not_processed_is_kept(default: Synthesis, name: str) -> None:
    queue = default.properties("AWS::SQS::Queue", name)
    assert queue["VisibilityTimeout"] == 6 * 60
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 10
    dead = flat(queue["RedrivePolicy"]["deadLetterTargetArn"])
    assert name.replace("Queue", "DeadLetters") in dead


@pytest.mark.parametrize("containing", ["ObserveDead", "WakeDead", "StreamDead"])
def test_dead_letters_stay_for_two_weeks(default: Synthesis, containing: str) -> None:
    queue = default.properties("AWS::SQS::Queue", containing)
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_the_pattern_of_job_events(default: Synthesis, disposable: Synthesis) -> None:
    details = {
        "JobEnds": {"status": ["SUCCEEDED", "FAILED"]},
        "JobStarts": {"status": ["RUNNING"], "parameters": {"hutStarts": ["told"]}},
    }
    for name, detail in details.items():
        rule = default.properties("AWS::Events::Rule", name)
        assert rule["EventPattern"] == {
            "source": ["aws.batch"],
            "account": [{"Ref": "AWS::AccountId"}],
            "detail-type": ["Batch Job State Change"],
            "detail": {
                **detail,
                "jobName": [{"prefix": "hut-"}],
                "arrayProperties": {"size": [{"exists": False}]},
            },
        }
        [target] = rule["Targets"]
        assert "ObserveQueue" in flat(target["Arn"])
        other = disposable.properties("AWS::Events::Rule", name)
        assert other["EventPattern"]["detail"]["jobName"] == [{"prefix": "lab-"}]


def test_the_pattern_of_execution_events(default: Synthesis) -> None:
    rule = default.properties("AWS::Events::Rule", "ExecutionStops")
    pattern = rule["EventPattern"]
    assert pattern["source"] == ["aws.states"]
    assert pattern["account"] == [{"Ref": "AWS::AccountId"}]
    assert pattern["detail-type"] == ["Step Functions Execution Status Change"]
    assert pattern["detail"]["status"] == ["ABORTED", "TIMED_OUT", "FAILED"]
    [machine] = pattern["detail"]["stateMachineArn"]
    assert machine["Ref"].startswith("Run")
    [target] = rule["Targets"]
    assert "ObserveQueue" in flat(target["Arn"])


def test_two_deployments_share_no_name(default: Synthesis, disposable: Synthesis) -> None:
    named = (
        ("AWS::Lambda::Function", "FunctionName"),
        ("AWS::StepFunctions::StateMachine", "StateMachineName"),
        ("AWS::Logs::LogGroup", "LogGroupName"),
        ("AWS::Batch::JobQueue", "JobQueueName"),
        ("AWS::SSM::Document", "Name"),
        ("AWS::Scheduler::Schedule", "Name"),
    )
    for kind, key in named:
        ours, others = (
            {resource["Properties"][key] for resource in synthesis.resources(kind).values()}
            for synthesis in (default, disposable)
        )
        assert ours
        assert ours.isdisjoint(others)
    assert set(disposable.templates) == {
        "LabStorage",
        "LabCompute",
        "LabControl",
        "LabApi",
        "LabWatch",
    }
