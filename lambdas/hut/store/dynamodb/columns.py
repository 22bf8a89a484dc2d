"""Rows as compressed columns: what stands in packs of tasks and in the change log.

Values of one kind stand side by side, where they compress well; a column with one value throughout
is that value, and one without any is left out. Times are microseconds behind the earliest one. The
dictionary primes the compression with what every such text says: it belongs to the format.

Columns of a later Hut are handed on as they are. Its times must be named ``..._at``: they stand behind
the earliest time too, which this Hut may change when it writes the rows again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

__all__ = ["read_columns", "write_columns"]

_DICTIONARY = (
    b'"position":["id":["reason":["dep_failed","failed","pending","cancelled","dependency","exit"'
    b',"epoch":1,"own":true,"ready":true,"code":[0,0,0,0,0,0,0,0,null,null,"message":["exit code 1"'
    b'"log":["hut-/default/","/default/~","/default/~","handle":["*","*","*","submitted":[0,"started":['
    b'"ended":["attempt":1,"state":"completed","running","submitted","{"rows":16,"from":17'
)
_SECOND = 1_000_000
_OF_TIMES = "_at"


def write_columns(
    rows: Sequence[Mapping[str, Any]], fields: Sequence[str], times: Collection[str]
) -> bytes:
    """Return rows as bytes.

    Parameters
    ----------
    fields
        What is kept of the rows; an absent value is None.
    times
        Those fields that are seconds since the epoch, beside all that are named ``..._at``. They keep
        their microseconds.
    """
    timed = {name for name in fields if name in times or name.endswith(_OF_TIMES)}
    stamps = [round(row[name] * _SECOND) for row in rows for name in timed if row.get(name)]
    first = min(stamps, default=0)
    table: dict[str, Any] = {"rows": len(rows)}
    if first:
        table["from"] = first
    for name in fields:
        column = [row.get(name) for row in rows]
        if name in timed:
            column = [v if v is None else round(v * _SECOND) - first for v in column]
        same = all(value == column[0] and not isinstance(value, list) for value in column)
        if not same:
            table[name] = column
        elif column and column[0] is not None:
            table[name] = column[0]
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    packer = zlib.compressobj(9, wbits=-15, zdict=_DICTIONARY)
    return packer.compress(text) + packer.flush()


def read_columns(data: bytes, times: Collection[str]) -> list[dict[str, Any]]:
    """Return the rows that `write_columns` wrote; absent values are left out."""
    unpacker = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    table: dict[str, Any] = json.loads(unpacker.decompress(data) + unpacker.flush())
    number, first = table.pop("rows"), table.pop("from", 0)
    rows: list[dict[str, Any]] = [{} for _ in range(number)]
    for name, column in table.items():
        values = column if isinstance(column, list) else [column] * number
        is_time = name in times or name.endswith(_OF_TIMES)
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[name] = (value + first) / _SECOND if is_time else value
    return rows
