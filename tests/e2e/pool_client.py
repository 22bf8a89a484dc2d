"""A small worker, as a process: it speaks the protocol of pools, runs scripts and sends what they print.

``python -m tests.e2e.pool_client URL ENDPOINT POOL NAME SLOTS``; killed, it leaves no trace.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from hut.pools.logs import events, log_id, log_name
from hut.pools.port import Report, Started, Turn, WorkerSpec
from hut.pools.protocol import (
    join_document,
    read_answer,
    read_welcome,
    turn_document,
)

REGION = "us-east-1"


class Client:
    def __init__(self, url: str, endpoint: str, pool: str, name: str, slots: int) -> None:
        self.url, self.pool, self.slots = url, pool, slots
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.logs = boto3.client("logs", endpoint_url=endpoint, region_name=REGION, **keys)
        spec = WorkerSpec(name, {}, slots, host="here", pid=0, version="test")
        self.welcome = read_welcome(self.call(f"/pools/{pool}/workers", join_document(spec)))
        self.logs.create_log_stream(
            logGroupName=self.welcome.log_group, logStreamName=self.welcome.log_stream
        )
        self.running: dict[Any, tuple[Any, subprocess.Popen[bytes], float]] = {}
        self.waiting: list[Any] = []
        self.stopped: set[str] = set()
        self.runs = name != "idle"  # one of that name takes tasks and begins none

    def call(self, path: str, body: Any) -> Any:
        request = AWSRequest("POST", self.url + path, {}, json.dumps(body).encode())
        SigV4Auth(Credentials("test", "test"), "execute-api", REGION).add_auth(request)
        plain = urllib.request.Request(
            request.url, request.data, dict(request.headers), method="POST"
        )
        with urllib.request.urlopen(plain, timeout=60) as answer:
            return json.loads(answer.read())

    def log(self, order: Any, started: float) -> str:
        return log_name(
            self.welcome.log_stream, log_id(order.lease, order.part, order.epoch), started
        )

    def step(self) -> None:
        starts, reports = [], []
        for key, (order, process, at) in [*self.running.items()]:
            if process.poll() is None:
                continue
            assert process.stdout is not None
            self.ship(order, process.stdout.read().decode())
            del self.running[key]
            code = process.returncode
            how, exit_code, number = ("exit", code, None) if code >= 0 else ("signal", None, -code)
            if order.lease in self.stopped:
                how = "cancelled"
            reports.append(
                Report(
                    order.lease,
                    order.epoch,
                    how,
                    time.time(),
                    order.part,
                    exit_code,
                    number,
                    at,
                    log=self.log(order, at),
                )
            )
        while self.runs and self.waiting and len(self.running) < self.slots:
            order, at = self.waiting.pop(0), time.time()
            process = subprocess.Popen(
                ["/bin/sh", "-c", order.script],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.running[order.lease, order.part] = order, process, at
            starts.append(
                Started(order.lease, order.epoch, at, order.part, log=self.log(order, at))
            )
        has = [order for order, _, _ in self.running.values()] + self.waiting
        holding = tuple(dict.fromkeys(order.lease for order in has))
        want = max(self.slots * 2 - len(has), 0)
        turn = Turn(want, tuple(starts), tuple(reports), holding)
        path = f"/pools/{self.pool}/workers/{self.welcome.worker}/turn"
        answer = read_answer(self.call(path, turn_document(turn)))
        if answer.gone:
            sys.exit("gone")
        self.waiting += answer.tasks
        self.stopped |= set(answer.cancel)
        for lease in answer.cancel:
            for order, process, _ in self.running.values():
                if order.lease == lease:
                    os.killpg(process.pid, signal.SIGKILL)
        if not (answer.tasks or reports):
            time.sleep(0.2)

    def ship(self, order: Any, text: str) -> None:
        now = int(time.time() * 1000)
        log = log_id(order.lease, order.part, order.epoch)
        self.logs.put_log_events(
            logGroupName=self.welcome.log_group,
            logStreamName=self.welcome.log_stream,
            logEvents=[
                {"timestamp": now, "message": each} for each in events(log, text, last=True)
            ],
        )


def main() -> None:
    url, endpoint, pool, name, slots = sys.argv[1:]
    client = Client(url, endpoint, pool, name, int(slots))
    while True:
        client.step()


if __name__ == "__main__":
    main()
