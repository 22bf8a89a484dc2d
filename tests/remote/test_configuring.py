"""``config apply`` and what belongs to it, against the API's real routes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hutctl_process import Hut
from tests.remote.fake_aws import FakeAws
from tests.remote.test_real_routes import Behind
from tests.rest.api_world import BOB

FILE = """\
backends:
  - {name: here, type: local}
  - name: gpu
    type: batch
    max_concurrent: 2
    default_image: cuda
    aws: {region: eu-west-1, job_queue: ec2}
environments:
  - {name: py, variables: {PYTHONUTF8: "1", API_TOKEN: x}, extra_init: module load py}
settings: {server_port: 1}
"""


@pytest.fixture
def behind(lab: Hut, aws: FakeAws) -> Iterator[Behind]:
    (lab.folder / "hut.yaml").write_text(FILE)
    world = Behind(lab, aws)
    yield world
    aws.stop()
    world.close()


def test_apply_shows_what_changes_and_what_is_left_out(lab: Hut, behind: Behind) -> None:
    rehearsed = lab("config", "apply", "--dry-run").stdout
    assert "+ backends.gpu: " in rehearsed
    assert "this would be version 1 of lab; nothing was applied" in rehearsed
    assert lab.json("config", "history") == []

    lines = lab("config", "apply", "--message", "for Ada").stdout.splitlines()
    assert lines[:2] == rehearsed.splitlines()[:2]
    assert '"max_concurrent": 2' in lines[0]
    assert lines[1].startswith("+ environments.py: ")
    text = "\n".join(lines)
    for told in ("'here' (local) is left out", "settings.server_port", "API_TOKEN looks like a"):
        assert told in text, told
    assert lines[-1] == "version 1 of lab counts now"

    again = lab("config", "apply").stdout.splitlines()
    assert again[-1] == "nothing to change: version 1 of lab says the same"
    (lab.folder / "hut.yaml").write_text(FILE.replace("max_concurrent: 2", "max_concurrent: 4"))
    assert lab("config", "diff").stdout == "~ backends.gpu.max_concurrent: 2 -> 4\n"
    document = lab.json("config", "apply", "hut.yaml")
    assert (document["version"], document["changed"], document["dry_run"]) == (2, True, False)
    assert [each["path"] for each in document["differences"]] == ["backends.gpu.max_concurrent"]
    assert lab("config", "diff", "--versions", "2", "1").stdout == (
        "~ backends.gpu.max_concurrent: 4 -> 2\n"
    )
    assert "no difference" in lab("config", "diff").stderr

    table = lab("config", "history").stdout.splitlines()
    assert table[0].split() == ["VERSION", "APPLIED", "BY", "MESSAGE"]
    assert [line.split()[0] for line in table[1:]] == ["2", "1"]
    assert table[2].endswith("user/alice  for Ada")
    assert len(lab.json("config", "history", "--limit", "1")) == 1


def test_show_says_what_counts_and_can_be_applied_again(lab: Hut, behind: Behind) -> None:
    assert "nothing was applied" in lab("config", "show").stderr
    lab("config", "apply")
    shown = lab("config", "show")
    assert "version 1 of lab" in shown.stderr
    assert "# backend batch; from the stack; the default; no cap; queue fargate" in shown.stdout
    assert (
        "# backend gpu; from the configuration; at most 2 tasks at once; queue ec2" in shown.stdout
    )
    (lab.folder / "again.yaml").write_text(shown.stdout)
    assert "says the same" in lab("config", "apply", "again.yaml").stdout
    (lab.folder / "hut.yaml").write_text("")
    lab("config", "apply")
    assert lab("config", "show", "--version", "1").stdout in shown.stdout
    document = lab.json("config", "show")
    assert (document["version"], document["environments"]) == (2, [])
    assert [each["name"] for each in document["in_force"]] == ["batch", "other"]
    assert "no version 9" in lab("config", "show", "--version", "9", exit_code=2).stderr


def test_problems_are_told_with_the_lines_of_the_file(lab: Hut, behind: Behind) -> None:
    (lab.folder / "hut.yaml").write_text(
        FILE.replace("job_queue: ec2", "job_queue: mine")
        + "  # a comment\nenvironmentz: []\n".replace("environmentz: []\n", "")
    )
    said = lab("config", "apply", exit_code=2).stderr
    assert "1 problem; nothing was applied" in said
    assert "line 7, field 'backends.gpu.aws.job_queue': 'mine' is none of" in said
    (error,) = lab.json("config", "apply", "--dry-run", exit_code=2)["errors"]
    assert error["line"] == 7
    (lab.folder / "hut.yaml").write_text(
        "environments:\n- name: b\n- name: 'a b'\nsettings:\n  default_backend: gpus\n"
    )
    errors = lab.json("config", "apply", exit_code=2)["errors"]
    assert [each["line"] for each in errors] == [3, 5]
    (lab.folder / "hut.yaml").write_text("environments:\n- nam: b\n")
    for command in ("apply", "diff"):
        done = lab("config", command, exit_code=2)
        assert "line 2" in done.stderr
        assert "submitted" not in done.stderr
    assert lab.json("config", "history") == []


def test_who_is_second_is_told_and_changes_nothing(lab: Hut, aws: FakeAws, behind: Behind) -> None:
    behind.api.configurations.before_add = lambda: behind.api.apply(
        environments=[{"name": "theirs"}], arn=BOB
    )
    done = lab("config", "apply", exit_code=2)
    assert "nothing was applied" in done.stderr
    assert "role/Dev/bob" in done.stderr
    assert "hutctl config diff" in done.stderr
    assert lab.json("config", "show")["environments"] == [{"name": "theirs"}]
    assert "- environments.theirs" in lab("config", "diff").stdout


def test_this_machine_has_no_versions(lab: Hut, behind: Behind) -> None:
    for command in ("apply", "diff", "history"):
        done = lab("config", command, "--target", "local", exit_code=2)
        assert "on this machine hut.yaml itself counts" in done.stderr
        assert "--target NAME" in done.stderr
    assert lab("config", "show", "--version", "1", "--target", "local", exit_code=2).stdout == ""
    assert (
        "ask one" in lab("config", "diff", "hut.yaml", "--versions", "1", "2", exit_code=2).stderr
    )
    (lab.folder / "hut.yaml").unlink()
    assert "there is no hut.yaml" in lab("config", "apply", exit_code=2).stderr


def test_check_speaks_of_the_target(lab: Hut, behind: Behind) -> None:
    there = lab("config", "check").stdout
    assert "'here' (local) is left out" in there
    assert "API_TOKEN looks like a secret" in there
    here = lab("config", "check", "--target", "local").stdout
    assert "'gpu' (batch) needs a control plane" in here
    assert "API_TOKEN" not in here


def test_backends_and_environments_of_a_control_plane(lab: Hut, behind: Behind) -> None:
    behind.api.active["gpu"] = 1
    (lab.folder / "all.yaml").write_text(
        FILE.replace(
            "environments:",
            "  - {name: one, type: ec2, aws: {region: r}, ami: al2023}\nenvironments:",
        )
    )
    lab("config", "apply", "all.yaml")
    rows = lab("backends").stdout.splitlines()
    assert rows[0].split() == ["BACKEND", "TYPE", "FROM", "ACTIVE", "AT", "MOST", "NOTE"]
    assert "the default, queue fargate" in rows[1]
    gpu = next(row for row in rows if row.startswith("gpu"))
    assert gpu.split()[:5] == ["gpu", "batch", "configuration", "1", "2"]
    assert "no tasks here: this deployment has no backend of type ec2" in rows[-1]
    assert {each["name"]: each["can_run"] for each in lab.json("backends")} == {
        "batch": True,
        "other": True,
        "gpu": True,
        "one": False,
    }

    (lab.folder / "hut.yaml").write_text(
        "environments:\n- {name: py, variables: {MINE: 1}}\n- {name: mine}\n"
    )
    found = {each["name"]: each for each in lab.json("environments")}
    assert (found["py"]["origin"], found["py"]["hides"]) == ("hut.yaml", True)
    assert (found["mine"]["origin"], found["mine"]["hides"]) == ("hut.yaml", False)
    text = lab("environments").stdout
    assert "hides the control plane's" in text
    (lab.folder / "hut.yaml").unlink()
    (only,) = lab.json("environments")
    assert (only["name"], only["origin"]) == ("py", "configuration")
    assert only["variables"] == {"PYTHONUTF8": "1", "API_TOKEN": "x"}


def test_runs_use_it_and_keep_it(lab: Hut, behind: Behind) -> None:
    lab("config", "apply")
    (lab.folder / "hut.yaml").unlink()
    task = {"id": "t", "command": "true", "environment": "py", "backend": "gpu"}
    run = lab("run", lab.write([task]), "--detach").stdout.strip()
    assert lab.json("show", run)["config_version"] == 1
    assert "version 1" in lab("show", run).stdout
    (lab.folder / "hut.yaml").write_text("environments: [{name: py, variables: {MINE: 1}}]\n")
    plan = lab("plan", "w.json")
    assert "not the control plane's (version 1)" in plan.stdout + plan.stderr
