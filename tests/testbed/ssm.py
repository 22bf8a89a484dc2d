"""SSM Run Command: a command is a script that runs on an emulated instance.

Statuses, cut outputs, limits and events are those of AWS; a command whose instance is gone stays in
progress, as it does there for hours. Not modelled: targets by tag, concurrency, output to S3 or
CloudWatch, delivery that takes time, maintenance windows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ministack.core.concurrency import spawn_background
from ministack.core.responses import error_response_json, get_account_id, json_response, new_uuid
from ministack.services import ssm

from tests.testbed import hosts
from tests.testbed import ssm_documents as documents
from tests.testbed.events import emit
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, require
from tests.testbed.ssm_documents import SsmError

_MOST_OUTPUT = 24_000  # characters of a GetCommandInvocation
_MOST_ERRORS = 8_000
_PREEMPTED = 137
_DETAILS = {"InProgress": "In Progress", "TimedOut": "Execution Timed Out"}
_ENDED = ("Success", "Failed", "TimedOut", "Cancelled")
_PAGE = 50

_unseen = {"seconds": 0.0}


def install() -> None:
    require(ssm, "_commands", "_refresh_command_status", "_public_command", "_list_commands")
    handle = replace(ssm, "handle_request", None)
    replace(ssm, "_send_command", _answered(_send))
    replace(ssm, "_get_command_invocation", _answered(_get_invocation))
    replace(ssm, "_describe_instance_information", _answered(_describe_information))
    more = {
        "CreateDocument": _answered(lambda data: _described(documents.create(data))),
        "UpdateDocument": _answered(lambda data: _described(documents.update(data))),
        "UpdateDocumentDefaultVersion": _answered(_set_default),
        "DescribeDocument": _answered(_describe_document),
        "GetDocument": _answered(_get_document),
        "DeleteDocument": _answered(lambda data: documents.delete(data) or {}),
        "CancelCommand": _answered(_cancel),
        "ListCommandInvocations": _answered(_list_invocations),
    }

    async def handle_more(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action in more:
            return more[action](json.loads(body or b"{}"))
        return await handle(method, path, headers, body, query)

    ssm.handle_request = handle_more
    on_reset.append(lambda: _unseen.update(seconds=0.0))


def _answered(act: Any) -> Any:
    def answer(data: dict[str, Any]) -> Any:
        try:
            return json_response(act(data))
        except SsmError as error:
            return error_response_json(error.code, str(error), 400)
        except KeyError as error:
            return error_response_json("ValidationException", f"{error} is missing", 400)

    return answer


# Documents ----------------------------------------------------------------------------------------


def _described(document: documents.Document) -> dict[str, Any]:
    return {"DocumentDescription": document.described()}


def _describe_document(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"Document": documents.find(data["Name"]).described()}


def _get_document(data: Mapping[str, Any]) -> dict[str, Any]:
    document = documents.find(data["Name"])
    content = document.content(data.get("DocumentVersion"))
    return {**document.described(), "Content": content}


def _set_default(data: Mapping[str, Any]) -> dict[str, Any]:
    document = documents.find(data["Name"])
    document.content(data["DocumentVersion"])
    document.default = int(data["DocumentVersion"])
    return {"Description": {"Name": document.name, "DefaultVersion": str(document.default)}}


# Instances ----------------------------------------------------------------------------------------


def _describe_information(data: Mapping[str, Any]) -> dict[str, Any]:
    wanted: set[str] | None = None
    for each in data.get("Filters") or []:
        if each["Key"] != "InstanceIds":
            raise SsmError("InvalidFilterKey", f"the test bed knows no filter {each['Key']}")
        wanted = set(each["Values"])
    for each in data.get("InstanceInformationFilterList") or []:
        wanted = set(each["valueSet"])
    known = [
        {
            "InstanceId": host.instance,
            "PingStatus": "Online" if host.is_online else "ConnectionLost",
            "LastPingDateTime": time.time(),
            "AgentVersion": "3.3.4121.0",
            "IsLatestVersion": True,
            "PlatformType": "Linux",
            "PlatformName": "Amazon Linux",
            "PlatformVersion": "2023",
            "ResourceType": "EC2Instance",
            "IPAddress": host.record["PrivateIpAddress"],
            "ComputerName": host.record["PrivateDnsName"],
        }
        for host in list(hosts.hosts.values())
        if host.was_online and (wanted is None or host.instance in wanted)
    ]
    begin, most = int(data.get("NextToken") or 0), int(data.get("MaxResults") or _PAGE)
    found: dict[str, Any] = {"InstanceInformationList": known[begin : begin + most]}
    if begin + most < len(known):
        found["NextToken"] = str(begin + most)
    return found


# Commands -----------------------------------------------------------------------------------------


def _send(data: Mapping[str, Any]) -> dict[str, Any]:
    instances = list(data.get("InstanceIds") or [])
    if not instances:
        raise SsmError("ValidationException", "the test bed sends commands to InstanceIds only")
    name = data["DocumentName"]
    document = documents.find(name)
    parameters = data.get("Parameters") or {}
    script = documents.script_of(document, data.get("DocumentVersion"), parameters)
    lost = [each for each in instances if each not in hosts.hosts]
    lost += [each for each in instances if each in hosts.hosts and not hosts.hosts[each].is_online]
    if lost:
        message = f"Instances [[{', '.join(lost)}]] not in a valid state for account "
        raise SsmError("InvalidInstanceId", message + get_account_id())
    command, now = new_uuid(), time.time()
    record = {
        "CommandId": command,
        "DocumentName": name,
        "DocumentVersion": data.get("DocumentVersion", "$DEFAULT"),
        "Comment": data.get("Comment", ""),
        "ExpiresAfter": now + float(data.get("TimeoutSeconds", 3600)),
        "Parameters": parameters,
        "InstanceIds": instances,
        "Targets": [],
        "RequestedDateTime": now,
        "Status": "Pending",
        "StatusDetails": "Pending",
        "TargetCount": len(instances),
        "CompletedCount": 0,
        "ErrorCount": 0,
        "TimeoutSeconds": data.get("TimeoutSeconds", 3600),
        "Invocations": {each: _new_invocation(command, each, data, script) for each in instances},
    }
    ssm._commands[command] = record
    answer = {"Command": ssm._public_command(record)}  # it is pending yet, however fast it runs
    for each in instances:
        spawn_background(_run, record, each, script, thread_name="testbed-command")
    return answer


def _new_invocation(
    command: str, instance: str, data: Mapping[str, Any], script: documents.Script
) -> dict[str, Any]:
    return {
        "CommandId": command,
        "InstanceId": instance,
        "Comment": data.get("Comment", ""),
        "DocumentName": data["DocumentName"],
        "DocumentVersion": data.get("DocumentVersion", "$DEFAULT"),
        "PluginName": script.step,
        "ResponseCode": -1,
        "ExecutionStartDateTime": "",
        "ExecutionElapsedTime": "",
        "ExecutionEndDateTime": "",
        "Status": "Pending",
        "StatusDetails": "Pending",
        "StandardOutputContent": "",
        "StandardOutputUrl": "",
        "StandardErrorContent": "",
        "StandardErrorUrl": "",
    }


def _run(record: dict[str, Any], instance: str, script: documents.Script) -> None:
    host = hosts.hosts.get(instance)
    if host is None:
        return  # the test bed was reset
    invocation = record["Invocations"][instance]
    invocation["ExecutionStartDateTime"] = _now()
    _turn(record, invocation, "InProgress")
    name = f"command-{record['CommandId']}"
    environment = {"AWS_SSM_INSTANCE_ID": instance, "AWS_SSM_REGION_NAME": "us-east-1"}
    ended = host.run(script.text, name, script.limit, **environment)
    if ended.code is None or host.state != "running":
        return  # nobody reports any more
    invocation["ResponseCode"] = _PREEMPTED if ended.is_late else ended.code
    invocation["StandardOutputContent"] = _cut(ended.output, _MOST_OUTPUT)
    invocation["StandardErrorContent"] = _cut(ended.errors, _MOST_ERRORS)
    invocation["ExecutionEndDateTime"] = _now()
    if invocation["Status"] == "Cancelled":
        return
    if ended.is_late:
        _turn(record, invocation, "TimedOut")
    else:
        _turn(record, invocation, "Failed" if ended.code else "Success")


def _cut(text: str, most: int) -> str:
    mark = "\n---Output truncated---"
    return text if len(text) <= most else text[: most - len(mark)] + mark


def _turn(record: dict[str, Any], invocation: dict[str, Any], status: str) -> None:
    """Change how a command on an instance stands, and tell."""
    invocation["StatusDetails"] = _DETAILS.get(status, status)
    invocation["Status"] = status
    ssm._refresh_command_status(record)
    detail = {
        "command-id": record["CommandId"],
        "document-name": record["DocumentName"],
        "instance-id": invocation["InstanceId"],
        "requested-date-time": _now(record["RequestedDateTime"]),
        "status": status,
    }
    name = "EC2 Command Invocation Status-change Notification"
    emit("aws.ssm", name, detail, [hosts.arn_of(invocation["InstanceId"])])


def _now(moment: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))


def _get_invocation(data: Mapping[str, Any]) -> dict[str, Any]:
    command, instance = data["CommandId"], data["InstanceId"]
    record = ssm._commands.get(command) or {}
    found = record.get("Invocations", {}).get(instance)
    if found is None or time.time() < record["RequestedDateTime"] + _unseen["seconds"]:
        raise SsmError("InvocationDoesNotExist", "")
    if data.get("PluginName") not in (None, found["PluginName"]):
        raise SsmError("InvalidPluginName", f"there is no step {data['PluginName']}")
    return {**found, "CloudWatchOutputConfig": {"CloudWatchOutputEnabled": False}}


def _list_invocations(data: Mapping[str, Any]) -> dict[str, Any]:
    found = [
        invocation
        for record in ssm._commands.values()
        if data.get("CommandId") in (None, record["CommandId"])
        for invocation in record["Invocations"].values()
        if data.get("InstanceId") in (None, invocation["InstanceId"])
    ]
    return {"CommandInvocations": found}


def _cancel(data: Mapping[str, Any]) -> dict[str, Any]:
    record = ssm._commands.get(data["CommandId"])
    if record is None:
        raise SsmError("InvalidCommandId", "")
    for instance, invocation in record["Invocations"].items():
        if invocation["Status"] not in _ENDED:
            _turn(record, invocation, "Cancelled")
            hosts.hosts[instance].stop(f"command-{record['CommandId']}")
    return {}


# Hooks --------------------------------------------------------------------------------------------


@hook("POST", "ssm/unseen")
def _hide(body: dict[str, Any]) -> dict[str, Any]:
    """Let GetCommandInvocation not know a command for some seconds after it was sent."""
    _unseen["seconds"] = float(body["seconds"])
    return {}


@hook("GET", "ssm/commands")
def _tell(_: dict[str, Any]) -> dict[str, Any]:
    """Tell all commands there have been, in their order."""
    return {"commands": list(ssm._commands.values())}
