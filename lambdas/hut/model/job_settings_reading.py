"""From the fields of an entry to `JobSettings`, with every fault and its place.

``hut.yaml`` (`hut.model.configuration`), the stack's own entry (`hut.backends.batch.options`) and the
CDK app say it with the same fields, and all of them are read here: one set of rules. The bounds are
those of the API reference of AWS Batch. No pydantic: functions that run for every event read it too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from hut.model.documents import Path
from hut.model.job_settings import (
    Architecture,
    DefinitionMode,
    EfsVolume,
    HostVolume,
    JobSettings,
    Platform,
    Price,
    Ulimit,
)
from hut.model.problems import did_you_mean
from hut.model.quantities import parse_memory
from hut.model.states import AUTOMATIC_VARIABLES

__all__ = ["JOB_FIELDS", "OF_A_DEFINITION", "Fault", "read_job_settings"]

JOB_FIELDS = (
    "job_definition",
    "job_definition_mode",
    "retry_attempts",
    "secrets",
    "shared_memory",
    "ulimits",
    "volumes",
    "cpu_architecture",
    "ephemeral_storage",
    "prices",
)
"""The fields this module reads."""

OF_A_DEFINITION = (
    "secrets",
    "shared_memory",
    "ulimits",
    "volumes",
    "cpu_architecture",
    "ephemeral_storage",
)
"""Those that a job definition of one's own brings itself."""

_Choice = TypeVar("_Choice", bound=StrEnum)

_DEFINITION = re.compile(
    r"(arn:aws[a-z-]*:batch:[a-z0-9-]+:\d{12}:job-definition/)?[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
    r"(:[1-9]\d{0,9})?",
    re.ASCII,
)
_SECRET = re.compile(
    r"arn:aws[a-z-]*:(secretsmanager:[a-z0-9-]+:\d{12}:secret:|ssm:[a-z0-9-]+:\d{12}:parameter/)\S+",
    re.ASCII,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FILE_SYSTEM = re.compile(r"fs-[0-9a-f]{8,40}", re.ASCII)
_ACCESS_POINT = re.compile(r"fsap-[0-9a-f]{8,40}", re.ASCII)
_ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
    *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)
_LONGEST_PATH = 4096
_ONLY_EC2 = "is for EC2 only, and no partition of this backend runs on it; leave it out"


class Fault(NamedTuple):
    """What is wrong at a place inside an entry; the message says what would be right."""

    path: Path
    message: str


def read_job_settings(
    entry: Mapping[str, Any], platforms: Mapping[str, Platform | None] | None
) -> tuple[JobSettings, list[Fault]]:
    """Return what an entry says of its jobs, and all that is wrong with it.

    Parameters
    ----------
    entry
        An entry of a backend; fields that are not of `JOB_FIELDS` are passed over, except for the
        roles, which secrets and volumes may need.
    platforms
        The partitions, and what each runs on; None where only the job definition knows. Without
        them the entry is one that refines a backend which is not at hand: what depends on its queues
        and roles is not checked.
    """
    reader = _Reader(entry, platforms)
    return reader.read(), reader.faults


class _Reader:
    def __init__(
        self, entry: Mapping[str, Any], platforms: Mapping[str, Platform | None] | None
    ) -> None:
        self._entry = entry
        self._platforms = platforms
        self.faults: list[Fault] = []

    def read(self) -> JobSettings:
        definition = self._definition()
        mode = self._choice(("job_definition_mode",), DefinitionMode) or DefinitionMode.LOCKED
        if mode is DefinitionMode.REVISIONS and self._lacks("job_definition"):
            self._fault(("job_definition_mode",), "has no use without job_definition")
        if definition is not None:
            for key in OF_A_DEFINITION:
                if self._entry.get(key) is not None:
                    message = "has no use beside job_definition, which brings its own; leave it out"
                    self._fault((key,), message)
        return JobSettings(
            definition=definition,
            mode=mode,
            retry_attempts=self._number(("retry_attempts",), 1, 10),
            secrets=self._secrets(),
            shared_memory=self._shared_memory(),
            ulimits=self._ulimits(),
            volumes=self._volumes(),
            architectures=self._architectures(),
            ephemeral_storage=self._ephemeral_storage(),
            prices=self._prices(),
        )

    # Fields --------------------------------------------------------------------------------------

    def _definition(self) -> str | None:
        value = self._entry.get("job_definition")
        if value is None:
            return None
        if isinstance(value, str) and _DEFINITION.fullmatch(value):
            return value
        self._fault(
            ("job_definition",),
            f"{_show(value)} is not a job definition; write its name, name:revision or ARN",
        )
        return None

    def _secrets(self) -> dict[str, str]:
        found = {}
        for name, value in self._mapping("secrets").items():
            path = ("secrets", name)
            if not _VARIABLE.fullmatch(name) or name.startswith("AWS_BATCH"):
                message = "is not the name of a variable; use letters, digits and '_', "
                self._fault(path, message + "and nothing that begins with AWS_BATCH")
            elif name in AUTOMATIC_VARIABLES:
                self._fault(path, "is set by Hut itself and can't be a secret; use another name")
            elif not isinstance(value, str) or not _SECRET.fullmatch(value):
                # What stands there may be the secret itself: it is not shown.
                message = "must be the ARN of a Secrets Manager secret or of an SSM parameter, "
                self._fault(path, message + "never the value itself")
            else:
                found[name] = value
        if found and self._lacks("execution_role_arn"):
            self._fault(("secrets",), "need an execution_role_arn that may read them")
        return found

    def _shared_memory(self) -> int | None:
        value = self._entry.get("shared_memory")
        if value is None:
            return None
        if not self._some(Platform.EC2):
            self._fault(("shared_memory",), _ONLY_EC2)
        try:
            return parse_memory(value)
        except ValueError as error:
            self._fault(("shared_memory",), str(error))
            return None

    def _ulimits(self) -> tuple[Ulimit, ...]:
        given = self._mapping("ulimits")
        if given and not self._some(Platform.EC2):
            self._fault(("ulimits",), _ONLY_EC2)
        found = []
        for name, value in given.items():
            path: Path = ("ulimits", name)
            if name not in _ULIMITS:
                hint = did_you_mean(name, _ULIMITS, list_up_to=20)
                self._fault(path, f"there is no such limit; {hint}")
                continue
            limits = value if isinstance(value, Mapping) else {"soft": value, "hard": value}
            if set(limits) != {"soft", "hard"} or not all(map(_is_limit, limits.values())):
                message = 'must be a whole number, or {"soft": N, "hard": M}; -1 is no limit'
                self._fault(path, message)
                continue
            soft, hard = limits["soft"], limits["hard"]
            if hard != -1 and not -1 < soft <= hard:
                self._fault(path, f"its soft limit {soft} is above the hard one, {hard}")
            else:
                found.append(Ulimit(name, soft, hard))
        return tuple(found)

    def _volumes(self) -> tuple[EfsVolume | HostVolume, ...]:
        given = self._entry.get("volumes")
        if given is None:
            return ()
        if not isinstance(given, Sequence) or isinstance(given, str):
            self._fault(("volumes",), "must be a list of volumes")
            return ()
        found: list[EfsVolume | HostVolume] = []
        mounts: dict[str, int] = {}
        for index, volume in enumerate(given):
            path: Path = ("volumes", index)
            if not isinstance(volume, Mapping) or ("efs" in volume) == ("host" in volume):
                self._fault(path, "must be an object with mount and either efs or host")
                continue
            before = len(self.faults)
            read = self._efs if "efs" in volume else self._host
            made = read(path, volume)
            first = mounts.setdefault(made.mount, index)
            if made.mount and first != index:
                self._fault((*path, "mount"), f"{made.mount} is the mount of volumes[{first}] too")
            if len(self.faults) == before:
                found.append(made)
        return tuple(found)

    def _efs(self, path: Path, volume: Mapping[str, Any]) -> EfsVolume:
        self._unknown(path, volume, ("efs", "mount", "path", "access_point", "iam", "read_only"))
        system = self._matching((*path, "efs"), volume["efs"], _FILE_SYSTEM, "fs-0123456789abcdef0")
        point = volume.get("access_point")
        if point is not None:
            where = (*path, "access_point")
            point = self._matching(where, point, _ACCESS_POINT, "fsap-0123456789abcdef0")
        folder = self._folder((*path, "path"), volume.get("path", "/"))
        if point and folder != "/":
            message = "has no use beside access_point, which has its own; leave it out"
            self._fault((*path, "path"), message)
        iam = self._flag((*path, "iam"), volume.get("iam", False))
        if iam and self._lacks("job_role_arn"):
            self._fault((*path, "iam"), "needs a job_role_arn, whose permissions it uses")
        return EfsVolume(
            system,
            self._folder((*path, "mount"), volume.get("mount")),
            folder,
            point,
            iam,
            self._flag((*path, "read_only"), volume.get("read_only", False)),
        )

    def _host(self, path: Path, volume: Mapping[str, Any]) -> HostVolume:
        self._unknown(path, volume, ("host", "mount", "read_only"))
        if not self._some(Platform.EC2):
            self._fault((*path, "host"), _ONLY_EC2)
        return HostVolume(
            self._folder((*path, "host"), volume["host"]),
            self._folder((*path, "mount"), volume.get("mount")),
            self._flag((*path, "read_only"), volume.get("read_only", False)),
        )

    def _architectures(self) -> dict[str, Architecture]:
        value = self._entry.get("cpu_architecture")
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            if not self._some(Platform.FARGATE):
                message = "is for Fargate only; on EC2 the instance types of the queue decide"
                self._fault(("cpu_architecture",), message)
            chosen = self._choice(("cpu_architecture",), Architecture)
            known = (self._platforms or {}).items()
            fargate = [name for name, of in known if of is not Platform.EC2]
            return {} if chosen is None else dict.fromkeys(fargate, chosen)
        found = {}
        for name in value:
            path = ("cpu_architecture", str(name))
            if not self._is_queue(path, str(name)):
                continue
            if (self._platforms or {}).get(name) is Platform.EC2:
                message = "runs on EC2, where the instance types of the queue decide; leave it out"
                self._fault(path, message)
            elif (one := self._choice(path, Architecture, value[name])) is not None:
                found[name] = one
        return found

    def _ephemeral_storage(self) -> int | None:
        if self._entry.get("ephemeral_storage") is not None and not self._some(Platform.FARGATE):
            message = "is for Fargate only; on EC2 the disk of the host is shared"
            self._fault(("ephemeral_storage",), message)
        return self._number(("ephemeral_storage",), 21, 200, " (GiB)")

    def _prices(self) -> dict[str, Price]:
        found = {}
        for name, value in self._mapping("prices").items():
            path = ("prices", name)
            if not self._is_queue(path, name):
                continue
            needed, keys = {"vcpu_hour", "gib_hour"}, {"vcpu_hour", "gib_hour", "gpu_hour"}
            if (
                isinstance(value, Mapping)
                and needed <= set(value) <= keys
                and all(map(_is_price, value.values()))
            ):
                found[name] = Price(**{key: float(one) for key, one in value.items()})
            else:
                message = (
                    'must be {"vcpu_hour": X, "gib_hour": Y} in dollars, maybe with "gpu_hour"'
                )
                self._fault(path, message)
        return found

    # Kinds of values -----------------------------------------------------------------------------

    def _some(self, platform: Platform) -> bool:
        """Say whether a partition runs on a platform, or may do so."""
        if not self._platforms:
            return True
        return any(of in (platform, None) for of in self._platforms.values())

    def _lacks(self, key: str) -> bool:
        """Say whether a whole entry does not have a field."""
        return self._platforms is not None and self._entry.get(key) is None

    def _is_queue(self, path: Path, name: str) -> bool:
        if self._platforms is None or name in self._platforms:
            return True
        hint = did_you_mean(name, list(self._platforms), list_up_to=20)
        self._fault(path, f"there is no such queue; {hint}")
        return False

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self._entry.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._fault((key,), "must be an object")
            return {}
        return {str(name): inner for name, inner in value.items()}

    def _number(self, path: Path, least: int, most: int, unit: str = "") -> int | None:
        value = self._entry.get(str(path[0]))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            message = f"{_show(value)} is not a whole number from {least} to {most}{unit}"
            self._fault(path, message)
            return None
        return value

    def _choice(self, path: Path, kind: type[_Choice], value: object = None) -> _Choice | None:
        value = self._entry.get(str(path[0])) if value is None else value
        if value is None:
            return None
        if isinstance(value, str) and value in tuple(kind):
            return kind(value)
        self._fault(path, f"{_show(value)} is neither {' nor '.join(kind)}")
        return None

    def _matching(self, path: Path, value: object, form: re.Pattern[str], example: str) -> str:
        if isinstance(value, str) and form.fullmatch(value):
            return value
        self._fault(path, f"{_show(value)} is not an id such as {example}")
        return ""

    def _folder(self, path: Path, value: object) -> str:
        if (
            isinstance(value, str)
            and value.startswith("/")
            and len(value) <= _LONGEST_PATH
            and value.isprintable()
            and ".." not in value.split("/")
        ):
            return value
        shown = "is missing" if value is None else f"{_show(value)} is no absolute path"
        self._fault(path, f"{shown}; write a folder such as /data")
        return ""

    def _flag(self, path: Path, value: object) -> bool:
        if not isinstance(value, bool):
            self._fault(path, f"{_show(value)} is neither true nor false")
        return value is True

    def _unknown(self, path: Path, volume: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in volume:
            if key not in known:
                self._fault((*path, str(key)), f"unknown; {did_you_mean(str(key), known)}")

    def _fault(self, path: Path, message: str) -> None:
        self.faults.append(Fault(path, message))


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**31


def _is_price(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value < 1_000_000  # type: ignore[operator, arg-type]


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
