"""An instance for the agent's tests: a folder, a PATH of its own, and a small AWS.

The agent is started as SSM does it, by the shell text of the document. Nothing in its PATH can reach
this machine: ``shutdown`` and ``docker`` are stand-ins. ``HUT_TEST_HOST_PYTHON`` names another Python for
the agent than the one that runs the tests.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hut.backends.ec2.document import document_content

FAKE_DOCKER = Path(__file__).with_name("fake_docker.py")
TOOLS = ("sh", "bash", "cat", "env", "mkdir", "rm", "seq", "sleep", "true", "wc", "yes", "head")
NAME = "hut-01hxyz-4-1-2"


class SmallAws:
    """S3, CloudWatch Logs, ECR and IMDS, as far as the agent asks them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.streams: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.failures: dict[str, list[tuple[int, str]]] = {}
        self.away: set[str] = set()
        self.reject: dict[str, int] = {}
        self.expiration = "2099-01-01T00:00:00Z"
        self.lock = threading.Lock()
        self.actions: dict[str, Callable[[str, bytes], tuple[int, bytes]]] = {
            "GetObject": self.get_object,
            "Token": self.token,
            "Metadata": self.metadata,
            "CreateLogStream": self.create_log_stream,
            "PutLogEvents": self.put_log_events,
            "GetAuthorizationToken": self.get_authorization_token,
        }
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do()

            do_PUT = do_POST = do_GET  # noqa: N815

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with world.lock:
                    name = world.name_of(self.command, self.path, self.headers)
                    headers = {key.lower(): value for key, value in self.headers.items()}
                    world.calls.append((name, headers, body))
                    status, answer = world.answer(name, self.path, body)
                if status == 0:  # no answer at all
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def name_of(self, method: str, path: str, headers: Any) -> str:
        target = headers.get("X-Amz-Target", "")
        if target:
            return target.partition(".")[2]
        if path.startswith("/latest/"):
            return "Token" if method == "PUT" else "Metadata"
        return "GetObject"

    def answer(self, name: str, path: str, body: bytes) -> tuple[int, bytes]:
        if name in self.away:
            return 503, b""
        if self.failures.get(name):
            status, code = self.failures[name].pop(0)
            text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
            if name != "GetObject":
                text = json.dumps({"__type": f"com.amazon#{code}", "message": "no"})
            return status, text.encode()
        return self.actions[name](path, body)

    def get_object(self, path: str, _: bytes) -> tuple[int, bytes]:
        if path in self.objects:
            return 200, self.objects[path]
        return 404, b"<Error><Code>NoSuchKey</Code><Message>It does not exist.</Message></Error>"

    def token(self, *_: Any) -> tuple[int, bytes]:
        return 200, b"metadata-token"

    def metadata(self, path: str, _: bytes) -> tuple[int, bytes]:
        if path.endswith("placement/region"):
            return 200, b"eu-north-1"
        if path.endswith("security-credentials/"):
            return 200, b"task-role\n"
        keys = {"AccessKeyId": "ROLE", "SecretAccessKey": "s", "Token": "t"}
        return 200, json.dumps({**keys, "Expiration": self.expiration}).encode()

    def create_log_stream(self, _: str, body: bytes) -> tuple[int, bytes]:
        asked = json.loads(body)
        key = asked["logGroupName"], asked["logStreamName"]
        if key in self.streams:
            return 400, b'{"__type": "ResourceAlreadyExistsException", "message": "it is there"}'
        self.streams[key] = []
        return 200, b""

    def put_log_events(self, _: str, body: bytes) -> tuple[int, bytes]:
        asked = json.loads(body)
        stream = self.streams.get((asked["logGroupName"], asked["logStreamName"]))
        if stream is None:
            return 400, b'{"__type": "ResourceNotFoundException", "message": "no such stream"}'
        events = asked["logEvents"]
        size = sum(len(event["message"].encode()) + 26 for event in events)
        times = [event["timestamp"] for event in events]
        if not 1 <= len(events) <= 10_000 or size > 1_048_576 or times != sorted(times):
            return 400, b'{"__type": "InvalidParameterException", "message": "a bad batch"}'
        if not all(event["message"] for event in events):
            return 400, b'{"__type": "InvalidParameterException", "message": "empty message"}'
        stream.extend(events)
        answer = {"rejectedLogEventsInfo": self.reject} if self.reject else {}
        return 200, json.dumps(answer).encode()

    def get_authorization_token(self, *_: Any) -> tuple[int, bytes]:
        token = base64.b64encode(b"AWS:ecr-password").decode()
        return 200, json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()

    def count(self, name: str) -> int:
        with self.lock:
            return sum(call[0] == name for call in self.calls)


class World:
    """An instance, and what a test asks of it."""

    def __init__(self, folder: Path, aws: SmallAws) -> None:
        self.folder, self.aws = folder, aws
        self.bin, self.host, self.home = (folder / name for name in ("bin", "host", "home"))
        self.bin.mkdir()
        self.home.mkdir()
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        (self.bin / "python3").symlink_to(os.environ.get("HUT_TEST_HOST_PYTHON", sys.executable))
        self.program("shutdown", f'echo "$*" >>{folder}/shutdowns')
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "HUT_HOST_DIR": str(self.host),
            "HUT_HOST_PACE": "0.02",
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url,
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": "SECRET",
            "HUT_TESTBED_INSTANCE": str(folder),
        }
        for name in ("shutdown", "docker", "dnf", "yum", "apt-get", "systemctl", "service"):
            found = shutil.which(name, path=self.environment["PATH"])
            assert found is None or Path(found).parent == self.bin, f"{name} is the real one"
        self._processes: list[subprocess.Popen[str]] = []

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def with_docker(self) -> World:
        self.program("docker", f'exec {shlex.join([sys.executable, "-I", str(FAKE_DOCKER)])} "$@"')
        return self

    @property
    def docker(self) -> Path:
        folder = self.host / "docker"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def docker_calls(self, *words: str) -> list[dict[str, Any]]:
        path = self.docker / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if not words or set(words) <= set(call.get("argv") or call)]

    def payload(self, script: str, *, name: str = NAME, **fields: Any) -> None:
        document = {
            "attempt": name,
            "image": None,
            "argv": ["/bin/sh", "-c", script],
            "env": {},
            "gpus": None,
            "time_limit": 60,
            "grace": 5,
            "log": {"group": "/hut", "stream": f"hut/{name}", "region": "eu-north-1"},
            "idle_seconds": None,
            "slack": 600,
            "region": "eu-north-1",
            **fields,
        }
        self.aws.objects[f"/bucket/scripts/{name}"] = json.dumps(document).encode()

    def begin(self, name: str = NAME, *, region: str = "eu-north-1") -> subprocess.Popen[str]:
        """Start a command, as SSM's agent does it."""
        [step] = document_content()["mainSteps"]
        text = "\n".join(step["inputs"]["runCommand"])
        values = {"Attempt": name, "Payload": f"s3://bucket/scripts/{name}", "Region": region}
        for parameter, value in values.items():
            text = text.replace(f"{{{{ {parameter} }}}}", value)
        script = self.folder / f"script-{len(self._processes)}"
        script.write_text(text)
        process = subprocess.Popen(
            ["/bin/sh", str(script)],
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
        [line] = output.splitlines()
        report: dict[str, Any] = json.loads(line)
        assert list(report) == ["how", "exit_code", "started", "ended", "said"]
        return report

    def run(self, script: str, **fields: Any) -> dict[str, Any]:
        self.payload(script, **fields)
        return self.end(self.begin(fields.get("name", NAME)))

    def agent_of(self, process: subprocess.Popen[str]) -> int:
        """Return the process id of the agent a command's shell has started, once it heeds signals."""
        pid = int(wait_for(lambda: _child_with(process.pid, "-I")))
        wait_for(lambda: _heeds(pid, signal.SIGTERM))
        return pid

    def log(self, name: str = NAME) -> list[str]:
        return [event["message"] for event in self.events(name)]

    def events(self, name: str = NAME) -> list[dict[str, Any]]:
        with self.aws.lock:
            return list(self.aws.streams.get(("/hut", f"hut/{name}"), []))

    def shutdowns(self) -> list[str]:
        path = self.folder / "shutdowns"
        return path.read_text().splitlines() if path.exists() else []

    def clean(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if (self.bin / "docker").exists():
            subprocess.run([str(self.bin / "docker"), "kill-all"], env=self.environment, check=True)
        mark = f"HUT_TESTBED_INSTANCE={self.folder}".encode()
        left = [pid for pid in processes_with(mark) if pid != os.getpid()]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, "the agent has left processes"


@contextmanager
def small_aws() -> Iterator[SmallAws]:
    aws = SmallAws()
    thread = threading.Thread(target=aws.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield aws
    finally:
        aws.server.shutdown()
        thread.join()
        aws.server.server_close()


def wait_for(find: Any, seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes_with(mark: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0") and is_running(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _heeds(pid: int, number: int) -> bool:
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (number - 1) & 1)


def _child_with(parent: int, word: str) -> int | None:
    """Return the child that runs the agent, not the one that unpacks it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            above = int(path.read_text().rpartition(")")[2].split()[1])
            words = path.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if above == parent and word.encode() in words and b"-c" not in words:
            return int(path.parent.name)
    return None
