"""What AWS asks for what the control plane uses: list prices, us-east-1, on demand, no free tier.

From the services' pricing pages as of November 2026. Other regions ask up to about half as much again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PRICES", "Price", "dollars"]

_MILLION = 1_000_000
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Price:
    """What so many units of something cost.

    Attributes
    ----------
    service : str
        Whose bill it is on.
    unit : str
        What is counted.
    dollars : float
    per : int
        For how many units.
    source : str
        The page that says so.
    """

    service: str
    unit: str
    dollars: float
    per: int
    source: str


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "dynamodb_write": Price(
            "DynamoDB", "write request unit", 0.625, _MILLION, "aws.amazon.com/dynamodb/pricing"
        ),
        "dynamodb_read": Price(
            "DynamoDB", "read request unit", 0.125, _MILLION, "aws.amazon.com/dynamodb/pricing"
        ),
        "lambda_request": Price(
            "Lambda", "invocation", 0.20, _MILLION, "aws.amazon.com/lambda/pricing"
        ),
        "lambda_gb_second": Price(
            "Lambda", "GB-second (arm64)", 13.3334, _MILLION, "aws.amazon.com/lambda/pricing"
        ),
        "sqs_request": Price(
            "SQS", "request (standard queue)", 0.40, _MILLION, "aws.amazon.com/sqs/pricing"
        ),
        "transition": Price(
            "Step Functions",
            "state transition (standard)",
            25.0,
            _MILLION,
            "aws.amazon.com/step-functions/pricing",
        ),
        "api_request": Price(
            "API Gateway", "request (REST)", 3.50, _MILLION, "aws.amazon.com/api-gateway/pricing"
        ),
        "s3_write": Price(
            "S3", "PUT, COPY, POST or LIST", 5.0, _MILLION, "aws.amazon.com/s3/pricing"
        ),
        "s3_read": Price("S3", "GET or HEAD", 0.40, _MILLION, "aws.amazon.com/s3/pricing"),
        "log_byte": Price(
            "CloudWatch Logs", "byte taken in", 0.50, _GIB, "aws.amazon.com/cloudwatch/pricing"
        ),
    }
)


def dollars(units: Mapping[str, float]) -> dict[str, float]:
    """Return what units cost, by service.

    Parameters
    ----------
    units
        How many, by the names of `PRICES`.
    """
    found: dict[str, float] = {}
    for name, number in units.items():
        price = PRICES[name]
        found[price.service] = found.get(price.service, 0.0) + number * price.dollars / price.per
    return found
