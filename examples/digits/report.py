"""Put the cells of the grid together: a table and a picture.

Usage: report.py FOLDS, with HUT_RUN_ID in the environment.

Reads ``results/RUN/MODEL.FOLD.json``, prints a table, writes ``report.json`` and ``report.png``
beside them, and fails if a cell is missing or the folds of a model are not the whole data.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from grid import DIGITS, MODELS

Matrix = list[list[int]]

INK = "#222222"
MUTED = "#6b7280"
DOT = "#2563eb"


@dataclass(frozen=True)
class Line:
    """One model over all folds.

    Attributes
    ----------
    folds : list of float
        The accuracy in each fold, in order.
    fit_seconds, read_seconds : float
        Processor time to train once, and to read the images of a fold, on average.
    pair : tuple of int
        The two digits that were taken for each other most often.
    mistakes : int
        How often they were, in either direction.
    confusion : list of list of int
        Row: the digit shown, column: the digit read.
    """

    model: str
    folds: list[float]
    fit_seconds: float
    read_seconds: float
    pair: tuple[int, int]
    mistakes: int
    confusion: Matrix

    @property
    def accuracy(self) -> float:
        """The mean over the folds."""
        return fmean(self.folds)

    @property
    def images(self) -> int:
        """How many images were read."""
        return sum(map(sum, self.confusion))

    @property
    def wrong(self) -> int:
        """How many images were misread."""
        return self.images - sum(self.confusion[digit][digit] for digit in range(DIGITS))


def join(model: str, cells: list[dict[str, Any]]) -> Line:
    """Take the folds of one model together."""
    confusion = [
        [sum(cell["confusion"][i][j] for cell in cells) for j in range(DIGITS)]
        for i in range(DIGITS)
    ]
    mixed = {
        (i, j): confusion[i][j] + confusion[j][i]
        for i in range(DIGITS)
        for j in range(i + 1, DIGITS)
    }
    pair = max(mixed, key=mixed.__getitem__)
    return Line(
        model,
        [cell["accuracy"] for cell in cells],
        fmean(cell["fit_seconds"] for cell in cells),
        fmean(cell["read_seconds"] for cell in cells),
        pair,
        mixed[pair],
        confusion,
    )


def read_lines(folder: Path, folds: int) -> list[Line]:
    """Read all cells; return a line per model, the best first."""
    lines = []
    for model in MODELS:
        files = [folder / f"{model}.{fold}.json" for fold in range(1, folds + 1)]
        missing = [file.name for file in files if not file.exists()]
        if missing:
            sys.exit(f"{folder}: no {', '.join(missing)}")
        cells = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        line = join(model, cells)
        # Each image is tested in one fold and trained on in the others.
        if any(cell["trained_on"] + cell["tested_on"] != line.images for cell in cells):
            sys.exit(f"{folder}: the folds of {model} don't make up the whole data; mixed seeds?")
        lines.append(line)
    return sorted(lines, key=lambda line: -line.accuracy)


def show(lines: list[Line]) -> None:
    """Print the table, and how sure the first place is."""
    header = (
        f"{'model':<11} {'accuracy':>8} {'spread':>7}  {'worst .. best':^16}  {'wrong':>5} "
        f"{'fit, s':>7} {'read, s':>7}  most confused"
    )
    print(header, "-" * len(header), sep="\n")
    for line in lines:
        low, high = min(line.folds), max(line.folds)
        print(
            f"{line.model:<11} {line.accuracy:>8.2%} {stdev(line.folds):>7.2%}  "
            f"{low:>7.2%} .. {high:<7.2%} {line.wrong:>5} "
            f"{line.fit_seconds:>7.3f} {line.read_seconds:>7.3f}  "
            f"{line.pair[0]} and {line.pair[1]}, {line.mistakes} times"
        )
    print("-" * len(header))
    print("spread: standard deviation over the folds; fit, read: processor time for a fold")
    first, second = lines[:2]
    ahead = sum(a > b for a, b in zip(first.folds, second.folds, strict=True))
    verdict = "is best" if ahead == len(first.folds) else "leads, but it is close"
    print(
        f"{first.model} {verdict}: {first.wrong} misread, {second.wrong} by {second.model}; "
        f"ahead in {ahead} of {len(first.folds)} folds."
    )


def draw(lines: list[Line], target: Path) -> None:
    """Draw accuracy per model and fold, and the confusion matrix of the best model."""
    import matplotlib as mpl

    mpl.use("Agg")  # no screen needed
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 10, "text.color": INK, "axes.labelcolor": INK})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.8), width_ratios=(1.15, 1), layout="constrained"
    )
    figure.suptitle(
        f"Reading {lines[0].images:,} handwritten digits, {len(lines[0].folds)} folds", fontsize=13
    )
    draw_accuracies(left, lines)
    draw_confusion(right, lines[0])
    figure.savefig(target, dpi=150)
    plt.close(figure)


def draw_accuracies(axes: Any, lines: list[Line]) -> None:
    """Draw a row per model, the best on top: a dot per fold, a bar at the mean."""
    for row, line in enumerate(lines):
        # Spread over the height of the row in fold order: equal folds don't hide each other, and
        # the same fold is at the same height in each row.
        last = len(line.folds) - 1
        heights = [row + 0.36 * (fold / last - 0.5) for fold in range(len(line.folds))]
        axes.plot(
            [100 * x for x in line.folds],
            heights,
            "o",
            color=DOT,
            alpha=0.55,
            markersize=7,
            markeredgewidth=0,
            label="one fold, the first on top" if row == 0 else None,
        )
        mean = 100 * line.accuracy
        axes.vlines(
            mean, row - 0.3, row + 0.3, color=INK, lw=2.2, label="mean" if row == 0 else None
        )
        axes.text(mean, row - 0.33, f"{mean:.2f} %", ha="center", va="bottom", fontweight="bold")
    axes.set_yticks(range(len(lines)), [line.model for line in lines])
    axes.set_ylim(len(lines) - 0.45, -0.7)
    axes.margins(x=0.08)
    axes.set_xlabel("images read correctly, %")
    axes.set_title("Accuracy by model", loc="left")
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.99))


def draw_confusion(axes: Any, line: Line) -> None:
    """Draw the matrix; only mistakes are coloured, else the diagonal outshines them."""
    from matplotlib import colormaps

    mistakes = [
        [0 if i == j else count for j, count in enumerate(row)]
        for i, row in enumerate(line.confusion)
    ]
    most = max(1, *map(max, mistakes))
    colours = colormaps["Reds"].with_extremes(under="white")
    axes.imshow(mistakes, cmap=colours, vmin=0.5, vmax=1.3 * most)
    for i, row in enumerate(line.confusion):
        for j, count in enumerate(row):
            if i == j:
                axes.text(j, i, count, ha="center", va="center", color=MUTED, fontsize=8)
            elif count:
                shade = "white" if count > 0.6 * most else INK
                axes.text(j, i, count, ha="center", va="center", color=shade, fontweight="bold")
    axes.set_xticks(range(DIGITS))
    axes.set_yticks(range(DIGITS))
    axes.set_xticks([edge - 0.5 for edge in range(1, DIGITS)], minor=True)
    axes.set_yticks([edge - 0.5 for edge in range(1, DIGITS)], minor=True)
    axes.grid(which="minor", color="#e5e7eb")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color("#e5e7eb")
    axes.set_xlabel("digit read")
    axes.set_ylabel("digit shown")
    axes.set_title(f"{line.model}: {line.wrong} of {line.images:,} misread", loc="left")


def main() -> None:
    """Read, print, write, draw."""
    folder = Path("results", os.environ["HUT_RUN_ID"])
    lines = read_lines(folder, int(sys.argv[1]))
    show(lines)
    documents = [{"accuracy": line.accuracy, "wrong": line.wrong, **asdict(line)} for line in lines]
    (folder / "report.json").write_text(json.dumps(documents) + "\n", encoding="utf-8")
    picture = folder / "report.png"
    draw(lines, picture)
    print(f"The picture is in {picture}")


if __name__ == "__main__":
    main()
