"""What an EC2 backend is: the entry of ``HUT_BACKENDS`` that describes it.

The stack writes the entry and a configuration may refine it; all faults are told at once, each with
the place it is at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hut.backends.ec2.types import Processor, processor_of
from hut.backends.entries import EntryReader, check_prefix
from hut.model.problems import InvalidInput

__all__ = ["DEFAULT_PARTITION", "LATEST", "Ec2Options", "Spot", "read_options"]

DEFAULT_PARTITION = "default"
"""What stands for the ``partition`` of tasks that name none."""

LATEST = "al2023"
"""Stands for the newest image of Amazon Linux 2023, for whatever processor the types have."""

_AMI = re.compile(
    r"ami-[0-9a-f]{8,17}|resolve:ssm:/?[A-Za-z0-9_./-]+(?::[A-Za-z0-9_.-]+)?", re.ASCII
)
_MACHINE = re.compile(
    r"arn:aws[a-z-]*:states:(?P<region>[a-z0-9-]+):[0-9]*:stateMachine:[^:]+", re.ASCII
)
_PROFILE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]*:instance-profile/.+", re.ASCII)
_DEVICE = re.compile(r"/dev/[a-z0-9]+", re.ASCII)
_TYPE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+", re.ASCII)
_IDS = {
    "launch_template": (re.compile(r"lt-[0-9a-f]{8,17}", re.ASCII), "lt-0123456789abcdef0"),
    "subnet_ids": (re.compile(r"subnet-[0-9a-f]{8,17}", re.ASCII), "subnet-0123456789abcdef0"),
    "security_group_ids": (re.compile(r"sg-[0-9a-f]{8,17}", re.ASCII), "sg-0123456789abcdef0"),
}
# "Tag restrictions" in the user guide of EC2; of letters only those that every service takes.
_TAG = re.compile(r"[A-Za-z0-9_ .:/=+@-]*", re.ASCII)
_LONGEST_TAG, _LONGEST_TAG_VALUE, _MOST_TAGS = 128, 256, 20
_LONGEST_TAG_PREFIX = 60
_LARGEST_VOLUME = 16384  # GiB of a gp3 volume
_MOST_SECONDS = 86400
_MOST_OPTIONS = 60
_KEYS = (
    "name",
    "type",
    "machine",
    "document",
    "launch_template",
    "instance_profile_arn",
    "subnet_ids",
    "security_group_ids",
    "ami",
    "instance_types",
    "default_image",
    "max_instances",
    "max_concurrent",
    "idle_terminate_seconds",
    "startup_timeout_seconds",
    "launch_timeout_seconds",
    "spot",
    "reuse",
    "root_volume_gib",
    "root_device",
    "tag_prefix",
    "extra_tags",
    "log_group",
    "prices",
)


class Spot(StrEnum):
    """Whether instances are spot instances."""

    NEVER = "never"
    PREFER = "prefer"
    ONLY = "only"


@dataclass(frozen=True, slots=True)
class Ec2Options:
    """An EC2 backend.

    Attributes
    ----------
    name : str
        What workflows call it.
    machine : str
        ARN of the state machine that runs an attempt.
    document : str
        Name of the SSM document that it sends.
    launch_template : str
        Id of the launch template; what stands here goes before what stands there.
    instance_profile_arn : str
        Instances have the role in it, and so do their containers.
    subnet_ids, security_group_ids : tuple of str
        Subnets are tried in this order.
    instance_types : mapping of str to tuple of str
        For each value of a task's ``partition``, the types that are tried in this order.
    ami : str
        Id of an image, ``resolve:ssm:`` and the name of a parameter with one, or `LATEST`.
    default_image : str or None
        Container image of tasks that name none; None for those to run on the instance itself.
    max_instances, max_concurrent : int, int or None
        Most tasks at a time, over all runs; see `cap`.
    idle_terminate_seconds : int
        How long past its time limit a task may keep its instance before that ends itself, and how
        long an instance is kept for the next task where they are reused.
    startup_timeout_seconds : int
        How long an instance may take until SSM can send it commands.
    launch_timeout_seconds : int
        How long capacity is waited for.
    reuse : bool
        Whether an instance that a task leaves takes another.
    root_volume_gib : int
        Size of the volume that is at `root_device` of the AMI.
    tag_prefix : str
        Begins the keys of tags that say whose an instance is, for people and bills.
    extra_tags : mapping of str to str
        Tags of all instances.
    log_group : str
        Log group that tasks write to.
    prices : mapping of str to float
        Dollars an hour by instance type, which go before the list prices Hut knows.
    prefix : str
        Of the deployment; stands before the names of jobs.
    """

    name: str
    machine: str
    document: str
    launch_template: str
    instance_profile_arn: str
    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]
    instance_types: Mapping[str, tuple[str, ...]]
    log_group: str
    ami: str = LATEST
    default_image: str | None = None
    max_instances: int = 20
    max_concurrent: int | None = None
    idle_terminate_seconds: int = 1800
    startup_timeout_seconds: int = 600
    launch_timeout_seconds: int = 3600
    spot: Spot = Spot.NEVER
    reuse: bool = False
    root_volume_gib: int = 30
    root_device: str = "/dev/xvda"
    tag_prefix: str = "hut"
    extra_tags: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    prefix: str = "hut"

    @property
    def partitions(self) -> tuple[str, ...]:
        """What a task may name as its ``partition``."""
        return tuple(sorted(self.instance_types))

    @property
    def default_partition(self) -> str:
        """The partition of tasks that name none."""
        return DEFAULT_PARTITION

    @property
    def cap(self) -> int:
        """Most tasks at a time, over all runs."""
        return min(self.max_instances, self.max_concurrent or self.max_instances)

    @property
    def region(self) -> str:
        """Where it is."""
        return self.machine.split(":")[3]


def read_options(
    entry: Mapping[str, Any], *, prefix: str = "hut", place: str = "backend"
) -> Ec2Options:
    """Return the options one entry describes.

    Parameters
    ----------
    prefix
        Letters and digits, small: it is a part of names that are taken apart at dashes.
    place
        Where the entry stands, for messages.

    Raises
    ------
    InvalidInput
        With all that is missing, unknown or of the wrong kind.
    """
    check_prefix(prefix)
    reader = _Reader(entry, place)
    options = reader.read(prefix)
    if reader.problems:
        raise InvalidInput(reader.problems)
    return options


class _Reader(EntryReader):
    def read(self, prefix: str) -> Ec2Options:
        self._check_keys(_KEYS)
        ami = self._ami()
        types = self._types()
        if ami == LATEST:
            self._check_processors(types)
        subnets = self._ids("subnet_ids")
        if not subnets and isinstance(self._entry.get("subnet_ids"), list):
            self._fault("subnet_ids", "name at least one subnet")
        spot = self._spot()
        times = 2 if spot is Spot.PREFER else 1
        for partition, names in types.items():
            if (count := times * len(names) * len(subnets)) > _MOST_OPTIONS:
                message = (
                    f"{count} ways to launch an instance ({len(names)} types in {len(subnets)} "
                    f"subnets{', as spot and on demand' if times == 2 else ''}); "
                    f"{_MOST_OPTIONS} are allowed"
                )
                self._fault(f"instance_types.{partition}", message)
        return Ec2Options(
            name=self._text("name"),
            machine=self._matching("machine", _MACHINE, "the ARN of a state machine"),
            document=self._text("document"),
            launch_template=self._id("launch_template"),
            instance_profile_arn=self._matching(
                "instance_profile_arn", _PROFILE, "the ARN of an instance profile"
            ),
            subnet_ids=subnets,
            security_group_ids=self._ids("security_group_ids"),
            instance_types=types,
            log_group=self._text("log_group"),
            ami=ami,
            default_image=self._text_or_none("default_image"),
            max_instances=self._count("max_instances", 20),
            max_concurrent=self._count_or_none("max_concurrent"),
            idle_terminate_seconds=self._count("idle_terminate_seconds", 1800, _MOST_SECONDS, 60),
            startup_timeout_seconds=self._count("startup_timeout_seconds", 600, _MOST_SECONDS, 30),
            launch_timeout_seconds=self._count(
                "launch_timeout_seconds", 3600, 7 * _MOST_SECONDS, 30
            ),
            spot=spot,
            reuse=self._flag("reuse"),
            root_volume_gib=self._count("root_volume_gib", 30, _LARGEST_VOLUME, 8),
            root_device=self._matching(
                "root_device", _DEVICE, "the name of a device such as /dev/xvda", "/dev/xvda"
            ),
            tag_prefix=self._tag_prefix(),
            extra_tags=self._tags(),
            prices=self._prices(),
            prefix=prefix,
        )

    def _ami(self) -> str:
        value = self._entry.get("ami")
        if value is None or value == LATEST:
            return LATEST
        wanted = f"the id of an image (ami-...), {LATEST}, or resolve:ssm: and a parameter's name"
        return self._matching("ami", _AMI, wanted)

    def _types(self) -> dict[str, tuple[str, ...]]:
        value = self._entry.get("instance_types")
        if not isinstance(value, dict) or not value:
            message = 'must be an object such as {"default": ["c5.xlarge"]}'
            self._fault("instance_types", message)
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for partition, given in value.items():
            place = f"instance_types.{partition}"
            names = [given] if isinstance(given, str) else given
            if not isinstance(names, list) or not names:
                self._fault(place, "must be an instance type or an array of some")
                continue
            for name in names:
                if not isinstance(name, str) or not _TYPE.fullmatch(name):
                    self._fault(place, f"{name!r} is no instance type such as c5.xlarge")
            found[str(partition)] = tuple(dict.fromkeys(map(str, names)))
        return found

    def _check_processors(self, types: Mapping[str, Sequence[str]]) -> None:
        """Hold that the types of a partition take the same image."""
        for partition, names in types.items():
            arm = [name for name in names if processor_of(name) is Processor.ARM64]
            others = [name for name in names if name not in arm]
            if arm and others:
                message = (
                    f"{arm[0]} and {others[0]} need different images of the system, and mostly of "
                    "the container too; make two partitions of them"
                )
                self._fault(f"instance_types.{partition}", message)

    def _spot(self) -> Spot:
        value = self._entry.get("spot")
        if value is None:
            return Spot.NEVER
        if value not in tuple(Spot):
            self._fault("spot", f"{value!r} is none of never, prefer, only")
            return Spot.NEVER
        return Spot(value)

    def _tag_prefix(self) -> str:
        value = self._entry.get("tag_prefix")
        if value is None:
            return "hut"
        fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_TAG_PREFIX
        if not fits or not _TAG.fullmatch(value) or f"{value}:".lower().startswith("aws:"):
            message = (
                f"{value!r} can't begin the keys of tags: use letters, digits and . _ - / @, at most "
                f"{_LONGEST_TAG_PREFIX}, and not aws"
            )
            self._fault("tag_prefix", message)
            return "hut"
        return str(value)

    def _tags(self) -> dict[str, str]:
        value = self._entry.get("extra_tags")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fault("extra_tags", "must be an object of texts")
            return {}
        if len(value) > _MOST_TAGS:
            self._fault("extra_tags", f"{len(value)} tags; {_MOST_TAGS} are allowed")
        for key, text in value.items():
            place = f"extra_tags.{key}"
            if not _is_tag(key, _LONGEST_TAG) or not key or key.lower().startswith("aws:"):
                self._fault(place, f"is no key of a tag: {_of_tags(_LONGEST_TAG)}, not aws: first")
            if key == "hut" or key.startswith("hut:"):
                self._fault(place, "hut, and what begins with hut:, is for Hut itself")
            if not _is_tag(text, _LONGEST_TAG_VALUE):
                self._fault(place, f"must be a text of {_of_tags(_LONGEST_TAG_VALUE)}")
        return {str(key): str(text) for key, text in value.items()}

    def _prices(self) -> dict[str, float]:
        value = self._entry.get("prices")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fault("prices", 'must be an object such as {"c5.xlarge": 0.17}')
            return {}
        for name, price in value.items():
            is_number = isinstance(price, (int, float)) and not isinstance(price, bool)
            if not is_number or not 0 < price < 10_000:
                self._fault(f"prices.{name}", f"{price!r} is no price in dollars an hour")
        return {str(name): price for name, price in value.items()}

    def _count(self, key: str, default: int, most: int = 100_000, least: int = 1) -> int:
        value = self._entry.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._fault(key, f"{value!r} is no whole number from {least:,} to {most:,}")
            return default
        return value

    def _count_or_none(self, key: str) -> int | None:
        return None if self._entry.get(key) is None else self._count(key, 1)

    def _flag(self, key: str) -> bool:
        value = self._entry.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._fault(key, f"{value!r} is neither true nor false")
        return False

    def _id(self, key: str) -> str:
        pattern, example = _IDS[key]
        return self._matching(key, pattern, f"an id such as {example}")

    def _ids(self, key: str) -> tuple[str, ...]:
        value = self._entry.get(key)
        if not isinstance(value, list):
            self._fault(key, "must be an array of ids")
            return ()
        pattern, example = _IDS[key]
        for each in value:
            if not isinstance(each, str) or not pattern.fullmatch(each):
                self._fault(key, f"{each!r} is no id such as {example}")
        return tuple(dict.fromkeys(map(str, value)))

    def _matching(
        self, key: str, pattern: re.Pattern[str], wanted: str, default: str | None = None
    ) -> str:
        value = self._entry.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self._fault(key, f"must be {wanted}" + ("" if value is None else f", not {value!r}"))
            return ""
        return value


def _is_tag(text: object, longest: int) -> bool:
    return isinstance(text, str) and len(text) <= longest and bool(_TAG.fullmatch(text))


def _of_tags(longest: int) -> str:
    return f"at most {longest} letters, digits, blanks and . _ : / = + - @"
