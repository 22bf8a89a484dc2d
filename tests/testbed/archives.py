"""Archives of functions: unpacked once for all of their processes, which also share the bytecode.

The emulator unpacks an archive for each process it starts, and each would compile what it imports.
"""

from __future__ import annotations

import hashlib
import threading
import types
import zipfile
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime

from tests.testbed.patching import replace, settings

_lock = threading.Lock()


def install() -> None:
    changed = {**vars(zipfile), "ZipFile": UnpackedOnce}
    replace(lambda_runtime, "zipfile", types.SimpleNamespace(**changed))


class UnpackedOnce(zipfile.ZipFile):
    """An archive in a file; whoever unpacks it gets a link to the one folder with its content."""

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        assert path is not None, "functions have folders of their own"
        assert self.filename is not None, "the emulator unpacks files"
        digest = hashlib.sha256(Path(self.filename).read_bytes()).hexdigest()
        folder = settings.work / "archives" / digest
        with _lock:
            if not folder.is_dir():
                part = folder.with_suffix(".part")
                super().extractall(part, members, pwd)
                part.rename(folder)
        Path(path).rmdir()
        Path(path).symlink_to(folder, target_is_directory=True)
