"""The SSM document: its size, its parameters, and the shell part, really run."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from hut.backends.ec2.document import LARGEST_DOCUMENT, agent_archive, document_content
from hut.backends.ec2.host import agent
from hut.backends.port import job_name
from hut.store.port import AttemptKey
from infra.task_command import REPORTED

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]
HOST = Path("lambdas/hut/backends/ec2/host")
PARAMETERS = {
    "Attempt": "hut-01hx-5-1-3",
    "Payload": "s3://bucket/scripts/ec2/x.json",
    "Region": "eu-north-1",
    "ExecutionTimeout": "3900",
}


NOBODY = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "HUT_HOST_PACE": "0",
}
"""No AWS that answers."""


def script(**parameters):
    """Return the text SSM makes of the document."""
    [step] = document_content()["mainSteps"]
    text = "\n".join(step["inputs"]["runCommand"])
    for name, value in {**PARAMETERS, **parameters}.items():
        text = text.replace(f"{{{{ {name} }}}}", value)
    return text


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path):
    """A PATH with what the shell part needs, and nothing that could harm this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("mkdir", "sh"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def run(shell, path, folder, **parameters):
    words = [shutil.which(shell), *(["sh"] if shell == "busybox" else [])]
    done = subprocess.run(
        [*words, "-c", script(**parameters)],
        env={"PATH": str(path), "HUT_HOST_DIR": str(folder), **NOBODY},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    report = json.loads(line)
    assert set(report) == {"how", "exit_code", "started", "ended", "said"}
    return report


def test_the_document_and_its_parameters_are_small_enough():
    content = json.dumps(document_content())
    assert len(content) + 2000 < LARGEST_DOCUMENT


def test_only_parameters_are_in_double_braces():
    content = document_content()
    [step] = content["mainSteps"]
    text = "\n".join([step["inputs"]["timeoutSeconds"], *step["inputs"]["runCommand"]])
    found = re.findall(r"\{\{.*?\}\}", text)
    assert sorted(found) == sorted(f"{{{{ {name} }}}}" for name in content["parameters"])
    assert text.count("{{") == text.count("}}") == len(found)


def test_parameters_that_are_used_match_their_patterns():
    for name, parameter in document_content()["parameters"].items():
        assert re.search(parameter["allowedPattern"], PARAMETERS[name])
        if "default" in parameter:
            assert re.search(parameter["allowedPattern"], parameter["default"])
    name = job_name("my-hut", "r" * 26, AttemptKey(999_999, 99, 12))
    assert re.search(document_content()["parameters"]["Attempt"]["allowedPattern"], name)


@pytest.mark.parametrize(
    "value",
    ["'", "a'b", "x y", "$(reboot)", "`id`", "a\nb", "a;b", "\\", "é", "-x", "s3://b/k'", ""],
)
def test_nothing_gets_out_of_its_quotes(value):
    for name, parameter in document_content()["parameters"].items():
        if not (name == "Region" and value == ""):
            assert not re.search(parameter["allowedPattern"], value)


def test_the_archive_is_the_same_every_time():
    assert agent_archive() == agent_archive()
    names = zipfile.ZipFile(BytesIO(agent_archive())).namelist()
    assert {f"hut/backends/ec2/host/{path.name}" for path in HOST.glob("*.py")} < set(names)


@pytest.mark.parametrize("module", sorted(HOST.glob("*.py")), ids=lambda path: path.stem)
def test_the_agent_is_written_for_old_pythons(module):
    """Python 3.7 parses it, and it imports the standard library and itself only."""
    tree = ast.parse(module.read_text(), feature_version=(3, 7))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {each.name.partition(".")[0] for each in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            first = node.module.partition(".")[0]
            own = node.module.startswith("hut.backends.ec2.host.")
            assert own or first in sys.stdlib_module_names


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_part_unpacks_the_agent_and_starts_it(shell, path, tmp_path):
    (path / "python3").symlink_to(sys.executable)
    report = run(shell, path, tmp_path / "a folder", Payload="s3://b/k")
    assert report["how"] == "not_started"
    assert "GetObject of s3://b/k: no answer" in report["said"]
    [archive] = (tmp_path / "a folder").glob("agent-*.pyz")
    assert archive.read_bytes() == agent_archive()
    assert archive.stat().st_mode & 0o077 == 0
    assert archive.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_an_image_without_python_says_so(shell, path, tmp_path):
    report = run(shell, path, tmp_path / "d")
    assert (report["how"], "has no python3" in report["said"]) == ("not_started", True)


@pytest.mark.parametrize("shell", SHELLS)
def test_an_old_python_says_so(shell, path, tmp_path):
    program(path / "python3", "exit 1")
    report = run(shell, path, tmp_path / "d")
    assert (report["how"], "older than 3.7" in report["said"]) == ("not_started", True)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_folder_that_cannot_be_made_says_so(shell, path, tmp_path):
    (path / "python3").symlink_to(sys.executable)
    (tmp_path / "file").touch()
    report = run(shell, path, tmp_path / "file" / "d")
    assert (report["how"], "can not be written to" in report["said"]) == ("not_started", True)


@pytest.mark.parametrize("shell", SHELLS)
def test_an_agent_that_is_killed_is_started_once_more(shell, path, tmp_path):
    program(
        path / "python3",
        f"""case $2 in
*.pyz) echo "$@" >>{tmp_path}/calls; kill -9 $$ ;;
*) exec {shlex.quote(sys.executable)} "$@" ;;
esac""",
    )
    report = run(shell, path, tmp_path / "d")
    assert (report["how"], "was killed" in report["said"]) == ("lost", True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert calls[0].split()[2:] == [PARAMETERS[name] for name in ("Attempt", "Payload", "Region")]


def test_the_state_machine_knows_what_the_agent_reports():
    _, _, table = agent.__doc__.partition("is one of::")
    assert set(re.findall(r"^    (\w+)  ", table, re.MULTILINE)) == set(REPORTED)
