"""What a Batch backend will pass over, or has passed over, of what a task asks for. Pure.

It is the image, where the backend's job definition is locked: jobs run in the definition's.
"""

from __future__ import annotations

from collections.abc import Sequence

from hut.backends.batch.options import BatchOptions
from hut.model.problems import Problem
from hut.model.records import Outcome
from hut.model.workflow import TaskSpec

__all__ = ["remarks_on", "with_remark"]


def remarks_on(options: BatchOptions, tasks: Sequence[TaskSpec]) -> list[Problem]:
    """Return a warning for each image that will be ignored; tasks of the same image share it.

    Parameters
    ----------
    options
        With their template, where a job definition is configured.
    """
    template = options.template
    if template is None or not options.jobs.locked:
        return []
    ignored: dict[str, list[str]] = {}
    for task in tasks:
        if task.image is not None and task.image != template.image:
            ignored.setdefault(task.image, []).append(task.id)
    return [
        Problem(
            f"{image!r} is ignored: job definition {template.reference!r} of backend "
            f"{options.name!r} is locked and runs {template.image!r}" + _others(len(ids) - 1),
            task=ids[0],
            field="image",
        )
        for image, ids in ignored.items()
    ]


def with_remark(outcome: Outcome, options: BatchOptions, spec: TaskSpec, image: str) -> Outcome:
    """Return the outcome again; its message says if the task's image was ignored.

    Parameters
    ----------
    image
        What the job ran, as Batch tells; empty if it does not.
    """
    if not options.jobs.locked or spec.image in (None, image) or not image:
        return outcome
    said = (
        f"image {spec.image!r} was ignored: job definition {options.jobs.definition!r} is locked "
        f"and runs {image!r}"
    )
    return outcome._replace(message=f"{outcome.message}; {said}" if outcome.message else said)


def _others(number: int) -> str:
    if not number:
        return ""
    return f" (also in {number:,} other {'task' if number == 1 else 'tasks'})"
