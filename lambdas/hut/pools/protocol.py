"""What workers and pools write to each other: JSON documents, read strictly and written shortly.

A reader takes what JSON gave it and returns records of the port, or raises `InvalidInput` with every
problem. Fields that are at their default are not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from hut.model.limits import (
    LONGEST_NAME,
    LONGEST_TAG,
    LONGEST_TAG_VALUE,
    MOST_PROBLEMS,
    MOST_TAGS,
)
from hut.model.problems import InvalidInput, Problem, did_you_mean, is_one_line
from hut.model.rfc3339 import format_time
from hut.pools.port import (
    Answer,
    How,
    Order,
    PoolState,
    Report,
    Started,
    Turn,
    WorkerSpec,
    WorkerState,
)

__all__ = [
    "LARGEST_TURN",
    "MOST_WANTED",
    "Welcome",
    "answer_document",
    "join_document",
    "pool_document",
    "read_answer",
    "read_join",
    "read_turn",
    "read_welcome",
    "turn_document",
    "welcome_document",
]

LARGEST_TURN: Final = 4 * 1024 * 1024
"""Bytes of what a worker may write at once."""

MOST_WANTED: Final = 10_000
"""Tasks a worker may ask for at once, slots it may have, and entries of each list of a turn."""

_LONGEST_LEASE = 256
_LONGEST_WAIT = 20.0
_LONGEST_SAID = 2000
_LARGEST_NUMBER = 2**53


class Welcome(NamedTuple):
    """What a worker that joins is told.

    Attributes
    ----------
    worker : str
        Its id: the next request is for this.
    keepalive_s, timeout_s : float
        How often it should give a sign of life, and without which it is taken for dead.
    queue_url : str or None
        A queue of SQS that gets a message when there is something to do.
    refused : tuple of str
        Leases it has from before that are not its own any more.
    log_group, log_stream : str
        Where its logs go in CloudWatch; empty on one machine.
    """

    worker: str
    keepalive_s: float
    timeout_s: float
    draining: bool = False
    queue_url: str | None = None
    refused: tuple[str, ...] = ()
    log_group: str = ""
    log_stream: str = ""


class _Problems:
    """Reads fields and keeps what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.found: list[Problem] = []
        self._source = source

    def note(self, field: str, message: str) -> None:
        if len(self.found) < MOST_PROBLEMS:
            self.found.append(Problem(message, field=field))

    def raise_found(self) -> None:
        if self.found:
            raise InvalidInput(self.found, source=self._source)

    def fields(self, found: object, place: str, known: Iterable[str]) -> Mapping[str, Any]:
        """Return an object with no other than the known fields."""
        if not isinstance(found, dict):
            self.note(place or "body", "must be an object")
            return {}
        names = tuple(known)
        for name in found:
            if name not in names:
                hint = did_you_mean(str(name)[:200], names, list_up_to=20)
                self.note(_under(place, str(name)[:200]), f"is not known; {hint}")
        return found

    def text(
        self, found: Mapping[str, Any], place: str, name: str, most: int, *, least: int = 0
    ) -> str:
        given = found.get(name, "")
        right = isinstance(given, str) and least <= len(given) <= most and is_one_line(given)
        if not right:
            self.note(_under(place, name), f"must be text of {least} to {most:,} characters")
        return given if right else ""

    def number(
        self, found: Mapping[str, Any], place: str, name: str, default: int, bounds: tuple[int, int]
    ) -> int:
        given = found.get(name, default)
        least, most = bounds
        if type(given) is not int or not least <= given <= most:
            self.note(_under(place, name), f"must be a whole number from {least:,} to {most:,}")
            return least
        return given

    def time(self, found: Mapping[str, Any], place: str, name: str) -> float | None:
        given = found.get(name)
        if given is None:
            return None
        if type(given) not in (int, float) or not 0 <= given < _LARGEST_NUMBER:
            self.note(_under(place, name), "must be seconds, as a number that is not negative")
            return None
        return float(given)

    def entries(self, found: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
        given = found.get(name, ())
        if not isinstance(given, list | tuple):
            self.note(name, "must be a list")
        elif len(given) > MOST_WANTED:
            self.note(name, f"has {len(given):,} entries, at most {MOST_WANTED:,} are allowed")
        else:
            for index, entry in enumerate(given):
                yield f"{name}[{index}]", entry

    def names(self, found: Mapping[str, Any], name: str) -> tuple[str, ...]:
        names = []
        for place, entry in self.entries(found, name):
            if isinstance(entry, str) and 0 < len(entry) <= _LONGEST_LEASE:
                names.append(entry)
            else:
                self.note(place, "must be the name of a lease")
        return tuple(names)


def _under(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


# Joining -----------------------------------------------------------------------------------------

_JOIN = ("name", "properties", "slots", "max_inflight", "host", "pid", "version", "holding")


def join_document(spec: WorkerSpec) -> dict[str, Any]:
    """Return what a worker says to join."""
    document: dict[str, Any] = {
        "name": spec.name,
        "properties": dict(spec.properties),
        "slots": spec.slots,
        "max_inflight": spec.max_inflight,
        "host": spec.host,
        "pid": spec.pid,
        "version": spec.version,
    }
    if spec.holding:
        document["holding"] = [{"lease": name, "epoch": epoch} for name, epoch in spec.holding]
    return document


def read_join(document: object) -> WorkerSpec:
    """Read what a worker says to join.

    Raises
    ------
    InvalidInput
    """
    problems = _Problems("the worker")
    found = problems.fields(document, "", _JOIN)
    holding = []
    for place, entry in problems.entries(found, "holding"):
        lease = problems.fields(entry, place, ("lease", "epoch"))
        name = problems.text(lease, place, "lease", _LONGEST_LEASE, least=1)
        holding.append((name, problems.number(lease, place, "epoch", 0, (1, _LARGEST_NUMBER))))
    spec = WorkerSpec(
        name=problems.text(found, "", "name", LONGEST_NAME, least=1),
        properties=_read_properties(found.get("properties", {}), problems),
        slots=problems.number(found, "", "slots", 1, (1, MOST_WANTED)),
        max_inflight=problems.number(found, "", "max_inflight", 0, (0, _LARGEST_NUMBER)),
        host=problems.text(found, "", "host", LONGEST_NAME),
        pid=problems.number(found, "", "pid", 0, (0, _LARGEST_NUMBER)),
        version=problems.text(found, "", "version", 100),
        holding=tuple(holding),
    )
    problems.raise_found()
    return spec


def _read_properties(given: object, problems: _Problems) -> dict[str, str]:
    if not isinstance(given, dict):
        problems.note("properties", "must be an object of texts")
        return {}
    if len(given) > MOST_TAGS:
        problems.note("properties", f"has {len(given):,} entries, {MOST_TAGS} are allowed")
        return {}
    for name, value in given.items():
        place = f"properties.{name[:LONGEST_TAG]}"
        if not 1 <= len(name) <= LONGEST_TAG or not is_one_line(name):
            problems.note(place, f"a name has 1 to {LONGEST_TAG} characters, none of them control")
        if not isinstance(value, str) or len(value) > LONGEST_TAG_VALUE or not is_one_line(value):
            problems.note(place, f"must be text of at most {LONGEST_TAG_VALUE} characters")
    return given


def welcome_document(welcome: Welcome) -> dict[str, Any]:
    """Return what a worker that joins is told."""
    document = _written(welcome, Welcome, always=("worker", "keepalive_s", "timeout_s"))
    return {"draining": welcome.draining, "queue_url": welcome.queue_url, **document}


def read_welcome(document: object) -> Welcome:
    """Read what a pool says to a worker that joins.

    Raises
    ------
    InvalidInput
        If it is no such answer.
    """
    problems = _Problems("the pool's answer")
    found = document if isinstance(document, dict) else {}
    worker = problems.text(found, "", "worker", LONGEST_NAME, least=1)
    keepalive = problems.time(found, "", "keepalive_s")
    timeout = problems.time(found, "", "timeout_s")
    refused = problems.names(found, "refused")
    queue = found.get("queue_url")
    group = problems.text(found, "", "log_group", LONGEST_NAME)
    stream = problems.text(found, "", "log_stream", LONGEST_NAME)
    problems.raise_found()
    return Welcome(
        worker,
        keepalive or 1.0,
        timeout or 5.0,
        found.get("draining") is True,
        queue if isinstance(queue, str) else None,
        refused,
        group,
        stream,
    )


# Turns -------------------------------------------------------------------------------------------

_TURN = ("want", "starts", "reports", "holding", "stopping", "wait_s")


def turn_document(turn: Turn) -> dict[str, Any]:
    """Return what a worker says in a turn."""
    document: dict[str, Any] = {"want": turn.want}
    if turn.starts:
        document["starts"] = [
            _written(one, Started, always=("lease", "epoch", "at")) for one in turn.starts
        ]
    if turn.reports:
        always = ("lease", "epoch", "how", "ended_at")
        document["reports"] = [_written(one, Report, always=always) for one in turn.reports]
    if turn.holding is not None:
        document["holding"] = list(turn.holding)
    if turn.stopping:
        document["stopping"] = list(turn.stopping)
    if turn.wait_s:
        document["wait_s"] = turn.wait_s
    return document


def read_turn(document: object) -> Turn:
    """Read what a worker says in a turn.

    Raises
    ------
    InvalidInput
    """
    problems = _Problems("the turn")
    found = problems.fields(document, "", _TURN)
    starts, reports = [], []
    for place, entry in problems.entries(found, "starts"):
        fields = problems.fields(entry, place, Started._fields)
        at = problems.time(fields, place, "at")
        lease, epoch, part = _read_lease(fields, place, problems)
        pid = problems.number(fields, place, "pid", 0, (0, _LARGEST_NUMBER))
        starts.append(Started(lease, epoch, at or 0.0, part, pid, _log(fields, place, problems)))
    for place, entry in problems.entries(found, "reports"):
        reports.append(_read_report(entry, place, problems))
    turn = Turn(
        problems.number(found, "", "want", 0, (0, MOST_WANTED)),
        tuple(starts),
        tuple(reports),
        problems.names(found, "holding") if "holding" in found else None,
        problems.names(found, "stopping"),
        min(problems.time(found, "", "wait_s") or 0.0, _LONGEST_WAIT),
    )
    problems.raise_found()
    return turn


def _read_lease(fields: Mapping[str, Any], place: str, problems: _Problems) -> tuple[str, int, int]:
    return (
        problems.text(fields, place, "lease", _LONGEST_LEASE, least=1),
        problems.number(fields, place, "epoch", 0, (1, _LARGEST_NUMBER)),
        problems.number(fields, place, "part", 0, (0, _LARGEST_NUMBER)),
    )


def _log(fields: Mapping[str, Any], place: str, problems: _Problems) -> str | None:
    if fields.get("log") is None:
        return None
    return problems.text(fields, place, "log", LONGEST_NAME) or None


def _read_report(entry: object, place: str, problems: _Problems) -> Report:
    fields = problems.fields(entry, place, Report._fields)
    lease, epoch, part = _read_lease(fields, place, problems)
    try:
        how = How(fields.get("how", ""))
    except ValueError:
        problems.note(f"{place}.how", f"must be one of {', '.join(How)}")
        how = How.ERROR
    code = number = None
    if fields.get("exit_code") is not None:
        code = problems.number(fields, place, "exit_code", 0, (0, 255))
    if fields.get("signal") is not None:
        number = problems.number(fields, place, "signal", 0, (1, 128))
    if how is How.EXIT and code is None:
        problems.note(f"{place}.exit_code", "is missing: the task ended by itself")
    if how is How.SIGNAL and number is None:
        problems.note(f"{place}.signal", "is missing: a signal ended the task")
    if fields.get("ended_at") is None:
        problems.note(f"{place}.ended_at", "is missing")
    said = fields.get("said", "")
    if not isinstance(said, str) or len(said) > _LONGEST_SAID:
        problems.note(f"{place}.said", f"must be text of at most {_LONGEST_SAID:,} characters")
        said = ""
    return Report(
        lease,
        epoch,
        how,
        problems.time(fields, place, "ended_at") or 0.0,
        part,
        code,
        number,
        problems.time(fields, place, "started_at"),
        problems.number(fields, place, "pid", 0, (0, _LARGEST_NUMBER)),
        said,
        _log(fields, place, problems),
    )


# Answers -----------------------------------------------------------------------------------------

_ORDER_ALWAYS = ("lease", "epoch", "run", "task", "attempt", "script", "time_limit", "grace")
_ORDER_TYPES: dict[str, Callable[[Any], bool]] = {
    "lease": lambda given: isinstance(given, str) and given != "",
    "run": lambda given: isinstance(given, str),
    "task": lambda given: isinstance(given, str),
    "script": lambda given: isinstance(given, str),
    "url": lambda given: isinstance(given, str),
    "folder": lambda given: isinstance(given, str),
    "log": lambda given: isinstance(given, str),
    "shell": lambda given: given in ("sh", "bash"),
    "private": lambda given: isinstance(given, bool),
    "epoch": lambda given: type(given) is int and given > 0,
    "part": lambda given: type(given) is int and given >= 0,
    "attempt": lambda given: type(given) is int and given > 0,
    "time_limit": lambda given: type(given) in (int, float) and given > 0,
    "grace": lambda given: type(given) in (int, float) and given >= 0,
    "takes": lambda given: (
        isinstance(given, dict)
        and all(type(value) is int and value >= 0 for value in given.values())
    ),
    "output_file": lambda given: given is None or isinstance(given, str),
    "error_file": lambda given: given is None or isinstance(given, str),
}


def answer_document(answer: Answer) -> dict[str, Any]:
    """Return what a worker is told in its turn."""
    return {
        "tasks": [_written(order, Order, always=_ORDER_ALWAYS) for order in answer.tasks],
        "refused": list(answer.refused),
        "cancel": list(answer.cancel),
        "draining": answer.draining,
        "gone": answer.gone,
        **({"ring": True} if answer.ring else {}),
    }


def read_answer(document: object) -> Answer:
    """Read what a pool says in a worker's turn. Fields of a later pool are left out.

    Raises
    ------
    InvalidInput
        If it is no such answer.
    """
    problems = _Problems("the pool's answer")
    if not isinstance(document, dict):
        problems.note("body", "must be an object")
        problems.raise_found()
    found: Mapping[str, Any] = document if isinstance(document, dict) else {}
    orders = []
    for place, entry in problems.entries(found, "tasks"):
        if (order := _read_order(entry, place, problems)) is not None:
            orders.append(order)
    answer = Answer(
        tuple(orders),
        problems.names(found, "refused"),
        problems.names(found, "cancel"),
        found.get("draining") is True,
        found.get("gone") is True,
        found.get("ring") is True,
    )
    problems.raise_found()
    return answer


def _read_order(entry: object, place: str, problems: _Problems) -> Order | None:
    if not isinstance(entry, dict):
        problems.note(place, "must be an object")
        return None
    missing = [name for name in _ORDER_ALWAYS if name not in entry]
    fields = {name: entry[name] for name in _ORDER_TYPES if name in entry}
    wrong = [name for name, given in fields.items() if not _ORDER_TYPES[name](given)]
    for name in (*missing, *wrong):
        problems.note(f"{place}.{name}", "is missing" if name in missing else "is not understood")
    return None if missing or wrong else Order(**fields)


def _written(record: Any, kind: Any, *, always: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a record that are not at their default."""
    defaults = kind._field_defaults
    return {
        name: value
        for name, value in zip(kind._fields, record, strict=True)
        if name in always or value != defaults.get(name, value)
    }


# For people --------------------------------------------------------------------------------------


def pool_document(state: PoolState) -> dict[str, Any]:
    """Return a pool with its workers as the JSON document of the contract."""
    return {
        "name": state.name,
        "draining": state.draining,
        "queued": state.queued,
        "running": sum(lease.tasks for worker in state.workers for lease in worker.leases),
        "slots": sum(worker.spec.slots for worker in state.workers),
        "workers": [_worker_document(worker) for worker in state.workers],
    }


def _worker_document(worker: WorkerState) -> dict[str, Any]:
    spec = worker.spec
    return {
        "id": worker.id,
        "name": spec.name,
        "host": spec.host,
        "pid": spec.pid,
        "version": spec.version,
        "properties": dict(spec.properties),
        "remaining": dict(worker.target.remaining),
        "slots": spec.slots,
        "max_inflight": spec.max_inflight,
        "draining": worker.target.draining,
        "joined_at": format_time(worker.joined_at),
        "seen_at": format_time(worker.seen_at),
        "leases": [
            {
                "lease": lease.name,
                "run": lease.run_id,
                "task": lease.task,
                "tasks": lease.tasks,
                "since": format_time(lease.since),
                "cancelling": lease.cancelling,
            }
            for lease in worker.leases
        ],
    }
