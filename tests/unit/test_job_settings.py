"""What jobs of a Batch backend have in common: what may be said, and every fault with its place."""

import pytest

from hut.model.job_settings import (
    Architecture,
    DefinitionMode,
    EfsVolume,
    HostVolume,
    JobSettings,
    Platform,
    Price,
    Ulimit,
)
from hut.model.job_settings_reading import JOB_FIELDS, OF_A_DEFINITION, read_job_settings

SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:api-key-AbCdEf:token::"
PARAMETER = "arn:aws-cn:ssm:cn-north-1:111122223333:parameter/lab/key"
BOTH = {"ec2": Platform.EC2, "fargate": Platform.FARGATE}
ROLES = {"job_role_arn": "arn:job", "execution_role_arn": "arn:execution"}


def read(entry, platforms=BOTH):
    settings, faults = read_job_settings({**ROLES, **entry}, platforms)
    assert faults == []
    return settings


def faults(entry, platforms=BOTH):
    return [
        (".".join(map(str, fault.path)), fault.message)
        for fault in read_job_settings({**ROLES, **entry}, platforms)[1]
    ]


def test_nothing_said_is_the_plain_case():
    assert read({}) == JobSettings()
    assert read(dict.fromkeys(JOB_FIELDS)) == JobSettings()


def test_everything_may_be_said():
    assert read(
        {
            "retry_attempts": 3,
            "secrets": {"TOKEN": SECRET, "key_2": PARAMETER},
            "shared_memory": "2G",
            "ulimits": {"nofile": 65536, "memlock": -1, "core": {"soft": 0, "hard": -1}},
            "volumes": [
                {"efs": "fs-0123abcd", "mount": "/data", "path": "/lab", "iam": True},
                {
                    "efs": "fs-0123abcd",
                    "access_point": "fsap-0123abcd",
                    "mount": "/models",
                    "read_only": True,
                },
                {"host": "/scratch", "mount": "/scratch"},
            ],
            "cpu_architecture": {"fargate": "ARM64"},
            "ephemeral_storage": 100,
            "prices": {"ec2": {"vcpu_hour": 0.03, "gib_hour": 0}},
        }
    ) == JobSettings(
        retry_attempts=3,
        secrets={"TOKEN": SECRET, "key_2": PARAMETER},
        shared_memory=2048,
        ulimits=(Ulimit("nofile", 65536, 65536), Ulimit("memlock", -1, -1), Ulimit("core", 0, -1)),
        volumes=(
            EfsVolume("fs-0123abcd", "/data", "/lab", iam=True),
            EfsVolume("fs-0123abcd", "/models", access_point="fsap-0123abcd", read_only=True),
            HostVolume("/scratch", "/scratch"),
        ),
        architectures={"fargate": Architecture.ARM64},
        ephemeral_storage=100,
        prices={"ec2": Price(0.03, 0.0)},
    )


@pytest.mark.parametrize(
    "reference",
    [
        "simpleJobDef-b760b37",
        "my_def:12",
        "arn:aws:batch:us-east-1:111122223333:job-definition/mine",
        "arn:aws-us-gov:batch:us-gov-west-1:111122223333:job-definition/mine:3",
    ],
)
def test_a_definition_is_a_name_a_revision_or_an_arn(reference):
    assert read({"job_definition": reference}).definition == reference


def test_a_definition_is_locked_unless_it_is_a_template():
    locked = read({"job_definition": "d"})
    assert (locked.mode, locked.locked) == (DefinitionMode.LOCKED, True)
    template = read({"job_definition": "d", "job_definition_mode": "revisions"})
    assert (template.mode, template.locked) == (DefinitionMode.REVISIONS, False)
    assert not read({}).locked


@pytest.mark.parametrize("key", OF_A_DEFINITION)
def test_a_definition_brings_its_own(key):
    [(field, message)] = [
        found for found in faults({"job_definition": "d", key: {}}) if "brings its own" in found[1]
    ]
    assert field == key
    assert "leave it out" in message


@pytest.mark.parametrize("attempts", [1, 10])
def test_retry_attempts_have_bounds(attempts):
    assert read({"retry_attempts": attempts}).retry_attempts == attempts


@pytest.mark.parametrize(
    ("entry", "field", "told"),
    [
        ({"job_definition": "a b"}, "job_definition", "write its name, name:revision or ARN"),
        ({"job_definition": "d:0"}, "job_definition", "'d:0' is not a job definition"),
        ({"job_definition": 3}, "job_definition", "3 is not"),
        ({"job_definition_mode": "open"}, "job_definition_mode", "neither locked nor revisions"),
        ({"job_definition_mode": "revisions"}, "job_definition_mode", "without job_definition"),
        ({"retry_attempts": 0}, "retry_attempts", "from 1 to 10"),
        ({"retry_attempts": 11}, "retry_attempts", "from 1 to 10"),
        ({"retry_attempts": True}, "retry_attempts", "True is not a whole number"),
        ({"retry_attempts": "2"}, "retry_attempts", "'2' is not a whole number"),
        ({"secrets": [SECRET]}, "secrets", "must be an object"),
        ({"secrets": {"A B": SECRET}}, "secrets.A B", "not the name of a variable"),
        ({"secrets": {"AWS_BATCH_X": SECRET}}, "secrets.AWS_BATCH_X", "begins with AWS_BATCH"),
        ({"secrets": {"HUT_RUN_ID": SECRET}}, "secrets.HUT_RUN_ID", "set by Hut itself"),
        ({"secrets": {"A": "value"}}, "secrets.A", "never the value itself"),
        ({"secrets": {"A": 5}}, "secrets.A", "must be the ARN"),
        ({"secrets": {"A": "arn:aws:s3:::secret"}}, "secrets.A", "must be the ARN"),
        ({"shared_memory": "much"}, "shared_memory", "not an amount of memory"),
        ({"ulimits": {"nofiles": 1}}, "ulimits.nofiles", "did you mean 'nofile'?"),
        ({"ulimits": {"nofile": "1"}}, "ulimits.nofile", "must be a whole number"),
        ({"ulimits": {"nofile": True}}, "ulimits.nofile", "must be a whole number"),
        ({"ulimits": {"nofile": {"soft": 1}}}, "ulimits.nofile", '{"soft": N, "hard": M}'),
        ({"ulimits": {"nofile": {"soft": 2, "hard": 1}}}, "ulimits.nofile", "2 is above the hard"),
        ({"ulimits": {"nofile": {"soft": -1, "hard": 1}}}, "ulimits.nofile", "above the hard"),
        ({"volumes": {}}, "volumes", "must be a list"),
        ({"volumes": ["fs-1"]}, "volumes.0", "either efs or host"),
        ({"volumes": [{"mount": "/a"}]}, "volumes.0", "either efs or host"),
        ({"volumes": [{"efs": "x", "mount": "/a"}]}, "volumes.0.efs", "an id such as fs-"),
        ({"volumes": [{"efs": "fs-0123abcd"}]}, "volumes.0.mount", "is missing"),
        ({"volumes": [{"host": "a", "mount": "/a"}]}, "volumes.0.host", "no absolute path"),
        ({"volumes": [{"host": "/a", "mount": "/a/../b"}]}, "volumes.0.mount", "no absolute path"),
        ({"volumes": [{"host": "/a", "mount": "/b\n"}]}, "volumes.0.mount", "no absolute path"),
        (
            {"volumes": [{"host": "/a", "mount": "/a", "path": "/b"}]},
            "volumes.0.path",
            "unknown",
        ),
        (
            {"volumes": [{"host": "/a", "mount": "/a"}, {"host": "/b", "mount": "/a"}]},
            "volumes.1.mount",
            "/a is the mount of volumes[0] too",
        ),
        (
            {
                "volumes": [
                    {
                        "efs": "fs-0123abcd",
                        "mount": "/a",
                        "path": "/b",
                        "access_point": "fsap-0123abcd",
                    }
                ]
            },
            "volumes.0.path",
            "has no use beside access_point",
        ),
        (
            {"volumes": [{"efs": "fs-0123abcd", "mount": "/a", "access_point": "x"}]},
            "volumes.0.access_point",
            "an id such as fsap-",
        ),
        (
            {"volumes": [{"efs": "fs-0123abcd", "mount": "/a", "read_only": "yes"}]},
            "volumes.0.read_only",
            "neither true nor false",
        ),
        ({"cpu_architecture": "arm"}, "cpu_architecture", "neither X86_64 nor ARM64"),
        ({"cpu_architecture": {"fargat": "ARM64"}}, "cpu_architecture.fargat", "'fargate'?"),
        ({"cpu_architecture": {"ec2": "ARM64"}}, "cpu_architecture.ec2", "instance types"),
        ({"ephemeral_storage": 20}, "ephemeral_storage", "from 21 to 200"),
        ({"prices": {"spot": {}}}, "prices.spot", "there is no such queue"),
        ({"prices": {"ec2": 1}}, "prices.ec2", "in dollars"),
        ({"prices": {"ec2": {"vcpu_hour": 1}}}, "prices.ec2", "in dollars"),
        ({"prices": {"ec2": {"vcpu_hour": -1, "gib_hour": 0}}}, "prices.ec2", "in dollars"),
        ({"prices": {"ec2": {"vcpu_hour": "1", "gib_hour": 0}}}, "prices.ec2", "in dollars"),
        ({"prices": {"ec2": {"vcpu_hour": float("nan"), "gib_hour": 0}}}, "prices.ec2", "in dolla"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(entry, field, told):
    [(where, message)] = faults(entry)
    assert where == field
    assert told in message


@pytest.mark.parametrize(
    ("platform", "entry", "field"),
    [
        (Platform.FARGATE, {"shared_memory": 64}, "shared_memory"),
        (Platform.FARGATE, {"ulimits": {"nofile": 9}}, "ulimits"),
        (Platform.FARGATE, {"volumes": [{"host": "/a", "mount": "/a"}]}, "volumes.0.host"),
        (Platform.EC2, {"ephemeral_storage": 100}, "ephemeral_storage"),
        (Platform.EC2, {"cpu_architecture": "ARM64"}, "cpu_architecture"),
    ],
)
def test_what_only_the_other_platform_has_is_refused(platform, entry, field):
    [(where, message)] = faults(entry, {"q": platform})
    assert where == field
    assert "only" in message
    assert faults(entry, BOTH) == faults(entry, {"q": None}) == faults(entry, None) == []


@pytest.mark.parametrize(
    ("entry", "field", "role"),
    [
        ({"secrets": {"A": SECRET}}, "secrets", "execution_role_arn"),
        (
            {"volumes": [{"efs": "fs-0123abcd", "mount": "/a", "iam": True}]},
            "volumes.0.iam",
            "job_role_arn",
        ),
    ],
)
def test_what_needs_a_role_is_refused_without(entry, field, role):
    [(where, message)] = faults({**entry, role: None})
    assert where == field
    assert role in message
    assert faults({**entry, role: None}, None) == []  # the backend it refines may have one


def test_all_faults_are_told_and_no_secret_is_shown():
    found = faults(
        {
            "retry_attempts": 0,
            "secrets": {"A": "hunter2", "B": "hunter3"},
            "ulimits": {"x": 1, "y": 2},
            "volumes": [{}, {"host": 1, "mount": 2, "size": 3}],
        }
    )
    assert [field for field, _ in found] == [
        "retry_attempts",
        "secrets.A",
        "secrets.B",
        "ulimits.x",
        "ulimits.y",
        "volumes.0",
        "volumes.1.size",
        "volumes.1.host",
        "volumes.1.mount",
    ]
    assert "hunter" not in repr(found)


def test_a_price_may_tell_gpus():
    whole = {"vcpu_hour": 1, "gib_hour": 2, "gpu_hour": 3}
    assert read({"prices": {"ec2": whole}}).prices == {"ec2": Price(1.0, 2.0, 3.0)}
    assert Price(1.0, 2.0, 3.0).times(0.5) == Price(0.5, 1.0, 1.5)
    assert Price(1.0, 2.0).times(0.1) == Price(0.1, 0.2)


def test_one_processor_holds_for_all_partitions_of_fargate():
    settings = read({"cpu_architecture": "ARM64"})
    assert settings.architecture("fargate") is Architecture.ARM64
    assert settings.architecture("ec2") is Architecture.X86_64
