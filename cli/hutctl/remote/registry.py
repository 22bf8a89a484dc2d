"""The task registry of a control plane, as requests to its API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hut.model.problems import InvalidInput
from hut.model.rfc3339 import parse_time
from hut.model.task_definition import TaskDefinition, read_definition
from hut.store.port import StoreError
from hut.store.registry import DefinitionExists, Registered, in_order
from hutctl.remote.answers import check, document_of, documents_of
from hutctl.remote.http import Answer, Api

__all__ = ["RemoteRegistry"]

_PAGE = 200


class RemoteRegistry:
    """Implements `hut.store.registry.TaskRegistry`.

    Parameters
    ----------
    api
        The way to the control plane.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def put(self, entry: Registered, *, replace: bool = False) -> bool:
        """Register a definition; say whether that changed anything."""
        definition = entry.definition
        body = json.dumps(definition.document).encode()
        answer = self._api.call("PUT" if replace else "POST", "/tasks", body=body)
        if _kind(answer) == "definition-exists":
            raise DefinitionExists(definition, "")
        # Tried again, it finds what an earlier try has stored.
        changed = document_of(_registered(answer, definition))["changed"]
        return bool(changed) or answer.tries > 1

    def remove(self, name: str, version: str) -> bool:
        """Remove a definition; say whether it was there."""
        answer = self._api.call("DELETE", "/tasks", query={"name": name, "version": version})
        if _kind(answer) == "unknown-definition":
            return answer.tries > 1
        check(answer)
        return True

    def get(self, name: str, version: str) -> Registered | None:
        """Return a definition."""
        return next(iter(self._list({"name": name, "version": version})), None)

    def versions(self, name: str) -> list[Registered]:
        """Return the definitions of a name, the highest version first."""
        return self._list({"name": name})

    def all(self) -> list[Registered]:
        """Return everything that is registered."""
        return self._list({})

    def _list(self, query: Mapping[str, str]) -> list[Registered]:
        found: list[Registered] = []
        cursor: str | None = None
        while True:
            asked = {**query, "limit": _PAGE, "cursor": cursor}
            answer = self._api.call("GET", "/tasks", query=asked)
            entries = [_entry(each) for each in documents_of(answer)]
            found += [entry for entry in entries if entry is not None]
            cursor = answer.headers.get("x-next-cursor")
            if not cursor:
                return in_order(found)


def _entry(document: Mapping[str, Any]) -> Registered | None:
    # A later control plane may keep what this hutctl can't read: it is not there for it.
    definition = read_definition(document["definition"], [])
    if definition is None:
        return None
    return Registered(definition, document["registered_by"], parse_time(document["registered_at"]))


def _registered(answer: Answer, definition: TaskDefinition) -> Answer:
    try:
        return check(answer, source=definition.label)
    except InvalidInput as error:
        if len(error.problems) == 1 and error.problems[0].task is None:
            raise StoreError(error.problems[0].message) from None
        raise


def _kind(answer: Answer) -> str:
    document = answer.document()
    return str(document.get("type")).rpartition(":")[2] if isinstance(document, dict) else ""
