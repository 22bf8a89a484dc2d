"""What a module can reach by imports is found by reading the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.reach import imports_of, reached

FILES = {
    "own/__init__.py": "",
    "own/start.py": """
from typing import TYPE_CHECKING
import own.plain
from own import used
from . import near
if TYPE_CHECKING:
    import own.typed
else:
    import own.untyped
def later():
    from own.deep.late import thing
class Some:
    def method(self):
        import theirs
""",
    "own/plain.py": "import json, nowhere",
    "own/used.py": "from .near import *",
    "own/near.py": "from ..own import start",
    "own/typed.py": "",
    "own/untyped.py": "",
    "own/deep/__init__.py": "from . import beside",
    "own/deep/late.py": "thing = 1",
    "own/deep/beside.py": "from ..plain import x",
    "own/unused.py": "",
    "theirs/__init__.py": "import theirs.first\ntry:\n    import theirs.tried\nexcept ImportError: pass",
    "theirs/first.py": "def optional():\n    import heavy",
    "theirs/tried.py": "import engine.core",
    "heavy.py": "",
    "engine/__init__.py": "",
    "engine/core.py": "",
    "engine/data/table.json": "{}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_own_code_is_followed_into_functions_and_others_only_to_what_they_need(
    folder: Path,
) -> None:
    found = reached(folder, ["own.start"], own=["own"], whole=["engine"])
    left_out = {"own/typed.py", "own/unused.py", "heavy.py"}
    assert {path.relative_to(folder).as_posix() for path in found} == FILES.keys() - left_out


def test_a_name_may_be_a_module_or_something_in_one() -> None:
    found = imports_of("from a.b import c, d\nimport e.f as g", "x")
    assert list(found) == ["a.b", "a.b.c", "a.b.d", "e.f"]


@pytest.mark.parametrize(
    ("package", "text", "wanted"),
    [
        ("p.q", "from . import m", ["p.q", "p.q.m"]),
        ("p.q", "from .m import n", ["p.q.m", "p.q.m.n"]),
        ("p.q", "from .. import m", ["p", "p.m"]),
        ("p.q", "from ..m import n", ["p.m", "p.m.n"]),
    ],
)
def test_relative_imports(package: str, text: str, wanted: list[str]) -> None:
    assert list(imports_of(text, package)) == wanted
