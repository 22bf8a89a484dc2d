"""Tasks of task programs on AWS: from claim to launch, and from what a job left to a verdict.

An input is put together and checked when its task is claimed; one that is wrong ends the attempt, and nothing
is started. What an attempt came to is kept before its end is recorded: whoever dies in between does both
again, from the same log, and comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hut.backends.calls import each
from hut.lifecycle.task_program import Judged, Left, judge_program, parse_document, retry_policy
from hut.model.records import Outcome, RunRecord
from hut.model.states import TaskState
from hut.planning.calls import FrozenDefinitions, references_of
from hut.planning.references import Unresolved
from hut.script.calling import call_from_script, ready
from hut.service.surroundings import Surroundings
from hut.store.port import Claim

__all__ = ["LARGEST_DOCUMENT", "Prepared", "Programs"]

LARGEST_DOCUMENT = 4 * 1024 * 1024
"""Bytes of an input or an output: what checks them takes 6 MB at a time."""

_MOST_PREPARED = 64 * 1024 * 1024  # characters of inputs that wait to be submitted


class Prepared(NamedTuple):
    """Claims as they are to be submitted.

    Attributes
    ----------
    ready : list of Claim
        With the command that starts their program.
    refused : list
        Claims whose input can't be taken, with the verdict.
    later : list of Claim
        Those to be given back: what they need could not be read now, or there is too much of it.
    """

    ready: list[Claim]
    refused: list[tuple[Claim, Judged]]
    later: list[Claim]


class Programs:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._definitions: tuple[str, FrozenDefinitions] | None = None

    def prepare(self, run: RunRecord, claims: Sequence[Claim]) -> Prepared:
        """Return what becomes of claims; those of commands stay as they are."""
        prepared = Prepared([], [], [])
        outputs = self._outputs(run, claims)
        room = _MOST_PREPARED
        for claim in claims:
            if claim.spec.call is None:
                prepared.ready.append(claim)
                continue
            try:
                found = self._prepared(run, claim, outputs) if room > 0 else None
            except Exception as error:  # noqa: BLE001 - whatever a client raises: it concerns this task
                self._around.note.warning(
                    "an input could not be prepared", run=run.id, why=repr(error)[:500]
                )
                found = None
            if found is None:
                prepared.later.append(claim)
            elif isinstance(found, Judged):
                self._keep(run, claim, found)
                prepared.refused.append((by_rules(claim, found), found))
            else:
                room -= len(found.spec.command)
                prepared.ready.append(found)
        return prepared

    def _prepared(self, run: RunRecord, claim: Claim, outputs: Mapping[str, Any]) -> Claim | Judged:
        call = claim.spec.call
        assert call is not None  # noqa: S101 - the caller looked

        def output_of(task_id: str) -> Any:
            found = outputs[task_id]
            if isinstance(found, Exception):
                raise found
            return found

        definitions, check = self._definitions_of(run), self._around.check
        found = ready(call, definitions, output_of, check, largest=LARGEST_DOCUMENT)
        if isinstance(found, Judged):
            return found
        return claim._replace(spec=claim.spec._replace(command=call_from_script(found)))

    def _outputs(self, run: RunRecord, claims: Sequence[Claim]) -> dict[str, Any]:
        """Return the documents that inputs refer to; an exception where there is none."""
        named = {
            reference.task
            for claim in claims
            if claim.spec.call is not None
            for reference in references_of(claim.spec.call)
        }

        def read(task_id: str) -> Any:
            try:
                return self._output_of(run, task_id)
            except Exception as error:  # noqa: BLE001 - told to each task that needs it
                return error

        wanted = sorted(named)
        return dict(zip(wanted, each(read, wanted), strict=True))

    def _output_of(self, run: RunRecord, task_id: str) -> Any:
        task = self._around.store.get_task(run.id, task_id)
        content = None
        if task is not None and task.state is TaskState.COMPLETED:
            content = self._around.documents.read(run.id, task.position, task.attempt, "output")
        if content is None:
            raise Unresolved(f"{task_id!r} has no output document")
        return parse_document(content)

    def judge(
        self, run: RunRecord, claim: Claim, outcome: Outcome, left: Left
    ) -> tuple[Outcome, Claim]:
        """Return how an attempt ended, by what it left; the claim has the retry rules that hold then."""
        call = claim.spec.call
        assert call is not None  # noqa: S101 - the caller looked
        definition = self._definitions_of(run).find(call.label)
        if isinstance(definition, str):
            return outcome, claim
        left = _bounded(left)._replace(
            log=f"hutctl logs {run.id} {claim.spec.id} --attempt {claim.key.attempt}"
        )
        judged = judge_program(definition, outcome, left, self._around.check)
        self._keep(run, claim, judged)
        return judged.outcome, by_rules(claim, judged)

    def _keep(self, run: RunRecord, claim: Claim, judged: Judged) -> None:
        key = claim.key
        self._around.documents.keep(run.id, key.position, key.attempt, judged)

    def _definitions_of(self, run: RunRecord) -> FrozenDefinitions:
        """Return the definitions that a run was submitted with; they are read once."""
        if self._definitions is None or self._definitions[0] != run.id:
            read = FrozenDefinitions(run.settings.definitions, self._around.check)
            self._definitions = run.id, read
        return self._definitions[1]


def by_rules(claim: Claim, judged: Judged) -> Claim:
    """Return the claim with the retry rules that hold for this end."""
    return claim._replace(spec=claim.spec._replace(retry=retry_policy(claim.spec.retry, judged)))


def _bounded(left: Left) -> Left:
    """Return what was left without what is too large."""
    said = f"is larger than {LARGEST_DOCUMENT >> 20} MiB"
    if left.output is not None and len(left.output) > LARGEST_DOCUMENT:
        left = left._replace(output=None, no_output=said)
    if left.error is not None and len(left.error) > LARGEST_DOCUMENT:
        left = left._replace(error=None, no_error=said)
    return left
