"""Puts adapters behind the ports. The only place of the functions that makes clients.

A `Process` keeps what one process of a function makes: clients when first asked for, and what was
learned with them. It has one, on the real world. Clients come from botocore itself: boto3 would only
add to a cold start.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import botocore.session
from botocore.config import Config

from handlers.settings import FunctionSettings, read_settings
from hut.aws.checks import CheckFunction, check_function_name
from hut.aws.documents import BucketDocuments
from hut.aws.executions import StateMachine
from hut.aws.wakes import WakeQueue
from hut.backends.batch import BatchBackend, BatchOptions, Clients, Pace
from hut.backends.fleet import Fleet, LiveBackends, LiveCaps
from hut.backends.kinds import BATCH, EC2, WORKERS, Refinement, kind_of, rules_of
from hut.backends.port import RemoteBackend
from hut.measuring import measure
from hut.metrics import Metric
from hut.model.schema_faults import Check, Fault
from hut.service.surroundings import Surroundings
from hut.store.configurations import Recent
from hut.store.dynamodb import DynamoStore, StoreOptions, TableBucket, TableImages
from hut.store.dynamodb.configurations import DynamoConfigurations
from hut.store.dynamodb.form import FORM, check, migrate
from hut.store.dynamodb.table import Table

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from hut.backends.ec2.backend import Ec2Backend
    from hut.backends.ec2.options import Ec2Options
    from hut.backends.workers.backend import WorkersBackend
    from hut.backends.workers.options import WorkersOptions
    from hut.rest.services import Services
    from hut.service.ports import Instances

__all__ = ["Edge", "Notes", "Process", "new_id", "process", "started", "surroundings"]

_Made = TypeVar("_Made")

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 that don't look like each other
_RUN_LETTERS = 10
_SPARE_SECONDS = 15.0  # left for what follows when a function's time runs out


@cache
def _session() -> Any:
    return botocore.session.get_session()


def make_client(service: str, *, repeats: bool = True) -> Any:
    """Return a client of botocore, which may repeat calls that fail or not."""
    retries = {"mode": "standard", "total_max_attempts": 6 if repeats else 1}
    config = Config(retries=retries, connect_timeout=3, read_timeout=20, max_pool_connections=20)
    return _session().create_client(service, config=config)


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a process meets the world; a simulation has an edge of its own.

    Attributes
    ----------
    client : callable
        Makes the client of a service: ``client("batch", repeats=False)``.
    clock, monotonic : callable
        Seconds since the epoch, and seconds from any start.
    sleep : callable
        Waits some seconds.
    random_bytes : callable
        Returns so many bytes that nobody can guess.
    environment : mapping
        What the stack has set.
    """

    client: Callable[..., Any] = make_client
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: Callable[[int], bytes] = os.urandom
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


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


class Process:
    """What one process of a function has; see the module's docstring.

    Parameters
    ----------
    edge
        Where it meets the world.

    Attributes
    ----------
    serving : Services or None
        What the REST API works with, once `handlers.serving` has made it.
    """

    def __init__(self, edge: Edge | None = None) -> None:
        self.edge = edge or Edge()
        self._clients: dict[tuple[str, bool], Any] = {}
        self._form = 0
        self._own_ec2: dict[str, Ec2Backend] = {}
        self._pools: dict[str, WorkersBackend] = {}
        self.serving: Services | None = None

    def surroundings(self, logger: Logger, context: Any = None) -> Surroundings:
        """Return what the use cases of a function work with.

        Parameters
        ----------
        logger
            The function's own.
        context
            The invocation's context, which knows how much time is left.
        """
        settings, edge = self.settings, self.edge
        until = float("inf")
        if context is not None:
            left = context.get_remaining_time_in_millis() / 1000
            until = edge.monotonic() + left - _SPARE_SECONDS
        return Surroundings(
            store=self.store,
            backends=LiveBackends(self._fleet, self._refinements),
            executions=StateMachine(self.client("stepfunctions"), settings.state_machine),
            wakes=WakeQueue(self.client("sqs"), settings.wake_queue),
            note=Notes(logger),
            clock=edge.clock,
            prefix=settings.prefix,
            caps=LiveCaps(self._fleet, self._refinements),
            has_time=lambda: edge.monotonic() < until,
            see=lambda run: self._see(run.settings.config_version or 0),
            measure=measure,
            new_array=lambda: edge.random_bytes(6).hex(),
            sleep=edge.sleep,
            instances=self._instances,
            documents=self.documents,
            check=self.check,
            pools=self.pools,
            migrate=lambda: self._migrate(lambda: edge.monotonic() < until),
        )

    def _migrate(self, has_time: Callable[[], bool]) -> None:
        """Bring the table nearer to the form this Hut knows, until it has it."""
        if self._form < FORM:
            self._form = migrate(self._table, self.edge.clock(), has_time)

    # What is made once ---------------------------------------------------------------------------

    @cached_property
    def settings(self) -> FunctionSettings:
        """What the stack has set."""
        return read_settings(self.edge.environment)

    def client(self, service: str, *, repeats: bool = True) -> Any:
        """Return the client of a service, the same each time."""
        key = service, repeats
        if key not in self._clients:
            self._clients[key] = self.edge.client(service, repeats=repeats)
        return self._clients[key]

    @cached_property
    def _table(self) -> Table:
        return Table(self.client("dynamodb"), self.settings.table, sleep=self.edge.sleep)

    @cached_property
    def store(self) -> DynamoStore:
        """The store."""
        check(self._table)  # once: what a process has read stays as its release knows it
        settings = self.settings
        options = StoreOptions(
            settings.table,
            settings.bucket,
            retention_days=settings.retention_days,
            follow="stream",
            counted=frozenset(each.name for each in settings.backends if each.cap),
        )
        return DynamoStore(
            self.client("dynamodb"),
            self.client("s3"),
            options,
            clock=self.edge.clock,
            sleep=self.edge.sleep,
        )

    @cached_property
    def documents(self) -> BucketDocuments:
        """What task programs wrote."""
        return BucketDocuments(self.client("s3"), self.settings.bucket)

    @cached_property
    def check(self) -> Check:
        """What holds documents against their schemas: another function, asked when there is one."""
        name = check_function_name(self.settings.prefix)

        def check(schema: Any, document: Any) -> list[Fault]:
            return CheckFunction(self.client("lambda"), name)(schema, document)

        return check

    @cached_property
    def _pace(self) -> Pace:
        """The pace of SubmitJob, which all functions of the deployment keep together."""
        return self._new_pace(BATCH, self.settings.submit_rate)

    def _new_pace(self, bucket: str, most: float) -> Pace:
        from hut.logs import new_logger

        return Pace(
            TableBucket(self.client("dynamodb"), self.settings.table, bucket),
            most=most,
            clock=self.edge.clock,
            sleep=self.edge.sleep,
            note=new_logger().warning,
            count=lambda: measure(Metric.SUBMITS_THROTTLED),
        )

    @cached_property
    def _fleet(self) -> Fleet:
        settings = self.settings
        made: dict[str, Callable[[Any], RemoteBackend]] = {
            BATCH: self._make_batch,
            EC2: self._make_ec2,
            WORKERS: self._make_workers,
        }
        return Fleet(settings.stack, settings.prefix, made)

    def _make_batch(self, options: BatchOptions) -> RemoteBackend:
        clients, images = self._batch_clients, self._images
        return BatchBackend(options, clients, pace=self._pace, images=images, sleep=self.edge.sleep)

    @cached_property
    def _batch_clients(self) -> Clients:
        return Clients(
            self.client("batch"),
            self.client("logs"),
            self.client("s3"),
            self.settings.bucket,
            self.client("batch", repeats=False),
        )

    @cached_property
    def _images(self) -> TableImages:
        return TableImages(self._table, clock=self.edge.clock)

    def _make_ec2(self, options: Ec2Options) -> Ec2Backend:
        from hut.backends.ec2.backend import Ec2Backend

        return Ec2Backend(
            options,
            self._ec2_clients,
            hosts=self._hosts,
            pace=self._launch_pace,
            active=lambda: self.store.active_on(options.name),
            clock=self.edge.clock,
            sleep=self.edge.sleep,
        )

    @cached_property
    def _ec2_clients(self) -> Any:
        from hut.backends.ec2.submitting import Ec2Clients

        return Ec2Clients(
            self.client("stepfunctions"),
            self.client("ec2"),
            self.client("logs"),
            self.client("s3"),
            self.settings.bucket,
        )

    @cached_property
    def _hosts(self) -> Any:
        from hut.store.dynamodb.hosts import TableHosts

        return TableHosts(self._table, clock=self.edge.clock)

    @cached_property
    def _launch_pace(self) -> Pace:
        """The pace of launches, which all functions of the deployment keep together."""
        from hut.backends.ec2.submitting import LAUNCHES_PER_SECOND

        return self._new_pace(EC2, LAUNCHES_PER_SECOND)

    def _make_workers(self, options: WorkersOptions) -> WorkersBackend:
        from hut.backends.workers.backend import WorkersBackend
        from hut.backends.workers.queues import QueueBell, QueueNews
        from hut.store.dynamodb.bodies import Bodies
        from hut.store.dynamodb.pools import TablePool

        queues = self.client("sqs")
        bodies = Bodies(self.client("s3"), self.settings.bucket)
        return WorkersBackend(
            options,
            TablePool(self._table, bodies, options.name, options.scheduler),
            logs=self.client("logs"),
            bell=QueueBell(queues, options.bell),
            news=QueueNews(queues, self.settings.observe_queue),
            clock=self.edge.clock,
            sleep=self.edge.sleep,
        )

    def pools(self) -> dict[str, WorkersBackend]:
        """Return the pools there are, by their names, as they are configured now."""
        found: dict[str, WorkersBackend] = {}
        for name, backend in self._fleet.described(self._refinements()).items():
            if backend.kind == WORKERS:
                options: Any = backend.options
                known = self._pools.get(name)
                if known is None or known.options != options:
                    known = self._make_workers(options)
                found[name] = known
        self._pools = found
        return found

    def forget_configuration(self) -> None:
        """Look at the configuration anew: what is not known may just have been added."""
        self._recent.forget()

    @cached_property
    def _instances(self) -> Mapping[str, Callable[[], Instances]]:
        """What is told of news of EC2 tasks, by their state machine; made when there are some."""
        found: dict[str, Callable[[], Instances]] = {}
        for entry in self.settings.stack:
            if kind_of(entry) == EC2:
                found.setdefault(str(entry["machine"]), partial(self._made_ec2, entry))
        return found

    def _made_ec2(self, entry: Mapping[str, Any]) -> Ec2Backend:
        """Return the stack's own backend, whatever a configuration says of it."""
        name = str(entry["name"])
        if name not in self._own_ec2:
            options: Any = rules_of(EC2).read_options(entry, prefix=self.settings.prefix)
            self._own_ec2[name] = self._make_ec2(options)
        return self._own_ec2[name]

    @cached_property
    def configurations(self) -> DynamoConfigurations:
        """The configurations that were applied."""
        return DynamoConfigurations(self._table)

    @cached_property
    def _recent(self) -> Recent:
        return Recent(self.configurations.current, self.edge.monotonic)

    def _refinements(self) -> Sequence[Refinement]:
        return self._recent.current().backends

    def find_backend(self, name: str) -> RemoteBackend | None:
        """Return a backend; one that is not known may just have been added."""
        live = LiveBackends(self._fleet, self._refinements)
        if name not in live:
            self._recent.forget()
        return live.get(name)

    def _see(self, version: int) -> None:
        """Know at least this version from now on."""
        self._recent.current(version)


@cache
def process() -> Process:
    """Return what this process has."""
    return Process()


@cache
def _end_start() -> None:
    """Look for garbage from now on, but not among what was there before the first event."""
    gc.freeze()
    gc.enable()


def surroundings(logger: Logger, context: Any = None) -> Surroundings:
    """Return what the use cases of a function work with; see `Process.surroundings`."""
    return started(lambda found: found.surroundings(logger, context))


def started(make: Callable[[Process], _Made]) -> _Made:
    """Return what is made of this process, whose start is over with it."""
    found = make(process())
    _end_start()
    return found


def new_id(
    letters: int = _RUN_LETTERS, *, random_bytes: Callable[[int], bytes] = os.urandom
) -> str:
    """Return a random id."""
    return "".join(_LETTERS[byte % 32] for byte in random_bytes(letters))
