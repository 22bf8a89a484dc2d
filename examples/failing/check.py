"""Check the measurements of one station: a line per day of June, no negative rain.

Usage: check.py STATION, with HUT_RUN_ID in the environment.

Reads ``data/STATION.csv`` and writes what passed to ``results/RUN/STATION.json``.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

DAYS = [f"2024-06-{day:02}" for day in range(1, 31)]


def read_rain(path: Path) -> dict[str, float]:
    """Return millimetres of rain by day; end the program with a message if the file is no good."""
    if not path.exists():
        sys.exit(
            f"{path}: no such file. What a station sends arrives in inbox/; "
            f"if {path.name} is there, copy it to data/ and retry."
        )
    rain: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                rain[row["day"]] = float(row["rain_mm"])
            except (KeyError, TypeError, ValueError):
                sys.exit(f"{path}: needs columns day and rain_mm (a number), but has {row}")
    missing = [day for day in DAYS if day not in rain]
    if missing:
        sys.exit(f"{path}: no measurement for {', '.join(missing)}")
    negative = [day for day, amount in rain.items() if amount < 0]
    if negative:
        sys.exit(f"{path}: less than no rain on {', '.join(negative)}")
    return rain


def main() -> None:
    """Check one station."""
    station = sys.argv[1]
    rain = read_rain(Path("data", f"{station}.csv"))
    folder = Path("results", os.environ["HUT_RUN_ID"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{station}.json").write_text(json.dumps(rain, indent=1) + "\n", encoding="utf-8")
    print(f"{station}: {len(rain)} days are good")


if __name__ == "__main__":
    main()
