"""What the use cases on AWS ask for beside a store and backends. Small, so that fakes are small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from hut.backends.port import Job
from hut.lifecycle.task_program import Judged
from hut.metrics import Metric

__all__ = [
    "DocumentKind",
    "Documents",
    "Executions",
    "Instances",
    "Measuring",
    "Noting",
    "Wakes",
]

DocumentKind = Literal["output", "errors"]


class Executions(Protocol):
    """Runs as executions of a state machine: one for each generation of a run."""

    def start(self, run_id: str, generation: int, blocks: int, time_limit: float) -> bool:
        """Start the execution, if it was not before; False if it is over and can't begin again."""

    def tell_end(self, token: str) -> None:
        """Tell whoever waits under a token that the run has ended; a token that is gone is fine."""


class Wakes(Protocol):
    """Messages that make a run be looked at again."""

    def wake(self, run_id: str, delay: float = 0.0, ended: Sequence[int] = ()) -> None:
        """Have a run advanced after some seconds; a long delay may be cut short.

        Parameters
        ----------
        ended
            Positions of tasks whose followers are to be released then.
        """


class Instances(Protocol):
    """EC2 tasks, of which news come that are not for one backend: executions and instances."""

    def describe(self, handles: Sequence[str]) -> Mapping[str, Job]:
        """Return what is known of executions, by their names."""

    def end_instances(self, names: Sequence[str]) -> int:
        """End the instances of executions that ended without doing it; return how many."""

    def nudge(self, instance: str) -> str:
        """Have the execution that waits for an instance look at it; say what became of the news.

        ``not_yet`` if it does not wait yet: then it may be told a moment later.
        """


class Documents(Protocol):
    """Outputs and error reports of task programs, by run, position and number of the attempt."""

    def keep(self, run_id: str, position: int, attempt: int, judged: Judged) -> None:
        """Keep what an attempt came to; repeated, it comes to the same."""

    def read(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> bytes | None:
        """Return a document of an attempt that has ended; None if it has none."""


class Noting(Protocol):
    """Structured logs: what happened to which run. Never commands, variables or file contents."""

    def info(self, message: str, /, **fields: Any) -> None:
        """Note something that is as it should be."""

    def warning(self, message: str, /, **fields: Any) -> None:
        """Note something that was repaired or given up."""


class Measuring(Protocol):
    """Metrics: what is counted over all runs."""

    def __call__(self, metric: Metric, value: float = 1.0, /) -> None:
        """Measure something; what is zero need not be published."""
