"""Renders records as a Markdown page; every number in it comes from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.machine import Conditions
from benchmarks.measure import spread
from benchmarks.results import Claim, Figure, Findings, Record

__all__ = ["render"]

_INTRODUCTION = """\
# Benchmark results

Written by `make bench` (`python -m benchmarks`); don't edit it. `results.json` holds every sample.
Times are wall clock, of whole commands with their start and end unless it says otherwise. A ratio
is one of medians; beside it stand the lowest and highest ratio of single rounds."""

_VERDICTS = {True: "holds", False: "**does not hold**", None: "not measured"}


def render(records: Mapping[str, Record], titles: Mapping[str, str]) -> str:
    """Return the page.

    Parameters
    ----------
    records
        By scenario name.
    titles
        Headings of all scenarios by name, in the order of the page.
    """
    present = [(name, records[name]) for name in titles if name in records]
    parts = [_INTRODUCTION, *_overview(present, titles)]
    if present:
        newest = max((record.conditions for _, record in present), key=lambda found: found.date)
        parts += ["## Conditions", _conditions(newest)]
        for name, record in present:
            parts += _scenario(titles[name], record, newest)
    return "\n\n".join(parts) + "\n"


def _overview(present: Sequence[tuple[str, Record]], titles: Mapping[str, str]) -> list[str]:
    rows = [
        (titles[name], claim.label, _value(claim), _target(claim), _VERDICTS[claim.holds])
        for name, record in present
        for claim in record.findings.claims
    ]
    if not rows:
        return []
    return ["## Targets", _table(("Scenario", "Figure", "Measured", "Target", ""), rows)]


def _conditions(found: Conditions) -> str:
    machine = found.machine
    return "\n".join(
        (
            f"- Date: {found.date}; load average at the start: {found.load}",
            f"- CPU: {machine.cpu}, {machine.cores} cores; memory: {machine.memory}",
            f"- System: {machine.system}; temporary folder on {machine.filesystem}",
            f"- Python: {found.python}",
            f"- Hut: {found.hut}",
        )
    )


def _scenario(title: str, record: Record, newest: Conditions) -> list[str]:
    found = record.findings
    parts = [f"## {title}", found.method]
    if record.conditions != newest:
        parts.append(_own_conditions(record.conditions, newest))
    if found.versions:
        parts.append("Versions: " + ", ".join(f"{k} {v}" for k, v in found.versions.items()) + ".")
    if found.commands:
        parts.append("\n".join(f"- {label}: `{text}`" for label, text in found.commands))
    parts += _figures(found)
    for table in found.tables:
        parts += [f"**{table.title}**", _table(table.head, table.rows)]
    parts += [f"![{title}]({picture})" for picture in found.pictures]
    if found.claims:
        rows = [(c.label, _value(c), _target(c), _VERDICTS[c.holds]) for c in found.claims]
        parts.append(_table(("Figure", "Measured", "Target", ""), rows))
    if found.notes:
        parts.append("\n".join(f"- {note}" for note in found.notes))
    return parts


def _own_conditions(own: Conditions, newest: Conditions) -> str:
    """Tell what was different from the newest measurement."""
    text = f"Measured {own.date}, load average at the start {own.load}"
    if own.hut != newest.hut:
        text += f", Hut {own.hut}"
    if own.python != newest.python:
        text += f", Python {own.python}"
    if own.machine != newest.machine:
        machine = own.machine
        text += f", on another machine: {machine.cpu}, {machine.cores} cores, {machine.memory}, "
        text += f"{machine.system}, {machine.filesystem}"
    return text + "."


def _figures(found: Findings) -> list[str]:
    if not found.figures:
        return []
    rows = [_figure(figure) for figure in found.figures]
    return [_table(("", "Min", "Median", "Max", "Unit", "Samples"), rows)]


def _figure(figure: Figure) -> tuple[str, ...]:
    found = spread(figure.samples)
    numbers = (_number(found.low), _number(found.median), _number(found.high))
    return (figure.label, *numbers, figure.unit, str(len(figure.samples)))


def _value(claim: Claim) -> str:
    if claim.value is None:
        return "-"
    text = f"{_number(claim.value)} {claim.unit}"
    if claim.range is not None:
        text += f" ({_number(claim.range[0])} to {_number(claim.range[1])})"
    return text


def _target(claim: Claim) -> str:
    return f"{claim.relation} {claim.target:,g} {claim.unit}"


def _number(value: float) -> str:
    """Return a number with about three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
