"""EC2: instances that start, run and end as on AWS.

What becomes of a launch is in `ec2_launches`, what an instance is in `hosts`. Not modelled: capacity of its
own, images, networks, prices.
"""

from __future__ import annotations

import binascii
import fnmatch
import time
from typing import Any
from xml.sax.saxutils import escape

from ministack.core.responses import get_account_id
from ministack.services import ec2, ssm

from tests.testbed import hosts
from tests.testbed.ec2_launches import (
    Answer,
    Parameters,
    RefusedError,
    architectures,
    launch,
    nested,
    refuse,
)
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, replace_entry, require

_PUBLIC_IMAGES = (
    "/aws/service/ami-amazon-linux-latest/",
    "/aws/service/canonical/",
    "/aws/service/debian/",
    "/aws/service/ecs/optimized-ami/",
)
_BY_USER = ("Client.UserInitiatedShutdown", "User initiated shutdown")
_PAGE = 1000
_FILTERS = {
    "client-token": "ClientToken",
    "image-id": "ImageId",
    "instance-id": "InstanceId",
    "instance-lifecycle": "InstanceLifecycle",
    "instance-state-name": "State",
    "instance-type": "InstanceType",
    "subnet-id": "SubnetId",
    "vpc-id": "VpcId",
}

_launches: list[dict[str, Any]] = []


def install() -> None:
    require(
        ec2, "_instances", "_volumes", "_subnets", "_security_groups", "_tags", "_xml", "_error"
    )
    require(ec2, "_launch_instances_internal", "_resolve_launch_template_data", "_parse_filters")
    require(ec2, "_resolve_iam_instance_profile", "_parse_member_list", "_INSTANCE_ID_RE")
    require(ssm, "_select_parameter")
    find_public = replace(ssm, "_public_parameter", None)
    show = replace(ec2, "_instance_xml", None)

    def find_any_image(name: str) -> Any:
        """Return an image for every alias of a well-known kind, each with an id of its own."""
        if not name.startswith(_PUBLIC_IMAGES):
            return find_public(name)
        image = f"ami-{binascii.crc32(name.encode()):08x}"
        architectures[image] = "arm64" if "arm64" in name else "x86_64"
        return {
            "Name": name,
            "Type": "String",
            "Value": image,
            "Version": 1,
            "LastModifiedDate": 1_728_518_400,
            "ARN": f"arn:aws:ssm:us-east-1::parameter{name}",
        }

    def show_more(record: dict[str, Any]) -> str:
        more = f"<reason>{escape(record.get('StateTransitionReason', ''))}</reason>"
        for name in ("ClientToken", "InstanceLifecycle"):
            if record.get(name):
                tag = name[0].lower() + name[1:]
                more += f"<{tag}>{escape(record[name])}</{tag}>"
        if reason := record.get("StateReason"):
            code, message = (escape(reason[key]) for key in ("Code", "Message"))
            more += f"<stateReason><code>{code}</code><message>{message}</message></stateReason>"
        return str(show(record)).removesuffix("</item>") + more + "</item>"

    ssm._public_parameter = find_any_image
    ec2._instance_xml = show_more
    actions = {
        "RunInstances": _run,
        "DescribeInstances": _describe,
        "TerminateInstances": _terminate,
        "StopInstances": _stop,
    }
    for name, act in actions.items():
        replace_entry(ec2._ACTION_MAP, name, act)
    on_reset.append(_launches.clear)


def _run(given: Parameters) -> Answer:
    asked = nested(given)
    call: dict[str, Any] = {"at": time.time(), "token": asked.get("ClientToken"), "asked": asked}
    _launches.append(call)
    try:
        made = launch(asked, call)
    except RefusedError as error:
        call["error"] = error.code
        return error.answer
    call["instances"] = [each["InstanceId"] for each in made]
    inner = (
        f"<instancesSet>{''.join(map(ec2._instance_xml, made))}</instancesSet>"
        f"<reservationId>r-{made[0]['InstanceId'][2:]}</reservationId>"
        f"<ownerId>{get_account_id()}</ownerId><groupSet/>"
    )
    answer: Answer = ec2._xml(200, "RunInstancesResponse", inner)
    return answer


# Looking and ending -------------------------------------------------------------------------------


def _describe(given: Parameters) -> Answer:
    ids = ec2._parse_member_list(given, "InstanceId")
    try:
        _check_ids(ids, visible=True)
    except RefusedError as error:
        return error.answer
    filters = ec2._parse_filters(given)
    most, start = _first(given, "MaxResults"), _first(given, "NextToken")
    if most and ids:
        message = "The parameter instancesSet cannot be used with the parameter maxResults"
        return RefusedError("InvalidParameterCombination", message).answer
    unknown = [name for name in filters if name not in _FILTERS and not name.startswith("tag")]
    if unknown:
        message = f"The filter '{unknown[0]}' is invalid"
        return RefusedError("InvalidParameterValue", message).answer
    records = [
        record
        for record in list(ec2._instances.values())
        if (not ids or record["InstanceId"] in ids)
        and _is_visible(record["InstanceId"])
        and all(_fits(record, name, patterns) for name, patterns in filters.items())
    ]
    begin = int(start or 0)
    end = begin + int(most or _PAGE)
    items = "".join(
        f"<item><reservationId>r-{record['InstanceId'][2:]}</reservationId>"
        f"<ownerId>{get_account_id()}</ownerId><groupSet/>"
        f"<instancesSet>{ec2._instance_xml(record)}</instancesSet></item>"
        for record in records[begin:end]
    )
    inner = f"<reservationSet>{items}</reservationSet>"
    if end < len(records):
        inner += f"<nextToken>{end}</nextToken>"
    answer: Answer = ec2._xml(200, "DescribeInstancesResponse", inner)
    return answer


def _fits(record: dict[str, Any], name: str, patterns: list[str]) -> bool:
    if name.startswith("tag"):
        return bool(ec2._resource_matches_tag_filters(record["InstanceId"], {name: patterns}))
    if name == "instance-state-name":
        return record["State"]["Name"] in patterns
    value = record.get(_FILTERS[name], "")
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)


def _is_visible(instance: str) -> bool:
    host = hosts.hosts.get(instance)
    return host is None or host.is_visible


def _check_ids(ids: list[str], *, visible: bool = False) -> None:
    for each in ids:
        if not ec2._INSTANCE_ID_RE.match(each):
            refuse("InvalidInstanceID.Malformed", f'Invalid id: "{each}"')
    missing = [
        each for each in ids if each not in ec2._instances or (visible and not _is_visible(each))
    ]
    if missing:
        word, verb = ("IDs", "do") if len(missing) > 1 else ("ID", "does")
        message = f"The instance {word} '{', '.join(missing)}' {verb} not exist"
        refuse("InvalidInstanceID.NotFound", message)


def _terminate(given: Parameters) -> Answer:
    return _end(given, "TerminateInstances", "terminated")


def _stop(given: Parameters) -> Answer:
    return _end(given, "StopInstances", "stopped")


def _end(given: Parameters, action: str, into: str) -> Answer:
    ids = ec2._parse_member_list(given, "InstanceId")
    try:
        if not ids:
            refuse("MissingParameter", "The request must contain the parameter InstanceId")
        _check_ids(ids)
    except RefusedError as error:
        return error.answer
    items = ""
    for each in dict.fromkeys(ids):
        record = ec2._instances[each]
        before = dict(record["State"])
        when = time.strftime("%Y-%m-%d %H:%M:%S GMT", time.gmtime())
        if each in hosts.hosts:
            code, message = _BY_USER
            hosts.hosts[each].end(code, message, why=f"User initiated ({when})", into=into)
        else:
            record["State"] = {"Code": 48, "Name": "terminated"}  # CloudFormation made it
        states = (("previousState", before), ("currentState", record["State"]))
        items += f"<item><instanceId>{each}</instanceId>" + "".join(
            f"<{tag}><code>{state['Code']}</code><name>{state['Name']}</name></{tag}>"
            for tag, state in states
        )
        items += "</item>"
    answer: Answer = ec2._xml(200, f"{action}Response", f"<instancesSet>{items}</instancesSet>")
    return answer


def _first(given: Parameters, name: str) -> str:
    value = given.get(name, "")
    return str(value[0] if isinstance(value, list) else value)


# Hooks --------------------------------------------------------------------------------------------


@hook("GET", "ec2/launches")
def _tell_launches(_: dict[str, Any]) -> dict[str, Any]:
    """Tell all calls of RunInstances, in their order."""
    return {"launches": list(_launches)}


@hook("GET", "ec2/instances")
def _tell_instances(_: dict[str, Any]) -> dict[str, Any]:
    """Tell all instances there have been, whatever became of them."""
    return {
        "instances": [
            {
                "instance": host.instance,
                "state": host.state,
                "launched": host.launched,
                "ended": host.ended,
                "history": host.history,
                "folder": str(host.folder),
                "token": host.record.get("ClientToken"),
                "type": host.record["InstanceType"],
                "market": host.record.get("InstanceLifecycle", "on-demand"),
                "subnet": host.record["SubnetId"],
                "reason": host.record.get("StateReason"),
                "tags": {tag["Key"]: tag["Value"] for tag in ec2._tags.get(host.instance, [])},
            }
            for host in list(hosts.hosts.values())
        ]
    }
