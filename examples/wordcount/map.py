"""Map: split one text into words, and write each word down in the file of its partition.

Usage: map.py TEXT, with HUT_RUN_ID in the environment.

Reads ``texts/TEXT.txt`` and writes ``results/RUN/map/TEXT.P``, for each partition P: one word per
line, as often as it occurs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tokens import PARTITIONS, partition_of, words_of


def main() -> None:
    """Split one text."""
    text = sys.argv[1]
    words = words_of(Path("texts", f"{text}.txt").read_text(encoding="utf-8"))
    parts: list[list[str]] = [[] for _ in range(PARTITIONS)]
    for word in words:
        parts[partition_of(word)].append(word)
    folder = Path("results", os.environ["HUT_RUN_ID"], "map")
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        (folder / f"{text}.{number}").write_text("".join(f"{word}\n" for word in part))
    print(f"{text}: {len(words):,} words, {' + '.join(str(len(part)) for part in parts)}")


if __name__ == "__main__":
    main()
