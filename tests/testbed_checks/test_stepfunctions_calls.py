"""Step Functions: calls of EC2, SSM, DynamoDB and SQS, with their answers and errors as AWS has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.testbed_checks.making import Maker, wait_for

IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
TOKEN = "{% $states.context.Task.Token %}"
LAUNCH = {"ImageId": IMAGE, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1}


def task(resource: str, arguments: Any, **more: Any) -> dict[str, Any]:
    plain = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments}
    return {**plain, **({} if "Next" in more else {"End": True}), **more}


def start(make: Maker, states: dict[str, Any], **given: Any) -> str:
    """Start a machine; the first of the states comes first."""
    definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
    started = make.bed.client("stepfunctions").start_execution(
        stateMachineArn=make.machine(definition), input=json.dumps(given)
    )
    return str(started["executionArn"])


def run(make: Maker, *states: dict[str, Any], **given: Any) -> Any:
    """Run states one after the other; return the last one's output."""
    names = [f"S{number}" for number in range(len(states))]
    chained = {
        name: {**state, **({"Next": after} if after else {})}
        for name, state, after in zip(names, states, [*names[1:], None], strict=True)
    }
    for state in list(chained.values())[:-1]:
        state.pop("End", None)
    execution = make.execution(start(make, chained, **given))
    assert execution["status"] == "SUCCEEDED", execution
    return json.loads(execution["output"])


def failed(make: Maker, state: dict[str, Any]) -> tuple[str, str]:
    """Run a state that fails; return error and cause."""
    execution = make.execution(start(make, {"A": state}))
    assert execution["status"] == "FAILED"
    return execution["error"], execution["cause"]


def test_an_instance_through_its_life(make: Maker) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "hut", "Value": make.name("x")}]}]
    started = run(
        make,
        task("aws-sdk:ec2:runInstances", {**LAUNCH, "TagSpecifications": tags, "UserData": ""}),
    )
    instance = started["Instances"][0]["InstanceId"]
    assert started["Instances"][0]["State"] == {"Code": 0, "Name": "pending"}
    ids = {"InstanceIds": [instance]}

    def state() -> Any:
        found = run(make, task("aws-sdk:ec2:describeInstances", ids))
        assert found["Reservations"][0]["Instances"][0]["Tags"] == tags[0]["Tags"]
        return found["Reservations"][0]["Instances"][0]["State"]["Name"]

    filters = {"Filters": [{"Key": "InstanceIds", "Values": [instance]}]}
    information = "aws-sdk:ssm:describeInstanceInformation"
    wait_for(lambda: run(make, task(information, filters))["InstanceInformationList"])
    [known] = run(make, task(information, filters))["InstanceInformationList"]
    assert (known["InstanceId"], known["PingStatus"]) == (instance, "Online")
    assert state() == "running"
    command = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["echo out"]}}
    sent = run(make, task("aws-sdk:ssm:sendCommand", {**ids, **command}))
    which = {"CommandId": sent["Command"]["CommandId"], "InstanceId": instance}

    def ended() -> Any:
        found = run(make, task("aws-sdk:ssm:getCommandInvocation", which))
        return found if found["Status"] == "Success" else None

    found = wait_for(ended)
    assert (found["ResponseCode"], found["StandardOutputContent"]) == (0, "out\n")
    over = run(make, task("aws-sdk:ec2:terminateInstances", ids))
    assert over["TerminatingInstances"][0]["CurrentState"]["Name"] == "shutting-down"
    missing = {"Filters": [{"Name": "tag:hut", "Values": ["nobody"]}]}
    assert run(make, task("aws-sdk:ec2:describeInstances", missing))["Reservations"] == []
    nobody = {"Filters": [{"Key": "InstanceIds", "Values": ["i-0123456789abcdef0"]}]}
    assert run(make, task(information, nobody))["InstanceInformationList"] == []


@pytest.mark.parametrize(
    ("resource", "arguments", "error", "cause"),
    [
        (
            "aws-sdk:ec2:describeInstances",
            {"InstanceIds": ["i-0123456789abcdef0"]},
            "Ec2.Ec2Exception",
            "The instance ID 'i-0123456789abcdef0' does not exist (Service: Ec2, Status Code: 400, ",
        ),
        (
            "aws-sdk:ssm:sendCommand",
            {"InstanceIds": ["i-0123456789abcdef0"], "DocumentName": "AWS-RunShellScript"},
            "Ssm.InvalidParametersException",
            "Parameter commands has no value. (Service: Ssm, Status Code: 400, ",
        ),
        (
            "aws-sdk:ssm:getCommandInvocation",
            {"CommandId": "0" * 36, "InstanceId": "i-0123456789abcdef0"},
            "Ssm.InvocationDoesNotExistException",
            "",
        ),
        (
            "aws-sdk:dynamodb:updateItem",
            {"TableName": "nowhere", "Key": {"pk": {"S": "a"}}},
            "DynamoDb.ResourceNotFoundException",
            "",
        ),
    ],
)
def test_errors(make: Maker, resource: str, arguments: Any, error: str, cause: str) -> None:
    found = failed(make, task(resource, arguments))
    assert found[0] == error
    assert cause in found[1]


def test_lack_of_capacity_has_no_code(make: Maker) -> None:
    make.bed.hook("ec2/capacity", {"error": "throttled", "type": "c5.large", "times": 1})
    error, cause = failed(make, task("aws-sdk:ec2:runInstances", LAUNCH))
    assert error == "Ec2.Ec2Exception"
    assert cause.startswith("Request limit exceeded. (Service: Ec2, Status Code: 503, Request ID: ")


def test_faults_meet_calls(make: Maker) -> None:
    fault = {"service": "states.ssm", "operation": "SendCommand", "code": "InvalidInstanceId"}
    make.bed.hook("faults", {**fault, "message": "not yet"})
    send = {"InstanceIds": ["i-1"], "DocumentName": "x"}
    error, cause = failed(make, task("aws-sdk:ssm:sendCommand", send))
    assert error == "Ssm.InvalidInstanceIdException"
    assert cause.startswith("not yet (Service: Ssm")
    make.bed.hook("faults", {"service": "states.sqs", "operation": "SendMessage", "code": "No"})
    message = {"QueueUrl": "x", "MessageBody": "y"}
    assert failed(make, task("sqs:sendMessage", message))[0] == "SQS.No"


def test_a_message_is_an_object(make: Maker) -> None:
    url, _ = make.queue()
    body = {"QueueUrl": url, "MessageBody": {"a": "{% $states.input.a %}"}}
    run(make, task("sqs:sendMessage", body), a=1)
    assert wait_for(lambda: make.receive(url)) == [{"a": 1}]


def test_tables(make: Maker) -> None:
    table = make.table()
    key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    put = {"TableName": table, "Item": {**key, "n": {"N": "1"}}}
    once = {**put, "ConditionExpression": "attribute_not_exists(pk)"}
    run(make, task("dynamodb:putItem", once))
    conditional = "ConditionalCheckFailedException"
    assert failed(make, task("dynamodb:putItem", once))[0] == f"DynamoDB.{conditional}"
    assert failed(make, task("aws-sdk:dynamodb:putItem", once))[0] == f"DynamoDb.{conditional}"
    other = {**put, "Item": {**key, "pk": {"S": "other"}}}
    both = {"TransactItems": [{"Put": other}, {"Put": once}]}
    error, cause = failed(make, task("aws-sdk:dynamodb:transactWriteItems", both))
    assert error == "DynamoDb.TransactionCanceledException"
    assert "[None, ConditionalCheckFailed]" in cause


@pytest.mark.parametrize("service", ["dynamodb", "aws-sdk:dynamodb"])
def test_a_token_in_a_table(make: Maker, service: str) -> None:
    states, table = make.bed.client("stepfunctions"), make.table()
    key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    update = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET #t = :t",
        "ExpressionAttributeNames": {"#t": "token"},
        "ExpressionAttributeValues": {":t": {"S": TOKEN}},
    }
    late = [{"ErrorEquals": ["States.Timeout"], "Next": "Late"}]
    wait = task(f"{service}:updateItem.waitForTaskToken", update, Catch=late)
    machine = {"Wait": {**wait, "TimeoutSeconds": "{% $states.input.limit %}"}}
    machine["Late"] = {"Type": "Succeed", "Output": "late"}

    def token() -> str:
        find = make.bed.client("dynamodb").get_item
        found = wait_for(lambda: find(TableName=table, Key=key).get("Item"))
        return str(found["token"]["S"])

    arn = start(make, machine, limit=60)
    states.send_task_success(taskToken=token(), output='{"a": 1}')
    assert make.execution(arn)["output"] == '{"a": 1}'
    assert make.execution(start(make, machine, limit=1))["output"] == '"late"'
    make.bed.client("dynamodb").delete_item(TableName=table, Key=key)
    arn = start(make, machine, limit=60)
    given = token()
    states.stop_execution(executionArn=arn, error="Hut.Cancelled", cause="by hand")
    with pytest.raises(states.exceptions.TaskTimedOut):
        states.send_task_success(taskToken=given, output="{}")
    assert make.execution(arn)["status"] == "ABORTED"


def test_a_wait_is_stopped_and_told(make: Maker) -> None:
    states = make.bed.client("stepfunctions")
    url, queue = make.queue()
    arn = start(make, {"A": {"Type": "Wait", "Seconds": 600, "End": True}})
    make.rule({"source": ["aws.states"], "detail": {"executionArn": [arn]}}, queue)
    states.stop_execution(executionArn=arn, error="Hut.Cancelled", cause="by hand")
    [told] = wait_for(lambda: make.receive(url))
    told = told["detail"]
    assert [told[key] for key in ("status", "error", "cause")] == [
        *("ABORTED", "Hut.Cancelled", "by hand"),
    ]
    found = states.describe_execution(executionArn=arn)
    assert (found["error"], found["cause"]) == ("Hut.Cancelled", "by hand")
    machine = found["stateMachineArn"]
    pages = states.get_paginator("list_executions").paginate(
        stateMachineArn=machine, statusFilter="ABORTED"
    )
    assert [each["executionArn"] for page in pages for each in page["executions"]] == [arn]


def test_variables_and_outputs(make: Maker) -> None:
    states = {
        "Set": {"Type": "Pass", "Assign": {"a": 1, "b": 2}, "Next": "Swap"},
        "Swap": {"Type": "Pass", "Assign": {"a": "{% $b %}", "b": "{% $a %}"}, "Next": "Fails"},
        "Fails": task(
            "aws-sdk:ec2:terminateInstances",
            {"InstanceIds": ["i-0123456789abcdef0"]},
            Next="End",
            Catch=[
                {
                    "ErrorEquals": ["States.ALL"],
                    "Assign": {"error": "{% $states.errorOutput.Error %}"},
                    "Next": "End",
                }
            ],
        ),
        "End": {"Type": "Succeed", "Output": "{% {'a': $a, 'b': $b, 'error': $error} %}"},
    }
    execution = make.execution(start(make, states))
    assert json.loads(execution["output"]) == {"a": 2, "b": 1, "error": "Ec2.Ec2Exception"}


def test_the_pace_of_a_machine(make: Maker) -> None:
    wait = {"Type": "Wait", "Seconds": "{% 600 %}", "End": True}
    machine = make.machine({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": wait}})
    make.bed.hook("states/pace", {"machine": machine.rpartition(":")[2], "waits": 0.0005})
    started = make.bed.client("stepfunctions").start_execution(stateMachineArn=machine)
    assert make.execution(started["executionArn"])["status"] == "SUCCEEDED"
