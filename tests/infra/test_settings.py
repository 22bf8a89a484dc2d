from __future__ import annotations

import json

import pytest

from infra.settings import JobQueue, Settings, SettingsError, read_settings

ARN = "arn:aws:batch:eu-west-1:123456789012:job-queue/mine"
QUEUES = {"main": {"arn": ARN, "platform": "fargate"}}


def test_nothing_given_is_all_defaults() -> None:
    settings = read_settings({"@aws-cdk/core:something": True})
    assert settings == Settings()
    assert settings.prefix == "hut"
    assert (settings.data_days, settings.log_days, settings.sweep_minutes) == (90, 30, 2)
    assert settings.keeps_data
    assert settings.makes_compute


def test_the_command_line_wins_and_is_text() -> None:
    settings = read_settings(
        {
            "hut": {"prefix": "lab", "data_days": 30, "reserve_sweep": True},
            "hut:prefix": "night",
            "hut:log_days": "7",
            "hut:reserve_sweep": "false",
            "hut:instance_types": "m7i, c7i.large",
        }
    )
    assert settings == Settings(
        prefix="night",
        data_days=30,
        log_days=7,
        reserve_sweep=False,
        instance_types=("m7i", "c7i.large"),
    )


def test_the_whole_object_may_come_as_text() -> None:
    assert read_settings({"hut": json.dumps({"prefix": "lab"})}).prefix == "lab"


@pytest.mark.parametrize("given", [QUEUES, json.dumps(QUEUES)])
def test_existing_queues(given: object) -> None:
    settings = read_settings({"hut": {"queues": given, "default_partition": "main"}})
    assert settings.queues == {"main": JobQueue(ARN, "FARGATE")}
    assert settings.partitions == {"main": "FARGATE"}
    assert not settings.makes_compute


def test_queues_with_scheduling_policies() -> None:
    queues = {**QUEUES, "fair": {"arn": ARN, "platform": "EC2", "scheduling_policy": True}}
    settings = read_settings(
        {"hut": {"queues": queues, "default_partition": "main", "share_by": "workflow"}}
    )
    assert settings.scheduling_policies == ["fair"]
    assert read_settings({"hut:fair_share": "true"}).scheduling_policies == list(
        Settings().partitions
    )
    assert Settings().scheduling_policies == []


def test_null_and_empty_mean_not_given() -> None:
    assert read_settings({"hut": {"vpc_id": None}, "hut:region": ""}) == Settings()


def test_an_account_may_be_a_number() -> None:
    assert read_settings({"hut": {"account": 123456789012}}).account == "123456789012"


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(
            {
                "hut": {"prefix": "My-Hut", "data_days": 0, "removal": "keep"},
                "hut:sweep_minutes": "soon",
                "hut:regionn": "eu-west-1",
            }
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert "hut:prefix: must be 2 to 12 lower-case letters and digits" in text
    assert "hut:data_days: must be a whole number from 1 to 3650, not 0" in text
    assert "hut:removal: must be retain or destroy, not 'keep'" in text
    assert "hut:sweep_minutes: must be a whole number" in text
    assert "hut:regionn is not known; did you mean 'region'?" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prefix": "h"}, "2 to 12"),
        ({"prefix": "1hut"}, "a letter first"),
        ({"prefix": "hut-a"}, "letters and digits"),
        ({"prefix": "abcdefghijklm"}, "2 to 12"),
        ({"region": "Europe"}, "a region such as"),
        ({"account": "12"}, "12 digits"),
        ({"vpc_id": "vpc-0123456789abcdef0"}, "go together"),
        ({"subnet_ids": ["subnet-0123456789abcdef0"]}, "go together"),
        ({"subnet_ids": ["one"]}, "'one' is none"),
        ({"security_group_ids": ["sg-0123456789abcdef0"]}, "give hut:vpc_id"),
        ({"queues": {"main": {"arn": ARN}}}, "an object with arn and platform"),
        (
            {"queues": {"main": {**QUEUES["main"], "scheduling_policy": "may be"}}},
            "scheduling_policy of queue 'main'",
        ),
        ({"submit_rate": 51}, "submit_rate"),
        ({"share_by": "workflow"}, "without a queue that has a scheduling policy"),
        (
            {"queues": QUEUES, "default_partition": "main", "fair_share": True},
            "hut:fair_share has no use beside hut:queues",
        ),
        ({"queues": {"main": {"arn": "mine", "platform": "EC2"}}}, "must be an ARN"),
        ({"queues": {"main": {"arn": ARN, "platform": "EKS"}}}, "EC2 or FARGATE, not 'EKS'"),
        ({"queues": "main"}, "must be a JSON object"),
        ({"queues": QUEUES}, "there is no queue 'fargate'"),
        (
            {"queues": QUEUES, "default_partition": "main", "disk_gib": 50},
            "hut:disk_gib has no use beside hut:queues",
        ),
        ({"default_partition": "fargat"}, "did you mean 'fargate'"),
        ({"job_role_arn": "arn:aws:iam::123456789012:user/me"}, "must be an ARN"),
        ({"bundle": "docker"}, "lambda or host"),
        ({"max_vcpus": True}, "a whole number"),
        ({"reserve_sweep": "maybe"}, "true or false"),
        ({"default_image": ""}, None),
        ({"default_image": "two words"}, "an image such as"),
        ({"instance_types": []}, "must be a list"),
        ({"alarm_email": "me"}, "an address such as"),
        ({"alarms": False, "alarm_email": "me@example.org"}, "has no use without alarms"),
    ],
)
def test_what_is_wrong_and_what_would_be_right(given: dict[str, object], said: str | None) -> None:
    if said is None:
        assert read_settings({"hut": given}) == Settings()
        return
    with pytest.raises(SettingsError, match="context of the CDK app") as caught:
        read_settings({"hut": given})
    assert said in str(caught.value)


def test_hut_itself_must_be_an_object() -> None:
    with pytest.raises(SettingsError, match="hut: must be an object"):
        read_settings({"hut": ["prefix"]})


SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-AbCdEf"


def test_what_jobs_have_in_common() -> None:
    given = {
        "retry_attempts": 2,
        "secrets": {"TOKEN": SECRET},
        "shared_memory": "1G",
        "volumes": [{"efs": "fs-0123abcd", "mount": "/data"}],
        "cpu_architecture": "ARM64",
    }
    settings = read_settings({"hut": given})
    assert settings.jobs == given
    on_the_command_line = {
        f"hut:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in given.items()
    }
    assert read_settings(on_the_command_line) == settings
    jobs, faults = settings.job_settings()
    assert faults == []
    assert (jobs.retry_attempts, jobs.shared_memory) == (2, 1024)
    assert dict(jobs.architectures) == {"fargate": "ARM64", "fargate-spot": "ARM64"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"retry_attempts": 11}, "hut:retry_attempts: 11 is not a whole number from 1 to 10"),
        ({"secrets": {"A": "x"}}, "hut:secrets.A: must be the ARN"),
        ({"volumes": [{"efs": "fs-0123abcd"}]}, "hut:volumes[0].mount: is missing"),
        ({"prices": {"gpu": {}}}, "hut:prices.gpu: there is no such queue"),
        ({"job_log_group": "/lab"}, "has no use without hut:job_definition"),
        ({"job_log_group": "a b"}, "a log group such as /lab/jobs"),
        ({"job_definition": "d", "default_image": "i"}, "hut:default_image has no use beside"),
        ({"job_definition": "d", "secrets": {"A": SECRET}}, "hut:secrets: has no use beside"),
        ({"job_definition_mode": "revisions"}, "hut:job_definition_mode: has no use without"),
        (
            {"queues": QUEUES, "default_partition": "main", "shared_memory": 64},
            "hut:shared_memory: is for EC2 only",
        ),
        ({"secret": {}}, "did you mean 'secrets'?"),
    ],
)
def test_what_jobs_can_not_have_in_common(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"hut": given})
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
