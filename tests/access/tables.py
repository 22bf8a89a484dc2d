"""Reads the tables of reviewed files: Markdown, a row per line, so that a change is a readable diff."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["HERE", "rows"]

HERE = Path(__file__).resolve().parent
_CELL = re.compile(r"(?<!\\)\|")


def rows(text: str) -> Iterator[dict[str, str]]:
    """Yield the rows of all tables of a Markdown text: cells by the titles of their columns."""
    titles: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            titles = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]
        if not titles:
            titles = cells
        elif not set("".join(cells)) <= set("-: "):
            assert len(cells) == len(titles), f"{line}: {len(titles)} cells were expected"
            yield dict(zip(titles, cells, strict=True))
