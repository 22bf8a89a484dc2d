"""The API over a SQLite store, a backend that is told what to say, and uploads in a dict."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from hut.backends.port import Job, JobState, LogPage, UnknownCursor
from hut.checking import check_document
from hut.control import Control
from hut.model.audit import Act, ActFilter, Ended, Recorded
from hut.model.problems import Problem
from hut.model.records import Attempt, Outcome, RunRecord, TaskRecord
from hut.model.states import Reason, TaskState
from hut.model.waiting import Waiting
from hut.model.workflow import TaskSpec
from hut.planning import Plan
from hut.rest.app import respond
from hut.rest.services import Services, TooLarge, UnknownUpload, UploadTicket
from hut.service.configuring import Configuring
from hut.service.ports import DocumentKind
from hut.store.port import Claim, ClaimRequest, Start
from hut.store.sqlite import SqliteStore
from hut.submission import Setting, Submission
from tests.fake_configurations import FakeConfigurations
from tests.rest.answer_check import check_answer
from tests.rest.pool_world import pooling_of

STACK = [
    {
        "name": name,
        "type": "batch",
        "queues": {
            "fargate": "arn:aws:batch:eu-west-1:123456789012:job-queue/hut-fargate",
            "ec2": "arn:aws:batch:eu-west-1:123456789012:job-queue/hut-ec2",
        },
        "default_queue": "fargate",
        "platforms": {"fargate": "FARGATE", "ec2": "EC2"},
        "default_image": "debian:stable-slim",
        "log_group": "/hut/jobs",
        "job_role_arn": "arn:aws:iam::123456789012:role/hut-job",
        "execution_role_arn": "arn:aws:iam::123456789012:role/hut-execution",
        "max_concurrent": None,
    }
    for name in ("batch", "other")
]
REQUEST_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
ALICE = "arn:aws:iam::123456789012:user/alice"
BOB = "arn:aws:sts::123456789012:assumed-role/Dev/bob"
COMPLETED = Outcome(TaskState.COMPLETED, Reason.EXIT, 0)
FAILED = Outcome(TaskState.FAILED, Reason.EXIT, 1, "exit code 1")
CANCELLED = Outcome(TaskState.FAILED, Reason.CANCELLED, None, "cancelled")


def api_event(
    method: str,
    path: str,
    *,
    query: Mapping[str, str | list[str]] | None = None,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    arn: str | None = ALICE,
    as_base64: bool = False,
) -> dict[str, Any]:
    """Return what API Gateway sends for a request to a REST API."""
    many = {k: [v] if isinstance(v, str) else list(v) for k, v in (query or {}).items()}
    if body is not None and as_base64:
        body = base64.b64encode(body.encode()).decode()
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": dict(headers or {}),
        "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
        "queryStringParameters": {k: values[-1] for k, values in many.items()} or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": {"proxy": path.strip("/")},
        "stageVariables": None,
        "requestContext": {
            "stage": "v1",
            "path": f"/v1{path}",
            "httpMethod": method,
            "requestId": REQUEST_ID,
            "identity": {"userArn": arn, "sourceIp": "192.0.2.1"},
        },
        "body": body,
        "isBase64Encoded": as_base64,
    }


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The last word of a problem's type."""
        kind: str = self.json["type"].rpartition(":")[2]
        return kind


class LoggedStore(SqliteStore):
    """Keeps no names of logs, so it makes them up as a backend would; unless it is told not to."""

    names_logs = True

    def get_task(self, run_id: str, task_id: str) -> TaskRecord | None:
        task = super().get_task(run_id, task_id)
        if task is None or task.handle is None or not self.names_logs:
            return task
        return replace(task, log=f"{task_id}/{task.attempt}")

    def list_attempts(self, run_id: str, positions: Sequence[int]) -> dict[int, list[Attempt]]:
        found = super().list_attempts(run_id, positions)
        names = self.task_ids(run_id)
        return {
            position: [replace(each, log=f"{names[position]}/{each.number}") for each in attempts]
            for position, attempts in found.items()
        }


@dataclass
class FakeBackend:
    """A backend whose logs and jobs a test fills."""

    name: str = "batch"
    logs: dict[str, list[str]] = field(default_factory=dict)
    waits: Waiting = field(default_factory=Waiting)
    asked_why: list[str | None] = field(default_factory=list)
    broken: bool = False
    remarked: dict[str, str] = field(default_factory=dict)
    no_log: str | None = None
    running: dict[str, str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    machines: dict[str, str] = field(default_factory=dict)

    def script(self, run: RunRecord, spec: TaskSpec, attempt: int) -> str:
        return f"#!/bin/sh\n# {run.id} {attempt} {run.created_at:.0f}\n{spec.command}\n"

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:  # noqa: ARG002
        self.asked_why.append(handle)
        if self.broken:
            raise ConnectionError("no way")
        return self.waits

    def where(self, handle: str) -> str:
        if self.broken:
            raise ConnectionError("no way")
        return self.machines.get(handle, "")

    def cost(self, job: Job) -> float | None:  # noqa: ARG002
        return None

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        return [
            Problem(self.remarked[task.image], task=task.id, field="image")
            for task in tasks
            if task.image in self.remarked
        ]

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        return {
            handle: Job("name", handle, JobState.RUNNING, log=self.running[handle])
            for handle in handles
            if handle in self.running
        }

    def why_no_log(self) -> str | None:
        return self.no_log

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:
        self.asked.append(limit)
        lines = self.logs.get(log)
        if lines is None:
            return LogPage("", None)
        kind, _, number = ("f", "", "0") if cursor is None else cursor.partition("/")
        if kind != "f" or not number.isdecimal():
            raise UnknownCursor("this cursor does not belong to this log")
        start = int(number)
        page = lines[start : start + limit]
        return LogPage("".join(page), f"f/{start + len(page)}")


@dataclass
class FakeUploads:
    """Uploads in memory."""

    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    most: int = 100 * 1024 * 1024
    numbers: Any = field(default_factory=lambda: count(1))

    def ticket(self, owner: str) -> UploadTicket:
        name = f"up-{next(self.numbers)}"
        return UploadTicket(name, f"https://example.org/{owner}/{name}", {"x-a": "b"}, 2000.0)

    def read(self, owner: str, upload_id: str, /) -> str:
        text = self.texts.get((owner, upload_id))
        if text is None:
            raise UnknownUpload(upload_id)
        if len(text) > self.most:
            raise TooLarge(f"the upload has {len(text):,} bytes, {self.most:,} are allowed")
        return text


@dataclass
class FakeDocuments:
    """Documents in a dictionary, by position, attempt and kind."""

    kept: dict[tuple[int, int, str], bytes] = field(default_factory=dict)

    def read(self, _: str, position: int, attempt: int, kind: DocumentKind) -> bytes | None:
        return self.kept.get((position, attempt, kind))

    def reports(self, run_id: str, position: int, attempt: int) -> list[Any]:
        found: list[Any] = json.loads(self.read(run_id, position, attempt, "errors") or b"[]")
        return found

    def url(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> str:
        return f"https://bucket.example.org/{run_id}/{position}/{attempt}/{kind}"


@dataclass
class FakeAudit:
    """The audit record in a list; it can be made to refuse."""

    begun: list[Act] = field(default_factory=list)
    ended: dict[str, Ended] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    asked: list[ActFilter] = field(default_factory=list)
    onward: str | None = None

    def begin(self, act: Act, /) -> None:
        if "begin" in self.broken:
            raise ConnectionError("no way")
        self.begun.append(act)

    def end(self, act: Act, ended: Ended, /) -> None:
        if "end" in self.broken:
            raise ConnectionError("no way")
        self.ended[act.action] = ended

    def acts(self, query: ActFilter, _now: float, /) -> tuple[list[Recorded], str | None]:
        self.asked.append(query)
        found = [Recorded(act, self.ended.get(act.action)) for act in reversed(self.begun)]
        return [each for each in found if query.takes(each)][: query.limit], self.onward


class Api:
    """A caller of the API, and hands on the store behind it.

    Every answer is held against the OpenAPI document.
    """

    def __init__(self, folder: Path, stack: Sequence[Mapping[str, Any]] = STACK) -> None:
        self.store = LoggedStore(folder / "hut.db")
        self.control = Control(self.store, check_document)
        self.backend = FakeBackend()
        self.backends = {"batch": self.backend}
        self.uploads = FakeUploads()
        self.audit = FakeAudit()
        self.documents = FakeDocuments()
        self.configurations = FakeConfigurations()
        self.active: dict[str, int] = {}
        self.now = 1000.0
        self.fault: Exception | None = None
        self.submissions: list[tuple[Submission, Setting]] = []
        self._numbers = count(1)
        self.pooling = pooling_of(self.store, lambda: self.now)
        self.services = Services(
            control=self.control,
            store=self.store,
            submit=self._submit,
            cancel=lambda run_id: self.control.cancel(run_id, self.now),
            retry=self._retry,
            backend=self.backends.get,  # type: ignore[arg-type]
            uploads=self.uploads,
            audit=self.audit,
            configuring=Configuring(self.configurations, stack, "hut"),
            registry=self.store.registry,
            documents=self.documents,
            active_on=lambda name: self.active.get(name, 0),
            pooling=lambda: self.pooling,
            clock=lambda: self.now,
            version="1.2.3",
            prefix="hut",
        )

    def _submit(self, submission: Submission, setting: Setting, /) -> tuple[RunRecord, Plan, bool]:
        if self.fault is not None:
            raise self.fault
        self.submissions.append((submission, setting))
        new_id = f"r{next(self._numbers):09}"
        run, plan = self.control.submit(submission, setting, now=self.now, new_id=new_id)
        return run, plan, run.id == new_id

    def _retry(self, run_id: str, everything: bool, /) -> tuple[int, RunRecord]:
        repeated = self.control.retry(run_id, self.now, everything=everything)
        return repeated, self.store.get_run(run_id)

    # Requests -----------------------------------------------------------------------------------

    def send(self, event: Mapping[str, Any]) -> Answer:
        answer = respond(event, None, lambda: self.services)
        assert answer["isBase64Encoded"] is False
        headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not any(name.lower().startswith("access-control-") for name in headers)
        method, path = event["httpMethod"], event["path"]
        check_answer(method, path, answer["statusCode"], headers["Content-Type"], answer["body"])
        return Answer(answer["statusCode"], headers, answer["body"])

    def get(self, path: str, **query: str | list[str]) -> Answer:
        return self.send(api_event("GET", path, query=query))

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        return self.send(api_event("POST", path, body=text, **more))

    def put(self, path: str, body: Any = None, **more: Any) -> Answer:
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        return self.send(api_event("PUT", path, body=text, **more))

    def delete(self, path: str, **more: Any) -> Answer:
        return self.send(api_event("DELETE", path, **more))

    def apply(self, *, arn: str = ALICE, **sections: Any) -> Answer:
        """Apply a configuration, whatever there is."""
        answer = self.put("/config", sections, headers={"If-Match": "*"}, arn=arn)
        assert answer.status in (200, 201), answer.body
        return answer

    def pages(self, path: str, **query: str) -> list[list[Any]]:
        """Return all pages of a list, found by the header."""
        found = []
        while True:
            answer = self.get(path, **query)
            assert answer.status == 200, answer.body
            found.append(answer.json)
            cursor = answer.headers.get("X-Next-Cursor")
            if cursor is None:
                assert "Link" not in answer.headers
                return found
            assert answer.headers["Link"].endswith('>; rel="next"')
            query["cursor"] = cursor

    # What happens in the meantime ---------------------------------------------------------------

    def run(self, *tasks: Mapping[str, Any], **fields: Any) -> str:
        """Submit tasks; a command is filled in where none is given."""
        entries = [{"command": "true", **task} for task in tasks]
        answer = self.post("/runs", {"tasks": entries, **fields})
        assert answer.status == 201, answer.body
        run_id: str = answer.json["id"]
        return run_id

    def claim(self, run_id: str, at_most: int = 100) -> dict[str, Claim]:
        epoch = self.store.begin_epoch(run_id, self.now).epoch
        claims = self.store.claim(ClaimRequest(run_id, epoch, self.now, at_most, "batch"))
        return {claim.spec.id: claim for claim in claims}

    def start(self, run_id: str, claim: Claim) -> None:
        handle = f"job-{claim.spec.id}-{claim.key.attempt}"
        self.store.record_started(run_id, [Start(claim.key, self.now, handle)])

    def end(self, run_id: str, claim: Claim, outcome: Outcome) -> None:
        handle = f"job-{claim.spec.id}-{claim.key.attempt}"
        end = self.control.end_of_attempt(claim, outcome, self.now, handle=handle)
        self.store.record_ended(run_id, [end])
        self.store.settle(run_id, self.now)

    def attempt(self, run_id: str, task_id: str, outcome: Outcome) -> None:
        """Let a ready task run once; what else is ready is given back."""
        claims = self.claim(run_id)
        claim = claims.pop(task_id)
        self.store.release_claims(run_id, [other.key for other in claims.values()])
        self.start(run_id, claim)
        self.now += 1
        self.end(run_id, claim, outcome)
