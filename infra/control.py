"""The control plane stack: the functions and what calls them.

The table's stream calls `advance`; Batch and Step Functions events reach `observe` through a queue;
a queue with delays wakes `advance`; a schedule calls `sweep`; the run state machine calls `register`
and `finish`. What can't be processed ends in a dead-letter queue, and the sweep repairs the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from aws_cdk import aws_logs_destinations as destinations
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn

from hut.backends.batch.jobs import STARTS_ARE_TOLD
from hut.backends.bundle_markers import TOLD_PATTERN
from infra.compute import ComputeStack
from infra.functions import FUNCTIONS, Function
from infra.grants import Grants
from infra.permissions import acknowledge, allow, service_role
from infra.pools import make_bells, pool_entries
from infra.run_machine import make_run_machine
from infra.settings import Settings
from infra.storage import StorageStack
from infra.task_events import watch_tasks
from infra.task_execution import make_task_machine

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["ControlStack"]

_DELIVERIES = 10
_DEAD_LETTERS_KEPT = Duration.days(14)


class ControlStack(Stack):
    """The functions, queues, rules, mappings, state machine and schedule of one deployment.

    Attributes
    ----------
    functions : dict of str to Function
        By name.
    machine : aws_stepfunctions.StateMachine
        One execution of it per run.
    task_machine : aws_stepfunctions.StateMachine or None
        One execution of it per task on an instance of its own, where there are any.
    bells : dict of str to aws_sqs.Queue
        What rings for the workers of each pool.
    queues : dict of str to aws_sqs.Queue
        ``observe``, ``wake``, and the dead letters of each and of the stream: ``stream_dead``.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        settings: Settings,
        *,
        storage: StorageStack,
        compute: ComputeStack,
        code: Mapping[str, lambda_.Code],
        **options: Any,
    ) -> None:
        super().__init__(scope, name, **options)
        self._settings = settings
        self._storage = storage
        self._machine_name = f"{settings.prefix}-run"
        self.queues: dict[str, sqs.Queue] = {}
        self.bells = make_bells(self, settings)
        self._observe_queue = self._make_queue("Observe", taker="observe")
        self._wake_queue = self._make_queue("Wake", taker="advance")
        self.functions = self._make_functions(compute, code)
        self.machine = make_run_machine(
            self,
            name=self._machine_name,
            register=self.functions["register"].function,
            finish=self.functions["finish"].function,
            log_group=storage.run_logs,
        )
        self.task_machine: sfn.StateMachine | None = None
        if compute.hosts is not None:
            self.task_machine = make_task_machine(
                self,
                settings,
                compute.hosts,
                table=storage.table,
                observe_queue=self._observe_queue,
                log_group=storage.task_logs,
            )
            watch_tasks(self, self.task_machine, compute.hosts.document, self._observe_queue)
        self._follow_table()
        self._take_messages()
        self._watch_jobs_and_executions()
        self._listen_to_jobs()
        self._schedule_sweep()

    # Queues --------------------------------------------------------------------------------------

    def _make_queue(self, name: str, *, taker: str) -> sqs.Queue:
        dead = self._make_dead_letters(name)
        queue = sqs.Queue(
            self,
            f"{name}Queue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # Six times the function's, so that a retried batch is not taken by a second one.
            visibility_timeout=Duration.seconds(6 * FUNCTIONS[taker].timeout),
            retention_period=Duration.days(4),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=_DELIVERIES),
        )
        self.queues[name.lower()] = queue
        return queue

    def _make_dead_letters(self, name: str) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            f"{name}DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=_DEAD_LETTERS_KEPT,
        )
        self.queues[f"{name.lower()}_dead"] = queue
        return queue

    # Functions -----------------------------------------------------------------------------------

    def _make_functions(
        self, compute: ComputeStack, code: Mapping[str, lambda_.Code]
    ) -> dict[str, Function]:
        settings, storage = self._settings, self._storage
        grants = Grants(
            storage=storage,
            compute=compute,
            prefix=settings.prefix,
            machine_name=self._machine_name,
            observe_queue=self._observe_queue,
            wake_queue=self._wake_queue,
            bells=list(self.bells.values()),
        )
        environment = {
            "HUT_TABLE": storage.table.table_name,
            "HUT_BUCKET": storage.bucket.bucket_name,
            "HUT_PREFIX": settings.prefix,
            "HUT_BACKENDS": self.to_json_string(
                [*compute.backends(), *pool_entries(self, settings, self.bells)]
            ),
            "HUT_RETENTION_DAYS": str(settings.data_days),
            "HUT_SUBMIT_RATE": str(settings.submit_rate),
            "HUT_AUDIT_TABLE": storage.audit_table.table_name,
            "HUT_AUDIT_DAYS": str(settings.audit_days),
            "HUT_WAKE_QUEUE_URL": self._wake_queue.queue_url,
            "HUT_OBSERVE_QUEUE_URL": self._observe_queue.queue_url,
            "HUT_STATE_MACHINE_ARN": self.format_arn(
                service="states", resource=f"stateMachine:{self._machine_name}"
            ),
            "LOG_LEVEL": settings.log_level,
        }
        functions = {}
        for name in FUNCTIONS:
            made = Function(
                self,
                name,
                function_name=f"{settings.prefix}-{name}",
                code=code[name],
                log_group=storage.function_logs[name],
                environment=environment,
                reserve=settings.reserve_sweep,
            )
            grants.give(name, made.role)
            functions[name] = made
        return functions

    # What calls them -----------------------------------------------------------------------------

    def _follow_table(self) -> None:
        """Call `advance` with what the table's stream says about ends and signals."""
        # See `hut.store.dynamodb.log`. Only inserts pass: these items are never changed, and what is
        # removed has no new image.
        exists = [{"exists": True}]
        patterns = [
            {"dynamodb": {"NewImage": {"kind": {"S": ["log"]}, **what}}}
            for what in ({"ended": {"N": exists}}, {"signals": {"S": exists}})
        ]
        given_up = self._make_dead_letters("Stream")
        acknowledge(
            given_up,
            "AwsSolutions-SQS3",
            "It is the dead-letter queue of the stream; stream mappings name it as a destination.",
        )
        lambda_.EventSourceMapping(
            self,
            "StreamToAdvance",
            target=self.functions["advance"].function,
            event_source_arn=self._storage.table.table_stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=100,
            max_batching_window=Duration.seconds(self._settings.stream_window),
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            retry_attempts=20,
            on_failure=sources.SqsDlq(given_up),
            filters=[lambda_.FilterCriteria.filter(each) for each in patterns],
        )

    def _take_messages(self) -> None:
        """Call `observe` and `advance` with the messages of their queues."""
        lambda_.EventSourceMapping(
            self,
            "QueueToObserve",
            target=self.functions["observe"].function,
            event_source_arn=self._observe_queue.queue_arn,
            # Ends of a run are recorded together, and calls for one run wait for each other: few and
            # large ones ask for less, and none has to give up.
            batch_size=500,
            max_batching_window=Duration.seconds(max(1, self._settings.observe_window)),
            max_concurrency=2,
            report_batch_item_failures=True,
        )
        lambda_.EventSourceMapping(
            self,
            "QueueToAdvance",
            target=self.functions["advance"].function,
            event_source_arn=self._wake_queue.queue_arn,
            batch_size=10,
            report_batch_item_failures=True,
        )

    def _watch_jobs_and_executions(self) -> None:
        """Send what becomes of this deployment's jobs and executions to the observe queue.

        Only AWS puts events of its own sources on the bus; where an account lets another one forward
        its events to it, they carry that one's number.
        """
        target = targets.SqsQueue(self._observe_queue)
        ours = {
            "jobName": [{"prefix": f"{self._settings.prefix}-"}],
            # Of an array, its children are told of; the array itself has a size and tells nothing new.
            "arrayProperties": {"size": [{"exists": False}]},
        }
        kinds: dict[str, tuple[str, dict[str, Any]]] = {
            "JobEnds": ("Jobs of Hut that ended", {"status": ["SUCCEEDED", "FAILED"]}),
            "JobStarts": (
                "Jobs of small runs that began to run",
                {
                    "status": ["RUNNING"],
                    "parameters": {name: [value] for name, value in STARTS_ARE_TOLD.items()},
                },
            ),
        }
        for name, (description, wanted) in kinds.items():
            events.Rule(
                self,
                name,
                description=description,
                event_pattern=events.EventPattern(
                    source=["aws.batch"],
                    account=[self.account],
                    detail_type=["Batch Job State Change"],
                    detail={**ours, **wanted},
                ),
                targets=[target],
            )
        events.Rule(
            self,
            "ExecutionStops",
            description="Executions of runs that ended otherwise than by themselves",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                account=[self.account],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "status": ["ABORTED", "TIMED_OUT", "FAILED"],
                    "stateMachineArn": [self.machine.state_machine_arn],
                },
            ),
            targets=[target],
        )

    def _listen_to_jobs(self) -> None:
        """Call `observe` with the lines by which jobs tell of the tasks they run.

        Only such lines match, so where no job runs several tasks nothing is called. Log groups that are
        somebody's own are not subscribed to: they may have as many subscribers as there can be.
        """
        logs.SubscriptionFilter(
            self,
            "TasksInBundles",
            log_group=self._storage.job_logs,
            destination=destinations.LambdaDestination(self.functions["observe"].function),
            filter_pattern=logs.FilterPattern.literal(TOLD_PATTERN),
            filter_name=f"{self._settings.prefix}-bundles",
        )

    def _schedule_sweep(self) -> None:
        sweep = self.functions["sweep"].function
        role = service_role(
            self, "ScheduleRole", "scheduler.amazonaws.com", "The schedule of the sweep"
        )
        allow(role, ["lambda:InvokeFunction"], [sweep.function_arn])
        minutes = self._settings.sweep_minutes
        schedule = scheduler.CfnSchedule(
            self,
            "SweepSchedule",
            name=f"{self._settings.prefix}-sweep",
            description="Finds what events lost and repairs it",
            schedule_expression=f"rate({minutes} minute{'s' if minutes > 1 else ''})",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            state="ENABLED",
            target=scheduler.CfnSchedule.TargetProperty(
                arn=sweep.function_arn,
                role_arn=role.role_arn,
                input="{}",
                # The next one comes soon enough.
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=0, maximum_event_age_in_seconds=60
                ),
            ),
        )
        # Scheduler checks at once that it may take the role and call the function.
        schedule.node.add_dependency(role)
