"""What the stack tells the functions through their environment, read once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hut.backends.batch import SUBMITS_PER_SECOND, BatchOptions, read_backends

__all__ = ["FunctionSettings", "function_settings"]


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """The environment variables of the functions; those a function does not get are empty.

    Attributes
    ----------
    stack : tuple of mapping
        The entries of ``HUT_BACKENDS``: what the deployment has, as a configuration refines it.
    backends : tuple of BatchOptions
        The same, as they are without a configuration.
    """

    table: str
    bucket: str
    prefix: str
    retention_days: int
    state_machine: str
    wake_queue: str
    audit_table: str
    audit_days: int
    stack: tuple[Mapping[str, Any], ...]
    backends: tuple[BatchOptions, ...]
    submit_rate: float = SUBMITS_PER_SECOND


@cache
def function_settings() -> FunctionSettings:
    """Return the settings of this function.

    Raises
    ------
    KeyError, ValueError
        If the stack did not set them as it should.
    """
    prefix = os.environ.get("HUT_PREFIX", "hut")
    text = os.environ.get("HUT_BACKENDS", "[]")
    backends = read_backends(text, prefix=prefix)
    return FunctionSettings(
        table=os.environ["HUT_TABLE"],
        bucket=os.environ["HUT_BUCKET"],
        prefix=prefix,
        retention_days=int(os.environ.get("HUT_RETENTION_DAYS", "90")),
        state_machine=os.environ.get("HUT_STATE_MACHINE_ARN", ""),
        wake_queue=os.environ.get("HUT_WAKE_QUEUE_URL", ""),
        audit_table=os.environ.get("HUT_AUDIT_TABLE", ""),
        audit_days=int(os.environ.get("HUT_AUDIT_DAYS", "400")),
        submit_rate=float(os.environ.get("HUT_SUBMIT_RATE", SUBMITS_PER_SECOND)),
        stack=tuple(each for each in json.loads(text) if each.get("type", "batch") == "batch"),
        backends=backends,
    )
