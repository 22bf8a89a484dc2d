"""The OpenAPI document as schemathesis reads it: what it is asked with, and what answers must be.

The names that a path may hold are filled in (a run there is, its tasks), as most requests with made-up
ones end at a 404.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from hut.rest.app import respond
from hut.rest.openapi import openapi_document
from tests.rest.api_world import Api, api_event

__all__ = ["CHECKS", "Gateway", "read_document"]

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.allow_header_conformance,
]
"""What holds of every answer: it is described, and what is wrong is refused."""


def read_document(known: Mapping[str, Iterable[str]]) -> Any:
    """Return the document with names that exist for parts of paths; signatures are not its matter."""
    document = openapi_document()
    del document["security"], document["components"]["securitySchemes"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in known:
                    names = {"enum": list(known[parameter["name"]])}
                    parameter["schema"] = {"anyOf": [names, parameter["schema"]]}
    return schemathesis.openapi.from_dict(document)


class Gateway:
    """The API as a WSGI application: what API Gateway makes of a request."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> list[bytes]:
        """Answer a request."""
        headers = {
            name[5:].replace("_", "-").title(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        query: dict[str, str | list[str]] = {}
        pairs = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True, errors="replace")
        for name, value in pairs:
            query[name] = [*query.get(name, []), value]
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        event = api_event(environ["REQUEST_METHOD"], path, query=query, headers=headers)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if body:
            event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        answer = respond(event, None, lambda: self._api.services)
        told = [
            (name, value) for name, all_ in answer["multiValueHeaders"].items() for value in all_
        ]
        start_response(f"{answer['statusCode']} Answer", told)
        return [answer["body"].encode()]
