"""The configuration of a control plane: looked at, and changed from a file on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hut.model.documents import Path as Place
from hut.model.documents import format_of, read_document
from hut.model.problems import InvalidInput, Problem
from hut.store.port import StoreError
from hutctl.client import Document
from hutctl.remote.answers import check, document_of, documents_of
from hutctl.remote.http import Api, path_of

__all__ = ["RemoteConfiguration", "with_lines"]

_PAGE = 500
_SECTIONS = ("backends", "environments", "schedulers", "settings")
_INDEX = re.compile(r"(backends|environments|schedulers)\[(\d+)\](?:\.(.*))?", re.DOTALL)


class RemoteConfiguration:
    """What one target's control plane is configured to.

    Parameters
    ----------
    api
        The way to it.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    @property
    def target(self) -> str:
        """The target's name."""
        return self._api.target.name

    def show(self, version: int | None = None) -> Document:
        """Return a version with its content, the current one if none is named."""
        path = "/config" if version is None else path_of("config", "versions", str(version))
        return document_of(self._api.call("GET", path))

    def history(self, limit: int) -> list[Document]:
        """Return versions, newest first."""
        found: list[Document] = []
        cursor: str | None = None
        while len(found) < limit:
            query = {"limit": min(limit, _PAGE), "cursor": cursor}
            answer = self._api.call("GET", "/config/history", query=query)
            found += documents_of(answer)
            cursor = answer.headers.get("x-next-cursor")
            if not cursor:
                break
        return list(islice(found, limit))

    def backends(self) -> list[Document]:
        """Return all backends, the default first."""
        return documents_of(self._api.call("GET", "/backends"))

    def environments(self) -> list[Document]:
        """Return the environments of the control plane."""
        return documents_of(self._api.call("GET", "/environments"))

    def apply(
        self,
        content: Mapping[str, Any],
        file: Path,
        *,
        expected: int,
        message: str = "",
        dry_run: bool = False,
    ) -> Document:
        """Make a content the next version, and return what that changed.

        Parameters
        ----------
        file
            Where it came from; problems are told with its lines.
        expected
            The version that was looked at.

        Raises
        ------
        InvalidInput
            With every problem.
        StoreError
            If somebody was faster.
        """
        body = {**content, "message": message} if message else content
        answer = self._api.call(
            "PUT",
            "/config",
            query={"dry_run": "true"} if dry_run else None,
            body=json.dumps(body, ensure_ascii=False).encode(),
            headers={"If-Match": f'"{expected}"'},
        )
        if answer.status == 409:
            told = str((answer.document() or {}).get("detail", "another version is current"))
            raise StoreError(
                f"nothing was applied: {told.partition(';')[0]}; see: hutctl config diff"
            )
        try:
            document = document_of(check(answer, source=str(file)))
        except InvalidInput as error:
            raise InvalidInput(
                with_lines(error.problems, content, file), source=str(file)
            ) from None
        if answer.tries > 1 and document["version"] == expected + 1:
            document["changed"] = True  # an earlier try did it, only its answer was lost
        return document


def with_lines(
    problems: Sequence[Problem], content: Mapping[str, Any], file: Path
) -> list[Problem]:
    """Return problems of a content with the lines of the file it was taken from.

    Parameters
    ----------
    content
        As it was sent: only what a control plane keeps, in the order of names.
    """
    text = file.read_text(encoding="utf-8")
    document = read_document(text, format=format_of(str(file)), with_lines=True)
    found = []
    for problem in problems:
        place = _place(problem.field or "", content, document.data)
        line = document.line_of(place) if place else None
        found.append(replace(problem, line=line))
    return sorted(found, key=lambda problem: problem.line or 0)


def _place(field: str, content: Mapping[str, Any], data: Any) -> Place:
    """Return where in the file a field of the content stands, as far as that is known."""
    if match := _INDEX.fullmatch(field):
        section, index, rest = match[1], int(match[2]), match[3] or ""
        entries = content.get(section, ())
        name = entries[index]["name"] if index < len(entries) else ""
    else:
        section, _, rest = field.partition(".")
        if section not in _SECTIONS:
            return ()
        if section == "settings":
            return (section, *rest.split(".")) if rest else (section,)
        entries = content.get(section, ())
        known = (each["name"] for each in entries)
        name = next((each for each in known if f"{rest}.".startswith(f"{each}.")), "")
        rest = rest[len(name) + 1 :]
    for number, entry in enumerate(data.get(section) or ()):
        if isinstance(entry, dict) and entry.get("name") == name:
            return (section, number, *filter(None, rest.split(".")))
    return (section,)
