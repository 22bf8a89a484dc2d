"""Routes of the configuration as a whole: what counts, what counted, and how it is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from hut.model.configuration import Configuration
from hut.model.configuration_reading import configuration_of
from hut.model.documents import Document, read_document
from hut.model.problems import InvalidInput, Problem, did_you_mean, is_one_line
from hut.model.rfc3339 import format_time
from hut.rest.answers import Answer, json_answer
from hut.rest.audit import audited
from hut.rest.exchange import Exchange, exchange_of
from hut.rest.paging import answer_page
from hut.rest.refusals import Refusal, invalid_configuration, malformed
from hut.rest.routing import Limit, Position, new_router
from hut.service.configuring import By, Change, Standing
from hut.store.configurations import Version
from hut.views import Document as Entry

__all__ = ["change_answer", "changed", "expected_version", "message_of", "router"]

router = new_router()

_SECTIONS = tuple(Configuration.model_fields)
_LONGEST_MESSAGE = 500
_NO_VERSION = '"0"'


@router.get("/config", summary="Show the configuration that counts", operation_id="showConfig")
def show_config() -> Answer:
    """Answer with the current version; `version` is 0 where nothing was ever applied."""
    return _standing_answer(exchange_of(router).services.configuring.standing())


@router.get(
    "/config/history",
    summary="List the versions of the configuration, newest first",
    operation_id="listConfigVersions",
)
def list_versions(limit: Limit = 100, cursor: Position = None) -> Answer:
    """Answer with a page of versions, without their contents."""
    exchange = exchange_of(router)
    found = exchange.services.configuring.store.versions(before=cursor, limit=limit + 1)
    return answer_page(
        exchange,
        found,
        limit,
        lambda versions: [_version_document(version) for version in versions],
        lambda version: str(version.number),
    )


@router.get(
    "/config/versions/<number>",
    summary="Show a version of the configuration",
    operation_id="showConfigVersion",
)
def show_version(
    number: Annotated[int, Path(ge=1, le=10**9, description="The version's number.")],
) -> Answer:
    """Answer with one version."""
    return _standing_answer(exchange_of(router).services.configuring.standing(number))


@router.put("/config", summary="Apply a configuration", operation_id="applyConfig")
def apply_config(
    dry_run: Annotated[
        bool, Query(description="Only say what would change, and what is wrong.")
    ] = False,
) -> Answer:
    """Make the body the current configuration."""
    exchange = exchange_of(router)
    expected = expected_version(exchange, needed=True)
    configuration, message = _read(exchange)
    by = By(exchange.owner, exchange.services.clock(), message)

    def apply() -> Change:
        return exchange.services.configuring.apply(
            configuration, by, expected=expected, dry_run=dry_run
        )

    return change_answer(exchange, apply() if dry_run else changed(exchange, "apply", apply))


def changed(exchange: Exchange, what: str, change: Callable[[], Change], **detail: str) -> Change:
    """Make a change, and have it written down who did.

    Raises
    ------
    Refusal
        With status 422 if the configuration could not be followed.
    """
    with audited(exchange, f"config.{what}", **detail) as found:
        try:
            made = change()
        except InvalidInput as error:
            raise invalid_configuration(error) from None
        version = made.after.version
        found.detail["version"] = 0 if version is None else version.number
        found.detail["new"] = int(made.is_new)
    return made


def expected_version(exchange: Exchange, *, needed: bool = False) -> int | None:
    """Return the version a change is made from, as ``If-Match`` says it; None for any.

    Raises
    ------
    Refusal
        If it is no version, or missing where it is needed.
    """
    text = exchange.header("if-match")
    if text is None and needed:
        detail = "say which version you change: send the ETag of GET /config as If-Match, or *"
        raise Refusal(428, "version-missing", detail)
    if text is None or text.strip() == "*":
        return None
    number = text.strip().removeprefix("W/").strip('"')
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        message = f"{text[:50]!r} is not an ETag of GET /config"
        raise malformed([Problem(message, field="If-Match")])
    return int(number)


def message_of(text: str) -> str:
    """Return what somebody says of a change, if it can stand in a list."""
    if len(text) > _LONGEST_MESSAGE or not is_one_line(text):
        problem = f"must be one line of at most {_LONGEST_MESSAGE} characters"
        raise malformed([Problem(problem, field="message")])
    return text.strip()


def change_answer(exchange: Exchange, change: Change) -> Answer:
    """Answer with what a change did; 201 for a new version."""
    document = {
        **_head(change.after.version),
        "changed": bool(change.differences),
        "notes": list(change.notes),
        "differences": [each.document() for each in change.differences],
    }
    if change.is_new:
        exchange.notes["config_version"] = str(document["version"])
    return json_answer(document, 201 if change.is_new else 200, _etag(change.after.version))


def _read(exchange: Exchange) -> tuple[Configuration, str]:
    text = exchange.body()
    if not text.strip():
        raise malformed([Problem('the request has no body; send {"environments": [...], ...}')])
    document = read_document(text, format="json", with_lines=True)
    data = document.data
    if not isinstance(data, dict):
        raise malformed([Problem(f"send an object with the sections {', '.join(_SECTIONS)}")])
    problems = list(document.problems)
    message = data.pop("message", "")
    if not isinstance(message, str):
        problems.append(Problem("is not a text", field="message"))
    problems += [
        Problem(f"unknown section; {did_you_mean(name, (*_SECTIONS, 'message'))}", field=name[:100])
        for name in data
        if name not in _SECTIONS
    ]
    if problems:
        raise malformed(problems)
    try:
        return configuration_of(Document(data, document.lines)), message_of(message)
    except InvalidInput as error:
        raise invalid_configuration(error) from None


def _standing_answer(standing: Standing) -> Answer:
    document = {**_head(standing.version), **standing.content}
    return json_answer(document, headers=_etag(standing.version))


def _etag(version: Version | None) -> dict[str, str]:
    return {"ETag": _NO_VERSION if version is None else f'"{version.number}"'}


def _head(version: Version | None) -> Entry:
    if version is not None:
        return _version_document(version)
    return {"version": 0, "applied_at": None, "applied_by": None, "message": "", "digest": None}


def _version_document(version: Version) -> Entry:
    return {
        "version": version.number,
        "applied_at": format_time(version.at),
        "applied_by": version.by,
        "message": version.message,
        "digest": version.digest,
    }
