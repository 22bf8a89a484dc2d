"""``python -m tests.histories record``: write down what this version of Hut does and keeps."""

from __future__ import annotations

import sys

from hut import __version__
from tests.histories.files import FOLDER, VERSIONS
from tests.histories.recording import record


def main(arguments: list[str]) -> int:
    if arguments != ["record"]:
        print("usage: python -m tests.histories record", file=sys.stderr)
        return 2
    if __version__ != VERSIONS[-1]:
        message = f"this is version {__version__}: add it to VERSIONS in tests/histories/files.py"
        print(message, file=sys.stderr)
        return 2
    record(FOLDER / __version__)
    print(f"recorded in {FOLDER / __version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
