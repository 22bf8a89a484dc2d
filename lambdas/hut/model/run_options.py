"""What a submission asks of its run as a whole, beyond what a workflow file can say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

__all__ = ["NO_OPTIONS", "Recording", "RetryOrder", "RunOptions"]

RetryOrder = Literal["document", "eager", "lazy"]
"""Where a failed task that is tried again stands among the others: see `hut.scheduling.order`."""

Recording = Literal["all", "failures"]
"""Of which attempts a run keeps a record."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run; each is kept in `hut.model.records.RunSettings` under the same name.

    Attributes
    ----------
    shell : "sh" or None
        What runs the commands: ``sh``, as for lines of a task file, or bash where there is one.
    task_variables : bool
        Tasks find their id, tags and resources in the ``TASK_*`` variables of HyperShell too.
    bundle : int or None
        Tasks that one job of a backend runs; `hut.model.workflow.BY_ITSELF` (0) leaves the number to
        Hut, None is what the file says, or a job for each.
    bundle_wait : float or None
        Seconds after which a bundle goes on its way though it is not full.
    open : bool
        Tasks can be added until it is closed, so it does not end when all it has have ended.
    held : bool
        None of its tasks may run yet: more are sent first, then it is released.
    retry_order : str
        Whether a failed task that is tried again keeps its place (``document``), goes before new
        ones of its priority (``eager``) or behind them (``lazy``).
    record : str
        With ``failures`` an attempt that succeeds leaves no record and no entry in the log of
        changes; that its task has completed is counted and told all the same.
    """

    shell: Literal["sh"] | None = None
    task_variables: bool = False
    bundle: int | None = None
    bundle_wait: float | None = None
    open: bool = False
    held: bool = False
    retry_order: RetryOrder = "document"
    record: Recording = "all"

    def given(self) -> dict[str, Any]:
        """Return those that differ from what holds without any."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(NO_OPTIONS, name)}


NO_OPTIONS = RunOptions()
