"""Where each item of the table is.

=================  ==========================  ==================================================
item               partition                   sort key
=================  ==========================  ==================================================
run                ``RUN#run``                 ``META``; ``SETTINGS``; ``TOKEN``, ``TOKEN#generation``
what joined        ``RUN#run``                 ``GREW#w#position`` of the task that generated it;
                                               ``ADDED#digest`` of the key it was sent under
array job          ``RUN#run``                 ``ARRAY#id``
change log         ``RUN#run#LOG``             number of the change
pack of tasks      ``RUN#run#Tsegment``        ``PACK#first``
what tasks met     ``RUN#run#Tsegment``        ``MET#generation#position``
long messages      ``RUN#run#Tsegment``        ``MESSAGE#position#attempt``
specifications     ``RUN#run#Tsegment``        ``SPECS#w#first``: all of the segment's, packed
edges              of their source             ``EDGE#w#source#first#n``, if not in its item
barrier            ``RUN#run#Bbarrier``        ``BARRIER``
part of a barrier  ``RUN#run#Bbarrier#n``      ``BARRIER``
positions by id    ``RUN#run#Ibucket``         ``w#first#n``
ready tasks        ``RUN#run#Rgeneration``     ``backend#priority#page``, highest priority first
ready retries      ``RUN#run#Qgeneration``     the same, where the run orders them apart
delayed retries    ``RUN#run#Wgeneration``     ``time#position``
ended attempts     ``RUN#run#A``               ``task#number``
list of runs       ``RUNS#first letter``       the run's id
idempotency key    ``KEY#key``                 ``KEY``
backend            ``BACKEND#name``            ``BACKEND``; ``PLACE#run`` for a run that waits for room
pace of calls      ``PACE#name``               ``PACE``
image              ``IMAGE#digest``            ``IMAGE``
attempt on EC2     ``EC2JOB#job name``         ``JOB``: see `hosts`, as for the next two
instance           ``HOST#instance``           ``HOST``
idle instance      ``IDLE#backend``            ``shape#instance``
pool               ``POOL#pool``               ``POOL``: see `pools`, as for the next three
worker             ``POOL#pool``               ``WORKER#id``
item that waits    ``POOL#pool#Q``             ``priority#arrival#name``, highest priority first
item of a pool     ``POOLJOB#name``            ``JOB``
identical tasks    ``TWIN#digest``             ``LEADER``; ``FOLLOWS#leader#follower``: see `twins`
form of the table  ``FORM``                    ``FORM``: see `form`
=================  ==========================  ==================================================

Applied configurations have a partition of their own: `hut.store.dynamodb.configurations`.

``w`` counts how often generated tasks were withdrawn; the generation, how often a run was repeated.
Tasks of a large run are spread over partitions of `SEGMENT` tasks.
"""

from __future__ import annotations

import hashlib
import zlib

from hut.store.dynamodb.table import Key

__all__ = [
    "PACK",
    "PAGE",
    "SEGMENT",
    "added_key",
    "again_partition",
    "array_key",
    "attempt_key",
    "backend_key",
    "barrier_key",
    "barrier_partition",
    "bucket_of",
    "ec2_job_key",
    "edge_prefix",
    "grew_key",
    "host_key",
    "idempotency_key",
    "idle_key",
    "idle_partition",
    "image_key",
    "index_partition",
    "listing_key",
    "log_key",
    "log_partition",
    "message_key",
    "met_key",
    "meta_key",
    "pace_key",
    "pack_key",
    "place_key",
    "pool_job_key",
    "pool_key",
    "pool_partition",
    "pool_queue",
    "queued_key",
    "ready_key",
    "ready_partition",
    "run_key",
    "segment_partition",
    "specs_key",
    "token_key",
    "twin_key",
    "wait_key",
    "wait_partition",
    "worker_key",
]

PACK = 16
"""Tasks per item: with handles, logs and times they stay below 1 KB, one write unit."""

SEGMENT = 256
"""Tasks per partition: whole packs."""

PAGE = 256
"""Positions per page of ready tasks: below 1 KB too."""

_HIGHEST = 2**31  # above every priority a workflow may have


def run_key(run_id: str, sort: str) -> Key:
    """Return the key of an item beside the run's own."""
    return Key(f"RUN#{run_id}", sort)


def meta_key(run_id: str) -> Key:
    """Return the key of the run itself."""
    return run_key(run_id, "META")


def token_key(run_id: str, generation: int) -> Key:
    """Return the key of the token of whoever waits for the end of a generation."""
    return run_key(run_id, f"TOKEN#{generation}" if generation else "TOKEN")


def grew_key(run_id: str, withdrawals: int, generator: int) -> Key:
    """Return the key of the note on what a task generated."""
    return run_key(run_id, f"GREW#{withdrawals}#{generator:07}")


def added_key(run_id: str, key: str) -> Key:
    """Return the key of the note on what was added under an idempotency key."""
    return run_key(run_id, f"ADDED#{hashlib.sha256(key.encode()).hexdigest()[:32]}")


def log_partition(run_id: str) -> str:
    """Return the partition of the run's changes."""
    return f"RUN#{run_id}#LOG"


def log_key(run_id: str, number: int) -> Key:
    """Return the key of one entry of the change log."""
    return Key(log_partition(run_id), f"{number:012}")


def segment_partition(run_id: str, position: int) -> str:
    """Return the partition of a task."""
    return f"RUN#{run_id}#T{position // SEGMENT}"


def pack_key(run_id: str, number: int) -> Key:
    """Return the key of a pack of tasks; packs are counted through the whole run."""
    first = number * PACK
    return Key(segment_partition(run_id, first), f"PACK#{first:07}")


def met_key(run_id: str, generation: int, position: int) -> Key:
    """Return the key of the set of nodes that a task waited for and that have completed."""
    return Key(segment_partition(run_id, position), f"MET#{generation}#{position:07}")


def message_key(run_id: str, position: int, attempt: int) -> Key:
    """Return the key of what is too long for a pack to say of an attempt."""
    return Key(segment_partition(run_id, position), f"MESSAGE#{position:07}#{attempt:06}")


def specs_key(run_id: str, withdrawals: int, first: int) -> Key:
    """Return the key of the specifications of tasks from `first` on."""
    return Key(segment_partition(run_id, first), f"SPECS#{withdrawals}#{first:07}")


def edge_prefix(withdrawals: int, source: int) -> str:
    """Return what sort keys of the edges that leave a node begin with."""
    return f"EDGE#{withdrawals}#{source}#"


def barrier_partition(run_id: str, node: int, part: int | None = None) -> str:
    """Return the partition of a barrier (a negative node) or of one of its parts."""
    return f"RUN#{run_id}#B{-1 - node}" + ("" if part is None else f"#{part}")


def barrier_key(run_id: str, node: int, part: int | None = None) -> Key:
    """Return the key of a barrier or of one of its parts."""
    return Key(barrier_partition(run_id, node, part), "BARRIER")


def bucket_of(task_id: str, buckets: int) -> int:
    """Return the bucket in which the position of an id stands."""
    return zlib.crc32(task_id.encode()) % buckets


def index_partition(run_id: str, bucket: int) -> str:
    """Return the partition of a bucket of positions by id."""
    return f"RUN#{run_id}#I{bucket}"


def ready_partition(run_id: str, generation: int) -> str:
    """Return the partition of the ready tasks."""
    return f"RUN#{run_id}#R{generation}"


def again_partition(run_id: str, generation: int) -> str:
    """Return the partition of the ready retries of a run that orders them apart."""
    return f"RUN#{run_id}#Q{generation}"


def ready_key(
    run_id: str,
    generation: int,
    backend: str,
    priority: int,
    position: int,
    *,
    again: bool = False,
) -> Key:
    """Return the key of the page of ready tasks on which a task stands.

    Parameters
    ----------
    again
        It stands among the retries of a run that orders them apart.
    """
    rank = f"{_HIGHEST - priority:010}"
    sort = f"{backend}#{rank}#{position // PAGE:05}"
    partition = again_partition if again else ready_partition
    return Key(partition(run_id, generation), sort)


def wait_partition(run_id: str, generation: int) -> str:
    """Return the partition of delayed retries."""
    return f"RUN#{run_id}#W{generation}"


def wait_key(run_id: str, generation: int, not_before: float, position: int) -> Key:
    """Return the key of a delayed retry."""
    return Key(wait_partition(run_id, generation), f"{not_before:020.6f}#{position:07}")


def attempt_key(run_id: str, task_id: str, number: int) -> Key:
    """Return the key of an ended attempt."""
    return Key(f"RUN#{run_id}#A", f"{task_id}#{number:06}")


def listing_key(run_id: str) -> Key:
    """Return the key of a run's entry in the lists of runs."""
    return Key(f"RUNS#{run_id[:1]}", run_id)


def idempotency_key(key: str) -> Key:
    """Return the key of an idempotency key."""
    return Key(f"KEY#{key}", "KEY")


def array_key(run_id: str, array: str) -> Key:
    """Return the key of what is known of an array job."""
    return run_key(run_id, f"ARRAY#{array}")


def image_key(digest: str) -> Key:
    """Return the key of what is known of an image."""
    return Key(f"IMAGE#{digest}", "IMAGE")


def backend_key(name: str) -> Key:
    """Return the key of what all runs have on a backend."""
    return Key(f"BACKEND#{name}", "BACKEND")


def pace_key(name: str) -> Key:
    """Return the key of the bucket that keeps calls of a service below its bound."""
    return Key(f"PACE#{name}", "PACE")


def place_key(backend: str, run_id: str) -> Key:
    """Return the key of the note that a run waits for room on a backend."""
    return Key(backend_key(backend).pk, f"PLACE#{run_id}")


def twin_key(digest: str, sort: str) -> Key:
    """Return the key of what is known of identical tasks."""
    return Key(f"TWIN#{digest}", sort)


def ec2_job_key(name: str) -> Key:
    """Return the key of what is noted of an attempt on EC2."""
    return Key(f"EC2JOB#{name}", "JOB")


def host_key(instance: str) -> Key:
    """Return the key of the note whose an instance is."""
    return Key(f"HOST#{instance}", "HOST")


def idle_partition(backend: str) -> str:
    """Return the partition of a backend's idle instances."""
    return f"IDLE#{backend}"


def idle_key(backend: str, shape: str, instance: str) -> Key:
    """Return the key of the note that an instance is idle."""
    return Key(idle_partition(backend), f"{shape}#{instance}")


def pool_partition(pool: str) -> str:
    """Return the partition of a pool and its workers."""
    return f"POOL#{pool}"


def pool_key(pool: str) -> Key:
    """Return the key of what holds for a pool as a whole."""
    return Key(pool_partition(pool), "POOL")


def worker_key(pool: str, worker: str) -> Key:
    """Return the key of a worker, with the leases it has."""
    return Key(pool_partition(pool), f"WORKER#{worker}")


def pool_queue(pool: str) -> str:
    """Return the partition of what waits for a worker of a pool."""
    return f"POOL#{pool}#Q"


def queued_key(pool: str, priority: int, arrival: str, name: str) -> Key:
    """Return the key of the place of an item in the queue of a pool."""
    return Key(pool_queue(pool), f"{_HIGHEST - priority:010}#{arrival}#{name}")


def pool_job_key(name: str) -> Key:
    """Return the key of an item of a pool, wherever it is."""
    return Key(f"POOLJOB#{name}", "JOB")
