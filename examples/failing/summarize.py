"""Sum up the checked measurements of one station.

Usage: summarize.py STATION, with HUT_RUN_ID in the environment.

Reads ``results/RUN/STATION.json`` and writes ``results/RUN/STATION.sum.json``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Sum up one station."""
    station = sys.argv[1]
    folder = Path("results", os.environ["HUT_RUN_ID"])
    rain = json.loads((folder / f"{station}.json").read_text(encoding="utf-8"))
    wettest = max(rain, key=rain.__getitem__)
    summary = {
        "station": station,
        "total_mm": round(sum(rain.values()), 1),
        "wet_days": sum(amount > 0 for amount in rain.values()),
        "wettest_day": wettest,
        "wettest_mm": rain[wettest],
    }
    (folder / f"{station}.sum.json").write_text(json.dumps(summary) + "\n", encoding="utf-8")
    print(f"{station}: {summary['total_mm']} mm")


if __name__ == "__main__":
    main()
