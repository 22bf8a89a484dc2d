"""Reads what a person submits: a workflow file, or stdin for ``-``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hutctl.client import WorkflowFile

__all__ = ["pairs", "read_workflow_file"]


def read_workflow_file(path: str) -> WorkflowFile:
    """Return the content of a workflow file.

    Raises
    ------
    InvalidInput
        If it can't be read or is not text.
    """
    from hut.model.documents import MalformedDocument, decode_text
    from hut.model.limits import LARGEST_DOCUMENT
    from hut.model.problems import InvalidInput, Problem

    most = LARGEST_DOCUMENT + 1
    if path == "-":
        content, folder, filename = sys.stdin.buffer.read(most), os.getcwd(), "stdin"
    else:
        try:
            with Path(path).open("rb") as file:  # it may be a pipe, or have no end
                content = file.read(most)
        except OSError as error:
            raise InvalidInput([Problem(str(error.strerror))], source=path) from None
        folder, filename = str(Path(path).absolute().parent), path
    if len(content) > LARGEST_DOCUMENT:
        message = f"is larger than a workflow file may be ({LARGEST_DOCUMENT >> 20} MiB)"
        raise InvalidInput([Problem(message)], source=path)
    try:
        text = decode_text(content)
    except MalformedDocument as error:
        raise InvalidInput([Problem(error.message, line=error.line)], source=path) from None
    if path == "-" and text.strip() and not text.lstrip("\ufeff \t\r\n").startswith(("[", "{")):
        filename += ".yaml"  # stdin has no ending that tells
    return WorkflowFile(text, filename, folder)


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Return the ``KEY=VALUE`` of a repeated option.

    Raises
    ------
    click.UsageError
        If one has no ``=``.
    """
    found: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} {value!r}: write it as {option} KEY=VALUE")
        found[key] = text
    return found


def check_pool(workflow: WorkflowFile) -> None:
    """Refuse a pool that can't be one, or beside another backend.

    Raises
    ------
    click.UsageError
    """
    pool = workflow.pool
    if pool is None:
        return
    if workflow.backend not in (None, pool):
        raise click.UsageError("--pool and --backend say where tasks run; give one of them")
    from hutctl.local.pool.places import POOL_NAME

    if not POOL_NAME.fullmatch(pool):
        raise click.UsageError(
            f"--pool {pool!r} is no name of a pool: 1 to 64 letters, digits, '.', '_' or '-', the "
            "first a letter or a digit"
        )
