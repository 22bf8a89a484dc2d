"""Where the instances of EC2 tasks are to be: the subnets and security groups that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import click

from hutctl.ec2_setup.account import Ec2Account, Group, Subnet, Unasked

__all__ = ["Asked", "Choose", "Network", "choose_network"]


class Asked(NamedTuple):
    """What somebody asks for, and the deployment's own subnets."""

    vpc: str | None
    subnets: Sequence[str]
    groups: Sequence[str]
    own: Sequence[str]


class Choose(Protocol):
    """Lets a person choose."""

    def __call__(self, what: str, options: Sequence[str], flag: str, *, marked: bool) -> int:
        """Return which of some options is chosen."""


@dataclass(frozen=True, slots=True)
class Network:
    """Subnets and security groups; no subnets stand for those of the deployment, `own`.

    Attributes
    ----------
    said, warnings : list of str
        What was seen, in sentences.
    """

    subnets: Sequence[Subnet] = ()
    groups: Sequence[Group] = ()
    own: Sequence[Subnet] = ()
    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def zones(self) -> set[str]:
        """The zones instances may be in."""
        return {subnet.zone for subnet in self.subnets or self.own}

    def entry(self) -> dict[str, Any]:
        """Return the fields of the backend that say it."""
        if not self.subnets:
            return {}
        return {
            "subnet_ids": [subnet.id for subnet in self.subnets],
            "security_group_ids": [group.id for group in self.groups],
        }


def choose_network(account: Ec2Account, asked: Asked, choose: Choose) -> Network:
    """Return where instances are to be.

    Raises
    ------
    click.UsageError
        If what is asked for is not there or does not fit together, or nothing is.
    """
    try:
        if asked.subnets:
            subnets, left = account.subnets(ids=asked.subnets), 0
            networks = sorted({subnet.vpc for subnet in subnets})
            if len(networks) > 1:
                known = ", ".join(networks)
                raise click.UsageError(f"the subnets are of several networks: {known}")
            if asked.vpc and networks != [asked.vpc]:
                raise click.UsageError(f"the subnets are of {networks[0]}, not of {asked.vpc}")
        else:
            vpc = asked.vpc or _vpc(account, asked.own, choose)
            if not vpc:
                return _own(account, asked)
            subnets, left = _one_per_zone(account.subnets(vpc=vpc), vpc)
        groups = _groups(account, subnets[0].vpc, asked, choose)
    except Unasked as error:
        raise click.UsageError(str(error)) from None
    found = Network(subnets, groups)
    if left:
        found.said.append(f"{left} other subnets are left out: one of each zone is enough")
    found.said.extend([f"subnet {each}" for each in subnets])
    found.said.extend([f"security group {each}" for each in groups])
    found.warnings.extend(
        f"from {each.id} nothing reaches AWS: {each.lacks}" for each in subnets if not each.way
    )
    found.warnings.extend(
        f"{each.id} lets others in; no inbound rule is needed" for each in groups if each.inbound
    )
    return found


def _own(account: Ec2Account, asked: Asked) -> Network:
    if asked.groups:
        raise click.UsageError("--security-group goes with a network: add --vpc or --subnet")
    there = account.subnets(ids=asked.own)
    return Network(own=there, said=[f"subnet {subnet}" for subnet in there])


def _vpc(account: Ec2Account, own: Sequence[str], choose: Choose) -> str:
    """Return a network; empty for the deployment's own."""
    vpcs = account.vpcs()
    options = [f"the deployment's own network ({', '.join(own)})"] if own else []
    options += [str(vpc) for vpc in vpcs]
    if not options:
        raise click.UsageError("there is no network (VPC) in this region; make one first")
    marked = own or len(vpcs) == 1 or vpcs[0].is_default
    chosen = choose("network", options, "--vpc VPC or --subnet SUBNET", marked=bool(marked))
    if own and chosen == 0:
        return ""
    return vpcs[chosen - bool(own)].id


def _one_per_zone(subnets: Sequence[Subnet], vpc: str) -> tuple[list[Subnet], int]:
    """Return of each zone the subnet from which AWS is reached and that has most addresses free.

    The second value is how many others there are.
    """
    if not subnets:
        raise click.UsageError(f"{vpc} has no subnets; name another one: --vpc VPC")
    chosen: dict[str, Subnet] = {}
    for subnet in subnets:
        if subnet.way:
            chosen.setdefault(subnet.zone, subnet)
    if not chosen:
        lines = "; ".join(map(str, subnets))
        raise click.UsageError(
            f"from no subnet of {vpc} AWS is reached: {lines}. Add a route to the internet or "
            "endpoints, or name the subnets all the same: --subnet SUBNET"
        )
    return list(chosen.values()), len(subnets) - len(chosen)


def _groups(account: Ec2Account, vpc: str, asked: Asked, choose: Choose) -> list[Group]:
    if asked.groups:
        groups = account.groups(ids=asked.groups)
        strange = [group.id for group in groups if group.vpc != vpc]
        if strange:
            raise click.UsageError(f"{', '.join(strange)}: not of the network {vpc}")
        return groups
    groups = account.groups(vpc=vpc)
    closed = [group for group in groups if not group.inbound]
    if not closed:
        known = "; ".join(map(str, groups)) or "none"
        raise click.UsageError(
            f"{vpc} has no security group without inbound rules ({known}); make one (aws ec2 "
            "create-security-group), or name one all the same: --security-group SG"
        )
    chosen = choose("security group", list(map(str, closed)), "--security-group SG", marked=False)
    return [closed[chosen]]
