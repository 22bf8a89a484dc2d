"""Reduce: count the words of one partition.

Usage: reduce.py PARTITION, with HUT_RUN_ID in the environment.

Reads ``results/RUN/shuffle/PARTITION`` and writes ``results/RUN/reduce/PARTITION.json``: for each
word how often it occurs in each text. It holds one word at a time, never the partition.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path


def main() -> None:
    """Count one partition."""
    partition = sys.argv[1]
    folder = Path("results", os.environ["HUT_RUN_ID"])
    target = folder / "reduce" / f"{partition}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / "shuffle" / partition).open() as lines, target.open("w") as output:
        pairs = (line.split() for line in lines)
        for word, group in groupby(pairs, key=lambda pair: pair[0]):
            texts = Counter(text for _, text in group)
            output.write(",\n" if count else "{\n")
            output.write(f"{json.dumps(word)}: {json.dumps(texts)}")
            count += 1
        output.write("\n}\n" if count else "{}\n")
    print(f"partition {partition}: {count:,} different words")


if __name__ == "__main__":
    main()
