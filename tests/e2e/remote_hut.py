"""hutctl against a deployment on a test bed, and what a test looks at beside it."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.e2e.deployment import Deployment
from tests.hutctl_process import Hut
from tests.testbed.running import REGION, TestBed

__all__ = ["HOLD", "TERMINAL", "Answer", "RemoteHut", "until"]

HOLD = "while [ ! -e go ]; do sleep 0.1; done"
"""A command that goes on until `RemoteHut.go`."""

ROOT_CREDENTIALS = Credentials("test", "test")
"""Of the account itself, which may do everything."""

TERMINAL = ("completed", "failed", "cancelled")
_PAUSE = 0.1
_LIMIT = 30.0  # seconds; nothing that is waited for takes a tenth of it on an idle machine

_Found = TypeVar("_Found")


def until(find: Callable[[], _Found], what: str, seconds: float = _LIMIT) -> _Found:
    """Wait until something is found (true) and return it."""
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, f"it never happened: {what}"
        time.sleep(_PAUSE)
    return found


@dataclass(frozen=True)
class Answer:
    """What the REST API answers."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


@dataclass(kw_only=True)
class RemoteHut(Hut):
    """hutctl with a folder and a configuration of its own, whose target is a deployment.

    Its workflow files are in `folder`; tasks start in `home`, which belongs to this test.
    """

    deployment: Deployment

    @property
    def bed(self) -> TestBed:
        return self.deployment.bed

    @property
    def env(self) -> dict[str, str]:
        inherited = {k: v for k, v in self.bed.environment().items() if not k.startswith("HUT_")}
        return {
            **inherited,
            "HUT_HOME": str(self.folder / "local"),
            "XDG_CONFIG_HOME": str(self.folder / "xdg"),
            **self.environment,
        }

    def add_target(self, name: str = "bed") -> None:
        self("target", "add", name, "--url", self.deployment.url)
        self("target", "use", name)

    # Runs ---------------------------------------------------------------------------------------

    def start(self, tasks: Sequence[Mapping[str, Any]], *options: str, **fields: Any) -> str:
        """Submit a workflow; return the run's id."""
        return self("run", self.write(tasks, **fields), "--detach", *options).stdout.strip()

    def run(
        self, tasks: Sequence[Mapping[str, Any]], *, exit_code: int = 0, **fields: Any
    ) -> dict[str, Any]:
        """Run a workflow to its end; return the run."""
        found: dict[str, Any] = self.json("run", self.write(tasks, **fields), exit_code=exit_code)
        return found

    def show(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/runs/{run}").document
        return found

    def task(self, run: str, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/runs/{run}/tasks/{quote(task)}").document
        return found

    def ended(self, run: str, seconds: float = _LIMIT) -> dict[str, Any]:
        """Wait for the end of a run and of its execution; return the run."""

        def over() -> dict[str, Any] | None:
            found = self.show(run)
            return found if found["state"] in TERMINAL else None

        found = until(over, f"the end of run {run}", seconds)
        until(lambda: self.execution(run)["status"] != "RUNNING", f"the end of {run}'s execution")
        return found

    def reached(self, run: str, task: str, *states: str, seconds: float = _LIMIT) -> dict[str, Any]:
        """Wait until a task is in one of some states; return it."""

        def look() -> dict[str, Any] | None:
            answer = self.call("GET", f"/runs/{run}/tasks/{quote(task)}")
            if answer.status == 404:
                return None  # its block of the plan is not registered yet
            found: dict[str, Any] = answer.document
            return found if found["state"] in states else None

        return until(look, f"{task} of {run} is {' or '.join(states)}", seconds)

    # REST ---------------------------------------------------------------------------------------

    def get(self, path: str, **query: Any) -> Answer:
        """Ask the REST API; the answer must be a success."""
        answer = self.call("GET", path + (f"?{urlencode(query)}" if query else ""))
        assert answer.status == 200, f"{path}: {answer.status} {answer.text}"
        return answer

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        signed: bool = True,
        headers: Mapping[str, str] | None = None,
        by: Credentials = ROOT_CREDENTIALS,
    ) -> Answer:
        """Send a request to the REST API, signed by somebody."""
        request = self.request(method, path, body, headers)
        if signed:
            SigV4Auth(by, "execute-api", REGION).add_auth(request)
        return self.send(request)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> AWSRequest:
        """Return a request to the REST API that nobody has signed yet."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return AWSRequest(method, self.deployment.url + path, dict(headers or {}), data)

    @staticmethod
    def send(request: AWSRequest) -> Answer:
        """Send a request as it is."""
        plain = urllib.request.Request(
            request.url, request.data, dict(request.headers), method=request.method
        )
        try:
            with urllib.request.urlopen(plain, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())

    # AWS ----------------------------------------------------------------------------------------

    def execution(self, run: str, generation: int = 0) -> dict[str, Any]:
        """Describe the execution of a run."""
        machine = self.deployment.outputs["StateMachineArn"]
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{run}-{generation}"
        found: dict[str, Any] = self.bed.client("stepfunctions").describe_execution(
            executionArn=arn
        )
        return found

    def jobs(self, run: str) -> list[dict[str, Any]]:
        """Return all Batch jobs of a run, the first one first; of arrays, the children."""
        begin = f"{self.deployment.prefix}-{run}-"
        jobs = self.bed.hook("batch/jobs", {"name": begin})["jobs"]
        ours = [job for job in jobs if "size" not in job.get("arrayProperties", {})]
        return sorted(ours, key=lambda job: job["createdAt"])

    def job(self, run: str, task: str) -> dict[str, Any]:
        """Return the Batch job of a task's present attempt."""
        handle = self.task(run, task)["job_id"]
        return next(job for job in self.jobs(run) if job["jobId"] == handle)

    def force(self, job: Mapping[str, Any], status: str, **more: Any) -> None:
        """Let AWS put a job into a state."""
        self.bed.hook("batch/transition", {"jobId": job["jobId"], "status": status, **more})

    def sweep(self) -> dict[str, int]:
        """Let the schedule of the sweep fire; return what the sweep says it did."""
        fired = self.bed.hook("scheduler/fire", {"name": f"{self.deployment.prefix}-sweep"})
        assert not fired["error"], fired
        found: dict[str, int] = fired["result"]
        return found

    # Files --------------------------------------------------------------------------------------

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file tasks wrote to, in their home; none if it is not there."""
        try:
            return (self.bed.home / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def go(self) -> None:
        """Let commands that HOLD end."""
        (self.bed.home / "go").touch()

    def empty_home(self) -> None:
        for entry in self.bed.home.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
