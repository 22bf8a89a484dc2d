"""What stands at the end of a run: how it went, what failed, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from hut.store.port import StoreError
from hutctl.client import Client, Document
from hutctl.display.text import counts_text, elapsed, paint, printable

__all__ = ["log_tail", "money_text", "summary"]

_FAILED_SHOWN = 10
_LOG_LINES = 5
_LOG_BYTES = 16 * 1024
_LINE_LENGTH = 300


def summary(client: Client, run: Document) -> Iterator[str]:
    """Yield the lines that tell how a run stands or ended."""
    took = elapsed(run)
    head = f"{click.style(run['workflow'], bold=True)} {run['id']} {paint(run['state'])}"
    if took:
        head += f" {'after' if run['ended_at'] else 'for'} {took}"
    yield f"{head}: {counts_text(run['counts'])}"
    if money := money_text(run):
        yield f"  {money}"
    if run["reason"] == "timeout":
        yield f"  {printable(run['message'])}"
    if run["counts"]["failed"] and run["state"] != "cancelled":
        yield from _failures(client, run)
        yield ""
        yield f"Why, in full: hutctl why {run['id']} TASK    again: hutctl retry {run['id']}"
    elif run["state"] == "cancelled":
        yield f"Go on with what was not done: hutctl retry {run['id']}"


def money_text(run: Document) -> str:
    """Say what a run cost, and what of it was lost; nothing where there is nothing to say."""
    losses = run.get("losses", 0)
    attempts = f"{losses:,} lost attempt{'' if losses == 1 else 's'}"
    if run.get("cost") is None:
        return attempts if losses else ""
    cost = dollars(run["cost"])
    told = f"cost {cost}" if cost.startswith("less") else f"cost about {cost}"
    return f"{told}, of it {dollars(run['cost_lost'] or 0)} on {attempts}" if losses else told


def dollars(amount: float) -> str:
    """Return an amount for people: cents, or as many digits as it takes to say something."""
    if 0 < amount < 0.005:
        return f"${amount:.4f}" if amount >= 0.00005 else "less than $0.0001"
    return f"${amount:,.2f}"


def _failures(client: Client, run: Document) -> Iterator[str]:
    for shown, task in enumerate(client.list_tasks(run["id"], states=["failed"])):
        if shown == _FAILED_SHOWN:
            more = run["counts"]["failed"] - shown
            yield ""
            yield f"... and {more:,} more: hutctl tasks {run['id']} --state failed"
            return
        yield ""
        yield f"{paint('failed', task['id'])}: {verdict(task)}"
        kind, lines = log_tail(client, run["id"], task, _LOG_LINES)
        for line in lines:
            yield f"    {line}"
        if lines:
            flag = " --error" if kind == "err" else ""
            yield click.style(f"    more: hutctl logs {run['id']} {task['id']}{flag}", dim=True)


def verdict(task: Document) -> str:
    """Return why a task failed: reason, exit code, attempt."""
    text = printable(str(task["message"] or task["reason"] or ""))
    if task["attempt"] > 1:
        text += f" (attempt {task['attempt']})"
    return text


def log_tail(
    client: Client, run_id: str, task: dict[str, Any], count: int
) -> tuple[str, list[str]]:
    """Return the last lines a task wrote: to stderr or, if nothing is there, to stdout.

    Returns
    -------
    tuple of str and list of str
        ``err``, ``out``, or ``both`` where they are one log; and the lines.
    """
    if not task["attempt"]:
        return "err", []
    for kind in ("err", "out"):
        try:
            part = client.read_log(run_id, task["id"], kind, attempt=None, offset=-_LOG_BYTES)
        except StoreError:  # the log is an extra here
            continue
        text = part.content.decode(errors="replace").rstrip()
        if text:
            return "both" if part.merged else kind, [
                _shown(line) for line in text.split("\n")[-count:]
            ]
    return "err", []


def _shown(line: str) -> str:
    """Return a line of a log as it may be shown: of an overwritten line its end, and not too much."""
    last = printable(line.rstrip("\r").rpartition("\r")[2])
    return last if len(last) <= _LINE_LENGTH else last[: _LINE_LENGTH - 1] + "…"
