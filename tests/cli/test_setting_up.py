"""``hutctl setup ec2``, in an account that moto makes up, with and without a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import botocore.session
import pytest
import yaml
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from hut.model.configuration_reading import read_configuration
from hutctl.ec2_setup.account import Ec2Account, Kind, Quota, Unasked
from hutctl.ec2_setup.checks import Plan, check_account
from hutctl.root import invoke
from hutctl.session import Session

REGION = "eu-west-1"


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Lab:
    """An account, and a folder to work in.

    Attributes
    ----------
    backends : list
        What the control plane says of itself; None: there is none.
    applied : list
        What was applied to it.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.folder = folder
        self.backends: list[dict[str, Any]] | None = None
        self.applied: list[Mapping[str, Any]] = []
        self._patch = monkeypatch
        self._capsys = capsys
        self.ec2 = botocore.session.get_session().create_client("ec2", region_name=REGION)
        [vpc] = self.ec2.describe_vpcs()["Vpcs"]
        self.vpc: str = vpc["VpcId"]
        [table] = self.ec2.describe_route_tables()["RouteTables"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.ec2.create_route(
            RouteTableId=table["RouteTableId"],
            DestinationCidrBlock="0.0.0.0/0",
            GatewayId=gateway,
        )
        found = self.ec2.describe_subnets()["Subnets"]
        self.subnets = {each["AvailabilityZone"][-1]: each["SubnetId"] for each in found}
        [group] = self.ec2.describe_security_groups()["SecurityGroups"]
        self.group: str = group["GroupId"]

    # The control plane ----------------------------------------------------------------------------

    target = "lab"

    def has(self, **ec2: Any) -> None:
        """Let there be a control plane with a backend of type ec2."""
        details = {
            "region": REGION,
            "instance_types": {"default": ["c5.xlarge"]},
            "ami": "al2023",
            "spot": "never",
            "reuse": False,
            "max_instances": 20,
            "subnet_ids": list(self.subnets.values())[:2],
            "security_group_ids": [self.group],
            "instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/hut-hosts",
            **ec2,
        }
        own = {"name": "ec2", "type": "ec2", "origin": "stack", "ec2": details}
        self.backends = [{"name": "batch", "type": "batch", "origin": "stack", "ec2": None}, own]
        targets = {"current": "lab", "targets": {"lab": {"url": "https://x", "region": REGION}}}
        path = self.folder / "xdg" / "hut" / "targets.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(targets))
        self._patch.setattr(Session, "remote_configuration", lambda *_: self._remote())

    def _remote(self) -> Any:
        lab = self

        class Remote:
            target = "lab"

            def backends(self) -> list[dict[str, Any]]:
                return lab.backends or []

            def show(self) -> dict[str, Any]:
                return {"version": 4}

            def apply(self, content: Mapping[str, Any], *_: Any, **said: Any) -> dict[str, Any]:
                lab.applied.append({**content, **said})
                return {"version": 5, "changed": True, "notes": [], "differences": []}

        return Remote()

    # What people do -------------------------------------------------------------------------------

    def __call__(self, *arguments: str, typed: str | None = None) -> Said:
        self._patch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
        code = invoke(["setup", "ec2", *arguments])
        printed = self._capsys.readouterr()
        return Said(code, printed.out, printed.err)

    def written(self) -> dict[str, Any]:
        """Return the backend in hut.yaml; the file must be right."""
        text = (self.folder / "hut.yaml").read_text()
        read_configuration(text, filename="hut.yaml")
        found: dict[str, Any] = yaml.safe_load(text)["backends"][-1]
        return found


@pytest.fixture
def lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Lab]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "HUT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    with mock_aws():
        yield Lab(tmp_path, monkeypatch, capsys)


def test_what_is_found_is_written_and_the_rest_of_the_file_stays(lab: Lab) -> None:
    (lab.folder / "hut.yaml").write_text("# mine\nenvironments: [{name: py}]  # kept\n")
    done = lab()
    assert done.code == 0, done.err
    text = (lab.folder / "hut.yaml").read_text()
    assert text.startswith("# mine\nenvironments: [{name: py}]  # kept\nbackends:\n")
    entry = lab.written()
    assert (entry["name"], entry["type"], entry["aws"]) == ("ec2", "ec2", {"region": REGION})
    assert entry["subnet_ids"] == [lab.subnets[zone] for zone in "abc"]
    assert entry["security_group_ids"] == [lab.group]
    assert (entry["instance_types"], entry["ami"]) == ({"default": ["c5.xlarge"]}, "al2023")
    assert "through an internet gateway" in done.err
    assert "newest Amazon Linux 2023 for x86_64: ami-" in done.err
    assert "c5.xlarge (4 vCPUs), in eu-west-1a, eu-west-1b, eu-west-1c" in done.err
    assert "warning: the quota L-1216C47A" in done.err  # moto has none
    assert "hutctl config apply" in done.err


def test_a_dry_run_prints_and_changes_nothing(lab: Lab) -> None:
    done = lab("--dry-run", "--spot", "prefer", "--max-instances", "3", "--reuse")
    assert done.code == 0
    [entry] = yaml.safe_load(done.out)
    assert (entry["spot"], entry["max_instances"], entry["reuse"]) == ("prefer", 3, True)
    assert not (lab.folder / "hut.yaml").exists()
    document = json.loads(lab("--dry-run", "--json").out)
    assert (document["dry_run"], document["replaced"]) == (True, False)
    assert document["backend"]["security_group_ids"] == [lab.group]
    assert any("quota" in each for each in document["warnings"])
    assert not (lab.folder / "hut.yaml").exists()


def test_with_a_control_plane_its_own_network_is_the_first_choice(lab: Lab) -> None:
    lab.has()
    refused = lab()
    assert refused.code == 2
    assert "--vpc VPC or --subnet SUBNET; --yes takes the first one" in refused.err
    assert not (lab.folder / "hut.yaml").exists()
    done = lab("--yes", "--type", "gpu=g4dn.xlarge,g5.xlarge", "--image", "pytorch/pytorch")
    assert done.code == 0, done.err
    assert lab.written() == {
        "name": "ec2",
        "type": "ec2",
        "instance_types": {"default": ["c5.xlarge"], "gpu": ["g4dn.xlarge", "g5.xlarge"]},
        "default_image": "pytorch/pytorch",
    }
    assert "no drivers for GPUs" in done.err
    assert "the instance profile could not be looked at" in done.err


def test_a_person_is_asked_for_what_is_open(lab: Lab) -> None:
    lab.has()
    closed = lab.ec2.create_security_group(GroupName="closed", Description="x", VpcId=lab.vpc)
    typed = "2\n9\n1\nm5.large, c5.large\n"  # the default network; a wrong number, then the first
    done = lab(typed=typed)
    assert done.code == 0, done.err
    assert "  1  the deployment's own network" in done.err
    entry = lab.written()
    assert entry["subnet_ids"] == [lab.subnets[zone] for zone in "abc"]
    assert entry["security_group_ids"] == [closed["GroupId"]]
    assert entry["instance_types"] == {"default": ["m5.large", "c5.large"]}


def test_a_backend_that_is_there_is_replaced_only_if_somebody_says_so(lab: Lab) -> None:
    path = lab.folder / "hut.yaml"
    before = "backends:\n  - {name: ec2, type: ec2, reuse: true}  # ours\n"
    path.write_text(before)
    assert "--yes replaces it, --name NAME" in lab().err
    assert lab(typed="\nn\n").code == 130
    assert path.read_text() == before
    assert lab("--name", "other").code == 0
    assert [each["name"] for each in yaml.safe_load(path.read_text())["backends"]] == [
        "ec2",
        "other",
    ]
    assert lab(typed="\ny\n").code == 0
    assert json.loads(lab("--yes", "--json").out)["replaced"]
    assert [each["name"] for each in yaml.safe_load(path.read_text())["backends"]] == [
        "ec2",
        "other",
    ]
    assert "reuse" not in yaml.safe_load(path.read_text())["backends"][0]


def test_the_file_can_be_applied_at_once(lab: Lab) -> None:
    refused = lab("--apply")
    assert (refused.code, "--target NAME" in refused.err) == (2, True)
    lab.has()
    done = lab("--yes", "--apply", "--max-instances", "2", "--json")
    assert done.code == 0, done.err
    [applied] = lab.applied
    assert applied["backends"] == [{"name": "ec2", "type": "ec2", "max_instances": 2}]
    assert (applied["expected"], applied["message"]) == (4, "setup ec2: ec2")
    document = json.loads(done.out)
    assert (document["version"], document["backend"]["max_instances"]) == (5, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--type", "c5.xlarge"], "PARTITION=TYPE"),
        (["--type", "default=c5"], "instance type"),
        (["--ami", "ubuntu"], "al2023"),
        (["--subnet", "subnet-00000000"], "subnet-00000000"),
        (["--vpc", "vpc-00000000"], "has no subnets"),
        (["--dry-run", "--apply"], "exclude each other"),
        (["--target", "nowhere"], "no target 'nowhere'"),
    ],
)
def test_what_does_not_fit_ends_with_2_and_writes_nothing(
    lab: Lab, arguments: Sequence[str], told: str
) -> None:
    done = lab(*arguments)
    assert (done.code, told in done.err) == (2, True), done.err
    assert not (lab.folder / "hut.yaml").exists()


def test_a_broken_file_is_told_before_anybody_is_asked(lab: Lab) -> None:
    (lab.folder / "hut.yaml").write_text("backends: [{name: x, type: wrong}]\n")
    done = lab(typed="")
    assert (done.code, "unknown type 'wrong'" in done.err) == (2, True)


def test_the_region_is_the_control_planes(lab: Lab) -> None:
    lab.has()
    done = lab("--region", "us-east-1", "--yes")
    assert (done.code, "launches instances only there" in done.err) == (2, True)


def test_subnets_without_a_way_are_not_chosen_but_may_be_named(lab: Lab) -> None:
    network = lab.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = lab.ec2.create_subnet(VpcId=network, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    refused = lab("--vpc", network)
    assert (refused.code, "no route to the internet" in refused.err) == (2, True)
    named = lab("--subnet", subnet, "--dry-run")
    assert named.code == 0, named.err
    assert f"warning: from {subnet} nothing reaches AWS" in named.err
    both = lab("--subnet", subnet, "--subnet", lab.subnets["a"])
    assert (both.code, "several networks" in both.err) == (2, True)
    strange = lab("--subnet", subnet, "--security-group", lab.group)
    assert (strange.code, "not of the network" in strange.err) == (2, True)
    for service in ("ssm", "ssmmessages", "ec2messages", "logs", "s3"):
        lab.ec2.create_vpc_endpoint(VpcId=network, ServiceName=f"com.amazonaws.{REGION}.{service}")
    reached = lab("--vpc", network, "--dry-run")
    assert (reached.code, "through endpoints" in reached.err) == (0, True), reached.err


def test_without_a_closed_security_group_one_must_be_named(lab: Lab) -> None:
    rule = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    }
    lab.ec2.authorize_security_group_ingress(GroupId=lab.group, IpPermissions=[rule])
    refused = lab()
    assert (refused.code, "--security-group SG" in refused.err) == (2, True)
    done = lab("--security-group", lab.group)
    assert (done.code, "lets others in" in done.err) == (0, True)


def test_credentials_that_are_missing_end_with_4(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert lab("--dry-run").code == 4


@pytest.mark.parametrize(
    ("code", "exit_code"), [("UnauthorizedOperation", 0), ("InvalidAction", 0), ("AuthFailure", 4)]
)
def test_types_that_can_not_be_looked_at_are_a_warning(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, code: str, exit_code: int
) -> None:
    call = BaseClient._make_api_call

    def refuse(client: BaseClient, operation: str, given: Any) -> Any:
        if operation == "DescribeInstanceTypeOfferings":
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)
        return call(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    done = lab("--dry-run", "--yes")
    assert done.code == exit_code
    assert ("the instance types could not be looked at" in done.err) == (exit_code == 0)


# Types, image, quotas ----------------------------------------------------------------------------


class FakeAccount(Ec2Account):
    """An account that says what a test wants."""

    def __init__(self, kinds: Sequence[Kind], quotas: Mapping[str, float]) -> None:
        self._kinds, self._quotas = kinds, quotas

    def kinds(self, names: Any) -> dict[str, Kind]:
        return {kind.name: kind for kind in self._kinds if kind.name in names}

    def newest_image(self, processor: str) -> str:
        return f"ami-{processor}"

    def image(self, ami: str) -> tuple[str, str]:
        return ami, "x86_64"

    def quota(self, code: str) -> Quota:
        if code not in self._quotas:
            raise Unasked("service-quotas: not allowed")
        return Quota(code, code, self._quotas[code])

    def profile_roles(self, arn: str) -> list[str]:
        return [] if "empty" in arn else ["role"]


C5 = Kind("c5.xlarge", 4, ("x86_64",), 0, frozenset({"a", "b"}))
G5 = Kind("g5.xlarge", 4, ("x86_64",), 1, frozenset({"a"}))
ARM = Kind("m7g.large", 2, ("arm64",), 0, frozenset({"c"}))
STANDARD, GRAPHICS, SPOT = "L-1216C47A", "L-DB2E81BA", "L-34B43A08"


@pytest.mark.parametrize(
    ("plan", "quotas", "warned"),
    [
        ({}, {STANDARD: 100}, []),
        ({}, {STANDARD: 40}, ["enough for 10. What does not fit waits"]),
        ({}, {STANDARD: 0}, ["no c5.xlarge can be launched"]),
        ({}, {}, ["could not be looked at: service-quotas: not allowed"]),
        ({"spot": "prefer"}, {STANDARD: 100, SPOT: 8}, ["quota L-34B43A08 of 8"]),
        ({"spot": "only"}, {STANDARD: 0, SPOT: 100}, []),
        ({"types": {"default": ["g5.xlarge"]}, "ami": "ami-1"}, {STANDARD: 9, GRAPHICS: 100}, []),
        ({"types": {"default": ["g5.xlarge"]}}, {STANDARD: 9, GRAPHICS: 100}, ["no drivers"]),
        ({"types": {"default": ["x9.huge", "c5.xlarge"]}}, {STANDARD: 100}, ["'x9.huge'"]),
        ({"zones": {"c"}}, {STANDARD: 100}, ["in none of the subnets' zones"]),
        ({"types": {"default": ["m7g.large"]}, "ami": "ami-1"}, {STANDARD: 100}, ["for x86_64"]),
        ({"profile": "arn:empty"}, {STANDARD: 100}, ["has no role"]),
    ],
)
def test_what_does_not_look_right_is_a_warning(
    plan: dict[str, Any], quotas: Mapping[str, float], warned: Sequence[str]
) -> None:
    whole = Plan(
        **{
            "types": {"default": ["c5.xlarge"]},
            "ami": "al2023",
            "zones": set(),
            "most": 20,
            "spot": "never",
            "profile": "",
            **plan,
        }
    )
    warnings: list[str] = []
    said = check_account(FakeAccount([C5, G5, ARM], quotas), whole, warnings)
    assert len(warnings) == len(warned)
    assert all(text in warning for text, warning in zip(warned, warnings, strict=True)), warnings
    assert any("partition default" in each for each in said)
