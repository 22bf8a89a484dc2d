"""What a person submits, as the body of a request; large files take the way over the bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hut.model.documents import format_of
from hutctl.client import Document, Unreachable, WorkflowFile
from hutctl.configuration import find_configuration, load_configuration
from hutctl.remote.answers import check, document_of
from hutctl.remote.http import Answer, Api

__all__ = ["environments_for", "send_tasks", "send_workflow"]

_MOST_BYTES = 4 * 1024 * 1024
"""Of a body, as a Lambda is handed it: once more quoted. Its bound is 6 MB."""


def environments_for(path: Path | None) -> dict[str, Document]:
    """Return the environments of a configuration file, as the API takes them.

    Raises
    ------
    InvalidInput
        If the configuration is at fault.
    """
    if path is None:
        return {}
    return {
        name: {"variables": dict(entry.variables), "extra_init": entry.extra_init}
        for name, entry in load_configuration(path).environments_by_name().items()
    }


def find_environments(config: str | None, folder: str) -> dict[str, Document]:
    """Return the environments that hold for workflow files of a folder."""
    return environments_for(find_configuration(config, folder))


def send_workflow(
    api: Api,
    path: str,
    file: WorkflowFile,
    environments: Mapping[str, Document],
    *,
    query: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Post a workflow to a route that takes one.

    Raises
    ------
    InvalidInput
        With every problem of it.
    """
    options = _options(file, environments)
    body = _encoded({"workflow": file.text, **options})
    if len(body) + body.count(b'"') + body.count(b"\\") <= _MOST_BYTES:
        answer = api.call("POST", path, query=query, body=body, headers=headers)
        if answer.status != 413:
            return check(answer, source=file.filename)
    body = _encoded({"upload": _upload(api, file.text), **options})
    answer = api.call("POST", path, query=query, body=body, headers=headers)
    return check(answer, source=file.filename)


def send_tasks(api: Api, path: str, file: WorkflowFile, headers: Mapping[str, str]) -> Answer:
    """Post tasks that are to join a run; the body is their JSON, what is large or YAML an upload.

    Raises
    ------
    InvalidInput
        With every problem of them.
    """
    body = file.text.encode(errors="surrogatepass")
    plain = format_of(file.filename) != "yaml" and '"upload"' not in file.text
    if plain and len(body) + body.count(b'"') + body.count(b"\\") <= _MOST_BYTES:
        answer = api.call("POST", path, body=body, headers=headers)
        if answer.status != 413:
            return check(answer, source=file.filename)
    name = file.filename.rpartition("/")[2]
    body = _encoded({"upload": _upload(api, file.text), "filename": name})
    return check(api.call("POST", path, body=body, headers=headers), source=file.filename)


def _options(file: WorkflowFile, environments: Mapping[str, Document]) -> Document:
    options: dict[str, Any] = {
        "filename": file.filename.rpartition("/")[2],
        "name": file.name,
        "max_concurrent": file.max_concurrent,
        "env_vars": dict(file.env_vars),
        "tags": dict(file.tags),
        "backend": file.pool or file.backend,
        "environments": dict(environments),
        **file.options.given(),
    }
    return {name: value for name, value in options.items() if value not in (None, {})}


def _encoded(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")


def _upload(api: Api, text: str) -> str:
    """Put a file where the control plane finds it; return the name of the upload."""
    content = text.encode(errors="surrogatepass")
    for last in (False, True):
        upload = document_of(api.call("POST", "/uploads"))
        answer = api.put(upload["url"], content, upload.get("headers") or {})
        if 200 <= answer.status < 300:
            return str(upload["id"])
        if answer.status != 403 or last:  # 403: the permission was for a while only
            break
    told = " ".join(answer.body[:300].decode(errors="replace").split())
    raise Unreachable(f"the workflow could not be uploaded (status {answer.status}): {told}")
