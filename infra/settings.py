"""What a person may choose about a deployment, read once from the CDK context.

The values stand under ``hut`` in cdk.json (``{"context": {"hut": {"prefix": "lab"}}}``) or on the
command line (``-c hut:prefix=lab``), which wins. Every fault is reported at once. What the values
mean for resources is decided by the stacks, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from hut.model.documents import dotted
from hut.model.job_settings import JobSettings, Platform
from hut.model.job_settings_reading import JOB_FIELDS, Fault, read_job_settings
from hut.model.problems import did_you_mean
from infra import values
from infra.ec2_settings import RESERVED, Ec2Given, network_faults, read_ec2, value_faults

__all__ = ["DEFAULT_IMAGE", "JobQueue", "Settings", "SettingsError", "read_settings"]

# It has Python, so tables of large arrays can be fetched (docs/decisions/011-arrays.md).
DEFAULT_IMAGE = "public.ecr.aws/docker/library/python:3.12-slim"
OWN_PARTITIONS: Mapping[str, str] = MappingProxyType(
    {"ec2": "EC2", "ec2-spot": "EC2", "fargate": "FARGATE", "fargate-spot": "FARGATE"}
)
_KEY = "hut"


class SettingsError(ValueError):
    """The context holds values Hut can't use; the message lists all of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"the context of the CDK app (cdk.json, -c) is not usable:{lines}")


@dataclass(frozen=True, slots=True)
class JobQueue:
    """A Batch queue that exists already.

    Attributes
    ----------
    arn : str
    platform : str
        What it runs on, EC2 or FARGATE.
    scheduling_policy : bool
        Whether it has a fair-share scheduling policy: jobs must name their share then, and must not
        name one otherwise.
    """

    arn: str
    platform: str
    scheduling_policy: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of one deployment.

    Attributes
    ----------
    prefix : str
        Begins the names of what is made; two deployments in one account differ in it.
    region, account : str or None
        Where to deploy; None: where the caller's credentials point.
    vpc_id, subnet_ids, security_group_ids
        An existing network for jobs, from which registries can be reached. Without it, one with two
        public subnets is made.
    queues : mapping of str to JobQueue
        Existing queues by the partition tasks name; then no network, compute or queue is made.
    default_partition : str
        The queue of tasks that name none.
    job_role_arn, execution_role_arn, instance_profile_arn : str or None
        Existing roles: of the job's container, of what pulls its image, of EC2 hosts.
    default_image : str
        The image of tasks that name none.
    jobs : mapping of str to object
        What all jobs have in common, by the fields and rules of `hut.model.job_settings_reading`: a
        job definition that exists, secrets, volumes, limits, retries, processor, prices.
    job_log_group : str or None
        The log group that a job definition which exists writes to.
    ec2 : mapping of str to object, or None
        What instances of tasks are made of: fields of `infra.ec2_settings`. None: there are none.
    pools : tuple of str
        Names of pools of workers, each a backend with a queue that rings for its workers.
    max_vcpus : int
        Bound of each compute environment.
    instance_types : tuple of str
        For the EC2 environments.
    disk_gib : int
        Root volume of an EC2 host.
    max_concurrent : int or None
        Bound of jobs at once over all runs.
    fair_share : bool
        Give Hut's own queues a fair-share scheduling policy: owners or workflows share the machines,
        and priorities order jobs within a share. Queues can't get one, nor lose it, later: other
        queues are made.
    share_by : str
        ``owner`` or ``workflow``: whose jobs take one share of a queue that has a policy.
    submit_rate : int
        SubmitJob calls per second; AWS takes 50 from an account, others in it may need some.
    data_days, log_days : int
        Days after which data (runs, bodies, logs of jobs) and the control plane's logs go away.
    audit_days : int
        Days for which the record of who changed what is kept.
    sweep_minutes : int
        Interval of the sweep.
    stream_window, observe_window : int
        Seconds for which events are collected before a Lambda is called.
    reserve_sweep : bool
        Reserve a concurrency of one for the sweep; accounts with a quota of 10 can't.
    throttle_rate, throttle_burst : int
        API requests per second, and at once.
    api_log_role : bool
        Set the account's role for API Gateway's logs (one per account and region).
    bundle : str
        ``lambda``: arm64 wheels; ``host``: for this machine and its Python, for the test bed.
    removal : str
        ``retain`` or ``destroy``: what becomes of data when the stacks are deleted.
    log_level : str
        Of the Lambda functions.
    alarms, dashboard : bool
        Whether there are any; see `infra.watching`.
    alarm_email : str or None
        Who is told of alarms; AWS asks the address first.
    """

    prefix: str = "hut"
    region: str | None = None
    account: str | None = None
    vpc_id: str | None = None
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    queues: Mapping[str, JobQueue] = field(default_factory=dict)
    default_partition: str = "fargate"
    job_role_arn: str | None = None
    execution_role_arn: str | None = None
    instance_profile_arn: str | None = None
    default_image: str = DEFAULT_IMAGE
    jobs: Mapping[str, object] = field(default_factory=dict)
    job_log_group: str | None = None
    ec2: Ec2Given = field(default_factory=dict)
    pools: tuple[str, ...] = ("workers",)
    max_vcpus: int = 256
    instance_types: tuple[str, ...] = ("optimal",)
    disk_gib: int = 50
    max_concurrent: int | None = None
    fair_share: bool = False
    share_by: Literal["owner", "workflow"] = "owner"
    submit_rate: int = 50
    data_days: int = 90
    log_days: int = 30
    audit_days: int = 400
    sweep_minutes: int = 2
    stream_window: int = 1
    observe_window: int = 1
    reserve_sweep: bool = True
    throttle_rate: int = 50
    throttle_burst: int = 100
    api_log_role: bool = True
    bundle: Literal["lambda", "host"] = "lambda"
    removal: Literal["retain", "destroy"] = "retain"
    log_level: str = "INFO"
    alarms: bool = True
    dashboard: bool = True
    alarm_email: str | None = None

    @property
    def keeps_data(self) -> bool:
        """Whether data outlives its stack."""
        return self.removal == "retain"

    @property
    def makes_compute(self) -> bool:
        """Whether Hut makes Batch environments and queues of its own."""
        return not self.queues

    @property
    def makes_ec2(self) -> bool:
        """Whether there is an EC2 backend: beside queues that exist, only where it has a network."""
        return self.ec2 is not None and (self.makes_compute or bool(self.ec2.get("subnet_ids")))

    @property
    def partitions(self) -> Mapping[str, str]:
        """What each partition runs on: its name and EC2 or FARGATE."""
        if self.makes_compute:
            return OWN_PARTITIONS
        return {name: queue.platform for name, queue in self.queues.items()}

    @property
    def scheduling_policies(self) -> list[str]:
        """The partitions whose queue has a scheduling policy."""
        if self.makes_compute:
            return list(OWN_PARTITIONS) if self.fair_share else []
        return [name for name, queue in self.queues.items() if queue.scheduling_policy]

    @property
    def makes_definitions(self) -> bool:
        """Whether Hut registers job definitions of its own."""
        return self.jobs.get("job_definition") is None

    def job_settings(self) -> tuple[JobSettings, list[Fault]]:
        """Return what `jobs` says, and what is wrong with it; roles that are missing are made."""
        made = "made" if self.makes_definitions else None
        roles = {
            "job_role_arn": self.job_role_arn or made,
            "execution_role_arn": self.execution_role_arn or made,
        }
        platforms = {name: Platform(kind) for name, kind in self.partitions.items()}
        return read_job_settings({**roles, **self.jobs}, platforms)


def _pools(value: object) -> tuple[str, ...]:
    """Return names of pools; none for false."""
    if value in (False, "false"):
        return ()
    meaning = "names such as workers: small letters, digits and dashes; or false, for no pool"
    return values.texts(r"[a-z][a-z0-9-]{0,31}", meaning)(value)


def _queues(value: object) -> Mapping[str, JobQueue]:
    entries = values.mapping(value)
    found = {}
    for name, entry in entries.items():
        values.matching(r"[a-z][a-z0-9-]{0,31}", "letters, digits and dashes")(name)
        needed = {"arn", "platform"}
        if not isinstance(entry, Mapping) or not needed <= set(entry) <= needed | {
            "scheduling_policy"
        }:
            raise ValueError(
                f"queue {name!r} must be an object with arn and platform, "
                '{"arn": "arn:aws:batch:...:job-queue/name", "platform": "FARGATE"}, '
                'and "scheduling_policy": true if it has a fair-share policy'
            )
        platform = str(entry["platform"]).upper()
        if platform not in {"EC2", "FARGATE"}:
            raise ValueError(
                f"platform of queue {name!r} must be EC2 or FARGATE, not {entry['platform']!r}"
            )
        arn = values.arn("batch", "job-queue/")(entry["arn"])
        try:
            policy = values.flag(entry.get("scheduling_policy", False))
        except ValueError as error:
            raise ValueError(f"scheduling_policy of queue {name!r}: {error}") from None
        found[name] = JobQueue(arn, platform, scheduling_policy=policy)
    return MappingProxyType(found)


_READERS: Mapping[str, values.Reader] = {
    "prefix": values.matching(
        r"[a-z][a-z0-9]{1,11}", "2 to 12 lower-case letters and digits, a letter first"
    ),
    "region": values.matching(r"[a-z]{2}(-[a-z]+)+-\d", "a region such as eu-west-1"),
    "account": values.matching(r"\d{12}", "an account id of 12 digits"),
    "vpc_id": values.matching(r"vpc-[0-9a-f]{8,17}", "an id such as vpc-0123456789abcdef0"),
    "subnet_ids": values.texts(r"subnet-[0-9a-f]{8,17}", "ids such as subnet-0123456789abcdef0"),
    "security_group_ids": values.texts(r"sg-[0-9a-f]{8,17}", "ids such as sg-0123456789abcdef0"),
    "queues": _queues,
    "default_partition": values.text,
    "job_role_arn": values.arn("iam", "role/"),
    "execution_role_arn": values.arn("iam", "role/"),
    "instance_profile_arn": values.arn("iam", "instance-profile/"),
    "default_image": values.matching(r"[^\s]{1,255}", "an image such as debian:stable-slim"),
    "job_log_group": values.matching(r"[A-Za-z0-9_/.#-]{1,512}", "a log group such as /lab/jobs"),
    **dict.fromkeys(JOB_FIELDS, values.as_written),
    "ec2": read_ec2,
    "pools": _pools,
    "max_vcpus": values.number(1, 1_000_000),
    "instance_types": values.texts(
        r"[a-z0-9_.-]{2,40}", "types or families such as m7i, c7i.large"
    ),
    "disk_gib": values.number(30, 16_384),
    "max_concurrent": values.number(1, 1_000_000),
    "fair_share": values.flag,
    "share_by": values.one_of("owner", "workflow"),
    "submit_rate": values.number(1, 50),
    "data_days": values.number(1, 3650),
    "log_days": values.number(1, 3650),
    "audit_days": values.number(1, 3650),
    "sweep_minutes": values.number(1, 60),
    "stream_window": values.number(0, 300),
    "observe_window": values.number(0, 300),
    "reserve_sweep": values.flag,
    "throttle_rate": values.number(1, 10_000),
    "throttle_burst": values.number(1, 5_000),
    "api_log_role": values.flag,
    "bundle": values.one_of("lambda", "host"),
    "removal": values.one_of("retain", "destroy"),
    "log_level": values.one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    "alarms": values.flag,
    "dashboard": values.flag,
    "alarm_email": values.matching(
        r"[^\s@]+@[^\s@]+\.[^\s@]+", "an address such as me@example.org"
    ),
}


def read_settings(context: Mapping[str, object]) -> Settings:
    """Return the settings in a CDK context.

    Parameters
    ----------
    context
        All of the app's context; what is not Hut's is passed over.

    Raises
    ------
    SettingsError
        With every unknown key and every unusable value.
    """
    problems: list[str] = []
    found: dict[str, object] = {}
    for key, value in _given(context, problems).items():
        reader = _READERS.get(key)
        if reader is None:
            problems.append(f"hut:{key} is not known; {did_you_mean(key, list(_READERS))}")
        elif value is not None and value != "":
            try:
                found[key] = reader(value)
            except ValueError as error:
                problems.append(f"hut:{key}: {error}")
    problems += value_faults(found.get("ec2"))
    given = frozenset(found)
    jobs = {key: found.pop(key) for key in JOB_FIELDS if key in found}
    if jobs:
        found["jobs"] = MappingProxyType(jobs)
    settings = Settings(**found)  # type: ignore[arg-type]  # each reader returns its field's type
    if not problems:
        problems = _contradictions(settings, given)
    if problems:
        raise SettingsError(problems)
    return settings


def _given(context: Mapping[str, object], problems: list[str]) -> dict[str, object]:
    given: dict[str, object] = {}
    whole = context.get(_KEY)
    if whole is not None:
        try:
            given.update(values.mapping(whole))
        except ValueError as error:
            problems.append(f"{_KEY}: {error}")
    for key, value in context.items():
        if key.startswith(f"{_KEY}:"):
            given[key.removeprefix(f"{_KEY}:")] = value
    return given


def _contradictions(settings: Settings, given: frozenset[str]) -> list[str]:
    problems = []
    if bool(settings.vpc_id) != bool(settings.subnet_ids):
        problems.append("hut:vpc_id and hut:subnet_ids go together: give both, or neither")
    if settings.security_group_ids and not settings.vpc_id and not settings.queues:
        problems.append("hut:security_group_ids belong to an existing network: give hut:vpc_id")
    if settings.queues:
        unused = {"vpc_id", "subnet_ids", "security_group_ids"} | {
            "instance_profile_arn",
            "instance_types",
            "disk_gib",
            "fair_share",
        }
        problems += [
            f"hut:{key} has no use beside hut:queues, which brings its own compute"
            for key in sorted(unused & given)
        ]
    problems += network_faults(settings.ec2, makes=settings.makes_compute, vpc=settings.vpc_id)
    if settings.makes_ec2 and settings.prefix.startswith(RESERVED):
        problems.append(
            f"hut:prefix: Systems Manager takes no name that begins with {' or '.join(RESERVED)}; "
            "choose another prefix, or hut:ec2=false"
        )
    taken = {"batch", *([str(settings.ec2.get("name", "ec2"))] if settings.ec2 is not None else [])}
    problems += [
        f"hut:pools: there is a backend named {name!r} already; choose another name"
        for name in settings.pools
        if name in taken
    ]
    if len(set(settings.pools)) < len(settings.pools):
        problems.append("hut:pools: names a pool twice")
    if settings.alarm_email and not settings.alarms:
        problems.append(
            "hut:alarm_email has no use without alarms: leave it out, or hut:alarms too"
        )
    if "share_by" in given and not settings.scheduling_policies:
        problems.append(
            "hut:share_by has no use without a queue that has a scheduling policy: "
            'give hut:fair_share, or "scheduling_policy": true to one of hut:queues'
        )
    if settings.default_partition not in settings.partitions:
        problems.append(
            f"hut:default_partition: there is no queue {settings.default_partition!r}; "
            + did_you_mean(settings.default_partition, list(settings.partitions))
        )
    faults = settings.job_settings()[1]
    problems += [f"hut:{dotted(fault.path)}: {fault.message}" for fault in faults]
    if settings.makes_definitions and settings.job_log_group is not None:
        problems.append(
            "hut:job_log_group has no use without hut:job_definition: Hut's own definitions write "
            "to Hut's own group"
        )
    if not settings.makes_definitions and "default_image" in given:
        problems.append("hut:default_image has no use beside hut:job_definition, which has one")
    return problems
