"""What scenarios find, and the file that keeps it between runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import Conditions, Machine

__all__ = [
    "Claim",
    "Figure",
    "Findings",
    "Record",
    "Relation",
    "Table",
    "load_records",
    "save_records",
]

Relation = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured several times.

    Attributes
    ----------
    label : str
    unit : str
    samples : tuple of float
        In the order they were measured.
    """

    label: str
    unit: str
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A value beside its target.

    Attributes
    ----------
    label : str
    value : float or None
        None if it could not be measured.
    unit : str
    relation : {'at least', 'at most'}
        How the value has to stand to the target.
    target : float
    range : tuple of float or None
        Lowest and highest value that single rounds gave, where rounds can be compared.
    """

    label: str
    value: float | None
    unit: str
    relation: Relation
    target: float
    range: tuple[float, float] | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value reaches the target; None if there is no value."""
        if self.value is None:
            return None
        if self.relation == "at least":
            return self.value >= self.target
        return self.value <= self.target


@dataclass(frozen=True, slots=True)
class Table:
    """Something that is no sample and has no target.

    Attributes
    ----------
    title : str
    head : tuple of str
    rows : tuple of tuple of str
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a scenario has to say.

    Attributes
    ----------
    method : str
        How it was measured, in a sentence or two.
    commands : tuple of (str, str)
        Labels and the commands behind them; temporary paths are shown as plain names.
    figures : tuple of Figure
    claims : tuple of Claim
    versions : mapping of str to str
        Of the tools that took part.
    notes : tuple of str
        What was left out or went otherwise than meant.
    tables : tuple of Table
    pictures : tuple of str
        Files beside the report.
    """

    method: str
    commands: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...]
    claims: tuple[Claim, ...]
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """Findings of one scenario with their conditions."""

    findings: Findings
    conditions: Conditions


def load_records(path: Path) -> dict[str, Record]:
    """Return the kept records by scenario name; none if there is no file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as file:
        data = json.load(file)
    return {name: _record(entry) for name, entry in data.items()}


def save_records(path: Path, records: Mapping[str, Record]) -> None:
    """Write all records, either completely or not at all."""
    text = json.dumps({name: asdict(record) for name, record in records.items()}, indent=1)
    draft = path.with_suffix(".new")
    draft.write_text(text + "\n", encoding="utf-8")
    os.replace(draft, path)


def _record(entry: Mapping[str, Any]) -> Record:
    conditions, findings = dict(entry["conditions"]), dict(entry["findings"])
    conditions["machine"] = Machine(**conditions["machine"])
    findings["commands"] = tuple((label, text) for label, text in findings["commands"])
    findings["figures"] = tuple(_figures(findings["figures"]))
    findings["claims"] = tuple(_claims(findings["claims"]))
    findings["notes"] = tuple(findings["notes"])
    findings["tables"] = tuple(_tables(findings.get("tables", ())))
    findings["pictures"] = tuple(findings.get("pictures", ()))
    return Record(Findings(**findings), Conditions(**conditions))


def _figures(entries: Iterable[Mapping[str, Any]]) -> Iterable[Figure]:
    for entry in entries:
        yield Figure(entry["label"], entry["unit"], tuple(entry["samples"]))


def _tables(entries: Iterable[Mapping[str, Any]]) -> Iterable[Table]:
    for entry in entries:
        rows = tuple(tuple(row) for row in entry["rows"])
        yield Table(entry["title"], tuple(entry["head"]), rows)


def _claims(entries: Iterable[Mapping[str, Any]]) -> Iterable[Claim]:
    for entry in entries:
        limits = entry["range"]
        yield Claim(**{**entry, "range": None if limits is None else (limits[0], limits[1])})
