"""Parts of the state machine "ec2-task": states of a kind, what they say of errors, items they write.

The items' readers are in `hut.store.dynamodb.hosts`. Variables that expressions here name are those
that `infra.task_machine` begins with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "GONE",
    "NOTHING",
    "NOW",
    "PROBLEM",
    "RETRY",
    "SEEN_WITHIN",
    "SHORT",
    "call",
    "caught",
    "choice",
    "gone",
    "host_item",
    "host_key",
    "idle_item",
    "idle_key",
    "job_item",
    "listed",
    "look_at_instance",
    "number",
    "put",
    "said",
    "unwritten",
    "update",
    "went",
    "when",
]

GONE = ("shutting-down", "terminated", "stopping", "stopped")
"""States of an instance from which it does not come back: a stopped one is nobody's any more."""

SEEN_WITHIN = 120
"""Seconds until EC2 must show an instance that it has launched."""

NOTHING = "{% '' %}"
"""An empty text; the validator takes none as it stands."""

NOW = "$millis() / 1000"
SHORT = 500
"""Characters of what is told; AWS's own sentences can be thousands."""

PROBLEM = "{% $substring($states.errorOutput.Error & ': ' & $states.errorOutput.Cause, 0, 1500) %}"
RETRY = {
    "ErrorEquals": ["States.ALL"],
    "IntervalSeconds": 1,
    "BackoffRate": 2,
    "MaxDelaySeconds": 20,
    "MaxAttempts": 6,
    "JitterStrategy": "FULL",
}

# States -------------------------------------------------------------------------------------------


def call(action: str, arguments: object) -> dict[str, Any]:
    """Return a task that calls an action of the SDK; its answer goes no further than its Assign."""
    return {
        "Type": "Task",
        "Resource": f"arn:${{Partition}}:states:::aws-sdk:{action}",
        "Arguments": arguments,
        "TimeoutSeconds": 60,
        "Output": {},
    }


def caught(follower: str, **assigned: Any) -> dict[str, Any]:
    """Return a catcher of all errors."""
    caught: dict[str, Any] = {"ErrorEquals": ["States.ALL"], "Output": {}, "Next": follower}
    return {**caught, "Assign": assigned} if assigned else caught


def choice(*rules: Mapping[str, Any], otherwise: str) -> dict[str, Any]:
    """Return a state that takes the first rule whose condition holds."""
    return {"Type": "Choice", "Choices": list(rules), "Default": otherwise}


def when(condition: str, follower: str, **assigned: Any) -> dict[str, Any]:
    """Return a rule of a choice, whose condition must always have a value."""
    rule: dict[str, Any] = {"Condition": f"{{% {condition} %}}", "Next": follower}
    return {**rule, "Assign": assigned} if assigned else rule


def look_at_instance(follower: str) -> dict[str, Any]:
    """Return a state that finds out how the instance is.

    It asks by a filter: an instance that EC2 does not show yet is no error then.
    """
    seen = "($states.result.Reservations.Instances)[0]"
    return {
        **call(
            "ec2:describeInstances",
            {"Filters": [{"Name": "instance-id", "Values": ["{% $instance %}"]}]},
        ),
        "Retry": [{**RETRY, "MaxAttempts": 2}],
        "Assign": {
            "state": f"{{% $exists({seen}.State.Name) ? {seen}.State.Name : 'absent' %}}",
            "why": f"{{% ($said := '' & {seen}.StateReason.Message; $code := '' &"
            f" {seen}.StateReason.Code; $substring($contains($said, $code) ? $said"
            " : $code & ': ' & $said, 0, 300)) %}",
        },
        "Catch": [caught(follower, state="not known")],
        "Next": follower,
    }


def gone() -> str:
    """Return the condition that the instance is gone, as far as was looked."""
    return f"$state in {listed(GONE)} or ($state = 'absent' and {NOW} - $since >= {SEEN_WITHIN})"


def went(when: str = "''") -> str:
    """Return the sentence that says what became of the instance."""
    return (
        "{% ($contains($why, /spot/i) ? 'the spot instance ' & $instance & ' was reclaimed by EC2'"
        f" : 'the instance ' & $instance & ' was ended') & {when} & ' (' & $trim($state & ' ' & $why) & ')' %}}"
    )


def said(problem: str) -> str:
    """Return AWS's own sentence, without which request it was."""
    return f"{{% $substring($substringBefore({problem}, ' (Service: '), 0, {SHORT}) %}}"


def unwritten(what: str) -> str:
    """Return the sentence for an error of a write."""
    error = "$states.errorOutput.Error & ': ' & $states.errorOutput.Cause"
    return f"{{% $substring('{what} could not be written: ' & {error}, 0, {SHORT}) %}}"


def listed(texts: Iterable[str]) -> str:
    """Return texts as an array of an expression."""
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"


# Items --------------------------------------------------------------------------------------------


def job_key() -> dict[str, Any]:
    return {"pk": {"S": "{% 'EC2JOB#' & $job.name %}"}, "sk": {"S": "JOB"}}


def host_key() -> dict[str, Any]:
    """Return the key of the note whose the instance is."""
    return {"pk": {"S": "{% 'HOST#' & $instance %}"}, "sk": {"S": "HOST"}}


def idle_key() -> dict[str, Any]:
    """Return the key of what exists exactly while the instance is idle."""
    return {
        "pk": {"S": "{% 'IDLE#' & $job.backend %}"},
        "sk": {"S": "{% $job.idle.shape & '#' & $instance %}"},
    }


def job_item(phase: str, *, since: str) -> dict[str, Any]:
    """Return what is known of the attempt in a phase."""
    return {
        **job_key(),
        "kind": {"S": "ec2job"},
        "name": {"S": "{% $job.name %}"},
        "backend": {"S": "{% $job.backend %}"},
        "phase": {"S": phase},
        "since": number(since),
        "launching_since": number("$began"),
        "capacity_errors": number("$capacity_errors"),
        "said": {"S": said("$problem")},
        "instance": {"S": "{% $instance %}"},
        "type": {"S": "{% $kind %}"},
        "spot": number("$spot ? 1 : 0"),
        "subnet": {"S": "{% $subnet %}"},
        "ttl": number("$job.expires"),
    }


def host_item() -> dict[str, Any]:
    """Return the note whose the instance is."""
    return {
        **host_key(),
        "kind": {"S": "host"},
        "name": {"S": "{% $job.name %}"},
        "backend": {"S": "{% $job.backend %}"},
        "shape": {"S": "{% '' & $job.idle.shape %}"},
        "at": number(NOW),
        "ttl": number("$job.expires"),
    }


def idle_item() -> dict[str, Any]:
    """Return what lets another attempt take the instance."""
    return {
        **idle_key(),
        "kind": {"S": "idle"},
        "instance": {"S": "{% $instance %}"},
        "type": {"S": "{% $kind %}"},
        "spot": number("$spot ? 1 : 0"),
        "until": number(f"{NOW} + $job.idle.seconds"),
        "ttl": number("$job.expires"),
    }


def number(expression: str) -> dict[str, str]:
    """Return a number as DynamoDB takes it.

    Of the types of values only ``S`` and ``N`` are used: Step Functions names others after the SDK of
    Java (``Bool``), or does not say how.
    """
    return {"N": f"{{% $string({expression}) %}}"}


def put(item: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a write of an item."""
    return {"TableName": "${TableName}", "Item": item}


def update(**attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an update of the job item."""
    return {
        "TableName": "${TableName}",
        "Key": job_key(),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
        "ExpressionAttributeValues": {f":{name}": value for name, value in attributes.items()},
    }
