"""Where ``hut.yaml`` is found, what ``config`` says of it, and what a wrong one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hutctl_process import Hut

FAULTY = """\
backends:
  - {name: here, type: locl}
  - name: cluster
    type: slurm
    ssh:
      hst: login
      user: me
enviroments: []
environments:
  - name: lab
    variables:
      HUT_RUN_ID: 1
      a-b: 2
  - {name: lab, variable: {}}
settings:
  server_port: 99999999
"""
FAULTS = {
    2: "did you mean 'local'",
    6: "did you mean 'host'",
    8: "did you mean 'environments'",
    12: "HUT_RUN_ID",
    13: "a-b",
    14: "did you mean 'variables'",
    16: "server_port",
}


def configuration(place: Path, marker: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "hut.yaml").write_text(
        f"environments:\n  - name: lab\n    variables: {{MARK: {marker}}}\n"
    )


def test_the_nearest_configuration_counts_and_the_option_wins(hut: Hut) -> None:
    work = hut.folder / "above" / "beside"
    work.mkdir(parents=True)
    task = {"id": "t", "command": "echo ${MARK:-none}", "environment": "lab"}
    file = hut.write([task], name="above/beside/w.json")

    def found(*options: str) -> str:
        hut("run", file, *options)
        return hut("logs", "last", "t").stdout.strip()

    hut("run", file, exit_code=2)
    configuration(hut.folder / "xdg" / "hut", "xdg")
    assert found() == "xdg"
    configuration(hut.folder / "above", "above")
    assert found() == "above"
    configuration(work, "beside")
    assert found() == "beside"
    configuration(hut.folder / "named", "named")
    assert found("--config", "named/hut.yaml") == "named"
    hut("--config", "named/hut.yaml", "run", file)
    assert hut("logs", "last", "t").stdout == "named\n"
    hut("run", file, "--config", "named/hut.yaml", "--detach")
    hut("watch", "last")
    assert hut("logs", "last", "t").stdout == "named\n"


def test_for_stdin_and_config_this_folder_counts(hut: Hut) -> None:
    configuration(hut.folder, "here")
    hut("run", "-", given='[{"id": "t", "command": "echo $MARK", "environment": "lab"}]')
    assert hut("logs", "last", "t").stdout == "here\n"
    shown = hut("config", "show")
    assert "MARK: here" in shown.stdout
    assert "hut.yaml" in shown.stderr


def test_show_prints_what_counts_with_its_defaults(hut: Hut) -> None:
    none = hut("config", "show")
    assert "defaults" in none.stderr
    assert "name: local" in none.stdout
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: hpc, type: slurm, ssh: {host: login, user: me}}\n"
        "environments:\n  - {name: lab, variables: {N: 1, ON: true}, extra_init: module load x}\n"
    )
    document = hut.json("config", "show")
    assert {entry["name"]: entry["type"] for entry in document["backends"]} == {
        "local": "local",
        "hpc": "slurm",
    }
    [lab] = document["environments"]
    assert lab == {
        "name": "lab",
        "variables": {"N": "1", "ON": "true"},
        "extra_init": "module load x",
    }


def test_what_show_prints_is_itself_a_configuration(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: here, type: local, max_concurrent: 2, kill_grace: 2s}\n"
        "environments:\n  - {name: lab, variables: {A: b}}\n"
        "sources:\n  - {name: code, type: git, url: 'https://example.org/x.git'}\n"
    )
    first = hut("config", "show").stdout
    (hut.folder / "again.yaml").write_text(first)
    assert hut("config", "show", "--config", "again.yaml").stdout == first


def test_check_of_a_good_file(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: hpc, type: slurm, ssh: {host: login, user: me}}\n"
        "settings: {poll_interval: 5}\n"
    )
    done = hut("config", "check")
    assert "good" in done.stdout
    assert "hpc" in done.stdout
    assert "poll_interval" in done.stdout
    document = hut.json("config", "check", "hut.yaml")
    assert document["errors"] == []
    assert len(document["notes"]) == 2
    (hut.folder / "empty.yaml").write_text("")
    hut("config", "check", "empty.yaml")


def test_check_lists_every_fault_with_its_line(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(FAULTY)
    done = hut("config", "check", exit_code=2)
    assert done.stdout == ""
    for line, told in FAULTS.items():
        assert any(f"line {line}," in said and told in said for said in done.stderr.splitlines()), (
            line,
            told,
            done.stderr,
        )
    assert "is used twice" in done.stderr
    errors = hut.json("config", "check", exit_code=2)["errors"]
    assert {error["line"] for error in errors} >= FAULTS.keys()
    assert all(error.keys() >= {"field", "line", "message"} for error in errors)


def test_check_speaks_of_the_configuration_only(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(FAULTY)
    assert "submitted" not in hut("config", "check", exit_code=2).stderr


@pytest.mark.parametrize(
    "content",
    [b"a: [\nb: }", b"- a\n- b\n", b"just text", b"\xff\xfe", b"a: 1\na: 2\n", b"x: &x [*x]\n"],
)
def test_what_is_no_configuration_is_2(hut: Hut, content: bytes) -> None:
    (hut.folder / "hut.yaml").write_bytes(content)
    done = hut("config", "check", exit_code=2)
    assert "hut.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_faulty_configuration_stops_a_run_and_a_plan_but_not_a_look(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "true"}])
    hut("run", file)
    (hut.folder / "hut.yaml").write_text(FAULTY)
    for command in ("run", "plan"):
        done = hut(command, file, exit_code=2)
        assert "hut.yaml" in done.stderr
        assert "line 2" in done.stderr
        assert hut.json(command, file, exit_code=2)["errors"]
    assert len(hut.json("runs")) == 1
    for line in ("show last", "tasks last", "why last t", "script last t", "logs last t"):
        hut(*line.split())
    assert "config" in hut("doctor", exit_code=1).stdout


def test_an_unknown_environment_is_2_and_the_known_ones_are_named(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text("environments:\n  - name: gpu-lab\n  - name: office\n")
    near = hut.write([{"id": "t", "command": "x", "environment": "gpu-lap"}])
    assert "did you mean 'gpu-lab'" in hut("run", near, exit_code=2).stderr
    far = hut.write([{"id": "t", "command": "x"}], environment="zzz")
    done = hut("run", far, exit_code=2)
    assert "gpu-lab" in done.stderr
    assert "office" in done.stderr
    [error] = hut.json("run", far, exit_code=2)["errors"]
    assert error["field"] == "environment"
    assert hut.json("runs") == []


def test_environments_give_variables_and_commands_that_run_first(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "environments:\n"
        "  - name: lab\n    variables: {A: lab, B: lab, C: lab}\n    extra_init: |\n"
        "      echo init $A\n      D=from-init\n"
        "  - {name: other, variables: {A: other}}\n"
    )
    command = "echo ${A-} ${B-} ${C-} ${D-} ${E-}"
    tasks = [
        {"id": "t", "command": command, "env_vars": {"C": "task"}},
        {"id": "u", "command": command, "environment": "other"},
    ]
    file = hut.write(tasks, environment="lab", env_vars={"A": "file", "E": "file"})
    hut("run", file, "--env", "E=option", "--max-concurrent", "1")
    assert hut("logs", "last", "t").stdout == "init lab\nlab lab task from-init option\n"
    assert hut("logs", "last", "u").stdout == "other option\n"


def test_a_backend_of_another_type_is_2_with_a_reason(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: here, type: local}\n"
        "  - {name: hpc, type: slurm, ssh: {host: login, user: me}}\n"
    )
    task = {"id": "t", "command": "true"}
    for file, options in (
        (hut.write([{**task, "backend": "hpc"}], name="a.json"), ()),
        (hut.write([task], name="b.json", backend="hpc"), ()),
        (hut.write([task], name="c.json"), ("--backend", "hpc")),
    ):
        done = hut("run", file, *options, exit_code=2)
        assert "'hpc' is of type slurm" in done.stderr
        assert "control plane" in done.stderr
        [error] = hut.json("run", file, *options, exit_code=2)["errors"]
        assert error["field"] == "backend"
    assert hut.json("runs") == []
    run = hut.json("run", hut.write([{**task, "backend": "here"}]), "--backend", "here")
    assert run["backend"] == "here"
    assert hut.tasks()["t"]["backend"] == "here"


def test_the_machines_cap_holds_for_a_run(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: here, type: local, max_concurrent: 1}\n"
    )
    command = "mkdir on && sleep 0.05 && rmdir on"
    hut("run", hut.write([{"id": f"t{i}", "command": command} for i in range(4)]))
    assert set(hut.states().values()) == {"completed"}
