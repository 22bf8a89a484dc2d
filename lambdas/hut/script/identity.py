"""What makes two tasks identical: everything their execution begins with, but for whose it is.

Two tasks with the same digest may stand for each other if both are marked ``dedupe``. It covers the
command, the variables people gave (Hut's own tell run and task apart, and don't count), the lines of
their environment, image, folder, files of output, resources with the time limit, properties, and where
they run, as the configuration said at submit. What files a command reads is not looked at: who marks a task says
that they are the same, or named in its command or variables.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from hut.model.records import RunRecord
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.workflow import TaskSpec
from hut.script.variables import init_lines, variables_of

__all__ = ["digest_of"]


def digest_of(run: RunRecord, spec: TaskSpec) -> str:
    """Return the digest of a task: hexadecimal digits."""
    settings = run.settings
    backend = spec.backend or settings.backend
    given = variables_of(run, spec)
    folder = spec.working_dir
    relative = folder is None or not folder.startswith(("/", "~"))
    parts: dict[str, Any] = {
        "command": spec.command,
        "variables": {name: given[name] for name in given.keys() - set(AUTOMATIC_VARIABLES)},
        "init": init_lines(run, spec),
        "image": spec.image,
        "base": settings.base_dir if relative else None,
        "folder": folder,
        "output": spec.output_file,
        "error": spec.error_file,
        "resources": asdict(spec.resources),
        "properties": dict(spec.properties),
        "backend": backend,
        "partition": spec.partition,
        "shell": settings.shell,
        # Where a command may see them.
        "task": [spec.group, dict(spec.tags)] if settings.task_variables else None,
        "chosen": settings.backends.get(backend),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=dict)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
