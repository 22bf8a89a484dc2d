"""Price one contract with one stream of random numbers.

Usage: price.py CONTRACT STREAM SAMPLES SEED, with HUT_RUN_ID in the environment.

Writes ``results/RUN/CONTRACT.STREAM.json`` with the number of samples, their mean and the sum of
their squared deviations, from which ``report.py`` gets the price and its standard error.
"""

from __future__ import annotations

import json
import os
import sys
from math import sqrt
from pathlib import Path
from random import Random

from options import read_options, samples


def main() -> None:
    """Simulate and write the result."""
    contract, stream, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    option = read_options()[contract]
    # Random takes all bits of SHA-512 of a text seed: each task starts from a state of its own
    # among the generator's 2**19937, so streams don't overlap, whatever task runs where or when.
    random = Random(f"{seed}/{contract}/{stream}")
    mean = squares = 0.0
    for number, value in enumerate(samples(option, random, count), 1):
        # Welford's update: exact also where the mean is large beside the deviations.
        distance = value - mean
        mean += distance / number
        squares += distance * (value - mean)
    error = sqrt(squares / (count - 1) / count) if count > 1 else float("inf")
    folder = Path("results", os.environ["HUT_RUN_ID"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{contract}.{stream}.json"
    document = {
        "contract": contract,
        "stream": stream,
        "samples": count,
        "mean": mean,
        "squares": squares,
        "standard_error": error,
    }
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(document) + "\n", encoding="utf-8")
    draft.replace(target)
    print(f"{contract} stream {stream}: {mean:.4f} +- {error:.4f} from {count:,} samples")


if __name__ == "__main__":
    main()
