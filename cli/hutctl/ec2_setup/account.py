"""What an AWS account has for EC2 tasks: networks, images, types, quotas; for ``hutctl setup ec2``.

Everything is only looked at, with the caller's own credentials.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hutctl.client import Unreachable
from hutctl.remote.account import Account
from hutctl.remote.faults import OutOfReach, Refused, connection_fault, credentials_fault

__all__ = ["QUOTAS", "Ec2Account", "Group", "Kind", "Quota", "Subnet", "Unasked", "Vpc"]

LATEST = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
"""The parameter that names the newest image of Amazon Linux 2023 for a processor."""

QUOTAS: Mapping[str, str] = {
    "L-1216C47A": "vCPUs of running on-demand standard instances",
    "L-DB2E81BA": "vCPUs of running on-demand G and VT instances",
    "L-34B43A08": "vCPUs of standard spot instance requests",
}
"""Quotas of EC2 by their codes in Service Quotas."""

_NEEDED = ("ssm", "ssmmessages", "ec2messages", "logs", "s3")
"""What an instance talks to; without a way to the internet, each must have an endpoint."""

_DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
_NOT_LET_IN = frozenset(
    {
        "AuthFailure",
        "Blocked",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""What EC2 says of credentials, not of what is asked for."""
_GATEWAYS = {
    "NatGatewayId": "a NAT gateway",
    "TransitGatewayId": "a transit gateway",
    "NetworkInterfaceId": "a network interface",
    "InstanceId": "an instance that passes packets on",
}


class Unasked(Exception):  # noqa: N818 - says what it is
    """The account does not say: the caller may not ask, or there is no such thing."""


@dataclass(frozen=True, slots=True)
class Vpc:
    """A network."""

    id: str
    name: str
    cidr: str
    is_default: bool

    def __str__(self) -> str:
        return " ".join(filter(None, (self.id, self.cidr, self.name, "default" * self.is_default)))


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet, and how instances in it reach AWS.

    Attributes
    ----------
    way : str
        Through what; empty if there is no way that is known of.
    lacks : str
        What is missing, where there is no way.
    """

    id: str
    vpc: str
    zone: str
    free: int
    name: str = ""
    way: str = ""
    lacks: str = ""

    def __str__(self) -> str:
        reach = f"through {self.way}" if self.way else f"no way to AWS: {self.lacks}"
        parts = (self.id, self.zone, self.name, f"{self.free:,} free addresses, {reach}")
        return " ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Group:
    """A security group; `inbound` is how many rules let somebody in."""

    id: str
    vpc: str
    name: str
    inbound: int

    def __str__(self) -> str:
        rules = f"{self.inbound} inbound rules" if self.inbound else "no inbound rules"
        return f"{self.id} {self.name} ({rules})"


@dataclass(frozen=True, slots=True)
class Kind:
    """An instance type; `zones` are those it is offered in."""

    name: str
    cpus: int
    processors: tuple[str, ...]
    gpus: int
    zones: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Quota:
    """A bound of the account."""

    code: str
    what: str
    value: float


class Ec2Account:
    """See the module's docstring.

    Parameters
    ----------
    account
        Whose credentials, and where.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def vpcs(self) -> list[Vpc]:
        """Return all networks, the default one first."""
        found = [
            Vpc(each["VpcId"], _name(each), each.get("CidrBlock", ""), bool(each.get("IsDefault")))
            for each in self.pages("describe_vpcs", "Vpcs")
        ]
        return sorted(found, key=lambda vpc: (not vpc.is_default, vpc.id))

    def subnets(self, *, vpc: str = "", ids: Sequence[str] = ()) -> list[Subnet]:
        """Return the subnets of a network, or those of some ids, by zone.

        Raises
        ------
        Unasked
            If one of the ids is none of a subnet.
        """
        asked = {"SubnetIds": list(ids)} if ids else _filters({"vpc-id": [vpc]})
        found = list(self.pages("describe_subnets", "Subnets", **asked))
        networks = sorted({each["VpcId"] for each in found})
        ways = {each: _Ways(self, each) for each in networks}
        subnets = [
            Subnet(
                each["SubnetId"],
                each["VpcId"],
                each["AvailabilityZone"],
                int(each.get("AvailableIpAddressCount", 0)),
                _name(each),
                *ways[each["VpcId"]].of(each),
            )
            for each in found
        ]
        return sorted(subnets, key=lambda subnet: (subnet.zone, -subnet.free, subnet.id))

    def groups(self, *, vpc: str = "", ids: Sequence[str] = ()) -> list[Group]:
        """Return the security groups of a network, or those of some ids; those that let nobody in first."""
        asked = {"GroupIds": list(ids)} if ids else _filters({"vpc-id": [vpc]})
        found = [
            Group(each["GroupId"], each["VpcId"], each["GroupName"], len(each["IpPermissions"]))
            for each in self.pages("describe_security_groups", "SecurityGroups", **asked)
        ]
        return sorted(found, key=lambda group: (group.inbound, group.name, group.id))

    def newest_image(self, processor: str) -> str:
        """Return the id of the newest image of Amazon Linux 2023 for ``x86_64`` or ``arm64``."""
        answer = self._optional("ssm", "get_parameter", Name=LATEST.format(processor))
        return str(answer["Parameter"]["Value"])

    def image(self, ami: str) -> tuple[str, str]:
        """Return the name and the processor of an image."""
        images = self._optional("ec2", "describe_images", ImageIds=[ami])["Images"]
        if not images:
            raise Unasked(f"there is no image {ami} that this account can use")
        return str(images[0].get("Name", "")), str(images[0].get("Architecture", ""))

    def kinds(self, names: Collection[str]) -> dict[str, Kind]:
        """Return instance types by their names, with the zones they are offered in.

        Raises
        ------
        Unasked
            If EC2 does not tell: a person can do without.
        """
        try:
            return self._kinds(names)
        except (OutOfReach, Refused):
            raise
        except Unreachable as error:
            raise Unasked(str(error)) from error

    def _kinds(self, names: Collection[str]) -> dict[str, Kind]:
        asked = _filters({"instance-type": sorted(names)})
        zones: dict[str, set[str]] = {name: set() for name in names}
        offered = self.pages(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            **asked,
        )
        for offer in offered:
            zones.setdefault(offer["InstanceType"], set()).add(offer["Location"])
        found = {}
        for each in self.pages("describe_instance_types", "InstanceTypes", **asked):
            name = each["InstanceType"]
            gpus = sum(int(gpu.get("Count", 0)) for gpu in each.get("GpuInfo", {}).get("Gpus", ()))
            found[name] = Kind(
                name,
                int(each["VCpuInfo"]["DefaultVCpus"]),
                tuple(each.get("ProcessorInfo", {}).get("SupportedArchitectures", ())),
                gpus,
                frozenset(zones.get(name, ())),
            )
        return found

    def quota(self, code: str) -> Quota:
        """Return a quota as it stands, by its code."""
        answer = self._optional(
            "service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode=code
        )
        return Quota(code, QUOTAS[code], float(answer["Quota"]["Value"]))

    def profile_roles(self, arn: str) -> list[str]:
        """Return the names of the roles in an instance profile."""
        name = arn.rpartition("/")[2]
        found = self._optional("iam", "get_instance_profile", InstanceProfileName=name)
        return [str(role["RoleName"]) for role in found["InstanceProfile"]["Roles"]]

    # Calls ----------------------------------------------------------------------------------------

    @cached_property
    def _ec2(self) -> Any:
        return self._account.client("ec2")

    def pages(self, operation: str, key: str, **asked: Any) -> Iterator[Any]:
        """Yield what all pages of an answer hold; what can't be asked ends the command."""
        try:
            for page in self._ec2.get_paginator(operation).paginate(**asked):
                yield from page[key]
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _DENIED:
                raise Unreachable(
                    f"{self._account.access.whose} may not look at it: ask for ec2:"
                    f"{operation.title().replace('_', '')}"
                ) from error
            if code.startswith("Invalid") and code.endswith((".NotFound", ".Malformed")):
                raise Unasked(str(error.response["Error"].get("Message", code))) from error
            if code in _NOT_LET_IN:
                raise credentials_fault(error, self._account.access) from error
            said = error.response.get("Error", {}).get("Message") or code
            raise Unreachable(f"EC2 in {self._account.region} answers: {said}") from error
        except BotoCoreError as error:
            raise connection_fault(error, f"EC2 in {self._account.region}") from error

    def _optional(self, service: str, operation: str, **asked: Any) -> Any:
        """Return an answer that a person can do without."""
        try:
            return getattr(self._account.client(service), operation)(**asked)
        except ClientError as error:
            told = error.response.get("Error", {})
            raise Unasked(f"{service}: {told.get('Message') or told.get('Code')}") from error
        except BotoCoreError as error:
            raise Unasked(f"{service}: {error}") from error


class _Ways:
    """How instances of a network reach AWS: by route tables, and by endpoints."""

    def __init__(self, account: Ec2Account, vpc: str) -> None:
        asked = _filters({"vpc-id": [vpc]})
        self._main: Any = None
        self._tables: dict[str, Any] = {}
        for table in account.pages("describe_route_tables", "RouteTables", **asked):
            for association in table.get("Associations", ()):
                if association.get("Main"):
                    self._main = table
                if "SubnetId" in association:
                    self._tables[association["SubnetId"]] = table
        self._endpoints: dict[str, set[str]] = {}
        for each in account.pages("describe_vpc_endpoints", "VpcEndpoints", **asked):
            service = each["ServiceName"].rpartition(".")[2]
            places = {*each.get("SubnetIds", ()), *each.get("RouteTableIds", ())}
            self._endpoints.setdefault(service, set()).update(places)

    def of(self, subnet: Any) -> tuple[str, str]:
        """Return through what instances of a subnet reach AWS, or what is missing for it."""
        table = self._tables.get(subnet["SubnetId"], self._main)
        lacks = "it has no route to the internet"
        for route in (table or {}).get("Routes", ()):
            if (
                route.get("DestinationCidrBlock") != "0.0.0.0/0"
                or route.get("State") == "blackhole"
            ):
                continue
            if str(route.get("GatewayId", "")).startswith("igw-"):
                if subnet.get("MapPublicIpOnLaunch"):
                    return "an internet gateway", ""
                lacks = "it has an internet gateway, but gives instances no public addresses"
                continue
            for key, way in _GATEWAYS.items():
                if route.get(key):
                    return way, ""
        # Interface endpoints serve their whole network; the gateway to S3 the tables it is in.
        missing = [name for name in _NEEDED if name not in self._endpoints]
        if not missing:
            return "endpoints", ""
        if len(missing) < len(_NEEDED):
            lacks += f", and no endpoints for {', '.join(missing)}"
        return "", lacks


def _filters(wanted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {"Filters": [{"Name": name, "Values": list(some)} for name, some in wanted.items()]}


def _name(resource: Any) -> str:
    tags = {tag["Key"]: tag["Value"] for tag in resource.get("Tags", ())}
    return str(tags.get("Name", ""))
