"""Lambda: what its answers and logs say, how large an answer may be, what functions send.

How much memory they had at most is asked of the system: the emulator does not bound it.

Functions run in warm processes of their own that find the standard library and the function's archive,
and nothing else: a package that the archive lacks is missed here. AWS would be milder, as its runtime
has a boto3 of its own; here only functions that bring no botocore get one. Not modelled: memory limits,
ephemeral storage, SnapStart, layers' runtimes.
"""

from __future__ import annotations

import contextvars
import json
import queue
import shlex
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from tests.testbed import record
from tests.testbed.hooks import hook
from tests.testbed.patching import replace, replace_text, require, settings

_LARGEST_ANSWER = 6_291_556  # bytes
_END_OF_LOG = "\x1e end of the invocation's log \x1e"
_LOG_LIMIT = 2.0  # seconds in which the end of the log has to come

# Runs in the worker of a function: botocore itself says what is sent, each try of it.
_COUNT_WHAT_IS_SENT = """
def _count_what_is_sent():
    sent = {}
    try:
        import botocore.handlers
    except ImportError:
        return sent

    def count(event_name, **_):
        name = event_name.partition(".")[2]
        sent[name] = sent.get(name, 0) + 1

    botocore.handlers.BUILTIN_HANDLERS.append(("before-send", count))
    return sent

def _peak_memory():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # what it was started from counts there, too
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

"""

_last_error: contextvars.ContextVar[tuple[str, list[str]] | None] = contextvars.ContextVar(
    "testbed_last_error", default=None
)


def install() -> None:
    lambda_runtime._PYTHON_WORKER_SCRIPT = _improved(lambda_runtime._PYTHON_WORKER_SCRIPT)
    replace(lambda_runtime, "_detect_runtime_binary", _alone(_write_interpreter()))
    invoke = replace(lambda_runtime.Worker, "invoke", None)
    execute = replace(lambda_svc, "_execute_function_warm", None)
    credentials = replace(lambda_runtime, "execution_credentials", None)

    def noted_credentials(config: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = credentials(config)
        record.keys_of_functions.add(found["AWS_ACCESS_KEY_ID"])
        return found

    def invoke_noting_errors(self: Any, *arguments: Any, **options: Any) -> Any:
        answer = invoke(self, *arguments, **options)
        if answer.get("status") == "error" and answer.get("error_type"):
            _last_error.set((answer["error_type"], answer.get("stack") or []))
        return answer

    def execute_as_aws(function: Any, event: Any, request_id: str) -> Any:
        _last_error.set(None)
        started = time.monotonic()
        result = execute(function, event, request_id)
        name = (function.get("config") or function)["FunctionName"]
        record.count("invocations", name)
        record.count("milliseconds", name, round((time.monotonic() - started) * 1000))
        error = _last_error.get()
        if result.get("error") and error and isinstance(result.get("body"), dict):
            result["body"].update(errorType=error[0], stackTrace=error[1], requestId=request_id)
        elif not result.get("error") and len(json.dumps(result.get("body"))) > _LARGEST_ANSWER:
            message = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
            body = {"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"}
            result = {"error": True, "body": body, "log": result.get("log", "")}
        return result

    lambda_runtime.execution_credentials = noted_credentials
    lambda_runtime.Worker.invoke = invoke_noting_errors
    lambda_svc._execute_function_warm = execute_as_aws
    replace(lambda_runtime.Worker, "_drain_stderr_bounded", _drain_log)
    require(lambda_runtime, "_workers", "_lock")


@hook("POST", "lambdas/kill")
def _kill(body: dict[str, Any]) -> dict[str, int]:
    """Kill the processes that work on a call of a function just now: {"name"}."""
    with lambda_runtime._lock:
        busy = [
            worker._proc
            for workers in lambda_runtime._workers.values()
            for worker in workers
            if worker.func_name == body["name"] and worker.in_use and worker._proc is not None
        ]
    for process in busy:
        process.kill()
    return {"killed": len(busy)}


def _write_interpreter() -> str:
    """Return a program that is this Python without its packages."""
    path = settings.work / "python-alone"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S "$@"\n')
    path.chmod(0o755)
    return str(path)


def _alone(interpreter: str) -> Callable[[str], tuple[str, str]]:
    def interpreter_of(runtime: str) -> tuple[str, str]:
        if not runtime.startswith("python"):
            return "", ""
        return interpreter, lambda_runtime._PYTHON_WORKER_SCRIPT

    return interpreter_of


def _improved(script: str) -> str:
    """Let functions report their errors' types and mark where the log of an invocation ends."""
    script = replace_text(
        script,
        "    sys.path.insert(0, code_dir)\n",
        "    sys.path.insert(0, code_dir)\n"
        '    if not os.path.isdir(os.path.join(code_dir, "botocore")):\n'
        f"        sys.path.append({sysconfig.get_path('purelib')!r})\n",
    )
    error = (
        '_real_stdout.write(json.dumps({"status": "error", "error": str(e), '
        '"trace": traceback.format_exc()}) + "\\n")'
    )
    script = replace_text(
        script,
        error,
        error.replace(
            '"trace": traceback.format_exc()',
            '"trace": traceback.format_exc(), "error_type": type(e).__name__, '
            '"stack": traceback.format_tb(e.__traceback__)',
        ),
    )
    script = replace_text(
        script,
        "    _ms_install_invoke_depth()\n    try:\n",
        "    _ms_install_invoke_depth()\n    _sent = _count_what_is_sent()\n    try:\n",
    )
    return _COUNT_WHAT_IS_SENT + replace_text(
        script,
        "            result = handler_fn(event, context)\n",
        "            _cpu = time.process_time()\n"
        "            try:\n"
        "                result = handler_fn(event, context)\n"
        "            finally:\n"
        "                _cpu = (time.process_time() - _cpu) * 1000\n"
        "                _told = json.dumps([_sent, _cpu, _peak_memory()])\n"
        f"                sys.stderr.write({_END_OF_LOG!r} + _told + {chr(10)!r})\n"
        "                sys.stderr.flush()\n"
        "                _sent.clear()\n",
    )


def _drain_log(self: Any, *_: Any, **__: Any) -> str:
    """Take exactly the lines of this invocation."""
    lines: list[str] = []
    until = time.monotonic() + _LOG_LIMIT
    while True:
        try:
            line = self._stderr_queue.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        before, mark, told = line.partition(_END_OF_LOG)
        if before or not mark:
            lines.append(before)
        if mark:
            sent, milliseconds, peak = json.loads(told)
            record.most("peak_kib", self.func_name, peak)
            record.count("cpu_milliseconds", self.func_name, milliseconds)
            for name, number in sent.items():
                record.count("sent", name, number)
                record.count(f"sent by {self.func_name}", name, number)
            break
        if self._proc is None or self._proc.poll() is not None:
            until = min(until, time.monotonic() + 0.05)
    return "\n".join(lines)
