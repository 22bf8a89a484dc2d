"""``hutctl target``: how control planes are found, named, chosen and forgotten."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hutctl_process import Hut
from tests.remote.documents import run
from tests.remote.fake_aws import REGION, SECRET, FakeAws, Reply


def with_environment(hut: Hut, **variables: str) -> Hut:
    return Hut(hut.folder, {**hut.environment, **variables})


def file_of(hut: Hut) -> Path:
    return hut.folder / "xdg" / "hut" / "targets.json"


def stored(hut: Hut) -> Any:
    return json.loads(file_of(hut).read_text())


def test_add_finds_the_api_through_the_outputs_of_the_stack(keyed: Hut, aws: FakeAws) -> None:
    aws.stacks["HutApi"] = {"ApiUrl": f"{aws.url}/", "Prefix": "hut", "Version": "0.0.9"}
    done = keyed("target", "add", "lab")
    assert "target lab: Hut 0.1.0" in done.stderr
    assert "hutctl target use lab" in done.stderr
    assert stored(keyed) == {
        "current": None,
        "targets": {
            "lab": {
                "url": aws.url,
                "region": REGION,
                "profile": None,
                "stack": "HutApi",
                "prefix": "hut",
                "version": "0.1.0",  # what answers knows better than what was deployed
            }
        },
    }
    assert len(aws.seen("GET", "/health")) == 1


def test_the_file_is_for_its_owner_only_and_holds_no_secret(keyed: Hut, aws: FakeAws) -> None:
    aws.stacks["Mine"] = {"ApiUrl": aws.url}
    keyed("target", "add", "lab", "--stack", "Mine", "--region", REGION)
    assert stat.S_IMODE(file_of(keyed).stat().st_mode) == 0o600
    assert SECRET not in file_of(keyed).read_text()
    assert [path.name for path in file_of(keyed).parent.glob(".targets-*")] == []


def test_a_file_that_is_a_link_stays_one(lab: Hut) -> None:
    kept = lab.folder / "dotfiles.json"
    file_of(lab).rename(kept)
    file_of(lab).symlink_to(kept)
    lab("target", "use", "local")
    assert file_of(lab).is_symlink()
    assert json.loads(kept.read_text())["current"] == "local"


def test_add_by_address_uses_the_profile(bare: Hut, aws: FakeAws) -> None:
    (bare.folder / "aws-config").write_text(f"[profile lab]\nregion = {REGION}\n")
    credentials = f"[lab]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\n"
    (bare.folder / "aws-credentials").write_text(credentials)
    document = bare.json("target", "add", "lab", "--url", f"{aws.url}/", "--profile", "lab")
    assert document["profile"] == "lab"
    assert document["region"] == REGION
    assert document["url"] == aws.url
    assert document["stack"] is None


def test_add_again_replaces(lab: Hut, aws: FakeAws) -> None:
    aws.stacks["HutApi"] = {"ApiUrl": aws.url}
    assert "(replaced)" in lab("target", "add", "lab").stderr
    assert stored(lab)["current"] == "lab"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("add lab --stack Nope", "no stack 'Nope' in eu-west-1"),
        ("add lab --stack Empty", "no output ApiUrl (its outputs: none)"),
        ("add lab --stack Other", "no output ApiUrl (its outputs: Bucket)"),
        ("add local", "'local' is this machine"),
        ("add a/b", "no name for a target"),
        ("add lab --stack X --url https://x", "give one"),
        ("add lab --url x.example.org", "begins with https://"),
        ("use nosuch", "no target 'nosuch'; known: local"),
        ("remove nosuch", "no target 'nosuch'"),
        ("remove local", "can't be removed"),
    ],
)
def test_wrong_usage_is_2_and_stores_nothing(
    keyed: Hut, aws: FakeAws, line: str, told: str
) -> None:
    aws.stacks |= {"Empty": {}, "Other": {"Bucket": "b"}}
    done = keyed("target", *line.split(), exit_code=2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not file_of(keyed).exists() or stored(keyed)["targets"] == {}


def test_without_a_region_add_asks_for_one(keyed: Hut) -> None:
    hut = with_environment(keyed, AWS_DEFAULT_REGION="")
    assert "--region" in hut("target", "add", "lab", exit_code=2).stderr


def test_who_may_not_look_at_stacks_is_told_the_other_way(keyed: Hut, aws: FakeAws) -> None:
    aws.denied = "User ada is not authorized"
    done = keyed("target", "add", "lab", exit_code=4)
    assert "cloudformation:DescribeStacks" in done.stderr
    assert "--url" in done.stderr


def test_an_api_that_does_not_answer_well_is_not_stored(keyed: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/health", Reply(200, b"<html>hello</html>"))
    done = keyed("target", "add", "lab", "--url", aws.url, "--region", REGION, exit_code=4)
    assert "not Hut's API" in done.stderr
    aws.stop()
    done = keyed("target", "add", "lab", "--url", aws.url, "--region", REGION, exit_code=4)
    assert "can't be reached" in done.stderr
    assert not file_of(keyed).exists()


def test_list_marks_where_commands_go(lab: Hut, aws: FakeAws) -> None:
    lines = lab("target", "list").stdout.splitlines()
    assert [line[0] for line in lines[1:]] == [" ", "*"]
    assert [(e["name"], e["current"]) for e in lab.json("target", "list")] == [
        ("local", False),
        ("lab", True),
    ]
    for chosen in (
        with_environment(lab, HUT_TARGET="local").json("target", "list"),
        lab.json("target", "list", "--target", "local"),
    ):
        assert [entry["name"] for entry in chosen if entry["current"]] == ["local"]


def test_the_option_wins_over_the_environment_and_that_over_use(lab: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/runs", [run()])
    assert len(lab.json("runs")) == 1
    local = with_environment(lab, HUT_TARGET="local")
    assert local.json("runs") == []
    assert len(local.json("runs", "--target", "lab")) == 1
    empty = with_environment(lab, HUT_TARGET="")
    assert len(empty.json("runs")) == 1


def test_use_local_is_a_choice_and_no_longer_told(lab: Hut, aws: FakeAws) -> None:
    lab("target", "use", "local")
    assert lab("runs").stderr == "no runs yet; begin with: hutctl run workflow.json\n"
    lab("target", "use", "lab")
    aws.on("GET", "/runs", [])
    assert "no runs yet" in lab("runs").stderr
    assert aws.seen("GET", "/runs")


def test_remove_leads_back_to_this_machine(lab: Hut) -> None:
    assert "go to local" in lab("target", "remove", "lab").stderr
    assert stored(lab) == {"current": None, "targets": {}}
    assert "no target configured: using local" in lab("runs").stderr


@pytest.mark.parametrize("option", [True, False])
def test_an_unknown_target_is_2_and_names_the_known(lab: Hut, *, option: bool) -> None:
    hut = lab if option else with_environment(lab, HUT_TARGET="lav")
    done = hut("runs", *(["--target", "lav"] if option else []), exit_code=2)
    assert "no target 'lav'" in done.stderr
    assert "did you mean 'lab'?" in done.stderr
    assert "known: local, lab" in done.stderr
    assert ("HUT_TARGET" in done.stderr) != option


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not UTF-8"),
        (b"[]", '"targets"'),
        (b'{"targets": {"lab": 7}}', "'lab' is not a target"),
        (b'{"targets": {"local": {}}}', "'local' is not a target"),
        (b'{"targets": {"lab": {"url": "https://x"}}}', "'region' of target 'lab'"),
        (b'{"targets": {}, "current": "gone"}', "'gone'"),
    ],
)
def test_a_broken_file_is_told_and_nothing_runs_elsewhere_instead(
    lab: Hut, content: bytes, told: str
) -> None:
    file_of(lab).write_bytes(content)
    lab.write([{"id": "t", "command": "touch ran"}])
    for command in (["run", "w.json"], ["target", "list"], ["target", "use", "local"]):
        done = lab(*command, exit_code=2)
        assert told in done.stderr
        assert str(file_of(lab)) in done.stderr
        assert "Traceback" not in done.stderr
    assert not (lab.folder / "ran").exists()
    assert file_of(lab).read_bytes() == content
    lab("run", "w.json", "--target", "local")  # what needs no file is not bothered by it
    assert (lab.folder / "ran").exists()


def test_names_of_targets_are_completed(lab: Hut) -> None:
    def completed(line: str) -> list[str]:
        words = {"_HUTCTL_COMPLETE": "bash_complete", "COMP_WORDS": line}
        hut = with_environment(lab, **words, COMP_CWORD=str(len(line.split(" ")) - 1))
        return [entry.partition(",")[2] for entry in hut().stdout.splitlines()]

    assert completed("hutctl target use l") == ["local", "lab"]
    assert completed("hutctl target remove la") == ["lab"]
    assert completed("hutctl runs --target lo") == ["local"]
    file_of(lab).write_text("{")
    assert completed("hutctl target use l") == ["local"]


@pytest.mark.parametrize(
    "command", ["target", "target add", "target list", "target use", "target remove", "jobs"]
)
def test_each_command_has_help_with_examples(bare: Hut, command: str) -> None:
    text = bare(*command.split(), "--help").stdout
    assert f"hutctl {command}" in text.partition("Examples:")[2]
    assert "--target" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert f"  {command.split(maxsplit=1)[0]} " in bare("--help").stdout


def test_what_goes_nowhere_loads_nothing_of_aws(lab: Hut) -> None:
    program = (
        "import sys\nfrom hutctl.root import invoke\n"
        "code = invoke(sys.argv[1:])\n"
        "print([n for n in sys.modules if n.startswith(('botocore', 'urllib3'))])\n"
        "sys.exit(code)\n"
    )
    for line in ("--help", "runs --target local", "target list", "target use local"):
        done = subprocess.run(
            [sys.executable, "-c", program, *line.split()],
            env={**os.environ, **lab.env},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "[]", line
