"""Pool the streams of each contract and hold the prices against the closed forms.

Usage: report.py STREAMS, with HUT_RUN_ID in the environment.

Prints a table, writes ``results/RUN/report.json``, and fails if a stream is missing or a closed
form lies more than four standard errors away from the simulated price.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path

from options import bounds, read_options

Z_95 = 1.959964  # 95 % of a normal distribution lies within this many standard deviations
BAND = 4.0  # standard errors; chance leads out of it once in 16,000 contracts
HALF = 5  # width of half the gauge, in characters


@dataclass(frozen=True)
class Pooled:
    """The streams of one contract taken together."""

    samples: int
    mean: float
    squares: float

    def join(self, samples: int, mean: float, squares: float) -> Pooled:
        """Return this with another stream (the pairwise update of Chan and others)."""
        total = self.samples + samples
        distance = mean - self.mean
        return Pooled(
            total,
            self.mean + distance * samples / total,
            self.squares + squares + distance**2 * self.samples * samples / total,
        )

    @property
    def standard_error(self) -> float:
        """The standard error of the mean."""
        return sqrt(self.squares / (self.samples - 1) / self.samples)


@dataclass(frozen=True)
class Line:
    """One line of the report; `lowest` and `highest` are equal where there is a closed form."""

    contract: str
    samples: int
    price: float
    standard_error: float
    interval: tuple[float, float]
    lowest: float
    highest: float
    sigmas: float
    good: bool


def pool(folder: Path, contract: str, streams: int) -> Pooled:
    """Read the streams of a contract and take them together."""
    files = sorted(folder.glob(f"{contract}.*.json"))
    if len(files) != streams:
        sys.exit(f"{folder}: {len(files)} streams of {contract}, but {streams} were planned")
    pooled = Pooled(0, 0.0, 0.0)
    for file in files:
        part = json.loads(file.read_text(encoding="utf-8"))
        pooled = pooled.join(part["samples"], part["mean"], part["squares"])
    return pooled


def judge(contract: str, pooled: Pooled, lowest: float, highest: float) -> Line:
    """Return the report's line; `sigmas` is the distance to what the price must be."""
    price, error = pooled.mean, pooled.standard_error
    nearest = min(max(price, lowest), highest)
    sigmas = (nearest - price) / error
    interval = (price - Z_95 * error, price + Z_95 * error)
    good = abs(sigmas) <= BAND
    return Line(contract, pooled.samples, price, error, interval, lowest, highest, sigmas, good)


def gauge(sigmas: float) -> str:
    """Draw where the closed form lies: the middle is our price, the ends are four sigmas away."""
    cells = ["-"] * (2 * HALF + 1)
    for sign in (-1, 1):
        cells[HALF + round(sign * Z_95 / BAND * HALF)] = ":"
    cells[HALF] = "+"
    cells[HALF + round(max(-1.0, min(1.0, sigmas / BAND)) * HALF)] = "O"
    return f"[{''.join(cells)}]"


def show(lines: list[Line]) -> None:
    """Print the table."""
    header = (
        f"{'contract':<17} {'price':>7}  {'95 % interval':^16}  "
        f"{'closed form':>12} {'sigmas':>6}  -4s   0   +4s"
    )
    rule = "-" * len(header)
    print(rule, header, rule, sep="\n")
    for line in lines:
        low, high = line.interval
        if line.lowest == line.highest:
            exact, drawing = f"{line.lowest:.4f}", gauge(line.sigmas)
        else:
            exact = f"{line.lowest:.2f} .. {line.highest:.2f}"
            drawing = "within bounds" if line.good else "OUT OF BOUNDS"
        print(
            f"{line.contract:<17} {line.price:>7.4f}  {low:>7.4f} .. {high:<7.4f} "
            f"{exact:>12} {line.sigmas:>+6.2f}  {drawing}"
        )
    print(rule)
    print("O closed form   + simulated price   : ends of the 95 % interval")


def main() -> None:
    """Pool, judge, print; exit code 1 if a price is wrong."""
    streams = int(sys.argv[1])
    folder = Path("results", os.environ["HUT_RUN_ID"])
    lines = [
        judge(name, pool(folder, name, streams), *bounds(option))
        for name, option in read_options().items()
    ]
    total = sum(line.samples for line in lines)
    print(f"{total:,} samples in {len(lines) * streams} independent streams")
    show(lines)
    report = folder / "report.json"
    report.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n", "utf-8")
    wrong = [line.contract for line in lines if not line.good]
    if wrong:
        sys.exit(f"more than {BAND:g} standard errors off the closed form: {', '.join(wrong)}")
    print(f"All {len(lines)} prices agree with theory.")


if __name__ == "__main__":
    main()
