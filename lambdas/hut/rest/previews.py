"""Plans as answers: scripts of tasks that were not submitted, and what is left out of large plans.

What would not fit goes in this order: the scripts of all tasks (``scripts_left_out``), then tasks
from the end (``truncated``; ``total`` still counts them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from hut.model.records import RunSettings
from hut.model.workflow import TaskSpec
from hut.planning import Plan
from hut.rest.answers import MOST_BYTES, dump, fitting, wire_size
from hut.rest.services import Services
from hut.script.previews import imagined_run, without_time
from hut.views import Document

__all__ = ["plan_text", "preview_script", "with_remarks"]

_MOST_WARNINGS = 1000


def with_remarks(services: Services, plan: Plan, settings: RunSettings) -> Plan:
    """Return the plan again; its warnings say too what backends will pass over."""
    by_backend: dict[str, list[TaskSpec]] = {}
    for task in plan.tasks:
        by_backend.setdefault(task.backend or settings.backend, []).append(task)
    remarks = [
        remark
        for name, tasks in by_backend.items()
        if (backend := services.backend(name)) is not None
        for remark in backend.remarks(tasks)
    ]
    return replace(plan, warnings=(*plan.warnings, *remarks)) if remarks else plan


def preview_script(
    services: Services, workflow: str, settings: RunSettings
) -> Callable[[TaskSpec], str | None]:
    """Return what renders the script of a task of a run that does not exist.

    ``RUN`` and ``TIME`` stand for what is known only of a run. A task whose backend is not at hand
    has no script.
    """
    run = imagined_run(workflow, settings)

    def script(spec: TaskSpec) -> str | None:
        backend = services.backend(spec.backend or settings.backend)
        if backend is None:
            return None
        return without_time(backend.script(run, spec, 1))

    return script


def plan_text(
    plan: Plan,
    document: Document,
    script: Callable[[TaskSpec], str | None] | None,
    room: int = MOST_BYTES,
) -> str:
    """Return a plan's document as JSON that fits.

    Parameters
    ----------
    document
        As `hut.views.plan_document` made it of `plan`, without scripts.
    script
        Renders a task's script, if scripts are wanted.
    """
    tasks: list[Document] = document["tasks"]
    head = {name: value for name, value in document.items() if name != "tasks"}
    head["warnings"] = head["warnings"][:_MOST_WARNINGS]
    head |= {"scripts_left_out": False, "truncated": False}
    room -= wire_size(dump(head)) + 100
    texts: list[str] = []
    if script is not None:
        texts = fitting(_with_scripts(plan, tasks, script), room)
        head["scripts_left_out"] = len(texts) < len(tasks)
    if len(texts) < len(tasks):
        texts = fitting(tasks, room)
    head["truncated"] = len(texts) < len(tasks)
    return f'{dump(head)[:-1]},"tasks":[{",".join(texts)}]}}'


def _with_scripts(
    plan: Plan, tasks: list[Document], script: Callable[[TaskSpec], str | None]
) -> Iterator[Document]:
    for document, spec in zip(tasks, plan.tasks, strict=True):
        yield {**document, "script": script(spec)}
