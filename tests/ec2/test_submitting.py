"""Starting executions: once for each attempt, whatever fails, and on an idle instance where there is one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from hut.backends.ec2.launching import plan_launch
from hut.backends.pace import OwnBucket, Pace
from hut.backends.port import SubmitResult
from hut.model.states import Reason
from hut.model.workflow import TaskSpec
from hut.scheduling.pacing import Bucket
from tests.ec2.account import Account
from tests.ec2.fake_aws import refusal
from tests.ec2.plain_ec2 import options, request_of

TRUE = TaskSpec("t", "true")
NO_ANSWER = ReadTimeoutError(endpoint_url="x")
NOT_SENT = ConnectTimeoutError(endpoint_url="x")
SHAPE = plan_launch(options(reuse=True), request_of(TRUE), "bucket", 0.0).shape


def requests_of(number, spec=TRUE):
    return [request_of(spec, position=position) for position in range(number)]


def host_in(account: Account, name: str):
    return json.loads(account.states.executions[name].input)["host"]


def test_an_attempt_becomes_an_execution_of_its_name(account: Account):
    request = request_of(TRUE)
    assert account.backend().submit([request]) == [SubmitResult(request.name)]
    execution = account.states.executions[request.name]
    values = json.loads(execution.input)
    place = values["parameters"]["Payload"][0]
    assert json.loads(account.bucket.objects[place.removeprefix("s3://bucket/")])["attempt"]
    assert values["host"] is None


def test_the_same_again_is_the_same(account: Account):
    backend, request = account.backend(), request_of(TRUE)
    again = backend.submit([request]) + backend.submit([request])
    assert again == [SubmitResult(request.name)] * 2
    account.states.end(request.name)
    account.states.now += 50  # so the input is another one
    assert backend.submit([request]) == [SubmitResult(request.name)]
    assert len(account.states.executions) == 1


def test_what_can_never_run_does_not_hold_up_the_others(account: Account):
    requests = requests_of(3)
    requests[1] = request_of(TRUE._replace(partition="big"), position=1)
    first, second, third = account.backend().submit(requests)
    assert (first.handle, third.handle) == (requests[0].name, requests[2].name)
    assert second.outcome is not None
    assert second.outcome.reason is Reason.UNSATISFIABLE
    assert "no partition 'big'; known: default" in second.outcome.message
    assert len(account.bucket.objects) == 2


def test_a_payload_that_can_not_be_stored_starts_nothing(account: Account):
    account.bucket.before["put"] = [refusal("PutObject", "SlowDown", 503)]
    (result,) = account.backend().submit([request_of(TRUE)])
    assert (result.handle, result.outcome, result.is_unknown) == (None, None, False)
    assert "the payload could not be stored" in result.detail
    assert account.states.executions == {}


def test_a_lost_answer_is_asked_for_again(account: Account):
    account.states.after["start"] = [NO_ANSWER, refusal("StartExecution", "InternalFailure", 500)]
    request = request_of(TRUE)
    assert account.backend().submit([request]) == [SubmitResult(request.name)]
    assert account.client.count("start_execution") == 3
    assert account.slept == [0.5, 1.0]


def test_without_any_answer_it_is_left_to_the_sweep(account: Account):
    account.states.before["start"] = [NO_ANSWER] * 3
    (result,) = account.backend().submit([request_of(TRUE)])
    assert (result.handle, result.outcome, result.is_unknown) == (None, None, True)


REFUSALS = [
    (refusal("StartExecution", "StateMachineDoesNotExist"), None),
    (refusal("StartExecution", "ExecutionLimitExceeded"), None),
    (refusal("StartExecution", "AccessDeniedException"), None),
    (NOT_SENT, None),
    (refusal("StartExecution", "InvalidExecutionInput"), Reason.LAUNCH_FAILED),
    (refusal("StartExecution", "InvalidName"), Reason.LAUNCH_FAILED),
]


@pytest.mark.parametrize(("error", "reason"), REFUSALS)
def test_only_what_is_the_attempts_own_fault_ends_it(account: Account, error, reason):
    account.states.before["start"] = [error]
    (result,) = account.backend().submit([request_of(TRUE)])
    assert (result.handle, result.is_unknown) == (None, False)
    assert result.detail
    assert (result.outcome and result.outcome.reason) == reason


def test_a_throttled_start_stands_in_line_again(account: Account):
    throttled = refusal("StartExecution", "ThrottlingException")
    account.states.before["start"] = [throttled] * 2
    request = request_of(TRUE)
    assert account.backend().submit([request]) == [SubmitResult(request.name)]
    account.states.before["start"] = [throttled] * 9
    (result,) = account.backend().submit([request_of(TRUE, position=7)])
    assert result == SubmitResult(None, None, "throttled by AWS Step Functions")


def test_what_there_is_no_turn_for_comes_again(account: Account):
    shared = OwnBucket()
    shared.swap(0, Bucket(2.0, account.now + 9.0, account.now))
    backend = account.backend()
    pace = Pace(shared, most=2.0, clock=lambda: account.now, sleep=account.slept.append)
    backend._submitter._pace = backend._pace = pace
    results = backend.submit(requests_of(8))
    started = [result for result in results if result.handle]
    late = [result for result in results if result.handle is None]
    assert 0 < len(started) < 8
    assert all(result.again_at and result.again_at > account.now + 9 for result in late)
    assert not backend.place().has_room


# Reuse --------------------------------------------------------------------------------------------


def test_an_idle_instance_of_the_shape_is_taken(account: Account):
    fits, other = account.ec2.launch(1, "old"), account.ec2.launch(2, "old")
    account.hosts.rest(fits, account.now + 500, SHAPE)
    account.hosts.rest(other, account.now + 500, "another")
    requests = requests_of(2)
    account.active = 2
    account.backend(reuse=True).submit(requests)
    taken = [host_in(account, request.name) for request in requests]
    assert [host and host["instance"] for host in taken].count(fits) == 1
    assert taken.count(None) == 1
    owner = account.hosts.owners[fits]
    assert owner.name in {request.name for request in requests}
    assert (owner.at, owner.shape) == (account.now, SHAPE)
    assert set(account.hosts.free) == {other}


def test_without_reuse_nobody_looks(account: Account):
    account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, SHAPE)
    request = request_of(TRUE)
    account.backend().submit([request])
    assert host_in(account, request.name) is None


def test_an_instance_whose_time_is_nearly_over_is_not_taken(account: Account):
    account.hosts.rest(account.ec2.launch(1, "old"), account.now + 20, SHAPE)
    request = request_of(TRUE)
    account.backend(reuse=True).submit([request])
    assert host_in(account, request.name) is None


def test_of_two_takers_one_gets_it(account: Account):
    instance = account.ec2.launch(1, "old")
    for _ in range(20):
        account.states.executions.clear()
        account.hosts.rest(instance, account.now + 500, SHAPE)
        requests = requests_of(4)
        with ThreadPoolExecutor(4) as pool:
            backends = [account.backend(reuse=True) for _ in requests]
            list(
                pool.map(
                    lambda pair: pair[0].submit([pair[1]]), zip(backends, requests, strict=True)
                )
            )
        hosts = [host_in(account, request.name) for request in requests]
        assert len([host for host in hosts if host]) == 1
        winner = next(r.name for r, host in zip(requests, hosts, strict=True) if host)
        assert account.hosts.owners[instance].name == winner


def test_who_comes_second_gets_a_new_one(account: Account):
    host = account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, SHAPE)
    account.hosts.before_change = [lambda: account.hosts.take(host, "another", 0.0)]
    request = request_of(TRUE)
    account.backend(reuse=True).submit([request])
    assert host_in(account, request.name) is None
    assert account.hosts.owners[host.instance].name == "another"


@pytest.mark.parametrize(("error", "reason"), REFUSALS)
def test_an_instance_is_given_back_if_its_execution_did_not_start(account: Account, error, reason):
    host = account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, SHAPE)
    account.states.before["start"] = [error]
    account.backend(reuse=True).submit([request_of(TRUE)])
    assert account.hosts.free == {host.instance: host}


def test_a_throttled_start_takes_it_again(account: Account):
    host = account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, SHAPE)
    account.states.before["start"] = [refusal("StartExecution", "ThrottlingException")]
    request = request_of(TRUE)
    account.backend(reuse=True).submit([request])
    assert host_in(account, request.name)["instance"] == host.instance
    assert account.hosts.free == {}


def test_without_an_answer_it_stays_the_attempts(account: Account):
    host = account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, SHAPE)
    account.states.before["start"] = [NO_ANSWER] * 3
    request = request_of(TRUE)
    (result,) = account.backend(reuse=True).submit([request])
    assert result.is_unknown
    assert account.hosts.owners[host.instance].name == request.name
    assert account.hosts.free == {}


def test_an_instance_taken_for_an_execution_that_began_without_it_is_ended(account: Account):
    request = request_of(TRUE)
    account.backend(reuse=True).submit([request])
    host = account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, SHAPE)
    assert account.backend(reuse=True).submit([request]) == [SubmitResult(request.name)]
    assert account.hosts.owners == account.hosts.free == {}
    assert host.instance not in account.ec2.live


@pytest.mark.parametrize(
    ("most", "active", "left"), [(5, 2, 3), (4, 2, 2), (3, 2, 1), (2, 2, 0), (1, 2, 0), (4, 1, 3)]
)
def test_idle_instances_of_other_shapes_make_room(account: Account, most, active, left):
    for number in range(3):
        account.hosts.rest(account.ec2.launch(number, "old"), account.now + 100 + number, "another")
    account.active = active
    account.backend(reuse=True, max_instances=most).submit([request_of(TRUE)])
    assert len(account.hosts.free) == len(account.ec2.live) == left
    kept = sorted(host.until for host in account.hosts.free.values())
    assert kept == [account.now + 100 + number for number in range(3 - left, 3)]


def test_nobody_is_put_out_where_nothing_is_launched(account: Account):
    account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, "another")
    account.hosts.rest(account.ec2.launch(2, "old"), account.now + 500, SHAPE)
    account.active = 1
    account.backend(reuse=True, max_instances=1).submit([request_of(TRUE)])
    assert len(account.hosts.free) == 1


def test_one_that_is_taken_in_that_moment_is_not_ended(account: Account):
    host = account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, "another")
    account.hosts.before_change = [lambda: account.hosts.take(host, "another's", 0.0)]
    account.active = 1
    account.backend(reuse=True, max_instances=1).submit([request_of(TRUE)])
    assert host.instance in account.ec2.live


def test_a_fault_while_making_room_stops_nothing(account: Account):
    account.hosts.rest(account.ec2.launch(1, "old"), account.now + 500, "another")
    account.ec2.before["terminate"] = [refusal("TerminateInstances", "InternalError", 500)]
    account.active = 1
    request = request_of(TRUE)
    backend = account.backend(reuse=True, max_instances=1)
    assert backend.submit([request]) == [SubmitResult(request.name)]
    assert account.hosts.owners == {}  # it is nobody's: the sweep ends it
