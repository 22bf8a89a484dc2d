"""The Lambda functions: one construct with its own role, and the table of what each one needs.

What a function may do stands in `infra.grants`; what calls it, in `infra.control`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.permissions import acknowledge, allow, service_role

__all__ = ["FUNCTIONS", "Function", "FunctionOptions"]

RUNTIME = lambda_.Runtime.PYTHON_3_12


@dataclass(frozen=True, slots=True)
class FunctionOptions:
    """What one Lambda function needs.

    Attributes
    ----------
    timeout : int
        Seconds.
    memory : int
        MiB; the CPU's share grows with it.
    variables : tuple of str
        Environment variables beside those that all functions get.
    only_once : bool
        Never two at a time, and a call that could not be made is not made later.
    """

    summary: str
    timeout: int
    memory: int = 512
    variables: tuple[str, ...] = ()
    only_once: bool = False


FUNCTIONS: Mapping[str, FunctionOptions] = MappingProxyType(
    {
        # The API's own limit is 29 s; with a whole CPU, large workflows are planned within it.
        "api": FunctionOptions(
            "The REST API: plans, submits, lists, cancels",
            29,
            1769,
            (
                "HUT_STATE_MACHINE_ARN",
                "HUT_AUDIT_TABLE",
                "HUT_AUDIT_DAYS",
                "HUT_OBSERVE_QUEUE_URL",
            ),
        ),
        "register": FunctionOptions(
            "Stores the tasks of a run block by block, then starts it",
            120,
        ),
        "advance": FunctionOptions(
            "Follows up ends: releases, claims and submits tasks",
            60,
            variables=("HUT_SUBMIT_RATE", "HUT_WAKE_QUEUE_URL", "HUT_OBSERVE_QUEUE_URL"),
        ),
        "observe": FunctionOptions(
            "Takes in what happened to jobs and executions",
            60,
            variables=("HUT_OBSERVE_QUEUE_URL",),
        ),
        "sweep": FunctionOptions(
            "Finds what events lost and repairs it",
            120,
            variables=(
                "HUT_STATE_MACHINE_ARN",
                "HUT_SUBMIT_RATE",
                "HUT_WAKE_QUEUE_URL",
                "HUT_OBSERVE_QUEUE_URL",
            ),
            only_once=True,
        ),
        "finish": FunctionOptions("Tells how a run ended", 60, 256),
        # Whoever asks waits 20 s for an answer; a check that may not end is stopped after ten.
        "check": FunctionOptions(
            "Holds documents of task programs against their schemas", 18, 1024
        ),
    }
)


class Function(Construct):
    """One Lambda function with a role of its own.

    Parameters
    ----------
    name
        Key in `FUNCTIONS`; the module ``handlers.<name>``.
    function_name
        Its name in the account.
    environment
        All variables any function may need; it gets those it names and the common ones.
    reserve
        Reserve a concurrency of one for a function that must run only once at a time.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        function_name: str,
        code: lambda_.Code,
        log_group: logs.ILogGroup,
        environment: Mapping[str, str],
        reserve: bool = True,
    ) -> None:
        super().__init__(scope, name.capitalize())
        options = FUNCTIONS[name]
        particular = {variable for each in FUNCTIONS.values() for variable in each.variables}
        self.role = service_role(
            self, "Role", "lambda.amazonaws.com", f"The function {function_name}"
        )
        allow(self.role, ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            description=options.summary,
            runtime=RUNTIME,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"handlers.{name}.handler",
            code=code,
            role=self.role,
            timeout=Duration.seconds(options.timeout),
            memory_size=options.memory,
            environment={
                **{
                    variable: value
                    for variable, value in environment.items()
                    if variable not in particular or variable in options.variables
                },
                "POWERTOOLS_SERVICE_NAME": f"hut-{name}",
            },
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            reserved_concurrent_executions=1 if options.only_once and reserve else None,
            retry_attempts=0 if options.only_once else None,
            max_event_age=Duration.minutes(1) if options.only_once else None,
        )
        acknowledge(
            self.role,
            "AwsSolutions-IAM5[Resource::*]",
            "X-Ray takes segments for no resource; other statements on * say why beside them.",
        )
        acknowledge(
            self.function,
            "AwsSolutions-L1",
            "The wheels in the bundle are locked for this version of Python.",
        )
