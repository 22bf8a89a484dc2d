"""The second part of the state machine "ec2-task": from a command that was sent to the end.

It ends with the outcome document, in `_outcome`: of the command if it reported, of the instance if
that is gone, or of the machine's own errors. The first part is `infra.task_machine`.
"""

from __future__ import annotations

from typing import Any

from infra.task_parts import (
    NOTHING,
    NOW,
    PROBLEM,
    RETRY,
    SEEN_WITHIN,
    SHORT,
    call,
    caught,
    choice,
    gone,
    host_key,
    idle_item,
    idle_key,
    listed,
    look_at_instance,
    number,
    put,
    update,
    went,
    when,
)

__all__ = [
    "FIRST_LOOK",
    "MOST_LOOKS",
    "MOST_TERMINATIONS",
    "REPORTED",
    "ending",
    "keeping",
    "running",
]

FIRST_LOOK = 15
"""Seconds until the first look; doubled up to the poll, and again from here when an event came."""

MOST_LOOKS = 400
"""Looks at a command, to which pauses grow at the most; an execution has a history of 25,000 events."""

MOST_TERMINATIONS = 40
"""Calls of TerminateInstances, for more than half an hour."""

REPORTED = (
    *("exit", "signal", "timeout", "out_of_memory"),
    *("host_terminated", "not_started", "lost"),
)
"""What the program on the instance reports (``hut.backends.ec2.host.agent``)."""

_AT_ONCE = {"MaxAttempts": 0}


# Running ------------------------------------------------------------------------------------------


def running() -> dict[str, Any]:
    """Return the states that wait for the end of the command and take in how it ended."""
    past = f"{NOW} - $sent_at"
    reported = (
        f"$status in {listed(('Success', 'Failed', 'Cancelled', 'TimedOut'))}"
        f" and $report.how in {listed(REPORTED)}"
    )
    errors = "$substring($trim($errors), 0, 300)"
    return {
        "TellStart": {
            "Type": "Task",
            "Resource": "arn:${Partition}:states:::sqs:sendMessage",
            "Arguments": {
                "QueueUrl": "${ObserveQueueUrl}",
                "MessageBody": "{% $string({'source': 'hut.ec2', 'detail': {'name': $job.name,"
                " 'instance': $instance, 'type': $kind, 'log': $job.log, 'sent_at': $sent_at}}) %}",
            },
            "TimeoutSeconds": 60,
            "Output": {},
            "Comment": "The sweep finds a start that was not told",
            "Retry": [{**RETRY, "MaxAttempts": 2}],
            "Catch": [caught("Await")],
            "Next": "Await",
        },
        "Await": {
            **call(
                "dynamodb:updateItem.waitForTaskToken",
                update(
                    phase={"S": "running"},
                    since=number("$sent_at"),
                    command={"S": "{% $command %}"},
                    sent_at=number("$sent_at"),
                    token={"S": "{% $states.context.Task.Token %}"},
                ),
            ),
            "TimeoutSeconds": f"{{% $max([1, $ceil($min([$pace, $job.deadline - ({past})]))]) %}}",
            "Comment": "Whoever has news of the instance or its command answers the token",
            "Retry": [
                {"ErrorEquals": ["States.Timeout"], **_AT_ONCE},
                {**RETRY, "MaxAttempts": 3},
            ],
            "Assign": {"pace": f"{{% $min([{FIRST_LOOK}, $job.poll]) %}}"},
            "Catch": [
                {
                    **caught("LookAtCommand", pace="{% $min([$poll, $pace * 2]) %}"),
                    "ErrorEquals": ["States.Timeout"],
                },
                caught("Doze", pace="{% $min([$poll, $pace * 2]) %}"),
            ],
            "Next": "LookAtCommand",
        },
        "Doze": {
            "Type": "Wait",
            "Seconds": "{% $ceil($pace) %}",
            "Comment": "The token could not be stored: look by the clock",
            "Next": "LookAtCommand",
        },
        "LookAtCommand": {
            **call(
                "ssm:getCommandInvocation",
                {"CommandId": "{% $command %}", "InstanceId": "{% $instance %}"},
            ),
            "Retry": [
                {"ErrorEquals": ["States.QueryEvaluationError"], **_AT_ONCE},
                {**RETRY, "MaxAttempts": 3},
            ],
            "Assign": {
                "status": "{% '' & $states.result.Status %}",
                "details": "{% '' & $states.result.StatusDetails %}",
                "code": "{% $exists($states.result.ResponseCode)"
                " ? $states.result.ResponseCode : -1 %}",
                "errors": "{% $substring('' & $states.result.StandardErrorContent, 0, 1500) %}",
                "report": "{% ($last := $split('' & $states.result.StandardOutputContent, '\\n')"
                "[$contains($, /^\\{.*\\}\\s*$/)][-1]; $exists($last) ? $parse($last) : {}) %}",
            },
            "Catch": [
                {
                    **caught("HasEnded", status="Unreadable"),
                    "ErrorEquals": ["States.QueryEvaluationError"],
                },
                # What can't be seen now is looked at again, until the deadline.
                caught("HasEnded", status="not known"),
            ],
            "Next": "HasEnded",
        },
        "HasEnded": choice(
            # A signal may be the instance's own end, which reaches its processes first.
            when(f"{reported} and $report.how = 'signal'", "LookAtSignalled", looks=3),
            when(reported, "Collect"),
            when(
                "$status in ['Success', 'Unreadable']",
                "Terminate",
                reason="lost",
                message="the command has ended and its report can't be read",
            ),
            when(
                "$status in ['Failed', 'TimedOut'] and $contains($details, /deliver/i)",
                "Terminate",
                reason="lost",
                message="{% 'the command never reached the instance ' & $instance %}",
            ),
            when(
                "$status = 'TimedOut'",
                "Terminate",
                reason="timeout",
                message="Systems Manager ended the command after its time",
            ),
            when(
                "$status = 'Failed' and $code in [126, 127]",
                "Terminate",
                reason="not_started",
                message=f"{{% 'the task could not be started on the instance: ' & {errors} %}}",
            ),
            when(
                "$status = 'Failed'",
                "Terminate",
                reason="lost",
                message="{% 'the command failed (' & $details & ', exit code ' & $string($code)"
                f" & '): ' & {errors} %}}",
            ),
            when(
                "$status = 'Cancelled'",
                "Terminate",
                reason="signal",
                message="the command was cancelled in Systems Manager",
            ),
            otherwise="LookAtInstance",
        ),
        "LookAtInstance": look_at_instance("IsThere"),
        "IsThere": choice(
            when(
                f"({gone()}) and {past} >= $job.time_limit",
                "Terminate",
                reason="timeout",
                message=went("' after the time limit'"),
            ),
            when(gone(), "Terminate", reason="host_terminated", message=went()),
            when(
                f"{past} >= $job.deadline",
                "Terminate",
                reason="timeout",
                message="{% 'the command had not ended ' & $string($round("
                f"{past})) & ' s after it was sent' %}}",
            ),
            otherwise="Await",
        ),
        "LookAtSignalled": look_at_instance("WasEnded"),
        "WasEnded": choice(
            when(gone(), "Terminate", reason="host_terminated", message=went()),
            when("$looks > 0", "SignalPause", looks="{% $looks - 1 %}"),
            otherwise="Collect",
        ),
        "SignalPause": {
            "Type": "Wait",
            "Seconds": 10,
            "Comment": "EC2 may still show the instance as it was before its end",
            "Next": "LookAtSignalled",
        },
        "Collect": {
            "Type": "Pass",
            "Assign": {
                "reason": "{% $report.how %}",
                "message": f"{{% $substring('' & $report.said, 0, {SHORT}) %}}",
                "exit_code": "{% $type($report.exit_code) = 'number' ? $report.exit_code : null %}",
                "started_at": "{% $type($report.started) = 'number' ? $report.started : null %}",
                "ended_at": "{% $type($report.ended) = 'number' ? $report.ended : null %}",
            },
            "Next": "IsKept",
        },
    }


# Keeping an instance for the next task ------------------------------------------------------------


def keeping() -> dict[str, Any]:
    """Return the states that leave the instance to the next task, if that is wanted."""
    idle = {"TableName": "${TableName}", "Key": idle_key()}
    ours = {
        "ConditionCheck": {
            "TableName": "${TableName}",
            "Key": host_key(),
            "ConditionExpression": "#name = :name",
            "ExpressionAttributeNames": {"#name": "name"},
            "ExpressionAttributeValues": {":name": {"S": "{% $job.name %}"}},
        }
    }
    return {
        "IsKept": choice(
            when("$type($job.idle) = 'object' and $reason = 'exit'", "LookAtHost"),
            otherwise="Terminate",
        ),
        "LookAtHost": look_at_instance("IsHealthy"),
        "IsHealthy": choice(when("$state = 'running'", "PutIdle"), otherwise="Terminate"),
        "PutIdle": {
            **call(
                "dynamodb:transactWriteItems",
                {"TransactItems": [{"Put": put(idle_item())}, ours]},
            ),
            "Comment": "Done again after a lost answer it is either the same, or refused: who took "
            "the instance meanwhile has its host item",
            "Retry": [RETRY],
            "Catch": [caught("TakeBack")],
            "Next": "Outcome",
        },
        "TakeBack": {
            **call("dynamodb:transactWriteItems", {"TransactItems": [{"Delete": idle}, ours]}),
            "Comment": "Only an instance that nobody has taken may be terminated",
            "Retry": [RETRY],
            # Somebody has it; or the sweep ends it, as it ends what it finds without an execution.
            "Catch": [caught("Outcome")],
            "Next": "Terminate",
        },
    }


# Ending -------------------------------------------------------------------------------------------


def ending() -> dict[str, Any]:
    """Return the states through which every way leads that is not kept: termination and outcome."""
    return {
        "Terminate": {
            **call("ec2:terminateInstances", {"InstanceIds": ["{% $instance %}"]}),
            "Catch": [caught("IsTerminated", ends="{% $ends + 1 %}", problem=PROBLEM)],
            "Next": "IsAgain",
        },
        "IsTerminated": choice(
            when(
                "$contains($problem, /InvalidInstanceID|does not exist/i)"
                f" and {NOW} - $since >= {SEEN_WITHIN}",
                "IsAgain",
            ),
            # Its own timer ends it, or the sweep.
            when(f"$ends >= {MOST_TERMINATIONS}", "IsAgain"),
            otherwise="TerminatePause",
        ),
        "TerminatePause": {
            "Type": "Wait",
            "Seconds": "{% $ceil($min([60, $power(2, $min([$ends, 8]))]) * (0.75 + $random() / 2)) %}",
            "Next": "Terminate",
        },
        "IsAgain": choice(
            when(
                "$again",
                "NoteLaunching",
                again=False,
                taken=False,
                ends=0,
                instance=NOTHING,
                kind=NOTHING,
                subnet=NOTHING,
                spot=False,
                launched_at=None,
            ),
            otherwise="Outcome",
        ),
        "Outcome": {"Type": "Pass", "Assign": {"outcome": _outcome()}, "Next": "How"},
        "How": choice(
            {
                **when("$reason = 'exit' and $exit_code = 0", "Completed"),
                "Output": "{% $outcome %}",
            },
            otherwise="Failed",
        ),
        "Completed": {"Type": "Succeed"},
        "Failed": {
            "Type": "Fail",
            "Error": "{% $outcome.reason %}",
            "Cause": "{% $string($outcome) %}",
        },
    }


def _outcome() -> dict[str, Any]:
    """Return what is told of an execution that has ended; times in seconds since the epoch."""
    return {
        "name": "{% $job.name %}",
        "reason": "{% $reason %}",
        "exit_code": "{% $exit_code %}",
        "message": "{% $message %}",
        **{
            name: f"{{% ${variable} = '' ? null : ${variable} %}}"
            for name, variable in (("instance", "instance"), ("type", "kind"), ("subnet", "subnet"))
        },
        "spot": "{% $spot %}",
        **{
            name: f"{{% ${name} %}}"
            for name in ("launched_at", "sent_at", "started_at", "ended_at", "capacity_errors")
        },
    }
