"""The port of applied configurations: numbered versions that never change, and which is current.

A version is added only as the follower of the one that is current, so of two people who change the
same one, the second is told of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hut.model.rfc3339 import format_time
from hut.store.port import StoreError

__all__ = ["ConfigurationStore", "Current", "Recent", "Version", "VersionConflict"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version without its content.

    Attributes
    ----------
    number : int
        From 1, without gaps.
    at : float
        Seconds since the epoch.
    by : str
        Who applied it: the caller's IAM identity without its account.
    digest : str
        Of the content; equal contents have equal ones.
    """

    number: int
    at: float
    by: str
    message: str
    digest: str


class VersionConflict(StoreError):  # noqa: N818 - says what happened
    """The current version is not the one a change was made from; the message says whose it is.

    Attributes
    ----------
    current : Version or None
        None if nothing is applied.
    """

    def __init__(self, before: int, current: Version | None) -> None:
        self.current = current
        now = "nothing is applied"
        if current is not None:
            now = (
                f"version {current.number} is current, by {current.by} at {format_time(current.at)}"
            )
        super().__init__(f"the change was made from version {before}, but {now}")


@dataclass(frozen=True, slots=True)
class Current:
    """What counts now, as far as functions need it for tasks that run.

    Attributes
    ----------
    version : Version or None
        None where nothing was ever applied.
    backends : sequence of mapping
        How backends of the stack are refined, for `hut.backends.refining`.
    """

    version: Version | None = None
    backends: Sequence[Mapping[str, Any]] = ()

    @property
    def number(self) -> int:
        """The version's number; 0 where nothing was ever applied."""
        return 0 if self.version is None else self.version.number


class ConfigurationStore(Protocol):
    """Where applied configurations are."""

    def current(self) -> Current:
        """Return what counts now: one cheap read."""

    def content(self, number: int) -> str | None:
        """Return the content of a version as JSON text, or None if there is no such version."""

    def versions(self, *, before: int | None = None, limit: int = 100) -> list[Version]:
        """Return versions, newest first, only those below `before` if that is given."""

    def version(self, number: int) -> Version | None:
        """Return one version, or None."""

    def add(self, version: Version, content: str, backends: Sequence[Mapping[str, Any]]) -> None:
        """Add a version and make it the current one: all of it or nothing.

        Raises
        ------
        VersionConflict
            If the version before it is not the current one.
        """


class Recent:
    """What counts, at most some seconds old: for functions that ask for it all the time.

    Parameters
    ----------
    read
        Reads what counts now.
    clock
        Seconds, from any start.
    """

    def __init__(
        self, read: Callable[[], Current], clock: Callable[[], float], *, seconds: float = 10.0
    ) -> None:
        self._read = read
        self._clock = clock
        self._seconds = seconds
        self._known: Current | None = None
        self._until = 0.0

    def current(self, at_least: int = 0) -> Current:
        """Return what counts, or counted a moment ago.

        Parameters
        ----------
        at_least
            Number of a version that is known to exist: something older would not do.
        """
        known = self._known
        if known is None or self._clock() >= self._until or known.number < at_least:
            known = self._known = self._read()
            self._until = self._clock() + self._seconds
        return known

    def forget(self) -> None:
        """Read anew when next asked: something is missed that may have come meanwhile."""
        self._known = None
