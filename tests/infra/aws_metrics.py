"""Metrics of AWS services as their documentation lists them, checked by hand: names and dimensions.

Looked up in November 2026 in: the Lambda developer guide, "Types of metrics for Lambda functions";
the SQS developer guide, "Available CloudWatch metrics for Amazon SQS"; the Step Functions developer
guide, "Monitoring Step Functions metrics using Amazon CloudWatch"; the API Gateway developer guide,
"Amazon API Gateway dimensions and metrics"; the DynamoDB developer guide, "DynamoDB Metrics and
dimensions"; the CloudWatch Logs user guide, "Monitoring with CloudWatch metrics".
"""

from __future__ import annotations

_INDEXED = ({"TableName"}, {"TableName", "GlobalSecondaryIndexName"})

AWS_METRICS: dict[str, dict[str, tuple[set[str], ...]]] = {
    "AWS/Lambda": dict.fromkeys(
        ("Invocations", "Errors", "Throttles", "Duration", "IteratorAge"), ({"FunctionName"},)
    ),
    "AWS/SQS": dict.fromkeys(
        (
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesVisible",
            "NumberOfEmptyReceives",
            "NumberOfMessagesDeleted",
            "NumberOfMessagesReceived",
            "NumberOfMessagesSent",
        ),
        ({"QueueName"},),
    ),
    "AWS/States": dict.fromkeys(
        (
            "ExecutionsStarted",
            "ExecutionsSucceeded",
            "ExecutionsFailed",
            "ExecutionsTimedOut",
            "ExecutionsAborted",
            "ExecutionTime",
        ),
        ({"StateMachineArn"},),
    ),
    "AWS/ApiGateway": dict.fromkeys(
        ("Count", "4XXError", "5XXError", "Latency"), ({"ApiName"}, {"ApiName", "Stage"})
    ),
    "AWS/DynamoDB": dict.fromkeys(
        (
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "WriteThrottleEvents",
        ),
        _INDEXED,
    ),
    "AWS/Logs": {"IncomingBytes": ({"LogGroupName"},)},
}
"""By namespace and name: the sets of dimensions it is published under."""
