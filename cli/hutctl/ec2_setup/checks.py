"""What ``setup ec2`` finds out of types, image, quotas and the profile; none of it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hutctl.ec2_setup.account import QUOTAS, Ec2Account, Kind, Unasked

__all__ = ["Plan", "check_account"]

_STANDARD, _GRAPHICS, _SPOT = QUOTAS
_GRAPHICS_FAMILIES = ("g", "vt")
_STANDARD_FAMILIES = ("a", "c", "d", "h", "i", "m", "r", "t", "z")
_LATEST = "al2023"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be launched, as far as it can be checked.

    Attributes
    ----------
    types : mapping of str to sequence of str
        By partition, in order.
    zones : collection of str
        Of the subnets; empty if they are not known.
    most : int
        Instances at once.
    profile : str
        ARN of the instance profile; empty if it is not known.
    """

    types: Mapping[str, Sequence[str]]
    ami: str
    zones: Collection[str]
    most: int
    spot: str
    profile: str


def check_account(account: Ec2Account, plan: Plan, warnings: list[str]) -> list[str]:
    """Return what was found, in sentences; add to warnings what is not as it should be."""
    names = list(dict.fromkeys(name for some in plan.types.values() for name in some))
    try:
        kinds = account.kinds(names)
    except Unasked as error:
        warnings.append(f"the instance types could not be looked at: {error}")
        kinds = {}
    said = list(_types(plan, kinds, warnings))
    said += _image(account, plan.ami, kinds, warnings)
    said += _quotas(account, plan, kinds, warnings)
    if plan.profile:
        said += _profile(account, plan.profile, warnings)
    return said


def _types(plan: Plan, kinds: Mapping[str, Kind], warnings: list[str]) -> Iterator[str]:
    zones = set(plan.zones)
    for partition, names in plan.types.items():
        for name in names:
            kind = kinds.get(name)
            if kind is None:
                if kinds:
                    warnings.append(f"there is no instance type {name!r} in this region")
                continue
            gpus = f", {kind.gpus} GPUs" if kind.gpus else ""
            where = sorted(kind.zones & zones) if zones else sorted(kind.zones)
            yield f"partition {partition}: {name} ({kind.cpus} vCPUs{gpus}), in {', '.join(where)}"
            if zones and not where:
                warnings.append(f"{name} is offered in none of the subnets' zones")


def _image(
    account: Ec2Account, ami: str, kinds: Mapping[str, Kind], warnings: list[str]
) -> Iterator[str]:
    processors = {name for kind in kinds.values() for name in kind.processors} or {"x86_64"}
    if any(kind.gpus for kind in kinds.values()) and ami == _LATEST:
        warnings.append(
            f"the image {_LATEST} has no drivers for GPUs; --ami names one that has, such as AWS's "
            "Deep Learning Base AMI"
        )
    try:
        if ami == _LATEST:
            for processor in sorted(processors & {"x86_64", "arm64"}):
                yield f"newest Amazon Linux 2023 for {processor}: {account.newest_image(processor)}"
        elif ami.startswith("ami-"):
            name, processor = account.image(ami)
            yield f"image {ami}: {name} ({processor})"
            if processor not in processors:
                warnings.append(f"{ami} is for {processor}; the types are {sorted(processors)}")
    except Unasked as error:
        warnings.append(f"the image could not be looked at: {error}")


def _quotas(
    account: Ec2Account, plan: Plan, kinds: Mapping[str, Kind], warnings: list[str]
) -> Iterator[str]:
    most = plan.most
    wanted: dict[str, list[Kind]] = {}
    for names in plan.types.values():
        first = next((kinds[name] for name in names if name in kinds), None)
        code = _quota_of(first) if first is not None else None
        if first is None or code is None:
            continue
        if plan.spot != "only":
            wanted.setdefault(code, []).append(first)
        if plan.spot != "never" and code == _STANDARD:
            wanted.setdefault(_SPOT, []).append(first)
    for code in QUOTAS:
        if code not in wanted and code != _STANDARD:
            continue
        try:
            quota = account.quota(code)
        except Unasked as error:
            warnings.append(f"the quota {code} ({QUOTAS[code]}) could not be looked at: {error}")
            continue
        yield f"quota: {quota.value:,.0f} {quota.what}"
        for kind in wanted.get(code, ()):
            if quota.value < kind.cpus:
                warnings.append(
                    f"no {kind.name} can be launched: it has {kind.cpus} vCPUs, the quota {code} is "
                    f"{quota.value:,.0f}; ask for more in Service Quotas"
                )
            elif quota.value < most * kind.cpus:
                fits = int(quota.value // kind.cpus)
                warnings.append(
                    f"{most} instances of {kind.name} need {most * kind.cpus:,} vCPUs; the quota {code} "
                    f"of {quota.value:,.0f} is enough for {fits}. What does not fit waits"
                )


def _quota_of(kind: Kind) -> str | None:
    """Return which quota an instance type counts against, of those that are looked at."""
    letters = kind.name[: next((n for n, c in enumerate(kind.name) if c.isdigit()), 0)]
    if letters in _GRAPHICS_FAMILIES:
        return _GRAPHICS
    return _STANDARD if letters in _STANDARD_FAMILIES else None


def _profile(account: Ec2Account, arn: str, warnings: list[str]) -> Iterator[str]:
    try:
        roles = account.profile_roles(arn)
    except Unasked as error:
        warnings.append(f"the instance profile could not be looked at: {error}")
        return
    if roles:
        yield f"instance profile {arn.rpartition('/')[2]}, with the role {', '.join(roles)}"
    else:
        warnings.append(f"the instance profile {arn} has no role: instances can't report to SSM")
