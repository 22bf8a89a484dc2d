"""The instances of a deployment: found by their tags, and ended.

What was launched a moment ago may not be seen yet ("Eventual consistency" in the developer guide of
EC2): who must be sure looks again, later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from hut.backends.ec2.launching import ATTEMPT_TAG, BACKEND_TAG, DEPLOYMENT_TAG
from hut.backends.errors import code_of

__all__ = ["Instance", "Instances"]

_LIVE = ("pending", "running", "stopping", "stopped")
_VALUES = 200  # of a filter
_PAGE = 1000
_ENDED_AT_ONCE = 100
_NO_SUCH = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})


class Instance(NamedTuple):
    """An instance that is there.

    Attributes
    ----------
    attempt, backend : str
        Whose it was launched for; by now it may be another attempt's.
    launched_at : float
        Seconds since the epoch.
    """

    id: str
    attempt: str
    backend: str
    launched_at: float


class Instances:
    """See the module's docstring.

    Parameters
    ----------
    ec2
        A client of boto3.
    prefix
        Of the deployment.
    """

    def __init__(self, ec2: Any, prefix: str) -> None:
        self._ec2 = ec2
        self._prefix = prefix

    def of_attempts(self, names: Sequence[str]) -> list[Instance]:
        """Return what is there of what was launched for attempts."""
        found: list[Instance] = []
        for start in range(0, len(names), _VALUES):
            found += self._find({f"tag:{ATTEMPT_TAG}": list(names[start : start + _VALUES])})
        return found

    def all(self) -> list[Instance]:
        """Return what is there of what was launched for attempts of the deployment.

        Its other instances, hosts of AWS Batch for example, may have the deployment's tag too.
        """
        found = self._find({"tag-key": [ATTEMPT_TAG]})
        return [instance for instance in found if instance.attempt]

    def end(self, instances: Sequence[str]) -> None:
        """Terminate instances; those that are gone are left alone.

        One id that EC2 does not know fails the call for all: then it is asked for each. All are tried
        before an error is raised.
        """
        errors: list[ClientError] = []
        for start in range(0, len(instances), _ENDED_AT_ONCE):
            some = list(instances[start : start + _ENDED_AT_ONCE])
            error = self._end(some)
            if error is not None and len(some) > 1:
                errors += [each for one in some if (each := self._end([one])) is not None]
            elif error is not None:
                errors.append(error)
        if errors:
            raise errors[0]

    def _end(self, some: list[str]) -> ClientError | None:
        try:
            self._ec2.terminate_instances(InstanceIds=some)
        except ClientError as error:
            gone = len(some) == 1 and code_of(error) in _NO_SUCH
            return None if gone else error
        return None

    def _find(self, wanted: Mapping[str, list[str]]) -> Iterator[Instance]:
        filters = {
            f"tag:{DEPLOYMENT_TAG}": [self._prefix],
            "instance-state-name": list(_LIVE),
            **wanted,
        }
        pages = self._ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": name, "Values": values} for name, values in filters.items()],
            MaxResults=_PAGE,
        )
        for page in pages:
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
                    yield Instance(
                        str(instance["InstanceId"]),
                        str(tags.get(ATTEMPT_TAG, "")),
                        str(tags.get(BACKEND_TAG, "")),
                        instance["LaunchTime"].timestamp(),
                    )
