"""What becomes of a RunInstances: a launch template's parameters, what AWS refuses, what a test lets fail.

Ours: that a launch's tags replace those of the template, and the errors' wording where AWS documents none.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, NoReturn
from xml.sax.saxutils import escape

from ministack.services import ec2, ssm

from tests.testbed import hosts
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset

Parameters = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_PLURALS = {
    "BlockDeviceMapping": "BlockDeviceMappings",
    "NetworkInterface": "NetworkInterfaces",
    "SecurityGroupId": "SecurityGroupIds",
    "Tag": "Tags",
    "TagSpecification": "TagSpecifications",
}
_NOT_ARGUMENTS = ("Action", "Version", "ClientToken", "LaunchTemplate")
_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_ARM_TYPE = re.compile(r"(a1|[a-z]+\d+g[a-z0-9-]*)\.")
_IMAGE = re.compile(r"ami-[0-9a-f]{8}([0-9a-f]{9})?")
_RESOLVE = "resolve:ssm:"
_LARGEST_USER_DATA = 16_384
_LONGEST_TOKEN = 64
_MOST_TAGS = 50

_ERRORS = {
    "insufficient": (
        "InsufficientInstanceCapacity",
        (
            "We currently do not have sufficient {type} capacity in the Availability Zone you requested "
            "({zone}). Our system will be working on provisioning additional capacity."
        ),
        500,
    ),
    "spot": (
        "InsufficientInstanceCapacity",
        "There is no Spot capacity available that matches your request.",
        500,
    ),
    "vcpus": (
        "VcpuLimitExceeded",
        (
            "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the "
            "instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."
        ),
        400,
    ),
    "spot_count": ("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded", 400),
    "addresses": (
        "InsufficientFreeAddressesInSubnet",
        (
            "There are not enough free addresses in subnet '{subnet}' to satisfy the requested number "
            "of instances."
        ),
        400,
    ),
    "unsupported": (
        "Unsupported",
        (
            "Your requested instance type ({type}) is not supported in your requested Availability Zone "
            "({zone}). Please retry your request by not specifying an Availability Zone."
        ),
        400,
    ),
    "throttled": ("RequestLimitExceeded", "Request limit exceeded.", 503),
    "internal": ("InternalError", "An internal error has occurred", 500),
    "unauthorized": (
        "UnauthorizedOperation",
        "You are not authorized to perform this operation.",
        403,
    ),
}


class RefusedError(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.answer: Answer = ec2._error(code, escape(message), status)
        self.code = code


@dataclass
class _Lack:
    """What launches fail with: those of a type, market and subnet; None means any."""

    error: tuple[str, str, int]
    type: str | None = None
    market: str | None = None
    subnet: str | None = None
    times: int | None = None

    def meets(self, launch: Parameters) -> bool:
        return (
            self.type in (None, launch["InstanceType"])
            and self.market in (None, _market_of(launch))
            and self.subnet in (None, launch["SubnetId"])
        )


@dataclass
class _Known:
    """What was asked under a client token, and what it made."""

    asked: Parameters
    instances: list[dict[str, Any]]


_lacks: list[_Lack] = []
_by_token: dict[str, _Known] = {}
architectures: dict[str, str] = {}
"""Of images that were found under a public name."""


def launch(asked: Parameters, call: dict[str, Any]) -> list[dict[str, Any]]:
    """Make instances, or find those that the same call made before; note in `call` what was meant.

    Raises
    ------
    RefusedError
        With what AWS answers.
    """
    token = asked.get("ClientToken")
    if token is not None and len(token) > _LONGEST_TOKEN:
        refuse("InvalidParameterValue", f"Value ({token}) for parameter clientToken is invalid.")
    known = _by_token.get(token or "")
    if known is not None and known.asked != asked:
        message = "Arguments on this idempotent request are inconsistent with arguments used in "
        refuse("IdempotentParameterMismatch", f"{message}previous request(s).")
    if known is not None and known.instances:
        call["repeated"] = True
        return known.instances
    wanted = _merged(asked)
    call["launch"] = {**wanted, "market": _market_of(wanted)}
    image = _check(wanted)
    _lack(wanted)
    if asked.get("DryRun") == "true":
        message = "Request would have succeeded, but DryRun flag is set."
        refuse("DryRunOperation", message, 412)
    made = [_make(wanted, image, token) for _ in range(int(wanted["MaxCount"]))]
    if token is not None:
        _by_token[token] = _Known(asked, made)
    return made


def _merged(asked: Parameters) -> Parameters:
    """Return a launch's parameters over those of its template."""
    spec = asked.get("LaunchTemplate") or {}
    template, _, error = ec2._resolve_launch_template_data(spec)
    if error is not None:
        code = "InvalidLaunchTemplateId.NotFound"
        refuse(code, f"The specified launch template, {spec}, does not exist.")
    own = {name: value for name, value in asked.items() if name not in _NOT_ARGUMENTS}
    return {**template, **own}


def _check(launch: Parameters) -> str:
    """Refuse what AWS refuses; return the id of the image."""
    for name in ("ImageId", "MinCount", "MaxCount"):
        if not launch.get(name):
            refuse("MissingParameter", f"The request must contain the parameter {name}")
    kind = launch.setdefault("InstanceType", "m1.small")
    if not _TYPE.fullmatch(kind):
        refuse("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    if launch.get("NetworkInterfaces"):
        for name, word in (("SubnetId", "subnet ID"), ("SecurityGroupIds", "security groups")):
            if launch.get(name):
                message = f"Network interfaces and an instance-level {word} may not be specified "
                refuse("InvalidParameterCombination", f"{message}on the same request")
        first = launch["NetworkInterfaces"][0]
        launch["SubnetId"] = first.get("SubnetId")
        launch["SecurityGroupIds"] = first.get("Groups") or first.get("SecurityGroupIds")
    launch["SubnetId"] = launch.get("SubnetId") or ec2._DEFAULT_SUBNET_ID
    if launch["SubnetId"] not in ec2._subnets:
        message = f"The subnet ID '{launch['SubnetId']}' does not exist"
        refuse("InvalidSubnetID.NotFound", message)
    for group in launch.get("SecurityGroupIds") or []:
        if group not in ec2._security_groups:
            refuse("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
    if profile := launch.get("IamInstanceProfile"):
        arn, name = profile.get("Arn", ""), profile.get("Name", "")
        _, error = ec2._resolve_iam_instance_profile(iam_arn=arn, iam_name=name)
        if error is not None:
            message = f"Value ({arn or name}) for parameter iamInstanceProfile is invalid."
            refuse("InvalidParameterValue", f"{message} Invalid IAM Instance Profile")
    _check_user_data(launch.get("UserData", ""))
    for spec in launch.get("TagSpecifications") or []:
        _check_tags(spec.get("Tags") or [])
    image = _image_of(launch["ImageId"])
    wanted = "arm64" if _ARM_TYPE.match(kind) else "x86_64"
    if architectures.get(image, wanted) != wanted:
        refuse(
            "InvalidParameterValue",
            f"The architecture '{wanted}' of the specified instance type does not match the "
            f"architecture '{architectures[image]}' of the specified AMI. Specify an instance type "
            "and an AMI that have matching architectures, and try again.",
        )
    return image


def _check_user_data(text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        refuse("InvalidParameterValue", "Invalid BASE64 encoding of user data.")
    if len(data) > _LARGEST_USER_DATA:
        refuse("InvalidParameterValue", "User data is limited to 16384 bytes")


def _check_tags(tags: list[dict[str, str]]) -> None:
    if len(tags) > _MOST_TAGS:
        refuse("TagLimitExceeded", "More than 50 tags specified")
    for tag in tags:
        key, value = tag["Key"], tag.get("Value", "")
        if not 0 < len(key) <= 128 or len(value) > 256 or key.startswith("aws:"):
            refuse("InvalidParameterValue", f"Tag {key!r} with the value {value!r} is not valid.")
    if len({tag["Key"] for tag in tags}) < len(tags):
        refuse("InvalidParameterValue", "Duplicate tag keys specified")


def _image_of(text: str) -> str:
    if text.startswith(_RESOLVE):
        found, _ = ssm._select_parameter(text.removeprefix(_RESOLVE))
        if not found:
            refuse("InvalidAMIID.NotFound", f"The SSM parameter in '{text}' does not exist")
        text = found["Value"]
    if not _IMAGE.fullmatch(text):
        refuse("InvalidAMIID.Malformed", f'Invalid id: "{text}"')
    return text


def _lack(launch: Parameters) -> None:
    """Fail as a test wants it."""
    for lack in _lacks:
        if not lack.meets(launch):
            continue
        if lack.times is not None:
            lack.times -= 1
            if lack.times <= 0:
                _lacks.remove(lack)
        code, message, status = lack.error
        place = {
            "{type}": launch["InstanceType"],
            "{zone}": _zone_of(launch["SubnetId"]),
            "{subnet}": launch["SubnetId"],
        }
        for name, value in place.items():
            message = message.replace(name, value)
        refuse(code, message, status)


def _make(launch: Parameters, image: str, token: str | None) -> dict[str, Any]:
    """Make the emulator's record of an instance, and let it start."""
    arn, name = ((launch.get("IamInstanceProfile") or {}).get(key, "") for key in ("Arn", "Name"))
    profile, _ = ec2._resolve_iam_instance_profile(iam_arn=arn, iam_name=name)
    [record] = ec2._launch_instances_internal(
        image_id=image,
        instance_type=launch["InstanceType"],
        subnet_id=launch["SubnetId"],
        count=1,
        key_name=launch.get("KeyName", ""),
        user_data=launch.get("UserData", ""),
        sg_ids=launch.get("SecurityGroupIds"),
        iam_profile=profile,
    )
    instance = record["InstanceId"]
    record["Placement"]["AvailabilityZone"] = _zone_of(launch["SubnetId"])
    record["Architecture"] = "arm64" if _ARM_TYPE.match(launch["InstanceType"]) else "x86_64"
    record["ClientToken"] = token or ""
    if _market_of(launch) == "spot":
        record["InstanceLifecycle"] = "spot"
    for spec in launch.get("TagSpecifications") or []:
        marked = [instance] if spec["ResourceType"] == "instance" else []
        if spec["ResourceType"] == "volume":
            marked = [each["Ebs"]["VolumeId"] for each in record["BlockDeviceMappings"]]
        for each in marked:
            ec2._tags[each] = [dict(tag) for tag in spec["Tags"]]
    shutdown = launch.get("InstanceInitiatedShutdownBehavior", "stop")
    hosts.start(record, shutdown, record["UserData"])
    return record


def _market_of(launch: Parameters) -> str:
    options = launch.get("InstanceMarketOptions") or {}
    return "spot" if options.get("MarketType") == "spot" else "on-demand"


def _zone_of(subnet: str) -> str:
    return str(ec2._subnets.get(subnet, {}).get("AvailabilityZone", "us-east-1a"))


def refuse(code: str, message: str, status: int = 400) -> NoReturn:
    raise RefusedError(code, message, status)


def nested(given: Parameters) -> Parameters:
    """Read a query's numbered and dotted names; lists get the SDK's names."""
    whole: dict[str, Any] = {}
    for name, value in given.items():
        place = whole
        *path, last = name.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value[0] if isinstance(value, list) else value
    found: Parameters = _listed(whole)
    return found


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdecimal() for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int)]
    return {_PLURALS.get(key, key): _listed(each) for key, each in value.items()}


@hook("POST", "ec2/capacity")
def _set_capacity(body: dict[str, Any]) -> dict[str, Any]:
    """Let launches fail: with a well-known `error` or a `code` and `message`; without, none any more."""
    if not body:
        _lacks.clear()
        return {}
    where = {key: body[key] for key in ("type", "market", "subnet", "times") if key in body}
    if "error" in body:
        error = _ERRORS[body["error"]]
    else:
        error = body["code"], body.get("message", "refused by a test"), body.get("status", 400)
    _lacks.append(_Lack(error, **where))
    return {}


on_reset.extend((_lacks.clear, _by_token.clear, architectures.clear))
