"""What the stack tells the functions through their environment, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hut.backends.kinds import Options, can_run, read_backends
from hut.backends.pace import SUBMITS_PER_SECOND

__all__ = ["FunctionSettings", "read_settings"]


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """The environment variables of the functions; those a function does not get are empty.

    Attributes
    ----------
    stack : tuple of mapping
        The entries of ``HUT_BACKENDS``: what the deployment has, as a configuration refines it.
    backends : tuple of Options
        The same, as they are without a configuration.
    """

    table: str
    bucket: str
    prefix: str
    retention_days: int
    state_machine: str
    wake_queue: str
    observe_queue: str
    audit_table: str
    audit_days: int
    stack: tuple[Mapping[str, Any], ...]
    backends: tuple[Options, ...]
    submit_rate: float = SUBMITS_PER_SECOND


def read_settings(environment: Mapping[str, str]) -> FunctionSettings:
    """Return the settings of a function with these variables.

    Raises
    ------
    KeyError, ValueError
        If the stack did not set them as it should.
    """
    prefix = environment.get("HUT_PREFIX", "hut")
    text = environment.get("HUT_BACKENDS", "[]")
    backends = read_backends(text, prefix=prefix)
    return FunctionSettings(
        table=environment["HUT_TABLE"],
        bucket=environment["HUT_BUCKET"],
        prefix=prefix,
        retention_days=int(environment.get("HUT_RETENTION_DAYS", "90")),
        state_machine=environment.get("HUT_STATE_MACHINE_ARN", ""),
        wake_queue=environment.get("HUT_WAKE_QUEUE_URL", ""),
        observe_queue=environment.get("HUT_OBSERVE_QUEUE_URL", ""),
        audit_table=environment.get("HUT_AUDIT_TABLE", ""),
        audit_days=int(environment.get("HUT_AUDIT_DAYS", "400")),
        submit_rate=float(environment.get("HUT_SUBMIT_RATE", SUBMITS_PER_SECOND)),
        stack=tuple(filter(can_run, json.loads(text))),
        backends=backends,
    )
