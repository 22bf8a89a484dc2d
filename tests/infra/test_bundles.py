"""What is in the real bundles: the one for Lambda by its files, the host's by importing it alone."""

from __future__ import annotations

import ast
import io
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.bundling import OPERATIONS, SERVICES, SMALL, Bundle, make_bundle
from infra.functions import FUNCTIONS
from infra.reach import imports_of
from tests.infra.synthesis import ROOT

pytestmark = pytest.mark.network  # wheels, if they are not in uv's cache

HANDLERS = sorted(
    path.stem for path in (ROOT / "lambdas/handlers").glob("*.py") if path.stem != "__init__"
)
PACKAGES = {
    "_yaml",
    "annotated_types",
    "attr",
    "attrs",
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "dateutil",
    "handlers",
    "hut",
    "jmespath",
    "jsonschema",
    "jsonschema_specifications",
    "pydantic",
    "pydantic_core",
    "referencing",
    "rpds",
    "s3transfer",
    "six.py",
    "typing_extensions.py",
    "typing_inspection",
    "urllib3",
    "yaml",
}
_ONLY_API = {"annotated_types", "boto3", "pydantic", "pydantic_core", "s3transfer"}
_SCHEMAS = {"attr", "attrs", "jsonschema", "jsonschema_specifications", "referencing", "rpds"}
_SMALL = PACKAGES - _ONLY_API - _SCHEMAS - {"_yaml", "typing_inspection"}
_AARCH64 = 183  # e_machine, of the ELF header
# Nothing but the bundle and the standard library; -S leaves out site-packages.
_ALONE = """
import sys, importlib
sys.path.insert(0, sys.argv[1])
assert not any("site-packages" in entry for entry in sys.path), sys.path
module = importlib.import_module("handlers." + sys.argv[2])
assert module.__file__.startswith(sys.argv[1]), module.__file__
outside = [
    name for name, module in sys.modules.items()
    if "site-packages" in (getattr(module, "__file__", None) or "")
]
assert not outside, outside
"""

# Each module of a bundle, so that one that is imported late is missed here if what it needs is.
_EVERY = """
import sys, importlib
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
_MODULES = """
import sys
sys.path.insert(0, sys.argv[1])
exec(sys.argv[2])
print(*sys.modules)
"""
_BARE = (
    "import botocore.session\n"
    "botocore.session.get_session().create_client('dynamodb', region_name='eu-west-1')"
)
_HEAVY = {"boto3", "click", "jsonschema", "pydantic", "rich", "s3transfer", "yaml"}
_MOST_MODULES = 1.3  # of what a bare client of botocore has
_LARGEST_ARCHIVE = 7_500_000
_LARGEST_SMALL = 1.3  # times an archive of a bare client for the same services
_BARE_PACKAGES = {"botocore", "dateutil", "jmespath", "six.py", "urllib3"}


@pytest.fixture(scope="module")
def for_lambda() -> Bundle:
    return make_bundle("lambda")


@pytest.fixture(scope="module")
def for_host() -> Bundle:
    return make_bundle("host")


@pytest.fixture(scope="module")
def small_for_lambda() -> Bundle:
    return make_bundle("lambda", small=True)


@pytest.fixture(scope="module")
def small_for_host() -> Bundle:
    return make_bundle("host", small=True)


def libraries(bundle: Bundle) -> list[Path]:
    return [path for path in bundle.path.rglob("*") if ".so" in path.suffixes]


def size(bundle: Bundle) -> int:
    return sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())


def modules(bundle: Bundle, code: str) -> set[str]:
    """Return what is imported once some code has run with a bundle alone."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-S", "-c", _MODULES, str(bundle.path), code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("kind", ["for_lambda", "for_host"])
def test_only_what_is_expected(kind: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    assert {path.name for path in bundle.path.iterdir()} == PACKAGES
    assert size(bundle) < 40_000_000
    left = {
        path.name
        for path in bundle.path.rglob("*")
        if path.name in {"__pycache__", "tests"} or path.suffix in {".dist-info", ".pyc", ".pyi"}
    }
    assert not left
    assert not (bundle.path / "hut/store/sqlite").exists()
    assert not (bundle.path / "hut/backends/local").exists()
    assert not (bundle.path / "hut/task").exists()


def test_libraries_are_for_arm64_and_python_3_12(for_lambda: Bundle) -> None:
    found = libraries(for_lambda)
    assert {path.parent.name for path in found} >= {"pydantic_core", "yaml"}
    for path in found:
        assert "cpython-312-aarch64-linux-gnu" in path.name or "abi3" in path.name, path.name
        head = path.read_bytes()[:20]
        assert head[:5] == b"\x7fELF\x02", path.name
        assert struct.unpack("<H", head[18:20]) == (_AARCH64,), path.name


def test_libraries_of_the_host_are_this_pythons(for_host: Bundle) -> None:
    tag = sys.implementation.cache_tag
    for path in libraries(for_host):
        assert tag in path.name or "abi3" in path.name, path.name


def test_botocore_knows_every_service_that_is_called(for_lambda: Bundle) -> None:
    data = for_lambda.path / "botocore/data"
    assert {path.name for path in data.iterdir() if path.is_dir()} == SERVICES
    called = {
        service
        for package in ("handlers", "hut")
        for path in (for_lambda.path / package).rglob("*.py")
        for service in re.findall(r"""\bclient\(\s*["']([a-z0-9-]+)["']""", path.read_text())
    }
    assert called <= SERVICES


_OPERATIONS = """
import sys
sys.path.insert(0, sys.argv[1])
import botocore.session
session = botocore.session.get_session()
client = session.create_client(
    "ec2", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
)
assert client.can_paginate("describe_instances")
print(*client.meta.service_model.operation_names)
from botocore.stub import Stubber
with Stubber(client) as stub:
    instance = {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": [{"Key": "a", "Value": "b"}]}
    stub.add_response("describe_instances", {"Reservations": [{"Instances": [instance]}]})
    pages = list(client.get_paginator("describe_instances").paginate())
    assert pages[0]["Reservations"][0]["Instances"] == [instance]
    stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
    client.terminate_instances(InstanceIds=["i-1"])
"""


@pytest.mark.parametrize("kind", ["for_host", "small_for_host"])
def test_of_ec2_it_knows_what_is_called(kind: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-S", "-c", _OPERATIONS, str(bundle.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == OPERATIONS["ec2"]
    called = {
        operation.title().replace("_", "")
        for path in (bundle.path / "hut").rglob("*.py")
        for pair in re.findall(
            r"""\b_?ec2\.(?:get_paginator\(\s*["']([a-z_]+)["']|([a-z_]+)\()""", path.read_text()
        )
        for operation in pair
        if operation and operation != "get_paginator"
    }
    assert called == OPERATIONS["ec2"]


def test_every_function_has_its_handler_and_its_bundle() -> None:
    assert set(FUNCTIONS) <= set(HANDLERS)
    assert set(FUNCTIONS) == {"api", "check", *SMALL}


@pytest.mark.parametrize("kind", ["small_for_lambda", "small_for_host"])
def test_the_small_bundle_holds_nothing_that_only_the_api_needs(
    kind: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    assert {path.name for path in bundle.path.iterdir()} == _SMALL
    assert not libraries(bundle)
    assert not (bundle.path / "hut/rest").exists()
    assert not (bundle.path / "handlers/api.py").exists()


def module_names(bundle: Bundle, *packages: str) -> list[str]:
    """Return all modules of packages, by their dotted names."""
    paths = [
        path.relative_to(bundle.path).with_suffix("")
        for package in packages
        for path in sorted((bundle.path / package).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize("kind", ["small_for_host", "for_host"])
def test_every_module_finds_what_it_imports_in_its_bundle_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Whatever Hut imports, early or late, in any function: see test_reach for how it is found."""
    bundle: Bundle = request.getfixturevalue(kind)
    names = module_names(bundle, "handlers", "hut")
    for module in list(names):
        place = bundle.path.joinpath(*module.split("."))
        is_package = place.is_dir()
        text = (place / "__init__.py" if is_package else place.with_suffix(".py")).read_text()
        package = module if is_package else module.rpartition(".")[0]
        for name in imports_of(text, package):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            path = bundle.path.joinpath(*name.split("."))
            # What is no module is something in one, which importing that one shows.
            if path.is_dir() or path.with_suffix(".py").is_file():
                names.append(name)
            else:
                assert "." in name, f"{module} imports {name}, which is not there"
                names.append(name.rpartition(".")[0])
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-S", "-c", _EVERY, str(bundle.path), *dict.fromkeys(names)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_powertools_in_the_small_bundle_are_whole_enough(small_for_host: Bundle) -> None:
    names = module_names(small_for_host, "aws_lambda_powertools")
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-S", "-c", _EVERY, str(small_for_host.path), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_imported_by_a_name_that_is_made() -> None:
    """Such an import is seen by nobody who reads the code."""
    for path in (ROOT / "lambdas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            assert name not in {"import_module", "__import__", "find_spec"}, path


def test_yaml_is_read_without_libyaml(small_for_host: Bundle) -> None:
    code = (
        "import yaml; from hut.model.documents import read_document\n"
        "assert not yaml.__with_libyaml__\n"
        "text = '- {id: a, command: \"echo é\"}\\n- id: b\\n  deps: [a]\\n'\n"
        "read = read_document(text, format='yaml').data\n"
        "assert read == [{'id': 'a', 'command': 'echo é'}, {'id': 'b', 'deps': ['a']}], read"
    )
    assert "yaml" in modules(small_for_host, code)


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_imports_from_the_bundle_alone(for_host: Bundle, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-S", "-c", _ALONE, str(for_host.path), name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["small_for_host", "for_host"])
def test_clients_can_be_made_from_the_bundle_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import botocore.session\n"
        "session = botocore.session.get_session()\n"
        "for service in sys.argv[2:]:\n"
        "    session.create_client(service, region_name='eu-west-1')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-S", "-c", code, str(bundle.path), *sorted(SERVICES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SMALL)
def test_a_function_that_takes_messages_starts_lightly(small_for_host: Bundle, name: str) -> None:
    """What is imported is what a cold start takes; no clock is as certain."""
    bare = modules(small_for_host, _BARE)
    found = modules(small_for_host, f"import handlers.{name}")
    tops = {each.partition(".")[0] for each in found}
    assert not tops & _HEAVY
    assert not [each for each in found if each.startswith("hut.rest")]
    of_others = {each for each in found if not each.startswith(("hut.", "handlers."))}
    assert len(of_others) <= len(bare) * _MOST_MODULES


def test_garbage_is_looked_for_once_a_function_has_started(for_host: Bundle) -> None:
    code = (
        "import gc, os\n"
        "os.environ['AWS_LAMBDA_FUNCTION_NAME'] = 'any'\n"
        "from handlers import advance, wiring\n"
        "assert not gc.isenabled()\n"
        "wiring._end_start()\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 10_000"
    )
    assert "handlers.advance" in modules(for_host, code)
    assert "gc" in modules(for_host, "import gc, handlers\nassert gc.isenabled()")


def packed(bundle: Bundle, tops: set[str] | None = None) -> int:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in bundle.path.rglob("*"):
            name = path.relative_to(bundle.path)
            wanted = tops is None or name.parts[0] in tops
            if wanted and path.is_file() and "__pycache__" not in path.parts:
                file.write(path, name)
    return len(archive.getvalue())


def test_archives_are_small(for_lambda: Bundle, small_for_lambda: Bundle) -> None:
    assert packed(for_lambda) <= _LARGEST_ARCHIVE
    bare = packed(for_lambda, _BARE_PACKAGES)
    assert packed(small_for_lambda) <= _LARGEST_SMALL * bare
