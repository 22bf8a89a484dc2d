"""Shuffle: bring equal words of one partition together, from all texts.

Usage: shuffle.py PARTITION, with HUT_RUN_ID in the environment.

Reads ``results/RUN/map/*.PARTITION`` and writes ``results/RUN/shuffle/PARTITION``: lines of a word
and the text it occurs in, sorted, so that ``reduce.py`` meets each word in one piece.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Merge and sort one partition."""
    partition = sys.argv[1]
    folder = Path("results", os.environ["HUT_RUN_ID"])
    files = sorted(folder.glob(f"map/*.{partition}"))
    lines = sorted(f"{word} {file.stem}" for file in files for word in file.read_text().split())
    target = folder / "shuffle" / partition
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{line}\n" for line in lines))
    print(f"partition {partition}: {len(lines):,} words from {len(files)} texts")


if __name__ == "__main__":
    main()
