"""Puts adapters behind what only the REST API needs: its function alone imports this module.

The archive of the other functions holds what they can reach by imports, and no more; see
`infra.bundling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from handlers import wiring
from handlers.wiring import Process, new_id
from hut import __version__
from hut.aws.audit import AuditTable
from hut.aws.executions import StateMachine
from hut.aws.uploads import BucketUploads
from hut.checking import check_document
from hut.control import Control
from hut.logs import new_logger
from hut.rest.services import Services
from hut.service.configuring import Configuring
from hut.service.pooling import PoolBackend, Pooling
from hut.service.submitting import Submitting
from hut.store.dynamodb.registry import DynamoRegistry
from hut.store.dynamodb.table import Table

__all__ = ["services", "services_of"]


def services() -> Services:
    """Return what the REST API works with."""
    return wiring.started(services_of)


def services_of(process: Process) -> Services:
    """Return what the REST API works with in a process, the same each time."""
    if process.serving is None:
        process.serving = _make(process)
    return process.serving


def _make(process: Process) -> Services:
    settings, store, clock = process.settings, process.store, process.edge.clock
    fresh = partial(new_id, random_bytes=process.edge.random_bytes)
    configuring = Configuring(process.configurations, settings.stack, settings.prefix)
    machine = StateMachine(process.client("stepfunctions"), settings.state_machine)
    submitting = Submitting(store, machine)
    uploads = BucketUploads(
        process.client("s3"), settings.bucket, clock=clock, new_id=lambda: fresh(26)
    )
    pooling: list[Pooling] = []

    def pools(looks_anew: bool) -> Mapping[str, PoolBackend]:
        if looks_anew:
            process.forget_configuration()
        return process.pools()

    def of_pools() -> Pooling:
        if not pooling:
            around = process.surroundings(new_logger())
            pooling.append(Pooling(around, pools, lambda: fresh(8)))
        return pooling[0]

    audit = Table(process.client("dynamodb"), settings.audit_table)
    return Services(
        control=Control(store, check_document),
        store=store,
        submit=lambda submission, setting: submitting.submit(
            submission, setting, now=clock(), new_id=fresh()
        ),
        cancel=lambda run_id: submitting.cancel(run_id, clock()),
        retry=lambda run_id, everything: submitting.retry(run_id, everything=everything),
        backend=process.find_backend,
        uploads=uploads,
        audit=AuditTable(audit, days=settings.audit_days),
        configuring=configuring,
        registry=DynamoRegistry(Table(process.client("dynamodb"), settings.table)),
        documents=process.documents,
        active_on=store.active_on,
        pooling=of_pools,
        clock=clock,
        version=__version__,
        prefix=settings.prefix,
    )
