"""Tasks of task programs on this machine: from claim to launch, and from the files left to a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hut.checking import check_document
from hut.lifecycle.task_program import Judged, judge_program, parse_document, retry_policy
from hut.model.records import Outcome, RunRecord
from hut.model.states import TaskState
from hut.model.task_definition import TaskDefinition
from hut.model.workflow import TaskSpec
from hut.planning.calls import FrozenDefinitions
from hut.planning.references import Unresolved
from hut.script.calling import call_command, ready
from hut.store.port import AttemptKey, Claim, Store
from hutctl.local.documents import Documents
from hutctl.local.logs import attempt_log_tail

__all__ = ["Calls"]

_TAIL = 4000


class Calls:
    """The tasks of programs in one run.

    Parameters
    ----------
    run, store
        The run, and where its other tasks stand.
    documents
        The run's documents.
    logs
        Folder of the run's logs.
    """

    def __init__(self, run: RunRecord, store: Store, documents: Documents, logs: Path) -> None:
        self._run = run
        self._store = store
        self._documents = documents
        self._logs = logs
        self._definitions = FrozenDefinitions(run.settings.definitions, check_document)

    def prepare(self, claim: Claim) -> TaskSpec | Judged:
        """Return what to run, its input written; or the verdict on an input that can't be taken."""
        call = claim.spec.call
        assert call is not None  # noqa: S101 - the caller looked
        started = ready(call, self._definitions, self._output_of, check_document)
        if isinstance(started, Judged):
            self._documents.keep(claim.key, claim.spec.id, started)
            return started
        definition, text = started
        files = self._documents.begin(claim.key, text)
        given = None if text is None else str(files.input)
        return claim.spec._replace(
            command=call_command(definition, given, str(files.output), str(files.error))
        )

    def shown(self, spec: TaskSpec, key: AttemptKey) -> TaskSpec:
        """Return what an attempt runs, for people to read: nothing is written."""
        definition = self._definition(spec)
        files = self._documents.files(key)
        if definition is None:
            return spec
        given = None if definition.input_option is None else str(files.input)
        return spec._replace(
            command=call_command(definition, given, str(files.output), str(files.error))
        )

    def judge(self, claim: Claim, outcome: Outcome) -> Judged:
        """Return how an attempt ended, by the files it left; they are kept."""
        definition = self._definition(claim.spec)
        if definition is None:
            return Judged(outcome)
        key, task_id = claim.key, claim.spec.id
        left = self._documents.left(key)._replace(
            log_tail=attempt_log_tail(self._logs, key.position, task_id, key.attempt, _TAIL),
            log=f"hutctl logs {self._run.id} {task_id} --attempt {key.attempt}",
        )
        judged = judge_program(definition, outcome, left, check_document)
        self._documents.keep(key, task_id, judged)
        return judged

    @staticmethod
    def by_rules(claim: Claim, judged: Judged) -> Claim:
        """Return the claim with the retry rules that hold for this end."""
        return claim._replace(
            spec=claim.spec._replace(retry=retry_policy(claim.spec.retry, judged))
        )

    def forget(self, keys: Iterable[AttemptKey]) -> None:
        """Remove what attempts worked in, now that their ends are stored."""
        for key in keys:
            self._documents.forget(key)

    def _definition(self, spec: TaskSpec) -> TaskDefinition | None:
        found = None if spec.call is None else self._definitions.find(spec.call.label)
        return None if isinstance(found, str) else found

    def _output_of(self, task_id: str) -> Any:
        """Return the output document of another task.

        Raises
        ------
        Unresolved
            If it has none.
        """
        task = self._store.get_task(self._run.id, task_id)
        content = None
        if task is not None and task.state is TaskState.COMPLETED:
            content = self._documents.read(task.position, task_id, task.attempt, "output")
        if content is None:
            raise Unresolved(f"{task_id!r} has no output document")
        return parse_document(content)
