"""An entry of ``backends`` of type ``ec2``: one EC2 instance for each task.

Every field but the name may be left out: the deployment's own EC2 backend says the rest. That a file's
rules are those of the deployment (`hut.backends.ec2.options`) is held by a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from hut.model.backend_section import Backend
from hut.model.configuration_parts import Aws, ScalarText, Text

__all__ = ["Ec2Backend"]

_LATEST = "al2023"
_LONGEST_KEY, _LONGEST_VALUE, _MOST_TAGS = 128, 256, 20
_LONGEST_PREFIX = 60
# "Tag naming limits and requirements" in the Amazon EC2 user guide.
_OF_TAGS = re.compile(r"[\w .:/=+@-]*")


def _like(pattern: str, wanted: str) -> Callable[[str], str]:
    """Return a check that a text has a form."""
    form = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"{text[:100]!r} is not {wanted}")
        return text

    return check


def _listed(value: Any) -> Any:
    """Let one text stand for a list of it."""
    return [value] if isinstance(value, str) else value


def _some(values: list[str]) -> list[str]:
    if not values:
        raise ValueError("is empty; name at least one, or leave the field out")
    return values


def _partitions(types: dict[str, list[str]]) -> dict[str, list[str]]:
    if not types:
        raise ValueError("is empty; name a partition and its types, or leave the field out")
    return types


def _tag_key(key: str) -> str:
    if key.lower().startswith("aws:"):
        raise ValueError("keys that begin with aws: are for AWS itself; use another one")
    if key == "hut" or key.startswith("hut:"):
        raise ValueError("hut, and what begins with hut:, is for Hut itself; use another one")
    if not key or len(key) > _LONGEST_KEY or not _OF_TAGS.fullmatch(key):
        raise ValueError(
            f"is no key of a tag; use letters, digits, blanks and . _ : / = + - @, at most "
            f"{_LONGEST_KEY}"
        )
    return key


def _tag_value(value: str) -> str:
    if len(value) > _LONGEST_VALUE or not _OF_TAGS.fullmatch(value):
        raise ValueError(
            f"is no value of a tag; use letters, digits, blanks and . _ : / = + - @, at most "
            f"{_LONGEST_VALUE}"
        )
    return value


def _tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > _MOST_TAGS:
        raise ValueError(f"{len(tags)} tags; {_MOST_TAGS} are allowed, Hut adds some of its own")
    return tags


def _prefix(text: str) -> str:
    if len(text) > _LONGEST_PREFIX or not _OF_TAGS.fullmatch(text):
        raise ValueError(
            f"can't begin the keys of tags; use letters, digits and . _ - / @, at most "
            f"{_LONGEST_PREFIX}"
        )
    if f"{text}:".lower().startswith("aws:"):
        raise ValueError("keys that begin with aws: are for AWS itself; use another one")
    return text


Ami = Annotated[
    str,
    AfterValidator(
        _like(
            rf"{_LATEST}|ami-[0-9a-f]{{8,17}}"
            r"|resolve:ssm:/?[A-Za-z0-9_./-]+(?::[A-Za-z0-9_.-]+)?",
            f"an image; write ami-..., {_LATEST} for the newest Amazon Linux 2023, or resolve:ssm: and "
            "the name of a parameter",
        )
    ),
]
Subnet = Annotated[
    str, AfterValidator(_like("subnet-[0-9a-f]{8,17}", "the id of a subnet; write subnet-..."))
]
SecurityGroup = Annotated[
    str, AfterValidator(_like("sg-[0-9a-f]{8,17}", "the id of a security group; write sg-..."))
]
InstanceType = Annotated[
    str,
    AfterValidator(
        _like(r"[a-z0-9-]+\.[a-z0-9-]+", "an instance type; write one such as c5.xlarge")
    ),
]
InstanceTypes = Annotated[list[InstanceType], BeforeValidator(_listed), AfterValidator(_some)]
Profile = Annotated[
    str,
    AfterValidator(
        _like(
            r"arn:aws[a-z-]*:iam::[0-9]*:instance-profile/.+",
            "the ARN of an instance profile; write arn:aws:iam::...:instance-profile/...",
        )
    ),
]
Device = Annotated[
    str, AfterValidator(_like("/dev/[a-z0-9]+", "a device; write one such as /dev/xvda"))
]
TagKey = Annotated[str, AfterValidator(_tag_key)]
TagValue = Annotated[ScalarText, AfterValidator(_tag_value)]
Price = Annotated[float, Field(gt=0, lt=10_000, allow_inf_nan=False)]


class Ec2Backend(Backend):
    """One EC2 instance for each task; what is left out is as the deployment has it.

    ``ssh_user`` is taken for the sake of files that have it: nobody logs in.
    """

    type: Literal["ec2"]
    aws: Aws | None = None
    ami: Ami | None = None
    subnet_id: Subnet | None = None
    subnet_ids: Annotated[list[Subnet], BeforeValidator(_listed), AfterValidator(_some)] | None = (
        None
    )
    security_group_ids: list[SecurityGroup] | None = None
    instance_types: Annotated[dict[Text, InstanceTypes], AfterValidator(_partitions)] | None = None
    default_image: Text | None = None
    instance_profile_arn: Profile | None = None
    ssh_user: Text | None = None
    max_instances: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=100_000)] | None = None
    idle_terminate_seconds: Annotated[int, Field(ge=60, le=86_400)] | None = None
    startup_timeout_seconds: Annotated[int, Field(ge=30, le=86_400)] | None = None
    launch_timeout_seconds: Annotated[int, Field(ge=30, le=604_800)] | None = None
    spot: Literal["never", "prefer", "only"] | None = None
    reuse: bool | None = None
    root_volume_gib: Annotated[int, Field(ge=8, le=16_384)] | None = None
    root_device: Device | None = None
    tag_prefix: Annotated[Text, AfterValidator(_prefix)] | None = None
    extra_tags: Annotated[dict[TagKey, TagValue], AfterValidator(_tags)] | None = None
    prices: dict[InstanceType, Price] | None = None

    @field_validator("subnet_ids", mode="before")
    @classmethod
    def _one_of_both(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("subnet_id") is not None:
            raise ValueError("stands beside subnet_id; keep one of them")
        return value
