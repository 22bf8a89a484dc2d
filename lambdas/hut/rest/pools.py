"""Routes of pools: workers join, take turns and leave; people look at them and drain them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from aws_lambda_powertools.event_handler.openapi.params import Path

from hut.model.documents import read_document
from hut.model.problems import InvalidInput, Problem, did_you_mean
from hut.pools.protocol import (
    answer_document,
    pool_document,
    read_join,
    read_turn,
    welcome_document,
)
from hut.rest.answers import Answer, fitting, json_answer
from hut.rest.audit import audited
from hut.rest.bodies import NoFields, read_body
from hut.rest.exchange import Exchange, exchange_of
from hut.rest.refusals import Refusal, malformed
from hut.rest.routing import new_router
from hut.rest.services import Busy
from hut.service.pooling import UnknownPool, UnknownWorker
from hut.store.port import StoreError, UnusableStore

__all__ = ["router"]

router = new_router()

_Read = TypeVar("_Read")

PoolName = Annotated[str, Path(description="The pool's name.")]
WorkerId = Annotated[str, Path(description="The worker's id, as it was told when it joined.")]


@router.get("/pools", summary="List pools of workers", operation_id="listPools")
def list_pools() -> Answer:
    """Answer with all pools, each with its workers."""
    found = exchange_of(router).services.pooling().list()
    return json_answer(f"[{','.join(fitting([pool_document(state) for state in found]))}]")


@router.get("/pools/<pool>", summary="Show a pool and its workers", operation_id="showPool")
def show_pool(pool: PoolName) -> Answer:
    """Answer with one pool."""
    exchange = exchange_of(router)
    with _known(pool):
        return json_answer(pool_document(exchange.services.pooling().show(pool)))


@router.post("/pools/<pool>/drain", summary="Give nothing out", operation_id="drainPool")
def drain_pool(pool: PoolName) -> Answer:
    """Let a pool give nothing to its workers; what they have goes on."""
    return _drain(exchange_of(router), pool, None, draining=True)


@router.post("/pools/<pool>/resume", summary="Give out again", operation_id="resumePool")
def resume_pool(pool: PoolName) -> Answer:
    """Let a pool give to its workers again."""
    return _drain(exchange_of(router), pool, None, draining=False)


@router.post(
    "/pools/<pool>/workers/<worker>/drain",
    summary="Give a worker nothing",
    operation_id="drainWorker",
)
def drain_worker(pool: PoolName, worker: WorkerId) -> Answer:
    """Let a worker finish what it has and get nothing new."""
    return _drain(exchange_of(router), pool, worker, draining=True)


@router.post(
    "/pools/<pool>/workers/<worker>/resume",
    summary="Give to a worker again",
    operation_id="resumeWorker",
)
def resume_worker(pool: PoolName, worker: WorkerId) -> Answer:
    """Let a worker get tasks again."""
    return _drain(exchange_of(router), pool, worker, draining=False)


@router.post("/pools/<pool>/workers", summary="Join as a worker", operation_id="joinPool")
def join_pool(pool: PoolName) -> Answer:
    """Let a worker in."""
    exchange = exchange_of(router)
    with _known(pool):
        spec = _read(exchange, read_join)
        try:
            welcome = exchange.services.pooling().join(pool, spec)
        except InvalidInput as error:  # a number that is none
            raise malformed(error.problems) from None
    return json_answer(welcome_document(welcome), 201)


@router.post(
    "/pools/<pool>/workers/<worker>/turn",
    summary="Report, and take tasks",
    operation_id="takeTurn",
)
def take_turn(pool: PoolName, worker: WorkerId) -> Answer:
    """Record what a worker says, and give it tasks."""
    exchange = exchange_of(router)
    with _known(pool):
        turn = _read(exchange, read_turn)
        return json_answer(answer_document(exchange.services.pooling().turn(pool, worker, turn)))


@router.delete("/pools/<pool>/workers/<worker>", summary="Leave a pool", operation_id="leavePool")
def leave_pool(pool: PoolName, worker: WorkerId) -> Answer:
    """Let a worker go; one that is gone already is gone."""
    exchange = exchange_of(router)
    with _known(pool):
        exchange.services.pooling().leave(pool, worker)
    return json_answer({"worker": worker})


def _drain(exchange: Exchange, pool: str, worker: str | None, *, draining: bool) -> Answer:
    read_body(exchange, NoFields)
    pooling = exchange.services.pooling()
    with _known(pool):
        pooling.show(pool)  # what is not there is no change to be noted
        action = "pool.drain" if draining else "pool.resume"
        with audited(exchange, action, pool=pool, worker=worker or "all"):
            state = pooling.drain(pool, worker, draining=draining)
    return json_answer(pool_document(state))


@contextmanager
def _known(pool: str) -> Iterator[None]:
    """Turn what the use case does not know, or can't do now, into refusals."""
    try:
        yield
    except UnknownPool as error:
        hint = did_you_mean(pool[:100], [str(name) for name in error.args[1:]]) or "there is none"
        detail = f"there is no pool {pool[:100]!r}; {hint}"
        raise Refusal(404, "unknown-pool", detail) from None
    except UnknownWorker as error:
        detail = f"pool {pool!r} has no worker {str(error.args[0])[:100]!r}; GET /pools/{pool} lists them"
        raise Refusal(404, "unknown-worker", detail) from None
    except UnusableStore:
        raise
    except StoreError:
        raise Busy from None  # others change the same: it is said again in a moment


def _read(exchange: Exchange, read: Callable[[object], _Read]) -> _Read:
    """Return what a body says, or all that is wrong with it."""
    text = exchange.body()
    if not text.strip():
        raise malformed([Problem("the request has no body; see /openapi.json for what it says")])
    document = read_document(text, format="json")
    data: Any = document.data
    if document.problems:
        raise malformed(document.problems)
    try:
        return read(data)
    except InvalidInput as error:
        raise malformed(error.problems) from None
