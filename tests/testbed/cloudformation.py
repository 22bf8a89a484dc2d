"""CloudFormation: types of resources the emulator does not know.

Those of Batch and documents of SSM are real here; alarms over metric math and composite alarms are kept but never
change their state; the types in `_NAMES_ONLY` are names that nothing else knows about.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch, ec2
from ministack.services.cloudformation import provisioners

from tests.testbed import batch_registry as batch
from tests.testbed import ssm_documents as documents
from tests.testbed.batch_limits import RefusedError
from tests.testbed.patching import replace, require

Properties = dict[str, Any]
Made = tuple[str, dict[str, Any]]

# Below these properties the keys are the template's own.
_FREE_KEYS = ("Tags", "Parameters", "Options", "Labels")
_NAMES_ONLY = {
    "AWS::Batch::ConsumableResource": "consumable",
    "AWS::Budgets::Budget": "budget",
    "AWS::CloudWatch::InsightRule": "insight",
    "AWS::EC2::DHCPOptions": "dopt",
    "AWS::EC2::EIP": "eipalloc",
    "AWS::EC2::EgressOnlyInternetGateway": "eigw",
    "AWS::EC2::FlowLog": "fl",
    "AWS::EC2::NatGateway": "nat",
    "AWS::EC2::NetworkAcl": "acl",
    "AWS::EC2::NetworkAclEntry": "aclentry",
    "AWS::EC2::PrefixList": "pl",
    "AWS::EC2::SubnetNetworkAclAssociation": "aclassoc",
    "AWS::EC2::VPCDHCPOptionsAssociation": "doptassoc",
    "AWS::Events::Archive": "archive",
    "AWS::Events::EventBusPolicy": "buspolicy",
    "AWS::IAM::Group": "group",
    "AWS::IAM::ServiceLinkedRole": "linked",
    "AWS::Logs::QueryDefinition": "query",
    "AWS::ResourceGroups::Group": "resources",
    "AWS::XRay::Group": "traces",
    "AWS::XRay::SamplingRule": "sampling",
}


def install() -> None:
    require(provisioners, "_RESOURCE_HANDLERS", "_physical_name", "_ec2_sg_permissions")
    require(cloudwatch, "_put_composite_alarm", "_composite_alarms")
    require(ec2, "_security_groups")
    handlers = provisioners._RESOURCE_HANDLERS
    for kind, made in {**_handlers(), **{k: _named(v) for k, v in _NAMES_ONLY.items()}}.items():
        handlers.setdefault(kind, made)
    record = replace(provisioners, "_cw_metric_alarm_record", None)

    def record_with_math(name: str, properties: Properties) -> Any:
        """Keep an alarm over metric math as one over a metric that never comes."""
        if not properties.get("Metrics"):
            return record(name, properties)
        plain = {key: value for key, value in properties.items() if key != "Metrics"}
        kept = record(name, {**plain, "MetricName": "(math)", "Namespace": "(math)"})
        kept["Metrics"] = properties["Metrics"]
        return kept

    provisioners._cw_metric_alarm_record = record_with_math


def _handlers() -> dict[str, dict[str, Any]]:
    return {
        "AWS::Batch::ComputeEnvironment": {
            "create": _creator("computeEnvironment", batch.create_environment),
            "update": _updater("computeEnvironment", batch.update_environment),
            "delete": lambda physical_id, _: _drop(batch.environments, physical_id),
        },
        "AWS::Batch::JobQueue": {
            "create": _creator("jobQueue", batch.create_queue),
            "update": _updater("jobQueue", batch.update_queue),
            "delete": lambda physical_id, _: _delete_queue(physical_id),
        },
        "AWS::Batch::JobDefinition": {
            "create": _creator("jobDefinition", batch.register_definition),
            "update": _update_definition,
            "delete": lambda physical_id, _: batch.deregister_definition(
                {"jobDefinition": physical_id}
            ),
        },
        "AWS::Batch::SchedulingPolicy": {
            "create": _create_policy,
            "update": _update_policy,
            "delete": lambda physical_id, _: batch.delete_policy({"arn": physical_id}),
        },
        "AWS::CloudWatch::CompositeAlarm": {
            "create": _create_composite_alarm,
            "delete": lambda physical_id, _: cloudwatch._composite_alarms.pop(physical_id, None),
        },
        "AWS::SSM::Document": {
            "create": _create_document,
            "update": _update_document,
            "delete": lambda physical_id, _: documents.documents.pop(physical_id, None),
        },
        "AWS::EC2::SecurityGroupIngress": _group_rule("IpPermissions"),
        "AWS::EC2::SecurityGroupEgress": _group_rule("IpPermissionsEgress"),
    }


def _as_api(value: Any) -> Any:
    """Write a template's properties as the service's API does: keys begin in lower case."""
    if isinstance(value, list):
        return [_as_api(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key[0].lower() + key[1:]: each if key in _FREE_KEYS else _as_api(each)
        for key, each in value.items()
    }


def _call(function: Callable[[Properties], Properties], body: Properties) -> Properties:
    try:
        return function(body)
    except RefusedError as error:
        raise ValueError(str(error)) from error


def _creator(
    kind: str, function: Callable[[Properties], Properties]
) -> Callable[[str, Properties, str], Made]:
    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        body = _as_api(properties)
        if not body.get(f"{kind}Name"):
            body[f"{kind}Name"] = provisioners._physical_name(stack, logical_id, max_len=100)
        answer = _call(function, body)
        arn = answer[f"{kind}Arn"]
        attribute = f"{kind[0].upper()}{kind[1:]}Arn"
        return arn, {attribute: arn}

    return create


def _updater(
    kind: str, function: Callable[[Properties], Properties]
) -> Callable[[str, Properties, Properties, str], Made]:
    def update(physical_id: str, _: Properties, properties: Properties, __: str) -> Made:
        body = {k: v for k, v in _as_api(properties).items() if k != f"{kind}Name"}
        arn = _call(function, {**body, kind: physical_id})[f"{kind}Arn"]
        return arn, {f"{kind[0].upper()}{kind[1:]}Arn": arn}

    return update


def _update_definition(physical_id: str, _: Properties, properties: Properties, __: str) -> Made:
    """Register the next revision and deregister the one before, as CloudFormation does."""
    name = batch.name_of(physical_id).partition(":")[0]
    body = {**_as_api(properties), "jobDefinitionName": name}
    arn = _call(batch.register_definition, body)["jobDefinitionArn"]
    batch.deregister_definition({"jobDefinition": physical_id})
    return arn, {"JobDefinitionArn": arn}


def _create_policy(logical_id: str, properties: Properties, stack: str) -> Made:
    body = _as_api(properties)
    body.setdefault("name", provisioners._physical_name(stack, logical_id, max_len=100))
    arn = _call(batch.create_policy, body)["arn"]
    return arn, {"Arn": arn}


def _update_policy(physical_id: str, _: Properties, properties: Properties, __: str) -> Made:
    _call(batch.update_policy, {**_as_api(properties), "arn": physical_id})
    return physical_id, {"Arn": physical_id}


def _drop(registry: dict[str, Properties], physical_id: str) -> None:
    registry.pop(batch.name_of(physical_id), None)


def _delete_queue(physical_id: str) -> None:
    name = batch.name_of(physical_id)
    if name in batch.queues:
        batch.queues[name]["state"] = "DISABLED"
        batch.delete_queue({"jobQueue": name})


def _create_composite_alarm(logical_id: str, properties: Properties, stack: str) -> Made:
    name = properties.get("AlarmName") or provisioners._physical_name(stack, logical_id)
    alarm = {
        "AlarmName": name,
        "AlarmRule": properties.get("AlarmRule", ""),
        "AlarmActions": properties.get("AlarmActions", []),
        "ActionsEnabled": properties.get("ActionsEnabled", True),
    }
    cloudwatch._put_composite_alarm({}, alarm, False, True)
    return name, {"Arn": f"arn:aws:cloudwatch:{get_region()}:{get_account_id()}:alarm:{name}"}


def _create_document(logical_id: str, properties: Properties, stack: str) -> Made:
    name = properties.get("Name") or provisioners._physical_name(stack, logical_id)
    _keep_document(documents.create, name, properties)
    return name, {}


def _update_document(physical_id: str, old: Properties, new: Properties, stack: str) -> Made:
    """Make another version, or, as the property UpdateMethod has it by default, another document."""
    if new.get("UpdateMethod", "Replace") == "NewVersion":
        if old["Content"] != new["Content"]:
            document = _keep_document(documents.update, physical_id, new)
            document.default = len(document.versions)
        return physical_id, {}
    if new.get("Name"):
        raise ValueError(f"CloudFormation cannot update the custom-named document {physical_id}")
    documents.documents.pop(physical_id, None)
    return _create_document(physical_id, new, stack)


def _keep_document(
    keep: Callable[[Properties], documents.Document], name: str, properties: Properties
) -> documents.Document:
    content = properties["Content"]
    text = content if isinstance(content, str) else json.dumps(content)
    try:
        return keep({**properties, "Name": name, "Content": text})
    except documents.SsmError as error:
        raise ValueError(f"{error.code}: {error}") from error


def _group_rule(direction: str) -> dict[str, Any]:
    """Make a rule of a security group that is a resource of its own."""

    def create(_: str, properties: Properties, __: str) -> Made:
        group = ec2._security_groups[properties["GroupId"]]
        [permission] = provisioners._ec2_sg_permissions([properties])
        group[direction].append(permission)
        rule = f"sgr-{uuid.uuid4().hex[:17]}"
        return rule, {"Id": rule}

    def delete(_: str, properties: Properties) -> None:
        group = ec2._security_groups.get(properties.get("GroupId"))
        [permission] = provisioners._ec2_sg_permissions([properties])
        if group is not None and permission in group[direction]:
            group[direction].remove(permission)

    return {"create": create, "delete": delete}


def _named(prefix: str) -> dict[str, Any]:
    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        name = f"{prefix}-{uuid.uuid4().hex[:17]}"
        attributes = {
            "Arn": f"arn:aws:testbed:{get_region()}:{get_account_id()}:{stack}/{logical_id}",
            "Id": name,
            "AllocationId": name,
            "NatGatewayId": name,
            "PublicIp": "192.0.2.1",
        }
        return properties.get("Name") or name, attributes

    return {"create": create, "delete": lambda *_: None}
