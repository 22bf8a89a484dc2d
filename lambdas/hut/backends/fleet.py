"""The backends of a control plane: as they are configured at the moment somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hut.backends.advertising import targets_of
from hut.backends.as_submitted import AsSubmitted
from hut.backends.kinds import Entry, Options, Refinement, kind_of
from hut.backends.port import RemoteBackend
from hut.backends.refining import Backend, backends_of, live, options_of
from hut.model.records import RunSettings

__all__ = ["Fleet", "LiveBackends", "LiveCaps"]


class Fleet:
    """Makes backends as they are needed, and keeps them as long as they stay the same.

    Parameters
    ----------
    stack
        The entries of ``HUT_BACKENDS``.
    prefix
        Of this deployment.
    make
        For each kind what makes a backend of some options of it.
    """

    def __init__(
        self,
        stack: Sequence[Entry],
        prefix: str,
        make: Mapping[str, Callable[[Any], RemoteBackend]],
    ) -> None:
        self._stack = stack
        self._prefix = prefix
        self._make = make
        self._made: dict[str, AsSubmitted] = {}
        self._from: dict[str, Backend] = {}
        self._caps: dict[str, int] = {}
        self._followed: Sequence[Refinement] | None = None

    def described(self, refinements: Sequence[Refinement]) -> dict[str, Backend]:
        """Return what each backend is, those included that are only there for earlier runs."""
        return backends_of(refinements, self._stack, self._prefix)

    def backends(self, refinements: Sequence[Refinement]) -> Mapping[str, RemoteBackend]:
        """Return the backends by the names that workflows use."""
        self._follow(refinements)
        return self._made

    def caps(self, refinements: Sequence[Refinement]) -> dict[str, int]:
        """Return for each capped backend how many tasks it may have at once."""
        self._follow(refinements)
        return self._caps

    def _follow(self, refinements: Sequence[Refinement]) -> None:
        """Make what is new; the same refinements, which come at every turn, cost nothing."""
        if refinements is self._followed:
            return
        found = self.described(refinements)
        self._made = {name: self._backend(name, each) for name, each in found.items()}
        self._from = found
        most = {name: each.options.cap for name, each in found.items()}
        self._caps = {name: cap for name, cap in most.items() if cap}
        self._followed = refinements

    def _backend(self, name: str, backend: Backend) -> AsSubmitted:
        before = self._from.get(name)
        same = before is not None and (before.kind, before.options, _offers(before)) == (
            backend.kind,
            backend.options,
            _offers(backend),
        )
        if same:
            return self._made[name]

        def as_of(settings: RunSettings) -> Options:
            kept = settings.backends.get(name, {})
            kind = kind_of(kept) if kept else backend.kind
            chosen = {**kept, **live(backend.refinement), "type": kind}
            return options_of(name, backend.kind, chosen, self._stack, self._prefix)

        targets = targets_of(name, backend.kind, backend.options, backend.refinement)
        return AsSubmitted(backend.options, as_of, self._make[backend.kind], targets)


def _offers(backend: Backend) -> tuple[Any, Any]:
    """Return what a configuration says that the backend's targets offer."""
    return backend.refinement.get("properties"), backend.refinement.get("targets")


class LiveBackends(Mapping[str, RemoteBackend]):
    """The backends by name, as they are configured at the moment they are asked for.

    Parameters
    ----------
    current
        Returns what is chosen now.
    """

    def __init__(self, fleet: Fleet, current: Callable[[], Sequence[Refinement]]) -> None:
        self._fleet = fleet
        self._current = current

    def __getitem__(self, name: str) -> RemoteBackend:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, RemoteBackend]:
        return self._fleet.backends(self._current())


class LiveCaps(Mapping[str, int]):
    """For each capped backend how many tasks it may have, at the moment it is asked for."""

    def __init__(self, fleet: Fleet, current: Callable[[], Sequence[Refinement]]) -> None:
        self._fleet = fleet
        self._current = current

    def __getitem__(self, name: str) -> int:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, int]:
        return self._fleet.caps(self._current())
