"""The sweep's part: what nobody needs is ended, and nothing else."""

from __future__ import annotations

import pytest

from hut.backends.ec2.tidying import IDLE_SLACK, YOUNG_SECONDS
from hut.backends.hosts import Phase
from hut.backends.port import JobState
from hut.model.workflow import TaskSpec
from tests.ec2.account import Account
from tests.ec2.fake_aws import refusal
from tests.ec2.plain_ec2 import request_of

TRUE = TaskSpec("t", "true")
OLD = YOUNG_SECONDS + 1


def start(account: Account, number: int = 1) -> list[str]:
    requests = [request_of(TRUE, position=position) for position in range(number)]
    account.backend().submit(requests)
    return [request.name for request in requests]


def later(account: Account, seconds: float = OLD) -> None:
    account.states.now += seconds


def test_the_instance_of_an_execution_that_runs_is_left_alone(account: Account):
    (name,) = start(account)
    by_tag = account.ec2.launch(1, name, at=account.now)
    taken = account.ec2.launch(2, "hut-abcdefghij-9-1-1", at=account.now)
    account.hosts.own(taken, name, at=account.now)
    later(account)
    account.backend().tidy()
    assert account.ec2.live == {by_tag, taken}


@pytest.mark.parametrize("state", ["running", "pending", "stopping", "stopped"])
def test_an_instance_whose_execution_has_ended_is_ended(account: Account, state):
    (name,) = start(account)
    instance = account.ec2.launch(1, name, at=account.now)
    account.hosts.own(instance, name, at=account.now)
    account.ec2.instances[instance].state = state
    account.states.end(name)
    account.backend().tidy()
    assert instance in account.ec2.live  # it is young
    later(account)
    account.backend().tidy()
    assert instance not in account.ec2.live
    assert account.hosts.owners == {}


def test_an_instance_whose_launch_was_never_noted_is_found_by_its_tags(account: Account):
    instance = account.ec2.launch(1, "hut-abcdefghij-9-1-1", at=account.now)
    later(account)
    account.backend().tidy()
    assert instance not in account.ec2.live


def test_an_instance_that_was_just_taken_is_young(account: Account):
    instance = account.ec2.launch(1, "hut-abcdefghij-9-1-1", at=account.now)
    later(account)
    account.hosts.own(instance, "hut-abcdefghij-8-1-1", at=account.now)
    account.backend().tidy()
    assert instance in account.ec2.live
    later(account)
    account.backend().tidy()
    assert instance not in account.ec2.live


def test_a_list_that_lags_behind_ends_nothing(account: Account):
    (name,) = start(account)
    instance = account.ec2.launch(1, name, at=account.now)
    account.states.hidden.add(name)
    later(account)
    account.backend().tidy()
    assert instance in account.ec2.live


def test_others_instances_are_left_alone(account: Account):
    of_batch = account.ec2.launch(1)  # a host that has the deployment's tag from the stack
    of_another = account.ec2.launch(2, "lab-abcdefghij-9-1-1", hut="lab")
    later(account)
    account.backend().tidy()
    assert account.ec2.live == {of_batch, of_another}


def test_an_idle_instance_is_kept_until_its_time_is_over(account: Account):
    instance = account.ec2.launch(1, "hut-abcdefghij-9-1-1", at=account.now)
    until = account.now + 1800
    account.hosts.rest(instance, until, name="hut-abcdefghij-9-1-1")
    for at, is_there in (
        (until, True),
        (until + IDLE_SLACK, True),
        (until + IDLE_SLACK + 1, False),
    ):
        account.states.now = at
        account.backend().tidy()
        assert (instance in account.ec2.live) is is_there
    assert account.hosts.free == account.hosts.owners == {}


def test_an_idle_instance_that_is_gone_is_forgotten_when_its_time_is_over(account: Account):
    instance = account.ec2.launch(1, "hut-abcdefghij-9-1-1", at=account.now)
    until = account.now + 1800
    account.hosts.rest(instance, until, name="hut-abcdefghij-9-1-1")
    account.ec2.terminate_instances(InstanceIds=[instance])
    for at, is_noted in ((until + IDLE_SLACK, True), (until + IDLE_SLACK + 1, False)):
        account.states.now = at
        account.backend().tidy()
        assert (instance in account.hosts.free) is is_noted


def test_an_idle_instance_that_is_taken_in_that_moment_is_left_alone(account: Account):
    instance = account.ec2.launch(1, "hut-abcdefghij-9-1-1", at=account.now)
    host = account.hosts.rest(instance, account.now - 1000)
    later(account)
    account.hosts.before_change = [lambda: account.hosts.take(host, "new", account.now)]
    account.backend().tidy()
    assert instance in account.ec2.live
    assert account.hosts.owners[instance].name == "new"


def test_an_instance_that_becomes_idle_while_it_is_judged_is_left_alone(account: Account):
    (name,) = start(account)
    instance = account.ec2.launch(1, name, at=account.now)
    account.hosts.own(instance, name, at=account.now)
    later(account)
    read = account.hosts.hosts

    def reading(instances):
        owners = read(instances)
        account.hosts.rest(instance, account.now + 1800, name=name)
        account.states.end(name)
        return owners

    account.hosts.hosts = reading  # type: ignore[method-assign]
    account.backend().tidy()
    assert instance in account.ec2.live
    assert instance in account.hosts.free


def test_an_instance_that_is_taken_while_it_is_judged_is_left_alone(account: Account):
    instance = account.ec2.launch(1, "hut-abcdefghij-9-1-1", at=account.now)
    host = account.hosts.rest(instance, account.now + 1800, name="hut-abcdefghij-9-1-1")
    later(account)
    read = account.hosts.hosts

    def reading(instances):
        owners = read(instances)
        assert account.hosts.take(host, "new", account.now)
        return owners

    account.hosts.hosts = reading  # type: ignore[method-assign]
    account.backend().tidy()
    assert instance in account.ec2.live
    assert account.hosts.owners[instance].name == "new"


def test_what_could_not_be_ended_is_ended_by_the_next_sweep(account: Account):
    instances = [
        account.ec2.launch(number, f"hut-abcdefghij-{number}-1-1", at=account.now)
        for number in range(3)
    ]
    account.hosts.rest(instances[0], account.now - 1000)
    later(account)
    account.ec2.before["terminate"] = [refusal("TerminateInstances", "InternalError", 500)] * 4
    with pytest.raises(Exception, match="InternalError"):
        account.backend().tidy()
    assert account.ec2.live == set(instances)
    account.backend().tidy()
    assert account.ec2.live == set()


def test_without_time_nothing_is_begun(account: Account):
    for number in range(60):
        account.ec2.launch(number, f"hut-abcdefghij-{number}-1-1", at=account.now)
    later(account)
    times = iter([True, False])
    account.backend().tidy(lambda: next(times))
    assert len(account.ec2.live) == 10
    account.backend().tidy(lambda: True)
    assert account.ec2.live == set()


def test_the_jobs_that_have_run_for_a_while_are_returned(account: Account):
    names = start(account, 2)
    account.hosts.note(names[1], Phase.RUNNING, sent_at=1030.0, instance="i-1")
    assert account.backend().tidy() == []
    later(account, 101)
    (young,) = [request_of(TRUE, position=9)]
    account.backend().submit([young])
    waits, runs = account.backend().tidy()
    assert [(job.name, job.handle) for job in (waits, runs)] == [(name, name) for name in names]
    assert (waits.state, waits.created_at) == (JobState.WAITING, 1000.0)
    assert (runs.state, runs.started_at) == (JobState.RUNNING, 1030.0)
    assert runs.log == f"ec2/{names[1]}"
