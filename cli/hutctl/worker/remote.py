"""A control plane as a worker's pool: signed requests, a queue that rings, logs in CloudWatch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hut.pools.logs import events, log_id, log_name
from hutctl.client import Unreachable
from hutctl.remote.account import Account
from hutctl.remote.http import Api
from hutctl.remote.targets import Target
from hutctl.worker.agent import Agent
from hutctl.worker.links import Link, RemoteLink
from hutctl.worker.membership import Membership
from hutctl.worker.places import ControlPlane
from hutctl.worker.stock import Held

__all__ = ["CloudLogs", "RungControlPlane", "control_plane"]

_SHIP_SECONDS = 1.0
_RING_SECONDS = 20
_LARGEST_BATCH = 900_000
_MOST_EVENTS = 5000
_BESIDE = 26  # bytes CloudWatch counts for each event beside its text
_READ = 4 * 1024 * 1024
_TRIES = 5

_FAULTS = (BotoCoreError, ClientError, Unreachable)


def control_plane(
    target: Target, pool: str, say: Callable[[str], None]
) -> tuple[RungControlPlane, CloudLogs]:
    """Return where the pool is found, and what carries logs there."""

    def account() -> Account:
        return Account(target.name, target.profile, target.region)

    def link() -> Link:
        return RemoteLink(pool, Api(target))

    return RungControlPlane(link, account), CloudLogs(account, say)


class RungControlPlane(ControlPlane):
    """A control plane whose queue says when there is something to ask for."""

    def __init__(self, open_link: Callable[[], Link], account: Callable[[], Account]) -> None:
        super().__init__(open_link)
        self._account = account
        self._listening = False

    def look(self, agent: Agent) -> None:
        """Join, and listen to the queue once it is told."""
        super().look(agent)
        welcome = agent.members[""].welcome
        if welcome is not None and welcome.queue_url and not self._listening:
            self._listening = True
            threading.Thread(
                target=self._listen, args=(agent, welcome.queue_url), daemon=True
            ).start()

    def _listen(self, agent: Agent, url: str) -> None:
        """Ring whenever a message comes while something is wanted; the poll behind it guarantees."""
        queue = None
        while True:
            with agent.news:
                agent.news.wait_for(lambda: agent.stock.demand > 0)
            try:
                queue = queue or self._account().client("sqs")
                found = queue.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=_RING_SECONDS - 5
                )
                for message in found.get("Messages", ()):
                    queue.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    agent.members[""].ring()
            except _FAULTS as error:
                agent.debug(f"the pool's queue can't be heard: {error}")
                queue = None
                time.sleep(_RING_SECONDS)


@dataclass(slots=True)
class _Log:
    """A file that is carried away while it grows."""

    path: Path
    group: str
    stream: str
    id: str
    offset: int = 0
    told: Callable[[], None] | None = None


class CloudLogs:
    """Writes what tasks print into the stream of this worker's session; see `hut.pools.logs`."""

    def __init__(self, account: Callable[[], Account], say: Callable[[str], None]) -> None:
        self._account = account
        self._say = say
        self._client: Any = None
        self._streams: set[str] = set()
        self._logs: dict[int, _Log] = {}
        self._news = threading.Condition()
        self._told_fault = False
        threading.Thread(target=self._carry, daemon=True).start()

    def begin(self, held: Held, path: str, member: Membership) -> str | None:
        """Begin with a task that prints into a file; return the name of its log, if it has one."""
        welcome, order = member.welcome, held.order
        if welcome is None or not welcome.log_stream:
            return None
        log = log_id(order.lease, order.part, order.epoch)
        with self._news:
            self._logs[held.serial] = _Log(Path(path), welcome.log_group, welcome.log_stream, log)
        return log_name(welcome.log_stream, log, held.started_at or 0.0)

    def end(self, held: Held, told: Callable[[], None]) -> None:
        """Carry the rest; then call `told`, from another thread."""
        with self._news:
            log = self._logs.get(held.serial)
            if log is not None:
                log.told = told
                self._news.notify()
        if log is None:
            told()

    def _carry(self) -> None:
        while True:
            with self._news:
                self._news.wait(_SHIP_SECONDS)
                logs = dict(self._logs)
            batches: dict[tuple[str, str], list[str]] = {}
            over = {serial: log for serial, log in logs.items() if log.told is not None}
            for log in logs.values():
                batches.setdefault((log.group, log.stream), []).extend(_new(log))
            for (group, stream), messages in batches.items():
                for batch in _batches(messages):
                    self._put(group, stream, batch)
            with self._news:
                for serial in over:
                    del self._logs[serial]
            for log in over.values():
                log.path.unlink(missing_ok=True)
                assert log.told is not None  # noqa: S101 - chosen by it
                log.told()

    def _put(self, group: str, stream: str, messages: list[str]) -> None:
        """Write events; after a few tries in vain a task's end goes before its output."""
        now = int(time.time() * 1000)
        written = [{"timestamp": now, "message": message} for message in messages]
        for attempt in range(_TRIES):
            try:
                client = self._client = self._client or self._account().client("logs")
                if stream not in self._streams:
                    self._make(client, group, stream)
                client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=written)
            except _FAULTS as error:
                self._client = None
                if not self._told_fault:
                    self._told_fault = True
                    self._say(f"logs can't be written to {group}: {error}")
                time.sleep(0.5 * 2**attempt)
            else:
                self._told_fault = False
                return

    def _make(self, client: Any, group: str, stream: str) -> None:
        try:
            client.create_log_stream(logGroupName=group, logStreamName=stream)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise
        self._streams.add(stream)


def _new(log: _Log) -> list[str]:
    """Return the events for what a file has got since the last time: whole lines until its end."""
    found: list[str] = []
    while True:
        try:
            with open(log.path, "rb") as file:
                file.seek(log.offset)
                content = file.read(_READ)
        except OSError:
            content = b""
        is_rest = len(content) < _READ
        is_over = log.told is not None and is_rest
        if not is_over:
            whole = content.rpartition(b"\n")[0]
            # A line without an end goes in pieces, too, where it is longer than what is read at once.
            content = (
                whole + b"\n" if whole or content.startswith(b"\n") else b"" if is_rest else content
            )
        log.offset += len(content)
        found += events(log.id, content.decode(errors="replace"), last=is_over)
        if is_rest:
            return found


def _batches(messages: list[str]) -> Iterator[list[str]]:
    """Yield events in such pieces as CloudWatch takes at once."""
    batch: list[str] = []
    size = 0
    for message in messages:
        length = len(message.encode()) + _BESIDE
        if batch and (size + length > _LARGEST_BATCH or len(batch) >= _MOST_EVENTS):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch
