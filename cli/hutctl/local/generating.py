"""Reads the tasks that a task of this machine has written, and plans them."""

from __future__ import annotations

from hut.control import Control
from hut.lifecycle.attempt import Evidence, invalid_output, judge
from hut.model.problems import InvalidInput
from hut.model.records import Outcome, RunRecord
from hut.model.workflow import TaskSpec
from hut.planning import Extension
from hutctl.local.launching import resolve

__all__ = ["read_generated"]

_LARGEST = 256 * 1024 * 1024
_PROBLEMS_SHOWN = 10


def read_generated(
    control: Control, run: RunRecord, spec: TaskSpec
) -> tuple[Outcome, Extension | None]:
    """Return how the attempt of a generator that exited with 0 ends, and the tasks it adds.

    A fault of the file makes the attempt fail; nothing is added then.
    """
    assert spec.generates_source is not None  # noqa: S101 - the caller checked
    path = resolve(run, spec, spec.generates_source)
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise OSError(f"larger than {_LARGEST >> 20} MiB")
        adds = control.plan_generated(run, content.decode("utf-8"), path)
        told = "; ".join(str(warning) for warning in adds.warnings[:_PROBLEMS_SHOWN])
        return judge(Evidence(exit_code=0))._replace(message=told), adds
    except InvalidInput as error:
        shown = [str(problem) for problem in error.problems[:_PROBLEMS_SHOWN]]
        more = len(error.problems) - len(shown)
        detail = "; ".join(shown) + (f"; and {more:,} more" if more else "")
        return invalid_output(f"generates_source {path}: {detail}"), None
    except UnicodeDecodeError as error:
        return invalid_output(f"generates_source {path}: is not UTF-8 text ({error})"), None
    except OSError as error:
        why = error.strerror or str(error)
        return invalid_output(f"generates_source {path}: can't be read: {why}"), None
