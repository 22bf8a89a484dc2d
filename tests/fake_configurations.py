"""Applied configurations in memory, for tests that need no table; it passes the same contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hut.store.configurations import Current, Version, VersionConflict


@dataclass
class FakeConfigurations:
    """Implements `hut.store.configurations.ConfigurationStore`.

    `before_add` is called before each addition, as somebody else who comes first.
    """

    kept: list[tuple[Version, str, str]] = field(default_factory=list)
    before_add: Callable[[], None] | None = None
    reads: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def current(self) -> Current:
        self.reads += 1
        if not self.kept:
            return Current()
        version, _, backends = self.kept[-1]
        return Current(version, tuple(json.loads(backends)))

    def content(self, number: int) -> str | None:
        return self.kept[number - 1][1] if 1 <= number <= len(self.kept) else None

    def versions(self, *, before: int | None = None, limit: int = 100) -> list[Version]:
        found = [version for version, _, _ in reversed(self.kept)]
        return [each for each in found if before is None or each.number < before][:limit]

    def version(self, number: int) -> Version | None:
        return self.kept[number - 1][0] if 1 <= number <= len(self.kept) else None

    def add(self, version: Version, content: str, backends: Sequence[Mapping[str, Any]]) -> None:
        if self.before_add is not None:
            first, self.before_add = self.before_add, None
            first()
        with self.lock:
            if version.number != len(self.kept) + 1:
                raise VersionConflict(version.number - 1, self.kept[-1][0] if self.kept else None)
            self.kept.append((version, content, json.dumps(list(backends))))
