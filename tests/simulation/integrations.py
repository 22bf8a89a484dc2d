"""Calls that a state machine makes of AWS services, and the errors Step Functions makes of theirs.

An error of a service is named after the service and the class of the error in AWS's SDK for Java
("Calling other AWS services", "Error names" in the developer guide); EC2 has one class for all, and
its code is not told. Of errors whose name in the API lacks ``Exception`` both forms have been seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.simulation.asl import StatesError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

__all__ = ["call", "error_of", "parts_of", "unanswered"]

_SERVICES = {"dynamodb": "DynamoDb", "ec2": "Ec2", "sqs": "Sqs", "ssm": "Ssm"}
_WITHOUT_CLASS = frozenset(
    {"InternalFailure", "InternalServerError", "RequestLimitExceeded", "ServiceUnavailable"}
)
_UNMODELLED = {"ssm": frozenset({"ThrottlingException"}), "sqs": frozenset({"ThrottlingException"})}


def parts_of(resource: str) -> tuple[str, str]:
    """Return the service and the operation, as botocore calls it, of a task's resource."""
    service, _, action = resource.partition(":::")[2].removeprefix("aws-sdk:").partition(":")
    return service, re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: f"_{m[1]}", action).lower()


def call(services: Mapping[str, Any], resource: str, arguments: Mapping[str, Any]) -> Any:
    """Call a service and return its answer as JSON.

    Raises
    ------
    ClientError
        As the service's client raises it.
    """
    service, operation = parts_of(resource)
    answer = getattr(services[service], operation)(**arguments)
    return json.loads(json.dumps(answer, default=_as_text))


def error_of(service: str, error: ClientError, roll: Callable[[], float]) -> StatesError:
    """Return an error as Step Functions tells it; `roll` decides where its name is not certain."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    name = _SERVICES[service]
    if service == "ec2" or code in _WITHOUT_CLASS or code in _UNMODELLED.get(service, ()):
        code = f"{name}Exception"
    elif not code.endswith("Exception") and roll() < 0.5:
        code = f"{code}Exception"
    cause = f"{message} (Service: {name}, Status Code: {status}, Request ID: simulated)"
    return StatesError(f"{name}.{code}", cause)


def unanswered(service: str) -> StatesError:
    """Return the error of a call that may have been done: its answer never came."""
    cause = "Unable to execute HTTP request: Read timed out (SDK Attempt Count: 1)"
    return StatesError(f"{_SERVICES[service]}.SdkClientException", cause)


def _as_text(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
