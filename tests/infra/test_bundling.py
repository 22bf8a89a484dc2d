"""How bundles are made and kept; what is in them is checked in test_bundles.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra import bundling
from infra.bundling import BundleError, content_digest, make_bundle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project."""
    for name, text in {
        "requirements/lambda.lock": "something==1\n",
        "lambdas/handlers/__init__.py": "",
        "lambdas/handlers/api.py": "handler = print\n",
        "lambdas/hut/__init__.py": "",
        "lambdas/hut/rest/openapi.json": "{}",
        "lambdas/hut/__pycache__/old.pyc": "",
        "lambdas/hut/store/sqlite/store.py": "",
        "lambdas/hut/backends/local/backend.py": "",
    }.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wheels that need no network; the kinds they were installed for."""
    kinds: list[str] = []

    def install(kind: str, lock: Path, folder: Path) -> None:
        kinds.append(kind)
        (folder / "something").mkdir()
        (folder / "something" / "__init__.py").write_text(lock.read_text())

    monkeypatch.setattr(bundling, "_install", install)
    return kinds


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_wheels_and_code_without_what_lambdas_don_t_need(root: Path, installed: list[str]) -> None:
    assert names(make_bundle("lambda", root=root).path) == {
        "something/__init__.py",
        "handlers/__init__.py",
        "handlers/api.py",
        "hut/__init__.py",
        "hut/rest/openapi.json",
    }


def test_the_second_time_nothing_is_made(root: Path, installed: list[str]) -> None:
    first = make_bundle("lambda", root=root)
    assert make_bundle("lambda", root=root) == first
    assert installed == ["lambda"]


def test_a_change_of_code_needs_no_wheels(root: Path, installed: list[str]) -> None:
    first = make_bundle("host", root=root)
    (root / "lambdas/handlers/api.py").write_text("handler = len\n")
    second = make_bundle("host", root=root)
    assert second.digest != first.digest
    assert (second.path / "handlers/api.py").read_text() == "handler = len\n"
    assert installed == ["host"]


def test_a_change_of_the_lock_file_needs_them_anew(root: Path, installed: list[str]) -> None:
    first = make_bundle("host", root=root)
    (root / "requirements/lambda.lock").write_text("something==2\n")
    assert make_bundle("host", root=root).digest != first.digest
    assert installed == ["host", "host"]


def test_each_kind_has_its_own(root: Path, installed: list[str]) -> None:
    assert make_bundle("host", root=root).path != make_bundle("lambda", root=root).path
    assert installed == ["host", "lambda"]


def test_the_digest_is_of_names_and_content_only(
    root: Path, installed: list[str], tmp_path: Path
) -> None:
    first = make_bundle("lambda", root=root, cache=tmp_path / "one")
    second = make_bundle("lambda", root=root, cache=tmp_path / "two")
    assert first.path != second.path
    assert first.digest == second.digest == content_digest(first.path)
    (first.path / "hut/__pycache__").mkdir()
    (first.path / "hut/__pycache__/left.pyc").write_text("by an import")
    assert content_digest(first.path) == second.digest


def test_two_makers_don_t_disturb_each_other(
    root: Path, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, cache = bundling._place, root / ".bundle"

    def late(target: Path, make: Callable[[Path], None]) -> None:
        """Let another process be there first."""
        monkeypatch.setattr(bundling, "_place", place)
        make_bundle("lambda", root=root)
        place(target, make)

    monkeypatch.setattr(bundling, "_place", late)
    bundle = make_bundle("lambda", root=root)
    assert "handlers/api.py" in names(bundle.path)
    assert not list(cache.glob("making-*"))


def test_old_bundles_go(root: Path, installed: list[str]) -> None:
    for turn in range(8):
        (root / "lambdas/handlers/api.py").write_text(f"handler = {turn}\n")
        last = make_bundle("lambda", root=root)
    assert len(list((root / ".bundle").glob("lambda-*"))) == 5
    assert last.path.is_dir()


def test_git_does_not_see_it(root: Path, installed: list[str]) -> None:
    make_bundle("lambda", root=root)
    assert (root / ".bundle/.gitignore").read_text() == "*\n"


def test_without_a_lock_file(root: Path) -> None:
    (root / "requirements/lambda.lock").unlink()
    with pytest.raises(BundleError, match="make lock"):
        make_bundle("lambda", root=root)


def test_without_a_network(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    lock = root / "requirements/lambda.lock"
    lock.write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BundleError, match="Without a network they must be in uv's cache"):
        make_bundle("lambda", root=root)
    assert not list((root / ".bundle").glob("*lambda*"))
