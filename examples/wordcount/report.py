"""Put the partitions together, check them against a plain recount, and print what is frequent.

Usage: report.py, with HUT_RUN_ID in the environment.

Reads ``results/RUN/reduce/*.json``, writes ``results/RUN/words.json`` (each word's count, most
frequent first), and fails if a single count is not what one loop over all texts finds.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from tokens import words_of

SHOWN = 12
BAR = 40  # characters for the most frequent word


def main() -> None:
    """Merge, check, print."""
    folder = Path("results", os.environ["HUT_RUN_ID"])
    counts: Counter[str] = Counter()
    texts_of: dict[str, int] = {}
    for file in sorted(folder.glob("reduce/*.json")):
        for word, texts in json.loads(file.read_text()).items():
            if word in counts:
                sys.exit(f"{word!r} is in two partitions, the second is {file}")
            counts[word] = sum(texts.values())
            texts_of[word] = len(texts)

    sources = sorted(Path("texts").glob("*.txt"))
    recount: Counter[str] = Counter()
    for source in sources:
        recount.update(words_of(source.read_text(encoding="utf-8")))
    wrong = sorted(word for word in counts | recount if counts[word] != recount[word])
    if wrong:
        sys.exit(f"{len(wrong)} counts differ from a plain recount: {', '.join(wrong[:10])}")

    ranking = sorted(counts, key=lambda word: (-counts[word], word))
    ranked = {word: counts[word] for word in ranking}
    (folder / "words.json").write_text(json.dumps(ranked, indent=0) + "\n")
    print(f"{sum(counts.values()):,} words, {len(counts):,} different ones, {len(sources)} texts")
    print(f"\n{'word':<10} {'count':>5} {'texts':>5}")
    for word in ranking[:SHOWN]:
        bar = "#" * round(BAR * counts[word] / counts[ranking[0]])
        print(f"{word:<10} {counts[word]:>5} {texts_of[word]:>5}  {bar}")
    telling = [word for word in ranking if texts_of[word] == 1][:SHOWN]
    print(f"\nFrequent, but in one text only: {', '.join(telling)}")
    once = sum(count == 1 for count in counts.values())
    print(f"{once:,} words occur once. A plain recount of all texts finds the same counts.")


if __name__ == "__main__":
    main()
