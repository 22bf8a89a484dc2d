"""What AWS asks for what the control plane uses: list prices, us-east-1, on demand.

From the services' pricing pages as of `AS_OF`. Other regions ask up to about half as much again. What
is free each month, without end, is a field of its own: a bill per run does without it, the price of
standing idle counts on it, and whatever else runs in the account shares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["AS_OF", "PRICES", "Price", "dollars"]

AS_OF = "November 2026"

_MILLION = 1_000_000
_GIB = 1 << 30
_CLOUDWATCH = "aws.amazon.com/cloudwatch/pricing"


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
    free : float
        How many units cost an account nothing each month.
    """

    service: str
    unit: str
    dollars: float
    per: int
    source: str
    free: float = 0.0

    @property
    def each(self) -> float:
        """Dollars for one unit."""
        return self.dollars / self.per

    def month(self, units: float, *, free: bool) -> float:
        """Return what units of a month cost, with or without the free ones."""
        return max(units - (self.free if free else 0.0), 0.0) * self.each


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "dynamodb_write": Price(
            "DynamoDB", "write request unit", 0.625, _MILLION, "aws.amazon.com/dynamodb/pricing"
        ),
        "dynamodb_read": Price(
            "DynamoDB", "read request unit", 0.125, _MILLION, "aws.amazon.com/dynamodb/pricing"
        ),
        "lambda_request": Price(
            "Lambda", "invocation", 0.20, _MILLION, "aws.amazon.com/lambda/pricing", _MILLION
        ),
        "lambda_gb_second": Price(
            "Lambda",
            "GB-second (arm64)",
            13.3334,
            _MILLION,
            "aws.amazon.com/lambda/pricing",
            400_000,
        ),
        "sqs_request": Price(
            "SQS",
            "request (standard queue)",
            0.40,
            _MILLION,
            "aws.amazon.com/sqs/pricing",
            _MILLION,
        ),
        "transition": Price(
            "Step Functions",
            "state transition (standard)",
            25.0,
            _MILLION,
            "aws.amazon.com/step-functions/pricing",
            4_000,
        ),
        "api_request": Price(
            "API Gateway", "request (REST)", 3.50, _MILLION, "aws.amazon.com/api-gateway/pricing"
        ),
        "s3_write": Price(
            "S3", "PUT, COPY, POST or LIST", 5.0, _MILLION, "aws.amazon.com/s3/pricing"
        ),
        "s3_read": Price("S3", "GET or HEAD", 0.40, _MILLION, "aws.amazon.com/s3/pricing"),
        "log_byte": Price(
            "CloudWatch Logs",
            "byte taken in",
            0.50,
            _GIB,
            "aws.amazon.com/cloudwatch/pricing",
            5 * _GIB,
        ),
        "metric": Price("CloudWatch", "custom metric a month", 0.30, 1, _CLOUDWATCH, 10),
        "alarm": Price("CloudWatch", "metric in an alarm a month", 0.10, 1, _CLOUDWATCH, 10),
        "dashboard": Price("CloudWatch", "dashboard a month", 3.00, 1, _CLOUDWATCH, 3),
        "schedule": Price(
            "EventBridge Scheduler",
            "call",
            1.00,
            _MILLION,
            "aws.amazon.com/eventbridge/pricing",
            14 * _MILLION,
        ),
        "trace": Price(
            "X-Ray", "trace recorded", 5.00, _MILLION, "aws.amazon.com/xray/pricing", 100_000
        ),
        "key_request": Price(
            "KMS", "request", 3.00, _MILLION, "aws.amazon.com/kms/pricing", 20_000
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
