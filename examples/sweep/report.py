"""Print the table of the sweep and check the order of convergence of each method.

Usage: report.py, with HUT_RUN_ID in the environment. Reads ``results/RUN/*.json``.

A method is of order p if half the step makes the error 2**p times smaller. Fails if the sweep shows
another order than theory says.
"""

from __future__ import annotations

import json
import os
import sys
from math import log, log10
from pathlib import Path

ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}
TOLERANCE = 0.2  # the order is exact only in the limit of small steps


def main() -> None:
    """Print the table; exit code 1 if an order is wrong."""
    folder = Path("results", os.environ["HUT_RUN_ID"])
    cells = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    cells.sort(key=lambda cell: (ORDERS[cell["method"]], cell["steps"]))
    wrong = []
    header = f"{'method':<9} {'steps':>6} {'error':>8} {'order':>6} {'attempt':>7}  right digits"
    print(header, "-" * len(header), sep="\n")
    for before, cell in zip([None, *cells], cells):  # noqa: B905 - one is longer on purpose
        method, error, order = cell["method"], cell["error"], ""
        if before is not None and before["method"] == method:
            ratio = cell["steps"] / before["steps"]
            measured = log(before["error"] / error) / log(ratio)
            order = f"{measured:.2f}"
            if abs(measured - ORDERS[method]) > TOLERANCE:
                wrong.append(f"{method} with {cell['steps']} steps")
        numbers = f"{cell['steps']:>6} {error:>8.1e} {order:>6} {cell['attempt']:>7}"
        print(f"{method:<9} {numbers}  {'#' * round(-log10(error))}")
    print("-" * len(header))
    if wrong:
        sys.exit(f"the order is not as theory says: {', '.join(wrong)}")
    print(f"{len(cells)} cells; the orders are 1, 2 and 4, as theory says.")


if __name__ == "__main__":
    main()
