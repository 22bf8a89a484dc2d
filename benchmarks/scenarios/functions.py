"""How long a Lambda function takes to start beside a bare client of botocore, and how large it is."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.measure import Command, CommandError, announce, spread, timed
from benchmarks.results import Claim, Figure, Findings, Table
from benchmarks.setting import Scenario, Setting
from infra.bundling import SMALL, BundleError, make_bundle

__all__ = ["SCENARIO"]

_TIMES_BARE = 1.3
_BARE_PACKAGES = ("botocore", "dateutil", "jmespath", "six.py", "urllib3")
_KINDS: tuple[Literal["host", "lambda"], ...] = ("host", "lambda")
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
        host, shipped = (
            [make_bundle(kind, small=small).path for small in (False, True)] for kind in _KINDS
        )
    except BundleError as error:
        raise CommandError(str(error)) from None
    programs = {"bare": _CLIENT}
    programs |= {name: f"import handlers.{name}; {_CLIENT}" for name in (*SMALL, "api")}
    samples: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory(prefix="hut-benchmark-") as folder:
        for number in range(sizes.rounds + 1):
            for name, code in programs.items():
                bundle = host[name not in ("api", "bare")]
                cpu = timed(_start(setting, bundle, code, Path(folder))).cpu
                if number:
                    samples[name].append(cpu)
    claims = tuple(_claim(name, samples) for name in SMALL)
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
        tables=(_sizes(*shipped),),
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


def _sizes(whole: Path, small: Path) -> Table:
    bare = _packed(whole, lambda top: top in _BARE_PACKAGES)
    sizes = {
        "of the API": _packed(whole, lambda _: True),
        "of all other functions": _packed(small, lambda _: True),
        "botocore and what it needs, cut to the same services": bare,
    }
    rows = tuple((name, f"{size / 1e6:.2f}", f"{size / bare:.2f}") for name, size in sizes.items())
    return Table("Archives for Lambda", ("", "MB", "times"), rows)


def _packed(bundle: Path, wanted: Callable[[str], bool]) -> int:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(bundle.rglob("*")):
            name = path.relative_to(bundle)
            if path.is_file() and "__pycache__" not in name.parts and wanted(name.parts[0]):
                file.write(path, name)
    return len(archive.getvalue())


SCENARIO = Scenario("functions", "Start of the Lambda functions", _run)
