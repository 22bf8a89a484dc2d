"""A ``hut.yaml`` is read whole or refused whole, with every fault and its place."""

import json

import pytest

from hut.model.configuration import BACKEND_TYPES, LocalBackendEntry
from hut.model.configuration_reading import read_configuration
from hut.model.problems import InvalidInput
from hut.model.states import AUTOMATIC_VARIABLES

SEED_EXAMPLE = """\
# scripthut.yaml

backends:
  # Slurm cluster
  - name: hpc-cluster
    type: slurm
    ssh:
      host: slurm-login.cluster.edu
      port: 22
      user: researcher
      key_path: ~/.ssh/id_rsa
    account: my-allocation       # optional: --account flag
    login_shell: false           # optional: use #!/bin/bash -l
    max_concurrent: 100          # optional: max jobs across all runs

  # PBS/Torque cluster
  - name: pbs-cluster
    type: pbs
    ssh:
      host: pbs-login.cluster.edu
      user: researcher
      key_path: ~/.ssh/id_rsa
    account: my-allocation       # optional: -A flag
    queue: batch                 # optional: default queue (overrides task partition)
    login_shell: false
    max_concurrent: 100

# Sources: git repos or backend paths with workflow JSON files (matched via workflows_glob)
sources:
  - name: ml-jobs
    type: git
    url: git@github.com:org/ml-pipelines.git
    branch: main
    deploy_key: ~/.ssh/ml-jobs-deploy-key
    backend: hpc-cluster

settings:
  data_dir: ~/.cache/scripthut          # base for all stored data
  poll_interval: 60
  server_host: 127.0.0.1
  server_port: 8000
"""

SEED_BATCH = """\
backends:
  - name: aws-batch
    type: batch
    aws:
      profile: my-profile            # optional, omit to use the default chain
      region: us-east-1
      job_queue: my-batch-queue      # default queue; task.partition overrides
    # --- Option 1: use an existing job definition (recommended) ---
    job_definition: simpleJobDef-b760b37
    # --- Option 2: let scripthut auto-register job definitions per image ---
    # default_image: ghcr.io/org/workflow:latest
    # job_role_arn: arn:aws:iam::123456789012:role/BatchJobRole
    # execution_role_arn: arn:aws:iam::123456789012:role/BatchExec
    retry_attempts: 1                # Batch retryStrategy.attempts (1-10)
    log_group: /aws/batch/job        # CloudWatch log group (default)
    max_concurrent: 50
"""

SEED_EC2 = """\
backends:
  - name: aws-ec2
    type: ec2
    aws:
      profile: scripthut                  # optional
      region: us-east-2
    ami: ami-0abc1234def567890            # must have sshd + SSM Agent + docker
    subnet_id: subnet-0abc1234def567890
    security_group_ids: [sg-0abc1234def567890]  # inbound port 22 NOT required
    instance_types:
      default: c5.xlarge                  # maps task.partition -> instance type
      gpu: g4dn.xlarge
    default_image: ghcr.io/org/image:latest
    instance_profile_arn: arn:aws:iam::123:instance-profile/ScriptHutTask
    ssh_user: ec2-user                    # "ubuntu" for Ubuntu AMIs
    max_instances: 20                     # hard cap - refuses submits above this
    idle_terminate_seconds: 1800          # safety-timer slack beyond task.time_limit
    startup_timeout_seconds: 600
    tag_prefix: scripthut                 # used to reconcile instances on restart
    extra_tags:
      Environment: research
"""

SEED_ENVIRONMENTS = """\
environments:
  - name: julia-1.10
    variables:
      JULIA_DEPOT_PATH: "/scratch/user/julia_depot"
      JULIA_NUM_THREADS: "8"
    extra_init: "module load julia/1.10"

  - name: python-ml
    variables:
      CUDA_VISIBLE_DEVICES: "0,1"
      OMP_NUM_THREADS: "4"
    extra_init: |
      module load cuda/12.0
      source ~/envs/ml/bin/activate
"""

SEED_PRICING = """\
pricing:
  region: us-east-1           # AWS region for price lookup
  price_type: spot_avg        # ondemand, spot_avg, spot_min, spot_max
  partitions:                 # map Slurm partitions to EC2 instance types
    standard: c5.xlarge
    gpu: p3.2xlarge
"""


def read(text, filename="hut.yaml"):
    return read_configuration(text, filename=filename)


def faults(text, filename="hut.yaml"):
    """Return what a refused file is told: (line, field, message) of each problem."""
    with pytest.raises(InvalidInput) as refusal:
        read(text, filename)
    assert refusal.value.source == filename
    return [(p.line, p.field, p.message) for p in refusal.value.problems]


def only_fault(text, filename="hut.yaml"):
    (fault,) = faults(text, filename)
    return fault


def plain(section):
    """Return the fields of a section as plain data, without what schedulers match of it."""
    return section.model_dump(exclude={"scheduler", "properties", "targets"})


# The seed's files -------------------------------------------------------------------------------


def test_the_seeds_example_is_accepted():
    found = read(SEED_EXAMPLE, "scripthut.yaml")
    slurm, pbs = found.backends
    assert plain(slurm) == {
        "name": "hpc-cluster",
        "type": "slurm",
        "ssh": {
            "host": "slurm-login.cluster.edu",
            "port": 22,
            "user": "researcher",
            "key_path": "~/.ssh/id_rsa",
            "cert_path": None,
            "known_hosts": None,
        },
        "account": "my-allocation",
        "login_shell": False,
        "max_concurrent": 100,
        "clone_dir": "~/scripthut-repos",
    }
    assert (pbs.name, pbs.type, pbs.queue, pbs.ssh.port) == ("pbs-cluster", "pbs", "batch", 22)
    (source,) = found.sources
    assert plain(source) == {
        "name": "ml-jobs",
        "type": "git",
        "url": "git@github.com:org/ml-pipelines.git",
        "branch": "main",
        "deploy_key": "~/.ssh/ml-jobs-deploy-key",
        "backend": "hpc-cluster",
        "workflows_glob": ".hut/workflows/*.json",
        "clone_dir": "~/scripthut-repos",
        "postclone": None,
    }
    assert plain(found.settings) == {
        "data_dir": "~/.cache/scripthut",
        "poll_interval": 60,
        "server_host": "127.0.0.1",
        "server_port": 8000,
        "sources_cache_dir": None,
        "default_backend": None,
    }
    assert found.pricing is None
    assert found.environments == []


def test_the_seeds_batch_backend_is_accepted():
    (backend,) = read(SEED_BATCH).backends
    assert plain(backend) == {
        "name": "aws-batch",
        "type": "batch",
        "aws": {"profile": "my-profile", "region": "us-east-1", "job_queue": "my-batch-queue"},
        "job_definition": "simpleJobDef-b760b37",
        "job_definition_mode": "locked",
        "default_image": None,
        "job_role_arn": None,
        "execution_role_arn": None,
        "retry_attempts": 1,
        "log_group": "/aws/batch/job",
        "max_concurrent": 50,
        **dict.fromkeys(
            (
                "secrets",
                "shared_memory",
                "ulimits",
                "volumes",
                "cpu_architecture",
                "ephemeral_storage",
                "prices",
            )
        ),
    }


def test_the_seeds_other_way_to_a_job_definition_is_accepted():
    text = SEED_BATCH.replace("    job_definition: simpleJobDef-b760b37\n", "")
    for name in ("default_image", "job_role_arn", "execution_role_arn"):
        text = text.replace(f"# {name}:", f"{name}:")
    (backend,) = read(text).backends
    assert backend.job_definition is None
    assert backend.default_image == "ghcr.io/org/workflow:latest"
    assert backend.job_role_arn == "arn:aws:iam::123456789012:role/BatchJobRole"
    assert backend.execution_role_arn == "arn:aws:iam::123456789012:role/BatchExec"


def test_the_seeds_ec2_backend_is_accepted():
    (backend,) = read(SEED_EC2).backends
    assert plain(backend) == {
        "name": "aws-ec2",
        "type": "ec2",
        "aws": {"profile": "scripthut", "region": "us-east-2"},
        "ami": "ami-0abc1234def567890",
        "subnet_id": "subnet-0abc1234def567890",
        "security_group_ids": ["sg-0abc1234def567890"],
        "instance_types": {"default": ["c5.xlarge"], "gpu": ["g4dn.xlarge"]},
        "default_image": "ghcr.io/org/image:latest",
        "instance_profile_arn": "arn:aws:iam::123:instance-profile/ScriptHutTask",
        "ssh_user": "ec2-user",
        "max_instances": 20,
        "idle_terminate_seconds": 1800,
        "startup_timeout_seconds": 600,
        "tag_prefix": "scripthut",
        "extra_tags": {"Environment": "research"},
        **dict.fromkeys(
            [
                "max_concurrent",
                "subnet_ids",
                "launch_timeout_seconds",
                "spot",
                "reuse",
                "root_volume_gib",
                "root_device",
                "prices",
            ]
        ),
    }


def test_one_type_and_one_subnet_stand_for_lists():
    changes = {"instance_types": {"gpu": "g5.xlarge"}, "subnet_ids": "subnet-0123abcd"}
    (backend,) = read(backend_file("ec2", **changes), "hut.json").backends
    assert backend.instance_types == {"gpu": ["g5.xlarge"]}
    assert backend.subnet_ids == ["subnet-0123abcd"]


def test_every_problem_of_an_ec2_backend_is_told_with_its_place():
    found = {
        "subnet_id": ("subnet-0123abcd", "", ""),
        "subnet_ids": (["subnet-4567cdef"], "", "keep one"),
        "security_group_ids": (["sg-0123abcd", "sg-1"], "[1]", "sg-..."),
        "instance_types": ({"gpu": ["c5xlarge"], "n": []}, ".gpu[0]", "c5.xlarge"),
        "extra_tags": ({"aws:x": "a", "hut:y": "b", "z": "{"}, ".aws:x", "aws:"),
        "prices": ({"c5.xlarge": 0}, ".c5.xlarge", "greater than 0"),
    }
    text = backend_file("ec2", **{name: value for name, (value, _, _) in found.items()})
    with pytest.raises(InvalidInput) as caught:
        read(text, "hut.json")
    told = {problem.field: problem.message for problem in caught.value.problems}
    for name, (_, inner, message) in found.items():
        if message:
            assert message in told[f"backends[0].{name}{inner}"]
    places = (".instance_types.n", ".extra_tags.hut:y", ".extra_tags.z")
    assert told.keys() >= {f"backends[0]{place}" for place in places}
    assert len(told) == 8


def test_the_seeds_environments_are_accepted():
    julia, python = read(SEED_ENVIRONMENTS).environments_by_name().values()
    assert julia.name == "julia-1.10"
    assert julia.variables == {
        "JULIA_DEPOT_PATH": "/scratch/user/julia_depot",
        "JULIA_NUM_THREADS": "8",
    }
    assert julia.extra_init == "module load julia/1.10"
    assert python.variables == {"CUDA_VISIBLE_DEVICES": "0,1", "OMP_NUM_THREADS": "4"}
    assert python.extra_init == "module load cuda/12.0\nsource ~/envs/ml/bin/activate\n"


def test_the_seeds_pricing_is_accepted():
    assert plain(read(SEED_PRICING).pricing) == {
        "region": "us-east-1",
        "price_type": "spot_avg",
        "partitions": {"standard": "c5.xlarge", "gpu": "p3.2xlarge"},
    }


def test_all_of_the_seed_stands_in_one_file():
    backends = SEED_EXAMPLE.replace("\n# Sources", SEED_BATCH[10:] + SEED_EC2[10:] + "\n# Sources")
    found = read(backends + SEED_ENVIRONMENTS + SEED_PRICING)
    assert [b.type for b in found.backends] == ["slurm", "pbs", "batch", "ec2"]
    assert len(found.environments) == 2
    assert found.pricing is not None


# Fields and their defaults ------------------------------------------------------------------------

SSH = {"host": "h", "user": "u"}
LEAST = {
    "local": {},
    "slurm": {"ssh": SSH},
    "pbs": {"ssh": SSH},
    "batch": {"aws": {"region": "r", "job_queue": "q"}, "default_image": "i"},
    "ec2": {},
    "ecs": {"aws": {"region": "r"}},
    "workers": {},
}
REQUIRED = [
    ("slurm", "ssh"),
    ("slurm", "ssh.host"),
    ("slurm", "ssh.user"),
    ("pbs", "ssh"),
    ("pbs", "ssh.user"),
    ("batch", "aws.region"),
    ("batch", "aws.job_queue"),
    ("ecs", "aws"),
    ("ecs", "aws.region"),
]


def backend_file(kind, **changes):
    entry = {"name": "b", "type": kind, **LEAST[kind], **changes}
    return json.dumps({"backends": [entry]}, indent=1)


def test_every_type_of_backend_has_a_least_form():
    assert LEAST.keys() == BACKEND_TYPES.keys()


@pytest.mark.parametrize("kind", LEAST)
def test_the_least_form_of_a_backend_is_enough(kind):
    (backend,) = read(backend_file(kind), "hut.json").backends
    assert type(backend) is BACKEND_TYPES[kind]
    assert (backend.name, backend.type) == ("b", kind)


@pytest.mark.parametrize(("kind", "field"), REQUIRED)
def test_what_a_backend_needs_is_missed_by_name(kind, field):
    *outer, inner = field.split(".")
    entry = json.loads(json.dumps({"name": "b", "type": kind, **LEAST[kind]}))
    section = entry[outer[0]] if outer else entry
    del section[inner]
    line, where, message = only_fault(json.dumps({"backends": [entry]}), "hut.json")
    assert (line, where, message) == (1, f"backends[0].{field}", "is missing")


@pytest.mark.parametrize("kind", LEAST)
def test_every_backend_has_a_cap(kind):
    (backend,) = read(backend_file(kind, max_concurrent=7), "hut.json").backends
    assert backend.max_concurrent == 7


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("local", "kill_grace", 2.5),
        ("slurm", "account", "x"),
        ("slurm", "login_shell", True),
        ("slurm", "clone_dir", "/scratch"),
        ("pbs", "queue", "x"),
        ("pbs", "clone_dir", "/scratch"),
        ("batch", "job_definition", "d:3"),
        ("batch", "job_definition_mode", "revisions"),
        ("batch", "retry_attempts", 10),
        ("batch", "log_group", "/x"),
        ("batch", "secrets", {"KEY": "arn:aws:ssm:us-east-1:111122223333:parameter/key"}),
        ("batch", "volumes", [{"efs": "fs-0123abcd", "mount": "/data"}]),
        ("batch", "prices", {"ec2": {"vcpu_hour": 0.03, "gib_hour": 0}}),
        ("ec2", "ami", "al2023"),
        ("ec2", "ami", "ami-0123abcd"),
        ("ec2", "ami", "resolve:ssm:/lab/image:3"),
        ("ec2", "subnet_ids", ["subnet-0123abcd", "subnet-4567cdef"]),
        ("ec2", "security_group_ids", ["sg-0123abcd", "sg-4567cdef"]),
        ("ec2", "instance_types", {"gpu": ["g5.xlarge", "g4dn.xlarge"]}),
        ("ec2", "max_instances", 3),
        ("ec2", "idle_terminate_seconds", 60),
        ("ec2", "launch_timeout_seconds", 604_800),
        ("ec2", "spot", "prefer"),
        ("ec2", "reuse", True),
        ("ec2", "root_volume_gib", 100),
        ("ec2", "root_device", "/dev/sda1"),
        ("ec2", "extra_tags", {"a": "1", "cost centre": ""}),
        ("ec2", "prices", {"c5.xlarge": 0.17, "p5.48xlarge": 98}),
        ("ecs", "cluster", "c"),
    ],
)
def test_a_field_of_a_backend_keeps_its_value(kind, field, value):
    (backend,) = read(backend_file(kind, **{field: value}), "hut.json").backends
    assert getattr(backend, field) == value


@pytest.mark.parametrize(("written", "seconds"), [("10", 10.0), ("1.5s", 1.5), ("2m", 120.0)])
def test_the_grace_is_a_duration(written, seconds):
    text = f"backends:\n- name: l\n  type: local\n  kill_grace: {written}\n"
    assert read(text).local_backend().kill_grace == seconds


def test_a_ssh_section_takes_all_of_the_seeds_fields():
    ssh = {**SSH, "port": 2222, "key_path": "k", "cert_path": "c", "known_hosts": "f"}
    (backend,) = read(backend_file("slurm", ssh=ssh), "hut.json").backends
    assert plain(backend.ssh) == ssh


def test_both_kinds_of_sources_take_all_their_fields():
    git = {
        "name": "g", "type": "git", "url": "u", "branch": "dev", "deploy_key": "k",
        "clone_dir": "d", "postclone": "make", "backend": "local", "workflows_glob": "**/*.hut.json",
    }  # fmt: skip
    path = {
        "name": "p",
        "type": "path",
        "path": "/w",
        "backend": "local",
        "workflows_glob": "*.json",
    }
    found = read(json.dumps({"sources": [git, path]}), "hut.json")
    assert [plain(source) for source in found.sources] == [git, path]


@pytest.mark.parametrize(
    ("entry", "missing"), [({"type": "git"}, "url"), ({"type": "path"}, "path")]
)
def test_a_source_says_where_it_is(entry, missing):
    fault = only_fault(json.dumps({"sources": [{"name": "s", **entry}]}), "hut.json")
    assert fault == (1, f"sources[0].{missing}", "is missing")


def test_pricing_needs_partitions():
    assert only_fault("pricing:\n  region: us-east-2\n") == (1, "pricing.partitions", "is missing")
    found = read("pricing:\n  partitions: {a: b}\n").pricing
    assert (found.region, found.price_type) == ("us-east-1", "ondemand")


def test_without_a_local_backend_there_is_the_built_in_one():
    built_in = read(SEED_EXAMPLE).local_backend()
    assert plain(built_in) == {
        "name": "local",
        "type": "local",
        "max_concurrent": None,
        "kill_grace": 5.0,
    }
    named = read("backends:\n- name: here\n  type: local\n  max_concurrent: 3\n").local_backend()
    assert isinstance(named, LocalBackendEntry)
    assert (named.name, named.max_concurrent) == ("here", 3)


# Files without a word -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "\n \n", "\ufeff", "# nothing yet\n", "\n  # a\n\n# b", "---\n", "{}", "environments:\n"],
)
def test_a_file_that_says_nothing_is_valid(text):
    found = read(text)
    assert found.backends == found.environments == found.sources == []
    assert found.local_backend().name == "local"


def test_only_comments_behind_a_byte_order_mark_are_valid_too():
    assert read("\ufeff# nothing yet\n").backends == []


@pytest.mark.parametrize("section", ["environments", "backends", "sources", "settings", "pricing"])
def test_a_section_may_be_empty(section):
    assert read(f"{section}:\n").model_dump() == read("").model_dump()


@pytest.mark.parametrize("text", ["7", "[]", "- a\n", '"text"'])
def test_a_file_is_a_mapping_of_sections(text):
    line, field, message = only_fault(text)
    assert (line, field) == (1, None)
    assert "environments, schedulers, backends, sources, workflows, settings, pricing" in message


@pytest.mark.parametrize("section", ["environments", "backends", "sources"])
def test_a_list_of_entries_is_a_list(section):
    line, field, message = only_fault(f"\n{section}:\n  a: b\n")
    assert (line, field) == (2, section)
    assert "is not a list" in message


def test_json_is_read_by_the_ending_of_the_name():
    text = '{"environments": [{"name": "e",\n "variables": {"A": 1.10, "B": "x"}}]}'
    assert read(text, "hut.json").environments_by_name()["e"].variables == {"A": "1.10", "B": "x"}
    line, field, message = only_fault('{\n"backends": [{"name": "b",\n"typ": 1}]}', "hut.json")
    assert (line, field) == (2, "backends[0].type")
    assert "is missing" in message
    assert only_fault("a: b\n", "hut.json")[0] == 1


def test_what_is_no_yaml_is_refused_with_its_line():
    line, field, message = only_fault("settings:\n  a: [1\n")
    assert (line, field) == (2, None)
    assert "YAML" in message


# Faults -------------------------------------------------------------------------------------------

MANY_FAULTS = """\
environments:
  - name: e
    variabels: {A: b}
  - name: e
    variables:
      HUT_RUN_ID: x
      1A: y
backends:
  - name: c
    type: slrum
  - name: d
    type: slurm
    ssh: {hots: x, user: u, port: 70000}
  - type: local
  - 7
sources:
  - name: s
    type: git
    url: ""
settings:
  server_port: "80"
  pol_interval: 3
backend: []
pricing:
  partitions: {a: 1}
  price_type: cheap
"""


def test_every_fault_is_told_at_once_in_order_with_line_field_and_nearest_name():
    found = faults(MANY_FAULTS)
    assert [(line, field) for line, field, _ in found] == [
        (3, "environments[0].variabels"),
        (4, "environments[1].name"),
        (6, "environments[1].variables.HUT_RUN_ID"),
        (7, "environments[1].variables.1A"),
        (10, "backends[0].type"),
        (13, "backends[1].ssh.host"),
        (13, "backends[1].ssh.port"),
        (13, "backends[1].ssh.hots"),
        (14, "backends[2].name"),
        (15, "backends[3]"),
        (19, "sources[0].url"),
        (21, "settings.server_port"),
        (22, "settings.pol_interval"),
        (23, "backend"),
        (25, "pricing.partitions.a"),
        (26, "pricing.price_type"),
    ]
    told = {field: message for _, field, message in found}
    assert "did you mean 'variables'?" in told["environments[0].variabels"]
    assert told["environments[1].name"] == "'e' is used twice, first on line 2"
    assert "set by Hut itself" in told["environments[1].variables.HUT_RUN_ID"]
    assert "is not the name of a variable" in told["environments[1].variables.1A"]
    assert told["backends[0].type"] == "unknown type 'slrum'; did you mean 'slurm'?"
    assert "did you mean 'host'?" in told["backends[1].ssh.hots"]
    assert "70000" in told["backends[1].ssh.port"]
    assert told["backends[2].name"] == "is missing"
    assert "is not a mapping" in told["backends[3]"]
    assert "is empty" in told["sources[0].url"]
    assert "'80'" in told["settings.server_port"]
    assert "did you mean 'poll_interval'?" in told["settings.pol_interval"]
    assert "did you mean 'backends'?" in told["backend"]
    assert "'cheap'" in told["pricing.price_type"]
    assert "spot_avg" in told["pricing.price_type"]


def test_a_name_that_is_like_none_gets_the_list():
    _, _, message = only_fault("zzz: 1\n")
    assert "known: backends, environments, pricing, schedulers, settings, sources" in message
    _, _, message = only_fault("backends:\n- name: a\n  type: zzz\n")
    assert all(kind in message for kind in BACKEND_TYPES)


@pytest.mark.parametrize("section", ["environments", "backends", "sources"])
def test_a_name_stands_once_in_a_section(section):
    more = {"environments": {}, "backends": {"type": "ecs", "aws": {"region": "r"}}}
    fields = more.get(section, {"type": "path", "path": "p"})
    text = json.dumps({section: [{"name": n, **fields} for n in ("x", "y", "x")]}, indent=0)
    line, field, message = only_fault(text, "hut.json")
    assert field == f"{section}[2].name"
    first = text.count("\n", 0, text.index("{", 1)) + 1
    assert message == f"'x' is used twice, first on line {first}"
    assert line == text.count("\n", 0, text.rindex('"x"')) + 1


def test_two_sections_may_use_one_name():
    found = read("environments:\n- name: x\nbackends:\n- name: x\n  type: local\n")
    assert (found.environments[0].name, found.backends[0].name) == ("x", "x")


def test_there_is_one_local_backend():
    text = "\nbackends:\n- {name: a, type: local}\n- {name: b, type: local}\n"
    line, field, message = only_fault(text)
    assert (line, field) == (2, "backends")
    assert "a and b are both of type local" in message


def test_local_is_this_machine():
    text = "backends:\n- {name: local, type: ecs, aws: {region: r}}\n"
    _, field, message = only_fault(text)
    assert field == "backends"
    assert "'local' names this machine, not a ecs backend" in message


@pytest.mark.parametrize("value", ["5", "[local]", "{a: b}", "null"])
def test_a_type_that_is_no_word_is_refused(value):
    line, field, _ = only_fault(f"backends:\n- name: a\n  type: {value}\n")
    assert (line, field) == (3, "backends[0].type")


def test_a_missing_type_names_the_known_ones():
    line, field, message = only_fault("sources:\n- name: a\n  path: p\n")
    assert (line, field) == (2, "sources[0].type")
    assert "known: git, path" in message


def test_a_batch_backend_without_aws_is_that_of_the_control_plane():
    (backend,) = read("backends: [{name: batch, type: batch, max_concurrent: 3}]\n").backends
    assert (backend.aws, backend.default_image, backend.max_concurrent) == (None, None, 3)


def test_an_aws_batch_backend_needs_something_to_run():
    line, field, message = only_fault(
        "backends:\n- name: a\n  type: batch\n  aws: {region: r, job_queue: q}\n"
    )
    assert (line, field) == (2, "backends[0]")
    assert "job_definition or default_image" in message


def test_what_is_wrong_with_jobs_is_told_with_the_rest_of_the_entry():
    text = """backends:
- name: a
  type: batch
  aws: {region: r, job_queue: 5}
  default_image: i
  imagine: i
  secrets:
    KEY: hunter2
  volumes:
  - {efs: fs-0123abcd, mount: data}
"""
    found = faults(text)
    assert {(line, field) for line, field, _ in found} == {
        (4, "backends[0].aws.job_queue"),
        (6, "backends[0].imagine"),
        (8, "backends[0].secrets.KEY"),
        (10, "backends[0].volumes[0].mount"),
    }
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("local", "max_concurrent", 0),
        ("local", "max_concurrent", "3"),
        ("local", "max_concurrent", True),
        ("local", "max_concurrent", 2.5),
        ("local", "kill_grace", -1),
        ("local", "kill_grace", "soon"),
        ("slurm", "login_shell", "yes"),
        ("slurm", "account", " "),
        ("slurm", "account", 12),
        ("batch", "retry_attempts", 0),
        ("batch", "retry_attempts", 11),
        ("batch", "job_definition_mode", "open"),
        ("batch", "cpu_architecture", "arm"),
        ("batch", "volumes", {}),
        ("ec2", "ami", "ubuntu"),
        ("ec2", "subnet_id", "10.0.0.0/24"),
        ("ec2", "security_group_ids", "sg"),
        ("ec2", "max_instances", 0),
        ("ec2", "idle_terminate_seconds", 59),
        ("ec2", "startup_timeout_seconds", 0),
        ("ec2", "launch_timeout_seconds", 604_801),
        ("ec2", "instance_types", ["c5"]),
        ("ec2", "instance_types", {}),
        ("ec2", "subnet_ids", []),
        ("ec2", "spot", True),
        ("ec2", "reuse", "yes"),
        ("ec2", "root_volume_gib", 7),
        ("ec2", "root_device", "sda1"),
        ("ec2", "tag_prefix", "AWS"),
        ("ec2", "tag_prefix", "x" * 61),
        ("ec2", "extra_tags", {f"k{n}": "v" for n in range(21)}),
        ("ec2", "instance_profile_arn", "HutHost"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_at_its_place(kind, field, value):
    text = backend_file(kind, **{field: value})
    line, where, message = only_fault(text, "hut.json")
    assert where == f"backends[0].{field}"
    assert line == text.count("\n", 0, text.index(f'"{field}"')) + 1
    assert message


def test_no_part_of_a_refused_value_is_shown_at_length():
    _, _, message = only_fault(backend_file("slurm", login_shell="x" * 500), "hut.json")
    assert "..." in message
    assert len(message) < 200


def test_a_source_of_an_unknown_backend_gets_the_nearest_name():
    text = SEED_EXAMPLE.replace("backend: hpc-cluster", "backend: hpc-clutser")
    line, field, message = only_fault(text)
    assert field == "sources[0].backend"
    assert line == text.splitlines().index("    backend: hpc-clutser") + 1
    assert message == "unknown backend 'hpc-clutser'; did you mean 'hpc-cluster'?"


SOURCE = "- {{name: {}, type: path, path: p, backend: {}}}\n"


def test_unknown_backends_of_several_sources_are_told_together():
    text = "sources:\n" + SOURCE.format("a", "nobody") + SOURCE.format("b", "noone")
    assert [field for _, field, _ in faults(text)] == ["sources[0].backend", "sources[1].backend"]


def test_an_unknown_backend_of_a_source_is_told_beside_other_faults():
    text = "settings: {server_port: 0}\nsources:\n" + SOURCE.format("a", "nobody")
    found = [field for _, field, _ in faults(text)]
    assert found == ["settings.server_port", "sources[0].backend"]


def test_a_key_that_stands_twice_is_a_fault_beside_others():
    found = faults("settings:\n  server_port: 1\n  server_port: 0\n")
    assert [line for line, _, _ in found] == [3, 3]
    assert "stands twice" in found[0][2]


# Variables of environments ------------------------------------------------------------------------


def variables_of(*lines):
    text = "environments:\n- name: e\n  variables:\n" + "".join(f"    {line}\n" for line in lines)
    return read(text).environments_by_name()["e"].variables


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.10", "1.10"),
        ("3", "3"),
        ("-0.50", "-0.50"),
        ("1e3", "1e3"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("true", "true"),
        ("false", "false"),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("'é \"x\" $HOME'", 'é "x" $HOME'),
        ('""', ""),
    ],
)
def test_a_value_becomes_the_text_that_was_written(written, value):
    assert variables_of(f"A: {written}") == {"A": value}


@pytest.mark.parametrize("name", AUTOMATIC_VARIABLES)
def test_what_hut_sets_itself_is_refused(name):
    text = f"environments:\n- name: e\n  variables: {{{name}: x}}\n"
    line, field, message = only_fault(text)
    assert (line, field) == (3, f"environments[0].variables.{name}")
    assert "can't be overridden" in message


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "É", "A.B"])
def test_what_is_no_variable_is_refused(name):
    text = json.dumps({"environments": [{"name": "e", "variables": {name: "x"}}]})
    _, field, message = only_fault(text, "hut.json")
    assert field.startswith("environments[0].variables")
    assert "is not the name of a variable" in message


@pytest.mark.parametrize("value", ["null", "[a]", "{a: b}"])
def test_what_is_no_text_is_no_value_of_a_variable(value):
    text = f"environments:\n- name: e\n  variables:\n    A: {value}\n"
    line, field, _ = only_fault(text)
    assert (line, field) == (4, "environments[0].variables.A")


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"variables": {"A": "x\0y"}}, "environments[0].variables.A"),
        ({"extra_init": "x\0y"}, "environments[0].extra_init"),
    ],
)
def test_a_nul_can_not_reach_a_shell(entry, field):
    text = json.dumps({"environments": [{"name": "e", **entry}]})
    _, where, message = only_fault(text, "hut.json")
    assert where == field
    assert "NUL" in message


def test_an_environment_is_a_mapping_with_a_name():
    found = faults("environments:\n- null\n- x\n- variables: {}\n")
    assert [(line, field) for line, field, _ in found] == [
        (2, "environments[0]"),
        (3, "environments[1]"),
        (4, "environments[2].name"),
    ]


@pytest.mark.parametrize("section", ["backends", "environments", "sources", "workflows"])
@pytest.mark.parametrize("value", ["5", "text", "true", "{a: b}"])
def test_a_section_that_is_no_list_is_told(section: str, value: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_configuration(f"{section}: {value}\n", filename="hut.yaml")
    (told,) = raised.value.problems
    assert (told.field, told.line) == (section, 1)
    assert told.message == "is not a list; begin each entry with '- name: ...'"
