"""The sections of ``hut.yaml``: environments, backends, settings, and what the seed has beside them.

Only what a field may hold is said here. Which of it a machine or a control plane uses is decided
where it is used; a backend that can't run tasks here is still validated in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from hut.model.backend_section import Backend, WorkersBackend
from hut.model.configuration_parts import (
    Aws,
    Count,
    Port,
    ScalarText,
    Seconds,
    Section,
    Text,
    shell_safe,
)
from hut.model.ec2_section import Ec2Backend
from hut.model.environment import Environment
from hut.model.job_settings import DEFAULT_LOG_GROUP
from hut.model.job_settings_reading import read_job_settings
from hut.model.limits import LONGEST_COMMAND
from hut.model.scheduler_section import SchedulerEntry
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.variables import is_variable, variable_faults

__all__ = [
    "BACKEND_TYPES",
    "SOURCE_TYPES",
    "Backend",
    "Configuration",
    "EnvironmentEntry",
    "LocalBackendEntry",
    "NamedWorkflow",
    "Pricing",
    "SchedulerEntry",
    "Section",
    "Settings",
    "Source",
    "WorkersBackend",
    "plain",
]


def _variable_name(name: str) -> str:
    if not is_variable(name):
        raise ValueError("is not the name of a variable; use letters, digits and '_'")
    if name in AUTOMATIC_VARIABLES:
        raise ValueError("is set by Hut itself and can't be overridden; remove it")
    return name


def _variables(variables: dict[str, str]) -> dict[str, str]:
    """Refuse what is too large; names were looked at one by one."""
    faults = [
        text if name is None else f"{name}: {text}" for name, text in variable_faults(variables)
    ]
    if faults:
        raise ValueError("; ".join(faults))
    return variables


def _init_lines(text: str) -> str:
    if len(text) > LONGEST_COMMAND:
        raise ValueError(f"has {len(text):,} characters, at most {LONGEST_COMMAND:,} are allowed")
    return shell_safe(text)


VariableName = Annotated[str, AfterValidator(_variable_name)]


def plain(entry: Section) -> dict[str, Any]:
    """Return an entry as its author wrote it: only the fields that were given."""
    found: dict[str, Any] = entry.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return found


class EnvironmentEntry(Section):
    """An entry of ``environments``."""

    name: Text
    variables: Annotated[dict[VariableName, ScalarText], AfterValidator(_variables)] = Field(
        default_factory=dict
    )
    extra_init: Annotated[str, AfterValidator(_init_lines)] = ""

    def environment(self) -> Environment:
        """Return what tasks refer to."""
        return Environment(self.name, dict(self.variables), self.extra_init)


class Ssh(Section):
    """How a cluster's login node is reached."""

    host: Text
    user: Text
    port: Port = 22
    key_path: Text | None = None
    cert_path: Text | None = None
    known_hosts: Text | None = None


class AwsQueue(Aws):
    """Where in AWS, and the default job queue."""

    job_queue: Text


class LocalBackendEntry(Backend):
    """Processes of this machine.

    ``max_concurrent`` bounds the tasks of all runs together; ``kill_grace`` is the time between
    TERM and KILL.
    """

    type: Literal["local"]
    kill_grace: Seconds = 5.0


class ClusterBackend(Backend):
    """What clusters behind a login node have in common."""

    ssh: Ssh
    account: Text | None = None
    login_shell: bool = False
    max_concurrent: Count = 100
    clone_dir: Text = "~/scripthut-repos"


class SlurmBackend(ClusterBackend):
    """A Slurm cluster."""

    type: Literal["slurm"]


class PbsBackend(ClusterBackend):
    """A PBS or Torque cluster."""

    type: Literal["pbs"]
    queue: Text | None = None


class BatchBackend(Backend):
    """AWS Batch; without `aws`, in the account, region and default queue of the control plane.

    What its jobs have in common is read by `hut.model.job_settings_reading`, whose rules hold for the
    stack's own backend too; those fields are kept here as they were written.
    """

    type: Literal["batch"]
    aws: AwsQueue | None = None
    default_image: Text | None = None
    job_role_arn: Text | None = None
    execution_role_arn: Text | None = None
    log_group: Text = DEFAULT_LOG_GROUP
    job_definition: Any = None
    job_definition_mode: Any = "locked"
    retry_attempts: Any = None
    secrets: Any = None
    shared_memory: Any = None
    ulimits: Any = None
    volumes: Any = None
    cpu_architecture: Any = None
    ephemeral_storage: Any = None
    prices: Any = None

    @model_validator(mode="after")
    def _has_definition(self) -> BatchBackend:
        if self.aws and self.job_definition is None and self.default_image is None:
            raise ValueError("needs job_definition or default_image")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _keep_the_rules(
        cls, entry: Any, validate: ModelWrapValidatorHandler[BatchBackend]
    ) -> BatchBackend:
        """Report what is wrong with jobs together with what is wrong with single fields."""
        if not isinstance(entry, dict):
            return validate(entry)
        faults = [
            InitErrorDetails(
                type=PydanticCustomError("value_error", "{said}", {"said": message}),
                loc=path,
                input=None,
            )
            for path, message in read_job_settings(entry, None)[1]
        ]
        try:
            backend = validate(entry)
        except ValidationError as error:
            faults += [
                InitErrorDetails(
                    type=PydanticCustomError(fault["type"], "{said}", {"said": fault["msg"]}),
                    loc=fault["loc"],
                    input=fault["input"],
                )
                for fault in error.errors(include_url=False, include_context=False)
            ]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return backend


class EcsBackend(Backend):
    """Amazon ECS; the seed names the type and nothing more."""

    type: Literal["ecs"]
    aws: Aws
    cluster: Text | None = None


BACKEND_TYPES: Mapping[str, type[Backend]] = {
    "local": LocalBackendEntry,
    "slurm": SlurmBackend,
    "pbs": PbsBackend,
    "batch": BatchBackend,
    "ec2": Ec2Backend,
    "ecs": EcsBackend,
    "workers": WorkersBackend,
}
"""The backend types and the fields of each."""


class Source(Section):
    """Where workflow files are found."""

    name: Text
    type: str
    backend: Text | None = None
    workflows_glob: Text = ".hut/workflows/*.json"


class GitSource(Source):
    """A git repository."""

    type: Literal["git"]
    url: Text
    branch: Text = "main"
    deploy_key: Text | None = None
    clone_dir: Text = "~/scripthut-repos"
    postclone: Text | None = None


class PathSource(Source):
    """A folder on a backend."""

    type: Literal["path"]
    path: Text


SOURCE_TYPES: Mapping[str, type[Source]] = {"git": GitSource, "path": PathSource}


class WorkflowGit(Section):
    """The repository a named workflow is cloned from."""

    repo: Text
    branch: Text = "main"
    deploy_key: Text | None = None
    clone_dir: Text = "~/scripthut-repos"
    postclone: Text | None = None


class NamedWorkflow(Section):
    """A command on a backend that prints a workflow."""

    name: Text
    backend: Text
    command: Text
    max_concurrent: Count | None = None
    description: str | None = None
    git: WorkflowGit | None = None


class Settings(Section):
    """What the seed calls settings."""

    UNUSED_LOCALLY: ClassVar[Mapping[str, str]] = {
        "data_dir": "the state of this machine is in $HUT_HOME",
        "poll_interval": "Hut does not poll",
        "server_host": "there is no server on this machine",
        "server_port": "there is no server on this machine",
        "sources_cache_dir": "sources need a control plane",
        "default_backend": "tasks run on this machine",
    }
    """Settings that are valid but change nothing on one machine, and why."""

    UNUSED_REMOTELY: ClassVar[Mapping[str, str]] = {
        "data_dir": "a control plane keeps its data in its table and its bucket",
        "poll_interval": "Hut does not poll",
        "server_host": "API Gateway answers",
        "server_port": "API Gateway answers",
        "sources_cache_dir": "the control plane has no sources yet",
    }
    """Settings that are valid but change nothing in a control plane, and why."""

    data_dir: Text = "~/.cache/scripthut"
    poll_interval: Annotated[int, Field(ge=1)] = 60
    server_host: Text = "127.0.0.1"
    server_port: Port = 8000
    sources_cache_dir: Text | None = None
    default_backend: Text | None = None


class Pricing(Section):
    """How the cost of tasks on other machines is estimated."""

    partitions: dict[Text, Text]
    region: Text = "us-east-1"
    price_type: Literal["ondemand", "spot_avg", "spot_min", "spot_max"] = "ondemand"


class Configuration(Section):
    """A whole ``hut.yaml``."""

    environments: list[EnvironmentEntry] = Field(default_factory=list)
    schedulers: list[SchedulerEntry] = Field(default_factory=list)
    backends: list[Backend] = Field(default_factory=list)
    sources: list[Source] = Field(default_factory=list)
    workflows: list[NamedWorkflow] = Field(default_factory=list)
    settings: Settings = Settings()
    pricing: Pricing | None = None

    def environments_by_name(self) -> dict[str, Environment]:
        """Return the environments tasks may name."""
        return {entry.name: entry.environment() for entry in self.environments}

    def local_backend(self) -> LocalBackendEntry:
        """Return this machine's backend: the one that is configured, or the built-in one."""
        for backend in self.backends:
            if isinstance(backend, LocalBackendEntry):
                return backend
        return LocalBackendEntry(name="local", type="local")
