"""``setup``: look around in an AWS account and write what a control plane needs to know of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hut.model.problems import InvalidInput
from hutctl.configuration import NAMES, find_configuration, load_configuration
from hutctl.session import Session, report_input, shared_options

if TYPE_CHECKING:
    from hutctl.remote.targets import Target

__all__ = ["setup"]

_TYPES = {"default": ["c5.xlarge"]}
_LATEST = "al2023"


@click.group(
    epilog="""\b
Examples:
  hutctl setup ec2 --dry-run
  hutctl setup ec2 --target lab
"""
)
@shared_options
def setup() -> None:
    """Look around in an AWS account, and write what was found into the configuration."""


@dataclass(slots=True)
class _Wanted:
    """What the options say."""

    name: str | None
    vpc: str | None
    subnets: tuple[str, ...]
    groups: tuple[str, ...]
    types: dict[str, list[str]]
    ami: str | None
    max_instances: int | None
    image: str | None
    spot: str | None
    reuse: bool | None
    yes: bool


@dataclass(slots=True)
class _Found:
    """What was seen, said and chosen on the way.

    Attributes
    ----------
    own : dict or None
        What the deployment's backend of type ec2 is made of.
    said, warnings : list of str
        In sentences; warnings want somebody's attention.
    """

    own: dict[str, Any] | None = None
    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _partition_types(
    _ctx: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for value in values:
        partition, equals, types = value.partition("=")
        names = [name.strip() for name in types.split(",") if name.strip()]
        if not equals or not partition.strip() or not names:
            message = f"{value!r} is no PARTITION=TYPE[,TYPE]; write default=c5.xlarge,m5.xlarge"
            raise click.BadParameter(message)
        found.setdefault(partition.strip(), []).extend(names)
    return found


@setup.command(
    epilog="""\b
Examples:
  hutctl setup ec2 --dry-run                    look, and print what would be written
  hutctl setup ec2                              ask for what is open, write hut.yaml
  hutctl setup ec2 --yes --type gpu=g5.xlarge,g4dn.xlarge --spot prefer --apply
  hutctl setup ec2 --subnet subnet-0a1b2c3d --security-group sg-0a1b2c3d
\b
It looks with your own AWS credentials and changes nothing in the account. Without a terminal,
what is open must be said by options, or --yes takes what is marked. Then: hutctl config apply.
"""
)
@click.option("--vpc", metavar="VPC", help="Network of the instances.")
@click.option("--subnet", "subnets", multiple=True, metavar="SUBNET", help="A subnet; repeatable.")
@click.option(
    "--security-group", "groups", multiple=True, metavar="SG", help="A security group; repeatable."
)
@click.option(
    "--type", "types", multiple=True, metavar="PARTITION=TYPE[,TYPE]", callback=_partition_types,
    help="Instance types of a partition, tried in this order; repeatable.",
)  # fmt: skip
@click.option("--ami", metavar="AMI", help=f"ami-..., {_LATEST} (the newest), or resolve:ssm:...")
@click.option("--max-instances", type=click.IntRange(1), metavar="N", help="At most N at once.")
@click.option("--image", metavar="IMAGE", help="Container image of tasks that name none.")
@click.option("--spot", type=click.Choice(["never", "prefer", "only"]), help="Spot instances.")
@click.option("--reuse/--no-reuse", default=None, help="Let an idle instance take the next task.")
@click.option("--name", metavar="NAME", help="Of the backend; by default the deployment's own.")
@click.option("--region", metavar="R", help="AWS region, by default the target's.")
@click.option("--profile", metavar="P", help="AWS profile, by default the target's.")
@click.option("--yes", is_flag=True, help="Ask nothing: take what is marked.")
@click.option("--dry-run", is_flag=True, help="Print the entry; write nothing.")
@click.option("--apply", "applies", is_flag=True, help="Apply the file to the target, too.")
@shared_options
@click.pass_obj
def ec2(
    session: Session,
    /,
    *,
    region: str | None,
    profile: str | None,
    dry_run: bool,
    applies: bool,
    **options: Any,
) -> int:
    """Find network, image, types and quotas for EC2 tasks; write the backend into hut.yaml."""
    wanted = _Wanted(**options)
    if dry_run and applies:
        raise click.UsageError("--dry-run and --apply exclude each other")
    target = _target(session)
    if applies and target is None:
        raise click.UsageError("--apply needs a control plane; it is named by: --target NAME")
    path = find_configuration(session.config, os.getcwd()) or Path(os.getcwd()) / NAMES[0]
    try:
        text = _text_of(path)
        found = _Found()
        entry = _entry(session, wanted, target, region, profile, found)
        _check(entry)
        for line in (*found.said, *(f"warning: {each}" for each in found.warnings)):
            session.say(line)
        new, replaces = _new_text(path, text, entry, wanted, dry_run=dry_run)
    except InvalidInput as error:
        return report_input(error, session, consequence="; nothing was written")
    from hutctl.ec2_setup.stanzas import as_yaml, write_whole

    if not dry_run:
        write_whole(path, new)
    document: dict[str, Any] = {
        "file": str(path),
        "dry_run": dry_run,
        "replaced": replaces,
        "backend": entry,
        "found": found.said,
        "warnings": found.warnings,
    }
    if dry_run and not session.as_json:
        click.echo(as_yaml(entry), nl=False)
        session.say(f"nothing was written; without --dry-run this goes into {path}")
    elif not session.as_json:
        click.echo(f"{path}: backend {entry['name']} {'replaced' if replaces else 'added'}")
    if applies:
        from hutctl.commands.applying import apply_file

        return apply_file(session, path, message=f"setup ec2: {entry['name']}", beside=document)
    if session.as_json:
        session.emit(document)
    elif not dry_run:
        session.say("let the control plane know of it with: hutctl config apply")
    return 0


def _target(session: Session) -> Target | None:
    from hutctl.remote.targets import load_targets
    from hutctl.session import unknown_target

    name = session.target_name()
    if name in (None, "local"):
        return None
    targets = load_targets()
    if name not in targets.known:
        raise unknown_target(str(name), targets)
    return targets.known[str(name)]


def _text_of(path: Path) -> str:
    """Return what a configuration file holds, once it is known to be right."""
    if not path.exists():
        return ""
    load_configuration(path)
    return path.read_bytes().decode("utf-8")


def _check(entry: dict[str, Any]) -> None:
    """Hold the entry against the rules of configurations before anybody is asked about it."""
    from hut.model.configuration_reading import configuration_of
    from hut.model.documents import Document

    configuration_of(Document({"backends": [entry]}))


def _new_text(
    path: Path,
    text: str,
    entry: dict[str, Any],
    wanted: _Wanted,
    *,
    dry_run: bool,
) -> tuple[str, bool]:
    """Return the file with the entry in it, and whether it stands in place of another."""
    from hut.model.configuration_reading import read_configuration
    from hutctl.ec2_setup.stanzas import with_backend

    before = read_configuration(text, filename=str(path)).backends if text else []
    replaces = any(each.name == entry["name"] for each in before)
    new = with_backend(text, entry, str(path))
    read_configuration(new, filename=str(path))
    if replaces and not (dry_run or wanted.yes):
        question = f"{path} has a backend {entry['name']!r}"
        if not is_terminal():
            raise click.UsageError(f"{question}; --yes replaces it, --name NAME adds another one")
        click.confirm(f"{question}; replace it?", abort=True, err=True)
    return new, replaces


# What goes into the entry ------------------------------------------------------------------------


def _entry(
    session: Session,
    wanted: _Wanted,
    target: Target | None,
    region: str | None,
    profile: str | None,
    found: _Found,
) -> dict[str, Any]:
    """Look around, ask for what is open, and return the entry."""
    from hutctl.ec2_setup.account import Ec2Account
    from hutctl.ec2_setup.checks import Plan, check_account
    from hutctl.ec2_setup.network import Asked, choose_network
    from hutctl.remote.account import Account

    own_name = _look_at_deployment(session, target, wanted, found)
    own = found.own or {}
    there = own.get("region") or (target.region if target else None)
    if region and there and region != there:
        raise click.UsageError(
            f"--region {region}: the control plane is in {there} and launches instances only there"
        )
    place = there or region
    account = Account(
        target.name if target else "ec2", profile or (target.profile if target else None), place
    )
    if account.region is None:
        raise click.UsageError("no AWS region is configured; say it: --region eu-west-1")
    looked = Ec2Account(account)
    entry: dict[str, Any] = {"name": wanted.name or own_name or "ec2", "type": "ec2"}
    if not there:
        entry["aws"] = {"region": account.region}
    network = choose_network(
        looked, Asked(wanted.vpc, wanted.subnets, wanted.groups, own.get("subnet_ids", ())), choose
    )
    found.said += network.said
    found.warnings += network.warnings
    entry |= network.entry()
    types = _types(wanted, own)
    if wanted.types or not own:
        entry["instance_types"] = types
    ami = wanted.ami or own.get("ami") or _LATEST
    if wanted.ami or not own:
        entry["ami"] = ami
    most = wanted.max_instances or own.get("max_instances") or 20
    chosen = {
        "default_image": wanted.image,
        "max_instances": wanted.max_instances,
        "spot": wanted.spot,
        "reuse": wanted.reuse,
    }
    entry |= {key: value for key, value in chosen.items() if value is not None}
    spot = wanted.spot or own.get("spot") or "never"
    profile_arn = str(own.get("instance_profile_arn") or "")
    plan = Plan(types, ami, network.zones, most, spot, profile_arn)
    found.said += check_account(looked, plan, found.warnings)
    return entry


def _look_at_deployment(
    session: Session, target: Target | None, wanted: _Wanted, found: _Found
) -> str | None:
    """Note what the deployment's backend is made of; return its name."""
    if target is None:
        found.warnings.append(
            "no control plane is named (--target), so what the deployment has is not known"
        )
        return None
    backends = session.remote_configuration("").backends()
    usable = [each for each in backends if each.get("ec2")]
    usable.sort(key=lambda each: (each["name"] != wanted.name, each["origin"] != "stack"))
    if not usable:
        found.warnings.append(
            f"{target.name} has no backend of type ec2: set hut:ec2 in the CDK context and deploy "
            "again, else this one is only kept"
        )
        return None
    found.own = usable[0]["ec2"]
    name = str(usable[0]["name"])
    found.said.append(f"{target.name} runs EC2 tasks as {name}, in {usable[0]['ec2']['region']}")
    return name


def _types(wanted: _Wanted, own: dict[str, Any]) -> dict[str, list[str]]:
    types: dict[str, list[str]] = {**(own.get("instance_types") or _TYPES), **wanted.types}
    if wanted.types or wanted.yes or not is_terminal():
        return types
    shown = ",".join(types.get("default") or _TYPES["default"])
    answer = click.prompt("instance types of tasks without a partition", shown, err=True)
    names = [name.strip() for name in str(answer).split(",") if name.strip()]
    if answer != shown and names:
        types = {**types, "default": names}
        wanted.types = types
    return types


def is_terminal() -> bool:
    """Say whether somebody is there to be asked."""
    return sys.stdin.isatty()


def choose(what: str, options: Sequence[str], flag: str, *, marked: bool) -> int:
    """Return which one a person chooses; the first is marked, if one is."""
    if len(options) == 1:
        return 0
    context = click.get_current_context()
    if context.params["yes"] and marked:
        return 0
    if context.params["yes"] or not is_terminal():
        listed = "".join(f"\n  {option}" for option in options)
        taken = "; --yes takes the first one" if marked else ""
        raise click.UsageError(f"which {what}? Say it with {flag}{taken}:{listed}")
    for number, option in enumerate(options, 1):
        click.echo(f"  {number}  {option}", err=True)
    number = click.prompt(
        f"{what} (number)",
        type=click.IntRange(1, len(options)),
        default=1 if marked else None,
        err=True,
    )
    return int(number) - 1
