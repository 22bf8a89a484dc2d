"""What every role of the stacks may do, as rows of a reviewed file: `roles.md`.

A row is what one role may do with some resources of one service under one condition. The templates
give all of it but the reason, which a person writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.access.tables import HERE, rows
from tests.infra.synthesis import Synthesis, flat, many

__all__ = [
    "FILE",
    "UNREVIEWED",
    "VARIANTS",
    "Row",
    "known_reasons",
    "read_file",
    "render",
    "rows_of",
]

FILE = HERE / "roles.md"
UNREVIEWED = "REVIEW: why?"
_SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-AbCdEf:token::"
_PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/lab/key"
VARIANTS: Mapping[str, Mapping[str, object]] = {
    "as it is": {},
    "removal=destroy": {"removal": "destroy"},
    "secrets": {"secrets": {"TOKEN": _SECRET, "KEY": _PARAMETER}},
    "job_definition": {"job_definition": "lab:3", "job_log_group": "/lab/jobs"},
    "job_definition_mode=revisions": {
        "job_definition": "lab",
        "job_definition_mode": "revisions",
        "job_role_arn": "arn:aws:iam::123456789012:role/job",
        "execution_role_arn": "arn:aws:iam::123456789012:role/pull",
    },
}
"""Settings that change what roles may do, by the title of their part of the file."""

_HEAD = """# What each role may do

Compared with the templates by `tests/infra/test_reviewed_roles.py`, which fails with the difference. After a
change of what a role may do:

    .venv/bin/python -m tests.access.renew

writes this file anew and keeps the reasons it knows; what is new says `{unreviewed}` until a person has written
there why the role needs it and why no less would do. Nothing else in this file is written by hand.

Names in angle brackets are resources of the stacks; `*` stands in a resource only where the reason says so.
What a part with settings lists comes on top of `as it is`, or stands in the place of a row for the same.
"""
_HASHED = re.compile(r"([0-9A-F]{8})(?=$|\.)")
_EXPORTED = re.compile(r"\w+:ExportsOutput(?:FnGetAtt|Ref)(\w+?)[0-9A-F]{8}(?:(\w+?)[0-9A-F]{8})?$")
_SHORT = {"<AWS::Partition>": "aws", "<AWS::Region>": "REGION", "<AWS::AccountId>": "ACCOUNT"}


@dataclass(frozen=True, order=True)
class Row:
    """What somebody may do with something.

    Attributes
    ----------
    role : str
        Stack and name of the role; or what has a policy of its own.
    who : str
        Who may take the role, or who it is that may do this with what has the policy.
    """

    role: str
    who: str
    on: tuple[str, ...]
    may: tuple[str, ...]
    condition: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a reason belongs to: if this changes, the reason may be another."""
        return (self.role, ", ".join(self.on), ", ".join(self.may), self.condition)


def rows_of(synthesis: Synthesis) -> set[Row]:
    """Return what is allowed and refused in the templates of an app."""
    return {*_identity_rows(synthesis), *_resource_rows(synthesis)}


def _identity_rows(synthesis: Synthesis) -> Iterator[Row]:
    takers = {
        name: _who(statement)
        for name, role in synthesis.resources("AWS::IAM::Role").items()
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    }
    for name, role in synthesis.resources("AWS::IAM::Role").items():
        for policy in role["Properties"].get("ManagedPolicyArns", ()):
            arn = _readable(flat(policy))
            yield Row(_plain(name), takers[name], ("(what the policy says)",), (arn,))
    for name, statement in synthesis.statements():
        assert statement["Effect"] == "Allow", name
        yield from _rows(_plain(name), takers[name], statement)


def _resource_rows(synthesis: Synthesis) -> Iterator[Row]:
    """Yield what queues, buckets, topics, functions and the API say themselves."""
    for kind, key in {
        "AWS::SQS::QueuePolicy": "PolicyDocument",
        "AWS::S3::BucketPolicy": "PolicyDocument",
        "AWS::SNS::TopicPolicy": "PolicyDocument",
        "AWS::ApiGateway::RestApi": "Policy",
    }.items():
        for name, resource in synthesis.resources(kind).items():
            for statement in resource["Properties"][key]["Statement"]:
                yield from _rows(_plain(name), _who(statement), statement)
    for name, resource in synthesis.resources("AWS::Lambda::Permission").items():
        properties = resource["Properties"]
        condition = {"ArnLike": {"aws:SourceArn": properties["SourceArn"]}}
        yield Row(
            _plain(name),
            properties["Principal"],
            (_readable(flat(properties["FunctionName"])),),
            (properties["Action"],),
            _said(condition),
        )


def _rows(role: str, who: str, statement: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of a statement: one per service, since the CDK puts several together."""
    on = tuple(sorted(_readable(flat(resource)) for resource in many(statement["Resource"])))
    by_service: dict[str, list[str]] = {}
    for action in many(statement["Action"]):
        by_service.setdefault(action.partition(":")[0], []).append(action)
    mark = "" if statement["Effect"] == "Allow" else "NOT "
    for actions in by_service.values():
        may = tuple(mark + action for action in sorted(actions))
        yield Row(role, who, on, may, _said(statement.get("Condition", {})))


def _who(statement: Mapping[str, Any]) -> str:
    principal = statement["Principal"]
    if principal in ("*", {"AWS": "*"}):
        return "anybody"
    return ", ".join(sorted(many(principal["Service"])))


def _said(conditions: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{operator} {key} {' or '.join(_readable(_value(value)) for value in many(values))}"
        for operator, keys in sorted(conditions.items())
        for key, values in sorted(keys.items())
    )


def _value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, int | float) else flat(value)


def _plain(name: str) -> str:
    """Return ``Stack/Resource`` without the hash the CDK puts behind a logical id."""
    return _HASHED.sub("", name)


def _readable(text: str) -> str:
    """Return a flattened ARN without hashes, and with the names of what other stacks export."""
    for long, short in _SHORT.items():
        text = text.replace(long, short)

    def name(match: re.Match[str]) -> str:
        inner = match[1]
        if exported := _EXPORTED.match(inner):
            return f"<{'.'.join(filter(None, exported.groups()))}>"
        return f"<{_HASHED.sub('', inner)}>"

    return re.sub(r"<([^>]*)>", name, text)


# The file -----------------------------------------------------------------------------------------


def read_file() -> str:
    return FILE.read_text() if FILE.exists() else ""


def known_reasons(text: str) -> dict[tuple[str, ...], str]:
    """Return the reasons of a file by the key of their row."""
    found, role = {}, ""
    for block in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        role = block.partition("\n")[0]
        for row in rows(block):
            key = (role, *(row[column].replace("`", "") for column in ("on", "may", "if")))
            found[key] = row["why"]
    return found


def render(variants: Mapping[str, Iterable[Row]], reasons: Mapping[tuple[str, ...], str]) -> str:
    """Return the file: for each variant what the first one does not say."""
    parts = [_HEAD.format(unreviewed=UNREVIEWED)]
    base: set[Row] = set()
    for title, all_rows in variants.items():
        fresh = sorted(set(all_rows) - base)
        base = base or set(all_rows)
        parts.append(f"\n## {title}\n")
        role = ""
        for row in fresh:
            if row.role != role:
                role = row.role
                whose = {each.who for each in fresh if each.role == role}
                taken = f"\nTaken by `{row.who}`.\n" if len(whose) == 1 else ""
                parts.append(
                    f"\n### {role}\n{taken}\n| who | may | on | if | why |\n|---|---|---|---|---|\n"
                )
            cells = (row.who, _code(row.may), _code(row.on), _code([row.condition]), "")
            why = reasons.get(row.key, UNREVIEWED)
            parts.append("| " + " | ".join([*cells[:-1], why]) + " |\n")
    return "".join(parts)


def _code(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts if text)
