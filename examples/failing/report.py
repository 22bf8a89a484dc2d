"""Print the rain of all stations side by side.

Usage: report.py, with HUT_RUN_ID in the environment. Reads ``results/RUN/*.sum.json``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    """Print the table."""
    folder = Path("results", os.environ["HUT_RUN_ID"])
    files = sorted(folder.glob("*.sum.json"))
    print(f"{'station':<8} {'rain, mm':>8} {'wet days':>8}  wettest day")
    for row in (json.loads(file.read_text(encoding="utf-8")) for file in files):
        print(
            f"{row['station']:<8} {row['total_mm']:>8.1f} {row['wet_days']:>8}"
            f"  {row['wettest_day']}, {row['wettest_mm']:.1f} mm"
        )


if __name__ == "__main__":
    main()
