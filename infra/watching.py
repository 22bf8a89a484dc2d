"""The watching stack: a dashboard, alarms, and the topic that alarms are told through.

Nothing else depends on it; leave it out with ``alarms`` and ``dashboard`` both false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_cdk import ArnFormat, CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions

from infra.alarms import add_alarms
from infra.control import ControlStack
from infra.dashboard import add_dashboard
from infra.permissions import acknowledge
from infra.settings import Settings
from infra.storage import StorageStack
from infra.watched import Watched

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["WatchStack"]


class WatchStack(Stack):
    """The dashboard and the alarms of one deployment.

    Its outputs, as far as they are wanted: ``AlarmTopicArn`` and ``DashboardName``.
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
        tasks = control.task_machine
        watched = Watched(
            prefix=settings.prefix,
            table=storage.table.table_name,
            machine=control.machine.state_machine_arn,
            queues={key: queue.queue_name for key, queue in control.queues.items()},
            sweep_minutes=settings.sweep_minutes,
            task_machine=None if tasks is None else tasks.state_machine_arn,
            has_pools=bool(settings.pools),
        )
        alarms = {}
        if settings.alarms:
            alarms = add_alarms(self, watched, self._make_topic())
        if settings.dashboard:
            board = add_dashboard(self, watched, list(alarms.values()))
            CfnOutput(self, "DashboardName", value=board.dashboard_name)

    def _make_topic(self) -> sns.Topic:
        prefix = self._settings.prefix
        topic = sns.Topic(
            self,
            "Alarms",
            topic_name=f"{prefix}-alarms",
            display_name=f"Hut {prefix}",
            enforce_ssl=True,
        )
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="OnlyOurAlarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": self.account},
                    "ArnLike": {
                        "aws:SourceArn": self.format_arn(
                            service="cloudwatch",
                            resource="alarm",
                            resource_name=f"{prefix}-*",
                            arn_format=ArnFormat.COLON_RESOURCE_NAME,
                        )
                    },
                },
            )
        )
        acknowledge(
            topic,
            "AwsSolutions-SNS2",
            "CloudWatch can't publish to a topic under AWS's own key (alias/aws/sns), whose policy "
            "does not let it in, and a key of one's own costs $1 a month. Messages hold names and "
            "thresholds, and travel under TLS only.",
        )
        if self._settings.alarm_email:
            topic.add_subscription(subscriptions.EmailSubscription(self._settings.alarm_email))
        CfnOutput(self, "AlarmTopicArn", value=topic.topic_arn)
        return topic
