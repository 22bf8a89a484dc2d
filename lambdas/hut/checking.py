"""Holds documents against JSON schemas, within a time: strangers' patterns can take for ever.

A check is made at once where it is certain to end, and in a process of its own, which is killed when its time
is up, where it is not (`hut.lifecycle.json_schemas.may_take_long`). ``python -m hut.checking`` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from hut.lifecycle.json_schemas import faults_of, may_take_long
from hut.model.schema_faults import Fault, UnusableSchema

__all__ = ["SECONDS", "check_document"]

SECONDS = 10.0
"""A check may take."""


def check_document(schema: Any, document: Any, *, seconds: float = SECONDS) -> list[Fault]:
    """Return how a document violates a schema; nothing if it does not.

    Raises
    ------
    UnusableSchema
        If nothing can be held against the schema, or not within the time.
    """
    if not may_take_long(schema):
        return faults_of(schema, document)
    given = json.dumps([schema, document]).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hut.checking"],
            input=given,
            capture_output=True,
            timeout=seconds,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UnusableSchema(
            f"holding the document against it took longer than {seconds:g} s; its patterns need to be simpler"
        ) from None
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise UnusableSchema(f"nothing could be held against it: {error}") from None
    if isinstance(answer, str):
        raise UnusableSchema(answer)
    faults: list[Fault] = answer
    return faults


def _main() -> None:
    schema, document = json.load(sys.stdin)
    try:
        answer: object = faults_of(schema, document)
    except UnusableSchema as error:
        answer = str(error)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
