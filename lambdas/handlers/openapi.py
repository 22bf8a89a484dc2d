"""Writes the API's OpenAPI document to a file, or compares it with one.

python -m handlers.openapi [--check] FILE

With ``--check`` nothing is written: the exit code is 1, and a diff is printed, if the file does not
say what the routes say.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from hut.rest.openapi import openapi_text

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m handlers.openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("file", type=Path, help="usually docs/openapi.json")
    options = parser.parse_args(arguments)
    path: Path = options.file
    wanted = openapi_text()
    if not options.check:
        path.write_text(wanted, encoding="utf-8")
        return 0
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if found == wanted:
        return 0
    diff = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), str(path), "the routes"
    )
    sys.stdout.writelines(diff)
    print(f"{path} is out of date; write it with: {parser.prog} {path}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
