"""The storage stack: what outlives a deployment. The tables, the bucket, the log groups.

Nothing here computes; the other stacks come and go around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws_cdk import CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from infra.functions import FUNCTIONS
from infra.permissions import acknowledge, allow, service_role
from infra.settings import Settings

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["INDEXES", "StorageStack", "retention"]

# Lists for people; no decision reads an index. Name: partition key, sort key.
INDEXES: Mapping[str, tuple[str, str]] = {
    "runs": ("list", "listed"),
    "owners": ("owner_list", "listed"),
    "workflows": ("workflow_list", "listed"),
    "active": ("active", "listed"),
}
_EMPTY_BUCKET = Path(__file__).with_name("empty_bucket.py")
_BODIES = ("plans/", "bodies/", "scripts/", "documents/")
_RETENTIONS: Mapping[int, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1096: logs.RetentionDays.THREE_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}


class StorageStack(Stack):
    """The tables, the bucket and the log groups of one deployment.

    Attributes
    ----------
    table : aws_dynamodb.Table
    audit_table : aws_dynamodb.Table
        Who changed what; apart, so that who changes runs has no leave to change the record.
    bucket : aws_s3.Bucket
    job_logs : aws_logs.LogGroup
        What tasks print. It is data: kept as long as runs are.
    function_logs : dict of str to aws_logs.LogGroup
        By the name of the Lambda function.
    run_logs, access_logs : aws_logs.LogGroup
        Of the state machine, and of the API.
    """

    def __init__(self, scope: Construct, name: str, settings: Settings, **options: Any) -> None:
        super().__init__(scope, name, **options)
        self._settings = settings
        self._data_policy = RemovalPolicy.RETAIN if settings.keeps_data else RemovalPolicy.DESTROY
        prefix = settings.prefix
        self.table = self._make_runs_table()
        self.audit_table = self._make_table("AuditTable")
        self.bucket = self._make_bucket()
        self.job_logs = self._make_logs(
            "JobLogs", f"/{prefix}/jobs", settings.data_days, self._data_policy
        )
        self.function_logs = {
            function: self._make_logs(
                f"{function.capitalize()}Logs", f"/aws/lambda/{prefix}-{function}"
            )
            for function in FUNCTIONS
        }
        # The prefix /aws/vendedlogs/ keeps the account's log resource policy from growing.
        self.run_logs = self._make_logs("RunLogs", f"/aws/vendedlogs/states/{prefix}-run")
        self.task_logs = self._make_logs("TaskLogs", f"/aws/vendedlogs/states/{prefix}-ec2-task")
        self.access_logs = self._make_logs("AccessLogs", f"/{prefix}/api-access")

    def _make_runs_table(self) -> dynamodb.Table:
        table = self._make_table("Table", stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES)
        for index, (partition, sort) in INDEXES.items():
            table.add_global_secondary_index(
                index_name=index,
                partition_key=_text_key(partition),
                sort_key=_text_key(sort),
                projection_type=dynamodb.ProjectionType.KEYS_ONLY,
            )
        return table

    def _make_table(
        self, name: str, *, stream: dynamodb.StreamViewType | None = None
    ) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            name,
            partition_key=_text_key("pk"),
            sort_key=_text_key("sk"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=stream,
            time_to_live_attribute="ttl",
            # AWS's own key of the account: no monthly price, and its use stands in CloudTrail.
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=self._settings.keeps_data,
            removal_policy=self._data_policy,
        )

    def _make_bucket(self) -> s3.Bucket:
        kept = Duration.days(self._settings.data_days)
        bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=self._data_policy,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="aborted-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)
                ),
                s3.LifecycleRule(id="uploads", prefix="uploads/", expiration=Duration.days(1)),
                *(
                    s3.LifecycleRule(id=prefix.rstrip("/"), prefix=prefix, expiration=kept)
                    for prefix in _BODIES
                ),
            ],
        )
        acknowledge(
            bucket,
            "AwsSolutions-S1",
            "Only Hut's own roles and its presigned uploads reach the bucket; CloudTrail data "
            "events tell who did what, and a second bucket of server logs would need its own.",
        )
        if not self._settings.keeps_data:
            self._empty_on_delete(bucket)
        return bucket

    def _empty_on_delete(self, bucket: s3.Bucket) -> None:
        """Let CloudFormation empty the bucket first; it deletes no bucket with objects in it."""
        log_group = self._make_logs(
            "EmptyBucketLogs", f"/aws/lambda/{self._settings.prefix}-empty-bucket"
        )
        role = service_role(self, "EmptyBucketRole", "lambda.amazonaws.com", "Empties the bucket")
        allow(role, ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])
        allow(role, ["s3:ListBucket"], [bucket.bucket_arn])
        allow(
            role,
            ["s3:DeleteObject"],
            [bucket.arn_for_objects("*")],
            because="everything in the bucket is to be deleted",
        )
        function = lambda_.Function(
            self,
            "EmptyBucketFunction",
            function_name=f"{self._settings.prefix}-empty-bucket",
            description="Empties the bucket when the stack is deleted",
            runtime=lambda_.Runtime.PYTHON_3_12,
            architecture=lambda_.Architecture.ARM_64,
            handler="index.handler",
            code=lambda_.Code.from_inline(_EMPTY_BUCKET.read_text()),
            role=role,
            timeout=Duration.minutes(15),
            log_group=log_group,
        )
        acknowledge(
            function, "AwsSolutions-L1", "The same runtime as Hut's functions, so it is tested."
        )
        CustomResource(
            self,
            "EmptyBucket",
            resource_type="Custom::EmptyBucket",
            service_token=function.function_arn,
            properties={"Bucket": bucket.bucket_name},
        )

    def _make_logs(
        self,
        name: str,
        group: str,
        days: int | None = None,
        removal: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> logs.LogGroup:
        return logs.LogGroup(
            self,
            name,
            log_group_name=group,
            retention=retention(days or self._settings.log_days),
            removal_policy=removal,
        )


def _text_key(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)


def retention(days: int) -> logs.RetentionDays:
    """Return the shortest retention CloudWatch Logs offers that is not below `days`."""
    return next(kept for offered, kept in _RETENTIONS.items() if offered >= days)
