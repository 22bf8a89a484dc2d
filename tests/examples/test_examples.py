"""Each example, run as a user runs it, must give the right numbers, not only files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# What an example may have left where it was run by hand.
LEFTOVERS = shutil.ignore_patterns("results", "__pycache__", "east.csv")
LIMIT = 300  # seconds for one call of hutctl


@dataclass(frozen=True)
class Example:
    """A copy of an example's folder and a Hut of its own."""

    folder: Path
    environment: Mapping[str, str]

    def hutctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run hutctl in the folder, as a program of its own."""
        return subprocess.run(
            [sys.executable, "-m", "hutctl", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def run(self, *options: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the workflow and check how it ends."""
        return self.expect("run", "workflow.json", *options, exit_code=exit_code)

    def expect(self, *arguments: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run hutctl and check its exit code."""
        done = self.hutctl(*arguments)
        assert done.returncode == exit_code, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        return done

    def log(self, task: str) -> str:
        """Return what a task of the last run printed."""
        return self.expect("logs", "last", task).stdout

    @property
    def results(self) -> Path:
        """The folder of results; there must have been exactly one run."""
        folders = [entry for entry in (self.folder / "results").iterdir() if entry.is_dir()]
        assert len(folders) == 1
        return folders[0]

    def document(self, name: str) -> Any:
        """Return a JSON file among the results."""
        return json.loads((self.results / name).read_text(encoding="utf-8"))


class Copy(Protocol):
    """Copies an example by name."""

    def __call__(self, name: str) -> Example: ...


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Return a function that copies an example to where it can do no harm."""

    def copy_example(name: str) -> Example:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder, ignore=LEFTOVERS)
        inbox = EXAMPLES / name / "inbox"
        if inbox.exists():
            shutil.copytree(inbox, folder / "inbox", dirs_exist_ok=True)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HUT_")},
            "HUT_HOME": str(tmp_path / "home"),
            "PYTHON": sys.executable,
        }
        return Example(folder, environment)

    return copy_example


def test_there_is_a_test_and_a_readme_for_each_example() -> None:
    names = {entry.parent.name for entry in EXAMPLES.glob("*/workflow.json")}
    tests = Path(__file__).read_text(encoding="utf-8")
    assert names >= {"montecarlo", "wordcount", "sweep", "diamond", "failing", "digits", "hqs"}
    for name in names:
        assert f'copy("{name}")' in tests
        assert (EXAMPLES / name / "README.md").is_file()


# montecarlo


def test_montecarlo_prices_agree_with_theory(copy: Copy) -> None:
    example = copy("montecarlo")
    example.run("--env", "SAMPLES=2000", "--env", "STREAMS=4")
    lines = {line["contract"]: line for line in example.document("report.json")}
    assert len(list(example.results.glob("*.*.json"))) == 5 * 4
    # From integrating the payoffs numerically, without the example's formulas.
    exact = {
        "european-call": 7.1281,
        "european-put": 4.3720,
        "down-and-out-call": 7.7402,
        "geometric-asian": 5.4353,
    }
    assert set(lines) == {*exact, "arithmetic-asian"}
    for name, line in lines.items():
        low, high = line["interval"]
        assert line["good"], name
        assert line["samples"] == 8000
        assert low < line["price"] < high
        assert 0 < high - low < 1
        if name in exact:
            assert line["lowest"] == line["highest"] == pytest.approx(exact[name], abs=1e-4)
            assert line["price"] == pytest.approx(exact[name], abs=0.5)
    # The control variate makes this one far more exact than the others.
    assert lines["arithmetic-asian"]["price"] == pytest.approx(5.631, abs=0.02)
    assert "All 5 prices agree with theory." in example.log("report")


def test_montecarlo_does_not_depend_on_when_its_tasks_run(copy: Copy) -> None:
    example = copy("montecarlo")
    for _ in range(2):
        example.run("--env", "SAMPLES=200", "--env", "STREAMS=2")
    first, second = sorted((example.folder / "results").glob("*/report.json"))
    assert first.read_bytes() == second.read_bytes()


def test_montecarlo_refuses_a_bad_setting(copy: Copy) -> None:
    example = copy("montecarlo")
    example.run("--env", "STREAMS=none", exit_code=1)
    told = " ".join(example.expect("why", "last", "plan").stdout.split())
    assert "STREAMS is 'none'" in told


# wordcount


def test_wordcount_counts_what_a_plain_count_finds(copy: Copy) -> None:
    example = copy("wordcount")
    example.run()
    plain: Counter[str] = Counter()
    for text in (example.folder / "texts").iterdir():
        # Another way than the example's: cut at all that is no letter or apostrophe, then strip.
        pieces = re.split(r"[^a-z']+", text.read_text(encoding="utf-8").lower())
        plain.update(word for word in (piece.strip("'") for piece in pieces) if word)
    counted = example.document("words.json")
    assert counted == plain
    assert list(counted.values()) == sorted(counted.values(), reverse=True)
    assert sum(plain.values()) > 2500
    assert "A plain recount of all texts finds the same counts." in example.log("report")


# sweep


def test_sweep_retries_the_flaky_cell_and_finds_the_orders(copy: Copy) -> None:
    example = copy("sweep")
    example.run()
    cells = [
        json.loads(file.read_text(encoding="utf-8")) for file in example.results.glob("*.json")
    ]
    assert len(cells) == 12
    attempts = {(cell["method"], cell["steps"]): cell["attempt"] for cell in cells}
    assert attempts.pop(("rk4", 1000)) == 2
    assert set(attempts.values()) == {1}
    errors = {(cell["method"], cell["steps"]): cell["error"] for cell in cells}
    for (method, steps), error in errors.items():
        finer = errors.get((method, 2 * steps))
        if finer is not None:
            # Half the step: 2**order times more exact.
            shrinks = {"euler": 2, "midpoint": 4, "rk4": 16}[method]
            assert error / finer == pytest.approx(shrinks, rel=0.15)
    assert "12 cells; the orders are 1, 2 and 4, as theory says." in example.log("report")


# diamond


def test_diamond_finds_the_mean(copy: Copy) -> None:
    example = copy("diamond")
    example.run()
    mean = (example.results / "mean.txt").read_text(encoding="utf-8")
    assert mean == "mean of 1000 numbers: 1000\n"
    assert (example.results / "sum.txt").read_text(encoding="utf-8") == "1000000\n"
    assert "mean of 1000 numbers: 1000" in example.log("mean")


# failing


def rain_of(path: Path) -> list[float]:
    """Return the second column of a file of measurements."""
    return [float(line.split(",")[1]) for line in path.read_text(encoding="utf-8").split()[1:]]


def test_failing_fails_says_why_and_is_mended(copy: Copy) -> None:
    example = copy("failing")
    example.run(exit_code=1)
    sums = {file.name for file in example.results.glob("*.sum.json")}
    assert sums == {"north.sum.json", "south.sum.json"}

    culprit = " ".join(example.expect("why", "last", "check.east").stdout.split())
    assert "data/east.csv: no such file" in culprit
    assert "inbox/" in culprit
    assert "check.east" in example.expect("why", "last", "report").stdout

    unchanged = {file: file.stat().st_mtime_ns for file in example.results.glob("north*.json")}
    assert len(unchanged) == 2
    shutil.copy(example.folder / "inbox" / "east.csv", example.folder / "data")
    example.expect("retry", "last")
    # The retry went on with the same run, and what was completed was not run again.
    assert {file: file.stat().st_mtime_ns for file in unchanged} == unchanged

    printed = example.log("report")
    for station in ("north", "south", "east"):
        rain = rain_of(example.folder / "data" / f"{station}.csv")
        summary = example.document(f"{station}.sum.json")
        assert summary["total_mm"] == round(sum(rain), 1)
        assert summary["wet_days"] == sum(amount > 0 for amount in rain)
        assert summary["wettest_mm"] == max(rain)
        row = rf"^{station} +{summary['total_mm']:.1f} +{summary['wet_days']} "
        assert re.search(row, printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("day,rain\n2024-06-01,1.0\n", "needs columns day and rain_mm"),
        ("day,rain_mm\n2024-06-01,much\n", "needs columns day and rain_mm"),
        ("day,rain_mm\n2024-06-01\n", "needs columns day and rain_mm"),
        ("day,rain_mm\n2024-06-01,1.0\n", "no measurement for 2024-06-02"),
        (
            "day,rain_mm\n" + "".join(f"2024-06-{day:02},-1\n" for day in range(1, 31)),
            "less than no rain on 2024-06-01",
        ),
    ],
)
def test_failing_checks_what_it_reads(copy: Copy, text: str, complaint: str) -> None:
    example = copy("failing")
    (example.folder / "data" / "east.csv").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "check.py", "east"],
        cwd=example.folder,
        env={**example.environment, "HUT_RUN_ID": "by-hand"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


# digits

MODELS = {"logistic", "forest", "neighbours", "svm"}


@pytest.mark.skipif(
    find_spec("sklearn") is None or find_spec("matplotlib") is None,
    reason="examples/digits needs scikit-learn and matplotlib; install them with `make digits`",
)
def test_digits_reads_them_well(copy: Copy) -> None:
    example = copy("digits")
    folds = 2
    example.run("--env", f"FOLDS={folds}")
    lines = example.document("report.json")
    assert {line["model"] for line in lines} == MODELS
    for line in lines:
        confusion = line["confusion"]
        images = sum(map(sum, confusion))
        right = sum(confusion[digit][digit] for digit in range(10))
        assert images == 1797
        assert line["wrong"] == images - right
        assert line["accuracy"] == pytest.approx(right / images, abs=1e-3)
        assert len(line["folds"]) == folds
        assert 0.93 < min(line["folds"]) <= max(line["folds"]) <= 1
        first, second = line["pair"]
        assert line["mistakes"] == confusion[first][second] + confusion[second][first]
        mixed = [confusion[i][j] + confusion[j][i] for i in range(10) for j in range(i)]
        assert line["mistakes"] == max(mixed)
    accuracies = [line["accuracy"] for line in lines]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.97
    for model in MODELS:
        cells = [example.document(f"{model}.{fold}.json") for fold in range(1, folds + 1)]
        assert sum(cell["tested_on"] for cell in cells) == 1797
    picture = (example.results / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.endswith(b"IEND\xaeB`\x82")
    assert len(picture) > 20_000
    assert lines[0]["model"] in example.log("report")


def test_digits_says_how_to_get_what_is_missing(copy: Copy) -> None:
    example = copy("digits")
    # -S: a Python without site-packages has no scikit-learn, whatever is installed.
    done = subprocess.run(
        [sys.executable, "-S", "plan.py", "results/tasks.json"],
        cwd=example.folder,
        env={"PATH": os.environ["PATH"], "FOLDS": "3", "SEED": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1
    assert "no scikit-learn and no matplotlib. Run `make digits`" in done.stderr
    assert not (example.folder / "results").exists()


def test_hqs_computes_what_theory_says(tmp_path: Path) -> None:
    folder = tmp_path / "hqs"
    shutil.copytree(EXAMPLES / "hqs", folder, ignore=LEFTOVERS)
    environment = {**os.environ, "HUT_HOME": str(tmp_path / "home")}
    example = Example(folder, environment)
    example.expect("task", "register", sys.executable, "heat.py")
    example.run()
    verdict = json.loads(example.expect("task", "output", "last", "compare").stdout)
    assert verdict["is_good"]
    assert 0 < verdict["worst_error"] < 1e-3
    spread = json.loads(example.expect("task", "output", "last", "spread").stdout)
    assert spread["steps"] == 2500
    assert len(spread["rod"]["temperatures"]) == 101


# hqs


def test_hqs_hands_documents_on_until_the_heat_is_compared(copy: Copy) -> None:
    example = copy("hqs")
    example.expect("task", "register", sys.executable, "heat.py")
    example.run()
    compared = json.loads(example.expect("task", "output", "last", "compare").stdout)
    assert compared["is_good"] is True
    assert 0 < compared["worst_error"] < 1e-3
