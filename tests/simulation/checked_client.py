"""A simulated service as its client: requests and answers are held against AWS's own model of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

__all__ = ["CheckedClient"]

_SESSION = botocore.session.get_session()


class CheckedClient:
    """See the module's docstring.

    Attributes
    ----------
    calls : list of tuple of str, dict
        What was called, with which arguments.
    """

    def __init__(self, name: str, service: Any) -> None:
        self._service = service
        self._model = _SESSION.get_service_model(name)
        self._pages = _SESSION.get_component("data_loader").load_service_model(name, "paginators-1")
        self._operations = {xform_name(each): each for each in self._model.operation_names}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        operation = self._model.operation_model(self._operations[name])

        def call(**given: Any) -> Any:
            validate_parameters(given, operation.input_shape)
            self.calls.append((name, given))
            try:
                answer = getattr(self._service, name)(**given)
            except ClientError as error:
                if error.operation_name != operation.name:
                    raise AssertionError(f"{name} fails as {error.operation_name}") from None
                raise
            validate_parameters(_with_start(answer), operation.output_shape)
            return answer

        return call

    def get_paginator(self, name: str) -> _Pages:
        return _Pages(getattr(self, name), self._pages["pagination"][self._operations[name]])

    def count(self, name: str) -> int:
        """Return how often an operation was called."""
        return sum(called == name for called, _ in self.calls)


def _with_start(answer: dict[str, Any]) -> dict[str, Any]:
    """Give jobs the start that the model demands and AWS leaves out of those that have none."""
    if "jobs" not in answer:
        return answer
    return {**answer, "jobs": [{"startedAt": 0, **job} for job in answer["jobs"]]}


class _Pages:
    def __init__(self, call: Any, rule: dict[str, Any]) -> None:
        self._call = call
        self._rule = rule

    def paginate(self, **given: Any) -> Iterator[Any]:
        """Yield the pages; the token of one asks for the next."""
        while True:
            page = self._call(**given)
            yield page
            token = page.get(self._rule["output_token"])
            if not token:
                return
            given[self._rule["input_token"]] = token
