"""Which modules of a folder a module may import, now or later, found by reading the code.

Imports inside of functions count, those for type checkers only don't. What is imported by a name that
is made at run time can't be seen: packages that do that are taken whole (see `infra.bundling`).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

__all__ = ["imports_of", "reached"]


def reached(
    folder: Path,
    roots: Iterable[str],
    *,
    own: Collection[str],
    whole: Collection[str] = (),
) -> set[Path]:
    """Return the files of all modules that some modules may import, their own included.

    Parameters
    ----------
    folder
        Where packages are looked for; what is not there is somebody else's, or the language's.
    roots
        Dotted names of modules.
    own
        Packages of which the imports inside of functions count as well. Those of others are for what
        their users may do without: another package of somebody's own.
    whole
        Packages and modules that are taken with all their files if anything of them is imported.
    """
    found: set[Path] = set()
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if top in whole:
            name = top
        path = None if name in seen else _file(folder, name)
        seen.add(name)
        if path is None:
            continue
        if top in whole:
            found |= _all_of(path)
            continue
        found.add(path)
        # Whoever imports a module imports the packages that it is in.
        waiting += _parents(name)
        text = path.read_text(encoding="utf-8")
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += imports_of(text, package, lazily=top in own)
    return found


def imports_of(text: str, package: str, *, lazily: bool = True) -> Iterator[str]:
    """Yield what a module imports: ``from a import b`` may mean ``a.b``, so both are told.

    Parameters
    ----------
    package
        The one that the module is in, or is.
    lazily
        Whether imports inside of functions count.
    """
    for node in _nodes(ast.parse(text), lazily=lazily):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _nodes(tree: ast.AST, *, lazily: bool) -> Iterator[ast.AST]:
    """Yield all nodes, but for those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not lazily and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for other in node.orelse:
                yield other
                yield from _nodes(other, lazily=lazily)
            continue
        yield node
        yield from _nodes(node, lazily=lazily)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _all_of(path: Path) -> set[Path]:
    if path.name != "__init__.py":
        return {path}
    return {each for each in path.parent.rglob("*") if each.is_file()}


def _file(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    return None
