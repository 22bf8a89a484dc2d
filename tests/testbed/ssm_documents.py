"""SSM documents of the kind Command: kept, checked, and made into the script that runs.

Parameters are put into the text of the script as they are, as SSM does it: nothing is quoted. What may be in
them is up to their patterns, which are searched for, so one without anchors lets anything through.
Not modelled: other actions than ``aws:runShellScript``, preconditions, sharing.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import get_account_id

from tests.testbed.patching import on_reset

_NAME = re.compile(r"[a-zA-Z0-9_\-.]{3,128}")
_PLACE = re.compile(r"\{\{\s*([a-zA-Z0-9]+)\s*\}\}")
_ACTION = "aws:runShellScript"
_LIMIT = 3600
_LONGEST = 172_800
_LARGEST = 64 * 1024  # bytes of a document


class SsmError(Exception):
    """What SSM answers instead."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Document:
    """A document; `versions` are its contents, the first one first."""

    name: str
    kind: str
    form: str
    versions: list[str]
    default: int = 1
    created: float = field(default_factory=time.time)
    tags: list[dict[str, str]] = field(default_factory=list)

    def content(self, version: str | None = None) -> str:
        number = {"$LATEST": len(self.versions), "$DEFAULT": self.default, None: self.default}.get(
            version
        )
        number = int(version or 0) if number is None else number
        if not 1 <= number <= len(self.versions):
            raise SsmError("InvalidDocumentVersion", f"Document version {version} does not exist.")
        return self.versions[number - 1]

    def described(self) -> dict[str, Any]:
        return {
            "Name": self.name,
            "Owner": get_account_id(),
            "CreatedDate": self.created,
            "Status": "Active",
            "DocumentVersion": str(self.default),
            "LatestVersion": str(len(self.versions)),
            "DefaultVersion": str(self.default),
            "DocumentType": self.kind,
            "DocumentFormat": self.form,
            "SchemaVersion": str(_read(self.content(), self.form)["schemaVersion"]),
            "PlatformTypes": ["Linux", "MacOS"],
            "Hash": hashlib.sha256(self.content().encode()).hexdigest(),
            "HashType": "Sha256",
            "Tags": self.tags,
        }


@dataclass(frozen=True)
class Script:
    """What a document is for given parameters."""

    text: str
    limit: int  # seconds
    step: str


documents: dict[str, Document] = {}
on_reset.append(documents.clear)

_SHELL = json.dumps(
    {
        "schemaVersion": "2.2",
        "parameters": {
            "commands": {"type": "StringList"},
            "workingDirectory": {"type": "String", "default": ""},
            "executionTimeout": {"type": "String", "default": "3600", "allowedPattern": "^[0-9]+$"},
        },
        "mainSteps": [
            {
                "action": _ACTION,
                "name": "runShellScript",
                "inputs": {
                    "runCommand": "{{ commands }}",
                    "timeoutSeconds": "{{ executionTimeout }}",
                },
            }
        ],
    }
)


def find(name: str) -> Document:
    if name == "AWS-RunShellScript":
        return Document(name, "Command", "JSON", [_SHELL])
    name = name.rpartition("document/")[2]
    if name not in documents:
        raise SsmError("InvalidDocument", f"Document with name {name} does not exist.")
    return documents[name]


def create(data: Mapping[str, Any]) -> Document:
    name = data["Name"]
    if not _NAME.fullmatch(name) or name.lower().startswith(("aws-", "amazon-", "amzn-")):
        raise SsmError("ValidationException", f"The name {name} of a document is not valid.")
    if name in documents:
        message = "Document with same name already exists"
        raise SsmError("DocumentAlreadyExists", message)
    kind, form = data.get("DocumentType", "Command"), data.get("DocumentFormat", "JSON")
    _check(data["Content"], kind, form)
    documents[name] = Document(name, kind, form, [data["Content"]], tags=data.get("Tags") or [])
    return documents[name]


def update(data: Mapping[str, Any]) -> Document:
    document = find(data["Name"])
    _check(data["Content"], document.kind, data.get("DocumentFormat", document.form))
    if data["Content"] in document.versions:
        message = "The content of the association document matches another document."
        raise SsmError("DuplicateDocumentContent", message)
    document.versions.append(data["Content"])
    return document


def delete(data: Mapping[str, Any]) -> None:
    documents.pop(find(data["Name"]).name)


def _check(content: str, kind: str, form: str) -> None:
    if len(content.encode()) > _LARGEST:
        raise SsmError("MaxDocumentSizeExceeded", "The size limit of a document is 64 KB.")
    document = _read(content, form)
    if kind != "Command":
        return
    if document.get("schemaVersion") != "2.2":
        raise SsmError("InvalidDocumentSchemaVersion", "Only schema 2.2 is emulated.")
    for step in document.get("mainSteps") or [{}]:
        if step.get("action") != _ACTION or not step.get("name"):
            raise SsmError("InvalidDocumentContent", f"A step has to be a named {_ACTION}.")
        if "runCommand" not in step.get("inputs", {}):
            raise SsmError("InvalidDocumentContent", f"{step['name']} has no runCommand.")
    known = set(document.get("parameters") or {})
    used = set(_PLACE.findall(json.dumps(document["mainSteps"])))
    if used - known:
        raise SsmError("InvalidDocumentContent", f"Undefined parameters: {sorted(used - known)}.")


def _read(content: str, form: str) -> dict[str, Any]:
    if form == "YAML":
        import yaml

        found = yaml.safe_load(content)
    else:
        try:
            found = json.loads(content)
        except ValueError as error:
            raise SsmError("InvalidDocumentContent", f"This is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise SsmError("InvalidDocumentContent", "A document is an object.")
    return found


def script_of(document: Document, version: str | None, given: Mapping[str, list[str]]) -> Script:
    """Put parameters into a document.

    Raises
    ------
    SsmError
        ``InvalidParameters``: one is unknown, missing or not what its pattern allows.
    """
    read = _read(document.content(version), document.form)
    values = _values(read.get("parameters") or {}, given)
    [step] = read["mainSteps"]
    inputs = step["inputs"]
    lines = inputs["runCommand"]
    text = "\n".join(
        line
        for each in ([lines] if isinstance(lines, str) else lines)
        for line in _lines(each, values)
    )
    limit = _lines(str(inputs.get("timeoutSeconds", _LIMIT)), values)[0]
    if not limit.isdecimal() or not 1 <= int(limit) <= _LONGEST:
        raise SsmError("InvalidParameters", f"timeoutSeconds is {limit}, not 1 to {_LONGEST}.")
    return Script(text, int(limit), step["name"])


def _values(
    declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    unknown = sorted(set(given) - set(declared))
    if unknown:
        message = f"Parameters {unknown} are not defined in the document."
        raise SsmError("InvalidParameters", message)
    values = {}
    for name, how in declared.items():
        found = given.get(name)
        if found is None:
            if "default" not in how:
                raise SsmError("InvalidParameters", f"Parameter {name} has no value.")
            default = how["default"]
            found = [str(each) for each in (default if isinstance(default, list) else [default])]
        if isinstance(found, str) or not all(isinstance(each, str) for each in found):
            raise SsmError("ValidationException", f"Parameter {name} has to be a list of strings.")
        if how["type"] == "String" and len(found) != 1:
            raise SsmError("InvalidParameters", f"Parameter {name} takes one value.")
        for each in found:
            pattern, allowed = how.get("allowedPattern"), how.get("allowedValues")
            if pattern is not None and not re.search(pattern, each):
                raise SsmError("InvalidParameters", f"{name} does not match {pattern}: {each!r}")
            if allowed is not None and each not in allowed:
                raise SsmError("InvalidParameters", f"{name} is none of {allowed}: {each!r}")
        values[name] = list(found)
    return values


def _lines(text: str, values: Mapping[str, list[str]]) -> list[str]:
    """Return a line, or the lines of a list that stands alone in it."""
    alone = _PLACE.fullmatch(text)
    if alone:
        return values[alone[1]]
    return [_PLACE.sub(lambda place: "".join(values[place[1]]), text)]
