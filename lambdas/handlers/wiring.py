"""Puts adapters behind the ports. The only place of the functions that makes clients.

Clients are made when first asked for and kept as long as the function's process lives. They come
from botocore itself: boto3 would only add to a cold start.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

from handlers.settings import function_settings
from hut import __version__
from hut.aws.executions import StateMachine
from hut.aws.wakes import WakeQueue
from hut.backends.batch import BatchBackend, Clients, Pace
from hut.backends.batch.fleet import Fleet, LiveBackends, LiveCaps
from hut.backends.batch.refining import Refinement
from hut.control import Control
from hut.measuring import measure
from hut.metrics import Metric
from hut.service.surroundings import Surroundings
from hut.store.configurations import Recent
from hut.store.dynamodb import DynamoStore, StoreOptions, TableBucket, TableImages
from hut.store.dynamodb.configurations import DynamoConfigurations
from hut.store.dynamodb.table import Table

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from hut.rest.services import Services

__all__ = ["Notes", "new_id", "services", "surroundings"]

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 that don't look like each other
_RUN_LETTERS = 10
_SPARE_SECONDS = 15.0  # left for what follows when a function's time runs out


@cache
def _end_start() -> None:
    """Look for garbage from now on, but not among what was there before the first event."""
    gc.freeze()
    gc.enable()


@cache
def _session() -> Any:
    return botocore.session.get_session()


@cache
def _client(service: str, *, repeats: bool = True) -> Any:
    retries = {"mode": "standard", "total_max_attempts": 6 if repeats else 1}
    config = Config(retries=retries, connect_timeout=3, read_timeout=20, max_pool_connections=20)
    return _session().create_client(service, config=config)


@cache
def _store() -> DynamoStore:
    settings = function_settings()
    options = StoreOptions(
        settings.table,
        settings.bucket,
        retention_days=settings.retention_days,
        follow="stream",
        counted=frozenset(each.name for each in settings.backends if each.max_concurrent),
    )
    return DynamoStore(_client("dynamodb"), _client("s3"), options)


@cache
def _images() -> TableImages:
    return TableImages(Table(_client("dynamodb"), function_settings().table))


def _clients() -> Clients:
    submit = _client("batch", repeats=False)
    return Clients(
        _client("batch"), _client("logs"), _client("s3"), function_settings().bucket, submit
    )


@cache
def _pace() -> Pace:
    """Return the pace of SubmitJob, which all functions of the deployment keep together."""
    settings = function_settings()
    shared = TableBucket(_client("dynamodb"), settings.table, "batch")
    return Pace(
        shared,
        most=settings.submit_rate,
        note=_logger().warning,
        count=lambda: measure(Metric.SUBMITS_THROTTLED),
    )


@cache
def _logger() -> Logger:
    from aws_lambda_powertools import Logger

    return Logger()


@cache
def _fleet() -> Fleet:
    settings = function_settings()
    return Fleet(settings.stack, settings.prefix, _clients(), pace=_pace(), images=_images())


@cache
def _configurations() -> DynamoConfigurations:
    return DynamoConfigurations(Table(_client("dynamodb"), function_settings().table))


@cache
def _recent() -> Recent:
    return Recent(_configurations().current, time.monotonic)


def _refinements() -> Sequence[Refinement]:
    return _recent().current().backends


def _find_backend(name: str) -> BatchBackend | None:
    """Return a backend; one that is not known may just have been added."""
    live = LiveBackends(_fleet(), _refinements)
    if name not in live:
        _recent().forget()
    return live.get(name)


def _see(version: int) -> None:
    """Know at least this version from now on."""
    _recent().current(version)


class Notes:
    """A function's logger as `hut.service.ports.Noting`."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def info(self, message: str, /, **fields: Any) -> None:
        """Note something that is as it should be."""
        self._logger.info(message, **fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """Note something that was repaired or given up."""
        self._logger.warning(message, **fields)


def surroundings(logger: Logger, context: Any = None) -> Surroundings:
    """Return what the use cases of a function work with.

    Parameters
    ----------
    logger
        The function's own.
    context
        The invocation's context, which knows how much time is left.
    """
    settings = function_settings()
    until = float("inf")
    if context is not None:
        left = context.get_remaining_time_in_millis() / 1000
        until = time.monotonic() + left - _SPARE_SECONDS
    found = Surroundings(
        store=_store(),
        backends=LiveBackends(_fleet(), _refinements),
        executions=StateMachine(_client("stepfunctions"), settings.state_machine),
        wakes=WakeQueue(_client("sqs"), settings.wake_queue),
        note=Notes(logger),
        clock=time.time,
        prefix=settings.prefix,
        caps=LiveCaps(_fleet(), _refinements),
        has_time=lambda: time.monotonic() < until,
        see=lambda run: _see(run.settings.config_version or 0),
        measure=measure,
    )
    _end_start()
    return found


def new_id(letters: int = _RUN_LETTERS) -> str:
    """Return a random id."""
    return "".join(_LETTERS[byte % 32] for byte in os.urandom(letters))


@cache
def services() -> Services:
    """Return what the REST API works with."""
    from hut.aws.audit import AuditTable
    from hut.aws.uploads import BucketUploads
    from hut.rest.services import Services
    from hut.service.configuring import Configuring
    from hut.service.submitting import Submitting

    settings, store = function_settings(), _store()
    configuring = Configuring(_configurations(), settings.stack, settings.prefix)
    submitting = Submitting(store, StateMachine(_client("stepfunctions"), settings.state_machine))
    found = Services(
        control=Control(store),
        store=store,
        submit=lambda submission, setting: submitting.submit(
            submission, setting, now=time.time(), new_id=new_id()
        ),
        cancel=lambda run_id: submitting.cancel(run_id, time.time()),
        retry=lambda run_id, everything: submitting.retry(run_id, everything=everything),
        backend=_find_backend,
        uploads=BucketUploads(
            _client("s3"), settings.bucket, clock=time.time, new_id=lambda: new_id(26)
        ),
        audit=AuditTable(
            Table(_client("dynamodb"), settings.audit_table), days=settings.audit_days
        ),
        configuring=configuring,
        active_on=store.active_on,
        clock=time.time,
        version=__version__,
        prefix=settings.prefix,
    )
    _end_start()
    return found
