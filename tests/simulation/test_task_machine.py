"""The machine "ec2-task" as it is deployed, by itself: every way an attempt can go, in virtual time."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hut.store.dynamodb.values import load_item
from tests.aws_table import Clients, new_options
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.ec2 import Launch, Nature, SimulatedEC2
from tests.simulation.fates import Fate
from tests.simulation.hosts import SimulatedAttempt, SimulatedHosts
from tests.simulation.logs import SimulatedLogs
from tests.simulation.s3 import SimulatedS3
from tests.simulation.ssm import SimulatedSSM
from tests.simulation.task_executions import Circumstances, TaskExecutions, task_machine
from tests.simulation.timeline import Timeline

NAME = "hut-run1-0-1-1"
NO_CAPACITY = (
    "InsufficientInstanceCapacity",
    "We currently do not have sufficient c5.xlarge capacity in the Availability Zone you requested",
)
ENDS = ("exit", "launch_failed", "startup_timeout", "timeout", "lost", "host_terminated")


class Stage:
    """EC2, SSM, a table and the machine; nothing of Hut but that."""

    def __init__(
        self,
        *,
        nature: Nature | None = None,
        fate: Fate | None = None,
        refuse: Callable[[Launch], tuple[str, str] | None] = lambda _: None,
        verdict: Callable[[str], str] = lambda _: "",
        nudged: bool = True,
        lag: float = 0.0,
    ) -> None:
        self.time = Timeline(1_800_000_000.0)
        clock, at = self.time.clock, self.time.at
        self.told: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.nudged = nudged
        self.dynamodb, self.s3 = SimulatedDynamoDB(clock), SimulatedS3(clock)
        options = new_options(Clients({"dynamodb": self.dynamodb, "s3": self.s3}))
        self.table, self.bucket = options.table, options.bucket
        self.logs = SimulatedLogs(clock)
        self.logs.create_log_group(logGroupName="/hut/jobs")
        self.ec2 = SimulatedEC2(
            clock, at, self._tell, nature=lambda _: nature or Nature(), refuse=refuse
        )
        self.hosts = SimulatedHosts(
            clock,
            at,
            self.ec2,
            self.s3,
            self.logs,
            fate=lambda _: fate or Fate(runs=40.0),
            changed=lambda _: None,
        )
        arrived = self.hosts.arrived
        self.ssm = SimulatedSSM(
            clock, at, self._tell, self.ec2, arrived=arrived, pauses=lambda _: 1.0 + lag
        )
        self.hosts.ssm = self.ssm

        def judge(label: str) -> str:
            self.calls.append(label.split()[1])
            return verdict(label)

        services = {"dynamodb": self.dynamodb, "ec2": self.ec2, "ssm": self.ssm, "sqs": self}
        machine = task_machine(self.table, "hut-task", "observe")
        chances = Circumstances(verdict=judge)
        self.machine = TaskExecutions(
            machine, clock, at, services, tell=self._tell, chances=chances
        )

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> Any:  # noqa: N803
        assert QueueUrl == "observe"
        self.sent.append(json.loads(MessageBody))
        return {"MessageId": "m"}

    def _tell(self, event: dict[str, Any]) -> None:
        self.told.append(event)
        token = self.job().get("token")
        if self.nudged and event["source"] != "aws.states" and token:
            execution = self.machine.executions[NAME]
            if execution.token == token:
                self.machine.send_task_success(taskToken=token, output="{}")

    def item(self, pk: str, sk: str) -> dict[str, Any]:
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        found = self.dynamodb.get_item(TableName=self.table, Key=key).get("Item")
        return {} if found is None else load_item(found)

    def job(self) -> dict[str, Any]:
        return self.item(f"EC2JOB#{NAME}", "JOB")

    def start(self, **given: Any) -> None:
        payload = {
            "attempt": NAME,
            "argv": ["sh", "-c", "_m=::hut:0123456789abcdef: ", "true"],
            "time_limit": 3600,
            "grace": 30,
            "log": {"group": "/hut/jobs", "stream": "ec2/x", "region": "us-east-1"},
            "idle_seconds": None,
            "slack": 1800,
        }
        self.s3.put_object(Bucket=self.bucket, Key="payload", Body=json.dumps(payload).encode())
        user_data = base64.b64encode(b"#!/bin/sh\nshutdown -h +45\n").decode()
        asked = {
            "name": NAME,
            "run": "run1",
            "task": "t",
            "attempt": 1,
            "backend": "ec2",
            "log": "ec2/x",
            "startup_timeout": 600,
            "launch_timeout": 3600,
            "time_limit": 3600,
            "deadline": 5400,
            "poll": 300,
            "expires": 1_900_000_000,
            "token": NAME,
            "common": {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "UserData": user_data},
            "launches": [
                {"InstanceType": "c5.xlarge", "SubnetId": "subnet-1"},
                {"InstanceType": "c5.2xlarge", "SubnetId": "subnet-2"},
            ],
            "host": None,
            "parameters": {
                "Attempt": [NAME],
                "Payload": [f"s3://{self.bucket}/payload"],
                "ExecutionTimeout": ["5400"],
            },
            "idle": None,
            **given,
        }
        self.machine.start_execution(name=NAME, input=json.dumps(asked), stateMachineArn="m")

    def run(self, **given: Any) -> dict[str, Any]:
        """Run it to its end; return the outcome document."""
        self.start(**given)
        while self.execution.status == "RUNNING":
            self.time.wait(5.0)
            assert self.time.now < 1_800_000_000 + 400_000, self.execution.state
        self.time.wait(120.0)
        if self.execution.status == "SUCCEEDED":
            return dict(self.execution.output)
        return dict(json.loads(self.execution.cause))

    @property
    def execution(self) -> Any:
        return self.machine.executions[NAME]

    @property
    def states(self) -> list[str]:
        return [each.state for each in self.ec2.instances.values()]


def test_a_task_that_completes() -> None:
    stage = Stage()
    found = stage.run()
    assert stage.execution.status == "SUCCEEDED"
    assert (found["reason"], found["exit_code"], found["capacity_errors"]) == ("exit", 0, 0)
    assert (found["type"], found["subnet"], found["spot"]) == ("c5.xlarge", "subnet-1", False)
    assert found["launched_at"] < found["sent_at"] < found["started_at"] < found["ended_at"]
    assert stage.states == ["terminated"]
    (start,) = stage.sent
    assert start["source"] == "hut.ec2"
    assert start["detail"]["instance"] == found["instance"]
    assert stage.item(f"HOST#{found['instance']}", "HOST")["name"] == NAME
    job = stage.job()
    assert (job["phase"], job["instance"], job["sent_at"]) == (
        "running",
        found["instance"],
        found["sent_at"],
    )


def test_the_exit_code_is_told_and_the_instance_ended() -> None:
    stage = Stage(fate=Fate(exit_code=3))
    found = stage.run()
    assert (stage.execution.status, stage.execution.error) == ("FAILED", "exit")
    assert (found["reason"], found["exit_code"]) == ("exit", 3)
    assert stage.states == ["terminated"]


def test_where_no_event_comes_it_looks_by_itself() -> None:
    stage = Stage(nudged=False, fate=Fate(runs=2000.0))
    begin = stage.time.now
    assert stage.run()["reason"] == "exit"
    assert stage.time.now - begin < 2000 + 600
    assert stage.execution.events < 400


def test_the_next_option_is_taken_where_capacity_is_short() -> None:
    stage = Stage(refuse=lambda launch: NO_CAPACITY if launch.type == "c5.xlarge" else None)
    found = stage.run()
    assert (found["type"], found["capacity_errors"]) == ("c5.2xlarge", 1)
    first, second = stage.ec2.launches
    assert first.token != second.token


def test_capacity_is_waited_for() -> None:
    stage = Stage(refuse=lambda launch: NO_CAPACITY if launch.number <= 5 else None)
    stage.start()
    stage.time.wait(8.0)
    job = stage.job()
    assert (job["phase"], job["capacity_errors"]) == ("launching", 2)
    assert "sufficient c5.xlarge capacity" in job["said"]
    stage = Stage(refuse=lambda launch: NO_CAPACITY if launch.number <= 5 else None)
    assert stage.run()["capacity_errors"] == 5


def test_and_given_up_in_time() -> None:
    stage = Stage(refuse=lambda _: NO_CAPACITY)
    begin = stage.time.now
    found = stage.run(launch_timeout=600)
    assert found["reason"] == "no_capacity"
    assert "capacity" in found["message"]
    assert 600 <= stage.time.now - begin < 1100
    assert not stage.ec2.instances


def test_what_ec2_refuses_for_good_is_told_in_its_words() -> None:
    refused = ("UnauthorizedOperation", "You are not authorized to perform this operation.")
    stage = Stage(refuse=lambda _: refused)
    found = stage.run()
    assert found["reason"] == "launch_failed"
    assert refused[1] in found["message"]
    assert len(stage.ec2.launches) == 1


def test_throttled_launches_are_repeated_under_their_token() -> None:
    throttled = ("RequestLimitExceeded", "Request limit exceeded.")
    stage = Stage(refuse=lambda launch: throttled if launch.number < 4 else None)
    assert stage.run()["reason"] == "exit"
    assert len({launch.token for launch in stage.ec2.launches}) == 1


def test_an_answer_that_is_lost_launches_no_second_instance() -> None:
    lost: list[str] = []

    def verdict(label: str) -> str:
        if label.split()[1] == "run_instances" and not lost:
            lost.append(label)
            return "unanswered"
        return ""

    stage = Stage(verdict=verdict)
    assert stage.run()["reason"] == "exit"
    assert len(stage.ec2.instances) == 1
    assert len(stage.ec2.launches) == 1


def test_an_instance_that_never_comes_online_is_given_up() -> None:
    stage = Stage(nature=Nature(online=None))
    found = stage.run()
    assert found["reason"] == "startup_timeout"
    assert stage.states == ["terminated"]
    assert stage.time.now - 1_800_000_000 < 600 + 200


def test_an_instance_that_ends_while_it_boots() -> None:
    assert Stage(nature=Nature(is_broken=True)).run()["reason"] == "host_terminated"


def test_an_instance_that_is_seen_late() -> None:
    stage = Stage(nature=Nature(seen=60.0, stale=30.0, online=90.0))
    assert stage.run()["reason"] == "exit"
    assert stage.states == ["terminated"]


@pytest.mark.parametrize("stale", [0.0, 15.0])
def test_a_signal_that_is_the_end_of_the_instance_is_told_as_that(stale: float) -> None:
    nature = Nature(dies=100.0, tells=True, stale=stale)
    stage = Stage(nature=nature, fate=Fate(runs=3000.0))
    assert stage.run()["reason"] == "host_terminated"


@pytest.mark.parametrize("nudged", [True, False])
def test_an_instance_that_is_taken_away(nudged: bool) -> None:
    stage = Stage(nature=Nature(dies=100.0), fate=Fate(runs=3000.0), nudged=nudged)
    found = stage.run()
    assert found["reason"] == "host_terminated"
    assert "Server.InternalError" in found["message"]
    assert stage.time.now - 1_800_000_000 < (100 if nudged else 400) + 200


def test_a_spot_instance_that_is_reclaimed() -> None:
    stage = Stage(nature=Nature(dies=100.0), fate=Fate(runs=3000.0))
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    launches = [{"InstanceType": "c5.xlarge", "SubnetId": "subnet-1", **market}]
    found = stage.run(launches=launches)
    assert (found["reason"], found["spot"]) == ("host_terminated", True)
    assert "spot" in found["message"].lower()


@pytest.mark.parametrize(
    ("how", "ends", "reason"),
    [
        ("signal", False, "signal"),
        ("signal", True, "host_terminated"),
        ("timeout", True, "timeout"),
        ("out_of_memory", False, "out_of_memory"),
    ],
)
def test_a_report_that_comes_as_the_instance_ends(how: str, ends: bool, reason: str) -> None:
    stage = Stage(nudged=False)
    exits = stage.hosts._exit

    def exit_with_it(attempt: SimulatedAttempt, _: str) -> None:
        exits(attempt, how)
        if ends:
            end = partial(stage.ec2.terminate_instances, InstanceIds=[attempt.instance.id])
            stage.time.at(stage.time.now + 2.0, end)

    stage.hosts._exit = exit_with_it  # type: ignore[method-assign]
    found = stage.run()
    assert found["reason"] == reason
    assert (found["exit_code"] is None) == (reason == "host_terminated")
    assert stage.states == ["terminated"]


def test_a_command_that_does_not_end_is_given_up() -> None:
    stage = Stage(fate=Fate(runs=3000.0, stops=30.0))
    assert stage.run(deadline=900, time_limit=600)["reason"] == "timeout"
    assert stage.states == ["terminated"]


def test_a_start_that_can_not_be_told_keeps_nobody() -> None:
    stage = Stage(verdict=lambda label: "broken" if "send_message" in label else "")
    assert stage.run()["reason"] == "exit"
    assert not stage.sent


@pytest.mark.parametrize("operation", ["update_item", "transact_write_items", "put_item"])
@pytest.mark.parametrize("happens", ["throttled", "broken", "unanswered", "raced"])
def test_a_table_that_can_not_be_written_for_good_leaves_no_instance(
    operation: str, happens: str
) -> None:
    stage = Stage(verdict=lambda label: happens if operation in label else "")
    found = stage.run()
    assert found["reason"] in ("exit", "lost")
    assert set(stage.states) <= {"terminated"}


@pytest.mark.parametrize(
    "operation",
    [
        "describe_instances",
        "describe_instance_information",
        "send_command",
        "get_command_invocation",
    ],
)
@pytest.mark.parametrize("happens", ["throttled", "broken", "unanswered"])
def test_a_service_that_does_not_answer_for_good_leaves_no_instance(
    operation: str, happens: str
) -> None:
    stage = Stage(verdict=lambda label: happens if operation in label else "")
    found = stage.run()
    assert found["reason"] in ENDS
    assert stage.states == ["terminated"]


def test_any_call_may_fail_once() -> None:
    whole = Stage()
    whole.run()
    for number in range(len(whole.calls)):
        for happens in ("throttled", "broken", "unanswered"):
            stage, found = _calls_with(number, happens)
            assert found["reason"] == "exit", (number, happens, stage.calls[number])
            assert found["exit_code"] == 0
            assert stage.states == ["terminated"]


def _calls_with(number: int, happens: str) -> tuple[Stage, dict[str, Any]]:
    seen = iter(range(10_000))
    stage = Stage(verdict=lambda _: happens if next(seen) == number else "")
    return stage, stage.run()


IDLE = {"seconds": 600, "shape": "abc"}


def test_an_instance_is_kept_for_the_next() -> None:
    stage = Stage(fate=Fate(exit_code=3))
    found = stage.run(idle=IDLE)
    assert found["exit_code"] == 3
    assert stage.states == ["running"]
    item = stage.item("IDLE#ec2", f"abc#{found['instance']}")
    assert (item["instance"], item["type"], item["spot"]) == (found["instance"], "c5.xlarge", False)
    assert item["until"] == pytest.approx(stage.execution.ended_at + 600, abs=2)


def test_but_not_one_that_another_has_taken_meanwhile() -> None:
    stage = Stage(fate=Fate(runs=60.0))
    stage.start(idle=IDLE)
    stage.time.wait(50.0)
    (name,) = stage.ec2.instances
    key = {"pk": {"S": f"HOST#{name}"}, "sk": {"S": "HOST"}}
    stage.dynamodb.put_item(TableName=stage.table, Item={**key, "name": {"S": "another"}})
    stage.time.wait(300.0)
    assert stage.execution.status == "SUCCEEDED"
    assert stage.states == ["running"]
    assert not stage.item("IDLE#ec2", f"abc#{name}")


def test_a_host_that_was_taken_runs_it_at_once() -> None:
    stage = Stage()
    stage.ec2.run_instances(MinCount=1, MaxCount=1, InstanceType="c5.xlarge", ClientToken="t")
    stage.time.wait(60.0)
    (name,) = stage.ec2.instances
    found = stage.run(host={"instance": name, "type": "c5.xlarge", "spot": False})
    assert (found["reason"], found["instance"], found["launched_at"]) == ("exit", name, None)
    assert found["sent_at"] - 1_800_000_060 < 3
    assert stage.states == ["terminated"]


def test_a_host_that_is_gone_is_given_up_for_a_new_one() -> None:
    stage = Stage()
    stage.ec2.run_instances(MinCount=1, MaxCount=1, InstanceType="c5.xlarge", ClientToken="t")
    stage.time.wait(60.0)
    (name,) = stage.ec2.instances
    stage.ec2.terminate_instances(InstanceIds=[name])
    found = stage.run(host={"instance": name, "type": "c5.xlarge", "spot": False})
    assert found["reason"] == "exit"
    assert found["instance"] != name
    assert stage.states == ["terminated", "terminated"]


def test_a_long_task_fits_the_history() -> None:
    limit = 46 * 3600
    stage = Stage(fate=Fate(runs=limit - 60.0), nudged=False)
    stage.start(time_limit=limit, deadline=limit + 1800)
    payload = json.loads(stage.s3.get_object(Bucket=stage.bucket, Key="payload")["Body"].read())
    payload["time_limit"] = limit
    stage.s3.put_object(Bucket=stage.bucket, Key="payload", Body=json.dumps(payload).encode())
    stage.time.wait(limit + 4000.0)
    assert stage.execution.status in ("SUCCEEDED", "FAILED")
    assert stage.execution.events < 20_000
