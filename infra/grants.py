"""What each Lambda function may do: one method per function, and one per thing that can be allowed.

Actions are named one by one. All functions but `finish` change the table; `advance` and `sweep`,
which advances runs too, are the ones that submit jobs. Who reads runs reads ``bodies/``, where the
table keeps texts that are too large for an item. Why each of them needs what, and no less, stands in
``tests/access/roles.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs

from hut.aws.checks import check_function_name
from infra.compute import ComputeStack
from infra.permissions import allow
from infra.storage import StorageStack
from infra.task_compute import task_machine_name

__all__ = ["Grants"]

_READ_ITEMS = ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query")
_CHANGE_ITEMS = ("dynamodb:BatchWriteItem", "dynamodb:PutItem", "dynamodb:UpdateItem")
_RECEIVE = (
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
)
_NO_RESOURCE = "Batch checks its Describe and List calls against no resource"
_DESCRIBE_QUEUES = ("batch:DescribeComputeEnvironments", "batch:DescribeJobQueues")
_BY_KEY = "objects are named after runs and uploads; only these prefixes"


@dataclass(frozen=True, slots=True)
class Grants:
    """Allows the functions of one deployment what they need.

    Parameters
    ----------
    machine_name
        Name of the run state machine. Its ARN is put together here, because the machine itself
        depends on functions that depend on these grants.
    """

    storage: StorageStack
    compute: ComputeStack
    prefix: str
    machine_name: str
    observe_queue: sqs.IQueue
    wake_queue: sqs.IQueue
    bells: Sequence[sqs.IQueue] = ()

    def give(self, function: str, role: iam.Role) -> None:
        """Allow the role of a function all it needs."""
        kinds: Mapping[str, Callable[[iam.Role], None]] = {
            "api": self._api,
            "register": self._register,
            "advance": self._advance,
            "observe": self._observe,
            "sweep": self._sweep,
            "finish": self._finish,
            "check": lambda _: None,  # it reads nothing but what it is asked
        }
        kinds[function](role)

    # The functions -------------------------------------------------------------------------------

    def _api(self, role: iam.Role) -> None:
        self._change_items(role)
        self._read_lists(role, "runs", "owners", "workflows")
        # It adds to the audit record and reads it; nobody changes or deletes what is in it.
        allow(role, ["dynamodb:PutItem", "dynamodb:Query"], [self.storage.audit_table.table_arn])
        self._objects(role, ("s3:GetObject", "s3:PutObject"), "uploads", "plans", "bodies")
        self._objects(role, ("s3:GetObject",), "documents")
        allow(role, ["states:StartExecution"], [self._machine(role)])
        self._read_job_logs(role)
        self._describe(role, "batch:DescribeJobs", *_DESCRIBE_QUEUES)
        self._look_into_queues(role)
        if self.compute.jobs.definition is not None:
            # Which image it is locked to, and where it sends its output.
            self._describe(role, "batch:DescribeJobDefinitions")
        self._executions(role, "states:DescribeExecution")
        self._take_out_of_pools(role)
        self._tell_of_pools(role)

    def _register(self, role: iam.Role) -> None:
        self._change_items(role)
        self._objects(role, ("s3:GetObject",), "plans", "bodies")
        self._answer_tokens(role)

    def _advance(self, role: iam.Role) -> None:
        self._change_items(role)
        self._delete_items(role)
        self._read_stream(role)
        self._submit_jobs(role)
        self._terminate_jobs(role)
        self._describe(role, "batch:DescribeJobs", "batch:ListJobs")
        self._objects(role, ("s3:GetObject",), "plans")
        self._objects(role, ("s3:GetObject", "s3:PutObject"), "bodies")
        self._answer_tokens(role)
        self._wake(role)
        allow(role, _RECEIVE, [self.wake_queue.queue_arn])
        self._see_to_programs(role, starts=True)
        self._start_executions(role)
        self._executions(role, "states:StopExecution")
        self._end_instances(role)
        self._tell_of_pools(role)
        self._ring(role)

    def _observe(self, role: iam.Role) -> None:
        self._change_items(role)
        self._read_job_logs(role)
        self._terminate_jobs(role)
        self._objects(role, ("s3:GetObject", "s3:PutObject"), "bodies")
        allow(role, _RECEIVE, [self.observe_queue.queue_arn])
        self._see_to_programs(role, starts=False)
        self._executions(role, "states:DescribeExecution", "states:StopExecution")
        self._answer_executions(role)
        self._end_instances(role)
        self._disown_instances(role)
        self._take_out_of_pools(role)
        self._tell_of_pools(role)

    def _sweep(self, role: iam.Role) -> None:
        self._change_items(role)
        self._delete_items(role)
        self._read_lists(role, "active")
        self._read_job_logs(role)
        self._submit_jobs(role)
        self._terminate_jobs(role)
        self._cancel_jobs(role)
        self._see_to_programs(role, starts=True)
        self._describe(role, "batch:DescribeJobs", "batch:ListJobs", *_DESCRIBE_QUEUES)
        self._objects(role, ("s3:GetObject",), "plans")
        self._objects(role, ("s3:GetObject", "s3:PutObject"), "bodies")
        allow(role, ["states:StartExecution"], [self._machine(role)])
        self._answer_tokens(role)
        self._wake(role)
        self._start_executions(role)
        self._list_executions(role)
        self._executions(role, "states:DescribeExecution", "states:StopExecution")
        self._end_instances(role)
        self._tell_of_pools(role)
        self._ring(role)

    def _finish(self, role: iam.Role) -> None:
        allow(role, ["dynamodb:GetItem"], [self.storage.table.table_arn])
        self._objects(role, ("s3:GetObject",), "bodies")

    # What can be allowed -------------------------------------------------------------------------

    def _see_to_programs(self, role: iam.Role, *, starts: bool) -> None:
        """Allow to keep documents of task programs, to read those that others refer to, to have them checked."""
        actions = ("s3:GetObject", "s3:PutObject") if starts else ("s3:PutObject",)
        self._objects(role, actions, "documents")
        function = self._arn(role, "lambda", f"function:{check_function_name(self.prefix)}")
        allow(role, ["lambda:InvokeFunction"], [function])

    def _change_items(self, role: iam.Role) -> None:
        allow(role, [*_READ_ITEMS, *_CHANGE_ITEMS], [self.storage.table.table_arn])

    def _delete_items(self, role: iam.Role) -> None:
        """Allow what only claims do: they use up pages of ready tasks, delays and notes."""
        allow(role, ["dynamodb:DeleteItem"], [self.storage.table.table_arn])

    def _read_lists(self, role: iam.Role, *indexes: str) -> None:
        table = self.storage.table.table_arn
        allow(role, ["dynamodb:Query"], [f"{table}/index/{index}" for index in indexes])

    def _read_stream(self, role: iam.Role) -> None:
        table = self.storage.table
        assert table.table_stream_arn is not None  # noqa: S101 - the table has one
        allow(
            role,
            ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            [table.table_stream_arn],
        )
        allow(
            role,
            ["dynamodb:ListStreams"],
            [f"{table.table_arn}/stream/*"],
            because="streams are listed for a table, before one of them is known",
        )

    def _objects(self, role: iam.Role, actions: Sequence[str], *prefixes: str) -> None:
        bucket = self.storage.bucket
        allow(
            role,
            actions,
            [bucket.arn_for_objects(f"{prefix}/*") for prefix in prefixes],
            because=_BY_KEY,
        )

    def _read_job_logs(self, role: iam.Role) -> None:
        allow(role, ["logs:GetLogEvents"], [self.storage.job_logs.log_group_arn])
        others = {self.compute.log_group, self.compute.task_log_group} - {f"/{self.prefix}/jobs"}
        for group in sorted(others):
            allow(
                role,
                ["logs:GetLogEvents"],
                [self._arn(role, "logs", f"log-group:{group}:*")],
                because="the streams of a group are made by its jobs",
            )

    def _wake(self, role: iam.Role) -> None:
        allow(role, ["sqs:SendMessage"], [self.wake_queue.queue_arn])

    def _answer_tokens(self, role: iam.Role) -> None:
        allow(role, ["states:SendTaskSuccess"], [self._machine(role)])

    def _describe(self, role: iam.Role, *actions: str) -> None:
        allow(role, actions, ["*"], because=_NO_RESOURCE)

    def _submit_jobs(self, role: iam.Role) -> None:
        """Allow jobs, their definitions, and scripts that are too large to be handed to Batch."""
        compute = self.compute
        definitions, named = self._definitions(role)
        jobs = self._arn(role, "batch", "job/*")
        allow(role, ["batch:SubmitJob"], [*compute.queues.values(), *definitions], because=named)
        tagged = [jobs]
        if not compute.jobs.locked:
            allow(role, ["batch:RegisterJobDefinition"], definitions, because=named)
            tagged = [*definitions, jobs]
        allow(
            role,
            ["batch:TagResource"],
            tagged,
            because=f"{named}; Batch makes the ids of jobs",
        )
        roles = [arn for arn in (compute.job_role_arn, compute.execution_role_arn) if arn]
        if roles and not compute.jobs.locked:
            allow(
                role,
                ["iam:PassRole"],
                roles,
                # AWS does not document which of the two Batch names; both trust ECS tasks only.
                conditions={
                    "StringEquals": {
                        "iam:PassedToService": ["batch.amazonaws.com", "ecs-tasks.amazonaws.com"]
                    }
                },
            )
        self._describe(role, "batch:DescribeJobDefinitions")
        self._objects(role, ("s3:GetObject", "s3:PutObject"), "scripts")

    def _definitions(self, role: iam.Role) -> tuple[list[str], str]:
        """Return the job definitions that jobs are submitted against, and why by patterns."""
        reference = self.compute.jobs.definition
        if reference is None:
            named = "Hut registers its definitions at run time, one per image, under its prefix"
            return [self._arn(role, "batch", f"job-definition/{self.prefix}-*")], named
        named = "Batch numbers the revisions of a job definition"
        name, _, revision = reference.rpartition("/")[2].partition(":")
        whole = self._arn(role, "batch", f"job-definition/{name}")
        if self.compute.jobs.locked and revision:
            return [f"{whole}:{revision}"], named
        return [whole, f"{whole}:*"], named

    def _look_into_queues(self, role: iam.Role) -> None:
        """Allow to see which jobs come first: those behind the first are not told why they wait."""
        allow(role, ["batch:GetJobQueueSnapshot"], list(self.compute.queues.values()))

    def _cancel_jobs(self, role: iam.Role) -> None:
        """Allow to end jobs that wait too long: cancelling leaves those alone that have started."""
        allow(
            role,
            ["batch:CancelJob"],
            [self._arn(role, "batch", "job/*")],
            because="Batch makes the ids of jobs",
        )

    def _terminate_jobs(self, role: iam.Role) -> None:
        allow(
            role,
            ["batch:TerminateJob"],
            [self._arn(role, "batch", "job/*")],
            because="Batch makes the ids of jobs",
        )

    # Pools of workers, where there are any -------------------------------------------------------

    def _take_out_of_pools(self, role: iam.Role) -> None:
        """Allow to take from queues what a worker is given or nobody wants, and workers that are gone."""
        if self.bells:
            allow(
                role,
                ["dynamodb:DeleteItem"],
                [self.storage.table.table_arn],
                conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["POOL#*"]}},
            )

    def _tell_of_pools(self, role: iam.Role) -> None:
        """Allow to tell of ends that are recorded where there is time: whoever takes something out does."""
        if self.bells:
            allow(role, ["sqs:SendMessage"], [self.observe_queue.queue_arn])

    def _ring(self, role: iam.Role) -> None:
        if self.bells:
            allow(role, ["sqs:SendMessage"], [bell.queue_arn for bell in self.bells])

    # Tasks on instances, where there are any ------------------------------------------------------

    def _start_executions(self, role: iam.Role) -> None:
        if self.compute.hosts is not None:
            allow(role, ["states:StartExecution"], [self._task_machine(role)])

    def _list_executions(self, role: iam.Role) -> None:
        if self.compute.hosts is not None:
            allow(role, ["states:ListExecutions"], [self._task_machine(role)])

    def _answer_executions(self, role: iam.Role) -> None:
        """Allow to let an execution look at once: it waits for its end under a token."""
        if self.compute.hosts is not None:
            allow(role, ["states:SendTaskSuccess"], [self._task_machine(role)])

    def _executions(self, role: iam.Role, *actions: str) -> None:
        if self.compute.hosts is not None:
            name = task_machine_name(self.prefix)
            allow(
                role,
                actions,
                [self._arn(role, "states", f"execution:{name}:*")],
                because="executions are named after attempts",
            )

    def _end_instances(self, role: iam.Role) -> None:
        """Allow to find instances and to end those that carry the deployment's tag."""
        if self.compute.hosts is None:
            return
        allow(
            role,
            ["ec2:DescribeInstances"],
            ["*"],
            because="EC2 checks its Describe calls against no resource",
        )
        allow(
            role,
            ["ec2:TerminateInstances"],
            [self._arn(role, "ec2", "instance/*")],
            because="EC2 makes the ids of instances; the tag says whose they are",
            conditions={"StringEquals": {"aws:ResourceTag/hut": self.prefix}},
        )

    def _disown_instances(self, role: iam.Role) -> None:
        """Allow to remove what says whose an instance is, and that it is idle; nothing else."""
        if self.compute.hosts is not None:
            allow(
                role,
                ["dynamodb:DeleteItem"],
                [self.storage.table.table_arn],
                conditions={
                    "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["HOST#*", "IDLE#*"]}
                },
            )

    def _task_machine(self, role: iam.Role) -> str:
        return self._arn(role, "states", f"stateMachine:{task_machine_name(self.prefix)}")

    # Names ---------------------------------------------------------------------------------------

    def _machine(self, role: iam.Role) -> str:
        return self._arn(role, "states", f"stateMachine:{self.machine_name}")

    @staticmethod
    def _arn(role: iam.Role, service: str, resource: str) -> str:
        stack = Stack.of(role)
        return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}:{resource}"
