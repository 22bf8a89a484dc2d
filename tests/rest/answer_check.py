"""Holds answers against the OpenAPI document: status, content type and every field."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, TypeAdapter

from hut.rest import pool_schemas, schemas
from hut.rest.openapi import openapi_document

_DOCUMENT = openapi_document()


def check_answer(method: str, path: str, status: int, content_type: str, body: str) -> None:
    """Check an answer; one that no route gave must be a problem document."""
    operation = _operation(method, path)
    if operation is None:
        assert status in (404, 405), (method, path, status)
        schemas.ProblemDocument.model_validate_json(body, extra="forbid")
        return
    assert str(status) in operation["responses"], (method, path, status, body[:500])
    response = _resolved(operation["responses"][str(status)])
    found = content_type.partition(";")[0]
    assert found in response["content"], (method, path, content_type)
    if found == "text/plain":
        return
    schema = response["content"][found]["schema"]
    if schema == {"type": "object"}:
        assert isinstance(json.loads(body), dict)
    elif schema.get("type") == "array":
        model = _model(schema["items"])
        TypeAdapter(list[model]).validate_json(body, extra="forbid")  # type: ignore[valid-type]
    else:
        _model(schema).model_validate_json(body, extra="forbid")


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path template and operation of every route."""
    return [
        (method.upper(), template, operation)
        for template, methods in _DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def _operation(method: str, path: str) -> dict[str, Any] | None:
    found = []
    for known, template, operation in operations():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if known == method and re.fullmatch(pattern, path.rstrip("/")):
            found.append(operation)
    assert len(found) <= 1, path
    return found[0] if found else None


def _resolved(response: dict[str, Any]) -> dict[str, Any]:
    reference = response.get("$ref")
    if reference is None:
        return response
    resolved: dict[str, Any] = _DOCUMENT["components"]["responses"][reference.rpartition("/")[2]]
    return resolved


def _model(schema: dict[str, Any]) -> type[BaseModel]:
    name = schema["$ref"].rpartition("/")[2]
    module = schemas if hasattr(schemas, name) else pool_schemas
    model: type[BaseModel] = getattr(module, name)
    return model
