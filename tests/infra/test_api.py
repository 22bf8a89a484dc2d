from __future__ import annotations

import json
from pathlib import Path

from hut import __version__
from tests.infra.synthesis import Synthesis, flat


def test_every_method_asks_for_iam(default: Synthesis) -> None:
    methods = default.resources("AWS::ApiGateway::Method").values()
    assert {method["Properties"]["AuthorizationType"] for method in methods} == {"AWS_IAM"}
    assert {method["Properties"]["HttpMethod"] for method in methods} == {"ANY"}
    assert default.properties("AWS::ApiGateway::Resource")["PathPart"] == "{proxy+}"
    integrations = {method["Properties"]["Integration"]["Type"] for method in methods}
    assert integrations == {"AWS_PROXY"}


def test_only_this_api_calls_the_function(default: Synthesis) -> None:
    permissions = [
        permission["Properties"]
        for permission in default.resources("AWS::Lambda::Permission").values()
        if permission["Properties"]["Principal"] != "logs.amazonaws.com"
    ]
    assert permissions
    for properties in permissions:
        assert properties["Principal"] == "apigateway.amazonaws.com"
        assert ":<Rest" in flat(properties["SourceArn"])
        assert "test-invoke-stage" not in flat(properties["SourceArn"])


def test_only_the_log_of_jobs_calls_the_function_that_observes_them(default: Synthesis) -> None:
    [observes] = [
        permission["Properties"]
        for permission in default.resources("AWS::Lambda::Permission").values()
        if permission["Properties"]["Principal"] == "logs.amazonaws.com"
    ]
    assert "<Observe" in flat(observes["FunctionName"])
    assert "JobLogs" in flat(observes["SourceArn"])


def test_the_stage_logs_throttles_and_traces(default: Synthesis) -> None:
    stage = default.properties("AWS::ApiGateway::Stage")
    assert stage["StageName"] == "v1"
    assert stage["TracingEnabled"] is True
    assert "AccessLogs" in flat(stage["AccessLogSetting"]["DestinationArn"])
    fields = json.loads(stage["AccessLogSetting"]["Format"])
    assert {"caller", "method", "path", "request_id", "status"} <= set(fields)
    # No header but the client's name, no query, no key, no body: a new field is thought about here.
    assert set(fields.values()) == {
        "$context.requestTime",
        "$context.requestId",
        "$context.identity.userArn",
        "$context.identity.sourceIp",
        "$context.identity.userAgent",
        "$context.httpMethod",
        "$context.path",
        "$context.status",
        "$context.responseLength",
        "$context.responseLatency",
        "$context.integrationLatency",
        "$context.error.message",
        "$context.xrayTraceId",
    }
    [settings] = stage["MethodSettings"]
    assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == (50, 100)
    assert (settings["HttpMethod"], settings["ResourcePath"]) == ("*", "/*")
    assert settings["DataTraceEnabled"] is False
    assert settings["LoggingLevel"] == "OFF"  # execution logs would have every header of requests


def test_no_other_origin_is_let_in_and_nobody_is_told_of_a_preflight(default: Synthesis) -> None:
    for method in default.resources("AWS::ApiGateway::Method").values():
        assert method["Properties"]["HttpMethod"] != "OPTIONS"
    for answer in default.resources("AWS::ApiGateway::GatewayResponse").values():
        assert "Access-Control" not in json.dumps(answer)
    assert not default.resources("AWS::ApiGateway::DomainName")


def test_what_a_client_needs_is_an_output(default: Synthesis) -> None:
    outputs = {
        name: flat(entry["Value"]) for name, entry in default.template("Api")["Outputs"].items()
    }
    assert set(outputs) == {
        "ApiUrl",
        "TableName",
        "BucketName",
        "StateMachineArn",
        "Prefix",
        "Version",
        "WorkerPolicy",
        "ReaderPolicy",
        "SubmitterPolicy",
        "AdminPolicy",
    }
    assert outputs["ApiUrl"].startswith("https://")
    assert outputs["Prefix"] == "hut"
    assert outputs["Version"] == __version__


def test_the_accounts_role_for_logs_is_a_choice(default: Synthesis, borrowed: Synthesis) -> None:
    [account] = default.resources("AWS::ApiGateway::Account").values()
    assert account["DeletionPolicy"] == "Retain"
    assert not borrowed.resources("AWS::ApiGateway::Account")


def test_a_named_region_needs_no_look_up(borrowed: Synthesis) -> None:
    assembly = borrowed.app.synth()
    for stack in assembly.stacks:
        assert stack.environment.account == "123456789012"
        assert stack.environment.region == "eu-west-1"
    assert "missing" not in json.loads((Path(assembly.directory) / "manifest.json").read_text())
