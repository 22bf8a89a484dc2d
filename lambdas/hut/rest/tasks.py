"""Routes of tasks: list them, look at one, its script, its logs, and why it is where it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

from aws_lambda_powertools.event_handler.openapi.params import Query

from hut.backends.calls import each
from hut.backends.port import LogPage, RemoteBackend, UnknownCursor
from hut.checking import check_document
from hut.explanation import Explanation
from hut.model.limits import LONGEST_PATTERN
from hut.model.problems import Problem
from hut.model.records import RunRecord, TaskRecord
from hut.model.states import ACTIVE, TERMINAL, TaskState
from hut.model.waiting import Waiting
from hut.model.workflow import TaskSpec
from hut.planning.calls import FrozenDefinitions
from hut.rest.answers import MOST_BYTES, Answer, json_answer, text_answer, wire_size
from hut.rest.exchange import Exchange, exchange_of
from hut.rest.observing import log_failure
from hut.rest.paging import answer_page, decode_cursor, encode_cursor
from hut.rest.programs import reports_of, with_reports
from hut.rest.refusals import Refusal, malformed
from hut.rest.routing import REPEAT, SPLIT, Limit, Position, RunId, TaskId, new_router
from hut.scheduling.twins import Twin, leader_of, leader_of_attempt
from hut.script.calling import Ready, call_from_script
from hut.searching import Condition, all_hold, read_conditions
from hut.store.port import TaskFilter, UnknownRun
from hut.views import Document, explanation_document, task_document
from hut.waiting import refusal_of

__all__ = ["router"]

router = new_router()

_TASKS_AT_ONCE = 1000
_MOST_TASKS = 5000
"""Tasks that one request looks through."""

_TOKEN = re.compile(r"[!-~]{1,3000}")

AttemptNumber = Annotated[
    int | None, Query(description="Number of the attempt, from 1; the latest if left out.")
]
LogCursor = Annotated[
    str | None, Query(max_length=4000, description="`cursor` of the answer before.")
]
Lines = Annotated[int, Query(ge=1, le=10_000, description="Lines at most.")]


@router.get("/runs/<run>/tasks", summary="List the tasks of a run", operation_id="listTasks")
def list_tasks(
    run: RunId,
    limit: Limit = 100,
    cursor: Position = None,
    state: Annotated[
        list[TaskState] | None, SPLIT, Query(description=f"Only tasks in these states; {REPEAT}.")
    ] = None,
    match: Annotated[
        str | None,
        Query(
            min_length=1, max_length=LONGEST_PATTERN, description="Pattern on the id, as in `deps`."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        Query(
            description="Only tasks that fulfil `FIELD OP VALUE`, as in `exit_code != 0`; "
            "repeated: all of them. OP is one of == != < <= > >= ~ (a pattern)."
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, Query(description="Only tasks with the tag `KEY` or `KEY:VALUE`.")
    ] = None,
) -> Answer:
    """Answer with a page of tasks in document order, with their attempts.

    With `where` or `tag` a page may be short, or empty, and still be followed by another: one request
    looks through so many tasks only.
    """
    exchange = exchange_of(router)
    exchange.run(run)
    store = exchange.services.store
    conditions, problems = read_conditions(where or (), tag or (), exchange.services.clock())
    if problems:
        raise malformed(problems)

    def documents(tasks: Sequence[TaskRecord]) -> list[Document]:
        attempts = store.list_attempts(run, [task.position for task in tasks])
        return each(
            lambda task: with_reports(
                exchange, run, task, task_document(task, attempts.get(task.position, ()))
            ),
            tasks,
        )

    after = -1 if cursor is None else cursor
    query = TaskFilter(state, match, after, limit + 1)
    if conditions:
        tasks, onward = _search(exchange, run, query, conditions)
    else:
        tasks, onward = store.list_tasks(run, query), None
    return answer_page(exchange, tasks, limit, documents, lambda task: str(task.position), onward)


def _search(
    exchange: Exchange, run: str, query: TaskFilter, conditions: Sequence[Condition]
) -> tuple[list[TaskRecord], str | None]:
    """Return tasks that fulfil conditions, and where to go on if not all were looked at."""
    found: list[TaskRecord] = []
    enough, query = query.limit or 0, replace(query, limit=_TASKS_AT_ONCE)
    for _ in range(_MOST_TASKS // _TASKS_AT_ONCE):
        tasks = exchange.services.store.list_tasks(run, query)
        found += [task for task in tasks if all_hold(conditions, task_document(task, ()))]
        if len(tasks) < _TASKS_AT_ONCE or len(found) >= enough:
            return found, None
        query = replace(query, after=tasks[-1].position)
    return found, str(query.after)


@router.get("/runs/<run>/tasks/<task>", summary="Show a task", operation_id="showTask")
def show_task(run: RunId, task: TaskId) -> Answer:
    """Answer with one task and its attempts."""
    exchange = exchange_of(router)
    _, record = exchange.task(run, task)
    attempts = exchange.services.store.list_attempts(run, [record.position])
    document = task_document(record, attempts.get(record.position, ()))
    return json_answer(with_reports(exchange, run, record, document))


@router.get(
    "/runs/<run>/tasks/<task>/script",
    summary="Show the script of a task",
    operation_id="showScript",
)
def show_script(run: RunId, task: TaskId) -> Answer:
    """Answer with the script of the latest attempt, or of the first if there is none."""
    exchange = exchange_of(router)
    owner, record = exchange.task(run, task)
    backend = _backend(exchange, record.backend, "its script can't be shown")
    return text_answer(backend.script(owner, _as_called(owner, record.spec), record.attempt or 1))


def _as_called(run: RunRecord, spec: TaskSpec) -> TaskSpec:
    """Return what an attempt runs; the input of a task program is left out, it comes with the job."""
    if spec.call is None:
        return spec
    definition = FrozenDefinitions(run.settings.definitions, check_document).find(spec.call.label)
    if isinstance(definition, str):
        return spec
    return spec._replace(command=call_from_script(Ready(definition, spec.call.input)))


@router.get(
    "/runs/<run>/tasks/<task>/why",
    summary="Say why a task is where it is",
    operation_id="explainTask",
)
def explain_task(run: RunId, task: TaskId) -> Answer:
    """Answer with a sentence and its details; of a task that waits or runs, the backend is asked."""
    exchange = exchange_of(router)
    owner, record = exchange.task(run, task)
    services = exchange.services
    answer = services.control.explain(
        owner,
        record,
        services.clock(),
        slots=None,
        driven=True,
        waiting=_waiting(exchange, owner, record),
        where=_where(exchange, record),
    )
    answer = _with_remarks(exchange, record, answer)
    document = explanation_document(record, answer)
    if record.spec.call is not None:
        document["reports"] = reports_of(exchange, run, record, record.attempt)
    return json_answer(document)


@router.get(
    "/runs/<run>/tasks/<task>/logs/output",
    summary="Read what a task printed",
    operation_id="readOutput",
)
def read_output(
    run: RunId,
    task: TaskId,
    attempt: AttemptNumber = None,
    cursor: LogCursor = None,
    limit: Lines = 1000,
) -> Answer:
    """Answer with a page of an attempt's log."""
    return json_answer(_log(exchange_of(router), run, task, attempt, cursor, limit))


@router.get(
    "/runs/<run>/tasks/<task>/logs/error",
    summary="Read what a task complained",
    operation_id="readError",
)
def read_error(
    run: RunId,
    task: TaskId,
    attempt: AttemptNumber = None,
    cursor: LogCursor = None,
    limit: Lines = 1000,
) -> Answer:
    """Answer with a page of an attempt's log; backends keep one for output and errors."""
    page = _log(exchange_of(router), run, task, attempt, cursor, limit)
    return json_answer({**page, "merged": True})


class _Place(NamedTuple):
    """Where an attempt's log is; `log` is None where there is nothing to read."""

    attempt: int
    backend: str
    log: str | None
    ended: bool


def _log(
    exchange: Exchange, run: str, task: str, attempt: int | None, cursor: str | None, limit: int
) -> Document:
    _, record = exchange.task(run, task)
    place = _place(exchange, run, record, attempt)
    token = None
    if cursor is not None:
        number, token = decode_cursor(cursor, int, _TOKEN)
        if number != place.attempt:
            message = f"belongs to attempt {number}, not to attempt {place.attempt}"
            raise malformed([Problem(message, field="cursor")])
    document: Document = {"attempt": place.attempt, "content": "", "cursor": cursor, "ended": True}
    if place.log is None:
        own = exchange.services.backend(place.backend)
        if place.attempt and own is not None and (why := own.why_no_log()) is not None:
            raise Refusal(409, "no-log", f"{why}; its log can't be read")
        return {**document, "ended": place.ended}
    backend = _backend(exchange, place.backend, "its log can't be read")
    try:
        page = _page(backend, place.log, None if token is None else str(token), limit)
    except UnknownCursor as error:
        raise malformed([Problem(str(error), field="cursor")]) from None
    stands_still = not page.text and page.cursor in (None, token)
    if not stands_still:
        following = None if page.cursor is None else encode_cursor(place.attempt, page.cursor)
        document |= {"content": page.text, "cursor": following}
    return {**document, "ended": place.ended and stands_still}


def _place(exchange: Exchange, run: str, task: TaskRecord, wanted: int | None) -> _Place:
    """Return where the log of an attempt is, the latest if none is wanted.

    Raises
    ------
    Refusal
        With status 404 if there never was such an attempt.
    """
    if wanted is not None and not 1 <= wanted <= task.attempt:
        known = f"1 to {task.attempt}" if task.attempt else "none yet"
        detail = f"task {task.spec.id!r} has no attempt {wanted}; there are: {known}"
        raise Refusal(404, "unknown-attempt", detail)
    number = wanted or task.attempt
    if number == 0:
        return _Place(0, task.backend, None, task.state in TERMINAL)
    found = exchange.services.store.list_attempts(run, [task.position]).get(task.position, [])
    for ended in found:
        if ended.number == number:
            return _Place(number, ended.backend, ended.log, ended=True)
    if number != task.attempt:  # it was given back before it started
        return _Place(number, task.backend, None, ended=True)
    if (leader := leader_of_attempt(task, found, number)) is not None:
        return _place_of_leader(exchange, leader, number, task.backend)
    log = task.log
    if log is None and task.state in ACTIVE and task.handle is not None:
        # No event tells of starts in large runs, and none may have come yet.
        backend = exchange.services.backend(task.backend)
        job = None if backend is None else backend.describe([task.handle]).get(task.handle)
        log = None if job is None else job.log
    return _Place(number, task.backend, log, task.state not in ACTIVE)


def _place_of_leader(exchange: Exchange, leader: Twin, number: int, backend: str) -> _Place:
    """Return where the log is of an attempt that follows another one: where that one's is."""
    nowhere = _Place(number, backend, None, ended=False)
    try:
        task = exchange.services.store.get_tasks(leader.run_id, [leader.position])[leader.position]
    except (UnknownRun, KeyError):
        return nowhere
    if leader.attempt > task.attempt:  # it was given back
        return nowhere
    place = _place(exchange, leader.run_id, task, leader.attempt)
    return place._replace(attempt=number, ended=False)


def _page(backend: RemoteBackend, log: str, cursor: str | None, limit: int) -> LogPage:
    """Read a page of a log, of fewer lines where these are too long for an answer."""
    while True:
        page = backend.read_log(log, cursor, limit)
        if limit == 1 or wire_size(page.text) <= MOST_BYTES - 10_000:
            return page
        limit = max(limit // 8, 1)


def _backend(exchange: Exchange, name: str, so: str) -> RemoteBackend:
    backend = exchange.services.backend(name)
    if backend is None:
        detail = f"the task's backend {name!r} is not known to this control plane; {so}"
        raise Refusal(409, "unknown-backend", detail)
    return backend


def _with_remarks(exchange: Exchange, task: TaskRecord, answer: Explanation) -> Explanation:
    """Add what the backend passes over of a task; when it has ended, its message says so."""
    backend = exchange.services.backend(task.backend)
    if backend is None or task.state in TERMINAL:
        return answer
    said = [f"field {remark.field!r}: {remark.message}." for remark in backend.remarks([task.spec])]
    return replace(answer, details=(*answer.details, *said))


def _waiting(exchange: Exchange, run: RunRecord, task: TaskRecord) -> Waiting | None:
    """Ask the backend for a task that waits there, or whose job it refuses; not for any other."""
    has_job = task.state is TaskState.SUBMITTED and task.handle is not None
    if leader_of(task.handle) is not None:  # it waits for another task, not for a machine
        return None
    is_refused = task.state is TaskState.PENDING and refusal_of(run, task) is not None
    backend = exchange.services.backend(task.backend)
    if backend is None or not (has_job or is_refused):
        return None
    try:
        return backend.waiting(task.spec, task.handle if has_job else None)
    except Exception as error:  # noqa: BLE001 - whatever a client raises: the rest is an answer too
        log_failure(error, exchange.notes, "the backend said nothing of a task")
        return Waiting(backend.name, unasked=(f"it could not be asked ({type(error).__name__})",))


def _where(exchange: Exchange, task: TaskRecord) -> str:
    """Ask the backend which machine a task runs on."""
    backend = exchange.services.backend(task.backend)
    if backend is None or task.state is not TaskState.RUNNING or task.handle is None:
        return ""
    try:
        return backend.where(task.handle)
    except Exception as error:  # noqa: BLE001 - whatever a client raises: the rest is an answer too
        log_failure(error, exchange.notes, "the backend does not say where a task runs")
        return ""
