"""What of a worker's turn counts, judged by the leases in its item. Pure, but for one look at others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from hut.pools.port import Heard, How, Queued, Report, Started, Turn
from hut.store.dynamodb.pool_items import Held, Member

__all__ = ["Hearing", "hear", "named"]


@dataclass(slots=True)
class Hearing:
    """A turn that was looked at.

    Attributes
    ----------
    heard : Heard
        What counts.
    refused : list of str
        Leases it speaks of that are not its own (any more).
    is_rogue : bool
        It reports what it never had.
    """

    member: Member
    turn: Turn
    heard: Heard
    refused: list[str] = field(default_factory=list)
    is_rogue: bool = False

    def settled(self, now: float) -> tuple[Member, list[Held]]:
        """Return the worker when all that counts is recorded, and the leases that wait again."""
        member = replace(self.member, seen=max(now, self.member.seen))
        if self.heard.reports:
            member = replace(member, used=now)
        back: list[Held] = []
        for held in self.member.leases.values():
            after = self._after(held, now)
            if not after.left and after.returned:
                back.append(after)
            if after != held:
                member = member.with_lease(after)
        return member, back

    def freed(self, now: float) -> Member:
        """Return the worker when nothing could be recorded: what ended takes no room of it."""
        member = self.member
        for held in self.member.leases.values():
            told = {r.part for r in self.heard.reports if r.lease == held.name}
            if told >= set(held.left) and not held.freed:
                member = replace(
                    member,
                    seen=max(now, member.seen),
                    leases={**member.leases, held.name: replace(held, freed=True)},
                )
        return member

    def _after(self, held: Held, now: float) -> Held:
        """Return a lease with what its worker says of it."""
        starts = [s.part for s in self.heard.starts if s.lease == held.name]
        reports = [r for r in self.heard.reports if r.lease == held.name]
        if starts or reports or held.name in (self.turn.holding or ()):
            held = replace(held, told=now)
        over = {report.part for report in reports}
        back = [report.part for report in reports if report.how is How.RETURNED]
        return replace(
            held,
            left=tuple(index for index in held.left if index not in over),
            started=tuple(
                index
                for index in dict.fromkeys((*held.started, *starts))
                if index not in over and index in held.left
            ),
            returned=(*held.returned, *back),
        )


def hear(
    member: Member,
    turn: Turn,
    now: float,  # noqa: ARG001 - the same arguments as of the turn
    holders: Callable[[Collection[str]], Mapping[str, tuple[str, int]]],
) -> Hearing:
    """Look at what a worker says.

    Parameters
    ----------
    holders
        Returns for names of items who was given them last, and in which epoch.
    """
    refused: dict[str, None] = {}
    items: dict[str, Queued] = {}
    starts: list[Started] = []
    reports: list[Report] = []
    strange: dict[str, int] = {}
    for started in turn.starts:
        held = member.leases.get(started.lease)
        if held is None or held.epoch != started.epoch:
            strange[started.lease] = max(strange.get(started.lease, 0), started.epoch)
        elif started.part in held.left:
            items[held.name] = held.queued
            starts.append(started)
    seen: set[tuple[str, int]] = set()
    for report in turn.reports:
        held = member.leases.get(report.lease)
        if held is None or held.epoch != report.epoch:
            strange[report.lease] = max(strange.get(report.lease, 0), report.epoch)
        elif report.part in held.left and (report.lease, report.part) not in seen:
            seen.add((report.lease, report.part))
            items[held.name] = held.queued
            if held.cancelling and report.how is How.RETURNED:
                report = report._replace(how=How.CANCELLED)  # noqa: PLW2901
            reports.append(report)
    refused |= dict.fromkeys(strange)
    refused |= {name: None for name in turn.holding or () if name not in member.leases}
    # What was another's before is known to have gone its way; the same epoch can only be made up.
    known = holders(list(strange)) if strange else {}
    is_rogue = any(
        known[name][0] != member.id and epoch >= known[name][1]
        for name, epoch in strange.items()
        if name in known
    )
    heard = Heard(member.spec.name, items, starts, reports)
    return Hearing(member, turn, heard, list(refused), is_rogue)


def named(turn: Turn) -> tuple[str, ...]:
    """Return every lease a turn speaks of."""
    told = [started.lease for started in turn.starts] + [report.lease for report in turn.reports]
    return tuple(dict.fromkeys((*told, *(turn.holding or ()))))
