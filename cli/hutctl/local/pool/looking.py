"""Pools of this machine for people: what their engines say, and the workers that wait for one."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import replace
from typing import Any

from hut.backends.workers.advice import waiting_without_job
from hut.backends.workers.options import WorkersOptions
from hut.model.problems import did_you_mean
from hut.model.rfc3339 import format_time
from hut.model.scheduler import Scheduler
from hut.model.waiting import Waiting
from hut.model.workflow import TaskSpec
from hut.pools.port import WorkerSpec, WorkerState, worker_target
from hut.store.port import StoreError
from hutctl.local.home import Home
from hutctl.local.pool.places import Endpoint, PoolFolder, list_pools

__all__ = ["drain_pool", "show_pool", "show_pools", "waiting_in"]

Document = dict[str, Any]

_SECONDS = 5.0


def show_pools(home: Home) -> list[Document]:
    """Return the pools of this machine that somebody serves or works for."""
    found = [_document(folder) for folder in list_pools(home)]
    return [pool for pool in found if pool["workers"] or pool["runs"] or pool["draining"]]


def show_pool(home: Home, name: str) -> Document:
    """Return a pool with its workers.

    Raises
    ------
    StoreError
        If there is none.
    """
    return _document(_known(home, name))


def drain_pool(home: Home, name: str, worker: str | None, *, draining: bool) -> Document:
    """Let a pool, or one of its workers, take nothing new, or again; they see it within a second.

    Raises
    ------
    StoreError
        If there is no such pool or worker.
    """
    folder = _known(home, name)
    if worker is not None:
        living = [known for known, _, lives in folder.workers() if lives]
        ids = {one["id"]: one["name"] for one in _document(folder)["workers"]}
        worker = ids.get(worker, worker)
        if worker not in living:
            hint = did_you_mean(worker, living)
            raise StoreError(
                f"pool {name} has no worker {worker!r}" + (f"; {hint}" if hint else "")
            )
    folder.drain(worker, draining)
    return _document(folder)


def waiting_in(folder: PoolFolder, scheduler: Scheduler, spec: TaskSpec) -> Waiting:
    """Return why no worker of a pool has taken a task: what each of them lacks for it."""
    pool = _document(folder)
    workers = [_state(one) for one in pool["workers"]]
    options = WorkersOptions(folder.name, "", scheduler=scheduler)
    return waiting_without_job(options, spec, workers, draining=pool["draining"])


def _state(document: Document) -> WorkerState:
    """Return a worker as it is matched."""
    spec = WorkerSpec(
        document["name"],
        document["properties"],
        document["slots"],
        document["max_inflight"],
        document["host"],
        document["pid"],
        document["version"],
    )
    target = replace(
        worker_target(spec, 0.0),
        remaining=document["remaining"],
        draining=document["draining"],
        inflight=sum(lease["tasks"] for lease in document["leases"]),
    )
    return WorkerState(document["id"], spec, target, 0.0, 0.0)


def _known(home: Home, name: str) -> PoolFolder:
    names = [folder.name for folder in list_pools(home)]
    if name not in names:
        raise StoreError(
            f"this machine has no pool {name!r}; "
            + (did_you_mean(name, names) or "one begins with: hutctl worker --pool NAME")
        )
    return PoolFolder.of(home, name)


def _document(folder: PoolFolder) -> Document:
    """Return what all engines of a pool say, put together, with the workers none of them has."""
    workers: dict[str, Document] = {}
    queued, runs = 0, []
    for endpoint in folder.endpoints():
        found = _ask(folder.name, endpoint) if endpoint.lives else None
        runs.append({"id": endpoint.run, "served": found is not None})
        if found is None:
            continue
        queued += found["queued"]
        for one in found["workers"]:
            known = workers.setdefault(one["name"], one)
            if known is not one:
                known["leases"] += one["leases"]
    for name, said, lives in folder.workers():
        if lives and name not in workers:
            workers[name] = _idle(name, said)
    for one in workers.values():
        one["draining"] = one["draining"] or folder.is_draining(one["name"])
    return {
        "name": folder.name,
        "draining": folder.is_draining(),
        "queued": queued,
        "running": sum(lease["tasks"] for one in workers.values() for lease in one["leases"]),
        "slots": sum(one["slots"] for one in workers.values()),
        "workers": list(workers.values()),
        "runs": runs,
    }


def _idle(name: str, said: Document) -> Document:
    """Return a worker that no engine knows, by its own words."""
    return {
        "id": name,
        "name": name,
        "host": "",
        "pid": said.get("pid", 0),
        "version": "",
        "properties": said.get("properties", {}),
        "remaining": {},
        "slots": said.get("slots", 0),
        "max_inflight": 0,
        "draining": False,
        "joined_at": format_time(said.get("since", 0.0)),
        "seen_at": format_time(time.time()),
        "leases": [],
    }


def _ask(name: str, endpoint: Endpoint) -> Document | None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=_SECONDS)
    try:
        connection.request(
            "GET", f"/pools/{name}", headers={"Authorization": f"Bearer {endpoint.token}"}
        )
        response = connection.getresponse()
        found = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):  # it has just left
        return None
    finally:
        connection.close()
    return found if response.status == 200 and isinstance(found, dict) else None
