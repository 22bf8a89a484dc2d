"""How long a Lambda function takes to start beside a bare client of botocore, and how large it is."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Command, CommandError, announce, spread, timed
from benchmarks.results import Claim, Figure, Findings, Table
from benchmarks.setting import Scenario, Setting
from infra.bundling import BundleError, make_bundle

__all__ = ["SCENARIO"]

_TIMES_BARE = 1.3
_HOT = ("advance", "observe", "register", "finish", "sweep")
_BARE_PACKAGES = ("botocore", "dateutil", "jmespath", "six.py", "urllib3")
_CLIENT = (
    "import botocore.session; botocore.session.get_session().create_client('dynamodb', 'us-east-1')"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rounds."""

    rounds: int


_FULL = Sizes(rounds=15)
_QUICK = Sizes(rounds=2)


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    try:
        host, shipped = make_bundle("host").path, make_bundle("lambda").path
    except BundleError as error:
        raise CommandError(str(error)) from None
    programs = {"bare": _CLIENT}
    programs |= {name: f"import handlers.{name}; {_CLIENT}" for name in (*_HOT, "api")}
    samples: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory(prefix="hut-benchmark-") as folder:
        for number in range(sizes.rounds + 1):
            for name, code in programs.items():
                cpu = timed(_start(setting, host, code, Path(folder))).cpu
                if number:
                    samples[name].append(cpu)
    claims = tuple(_claim(name, samples) for name in _HOT)
    announce(f"  {', '.join(f'{claim.label} {claim.value:.2f}' for claim in claims)}")
    return Findings(
        method=(
            "CPU time of a new interpreter that imports a function's module from the bundle, and "
            "nothing else, and makes a DynamoDB client; and of one that only makes the client. "
            f"{sizes.rounds} rounds of all in turn, after one that does not count. Nothing is "
            "compiled beforehand, as on Lambda, where the bundle's folder can't be written to."
        ),
        commands=(("bare", f"python -c {_CLIENT!r}"), ("advance", "import handlers.advance; ...")),
        figures=tuple(Figure(name, "s of CPU", tuple(each)) for name, each in samples.items()),
        claims=claims,
        versions={},
        tables=(_sizes(shipped),),
    )


def _start(setting: Setting, bundle: Path, code: str, folder: Path) -> Command:
    begin = f"import sys; sys.path.insert(0, {str(bundle)!r})\n"
    options = ("-I", "-S", "-B", "-X", f"pycache_prefix={folder / 'none'}")
    variables = {"AWS_LAMBDA_FUNCTION_NAME": "any"}
    return Command(
        (str(setting.python), *options, "-c", begin + code), folder, variables, timeout=60
    )


def _claim(name: str, samples: dict[str, list[float]]) -> Claim:
    pairs = list(zip(samples[name], samples["bare"], strict=True))
    ratios = [own / bare for own, bare in pairs]
    value = spread(samples[name]).median / spread(samples["bare"]).median
    limits = (min(ratios), max(ratios))
    label = f"Start of `{name}` to a bare client"
    return Claim(label, value, "times", "at most", _TIMES_BARE, limits)


def _sizes(bundle: Path) -> Table:
    whole = _packed(bundle, lambda _: True)
    bare = _packed(bundle, lambda top: top in _BARE_PACKAGES)
    rows = (
        ("all functions share one bundle", f"{whole / 1e6:.2f}", f"{whole / bare:.2f}"),
        ("botocore and what it needs, cut to the same services", f"{bare / 1e6:.2f}", "1"),
    )
    return Table("Archive for Lambda", ("", "MB", "times"), rows)


def _packed(bundle: Path, wanted: Callable[[str], bool]) -> int:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(bundle.rglob("*")):
            name = path.relative_to(bundle)
            if path.is_file() and "__pycache__" not in name.parts and wanted(name.parts[0]):
                file.write(path, name)
    return len(archive.getvalue())


SCENARIO = Scenario("functions", "Start of the Lambda functions", _run)
