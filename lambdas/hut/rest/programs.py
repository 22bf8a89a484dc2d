"""Routes of task programs: the registry of their tasks, and what a task of a run wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Query

from hut.model.documents import read_document
from hut.model.problems import Problem
from hut.model.records import TaskRecord
from hut.model.rfc3339 import format_time
from hut.model.states import TaskState
from hut.model.task_definition import read_definition
from hut.rest.answers import MOST_BYTES, Answer, json_answer, shortened, wire_size
from hut.rest.audit import audited
from hut.rest.exchange import Exchange, exchange_of
from hut.rest.paging import answer_page, decode_cursor, encode_cursor
from hut.rest.refusals import Refusal, malformed
from hut.rest.routing import Limit, OpaqueCursor, RunId, TaskId, new_router
from hut.store.registry import Registered, UnknownDefinition, find_definition, schema_problems_of
from hut.views import Document

__all__ = ["reports_of", "router", "with_reports"]

router = new_router()

_MOST_TOLD = 50_000  # bytes of an attempt's error reports in an answer
_LINE = re.compile(r"[^\0]{1,200}")

Name = Annotated[
    str | None, Query(min_length=1, max_length=200, description="Only tasks of this name.")
]
Version = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="Only this version; goes with `name`."),
]
GivenName = Annotated[str, Query(alias="name", min_length=1, max_length=200)]
GivenVersion = Annotated[str, Query(alias="version", min_length=1, max_length=200)]


@router.get("/tasks", summary="List the tasks of programs", operation_id="listDefinitions")
def list_definitions(
    name: Name = None, version: Version = None, limit: Limit = 100, cursor: OpaqueCursor = None
) -> Answer:
    """Answer with definitions that are registered, by name, the highest version first."""
    exchange = exchange_of(router)
    registry = exchange.services.registry
    if version is not None and name is None:
        raise malformed([Problem("goes with a name", field="version")])
    if name is not None and version is not None:
        one = registry.get(name, version)
        found: Sequence[Registered] = [] if one is None else [one]
    else:
        found = registry.all() if name is None else registry.versions(name)
    if cursor is not None:
        last = tuple(decode_cursor(cursor, _LINE, _LINE))
        places = [at for at, each in enumerate(found) if _identity(each) == last]
        if not places:
            message = "leads to a definition that was removed; leave it out to begin anew"
            raise malformed([Problem(message, field="cursor")])
        found = found[places[0] + 1 :]
    return answer_page(
        exchange,
        found[: limit + 1],
        limit,
        lambda entries: [_document(each) for each in entries],
        lambda entry: encode_cursor(*_identity(entry)),
    )


@router.post("/tasks", summary="Register a task of a program", operation_id="registerTask")
def register() -> Answer:
    """Register a definition; another one of its name and version is left alone."""
    return _put(exchange_of(router), replace=False)


@router.put("/tasks", summary="Register a task, or replace it", operation_id="replaceTask")
def replace() -> Answer:
    """Register a definition in the place of another one of its name and version."""
    return _put(exchange_of(router), replace=True)


@router.delete("/tasks", summary="Remove a task of a program", operation_id="removeTask")
def remove(name: GivenName, version: GivenVersion) -> Answer:
    """Remove a definition; runs that were submitted with it keep theirs."""
    exchange = exchange_of(router)
    label = f"{name}@{version}"
    with audited(exchange, "task.remove", task=label):
        if not exchange.services.registry.remove(name, version):
            detail = f"there is no task {label!r}"
            try:
                find_definition(exchange.services.registry, label)
            except UnknownDefinition as error:
                detail = str(error)
            raise Refusal(404, "unknown-definition", detail)
    return json_answer({"name": name, "version": version})


@router.get(
    "/runs/<run>/tasks/<task>/document",
    summary="Read the output document of a task",
    operation_id="readDocument",
)
def read_output_document(run: RunId, task: TaskId) -> Answer:
    """Answer with the document that the latest attempt wrote; a large one is at an address."""
    exchange = exchange_of(router)
    _, record = exchange.task(run, task)
    if record.spec.call is None:
        detail = (
            f"task {task!r} is a command and has no output document; its log says what it printed"
        )
        raise Refusal(409, "no-document", detail)
    documents = exchange.services.documents
    where = run, record.position, record.attempt
    content = documents.read(*where, "output")
    if content is None:
        raise Refusal(404, "unknown-document", f"task {task!r} has no output document")
    answer: Document = {"attempt": record.attempt, "content": None, "url": None}
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and wire_size(text) * 2 < MOST_BYTES:  # it becomes a text in a text
        return json_answer({**answer, "content": text})
    return json_answer({**answer, "url": documents.url(*where, "output")})


def _put(exchange: Exchange, *, replace: bool) -> Answer:
    text = exchange.body()
    if not text.strip():
        raise malformed([Problem("the request has no body; send a task definition")])
    document = read_document(text, format="json")
    problems: list[Problem] = list(document.problems)
    definition = read_definition(document.data, problems)
    if definition is not None and not problems:
        problems += schema_problems_of(definition)
    if problems or definition is None:
        raise _unusable(problems)
    entry = Registered(definition, exchange.owner, exchange.services.clock())
    with audited(exchange, "task.register", task=definition.label) as found:
        changed = exchange.services.registry.put(entry, replace=replace)
        found.detail["changed"] = int(changed)
    about = {"name": definition.name, "version": definition.version, "changed": changed}
    return json_answer(about, 201 if changed else 200)


def _unusable(problems: Sequence[Problem]) -> Refusal:
    more = f" ({len(problems):,} problems)" if len(problems) > 1 else ""
    detail = f"the definition can't be used: {problems[0]}{more}"
    return Refusal(422, "invalid-definition", detail, problems)


def _identity(entry: Registered) -> tuple[str, str]:
    return entry.definition.name, entry.definition.version


def _document(entry: Registered) -> Document:
    name, version = _identity(entry)
    return {
        "name": name,
        "version": version,
        "registered_by": entry.by,
        "registered_at": format_time(entry.at),
        "definition": entry.definition.document,
    }


# Error reports -----------------------------------------------------------------------------------


def with_reports(exchange: Exchange, run: str, task: TaskRecord, document: Document) -> Document:
    """Return a task's document with the error reports of its failed attempts."""
    if task.spec.call is None:
        return document
    attempts = []
    for attempt in document["attempts"]:
        told: Mapping[str, Any] = attempt
        if attempt["state"] == TaskState.FAILED:
            told = {**attempt, "reports": reports_of(exchange, run, task, attempt["attempt"])}
        attempts.append(told)
    return {**document, "attempts": attempts}


def reports_of(exchange: Exchange, run: str, task: TaskRecord, attempt: int) -> list[Document]:
    """Return the error reports of an attempt, as many as fit into an answer."""
    told: list[Document] = []
    room = _MOST_TOLD
    for report in exchange.services.documents.reports(run, task.position, attempt):
        short = shortened(report)
        room -= wire_size(str(short))
        if room < 0 and told:
            break
        told.append(short)
    return told
