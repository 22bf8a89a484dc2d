"""The network jobs run in: an existing one, or one of two public subnets.

No NAT gateway: it would cost money while nothing runs. Hosts and tasks get public addresses to
reach registries, and a security group without any inbound rule. Traffic to S3 and DynamoDB stays
inside AWS through gateway endpoints, which are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_cdk import aws_ec2 as ec2

from infra.permissions import acknowledge
from infra.settings import Settings

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["Network", "make_network"]


@dataclass(frozen=True, slots=True)
class Network:
    """Where jobs run."""

    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]


def make_network(scope: Construct, settings: Settings) -> Network:
    """Return the network of the settings, or make one."""
    if settings.vpc_id is not None:
        groups = settings.security_group_ids or (_make_group(scope, settings.vpc_id),)
        return Network(settings.subnet_ids, groups)
    vpc = ec2.Vpc(
        scope,
        "Vpc",
        max_azs=2,
        nat_gateways=0,
        subnet_configuration=[
            ec2.SubnetConfiguration(
                name="Public", subnet_type=ec2.SubnetType.PUBLIC, map_public_ip_on_launch=True
            )
        ],
    )
    acknowledge(
        vpc,
        "AwsSolutions-VPC7",
        "Jobs only call out, nothing can call in; flow logs would bill each byte of their traffic. "
        "Whoever must have them names an existing VPC in the context.",
    )
    vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
    vpc.add_gateway_endpoint("DynamoDb", service=ec2.GatewayVpcEndpointAwsService.DYNAMODB)
    return Network(
        tuple(subnet.subnet_id for subnet in vpc.public_subnets),
        (_make_group(scope, vpc.vpc_id),),
    )


def _make_group(scope: Construct, vpc_id: str) -> str:
    group = ec2.CfnSecurityGroup(
        scope,
        "JobSecurityGroup",
        group_description="Jobs of Hut: everything out, nothing in",
        vpc_id=vpc_id,
        security_group_egress=[
            ec2.CfnSecurityGroup.EgressProperty(
                ip_protocol="-1", cidr_ip="0.0.0.0/0", description="Jobs call what they need"
            )
        ],
    )
    return group.attr_group_id
