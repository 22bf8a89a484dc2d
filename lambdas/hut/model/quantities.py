"""Amounts people write in workflow files: durations, memory, generic resources.

Each parser takes what JSON or YAML gives and returns a number in one fixed unit, or raises
`ValueError` with a message that lists the forms that would be right. The forms are the seed's
(ScriptHut, after Slurm); what the seed dropped silently is an error here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from hut.model.limits import LONGEST_NAME

__all__ = ["Gres", "format_seconds", "format_span", "parse_duration", "parse_gres", "parse_memory"]

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt])?(i?b?)", re.ASCII | re.IGNORECASE)
_MEBIBYTES = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}
_GRES_PART = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*", re.ASCII)

_LONGEST_SECONDS = 366 * 86400
_LARGEST_MIB = 1024 * 1024 * 1024

_DURATION_FORMS = (
    "write it as 1:30:00 (H:M:S), 90:00 (M:S), 1-12 (D-H), 2-06:00:00, 90s, 15m, 2h, 1d"
)
_MEMORY_FORMS = "write it as 4G, 4GB, 4Gi, 512M, 1.5G, 2T or a number of MiB"
_GRES_FORMS = "write it as gpu, gpu:2, gpu:a100:4 or a list such as gpu:2,fpga:1"


def parse_duration(value: object, *, bare: Literal["minutes", "seconds"] = "minutes") -> float:
    """Return a duration in seconds, more than zero or, for bare seconds, zero.

    Parameters
    ----------
    value
        ``H:M:S``, ``M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``, a number with ``s m h d``, or a bare
        number.
    bare
        What a bare number counts. Slurm's rule for time limits is minutes; delays count seconds.

    Raises
    ------
    ValueError
        For anything else, for more than a year, and for zero where `bare` is ``"minutes"``.
    """
    seconds = _duration_seconds(value, 60 if bare == "minutes" else 1)
    bare_forms = f"{_DURATION_FORMS} or a number of {bare}"
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{_quote(value)} is not a duration; {bare_forms}")
    if seconds == 0 and bare == "minutes":
        raise ValueError(f"{_quote(value)} is no time at all; {bare_forms}")
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f"{_quote(value)} is longer than a year; {bare_forms}")
    return seconds


def _duration_seconds(value: object, bare_seconds: int) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _as_float(value) * bare_seconds
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return float(text) * bare_seconds
    if unit := _UNIT_DURATION.fullmatch(text):
        return float(unit[1]) * _UNIT_SECONDS[unit[2]]
    clock = _CLOCK.fullmatch(text)
    if clock is None or len(text) > 30:
        return None
    days, first, second, third = (None if part is None else int(part) for part in clock.groups())
    if first is None:
        return None
    if days is not None:  # D-H[:M[:S]]
        return days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:  # H:M:S
        return first * 3600 + (second or 0) * 60 + third
    if second is not None:  # M:S
        return first * 60 + second
    return None


def format_seconds(seconds: float) -> str:
    """Return a duration in the shortest form `parse_duration` reads back: ``90s`` or ``1:30:00``."""
    whole = int(seconds)
    if seconds != whole or seconds < 120:
        return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def format_span(seconds: float) -> str:
    """Return a duration for people: ``0.4s``, ``12s``, ``10m``, ``3m 20s``, ``2h 5m``, ``3d 4h``."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    large, small = ("m", "s") if whole < 3600 else ("h", "m") if whole < 172_800 else ("d", "h")
    unit, below = _UNIT_SECONDS[large], _UNIT_SECONDS[small]
    rest = whole % unit // below
    return f"{whole // unit}{large}" + (f" {rest}{small}" if rest else "")


def _as_float(value: float) -> float:
    """Return a number as a float; what is too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def parse_memory(value: object) -> int:
    """Return an amount of memory in MiB, at least 1.

    Decimal and binary names (``G``, ``GB``, ``Gi``, ``GiB``) mean the same powers of 1024, as in
    Slurm; a bare number is MiB. Fractions are rounded up.

    Raises
    ------
    ValueError
        For anything else and for amounts of zero or above one PiB.
    """
    amount: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        amount = _as_float(value)
    elif (
        isinstance(value, str)
        and len(value) <= LONGEST_NAME
        and (parts := _MEMORY.fullmatch(value.strip()))
    ):
        unit = parts[2].lower() if parts[2] else None
        if unit is not None or not parts[3]:  # "4B" would be bytes: refuse it rather than guess
            amount = float(parts[1]) * (_MEBIBYTES[unit] if unit else 1)
    if amount is None or not math.isfinite(amount) or amount < 0:
        raise ValueError(f"{_quote(value)} is not an amount of memory; {_MEMORY_FORMS}")
    if amount == 0 or amount > _LARGEST_MIB:
        raise ValueError(f"{_quote(value)} is out of range; {_MEMORY_FORMS}")
    return math.ceil(amount)


@dataclass(frozen=True, slots=True)
class Gres:
    """A generic resource: `count` units of `name`, of one `model` where it is given."""

    name: str
    count: int = 1
    model: str | None = None

    def __str__(self) -> str:
        middle = f":{self.model}" if self.model else ""
        return f"{self.name}{middle}:{self.count}"


def parse_gres(value: object) -> tuple[Gres, ...]:
    """Return the generic resources of ``gpu``, ``gpu:2``, ``gpu:a100:4``, ``gpu:2,fpga:1``.

    Raises
    ------
    ValueError
        For any other form, a count below 1 or a resource that is named twice.
    """
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError(f"{_quote(value)} is not a generic resource; {_GRES_FORMS}")
    found: list[Gres] = []
    for entry in value.split(","):
        gres = _gres_entry(entry.strip())
        if gres is None:
            raise ValueError(f"{_quote(value)} is not a generic resource; {_GRES_FORMS}")
        if any((g.name, g.model) == (gres.name, gres.model) for g in found):
            raise ValueError(f"{_quote(value)} names {gres.name} twice; add the counts up")
        found.append(gres)
    return tuple(found)


def _gres_entry(entry: str) -> Gres | None:
    name, *rest = entry.split(":")
    if not _GRES_PART.fullmatch(name) or len(rest) > 2:
        return None
    model: str | None = None
    count = "1"
    if len(rest) == 2:
        model, count = rest
    elif rest:
        if rest[0].isdigit():
            count = rest[0]
        else:
            model = rest[0]
    if model is not None and not _GRES_PART.fullmatch(model):
        return None
    if not re.fullmatch(r"[0-9]{1,6}", count) or int(count) < 1:
        return None
    return Gres(name, int(count), model)


def _quote(value: object) -> str:
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
