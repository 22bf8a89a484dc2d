"""The functions' logger: JSON lines, in which exceptions are told without their words."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeAlias

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from hut.faults import told

__all__ = ["new_logger"]

_Raised: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class _Formatter(LambdaPowertoolsFormatter):
    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - logging's name
        return "" if ei[1] is None else told(ei[1])

    def serialize(self, log: Any) -> str:
        log.pop("exception_notes", None)  # words, too
        return super().serialize(log)


def new_logger() -> Logger:
    """Return the logger of a function; all of a process write through the first one."""
    return Logger(logger_formatter=_Formatter(serialize_stacktrace=False))
