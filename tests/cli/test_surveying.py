"""``backends`` and ``environments`` on this machine."""

from __future__ import annotations

from tests.hutctl_process import Hut, wait_until

FILE = """\
backends:
  - {name: here, type: local, max_concurrent: 2}
  - {name: hpc, type: slurm, ssh: {host: login, user: me}}
environments:
  - {name: py, variables: {B: 2, A: 1}, extra_init: module load py}
  - {name: bare}
"""


def test_without_a_configuration_there_is_this_machine(hut: Hut) -> None:
    (only,) = hut.json("backends")
    assert (only["name"], only["origin"], only["can_run"]) == ("local", "built in", True)
    assert (only["active"], only["max_concurrent"], only["default"]) == (0, None, True)
    assert hut.json("environments") == []
    assert "no environments" in hut("environments").stderr


def test_what_the_configuration_has_is_listed(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(FILE)
    header, here, hpc = hut("backends").stdout.splitlines()
    assert header.split() == ["BACKEND", "TYPE", "FROM", "ACTIVE", "AT", "MOST", "NOTE"]
    assert here.split() == ["here", "local", "hut.yaml", "0", "2", "the", "default"]
    assert "no tasks here: type slurm needs a control plane on AWS" in hpc
    assert [each["can_run"] for each in hut.json("backends")] == [True, False]
    lines = hut("environments").stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["bare", "hut.yaml"],
        ["py", "hut.yaml", "A", "B", "yes"],
    ]
    assert hut.json("environments")[1]["variables"] == {"A": "1", "B": "2"}


def test_what_runs_is_counted(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": "sleep 60"}]), "--detach")
    wait_until(lambda: hut.json("jobs"))
    assert hut.json("backends")[0]["active"] == 1
    hut("cancel", "last")


def test_a_faulty_configuration_is_told(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text("environments:\n- nam: x\n")
    for command in ("backends", "environments"):
        assert "line 2" in hut(command, exit_code=2).stderr
