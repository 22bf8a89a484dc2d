"""A target in AWS: what the commands ask, as requests to the API of a control plane."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from hut.store.port import StoreError, UnknownRun
from hutctl.client import Attended, Display, Document, LogPart, Submitted, Unreachable, WorkflowFile
from hutctl.pace import Pace
from hutctl.remote.answers import check, document_of, documents_of
from hutctl.remote.configuration import RemoteConfiguration
from hutctl.remote.faults import OutOfReach
from hutctl.remote.following import Patience, follow, hold
from hutctl.remote.http import Api, path_of
from hutctl.remote.logs import RemoteLog
from hutctl.remote.registry import RemoteRegistry
from hutctl.remote.submitting import find_environments, send_tasks, send_workflow
from hutctl.remote.targets import Target

__all__ = ["RemoteClient"]

_PAGE = 500
_LINES = 10_000
_ID_LENGTH = 10
_RUN_ID = re.compile(r"[a-z0-9]{1,64}", re.ASCII)
_KINDS = {"out": "output", "err": "error"}


class RemoteClient:
    """See `hutctl.client.Client` for what each method does.

    Parameters
    ----------
    config
        Path of the configuration file, if it was named.
    say
        Tells a person something.
    """

    def __init__(
        self,
        target: Target,
        config: str | None,
        say: Callable[[str], None],
        *,
        verbose: bool = False,
    ) -> None:
        self._config = config
        self._say = say
        self._api = Api(target, say if verbose else None)
        self._new: set[str] = set()  # runs that began with this process
        self._runs: dict[str, Document] = {}
        self._logs: dict[tuple[str, str, str, int], RemoteLog] = {}
        if verbose:
            say(f"target {target.name}: {target.url}, {target.region}")

    def pace(self) -> Pace:
        """Return how often to look whether something has changed."""
        return Pace(0.5, 5.0)

    # Before a run -------------------------------------------------------------------------------

    def plan(self, file: WorkflowFile, *, scripts: bool) -> Document:
        """Return what would run."""
        query = {"scripts": "true"} if scripts else {}
        environments = find_environments(self._config, file.folder)
        return document_of(send_workflow(self._api, "/plan", file, environments, query=query))

    def submit(self, file: WorkflowFile) -> Submitted:
        """Store a run; the key makes sure that it is one, however often the request is sent."""
        environments = find_environments(self._config, file.folder)
        key = file.idempotency_key or uuid.uuid4().hex
        unsure = (
            "whether the run was stored is not known; the same command with "
            f"--idempotency-key {key} finds it or stores it once"
        )
        try:
            answer = send_workflow(
                self._api, "/runs", file, environments, headers={"Idempotency-Key": key}
            )
        except KeyboardInterrupt:
            self._say(unsure)
            raise
        except OutOfReach as error:
            if error.sent:
                raise Unreachable(f"{error}; {unsure}") from error
            raise
        run = document_of(answer)
        warnings = [str(warning) for warning in run.pop("warnings", [])]
        if answer.status == 201 or answer.tries > 1:  # the first try may have stored it
            self._new.add(run["id"])
        return Submitted(self._seen(run), warnings)

    # While it runs ------------------------------------------------------------------------------

    def attend(self, run_id: str, display: Display) -> Attended:
        """Follow a run; the control plane works on it."""
        run = self._runs.get(run_id) or self._get_run(run_id)
        attended = follow(
            run,
            partial(self._look, run_id),
            Patience(run_id, self._say),
            display,
            from_start=run_id in self._new,
        )
        return Attended(self._seen(attended.run), attended.interrupted)

    def watch(self, run_id: str, display: Display) -> Attended:
        """Follow a run."""
        return self.attend(run_id, display)

    def detach(self, run_id: str) -> None:
        """Do nothing: the run goes on without this process anyway."""

    def cancel(self, run_id: str) -> Document:
        """Stop a run and wait until its tasks have ended."""
        run = document_of(self._api.call("POST", path_of("runs", run_id, "cancel")))
        patience, pace = Patience(run_id, self._say), self.pace()
        try:
            while run["ended_at"] is None:
                hold(pace.next())
                run = patience.ask(partial(self._get_run, run_id))
        except KeyboardInterrupt:
            self._say(f"run {run_id} is being cancelled; see: hutctl show {run_id}")
            raise
        return self._seen(run)

    def retry(self, run_id: str, *, everything: bool) -> int:
        """Make tasks pending again."""
        body = json.dumps({"all": everything}).encode()
        answer = self._api.call("POST", path_of("runs", run_id, "retry"), body=body)
        if answer.status == 409 and answer.tries > 1:
            run = self._get_run(run_id)
            if run["ended_at"] is None:  # the first try went through, only its answer was lost
                return sum(run["counts"][state] for state in ("pending", "submitted", "running"))
        document = document_of(answer)
        self._seen(document["run"])
        return int(document["repeated"])

    def add_tasks(self, run_id: str, file: WorkflowFile, *, key: str) -> Submitted:
        """Let tasks join an open or held run; the key makes sure that they do once."""
        path = path_of("runs", run_id, "tasks")
        answer = document_of(send_tasks(self._api, path, file, {"Idempotency-Key": key}))
        warnings = [str(warning) for warning in answer["warnings"]]
        return Submitted(self._seen(answer["run"]), warnings)

    def release(self, run_id: str) -> Document:
        """Let the tasks of a held run be started."""
        return self._seen(document_of(self._api.call("POST", path_of("runs", run_id, "release"))))

    def close(self, run_id: str) -> Document:
        """Take no more tasks into an open run; it ends when those it has do."""
        return self._seen(document_of(self._api.call("POST", path_of("runs", run_id, "close"))))

    def _look(self, run_id: str, cursor: int) -> tuple[Document, bool]:
        """Return a run with what changed behind a cursor, and whether there is more of it."""
        query = {"cursor": cursor, "limit": _PAGE}
        found = document_of(self._api.call("GET", path_of("runs", run_id, "changes"), query=query))
        self._seen(found["run"])
        return found, len(found["changes"]) >= _PAGE

    # Looking ------------------------------------------------------------------------------------

    def find_run(self, reference: str) -> Document:
        """Return the run that an id, the beginning of one, or ``last`` means."""
        if not reference:
            raise UnknownRun("the run's name is empty; write its id, or: last")
        if reference == "last":
            runs = documents_of(self._api.call("GET", "/runs", query={"limit": 1}))
            if not runs:
                raise UnknownRun("there are no runs yet; begin with: hutctl run workflow.json")
            return self._seen(runs[0])
        unknown = UnknownRun(f"there is no run {reference!r}; see: hutctl runs")
        if not _RUN_ID.fullmatch(reference):
            raise unknown
        if len(reference) >= _ID_LENGTH:  # the list of runs may be a moment behind; a run is not
            try:
                return self._get_run(reference)
            except UnknownRun:
                pass
        found = documents_of(self._api.call("GET", "/runs", query={"prefix": reference}))
        exact = [run for run in found if run["id"] == reference]
        if not exact and len(found) > 1:
            ids = ", ".join(run["id"] for run in found[:5])
            raise UnknownRun(f"{reference!r} begins the ids of several runs: {ids}; write more")
        if not found:
            raise unknown
        return self._seen((exact or found)[0])

    def list_runs(
        self,
        *,
        limit: int,
        states: Collection[str] | None = None,
        workflow: str | None = None,
        owner: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[Document]:
        """Return runs, newest first."""
        query = {
            "limit": min(limit, _PAGE),
            "state": _joined(states),
            "workflow": workflow,
            "owner": owner,
            "tag": [f"{key}={value}" for key, value in (tags or {}).items()],
        }
        return self._first("/runs", query, limit)

    def list_tasks(
        self,
        run_id: str,
        *,
        states: Collection[str] | None = None,
        match: str | None = None,
        where: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> Iterator[Document]:
        """Yield tasks in document order, page by page."""
        query = {
            "limit": _PAGE,
            "state": _joined(states),
            "match": match,
            "where": list(where),
            "tag": list(tags),
        }
        return self._pages(path_of("runs", run_id, "tasks"), query)

    def get_task(self, run_id: str, task_id: str) -> Document:
        """Return a task."""
        return document_of(self._api.call("GET", _task_path(run_id, task_id)))

    def script(self, run_id: str, task_id: str) -> str:
        """Return the script of a task's latest attempt, or of its first if it has none."""
        answer = check(self._api.call("GET", _task_path(run_id, task_id, "script")))
        return answer.body.decode(errors="replace")

    def why(self, run_id: str, task_id: str) -> Document:
        """Say why a task is where it is."""
        return document_of(self._api.call("GET", _task_path(run_id, task_id, "why")))

    def read_log(
        self, run_id: str, task_id: str, kind: str, *, attempt: int | None, offset: int
    ) -> LogPart:
        """Return what a task printed (``out``) or complained (``err``), from a byte on."""
        log = None
        if attempt is not None:
            log = self._logs.get((run_id, task_id, kind, attempt))
        if log is None:
            log = RemoteLog(partial(self._log_page, run_id, task_id, _KINDS[kind]), attempt)
        part = log.read(offset)
        if log.attempt is not None:
            self._logs[run_id, task_id, kind, log.attempt] = log
        return part

    def _log_page(
        self, run_id: str, task_id: str, kind: str, cursor: str | None, attempt: int | None
    ) -> Document:
        query = {"attempt": attempt, "cursor": cursor, "limit": _LINES}
        path = _task_path(run_id, task_id, "logs", kind)
        return document_of(self._api.call("GET", path, query=query))

    def list_failures(self, run_id: str, *, final: bool) -> Iterator[Document]:
        """Yield failed attempts, or only those of tasks that are failed now."""
        query = {"final": "true" if final else None, "limit": _PAGE}
        return self._pages(path_of("runs", run_id, "failures"), query)

    def list_jobs(self, *, limit: int) -> list[Document]:
        """Return what is submitted or runs now, of all runs."""
        return self._first("/jobs", {"limit": min(limit, _PAGE)}, limit)

    def list_audit(self, *, limit: int, filters: Mapping[str, str | None]) -> list[Document]:
        """Return who changed what, newest first."""
        return self._first("/audit", {"limit": min(limit, _PAGE), **filters}, limit)

    def list_backends(self, folder: str) -> list[Document]:  # noqa: ARG002 - the same for all
        """Return the control plane's backends."""
        return self.configuration().backends()

    def list_environments(self, folder: str) -> list[Document]:
        """Return the environments of the folder's configuration, then those of the control plane."""
        here = find_environments(self._config, folder)
        there = {each.pop("name"): each for each in self.configuration().environments()}
        found = [
            {
                "name": name,
                **each,
                "origin": "hut.yaml",
                "hides": name in there and there[name] != each,
            }
            for name, each in here.items()
        ]
        found += [
            {"name": name, **each, "origin": "configuration", "hides": False}
            for name, each in there.items()
            if name not in here
        ]
        return sorted(found, key=lambda each: str(each["name"]))

    def list_pools(self) -> list[Document]:
        """Return the pools of the control plane."""
        return documents_of(self._api.call("GET", "/pools"))

    def show_pool(self, name: str) -> Document:
        """Return a pool with its workers."""
        return document_of(self._api.call("GET", path_of("pools", name)))

    def drain_pool(self, name: str, worker: str | None, *, draining: bool) -> Document:
        """Give a pool's workers, or one of them, nothing new, or again."""
        whose = ("pools", name) if worker is None else ("pools", name, "workers", worker)
        verb = "drain" if draining else "resume"
        return document_of(self._api.call("POST", path_of(*whose, verb)))

    def configuration(self) -> RemoteConfiguration:
        """Return the control plane's configuration."""
        return RemoteConfiguration(self._api)

    def registry(self) -> RemoteRegistry:
        """Return the control plane's task registry."""
        return RemoteRegistry(self._api)

    def read_document(self, run_id: str, task_id: str) -> bytes | None:
        """Return the output document of a task's latest attempt; None if it has none."""
        answer = self._api.call("GET", _task_path(run_id, task_id, "document"))
        told = answer.document()
        if isinstance(told, dict) and told.get("type") == "urn:hut:problem:unknown-document":
            return None
        document = document_of(answer)
        if document["content"] is not None:
            return str(document["content"]).encode()
        return check(self._api.get(document["url"])).body

    def find_keyed(self, key: str) -> Document | None:
        """Return the run that was submitted under an idempotency key."""
        try:
            found = document_of(self._api.call("GET", "/submissions", query={"key": key}))
        except UnknownRun:
            return None
        return self._seen(found)

    def diagnose(self) -> list[tuple[str, bool, str]]:
        """Return checks of the credentials, of the way to the control plane, and of it."""
        from hutctl.remote.diagnosis import diagnose

        return diagnose(self._api)

    # Parts --------------------------------------------------------------------------------------

    def _get_run(self, run_id: str) -> Document:
        return self._seen(document_of(self._api.call("GET", path_of("runs", run_id))))

    def _seen(self, run: Document) -> Document:
        """Keep a run as it was seen last."""
        self._runs[run["id"]] = run
        return run

    def _pages(self, path: str, query: Mapping[str, object]) -> Iterator[Document]:
        """Yield the entries of a list, page by page."""
        cursor: str | None = None
        while True:
            answer = self._api.call("GET", path, query={**query, "cursor": cursor})
            yield from documents_of(answer)
            cursor = answer.headers.get("x-next-cursor")
            if not cursor:
                return

    def _first(self, path: str, query: Mapping[str, object], limit: int) -> list[Document]:
        return list(islice(self._pages(path, query), limit))


def _joined(states: Collection[str] | None) -> str | None:
    return None if states is None else ",".join(states)


def _task_path(run_id: str, task_id: str, *more: str) -> str:
    if not task_id.strip("."):  # would name another route
        raise StoreError(f"run {run_id} has no task {task_id!r}; see: hutctl tasks {run_id}")
    return path_of("runs", run_id, "tasks", task_id, *more)
