"""Bodies of requests: what may stand in them, and how they become submissions.

A workflow is planned from its own text, never from a copy that was read and written again: a key
that stands twice is found, and a version number like ``1.10`` stays what it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from hut.model.configuration import EnvironmentEntry
from hut.model.configuration_parts import Count, ScalarText
from hut.model.documents import MalformedDocument, format_of, read_document
from hut.model.environment import Environment
from hut.model.limits import LARGEST_BUNDLE, LONGEST_NAME
from hut.model.problems import InvalidInput, Problem, is_one_line
from hut.model.run_options import Recording, RetryOrder, RunOptions
from hut.planning.fields import show
from hut.rest.exchange import Exchange
from hut.rest.refusals import fault_problem, malformed
from hut.store.registry import KnownDefinitions
from hut.submission import Setting, Submission

__all__ = [
    "AddBody",
    "Body",
    "Envelope",
    "NoFields",
    "RetryBody",
    "read_added",
    "read_body",
    "read_submission",
]

_FILENAME = "workflow.json"
_CONTENT = frozenset({"workflow", "upload"})
_NOTHING = object()
_OPTIONS = tuple(field.name for field in fields_of(RunOptions))
_TO_VALUE = re.compile(r"\s*[{,:]\s*")
"""What stands between two values of one object: space and one mark."""


def _one_line(text: str) -> str:
    if not is_one_line(text):
        raise ValueError("must be one line without control characters")
    return text


OneLine = Annotated[str, StringConstraints(max_length=LONGEST_NAME), AfterValidator(_one_line)]
UploadId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Texts = Annotated[
    dict[str, ScalarText],
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
Environments = Annotated[
    dict[str, dict[str, Any]],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "variables": {"type": "object", "additionalProperties": {"type": "string"}},
                    "extra_init": {"type": "string"},
                },
                "additionalProperties": False,
            },
        }
    ),
]


class Body(BaseModel):
    """What all bodies have in common: no unknown fields, no guessing of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NoFields(Body):
    """A body that says nothing; it may be left out."""


class RetryBody(Body):
    """What ``POST /runs/{run}/retry`` takes; it may be left out."""

    all: bool = Field(
        default=False, description="Repeat every task, not only those that did not complete."
    )


class AddBody(Body):
    """Tasks that were uploaded, as what ``POST /runs/{run}/tasks`` takes instead of them."""

    upload: UploadId = Field(description="Id of an upload that holds the tasks.")
    filename: OneLine | None = Field(
        default=None, description="For messages; its ending tells YAML from JSON."
    )


class Envelope(Body):
    """A workflow with what is said beside it."""

    workflow: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"$ref": "#/components/schemas/Workflow"},
                    {"type": "string", "description": "The file's text, JSON or YAML."},
                ]
            }
        ),
    ] = None
    upload: UploadId | None = Field(
        default=None,
        description="Id of an upload that holds the file's text, instead of `workflow`.",
    )
    filename: OneLine | None = Field(
        default=None,
        description="For messages and the run's name; its ending tells YAML from JSON.",
    )
    name: OneLine | None = Field(default=None, description="The run's name, instead of the file's.")
    max_concurrent: Count | None = None
    env_vars: Texts = Field(default={}, description="Override the file's own.")
    tags: Texts = {}
    backend: str | None = None
    environments: Environments = Field(
        default={}, description="What tasks may name as their `environment`."
    )
    shell: Literal["sh"] | None = Field(
        default=None, description="Run the commands with `sh`, without `pipefail`, not with bash."
    )
    task_variables: bool = Field(
        default=False, description="Give tasks the `TASK_*` variables of HyperShell too."
    )
    bundle: Annotated[int, Field(ge=0, le=LARGEST_BUNDLE)] | None = Field(
        default=None, description="Tasks that one job runs; 0 leaves the number to Hut."
    )
    bundle_wait: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        default=None, description="Seconds after which a bundle goes on its way though not full."
    )
    open: bool = Field(
        default=False, description="Let tasks be added, until `POST /runs/{run}/close`."
    )
    held: bool = Field(
        default=False,
        description="Let nothing run before `POST /runs/{run}/release`: more tasks are sent first.",
    )
    retry_order: RetryOrder = Field(
        default="document",
        description="Where a failed task that is tried again stands within its priority.",
    )
    record: Recording = Field(
        default="all", description="With `failures`, keep no record of attempts that succeed."
    )


_Kind = TypeVar("_Kind", bound=Body)


def read_body(exchange: Exchange, kind: type[_Kind]) -> _Kind:
    """Read a small body; one that was left out has no fields.

    Raises
    ------
    MalformedDocument, Refusal
        If it is no JSON, or not of this shape.
    """
    text = exchange.body()
    if not text.strip():
        return kind()
    document = read_document(text, format="json")
    if document.problems:
        raise malformed(document.problems)
    return _validated(document.data, kind)


def read_submission(exchange: Exchange, *, key: str | None = None) -> tuple[Submission, Setting]:
    """Read a workflow, or an envelope with one, as what is to be planned.

    Raises
    ------
    MalformedDocument, Refusal
        If the body is no JSON, or not of this shape.
    InvalidInput
        If an upload is not text.
    """
    text = exchange.body().removeprefix("\ufeff")
    if not text.strip():
        raise malformed([Problem("the request has no body; send a workflow")])
    document = read_document(text, format="json")
    data = document.data
    envelope, filename = Envelope(), _FILENAME
    if isinstance(data, dict) and ("tasks" not in data or data.keys() & _CONTENT):
        if document.problems:
            raise malformed(document.problems)
        content = data.pop("workflow", _NOTHING)
        envelope = _envelope(data, content)
        text, filename = _content(exchange, envelope, text, content)
    elif not isinstance(data, (dict, list)):
        message = f'{show(data)} is not a workflow; send an array of tasks or {{"tasks": [...]}}'
        raise malformed([Problem(message)])
    submission = Submission(
        text=text,
        filename=filename,
        workflow=envelope.name or "",
        owner=exchange.owner,
        max_concurrent=envelope.max_concurrent,
        env_vars=dict(envelope.env_vars),
        tags=dict(envelope.tags),
        backend=envelope.backend,
        idempotency_key=key,
        options=RunOptions(**{name: getattr(envelope, name) for name in _OPTIONS}),
    )
    return submission, _setting(exchange, envelope)


def read_added(exchange: Exchange) -> tuple[str, str]:
    """Return the text of tasks that are to join a run, and the name of their file.

    Raises
    ------
    MalformedDocument, Refusal
        If the body is no JSON, or not of this shape.
    InvalidInput
        If an upload is not text.
    """
    text = exchange.body().removeprefix("\ufeff")
    if not text.strip():
        raise malformed([Problem("the request has no body; send an array of tasks")])
    document = read_document(text, format="json")
    if isinstance(document.data, dict) and "tasks" not in document.data:
        if document.problems:
            raise malformed(document.problems)
        if "upload" not in document.data:
            message = 'is missing; send an array of tasks, {"tasks": [...]} or the id of an upload'
            raise malformed([Problem(message, field="tasks")])
        body = _validated(document.data, AddBody)
        filename = body.filename or _FILENAME
        return _uploaded(exchange, body.upload, filename), filename
    return text, _FILENAME


def _envelope(data: dict[str, Any], content: object) -> Envelope:
    if content is _NOTHING and "upload" not in data:
        known = (*Envelope.model_fields, "tasks")
        problems = [
            fault_problem({"type": "extra_forbidden", "loc": (name,), "msg": ""}, known)
            for name in data
            if name not in Envelope.model_fields
        ]
        message = "is missing; send a workflow or the id of an upload"
        raise malformed(problems or [Problem(message, field="workflow")])
    if content is not _NOTHING and data.get("upload") is not None:
        message = "stands beside a workflow; send one of the two"
        raise malformed([Problem(message, field="upload")])
    if content is not _NOTHING and not isinstance(content, (str, list, dict)):
        message = f"{show(content)} is not a workflow; send an array, an object or the file's text"
        raise malformed([Problem(message, field="workflow")])
    envelope = _validated(data, Envelope)
    if content is _NOTHING and envelope.upload is None:
        raise malformed([Problem("null is not the id of an upload", field="upload")])
    return envelope


def _content(exchange: Exchange, envelope: Envelope, text: str, content: object) -> tuple[str, str]:
    """Return the text of the workflow that an envelope holds or names, and its file's name."""
    filename = envelope.filename or _FILENAME
    if envelope.upload is not None:
        return _uploaded(exchange, envelope.upload, filename), filename
    if isinstance(content, str):
        return content, filename
    if format_of(filename) == "yaml":  # what it was read from; what was sent is JSON
        filename += ".json"
    return _value_of(text, "workflow"), filename


def _uploaded(exchange: Exchange, upload: str, filename: str) -> str:
    try:
        return exchange.services.uploads.read(exchange.owner, upload)
    except MalformedDocument as error:
        problem = Problem(error.message, line=error.line)
        raise InvalidInput([problem], source=filename) from None


def _value_of(text: str, name: str) -> str:
    """Return the text of a member of a JSON object, on the lines on which it stands."""
    decode = json.JSONDecoder().raw_decode
    place = 0
    while True:
        key, place = decode(text, _TO_VALUE.match(text, place).end())  # type: ignore[union-attr]
        start = _TO_VALUE.match(text, place).end()  # type: ignore[union-attr]
        _, place = decode(text, start)
        if key == name:
            return "\n" * text.count("\n", 0, start) + text[start:place]


def _setting(exchange: Exchange, envelope: Envelope) -> Setting:
    """Return what the control plane knows, with the environments that came with the workflow."""
    services = exchange.services
    setting = replace(
        services.configuring.setting(), definitions=KnownDefinitions(services.registry)
    )
    if not envelope.environments:
        return setting
    problems: list[Problem] = []
    found: dict[str, Environment] = {}
    for name, fields in envelope.environments.items():
        inside = f"environments.{name}"
        if "name" in fields:
            problems.append(Problem("unknown field; the key is the name", field=f"{inside}.name"))
            continue
        try:
            entry = EnvironmentEntry.model_validate({**fields, "name": name})
        except ValidationError as error:
            known = tuple(field for field in EnvironmentEntry.model_fields if field != "name")
            problems += [fault_problem(f, known, inside=inside) for f in error.errors()]
        else:
            found[name] = entry.environment()
    if problems:
        raise malformed(problems)
    return replace(setting, environments=found)


def _validated(data: object, kind: type[_Kind]) -> _Kind:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        known = tuple(kind.model_fields)
        raise malformed([fault_problem(fault, known) for fault in error.errors()]) from None
