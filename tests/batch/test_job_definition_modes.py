"""Job definitions of one's own: locked, and as a template of revisions."""

from __future__ import annotations

import copy

import pytest

from hut.backends.batch.definitions import JobDefinitions, Kind
from hut.backends.batch.jobs import plan_job
from hut.backends.batch.options import Platform
from hut.backends.batch.remarks import remarks_on, with_remark
from hut.backends.batch.resources import Unsatisfiable
from hut.backends.batch.templates import OF_TEMPLATE, UnusableDefinition, equal_revision
from hut.lifecycle.attempt import Evidence, judge
from hut.model.workflow import Resources, TaskSpec
from tests.batch.fake_registry import ARN, FakeRegistry
from tests.batch.plain_batch import options, request_of

SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:token-AbCdEf"
CONTAINER = {
    "image": "lab/base:1",
    "command": ["b", "a"],
    "jobRoleArn": "arn:aws:iam::111122223333:role/lab-job",
    "executionRoleArn": "arn:aws:iam::111122223333:role/lab-execution",
    "resourceRequirements": [
        {"type": "VCPU", "value": "1"},
        {"type": "MEMORY", "value": "2048"},
    ],
    "environment": [{"name": "LAB", "value": "1"}],
    "secrets": [{"name": "TOKEN", "valueFrom": SECRET}],
    "volumes": [{"name": "v", "host": {"sourcePath": "/scratch"}}],
    "mountPoints": [{"sourceVolume": "v", "containerPath": "/scratch", "readOnly": False}],
    "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 4096}],
    "linuxParameters": {"sharedMemorySize": 64, "initProcessEnabled": True},
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "/lab/jobs", "awslogs-stream-prefix": "lab"},
    },
}
DEFINITION = {
    "jobDefinitionName": "lab",
    "type": "container",
    "platformCapabilities": ["EC2"],
    "containerProperties": CONTAINER,
    "retryStrategy": {
        "attempts": 2,
        "evaluateOnExit": [{"onReason": "Host EC2*", "action": "RETRY"}],
    },
    "timeout": {"attemptDurationSeconds": 600},
    "parameters": {"a": "b"},
    "propagateTags": True,
    "tags": {"cost-centre": "lab"},
}
EC2_TASK = TaskSpec("t", "true", partition="ec2")


@pytest.fixture
def registry():
    made = FakeRegistry()
    made.register_job_definition(**DEFINITION)
    made.calls.clear()
    return made


def locked(**changes):
    return options(job_definition="lab", **changes)


def revisions(**changes):
    return options(job_definition="lab", job_definition_mode="revisions", **changes)


def without(definition, *keys):
    return {key: value for key, value in definition.items() if key not in keys}


# Locked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["lab", "lab:1", f"{ARN}lab", f"{ARN}lab:1"])
def test_locked_submits_against_the_definition_verbatim(registry, reference):
    definitions = JobDefinitions(registry, options(job_definition=reference))
    assert definitions.arn(Kind("lab/base:1", Platform.EC2)) == reference
    assert definitions.arn(Kind("other:2", Platform.EC2)) == reference
    assert registry.calls == ["DescribeJobDefinitions"]


def test_locked_ignores_image_with_warning(registry):
    fitted = JobDefinitions(registry, locked()).fitted()
    job = plan_job(fitted, request_of(EC2_TASK._replace(image="other:2")))
    assert job.image == "lab/base:1"
    tasks = [
        TaskSpec(name, "true", image=image)
        for name, image in [("a", None), ("b", "x"), ("c", "lab/base:1"), ("d", "x"), ("e", "y")]
    ]
    found = [(remark.task, remark.field, remark.message) for remark in remarks_on(fitted, tasks)]
    ignored = "is ignored: job definition 'lab' of backend 'batch' is locked and runs 'lab/base:1'"
    assert found == [
        ("b", "image", f"'x' {ignored} (also in 1 other task)"),
        ("e", "image", f"'y' {ignored}"),
    ]


def test_locked_says_so_when_an_attempt_has_ended():
    spec = EC2_TASK._replace(image="other:2")
    said = "image 'other:2' was ignored: job definition 'lab' is locked and runs 'lab/base:1'"
    good, bad = judge(Evidence(0)), judge(Evidence(3))
    assert with_remark(good, locked(), spec, "lab/base:1") == good._replace(message=said)
    assert with_remark(bad, locked(), spec, "lab/base:1").message == f"exit code 3; {said}"
    assert with_remark(good, locked(), spec, "other:2") == good
    assert with_remark(good, locked(), spec, "") == good
    assert with_remark(good, locked(), EC2_TASK, "lab/base:1") == good
    assert with_remark(good, revisions(), spec, "lab/base:1") == good


def test_locked_still_overrides_what_a_task_asks_for(registry):
    fitted = JobDefinitions(registry, locked()).fitted()
    spec = EC2_TASK._replace(
        command="echo x", env_vars={"A": "1"}, resources=Resources(3, 700, (), 900)
    )
    parameters = plan_job(fitted, request_of(spec)).parameters
    overrides = parameters["containerOverrides"]
    assert "echo x" in overrides["command"][3]
    assert {"name": "A", "value": "1"} in overrides["environment"]
    assert overrides["resourceRequirements"] == [
        {"type": "VCPU", "value": "3"},
        {"type": "MEMORY", "value": "700"},
    ]
    assert parameters["timeout"] == {"attemptDurationSeconds": 900}
    assert "retryStrategy" not in parameters  # the definition's own


def test_a_name_without_a_revision_is_looked_up_again_after_a_while(registry):
    now = [0.0]
    definitions = JobDefinitions(registry, locked(), clock=lambda: now[0])
    assert definitions.template().image == "lab/base:1"
    newer = {**CONTAINER, "image": "lab/base:2"}
    registry.register_job_definition(**{**DEFINITION, "containerProperties": newer})
    now[0] = 299.0
    assert definitions.template().image == "lab/base:1"
    now[0] = 301.0
    assert definitions.template().image == "lab/base:2"


# Revisions ----------------------------------------------------------------------------------------


def test_revisions_registers_once_per_image(registry):
    definitions = JobDefinitions(registry, revisions())
    arns = [definitions.arn(Kind(image, Platform.EC2)) for image in ("x", "y", "x", "y", "x")]
    assert arns == [f"{ARN}lab:{revision}" for revision in (2, 3, 2, 3, 2)]
    assert registry.registered == 2


def test_revisions_uses_the_template_for_its_own_image(registry):
    definitions = JobDefinitions(registry, revisions())
    fitted = definitions.fitted()
    for spec in (EC2_TASK, EC2_TASK._replace(image="lab/base:1")):
        job = plan_job(fitted, request_of(spec))
        assert definitions.arn(job.kind) == f"{ARN}lab:1"
    assert registry.registered == 0


def test_revisions_preserve_everything_but_the_image(registry):
    arn = JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    template, made = registry.definitions
    assert made["jobDefinitionArn"] == arn
    assert made["tags"] == {"cost-centre": "lab", OF_TEMPLATE: "lab:1"}
    own = ("revision", "jobDefinitionArn", "tags", "containerProperties")
    assert without(made, *own) == without(template, *own)
    assert made["containerProperties"] == {**template["containerProperties"], "image": "x"}


def test_revisions_reuses_an_equal_one_of_another_process(registry):
    first = JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    again = JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    assert again == first
    assert registry.registered == 1


def test_revisions_of_a_changed_template_are_made_anew(registry):
    JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    changed = {**CONTAINER, "jobRoleArn": "arn:aws:iam::111122223333:role/other"}
    registry.register_job_definition(**{**DEFINITION, "containerProperties": changed})
    arn = JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    assert arn == f"{ARN}lab:4"
    assert registry.definitions[3]["containerProperties"]["jobRoleArn"].endswith("/other")
    assert registry.definitions[3]["tags"][OF_TEMPLATE] == "lab:3"


def test_a_name_means_what_a_person_registered_not_what_hut_made_of_it(registry):
    JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    template = JobDefinitions(registry, revisions()).template()
    assert (template.arn, template.image) == (f"{ARN}lab:1", "lab/base:1")


def test_a_revision_that_is_named_is_meant_whoever_made_it(registry):
    JobDefinitions(registry, revisions()).arn(Kind("x", Platform.EC2))
    template = JobDefinitions(registry, options(job_definition="lab:2")).template()
    assert template.image == "x"


def test_a_deregistered_revision_is_registered_anew(registry):
    definitions = JobDefinitions(registry, revisions())
    arn = definitions.arn(Kind("x", Platform.EC2))
    registry.deregister_job_definition(jobDefinition=arn)
    definitions.forget(arn)
    assert definitions.arn(Kind("x", Platform.EC2)) == f"{ARN}lab:3"


def test_the_order_of_lists_and_what_is_empty_do_not_matter(registry):
    wanted = copy.deepcopy(DEFINITION)
    wanted["containerProperties"]["resourceRequirements"].reverse()
    wanted["containerProperties"] |= {"environment": [{"name": "LAB", "value": "1"}], "vcpus": 0}
    wanted["containerProperties"]["networkConfiguration"] = {}
    wanted["tags"] = {"cost-centre": "lab", "aws:cloudformation:stack-name": "s", OF_TEMPLATE: "l"}
    assert equal_revision(wanted, registry.definitions) == f"{ARN}lab:1"
    wanted["containerProperties"]["command"] = ["a", "b"]
    assert equal_revision(wanted, registry.definitions) is None


@pytest.mark.parametrize(
    "change",
    [
        {"retryStrategy": {"attempts": 3}},
        {"timeout": {"attemptDurationSeconds": 601}},
        {"tags": {}},
        {"propagateTags": False},
        {"containerProperties": {**CONTAINER, "secrets": []}},
        {"containerProperties": {**CONTAINER, "image": "x"}},
        {"platformCapabilities": ["FARGATE"]},
    ],
)
def test_what_differs_is_not_equal(registry, change):
    assert equal_revision({**DEFINITION, **change}, registry.definitions) is None


# Both ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["locked", "revisions"])
@pytest.mark.parametrize("attempts", [1, 10])
def test_retry_attempts_are_told_batch_at_submit(registry, mode, attempts):
    own = options(job_definition="lab", job_definition_mode=mode, retry_attempts=attempts)
    fitted = JobDefinitions(registry, own).fitted()
    parameters = plan_job(fitted, request_of(EC2_TASK)).parameters
    assert parameters["retryStrategy"] == {"attempts": attempts}


@pytest.mark.parametrize("mode", ["locked", "revisions"])
@pytest.mark.parametrize("reference", ["lab", "lab:1", "none", "lab:7", f"{ARN}lab:1"])
def test_a_definition_that_is_gone_or_inactive_is_told(registry, mode, reference):
    registry.deregister_job_definition(jobDefinition="lab:1")
    definitions = JobDefinitions(
        registry, options(job_definition=reference, job_definition_mode=mode)
    )
    with pytest.raises(UnusableDefinition) as caught:
        definitions.arn(Kind("x", Platform.EC2))
    assert f"{reference!r} does not exist or is not ACTIVE" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "multinode", "containerProperties": None},
        {"containerProperties": None, "ecsProperties": {"taskProperties": []}},
    ],
)
def test_other_kinds_of_definitions_are_refused(registry, change):
    registry.definitions[0].update(change)
    with pytest.raises(UnusableDefinition, match="not one of a single container"):
        JobDefinitions(registry, locked()).template()


def test_the_platform_is_the_definitions(registry):
    own = locked(platforms=None)
    fitted = JobDefinitions(registry, own).fitted()
    assert plan_job(fitted, request_of(TaskSpec("t", "true"))).placement.platform is Platform.EC2
    registry.definitions[0]["platformCapabilities"] = ["FARGATE"]
    fitted = JobDefinitions(registry, own).fitted()
    assert plan_job(fitted, request_of(EC2_TASK)).placement.platform is Platform.FARGATE
    del registry.definitions[0]["platformCapabilities"]
    fitted = JobDefinitions(registry, own).fitted()
    assert plan_job(fitted, request_of(EC2_TASK)).placement.platform is Platform.EC2


def test_a_partition_of_another_platform_is_refused(registry):
    fitted = JobDefinitions(registry, locked()).fitted()
    with pytest.raises(Unsatisfiable, match=r"'fargate' runs on FARGATE, and .* 'lab' is for EC2"):
        plan_job(fitted, request_of(TaskSpec("t", "true", partition="fargate")))


def test_a_variable_that_is_a_secret_is_refused(registry):
    spec = EC2_TASK._replace(env_vars={"TOKEN": "x"})
    fitted = JobDefinitions(registry, locked()).fitted()
    with pytest.raises(Unsatisfiable, match="variable TOKEN: a secret of backend 'batch'"):
        plan_job(fitted, request_of(spec))
    with pytest.raises(Unsatisfiable, match="variable TOKEN"):
        plan_job(options(secrets={"TOKEN": SECRET}), request_of(spec))


def test_what_generates_needs_a_log_that_can_be_read(registry):
    spec = EC2_TASK._replace(generates_source="more.json")
    plan_job(JobDefinitions(registry, locked()).fitted(), request_of(spec))
    registry.definitions[0]["containerProperties"]["logConfiguration"] = {"logDriver": "splunk"}
    fitted = JobDefinitions(registry, locked()).fitted()
    with pytest.raises(Unsatisfiable, match=r"its log driver is splunk, and Hut reads CloudWatch"):
        plan_job(fitted, request_of(spec))
    plan_job(fitted, request_of(EC2_TASK))


def test_where_a_definition_logs(registry):
    template = JobDefinitions(registry, locked()).template()
    assert (template.log_driver, template.log_group) == ("awslogs", "/lab/jobs")
    del registry.definitions[0]["containerProperties"]["logConfiguration"]
    template = JobDefinitions(registry, locked()).template()
    assert (template.log_driver, template.log_group) == ("awslogs", "/aws/batch/job")
