"""Typed Python functions as a command-line program of HQS tasks: ``@task`` and `main`.

    from hut.task import main, task

    @task(version="0.5.0")
    def hello(name: str) -> str:
        return f"Hello, {name}!"

    if __name__ == "__main__":
        main(hello)

Such a program tells its tasks by ``--dump-task-definitions`` and runs one of them on an input file; it
writes the output document or the error reports, never both (docs/task-programs.md has the rules). It
is for people who write tasks, and stands apart: nothing of Hut imports it, and it imports nothing of
Hut. pydantic is imported when a schema is needed, not before.
"""

from __future__ import annotations

from hut.task.declaring import FileArguments, Provisioning, task
from hut.task.errors import (
    OutputValidationError,
    TaskDefinitionError,
    UsageError,
    ValidationError,
)
from hut.task.program import main

__all__ = [
    "FileArguments",
    "OutputValidationError",
    "Provisioning",
    "TaskDefinitionError",
    "UsageError",
    "ValidationError",
    "main",
    "task",
]
