"""The compute stack: where jobs run. Batch environments and queues, and the roles of jobs.

Four queues, by what a task's ``partition`` names: EC2 and Fargate, on demand and spot. All of them
shrink to nothing when idle. Existing queues, roles and networks replace what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aws_cdk import ArnFormat, CfnWaitConditionHandle, Fn, Stack
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs

from hut.backends.batch import prices
from infra import values
from infra.ec2_settings import DEFAULT_TYPES
from infra.job_roles import make_execution_role, make_instance_profile, make_job_role
from infra.network import Network, make_network
from infra.settings import Settings
from infra.storage import StorageStack
from infra.task_compute import TaskHosts, make_task_hosts, task_machine_name

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["ComputeStack"]

_SHARE_DECAY_SECONDS = 3600

_Resources = batch.CfnComputeEnvironment.ComputeResourcesProperty


class ComputeStack(Stack):
    """What runs the jobs of one deployment.

    Attributes
    ----------
    queues : mapping of str to str
        ARN of the queue of each partition.
    job_role_arn, execution_role_arn : str or None
        Made where they are not given; None with a job definition that exists, which has its own.
    jobs : JobSettings
        What all jobs have in common.
    log_group, task_log_group : str
        What jobs of Batch write to, and tasks on instances of their own.
    hosts : TaskHosts or None
        What instances of tasks are made of, where there are any.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        settings: Settings,
        storage: StorageStack,
        **options: Any,
    ) -> None:
        super().__init__(scope, name, **options)
        self._settings = settings
        job_logs = storage.job_logs
        self.jobs, _ = settings.job_settings()
        self.log_group = settings.job_log_group or f"/{settings.prefix}/jobs"
        given = (settings.ec2 or {}).get("log_group")
        self.task_log_group = str(given or f"/{settings.prefix}/jobs")
        self.job_role_arn, self.execution_role_arn = (
            settings.job_role_arn,
            settings.execution_role_arn,
        )
        if settings.makes_definitions:
            self.job_role_arn = self.job_role_arn or make_job_role(self, storage.bucket).role_arn
            self.execution_role_arn = (
                self.execution_role_arn
                or make_execution_role(self, job_logs, self.jobs.secrets.values()).role_arn
            )
        self.queues: Mapping[str, str]
        network = make_network(self, settings) if settings.makes_compute else None
        if network is not None:
            self.queues = self._make_queues(network, job_logs)
        else:
            self.queues = {partition: queue.arn for partition, queue in settings.queues.items()}
            # A stack needs a resource; this one does nothing and costs nothing.
            CfnWaitConditionHandle(self, "NothingToMake")
        self.hosts: TaskHosts | None = None
        if settings.makes_ec2:
            self.hosts = make_task_hosts(self, settings, storage, network)

    @property
    def availability_zones(self) -> list[str]:
        """The region's first two zones, taken at deployment: synthesis asks no account."""
        return [Fn.select(index, Fn.get_azs()) for index in (0, 1)]

    def backends(self) -> list[Mapping[str, object]]:
        """Return the document of HUT_BACKENDS: the backends of this deployment."""
        settings = self._settings
        given: Mapping[str, Any] = values.mapping(settings.jobs.get("prices") or {})
        backend = {
            "name": "batch",
            "type": "batch",
            "queues": dict(self.queues),
            "default_queue": settings.default_partition,
            "platforms": dict(settings.partitions),
            "default_image": settings.default_image if settings.makes_definitions else None,
            "job_role_arn": self.job_role_arn,
            "execution_role_arn": self.execution_role_arn,
            "log_group": self.log_group,
            "max_concurrent": settings.max_concurrent,
            "scheduling_policies": settings.scheduling_policies,
            "share_by": settings.share_by,
            **settings.jobs,
            "prices": {**self._own_prices(), **given},
        }
        return [backend, *self._ec2()]

    def _ec2(self) -> list[Mapping[str, object]]:
        """Return the EC2 backend; what it does not say is as functions know it."""
        if self.hosts is None:
            return []
        # The machine itself is made beside what it tells, in a stack that needs this one.
        machine = self.format_arn(
            service="states",
            resource="stateMachine",
            resource_name=task_machine_name(self._settings.prefix),
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        given = {**(self._settings.ec2 or {})}
        given.pop("instance_role_arn", None)
        return [
            {
                "name": "ec2",
                "type": "ec2",
                "machine": machine,
                "instance_types": dict(DEFAULT_TYPES),
                "log_group": self.task_log_group,
                **given,
                **self.hosts.entry(),
            }
        ]

    def _own_prices(self) -> dict[str, dict[str, float]]:
        """Return what the queues made here cost, where that is not Fargate's list price."""
        if not self._settings.makes_compute:
            return {}
        own = {
            "ec2": prices.EC2,
            "ec2-spot": prices.EC2_SPOT,
            "fargate-spot": prices.FARGATE_SPOT[self.jobs.architecture("fargate-spot")],
        }
        return {
            partition: {"vcpu_hour": price.vcpu_hour, "gib_hour": price.gib_hour}
            for partition, price in own.items()
        }

    def _make_queues(self, network: Network, job_logs: logs.ILogGroup) -> dict[str, str]:
        settings = self._settings
        profile_arn, profile = settings.instance_profile_arn, None
        if profile_arn is None:
            profile = make_instance_profile(self, job_logs)
            profile_arn = profile.attr_arn
        template = self._make_template()
        hosts: dict[str, Any] = {
            "instance_role": profile_arn,
            "instance_types": list(settings.instance_types),
            "minv_cpus": 0,
            "ec2_configuration": [
                batch.CfnComputeEnvironment.Ec2ConfigurationObjectProperty(image_type="ECS_AL2023")
            ],
            "launch_template": batch.CfnComputeEnvironment.LaunchTemplateSpecificationProperty(
                launch_template_id=template.ref, version=template.attr_latest_version_number
            ),
        }
        kinds: dict[str, tuple[str, dict[str, Any]]] = {
            "ec2": ("EC2", {**hosts, "allocation_strategy": "BEST_FIT_PROGRESSIVE"}),
            "ec2-spot": ("SPOT", {**hosts, "allocation_strategy": "SPOT_PRICE_CAPACITY_OPTIMIZED"}),
            "fargate": ("FARGATE", {}),
            "fargate-spot": ("FARGATE_SPOT", {}),
        }
        policy = self._make_policy() if settings.fair_share else None
        queues = {}
        for partition, (kind, details) in kinds.items():
            resources = _Resources(
                type=kind,
                maxv_cpus=settings.max_vcpus,
                subnets=list(network.subnet_ids),
                security_group_ids=list(network.security_group_ids),
                **details,
            )
            environment = self._make_environment(partition, resources, is_ec2=bool(details))
            if profile is not None and details:
                environment.node.add_dependency(profile)
            queues[partition] = self._make_queue(partition, environment, policy)
        return queues

    def _make_environment(
        self, partition: str, resources: _Resources, *, is_ec2: bool
    ) -> batch.CfnComputeEnvironment:
        return batch.CfnComputeEnvironment(
            self,
            f"{_camel(partition)}Environment",
            type="MANAGED",
            state="ENABLED",
            compute_resources=resources,
            # Updated in place: a replacement would have to wait for the queue to let go of it.
            replace_compute_environment=False,
            update_policy=batch.CfnComputeEnvironment.UpdatePolicyProperty(
                job_execution_timeout_minutes=360, terminate_jobs_on_update=False
            )
            if is_ec2
            else None,
        )

    def _make_policy(self) -> batch.CfnSchedulingPolicy:
        """Make a policy in which all shares weigh the same; what was used counts for an hour."""
        return batch.CfnSchedulingPolicy(
            self,
            "FairShare",
            name=f"{self._settings.prefix}-fair",
            fairshare_policy=batch.CfnSchedulingPolicy.FairsharePolicyProperty(
                share_decay_seconds=_SHARE_DECAY_SECONDS
            ),
        )

    def _make_queue(
        self,
        partition: str,
        environment: batch.CfnComputeEnvironment,
        policy: batch.CfnSchedulingPolicy | None,
    ) -> str:
        """Make a queue. One with a policy is another than the one without: it can't be changed."""
        queue = batch.CfnJobQueue(
            self,
            f"{_camel(partition)}{'Fair' if policy else ''}Queue",
            job_queue_name=f"{self._settings.prefix}-{partition}{'-fair' if policy else ''}",
            scheduling_policy_arn=policy.attr_arn if policy else None,
            priority=1,
            state="ENABLED",
            compute_environment_order=[
                batch.CfnJobQueue.ComputeEnvironmentOrderProperty(
                    compute_environment=environment.attr_compute_environment_arn, order=1
                )
            ],
        )
        return queue.attr_job_queue_arn

    def _make_template(self) -> ec2.CfnLaunchTemplate:
        """Make the template of EC2 hosts: sessions for metadata, an encrypted disk."""
        template = ec2.CfnLaunchTemplate
        return template(
            self,
            "HostTemplate",
            launch_template_data=template.LaunchTemplateDataProperty(
                metadata_options=template.MetadataOptionsProperty(
                    http_endpoint="enabled",
                    http_tokens="required",
                    # One hop: containers of jobs don't reach the host's credentials.
                    http_put_response_hop_limit=1,
                ),
                block_device_mappings=[
                    template.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=template.EbsProperty(
                            volume_type="gp3",
                            volume_size=self._settings.disk_gib,
                            encrypted=True,
                            delete_on_termination=True,
                        ),
                    )
                ],
            ),
        )


def _camel(partition: str) -> str:
    return "".join(part.capitalize() for part in partition.split("-"))
