"""Step Functions: what standard workflows promise and the emulator leaves out.

Repeated starts under the same name, time limits (of tasks, also as JSONata; of heartbeats; of
executions), task tokens that are used once, executions that stay stopped, size limits, events of all
ends. What a state calls is in `stepfunctions_calls`. Ours: a machine may wait shorter than it says, and no
JSONata takes too long.
Not modelled: roles, redrives, the size limit between states that call nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from ministack.core.concurrency import spawn_background
from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import stepfunctions as emulated

from tests.testbed import record
from tests.testbed.events import emit
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, require

_LARGEST = 262_144  # bytes of an input or a result
_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")
_FOREVER = 99_999_999
_TICK = 0.1  # seconds between two looks at heartbeats, or at whether it was stopped
_LARGEST_IN_EVENT = 248 * 1024

_execution: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "testbed_execution", default=None
)
_issued: dict[str, str] = {}  # token -> its state machine
_waiting: dict[str, set[str]] = {}  # execution -> tokens it waits for
_paces: dict[str, dict[str, float]] = {}  # name of a machine -> factors of its waits and timeouts


class _ClosedError(BaseException):
    """The execution ended while a state was waiting; nothing in it may catch this."""


def install() -> None:
    require(emulated, "_executions", "_state_machines", "_task_tokens", "_jsonata_state_field")
    require(emulated, "_emit_execution_status_event", "_ExecutionError", "_extract_lambda_ref")
    _improve_starts()
    _improve_ends()
    _improve_tasks()
    _improve_tokens()
    _improve_waits()
    _improve_jsonata()
    _count_transitions()
    on_reset.extend((_issued.clear, _waiting.clear, _paces.clear))


def _improve_starts() -> None:
    start = replace(emulated, "_start_execution", None)
    run = replace(emulated, "_run_execution", None)

    def start_once(data: dict[str, Any]) -> Any:
        """Start; the same name and input again, while it runs, is the same execution."""
        name, given = data.get("name"), data.get("input", "{}")
        if name is not None and not _NAME.fullmatch(name):
            return error_response_json("InvalidName", f"Invalid Name: '{name}'", 400)
        try:
            json.loads(given)
        except ValueError:
            message = "Invalid State Machine Execution Input"
            return error_response_json("InvalidExecutionInput", message, 400)
        if len(given.encode()) > _LARGEST:
            return error_response_json("ValidationException", "The input is too long", 400)
        machine = emulated._state_machines.get(data.get("stateMachineArn", ""))
        if name is not None and machine is not None:
            arn = machine["stateMachineArn"].replace(":stateMachine:", ":execution:")
            known = emulated._executions.get(f"{arn}:{name}")
            if known and known["status"] == "RUNNING" and known["input"] == given:
                shown = {key: known[key] for key in ("executionArn", "startDate")}
                return json_response(shown)
        return start(data)

    def run_in_time(arn: str) -> None:
        execution = emulated._executions.get(arn)
        if execution is None:
            return
        _execution.set(execution)
        machine = emulated._state_machines.get(execution["stateMachineArn"]) or {}
        limit = json.loads(machine.get("definition") or "{}").get("TimeoutSeconds")
        if limit is not None:
            spawn_background(_time_out, execution, float(limit), thread_name="testbed-execution")
        with contextlib.suppress(_ClosedError):
            run(arn)

    emulated._start_execution = start_once
    emulated._run_execution = run_in_time


def _time_out(execution: dict[str, Any], seconds: float) -> None:
    time.sleep(seconds)
    if execution["status"] != "RUNNING":
        return
    execution.update(status="TIMED_OUT", stopDate=now_iso(), error="States.Timeout")
    emulated._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
    _close_tokens(execution)
    emulated._emit_execution_status_event(execution)


def _improve_ends() -> None:
    stop = replace(emulated, "_stop_execution", None)
    fail = replace(emulated, "_fail_execution", None)
    add_event = replace(emulated, "_add_event", None)

    def stop_and_close(data: dict[str, Any]) -> Any:
        answer = stop(data)
        execution = emulated._executions.get(data.get("executionArn"))
        if execution is not None and execution["status"] != "RUNNING":
            _close_tokens(execution)
        return answer

    def fail_once(execution: dict[str, Any], error: str, cause: str) -> None:
        """Fail an execution unless it has ended: stopped stays stopped."""
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)
            _close_tokens(execution)

    def add_while_running(execution: dict[str, Any], kind: str, details: Any = None) -> Any:
        if kind in ("TaskScheduled", "SucceedStateEntered", "FailStateEntered"):
            record.count("transitions", "states")  # every try of a task is one
        if execution.get("status", "RUNNING") != "RUNNING" and not kind.startswith("Execution"):
            return {}
        return add_event(execution, kind, details)

    emulated._stop_execution = stop_and_close
    emulated._fail_execution = fail_once
    emulated._add_event = add_while_running
    replace(emulated, "_emit_execution_status_event", _tell)


def _tell(execution: dict[str, Any]) -> None:
    """Send the event of an execution's status; errors and causes of all ends are in it."""
    if execution.get("sync"):
        return
    status = execution["status"]
    given = execution["input"]
    output = execution["output"] if status == "SUCCEEDED" else None
    is_included = {
        "input": len(given) <= _LARGEST_IN_EVENT,
        "output": output is not None and len(output) <= _LARGEST_IN_EVENT,
    }
    detail = {
        "executionArn": execution["executionArn"],
        "stateMachineArn": execution["stateMachineArn"],
        "name": execution["name"],
        "status": status,
        "startDate": emulated._iso_to_epoch_ms(execution["startDate"]),
        "stopDate": emulated._iso_to_epoch_ms(execution["stopDate"]),
        "input": given if is_included["input"] else None,
        "inputDetails": {"included": is_included["input"]},
        "output": output if is_included["output"] else None,
        "outputDetails": None if output is None else {"included": is_included["output"]},
        "stateMachineVersionArn": None,
        "stateMachineAliasArn": None,
        "redriveCount": 0,
        "redriveDate": None,
        "redriveStatus": "REDRIVABLE" if status == "FAILED" else "NOT_REDRIVABLE",
        "redriveStatusReason": None,
        "error": execution.get("error"),
        "cause": execution.get("cause"),
    }
    name = "Step Functions Execution Status Change"
    emit("aws.states", name, detail, [execution["executionArn"]])


def _count_transitions() -> None:
    for kind in ("pass", "choice", "wait", "map", "parallel"):
        _count_calls(f"_execute_{kind}")


def _count_calls(name: str) -> None:
    execute = replace(emulated, name, None)

    def counted(*arguments: Any, **options: Any) -> Any:
        record.count("transitions", "states")
        return execute(*arguments, **options)

    setattr(emulated, name, counted)


def _improve_tasks() -> None:
    execute = replace(emulated, "_execute_task", None)
    call_lambda = replace(emulated, "_call_lambda", None)

    def execute_task(state: dict[str, Any], given: Any, execution: Any, context: Any) -> Any:
        if execution.get("status", "RUNNING") != "RUNNING":
            raise _ClosedError
        _execution.set(execution)
        limits = {
            name: emulated._jsonata_state_field(state, name, "number", given, context)
            for name in ("TimeoutSeconds", "HeartbeatSeconds")
            if isinstance(state.get(name), str)
        }
        return execute({**state, **limits}, given, execution, context)

    def call_lambda_as_aws(reference: str, event: Any) -> Any:
        try:
            result = call_lambda(reference, event)
        except emulated._ExecutionError as error:
            if "TooManyRequestsException" in str(error.cause):
                name = "Lambda.TooManyRequestsException"
                raise emulated._ExecutionError(name, error.cause) from None
            raise
        if len(json.dumps(result)) > _LARGEST:
            cause = "The state/task returned a result with a size exceeding the maximum number"
            raise emulated._ExecutionError("States.DataLimitExceeded", cause)
        return result

    def wait_for_token(resource: str, given: Any, token: str, state: dict[str, Any]) -> Any:
        """Call, and wait for the token: at the same time if it is a function that is called."""
        plain = resource.replace(".waitForTaskToken", "")
        reference = emulated._extract_lambda_ref(plain)
        if not reference and "states:::lambda:invoke" in plain:
            reference = emulated._resolve_lambda_function_ref(given.get("FunctionName", ""), True)
        _register(token)
        if not reference:
            try:
                emulated._invoke_resource(plain, given)
            except emulated._ExecutionError:
                emulated._task_tokens.pop(token, None)
                raise
            return _wait(token, state)
        payload = given.get("Payload", given) if isinstance(given, dict) else given
        spawn_background(_call, reference, payload, token, thread_name="testbed-callback")
        return _wait(token, state)

    emulated._execute_task = execute_task
    emulated._call_lambda = call_lambda_as_aws
    replace(emulated, "_invoke_with_callback", wait_for_token)


def machine_of(token: str) -> str | None:
    """Return the ARN of the state machine that gave out a token."""
    return _issued.get(token) or None


def _register(token: str) -> None:
    info = {"event": threading.Event(), "result": None, "error": None, "heartbeat": None}
    emulated._task_tokens[token] = info
    execution = _execution.get()
    _issued[token] = "" if execution is None else execution["stateMachineArn"]
    if execution is not None:
        _waiting.setdefault(execution["executionArn"], set()).add(token)


def _call(reference: str, payload: Any, token: str) -> None:
    """Call the function that was given a token; if it fails, so does the task."""
    try:
        emulated._call_lambda(reference, payload)
    except emulated._ExecutionError as error:
        info = emulated._task_tokens.get(token)
        if info is not None and not info["event"].is_set():
            info["error"] = {"Error": error.error, "Cause": error.cause}
            info["event"].set()


def _wait(token: str, state: dict[str, Any]) -> Any:
    info = emulated._task_tokens[token]
    started = beat_at = time.monotonic()
    limit = state.get("TimeoutSeconds", _FOREVER) * _factor("timeouts")
    pause = state.get("HeartbeatSeconds")
    beat = None
    try:
        while not info["event"].wait(_TICK if pause else limit):
            now = time.monotonic()
            if info["heartbeat"] != beat:
                beat, beat_at = info["heartbeat"], now
            if now - started >= limit:
                raise emulated._ExecutionError("States.Timeout", "")
            if pause and now - beat_at >= pause:
                raise emulated._ExecutionError("States.HeartbeatTimeout", "")
    finally:
        emulated._task_tokens.pop(token, None)
    if info.get("closed"):
        raise _ClosedError
    if info["error"]:
        raise emulated._ExecutionError(info["error"]["Error"], info["error"]["Cause"])
    return json.loads(info["result"])


def _close_tokens(execution: dict[str, Any]) -> None:
    """Let nobody answer for an execution that has ended."""
    for token in _waiting.pop(execution["executionArn"], set()):
        info = emulated._task_tokens.pop(token, None)
        if info is not None:
            info["closed"] = True
            info["event"].set()


def _improve_tokens() -> None:
    for name in ("_send_task_success", "_send_task_failure", "_send_task_heartbeat"):
        _check_tokens(name)


def _check_tokens(name: str) -> None:
    send = replace(emulated, name, None)

    def send_checked(data: dict[str, Any]) -> Any:
        token = data.get("taskToken")
        info = emulated._task_tokens.get(token)
        if info is None and token not in _issued:
            return error_response_json("InvalidToken", "Invalid Token: 'Invalid token'", 400)
        if info is None or info["event"].is_set():
            message = "Task Timed Out: 'Provided task does not exist anymore'"
            return error_response_json("TaskTimedOut", message, 400)
        output = data.get("output")
        if output is not None and (not _is_json(output) or len(output.encode()) > _LARGEST):
            return error_response_json("InvalidOutput", "Invalid Output: 'Invalid JSON'", 400)
        if name == "_send_task_heartbeat":
            info["heartbeat"] = time.monotonic()  # the emulator's has whole milliseconds only
            return json_response({})
        return send(data)

    setattr(emulated, name, send_checked)


def _improve_waits() -> None:
    """Wait at a machine's pace, and no longer than it runs."""

    def wait(seconds: float) -> None:
        execution = _execution.get()
        until = time.monotonic() + seconds * emulated._SFN_WAIT_SCALE * _factor("waits")
        while (left := until - time.monotonic()) > 0:
            if execution is not None and execution["status"] != "RUNNING":
                raise _ClosedError
            time.sleep(min(left, _TICK))

    require(emulated, "_SFN_WAIT_SCALE")
    replace(emulated, "_scaled_sleep", wait)


def _factor(kind: str) -> float:
    """Return what waits or timeouts of the execution at hand are multiplied by."""
    execution = _execution.get()
    if execution is None:
        return 1.0
    machine = execution["stateMachineArn"].rpartition(":")[2]
    return _paces.get(machine, {}).get(kind, 1.0)


@hook("POST", "states/age")
def _age(body: dict[str, Any]) -> dict[str, Any]:
    """Let an execution have been started so many seconds ago."""
    began = datetime.now(UTC) - timedelta(seconds=float(body["seconds"]))
    shown = began.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    emulated._executions[body["execution"]]["startDate"] = shown
    return {}


@hook("POST", "states/pace")
def _set_pace(body: dict[str, Any]) -> dict[str, Any]:
    """Multiply the waits (of Wait states and retries) and the timeouts of a machine's tokens."""
    _paces[body["machine"]] = {
        key: float(body[key]) for key in ("waits", "timeouts") if key in body
    }
    return {}


def _improve_jsonata() -> None:
    """Assign all variables at once, let Succeed have an output, and never call JSONata slow."""
    apply_output = replace(emulated, "_apply_output_path", None)
    language = emulated.jsonata

    def assign(state: dict[str, Any], given: Any, context: Any, **results: Any) -> None:
        if emulated._state_query_language(state, context) != "JSONata":
            return
        new = {
            name: emulated._apply_jsonata_template(value, given, context, **results)
            for name, value in (state.get("Assign") or {}).items()
        }
        context.setdefault("variables", {}).update(new)

    def apply_path_or_output(state: dict[str, Any], data: Any, context: Any = None) -> Any:
        is_jsonata = emulated._state_query_language(state, context) == "JSONata"
        if is_jsonata and state.get("Type") == "Succeed":
            return emulated._apply_jsonata_output(state, data, context, default=data)
        return apply_output(state, data, context)

    class Patient:
        """The language, without a time limit: tests may share a slow machine."""

        utils = language.utils

        class Jsonata:
            @staticmethod
            def jsonata(expression: str, **_: Any) -> Any:
                return language.Jsonata.jsonata(expression)

    replace(emulated, "_apply_state_assign", assign)
    emulated._apply_output_path = apply_path_or_output
    replace(emulated, "jsonata", Patient)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
