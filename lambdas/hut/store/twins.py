"""The part of the store port that knows which of identical attempts leads, and which follow it.

=============  =================================================================================
operation      what protects it
=============  =================================================================================
lead           nobody leads under the digest, or only the one that was seen to be over
join           the attempt is submitted under its attempt and epoch, and has no handle yet; the leader
               leads still
leave          the attempt still follows the same leader
=============  =================================================================================

None of them says that a leader is alive: who leads may have ended or been given back at any moment.
So whoever has joined looks at its leader again afterwards (`hut.twins`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hut.scheduling.twins import Follower, Twin

__all__ = ["TwinStore"]


class TwinStore(Protocol):
    """See the module's docstring for what protects each operation."""

    def lead(
        self, wishes: Mapping[str, Twin], instead: Mapping[str, Twin] | None = None
    ) -> dict[str, Twin]:
        """Let attempts lead under digests that nobody leads under; return who does now, by digest.

        Parameters
        ----------
        instead
            Leaders that are over, by digest: these may be replaced.
        """

    def join(self, run_id: str, joining: Sequence[tuple[str, Follower]]) -> list[Follower]:
        """Let attempts of a run follow leaders, under digests; return those that do."""

    def leave(self, run_id: str, followers: Sequence[Follower]) -> int:
        """Give back attempts of a run that follow; the attempt does not count. Return how many."""
