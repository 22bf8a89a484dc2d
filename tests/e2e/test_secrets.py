"""Canaries: a text of its own in every place a secret can come in, and where all of them are afterwards.

What may be where stands in the reviewed table `tests/access/secrets.md`. The test compares it with what it
finds, both ways: a canary that is nowhere would say that the search sees nothing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import botocore.auth
import pytest

from tests.access.tables import HERE, rows
from tests.e2e.places import Places, everything, holds, watch_events
from tests.e2e.remote_hut import ROOT_CREDENTIALS, RemoteHut, until
from tests.testbed.running import REGION

TITLE = "comes in as"
_SECONDS = 180


@dataclass
class Canaries:
    """Texts that nothing else has, by what they come in as."""

    found: dict[str, str] = field(default_factory=dict)

    def __call__(self, what: str) -> str:
        return self.found.setdefault(what, f"canary{uuid.uuid4().hex[:20]}")

    def spelled(self, what: str) -> str:
        """Return a shell's word for it that does not hold it: what a command prints, not the command."""
        text = self(what)
        return f"{text[:9]}''{text[9:]}"


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
def seen(hut: RemoteHut) -> Iterator[Callable[[], Places]]:
    yield watch_events(hut.deployment)
    hut.call("PUT", "/config", {}, headers={"If-Match": "*"})


def reviewed() -> dict[str, set[str]]:
    """Return where each canary may be, and is."""
    table = [row for row in rows((HERE / "secrets.md").read_text()) if TITLE in row]
    return {
        row[TITLE]: {place.strip() for place in row["is in"].split(";")} - {"nothing"}
        for row in table
    }


def tasks_of(canaries: Canaries) -> list[dict[str, object]]:
    """Return tasks that go all ways through the control plane."""
    new = f'[{{"id": "new", "command": "echo {canaries.spelled("a generated command")}"}}]'
    command = f": {canaries('a command')}"
    return [
        {"id": "plain", "command": command, "env_vars": {"TOKEN": canaries("env_vars of a task")}},
        *({"id": f"same.{n}", "command": f"{command} {n} {'y' * 3000}"} for n in range(3)),
        {"id": "says", "command": f"echo {canaries.spelled('what a task prints')}"},
        {"id": "bad", "command": f"{command}; exit 3", "retries": 1},
        {"id": "gone", "command": command, "deps": ["bad"]},
        {"id": "strange", "command": command, "partition": "nowhere"},
        {"id": "makes", "command": f"echo '{new}' > g.json", "generates_source": "g.json"},
        {"id": "wrong", "command": f"{command}; echo x > w.json", "generates_source": "w.json"},
        {"id": "knows", "command": 'test -n "$SECRET"', "backend": "secretive"},
        {"id": "uses", "command": 'test -n "$SHARED"', "environment": "shared"},
        {
            "id": "own",
            "backend": "ec2",
            "command": f": {canaries('a command on an instance')}",
            "env_vars": {"TOKEN": canaries("a variable on an instance")},
        },
    ]


def configure(hut: RemoteHut, canaries: Canaries) -> None:
    made = hut.bed.client("secretsmanager").create_secret(
        Name=f"canary-{uuid.uuid4().hex[:8]}", SecretString=canaries("a secret's value")
    )
    backend = {"name": "secretive", "type": "batch", "secrets": {"SECRET": made["ARN"]}}
    shared = {
        "name": "shared",
        "variables": {"SHARED": canaries("a variable of the configuration")},
    }
    content = {"backends": [backend], "environments": [shared]}
    answer = hut.call("PUT", "/config", content, headers={"If-Match": "*"})
    assert answer.status in (200, 201), answer.text


def ask_signed(hut: RemoteHut, canaries: Canaries) -> None:
    """Send a request whose signature, headers and query are known."""
    secret = canaries("a header")
    request = hut.request("GET", f"/runs?workflow={canaries('a query')}", None, {"X-Some": secret})
    botocore.auth.SigV4Auth(ROOT_CREDENTIALS, "execute-api", REGION).add_auth(request)
    canaries.found["a signature"] = request.headers["Authorization"].rpartition("Signature=")[2]
    assert hut.send(request).status == 200


def ask_wrongly(hut: RemoteHut, canaries: Canaries) -> None:
    """Send what is refused, with values where only names of fields should be told of."""
    wrong = canaries("a workflow that is refused")
    hut.call("POST", "/runs", [{"id": "a", "command": wrong, "cpus": wrong}])
    hut.call("POST", "/runs", f'{{"tasks": "{wrong}'.encode())
    hut.call("PUT", "/config", {"environments": wrong}, headers={"If-Match": "*"})


def upload(hut: RemoteHut, canaries: Canaries) -> str:
    """Submit an uploaded file; return the run."""
    ticket = hut.call("POST", "/uploads").document
    canaries.found["a presigned address"] = ticket["url"].rpartition("Signature=")[2]
    body = json.dumps([{"id": "a", "command": f": {canaries('an uploaded command')}"}]).encode()
    address = ticket["url"].partition("?")[0].split("/", 3)[3].partition("/")
    hut.bed.client("s3").put_object(Bucket=address[0], Key=address[2], Body=body)
    answer = hut.call("POST", "/runs", {"upload": ticket["id"]})
    assert answer.status == 201, answer.text
    return str(answer.document["id"])


def submit_large(hut: RemoteHut, canaries: Canaries) -> str:
    """Submit a command that is too large for an item and for a job; return the run."""
    command = f": {canaries('a large command')} {os.urandom(110_000).hex()}"
    answer = hut.call("POST", "/runs", [{"id": "a", "command": command}])
    assert answer.status == 201, answer.text
    return str(answer.document["id"])


def test_secrets_are_where_they_may_be_and_nowhere_else(
    hut: RemoteHut, canaries: Canaries, seen: Callable[[], Places]
) -> None:
    configure(hut, canaries)
    file = hut.write(tasks_of(canaries), env_vars={"ALL": canaries("env_vars of a workflow")})
    begun = hut(
        *("run", file, "--detach", "-v", "--env", f"X={canaries('--env')}"),
        *("--idempotency-key", canaries("an idempotency key")),
        *("--tag", f"note={canaries('a tag')}"),
    )
    run = begun.stdout.strip()
    said = [begun.stderr]
    token = until(lambda: _token(hut, run), "the token of the execution")
    canaries.found["a task token"] = token
    runs = [upload(hut, canaries), submit_large(hut, canaries), run]
    for each in runs:
        hut.ended(each, _SECONDS)
    states = {task["id"]: task["state"] for task in hut.get(f"/runs/{run}/tasks").document}
    assert {states[name] for name in ("new", "knows", "uses", "own")} == {"completed"}
    ask_signed(hut, canaries)
    ask_wrongly(hut, canaries)
    for command in (("tasks", run), ("cancel", run), ("script", run, "plain")):
        said += [hut(*command, "-v", exit_code=None).stderr]
    hut.sweep()
    places = everything(hut, runs)
    places |= seen()
    places["what hutctl -v says"] = [text.encode() for text in said]
    found = {
        what: {
            place
            for place, contents in places.items()
            if any(holds(content, canary) for content in contents)
        }
        for what, canary in canaries.found.items()
    }
    expected = reviewed()
    assert found.keys() == expected.keys()
    wrong = {
        what: {"missing": expected[what] - found[what], "leaked": found[what] - expected[what]}
        for what in found
        if found[what] != expected[what]
    }
    assert not wrong


def _token(hut: RemoteHut, run: str) -> str | None:
    """Return the task token by which the end of a run's execution is told."""
    found = hut.bed.client("dynamodb").get_item(
        TableName=hut.deployment.outputs["TableName"],
        Key={"pk": {"S": f"RUN#{run}"}, "sk": {"S": "TOKEN"}},
    )
    return next((str(v["S"]) for k, v in found.get("Item", {}).items() if k == "token"), None)
