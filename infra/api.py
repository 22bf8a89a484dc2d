"""The API stack: REST over IAM, in front of the `api` function, and the outputs hutctl looks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam

from hut import __version__
from hut.model.access import Role
from infra.access import add_policies
from infra.control import ControlStack
from infra.permissions import acknowledge
from infra.pools import allow_workers
from infra.settings import Settings
from infra.storage import StorageStack

if TYPE_CHECKING:
    from constructs import Construct, IConstruct

__all__ = ["ApiStack"]

STAGE = "v1"
_ACCESS_LOG = {
    "time": "$context.requestTime",
    "request_id": "$context.requestId",
    "caller": "$context.identity.userArn",
    "ip": "$context.identity.sourceIp",
    "user_agent": "$context.identity.userAgent",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "status": "$context.status",
    "length": "$context.responseLength",
    "latency_ms": "$context.responseLatency",
    "function_ms": "$context.integrationLatency",
    "error": "$context.error.message",
    "trace": "$context.xrayTraceId",
}


class ApiStack(Stack):
    """The REST API of one deployment.

    Its outputs are what a client needs: ``ApiUrl``, ``TableName``, ``BucketName``,
    ``StateMachineArn``, ``Prefix`` and ``Version``; and what an administrator attaches to people:
    ``WorkerPolicy``, ``ReaderPolicy``, ``SubmitterPolicy`` and ``AdminPolicy``.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        settings: Settings,
        *,
        storage: StorageStack,
        control: ControlStack,
        **options: Any,
    ) -> None:
        super().__init__(scope, name, **options)
        self._settings = settings
        api = self._make_api(storage, control)
        outputs = {
            "ApiUrl": (api.url, "Where the REST API answers"),
            "TableName": (storage.table.table_name, "The table of runs and tasks"),
            "BucketName": (storage.bucket.bucket_name, "The bucket of plans and bodies"),
            "StateMachineArn": (control.machine.state_machine_arn, "One execution of it per run"),
            "Prefix": (settings.prefix, "Begins the names of what was made"),
            "Version": (__version__, "The version of Hut"),
        }
        policies = add_policies(self, api, STAGE, settings.prefix)
        allow_workers(policies[Role.WORKER], storage, control.bells)
        for role, policy in policies.items():
            outputs[f"{role.name.capitalize()}Policy"] = (
                policy.managed_policy_arn,
                f"IAM policy of {role.name.lower()}s",
            )
        for key, (value, description) in outputs.items():
            CfnOutput(self, key, value=value, description=description)

    def _make_api(self, storage: StorageStack, control: ControlStack) -> apigateway.RestApi:
        settings = self._settings
        api = apigateway.RestApi(
            self,
            "Rest",
            rest_api_name=settings.prefix,
            description="Hut: runs of workflows",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            policy=_own_account_only(self.account),
            default_method_options=apigateway.MethodOptions(
                authorization_type=apigateway.AuthorizationType.IAM
            ),
            cloud_watch_role=settings.api_log_role,
            cloud_watch_role_removal_policy=(
                # Other APIs of the account log with it too.
                RemovalPolicy.RETAIN if settings.keeps_data else RemovalPolicy.DESTROY
            )
            if settings.api_log_role
            else None,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                access_log_destination=apigateway.LogGroupLogDestination(storage.access_logs),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG)),
                throttling_rate_limit=settings.throttle_rate,
                throttling_burst_limit=settings.throttle_burst,
                tracing_enabled=True,
                # They would go to a group that nothing expires, with every header of requests.
                logging_level=apigateway.MethodLoggingLevel.OFF,
                data_trace_enabled=False,
            ),
        )
        api.node.try_remove_child("Endpoint")  # an output of the construct; ours is ApiUrl
        # Routes are the function's: it checks sizes and bodies, and answers problem documents.
        every = apigateway.LambdaIntegration(
            control.functions["api"].function, allow_test_invoke=False
        )
        api.root.add_method("ANY", every)
        api.root.add_proxy(default_integration=every, any_method=True)
        self._acknowledge(api)
        return api

    def _acknowledge(self, api: apigateway.RestApi) -> None:
        """Say why some rules of cdk-nag don't hold here, each beside its resource."""
        stage = api.deployment_stage
        acknowledge(
            api,
            "AwsSolutions-APIG2",
            "The function validates: it tells every fault of a workflow at once, with its place.",
        )
        acknowledge(
            stage,
            "AwsSolutions-APIG3",
            "Every method needs a caller with IAM credentials; a web ACL costs money while idle.",
        )
        acknowledge(
            stage,
            "AwsSolutions-APIG6",
            "Access logs tell every request; execution logs go to a group without retention.",
        )
        for method in _methods(api):
            acknowledge(
                method,
                "AwsSolutions-COG4",
                "Callers sign with IAM credentials (SigV4); Hut has no users of its own.",
            )
        if (role := api.node.try_find_child("CloudWatchRole")) is not None:
            acknowledge(
                role,
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AmazonAPIGatewayPushToCloudWatchLogs]",
                "API Gateway asks for this policy when the account's role for logs is set.",
            )


def _own_account_only(account: str) -> iam.PolicyDocument:
    """Return the API's own policy: it refuses, and lets nobody in.

    Who may call says an identity policy. Without this one, callers of other accounts would be refused
    for lack of an allowance; with it, no allowance that somebody adds lets one in (decision 19).
    """

    def refuse(operator: str, key: str, value: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["execute-api:Invoke"],
            resources=["execute-api:/*"],
            conditions={operator: {key: value}},
        )

    return iam.PolicyDocument(
        statements=[
            refuse("StringNotEquals", "aws:PrincipalAccount", account),
            refuse("Bool", "aws:SecureTransport", "false"),
        ]
    )


def _methods(scope: IConstruct) -> list[apigateway.Method]:
    return [child for child in scope.node.find_all() if isinstance(child, apigateway.Method)]
