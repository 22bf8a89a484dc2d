"""Simulated SQS, with what Lambda does to ask queues: at least once, late, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.functions import Result

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["LONGEST_DELAY", "Message", "Queue", "SimulatedSQS"]

_MOST_COPIES = 5
_POLL_SECONDS = 0.02
LONGEST_DELAY = 900


@dataclass(eq=False)
class Message:
    """A message in a queue.

    Attributes
    ----------
    visible_at, sent_at : float
        From when on it may be received; when it was sent.
    received : int
        How often it was.
    """

    id: str
    body: str
    visible_at: float
    sent_at: float
    received: int = 0


@dataclass(eq=False)
class Queue:
    """A queue and the function that takes its messages.

    Attributes
    ----------
    batch, at_once : int
        Messages per call, and calls at a time.
    visibility : float
        Seconds until a message that was received and not deleted is there again.
    most_received : int
        After so many deliveries a message goes to `dead`.
    acknowledged : callable
        Told of each message that is about to be deleted.
    """

    world: World
    name: str
    function: str
    batch: int
    at_once: int
    visibility: float = 360.0
    most_received: int = 10
    acknowledged: Callable[[Message], None] = lambda _: None
    messages: dict[str, Message] = field(default_factory=dict)
    dead: list[Message] = field(default_factory=list)
    sent: int = 0
    _taken: int = 0
    _asks_again: bool = False

    def send(self, body: str, delay: float = 0.0) -> None:
        """Put a message in, perhaps several times."""
        chance, faults = self.world.chance, self.world.faults_now()
        self.sent += 1
        label = f"{self.name} #{self.sent}"
        copies = 1
        while copies < _MOST_COPIES and chance.fault(
            "repeated", f"{label} copy {copies}", faults.repeated
        ):
            copies += 1
        for copy in range(copies):
            late = chance.between(f"late {label} {copy}", 0.0, faults.late)
            visible_at = self.world.agenda.now + delay + late
            message = Message(f"{label}.{copy}", body, visible_at, self.world.agenda.now)
            self.messages[message.id] = message
            self._poll_for(message)

    def _poll_for(self, message: Message) -> None:
        """Look for a message when it may be received, unless it is gone by then."""
        self.world.agenda.at(
            message.visible_at + _POLL_SECONDS,
            lambda: message.id in self.messages and self._poll(),
        )

    def _poll_again(self) -> None:
        self._asks_again = False
        self._poll()

    def _poll(self) -> None:
        """Hand visible messages to the function, if it may be called."""
        world, now = self.world, self.world.agenda.now
        if self._taken >= self.at_once or not world.functions.has_room(self.function):
            if not self._asks_again and self.messages:
                self._asks_again = True
                world.agenda.after(0.5, self._poll_again)
            return
        visible = [m for m in self.messages.values() if m.visible_at <= now]
        if not visible:
            return
        if world.faults.late:  # no order is promised
            visible.sort(key=lambda m: world.chance.roll(f"order {m.id} {m.received}"))
        some: list[Message] = []
        for message in visible[: self.batch]:
            message.received += 1
            if message.received > self.most_received:
                del self.messages[message.id]
                self.dead.append(message)
                world.history.note(self.name, f"gives up {message.id}: {message.body:.80}")
                continue
            message.visible_at = now + self.visibility
            self._poll_for(message)
            some.append(message)
        if len(visible) > self.batch:
            world.agenda.after(0.0, self._poll)
        if some:
            self._taken += 1
            records = [_record(message) for message in some]
            world.functions.invoke(
                self.function, {"Records": records}, lambda result: self._done(some, result)
            )

    def _done(self, some: Sequence[Message], result: Result) -> None:
        """Delete what the function took; the rest becomes visible in its time."""
        self._taken -= 1
        if not result.error:
            failed = {each["itemIdentifier"] for each in result.answer["batchItemFailures"]}
            for message in some:
                if message.id in failed or message.id not in self.messages:
                    continue
                self.acknowledged(message)
                # A deletion may be late: the message is received once more all the same.
                faults = self.world.faults_now()
                if self.world.chance.fault(
                    "repeated", f"{message.id} again {message.received}", faults.repeated
                ):
                    continue
                del self.messages[message.id]
        self.world.agenda.after(_POLL_SECONDS, self._poll)


def _record(message: Message) -> dict[str, Any]:
    return {
        "eventSource": "aws:sqs",
        "messageId": message.id,
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": str(message.received)},
    }


class SimulatedSQS:
    """SQS as a client sees it.

    Parameters
    ----------
    queues
        By their URLs.
    """

    def __init__(self, queues: dict[str, Queue]) -> None:
        self._queues = queues

    def send_message(self, **given: Any) -> dict[str, Any]:
        """Send a message."""
        delay = given.get("DelaySeconds", 0)
        assert 0 <= delay <= LONGEST_DELAY
        self._queues[given["QueueUrl"]].send(given["MessageBody"], delay)
        return {"MessageId": "m"}
