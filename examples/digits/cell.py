"""Train one model on all folds but one, and test it on that one.

Usage: cell.py MODEL FOLD FOLDS SEED, with HUT_RUN_ID in the environment.

Writes ``results/RUN/MODEL.FOLD.json`` with the time it took and the confusion matrix: row i,
column j says how many images of the digit i were read as j.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import process_time

from grid import DIGITS, load_images, make_model, split


def main() -> None:
    """Train, test, write the result."""
    name, fold, folds, seed = sys.argv[1], *(int(text) for text in sys.argv[2:5])
    images, digits = load_images()
    train, test = split(images, digits, fold, folds, seed)
    model = make_model(name, seed)
    # Processor time, not the clock: other cells run beside this one.
    start = process_time()
    model.fit(images[train], digits[train])
    fitted = process_time()
    read = model.predict(images[test])
    ended = process_time()

    confusion = [[0] * DIGITS for _ in range(DIGITS)]
    for shown, seen in zip(digits[test].tolist(), read.tolist(), strict=True):
        confusion[shown][seen] += 1
    right = sum(confusion[digit][digit] for digit in range(DIGITS))
    document = {
        "model": name,
        "fold": fold,
        "trained_on": len(train),
        "tested_on": len(test),
        "accuracy": right / len(test),
        "fit_seconds": round(fitted - start, 4),
        "read_seconds": round(ended - fitted, 4),
        "confusion": confusion,
    }
    folder = Path("results", os.environ["HUT_RUN_ID"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.{fold}.json"
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(document) + "\n", encoding="utf-8")
    draft.replace(target)
    print(f"{name}, fold {fold} of {folds}: {right} of {len(test)} right, {right / len(test):.2%}")


if __name__ == "__main__":
    main()
