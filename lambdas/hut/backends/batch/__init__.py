"""The AWS Batch backend: a job for each attempt, its end told by events."""

from hut.backends.batch.backend import BatchBackend, Clients
from hut.backends.batch.options import BatchOptions, Platform, read_options
from hut.backends.batch.outcomes import job_from_detail, needs_log
from hut.backends.launcher import resolve, working_dir_of
from hut.backends.pace import SUBMITS_PER_SECOND, OwnBucket, Pace

__all__ = [
    "SUBMITS_PER_SECOND",
    "BatchBackend",
    "BatchOptions",
    "Clients",
    "OwnBucket",
    "Pace",
    "Platform",
    "job_from_detail",
    "needs_log",
    "read_options",
    "resolve",
    "working_dir_of",
]
