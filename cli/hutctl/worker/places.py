"""Where a worker finds its pool: the engines of this machine that serve it, or a control plane."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hutctl.local.pool.places import Endpoint, PoolFolder
from hutctl.worker.agent import Agent
from hutctl.worker.links import Link, LocalLink
from hutctl.worker.membership import Membership

__all__ = ["ControlPlane", "ThisMachine"]


class ThisMachine:
    """The engines that serve the pool here; they come and go with their runs.

    Parameters
    ----------
    since
        When this worker was started, in seconds since 1970.
    """

    def __init__(self, folder: PoolFolder, since: float) -> None:
        self._folder = folder
        self._since = since
        self._tokens: dict[str, str] = {}

    @property
    def waits_for(self) -> str:
        """What there is to wait for."""
        name = self._folder.name
        return f"waits for runs of pool {name}: hutctl run FILE --pool {name}"

    def is_over(self, agent: Agent) -> bool:
        """Whether a run has ended since this worker was started, and no other is there.

        Others may have done all of a run before this worker saw it.
        """
        return not agent.members and self._folder.has_ended_since(self._since)

    def look(self, agent: Agent) -> None:
        """Join engines that are new or were replaced; leave those whose run is over."""
        found = {one.run: one for one in self._folder.endpoints()}
        for run in [*agent.members]:
            if run not in found:
                agent.debug(f"run {run} is over")
                agent.members[run].finish()
                if not any(True for _ in agent.stock.of(run)):
                    del agent.members[run]
        for run, endpoint in found.items():
            if not endpoint.lives or self._tokens.get(run) == endpoint.token:
                continue
            self._tokens[run] = endpoint.token
            way = partial(_link, self._folder.name, endpoint)
            if run in agent.members:
                agent.say(f"run {run} is served again")
                agent.members[run].move(way)
            else:
                agent.say(f"serves run {run}")
                agent.members[run] = member(agent, run, way)


class ControlPlane:
    """One control plane.

    Parameters
    ----------
    open_link
        Gives a new way there.
    """

    waits_for = ""

    def __init__(self, open_link: Callable[[], Link]) -> None:
        self._open_link = open_link

    def is_over(self, agent: Agent) -> bool:
        """Whether it has nothing to give any more."""
        return bool(agent.members) and all(one.gave_nothing for one in agent.members.values())

    def look(self, agent: Agent) -> None:
        """Join it, once."""
        if not agent.members:
            agent.members[""] = member(agent, "", self._open_link)


def member(agent: Agent, source: str, way: Callable[[], Link]) -> Membership:
    """Begin a membership."""
    found = Membership(source, agent.spec, way, agent.stock, agent.news, agent.wake, agent.say)
    found.start()
    return found


def _link(pool: str, endpoint: Endpoint) -> Link:
    return LocalLink(pool, endpoint)
