"""The state machine "ec2-task": one instance for one attempt, from launch to termination.

One execution per attempt, named after its job. It looks for itself what became of the instance and
of the command; an answer to its token only makes it look sooner, so events may come twice, late or
never. It calls services directly, no function. `definition` is plain data with placeholders for what
only the deployment knows.

Input, as `hut.backends.ec2` writes it::

    name run task attempt backend log       whose it is; the log's stream
    launch_timeout startup_timeout          seconds for finding capacity, and for SSM to see it
    time_limit deadline poll                seconds: of the task, until the command is given up,
                                            between two looks
    expires                                 when items of it may go away, epoch
    token                                   what client tokens begin with
    common launches                         arguments of RunInstances: for all, and options by order
    host                                    an idle instance taken for it, or null
    parameters                              of the SSM document
    idle                                    how long, and as what, the instance is kept; or null

Output, or the cause of its failure: the outcome document, see `infra.task_command`. States that call nothing
can't catch what an expression throws, so theirs are such that nothing can be thrown.
"""

from __future__ import annotations

from typing import Any

from infra.task_command import FIRST_LOOK, MOST_LOOKS, ending, keeping, running
from infra.task_parts import (
    GONE,
    NOTHING,
    NOW,
    PROBLEM,
    RETRY,
    call,
    caught,
    choice,
    gone,
    host_item,
    job_item,
    listed,
    look_at_instance,
    number,
    put,
    said,
    unwritten,
    update,
    went,
    when,
)

__all__ = ["BOOT_LOOKS", "LAUNCHES", "MOST_LAUNCHES", "definition"]

MOST_LAUNCHES = 1000
"""Calls of RunInstances after which no more are made, whatever time is left."""

LAUNCHES = 500
"""Calls of RunInstances to which pauses grow at the most, so that they fill the time there is."""

BOOT_LOOKS = 200
"""Looks at an instance that boots, to which pauses grow likewise."""

_DIED_BOOTING = 10  # calls that count for one whose instance died: its history is as long
_DELIVERED_WITHIN = 600  # seconds for the command to reach an instance that is online

# What EC2 says where another type, zone or hour may help. Step Functions tells of any error of EC2 as
# Ec2.Ec2Exception with its sentence; codes are here for what tells them.
_NO_CAPACITY = (
    r"/insufficient\w*capacity|sufficient .{0,80}capacity|no spot capacity|insufficient capacity"
    r"|vcpu (capacity|limit)|vcpulimit|instancelimit|instance limit|max spot instance count"
    r"|maxspotinstancecount|free addresses|insufficientfreeaddresses"
    r"|not supported in your requested availability zone|spotmaxpricetoolow|minimum required spot"
    r"/i"
)
_NOT_NOW = (
    r"/request ?limit ?exceeded|throttl|rate exceeded|too many requests|internal ?error"
    r"|internal ?failure|service ?unavailable|unavailable|status code: 5\d\d|sdkclient"
    r"|states\.timeout|timed out/i"
)


def definition() -> dict[str, Any]:
    """Return the machine in the Amazon States Language (JSONata).

    ``${Partition}``, ``${TableName}``, ``${DocumentName}`` and ``${ObserveQueueUrl}`` are filled in by
    CloudFormation.
    """
    return {
        "Comment": "One task of Hut on an EC2 instance: launch, command, outcome, termination",
        "QueryLanguage": "JSONata",
        "StartAt": "Begin",
        "States": {**_launching(), **_booting(), **running(), **keeping(), **ending()},
    }


# Launching ----------------------------------------------------------------------------------------


def _launching() -> dict[str, Any]:
    late = f"{NOW} - $began >= $job.launch_timeout or $tries >= {MOST_LAUNCHES}"
    return {
        "Begin": {
            "Type": "Pass",
            "Assign": {
                "job": "{% $states.input %}",
                "began": f"{{% {NOW} %}}",
                **dict.fromkeys(
                    ("option", "tries", "rounds", "capacity_errors", "since", "ends"), 0
                ),
                **dict.fromkeys(("taken", "spot", "again"), False),
                **dict.fromkeys(("launched_at", "sent_at", "started_at", "ended_at"), None),
                **dict.fromkeys(("instance", "kind", "subnet", "command", "problem"), NOTHING),
                **dict.fromkeys(("ping", "state", "why", "status", "details", "errors"), NOTHING),
                "draw": 1,
                "pause": 5,
                "code": -1,
                "looks": 0,
                "report": {},
                "reason": "lost",
                "message": NOTHING,
                "exit_code": None,
                "pace": f"{{% $min([{FIRST_LOOK}, $states.input.poll]) %}}",
                "longest": "{% $max([120, $states.input.launch_timeout"
                f" * $count($states.input.launches) / {LAUNCHES}]) %}}",
                "poll": f"{{% $max([$states.input.poll, $states.input.deadline / {MOST_LOOKS}]) %}}",
            },
            "Output": {},
            "Next": "HasHost",
        },
        "HasHost": choice(
            when(
                "$type($job.host) = 'object'",
                "NoteInstance",
                taken=True,
                instance="{% $job.host.instance %}",
                kind="{% $job.host.type %}",
                spot="{% $job.host.spot ? true : false %}",
            ),
            otherwise="NoteLaunching",
        ),
        "NoteLaunching": {
            **call("dynamodb:putItem", put(job_item("launching", since="$began"))),
            "Retry": [RETRY],
            "Catch": [caught("Outcome", reason="lost", message=unwritten("the table"))],
            "Next": "AllTried",
        },
        "AllTried": {
            **choice(
                when("$option < $count($job.launches)", "Launch"),
                otherwise="IsLate",
            ),
            "Assign": {"option": 0, "rounds": "{% $rounds + 1 %}"},
        },
        "Launch": {
            **call(
                "ec2:runInstances",
                "{% $merge([$job.common, $job.launches[$option],"
                " {'ClientToken': $job.token & '-' & $string($draw)}]) %}",
            ),
            "Comment": "The same token is the same instance: after an error that may have been a "
            "success, and never after one for lack of capacity",
            "Retry": [{**RETRY, "ErrorEquals": ["Ec2.SdkClientException"], "MaxAttempts": 3}],
            "Assign": {
                "instance": "{% $states.result.Instances[0].InstanceId %}",
                "kind": "{% $job.launches[$option].InstanceType %}",
                "subnet": "{% '' & $job.launches[$option].SubnetId %}",
                "spot": "{% $exists($job.launches[$option].InstanceMarketOptions) %}",
                "launched_at": f"{{% {NOW} %}}",
                "since": f"{{% {NOW} %}}",
                "pause": f"{{% $max([5, $job.startup_timeout / {BOOT_LOOKS}]) %}}",
            },
            "Catch": [caught("WhyNot", tries="{% $tries + 1 %}", problem=PROBLEM)],
            "Next": "NoteInstance",
        },
        "WhyNot": {
            **choice(
                when(
                    f"$contains($problem, {_NO_CAPACITY})",
                    "AllTried",
                    option="{% $option + 1 %}",
                    draw="{% $draw + 1 %}",
                    capacity_errors="{% $capacity_errors + 1 %}",
                    reason="no_capacity",
                ),
                when(
                    f"$contains($problem, {_NOT_NOW})",
                    "IsLate",
                    reason="launch_failed",
                    rounds="{% $rounds + 1 %}",
                ),
                otherwise="Outcome",
            ),
            "Assign": {"reason": "launch_failed", "message": said("$problem")},
        },
        "IsLate": choice(
            when(
                late,
                "Outcome",
                message="{% 'not launched within ' & $string($round(" + f"{NOW} - $began"
                ")) & ' s, ' & $string($tries) & ' tries; last: '"
                " & $substring($substringBefore($problem, ' (Service: '), 0, 400) %}",
            ),
            otherwise="NoteTries",
        ),
        "NoteTries": {
            **call(
                "dynamodb:updateItem",
                update(
                    said={"S": said("$problem")},
                    capacity_errors=number("$capacity_errors"),
                ),
            ),
            "Comment": "For people who ask why; goes on without it",
            "Retry": [{**RETRY, "MaxAttempts": 2}],
            "Catch": [caught("LaunchPause")],
            "Next": "LaunchPause",
        },
        "LaunchPause": {
            "Type": "Wait",
            "Seconds": "{% $ceil($min([$longest, 15 * $power(2, $min([$rounds, 16]) - 1)])"
            " * (0.75 + $random() / 2)) %}",
            "Next": "Launch",
        },
    }


# Booting ------------------------------------------------------------------------------------------


def _booting() -> dict[str, Any]:
    later = f"{NOW} - $since"
    return {
        "NoteInstance": {
            **call(
                "dynamodb:transactWriteItems",
                {
                    "TransactItems": [
                        {"Put": put(host_item())},
                        {"Put": put(job_item("booting", since=NOW))},
                    ]
                },
            ),
            "Retry": [RETRY],
            "Catch": [caught("Terminate", reason="lost", message=unwritten("the table"))],
            "Next": "AskAgent",
        },
        "AskAgent": {
            **call(
                "ssm:describeInstanceInformation",
                {"Filters": [{"Key": "InstanceIds", "Values": ["{% $instance %}"]}]},
            ),
            "Retry": [{**RETRY, "MaxAttempts": 2}],
            "Assign": {"ping": "{% '' & ($states.result.InstanceInformationList)[0].PingStatus %}"},
            "Catch": [caught("IsOnline", ping="not known")],
            "Next": "IsOnline",
        },
        "IsOnline": choice(
            when("$ping = 'Online'", "SendCommand"),
            when("$taken", "Terminate", again=True),
            otherwise="LookAtBoot",
        ),
        "LookAtBoot": look_at_instance("IsBooting"),
        "IsBooting": choice(
            when(
                f"$state in {listed(GONE)} and $contains($why, /insufficient\\w*capacity/i)",
                "Terminate",
                again=True,
                option="{% $option + 1 %}",
                draw="{% $draw + 1 %}",
                tries=f"{{% $tries + {_DIED_BOOTING} %}}",
                capacity_errors="{% $capacity_errors + 1 %}",
                reason="no_capacity",
                problem="{% $why %}",
            ),
            when(gone(), "Terminate", reason="host_terminated", message=went()),
            when(
                f"{later} >= $job.startup_timeout",
                "Terminate",
                reason="startup_timeout",
                message="{% 'the instance ' & $instance & ' (' & $state & ') was not seen online by "
                "Systems Manager within ' & $string($job.startup_timeout) & ' s; look at its "
                "profile, its way to the internet and whether its image has the agent' %}",
            ),
            otherwise="BootPause",
        ),
        "BootPause": {
            "Type": "Wait",
            "Seconds": "{% $ceil($pause * (0.75 + $random() / 2)) %}",
            "Assign": {"pause": "{% $max([$pause, $min([15, $pause * 1.3])]) %}"},
            "Next": "AskAgent",
        },
        "SendCommand": {
            **call(
                "ssm:sendCommand",
                {
                    "DocumentName": "${DocumentName}",
                    "InstanceIds": ["{% $instance %}"],
                    "Parameters": "{% $job.parameters %}",
                    "Comment": "{% $substring($job.name, 0, 100) %}",
                    "TimeoutSeconds": _DELIVERED_WITHIN,
                    "CloudWatchOutputConfig": {"CloudWatchOutputEnabled": False},
                },
            ),
            "Comment": "A command that is sent twice is one: the instance has a lock per attempt",
            "Retry": [RETRY],
            "Assign": {
                "command": "{% $states.result.Command.CommandId %}",
                "sent_at": f"{{% {NOW} %}}",
            },
            "Catch": [caught("IsRefused", problem=PROBLEM)],
            "Next": "TellStart",
        },
        "IsRefused": {
            **choice(when("$taken", "Terminate", again=True), otherwise="Terminate"),
            "Assign": {"reason": "launch_failed", "message": said("$problem")},
        },
    }
