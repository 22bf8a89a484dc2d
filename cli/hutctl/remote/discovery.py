"""Finds a control plane: by the outputs of its stack, or by its address."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

import click
from botocore.exceptions import BotoCoreError, ClientError

from hutctl.client import Unreachable
from hutctl.remote.account import Account
from hutctl.remote.answers import document_of
from hutctl.remote.faults import connection_fault, credentials_fault
from hutctl.remote.http import Api
from hutctl.remote.targets import Target

__all__ = ["by_stack", "by_url", "reached"]

_API_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.(amazonaws\.com|amazonaws\.com\.cn)$")


def by_stack(name: str, stack: str, profile: str | None, region: str | None) -> Target:
    """Return the target whose API a CloudFormation stack says.

    Raises
    ------
    click.UsageError
        If there is no such stack, or it is none of Hut's.
    Unreachable
        If CloudFormation can't be asked.
    """
    account = Account(name, profile, region)
    found_region = _needed(account.region)
    outputs = _outputs(account, stack, found_region)
    url = outputs.get("ApiUrl")
    if not url:
        known = ", ".join(sorted(outputs)) or "none"
        raise click.UsageError(
            f"the stack {stack!r} in {found_region} has no output ApiUrl (its outputs: {known}); "
            "name the stack of Hut's API, by default HutApi: --stack HutApi"
        )
    return Target(
        name,
        url.rstrip("/"),
        found_region,
        profile,
        stack,
        outputs.get("Prefix"),
        outputs.get("Version"),
    )


def _outputs(account: Account, stack: str, region: str) -> dict[str, str]:
    try:
        answer = account.client("cloudformation").describe_stacks(StackName=stack)
    except ClientError as error:
        told = error.response.get("Error", {})
        if "does not exist" in str(told.get("Message")):
            raise click.UsageError(
                f"there is no stack {stack!r} in {region} in this account; was Hut deployed there? "
                "--stack, --region and --profile say where to look"
            ) from None
        if told.get("Code") in ("AccessDenied", "AccessDeniedException"):
            raise Unreachable(
                f"{account.access.whose} may not look at stacks: {told.get('Message')}; ask for "
                "cloudformation:DescribeStacks, or give the address of the API: --url URL"
            ) from error
        raise credentials_fault(error, account.access) from error
    except BotoCoreError as error:
        place = f"https://cloudformation.{region}.amazonaws.com"
        raise connection_fault(error, place) from error
    entries = answer["Stacks"][0].get("Outputs") or []
    return {entry["OutputKey"]: entry["OutputValue"] for entry in entries}


def by_url(name: str, url: str, profile: str | None, region: str | None) -> Target:
    """Return the target at an address.

    Raises
    ------
    click.UsageError
        If it is no address, or its region is not known.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise click.UsageError(f"--url {url!r} is no address; it begins with https://")
    in_host = _API_HOST.search(parts.hostname)
    found = region or (in_host[1] if in_host else None) or Account(name, profile, None).region
    return Target(name, url.rstrip("/"), _needed(found), profile)


def _needed(region: str | None) -> str:
    if region is None:
        raise click.UsageError("no AWS region is configured; say it: --region eu-west-1")
    return region


def reached(target: Target) -> Target:
    """Ask the API who it is, and return the target with what it says.

    Raises
    ------
    Unreachable
        If it can't be reached or is none of Hut's.
    """
    health = document_of(Api(target).call("GET", "/health"))
    if health.get("status") != "ok":
        raise Unreachable(f"{target.url} is no API of Hut, or not well: {health}")
    return replace(
        target,
        prefix=health.get("prefix") or target.prefix,
        version=health.get("version") or target.version,
    )
