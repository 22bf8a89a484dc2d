"""Step Functions: calls of AWS's services as it makes them, with the errors it makes of theirs.

It calls through the AWS SDK for Java 2. An error that a service's model declares has the name of the SDK's
class; of others - all of EC2's - only the service is named, and the cause is the message, without the code.
Faults meet these calls as the service ``states.NAME``, such as ``states.ssm`` and ``SendCommand``.
"""

from __future__ import annotations

import contextvars
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import botocore.session
from ministack import app
from ministack.core.concurrency import esm_wake
from ministack.core.responses import new_uuid
from ministack.services import sqs
from ministack.services import stepfunctions as emulated

from tests.testbed import record
from tests.testbed.faults import find_fault
from tests.testbed.patching import replace, replace_entry, require

_MODELS = {"cloudwatchlogs": "logs", "eventbridge": "events", "sfn": "stepfunctions"}
_LARGEST = 262_144  # bytes of a result

_status: contextvars.ContextVar[int] = contextvars.ContextVar("testbed_status", default=400)


class _FaultError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install() -> None:
    require(emulated, "_AWS_SDK_ERROR_PREFIX", "_SERVICE_DISPATCH", "_ExecutionError")
    require(sqs, "_queues_lock")
    _improve_sdk_calls()
    _improve_optimized_calls()


def _improve_sdk_calls() -> None:
    call = replace(emulated, "_invoke_aws_sdk_integration", None)
    call_handler = replace(app, "call_service_handler_sync", None)

    def call_as_aws(resource: str, given: Any) -> Any:
        """Call a service; say what went wrong as the SDK does."""
        *_, service, action = resource.replace(".waitForTaskToken", "").split(":")
        title = emulated._AWS_SDK_ERROR_PREFIX.get(service, service)
        try:
            result = _disturbed(service, action, lambda: call(resource, given))
        except _FaultError as error:
            name, cause = _name_as_sdk(service, error.code), str(error)
        except emulated._ExecutionError as error:
            if error.error.startswith("States."):
                raise
            name, cause = error.error, error.cause
        else:
            if len(json.dumps(result)) > _LARGEST:
                cause = "The state/task returned a result with a size exceeding the maximum number"
                raise emulated._ExecutionError("States.DataLimitExceeded", cause)
            return result
        told = f"(Service: {title}, Status Code: {_status.get()}, Request ID: {new_uuid()})"
        raise emulated._ExecutionError(name, f"{cause} {told}")

    def call_and_note(*arguments: Any, **options: Any) -> Any:
        answer = call_handler(*arguments, **options)
        _status.set(answer[0])
        return answer

    emulated._invoke_aws_sdk_integration = call_as_aws
    replace(emulated, "_prefix_sdk_error", _name_as_sdk)
    app.call_service_handler_sync = call_and_note


def _name_as_sdk(service: str, code: str) -> str:
    """Return the name of an error with a code."""
    if code.startswith("States."):
        return code
    code = code.rpartition("#")[2]
    title = emulated._AWS_SDK_ERROR_PREFIX.get(service, service)
    if code not in _declared(_MODELS.get(service, service)):
        return f"{title}.{title}Exception"
    return f"{title}.{code.removesuffix('Exception').removesuffix('Fault')}Exception"


@functools.cache
def _declared(service: str) -> frozenset[str]:
    """Return the names of the errors that a service's model declares."""
    model = botocore.session.get_session().get_service_model(service)
    names = {shape.name for shape in model.error_shapes}
    codes = {shape.metadata.get("error", {}).get("code") for shape in model.error_shapes}
    return frozenset(names | (codes - {None}))


def _improve_optimized_calls() -> None:
    """Let what tables and queues are asked go where all other requests go."""
    send = emulated._SERVICE_DISPATCH["arn:aws:states:::sqs:sendMessage"]

    def call_table(action: str, given: Any) -> Any:
        headers = {"x-amz-target": f"DynamoDB_20120810.{_operation(action)}"}
        body, handler = json.dumps(given).encode(), app.SERVICE_HANDLERS["dynamodb"]
        answer = app.call_service_handler_sync(handler, "POST", "/", headers, body, {})
        result = json.loads(answer[2] or b"{}")
        if answer[0] >= 400:
            code = str(result.get("__type", "AmazonDynamoDBException")).rpartition("#")[2]
            raise emulated._ExecutionError(f"DynamoDB.{code}", result.get("message", ""))
        return result

    def send_message(resource: str, given: Any) -> Any:
        with sqs._queues_lock:
            result = send(resource, given)
        esm_wake.set()
        return result

    def named(title: str, service: str, action: str, call: Callable[[], Any]) -> Any:
        try:
            return _disturbed(service, action, call)
        except _FaultError as error:
            raise emulated._ExecutionError(f"{title}.{error.code}", str(error)) from None

    def call_table_named(action: str, given: Any) -> Any:
        return named("DynamoDB", "dynamodb", action, lambda: call_table(action, given))

    def send_named(resource: str, given: Any) -> Any:
        return named("SQS", "sqs", "sendMessage", lambda: send_message(resource, given))

    replace(emulated, "_invoke_dynamodb", call_table_named)
    replace_entry(emulated._SERVICE_DISPATCH, "arn:aws:states:::sqs:sendMessage", send_named)


def _disturbed(service: str, action: str, call: Callable[[], Any]) -> Any:
    """Call, and count it, unless a fault comes before; or fail after it."""
    record.count("of_states", f"{service}:{action}")
    fault = find_fault(f"states.{service}", _operation(action))
    if fault is None:
        return call()
    time.sleep(fault.delay)
    result = None if fault.code is not None and not fault.after else call()
    if fault.code is not None:
        _status.set(fault.status)
        raise _FaultError(fault.code, fault.message)
    return result


def _operation(action: str) -> str:
    return action[0].upper() + action[1:]
