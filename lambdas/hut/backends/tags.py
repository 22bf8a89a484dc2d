"""Tags of jobs: whose they are and what for, in consoles and, once activated, on the bill. Pure.

Only what holds for a whole run is told of by tags of people: the children of an array job share the
tags of their parent, and whether a task became a child must not decide what its tags are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hut.model.limits import MOST_RUN_TAGS
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec

__all__ = ["cleaned", "job_tags"]

_LONGEST_KEY = 128
_LONGEST_VALUE = 256
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9 _.:/=+@-]")


def job_tags(run: RunRecord, spec: TaskSpec | None = None) -> dict[str, str]:
    """Return the tags of a job; characters that not every service takes become ``_``.

    Parameters
    ----------
    spec
        The task, if the job is one task's alone.
    """
    tags = {f"hut:tag:{key}": text for key, text in list(run.settings.tags.items())[:MOST_RUN_TAGS]}
    tags |= {"hut:run": run.id, "hut:workflow": run.workflow, "hut:owner": run.owner}
    if spec is not None:
        tags["hut:task"] = spec.id
    return cleaned(tags)


def cleaned(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags as every service takes them: without odd characters, none too long."""
    return {
        _NOT_IN_TAGS.sub("_", key)[:_LONGEST_KEY]: _NOT_IN_TAGS.sub("_", text)[:_LONGEST_VALUE]
        for key, text in tags.items()
    }
