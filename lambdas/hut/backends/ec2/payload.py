"""What the agent on an instance is told: the attempt's program, its variables and bounds. Pure.

It is a JSON document in the bucket, which the agent fetches: the state machine carries only its place,
so neither the 256 KiB of its data nor what SSM takes for a parameter bound a script. What does bound it
is Linux: no argument of a program may have 128 KiB (``MAX_ARG_STRLEN``), all arguments and variables
together 2 MiB (``execve(2)``: a quarter of the stack's limit). So a long script goes in parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from hut.backends.ec2.options import Ec2Options
from hut.backends.ec2.outcomes import log_stream
from hut.backends.launcher import launcher_of_parts, task_script
from hut.backends.port import JobRequest, Unsatisfiable
from hut.model.workflow import TaskSpec
from hut.script import attempt_variables

__all__ = [
    "GRACE",
    "LARGEST_PROGRAM",
    "PREPARATION",
    "gpus_of",
    "image_of",
    "parts_of_script",
    "payload_for",
    "payload_key",
    "payload_of",
]

GRACE = 10
"""Seconds from TERM to KILL at the time limit."""

PREPARATION = 1800
"""Seconds an instance may take before the task's own time begins: docker, and the image's pull."""

LARGEST_PROGRAM = 1_500_000
"""Bytes of a script with its variables; the rest of Linux's 2 MiB is for docker's own arguments."""

_LARGEST_PART = 100_000
_POINTER = 9  # bytes of a pointer to an argument, and of its end


def payload_of(options: Ec2Options, request: JobRequest) -> bytes:
    """Return the document for the agent.

    Raises
    ------
    Unsatisfiable
        If no instance of this backend can run this attempt.
    """
    run, spec, attempt = request.run, request.claim.spec, request.claim.key.attempt
    script = list(parts_of_script(task_script(run, spec, attempt, exports=False)))
    argv = ["/bin/sh", "-c", launcher_of_parts(run, spec, attempt, len(script)), *script]
    return payload_for(options, request, argv, attempt_variables(run, spec, attempt))


def payload_for(
    options: Ec2Options, request: JobRequest, argv: list[str], variables: dict[str, str]
) -> bytes:
    """Return the document for what is to be executed.

    Raises
    ------
    Unsatisfiable
        If it is too large.
    """
    spec = request.claim.spec
    size = _size(argv) + _size([f"{name}={text}" for name, text in variables.items()])
    if size > LARGEST_PROGRAM:
        raise Unsatisfiable(
            f"its script and variables have {size:,} bytes; an instance can start "
            f"{LARGEST_PROGRAM:,}: fetch large inputs instead of writing them into the command"
        )
    document: dict[str, Any] = {
        "attempt": request.name,
        "image": image_of(options, spec),
        "argv": argv,
        "env": variables,
        "gpus": gpus_of(spec) or None,
        "time_limit": math.ceil(spec.resources.time_limit),
        "grace": GRACE,
        "log": {
            "group": options.log_group,
            "stream": log_stream(request.name),
            "region": options.region,
        },
        "idle_seconds": options.idle_terminate_seconds if options.reuse else None,
        "slack": options.idle_terminate_seconds,
        "region": options.region,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def payload_key(request: JobRequest) -> str:
    """Return where in the bucket the document of an attempt is."""
    key = request.claim.key
    return f"scripts/{request.run.id}/{key.position}-{key.attempt}-{key.epoch}.json"


def image_of(options: Ec2Options, spec: TaskSpec) -> str | None:
    """Return the image a task runs in, or None if it runs on the instance itself."""
    return spec.image or options.default_image


def gpus_of(spec: TaskSpec) -> int:
    """Return how many GPUs a task asks for; the model is the instance type's.

    Raises
    ------
    Unsatisfiable
        For other generic resources.
    """
    for gres in spec.resources.gres:
        if gres.name != "gpu":
            raise Unsatisfiable(f"EC2 has no generic resource {gres.name!r}; only gpu")
    return sum(gres.count for gres in spec.resources.gres)


def parts_of_script(script: str) -> Iterator[str]:
    """Yield a script in parts that can be arguments, cut between characters."""
    data = script.encode()
    start = 0
    while len(data) - start > _LARGEST_PART:
        end = start + _LARGEST_PART
        while data[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        yield data[start:end].decode()
        start = end
    yield data[start:].decode()


def _size(texts: list[str]) -> int:
    return sum(len(text.encode()) + _POINTER for text in texts)
