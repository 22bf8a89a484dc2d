"""What `hutctl doctor` looks at for a target in AWS."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from hut import __version__
from hut.store.port import StoreError
from hutctl.client import Unreachable
from hutctl.remote.answers import document_of
from hutctl.remote.http import Answer, Api

__all__ = ["diagnose"]

Check = tuple[str, bool, str]

_SKEW_NOTED = 30.0
_SKEW_REFUSED = 300.0  # AWS takes no signature that is older
_NAMES = {"env": "environment variables", "iam-role": "the role of this instance"}


def diagnose(api: Api) -> list[Check]:
    """Return what was looked at, whether it is well, and what was found."""
    target = api.target
    checks: list[Check] = [("target", True, f"{target.name}: {target.url}, {target.region}")]
    try:
        api.account.credentials()
    except Unreachable as error:
        return [*checks, ("identity", False, str(error))]
    checks.append(_identity(api))
    try:
        first = api.call("GET", "/health")
        again = api.call("GET", "/health")
        health = document_of(again)
    except (Unreachable, StoreError) as error:
        return [*checks, ("api", False, str(error))]
    took = f"{first.seconds:.2f}s, then {again.seconds:.2f}s"
    well = health.get("status") == "ok"
    return [
        *checks,
        ("api", well, f"answers after {took}" if well else f"says it is not well: {health}"),
        _version(str(health.get("version"))),
        _clock(again),
    ]


def _identity(api: Api) -> Check:
    method = api.account.access.method or "unknown"
    source = _NAMES.get(method, method)
    if api.target.profile is not None:
        source = f"profile {api.target.profile!r}, {source}"
    try:
        who = api.account.client("sts").get_caller_identity()
    except (Unreachable, BotoCoreError, ClientError) as error:
        return ("identity", False, f"{source}: {' '.join(str(error).split())}")
    return ("identity", True, f"{who['Arn']} (from {source})")


def _version(there: str) -> Check:
    if there == __version__:
        return ("version", True, f"{there}, here and there")
    same_kind = there.split(".")[:2] == __version__.split(".")[:2]
    found = f"hutctl is {__version__}, the control plane is {there}"
    return ("version", same_kind, found if same_kind else f"{found}; deploy or install anew")


def _clock(answer: Answer) -> Check:
    off = answer.clock_off
    if off is None:
        return ("clock", True, "the API does not tell its time")
    if abs(off) < _SKEW_NOTED:
        return ("clock", True, "agrees with AWS")
    side = "ahead of" if off > 0 else "behind"
    return ("clock", abs(off) < _SKEW_REFUSED, f"{abs(off):,.0f}s {side} AWS; set the clock")
