"""A DynamoDB client that tells of its calls, and does something else with them where a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

__all__ = ["WRITES", "Call", "Killed", "WatchedClient", "cancelled", "refusal"]

Call = Callable[..., Any]
Instead = Callable[[Call, dict[str, Any]], Any]

WRITES = frozenset(
    {"batch_write_item", "delete_item", "put_item", "transact_write_items", "update_item"}
)


def refusal(code: str, message: str = "made by a test", **more: Any) -> ClientError:
    """Return the error that a client raises for an answer of this code."""
    return ClientError({"Error": {"Code": code, "Message": message}, **more}, "Operation")


def cancelled(*reasons: str) -> ClientError:
    """Return the error of a transaction that was not done."""
    entries = [{"Code": reason} for reason in reasons]
    return refusal("TransactionCanceledException", CancellationReasons=entries)


class Killed(BaseException):
    """The process is gone: nothing it does has an effect."""


@dataclass
class _Rule:
    operation: str
    instead: Instead
    times: int


class WatchedClient:
    """See the module's docstring.

    Parameters
    ----------
    client
        The client that does the work.
    around
        Called with each operation's name, its arguments and what would be done, in place of doing it.
    """

    def __init__(
        self, client: Any, around: Callable[[str, dict[str, Any], Call], Any] | None = None
    ) -> None:
        self._client = client
        self._around = around
        self._rules: list[_Rule] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.dead = False

    def instead(self, operation: str, instead: Instead, times: int = 1) -> None:
        """Let the next calls of an operation go to `instead`, with what they would have gone to."""
        self._rules.append(_Rule(operation, instead, times))

    def fail(self, operation: str, error: Exception, times: int = 1) -> None:
        """Let the next calls of an operation fail before anything is done."""

        def refuse(call: Call, arguments: dict[str, Any]) -> Any:
            raise error

        self.instead(operation, refuse, times)

    def die(self, operation: str, after: int = 0) -> None:
        """Let the process die before the next call of an operation, or some calls later."""
        for _ in range(after):
            self.instead(operation, lambda call, arguments: call(**arguments))

        def die(call: Call, arguments: dict[str, Any]) -> Any:
            self.dead = True
            raise Killed

        self.instead(operation, die)

    def count(self, operation: str) -> int:
        """Return how often an operation was called."""
        return sum(name == operation for name, _ in self.calls)

    def __getattr__(self, operation: str) -> Call:
        call = getattr(self._client, operation)

        def watched(**arguments: Any) -> Any:
            if self.dead:
                raise Killed
            self.calls.append((operation, arguments))
            for rule in self._rules:
                if rule.operation == operation and rule.times > 0:
                    rule.times -= 1
                    return rule.instead(call, arguments)
            if self._around is not None:
                return self._around(operation, arguments, call)
            return call(**arguments)

        return watched
