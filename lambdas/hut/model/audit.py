"""The audit record: who did what through the API, when, from where, and what became of it.

An act is noted before it is done, and its outcome after it. Where the second note is missing, whoever
did it died in between, or could not write it: the act may have been done or not, and the run or the
configuration itself says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Act", "ActFilter", "Ended", "Outcome", "Recorded"]


class Outcome(StrEnum):
    """What became of an act."""

    DONE = "done"
    REFUSED = "refused"
    """Nothing was changed: the input was wrong, or the state of things did not allow it."""

    FAILED = "failed"
    """The control plane itself failed at it; it may have been done or not."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something a person wants to change.

    Attributes
    ----------
    id : str
        What API Gateway calls the request, so that its access log can be searched for it.
    at : float
    action : str
        ``submit``, ``cancel``, ``retry``, ``config.apply`` and the like.
    who : str
        As runs name their owners.
    source_ip, user_agent : str
        From where, as API Gateway saw it; the second is what the client says of itself.
    run : str or None
        The run it is about, where it is known before.
    detail : mapping
        Names and numbers. Never commands, variables or contents of files.
    """

    id: str
    at: float
    action: str
    who: str
    source_ip: str = ""
    user_agent: str = ""
    run: str | None = None
    detail: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of an act; `run` and `detail` are added to what was known before."""

    at: float
    outcome: Outcome
    run: str | None = None
    detail: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An act as it stands in the record; `ended` is None where nothing is known of its outcome."""

    act: Act
    ended: Ended | None

    @property
    def run(self) -> str | None:
        """The run it is about."""
        return self.act.run or (self.ended.run if self.ended is not None else None)


@dataclass(frozen=True, slots=True)
class ActFilter:
    """Which acts to list, newest first.

    Attributes
    ----------
    since, until : float or None
        Seconds; the second is not included.
    before : str or None
        `cursor` of the last page.
    """

    since: float | None = None
    until: float | None = None
    who: str | None = None
    action: str | None = None
    run: str | None = None
    before: str | None = None
    limit: int = 100

    def takes(self, recorded: Recorded) -> bool:
        """Say whether an act is wanted; when it was is asked of the store."""
        act = recorded.act
        return (
            self.who in (None, act.who)
            and self.action in (None, act.action)
            and self.run in (None, recorded.run)
        )
