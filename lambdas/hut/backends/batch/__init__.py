"""The AWS Batch backend: a job for each attempt, its end told by events."""

from hut.backends.batch.backend import BatchBackend, Clients
from hut.backends.batch.options import BatchOptions, Platform, read_backends, read_options
from hut.backends.batch.outcomes import job_from_detail, needs_log
from hut.backends.batch.script import resolve, working_dir_of

__all__ = [
    "BatchBackend",
    "BatchOptions",
    "Clients",
    "Platform",
    "job_from_detail",
    "needs_log",
    "read_backends",
    "read_options",
    "resolve",
    "working_dir_of",
]
