"""What a deployment's jobs have in common, and what each way to a job definition may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hut.backends.batch.options import BatchOptions
from tests.infra.synthesis import Synthesis, flat, many, synthesize
from tests.infra.test_compute import backends_of, batch_of
from tests.infra.test_nag import violations

ARN = "arn:<AWS::Partition>:batch:<AWS::Region>:<AWS::AccountId>:job-definition/"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/lab/key"
ROLES = {
    "job_role_arn": "arn:aws:iam::123456789012:role/job",
    "execution_role_arn": "arn:aws:iam::123456789012:role/pull",
}
SUBMITTING = ("Advance", "Sweep")


def options_of(synthesis: Synthesis) -> BatchOptions:
    return batch_of(backends_of(synthesis))


WHOLE = {
    "retry_attempts": 3,
    "secrets": {"TOKEN": f"{SECRET}:token::", "TOKEN_2": f"{SECRET}:2::", "KEY": PARAMETER},
    "shared_memory": "1G",
    "ulimits": {"nofile": 65536},
    "volumes": [{"efs": "fs-0123abcd", "mount": "/data"}],
    "cpu_architecture": {"fargate": "ARM64"},
    "ephemeral_storage": 100,
}
LOCKED = {"job_definition": "lab:3", "job_log_group": "/lab/jobs"}
REVISIONS = {"job_definition": "lab", "job_definition_mode": "revisions", **ROLES}


@pytest.fixture(scope="module")
def whole(code: Path) -> Synthesis:
    """All that jobs of Hut's own definitions can have in common."""
    return synthesize(code, WHOLE)


@pytest.fixture(scope="module")
def locked(code: Path) -> Synthesis:
    return synthesize(code, LOCKED)


@pytest.fixture(scope="module")
def revisions(code: Path) -> Synthesis:
    return synthesize(code, REVISIONS)


def test_functions_are_told_what_jobs_have_in_common(whole: Synthesis) -> None:
    jobs = options_of(whole).jobs
    assert jobs.secrets == {
        "TOKEN": f"{SECRET}:token::",
        "TOKEN_2": f"{SECRET}:2::",
        "KEY": PARAMETER,
    }
    assert (jobs.retry_attempts, jobs.shared_memory, jobs.ephemeral_storage) == (3, 1024, 100)
    assert dict(jobs.architectures) == {"fargate": "ARM64"}
    assert [volume.mount for volume in jobs.volumes] == ["/data"]


def test_only_what_starts_containers_reads_secrets_and_only_the_named(whole: Synthesis) -> None:
    allowed = whole.allowed("ExecutionRole")
    assert allowed["secretsmanager:GetSecretValue"] == {SECRET}
    assert allowed["ssm:GetParameters"] == {PARAMETER}
    readers = {"secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:GetParameters"}
    for role, statement in whole.statements():
        if "ExecutionRole" not in role and readers & set(many(statement["Action"])):
            # What AWS publishes is no secret.
            [public] = map(flat, many(statement["Resource"]))
            assert public.endswith("::parameter/aws/service/*"), role


def test_without_secrets_nobody_reads_any(default: Synthesis) -> None:
    for _, statement in default.statements():
        assert "secretsmanager" not in str(statement["Action"])


def test_a_locked_definition_is_only_submitted_against(locked: Synthesis) -> None:
    assert options_of(locked).jobs.locked
    for name in SUBMITTING:
        allowed = locked.allowed(f"{name}Role")
        definitions = {arn for arn in allowed["batch:SubmitJob"] if "job-definition" in arn}
        assert definitions == {f"{ARN}lab:3"}
        assert "batch:RegisterJobDefinition" not in allowed
        assert "iam:PassRole" not in allowed
        assert not any("job-definition" in arn for arn in allowed["batch:TagResource"])


def test_with_a_definition_no_roles_of_jobs_are_made(locked: Synthesis) -> None:
    roles = " ".join(locked.resources("AWS::IAM::Role"))
    assert "JobRole" not in roles
    assert "ExecutionRole" not in roles
    options = options_of(locked)
    assert (options.default_image, options.job_role_arn) == (None, None)


def test_logs_are_read_where_the_definition_writes_them(locked: Synthesis) -> None:
    assert options_of(locked).log_group == "/lab/jobs"
    for name in ("Api", "Observe", "Sweep"):
        groups = locked.allowed(f"{name}Role")["logs:GetLogEvents"]
        assert any(arn.endswith(":log-group:/lab/jobs:*") for arn in groups)


def test_a_name_without_a_revision_is_submitted_against_as_such(code: Path) -> None:
    synthesis = synthesize(code, {"job_definition": "lab"})
    allowed = synthesis.allowed("AdvanceRole")["batch:SubmitJob"]
    assert {arn for arn in allowed if "job-definition" in arn} == {f"{ARN}lab", f"{ARN}lab:*"}


def test_revisions_of_one_definition_are_registered(revisions: Synthesis) -> None:
    for name in SUBMITTING:
        allowed = revisions.allowed(f"{name}Role")
        assert allowed["batch:RegisterJobDefinition"] == {f"{ARN}lab", f"{ARN}lab:*"}
        assert allowed["iam:PassRole"] == set(ROLES.values())


@pytest.mark.parametrize("mode", ["locked", "revisions"])
def test_the_api_may_ask_what_a_definition_is(
    mode: str, request: pytest.FixtureRequest, default: Synthesis
) -> None:
    asked = "batch:DescribeJobDefinitions"
    assert asked in request.getfixturevalue(mode).allowed("ApiRole")
    assert asked not in default.allowed("ApiRole")


@pytest.mark.parametrize("hut", [WHOLE, LOCKED, REVISIONS], ids=["whole", "locked", "revisions"])
def test_nothing_is_left_unexplained(code: Path, hut: dict[str, object]) -> None:
    assert violations(synthesize(code, hut).app) == []
