"""Ends instances: those of attempts that were stopped, and those that nobody needs.

An instance is ended only after it was made nobody's by a write on condition (`Hosts.disown`,
`Hosts.evict`), so that no attempt takes it in the same moment. Where the call that ends it fails then,
the next sweep finds an instance without a host item whose attempt does not run, and ends that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hut.backends.ec2.executions import Executions
from hut.backends.ec2.instances import Instance, Instances
from hut.backends.hosts import Host, Hosts

__all__ = ["IDLE_SLACK", "YOUNG_SECONDS", "Tidying"]

YOUNG_SECONDS = 120.0
"""So old an instance, or what an attempt has of it, must be before a sweep judges it: until then its
execution may not be in the lists yet, or its host item not written."""

IDLE_SLACK = 120.0
"""Seconds an idle instance may stay beyond its time: it may just be shutting itself down."""

_AT_ONCE = 50  # between two looks at the time


class Tidying:
    """See the module's docstring.

    Parameters
    ----------
    executions, instances, hosts
        Of the deployment.
    backend
        Name of the backend that is asked; others are known by their instances.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        executions: Executions,
        instances: Instances,
        hosts: Hosts,
        backend: str,
        clock: Callable[[], float],
    ) -> None:
        self._executions = executions
        self._instances = instances
        self._hosts = hosts
        self._backend = backend
        self._clock = clock

    def end_instances(self, names: Sequence[str]) -> int:
        """End the instances of attempts whose executions were stopped; return how many there were.

        An instance that an attempt has left, because its command had ended, is not the attempt's: it is
        idle, or somebody else's. What EC2 does not show yet is ended by a later call.
        """
        launched = {each.id: each.attempt for each in self._instances.of_attempts(names)}
        notes = self._hosts.jobs(names)
        noted = {note.instance: note.name for note in notes.values() if note.instance}
        owners = self._hosts.hosts({*launched, *noted})
        idle = self._hosts.idle_among(list(owners.values()))
        theirs = dict(launched)
        for instance, name in noted.items():  # one that was taken has the tags of its first attempt
            owner = owners.get(instance)
            if owner is not None and owner.name == name:
                theirs[instance] = name
        out = [
            instance
            for instance, name in theirs.items()
            if instance not in idle and self._hosts.disown(instance, name, owners.get(instance))
        ]
        self._instances.end(out)
        return len(out)

    def tidy(self, running: Mapping[str, float], has_time: Callable[[], bool]) -> int:
        """End instances that belong to no execution that runs, and idle ones whose time is over.

        Parameters
        ----------
        running
            The executions that run, as they were before this call: what was launched since is young.
        """
        ended = 0
        found = self._instances.all()
        self._forget(found)
        for start in range(0, len(found), _AT_ONCE):
            if not has_time():
                break
            ended += self._judge(found[start : start + _AT_ONCE], running)
        return ended

    def _forget(self, found: Sequence[Instance]) -> None:
        """Forget idle instances whose time is over and that are gone: nobody else would, for days."""
        there, now = {each.id for each in found}, self._clock()
        for backend in sorted({self._backend, *(each.backend for each in found)}):
            for host in self._hosts.idle(backend):
                if host.until + IDLE_SLACK < now and host.instance not in there:
                    self._hosts.evict(host)

    def _judge(self, some: Sequence[Instance], running: Mapping[str, float]) -> int:
        now = self._clock()
        # In this order: an instance that becomes idle after its owner was read is seen as idle, and
        # one that is taken then has another owner when it is to be disowned.
        owners = self._hosts.hosts([each.id for each in some])
        idle = self._hosts.idle_among(list(owners.values()))
        out = [
            host.instance
            for host in idle.values()
            if host.until + IDLE_SLACK < now and self._hosts.evict(host)
        ]
        doubtful = {
            each.id: name
            for each in some
            if each.id not in idle
            and _age(each, owners.get(each.id), now) > YOUNG_SECONDS
            and (name := _attempt_of(each, owners.get(each.id))) not in running
        }
        # The list of executions may lag behind; what says of one that it runs is its description.
        described = self._executions.describe(sorted(set(doubtful.values())))
        for instance, name in doubtful.items():
            if described.get(name, {}).get("status") == "RUNNING":
                continue
            if self._hosts.disown(instance, name, owners.get(instance)):
                out.append(instance)
        self._instances.end(out)
        return len(out)


def _attempt_of(instance: Instance, owner: Host | None) -> str:
    """Return the attempt that has an instance: what is noted goes before its tags."""
    return instance.attempt if owner is None else owner.name


def _age(instance: Instance, owner: Host | None, now: float) -> float:
    """Return for how long the attempt may have had the instance."""
    return now - max(instance.launched_at, 0.0 if owner is None else owner.at)
