"""Items become records. What an item's attributes mean is said here, once.

A run's item (``META``)::

    id workflow owner created started ended state reason message total n_<state>
    on_<backend> active tasks there
    restored     the generation it is to take up, as it has come back from a backup
    keeps        it is resetting, but its tasks stay as they are        past   the last generation it
                 had before it came back
    phase        reserved -> active -> resetting -> active: what may be done with it; a held run is
                 ``held`` instead of active, which earlier Huts leave alone too
    open held    more tasks may be added; all of it must be sent before anything runs
    order record how retries are ordered, and which attempts are recorded, if not as always
    opening      notes of tasks that joined, of which it is not worked out yet what may run
    resting      it is open or held and idle, so it is not on the list of active runs
    added        tasks were added to it           generated  others were generated
    seq          number of the last change; every change is conditional on it
    generation   how often it was repeated        epoch    how often an engine took it up
    stop stop_at why and when it was stopped      blocks   parts its plan was stored in
    work worked                              seconds its tasks took, and how many, where they share jobs
    cost cost_lost losses                    what its attempts cost, and how many were lost
    writing written                          calls that write blocks, and blocks that are written
    form         of the table when it was submitted (see `form`)
    waits        delayed retries that have items of their own
    barriers buckets grown withdrawals joining joins left    see `growth`
    twins        tasks of it have been claimed that may have identical ones
    refused      what backends say that take no jobs of it just now: see `refusals`

A task, as it stands in its pack (and what the plan says of it, see `specifications`)::

    position generation state reason message code attempt epoch not_before retries losses
    submitted started ended handle log cost cause
    ready        all that it waits for has completed, for certain
    own          its last attempt is described here
    archived     attempts that have items
    wanted       when a claim that was given back was made; until the attempt ends
    more         the rest of its message stands apart
    counted      it is counted on its backend while it is active (see `unit`)
    grew         tasks have joined with its end
    (id priority backend created by needs)
"""

from __future__ import annotations

from hut.model.records import Attempt, Outcome, RunRecord, RunSettings, TaskRecord
from hut.model.states import Reason, RunState, TaskState, read_reason
from hut.model.workflow import TaskSpec
from hut.store.dynamodb.keys import attempt_key
from hut.store.dynamodb.refusals import refusals_of
from hut.store.dynamodb.values import Item
from hut.store.port import UnknownRun

__all__ = [
    "attempt_of",
    "counts_of",
    "known",
    "phase_of",
    "put_away",
    "run_record",
    "task_record",
    "wanted_at",
]

_OF_ATTEMPT = (
    *("submitted", "started", "ended", "handle", "log"),
    *("reason", "message", "code", "cost"),
)


def counts_of(meta: Item) -> dict[TaskState, int]:
    """Return the number of tasks by state."""
    return {state: int(meta.get(f"n_{state}", 0)) for state in TaskState}


def run_record(meta: Item, settings: RunSettings) -> RunRecord:
    """Return a run."""
    return RunRecord(
        id=meta["id"],
        workflow=meta["workflow"],
        state=RunState(meta["state"]),
        reason=read_reason(meta.get("reason")),
        message=meta.get("message", ""),
        owner=meta.get("owner", ""),
        created_at=float(meta["created"]),
        started_at=_seconds(meta.get("started")),
        ended_at=_seconds(meta.get("ended")),
        total=meta["total"],
        counts=counts_of(meta),
        settings=settings,
        cancel_requested_at=_seconds(meta.get("stop_at")),
        epoch=meta["epoch"],
        refusals=() if meta.get("ended") is not None else refusals_of(meta),
        cost=_seconds(meta.get("cost")),
        cost_lost=_seconds(meta.get("cost_lost")),
        losses=meta.get("losses", 0),
        work=float(meta.get("work", 0)),
        worked=int(meta.get("worked", 0)),
        generation=meta["generation"],
        open=bool(meta.get("open")),
        held=bool(meta.get("held")),
        opening=bool(meta.get("opening")),
        twins=meta.get("twins", False),
        part_since=_seconds(meta.get("part")),
    )


def phase_of(meta: Item) -> str:
    """Return the phase of a run whose tasks are all there."""
    return "held" if meta.get("held") and not meta.get("stop") else "active"


def task_record(item: Item, spec: TaskSpec) -> TaskRecord:
    """Return a task; one that waits is said to wait for all that it ever waited for."""
    state = TaskState(item["state"])
    waits = item["needs"] if state is TaskState.PENDING and not item.get("ready") else 0
    return TaskRecord(
        position=item["position"],
        spec=spec,
        state=state,
        reason=read_reason(item.get("reason")),
        message=item.get("message", ""),
        exit_code=item.get("code"),
        attempt=item["attempt"],
        waiting_for=waits,
        not_before=float(item.get("not_before", 0)),
        retries_used=item.get("retries", 0),
        losses=item.get("losses", 0),
        created_at=float(item["created"]),
        submitted_at=_seconds(item.get("submitted")),
        started_at=_seconds(item.get("started")),
        ended_at=_seconds(item.get("ended")),
        epoch=item.get("epoch", 0),
        backend=item["backend"],
        handle=item.get("handle"),
        generated_by=item.get("by"),
        cause=item.get("cause"),
        log=item.get("log"),
        wanted_at=wanted_at(item),
    )


def wanted_at(task: Item) -> float | None:
    """Return when an attempt was claimed first, if that claim was given back."""
    return _seconds(task.get("wanted"))


def put_away(meta: Item, task: Item, state: TaskState | None = None) -> Item:
    """Return an item of its own for the attempt a task's item describes: another one follows.

    Parameters
    ----------
    state
        How the attempt ended, where the task itself has gone on.
    """
    key = attempt_key(meta["id"], task["id"], task["attempt"])
    item = {name: task[name] for name in _OF_ATTEMPT if task.get(name) is not None}
    item |= {"kind": "attempt", "number": task["attempt"], "state": str(state or task["state"])}
    item |= {"backend": task["backend"], "ttl": meta["ttl"]}
    return {"pk": key.pk, "sk": key.sk, **item}


def attempt_of(item: Item) -> Attempt:
    """Return an ended attempt, from an item of its own or from its task's."""
    outcome = Outcome(
        TaskState(item["state"]),
        read_reason(item["reason"]) or Reason.OTHER,
        item.get("code"),
        item.get("message", ""),
    )
    return Attempt(
        item["number"] if "number" in item else item["attempt"],
        outcome,
        _seconds(item.get("submitted")),
        _seconds(item.get("started")),
        float(item["ended"]),
        item["backend"],
        item.get("handle"),
        item.get("log"),
        _seconds(item.get("cost")),
    )


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def known(meta: Item | None, run_id: str) -> Item:
    """Return the run's item.

    Raises
    ------
    UnknownRun
        If there is none.
    """
    if meta is None:
        raise UnknownRun(f"there is no run {run_id!r}")
    return meta
