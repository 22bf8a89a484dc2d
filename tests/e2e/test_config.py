"""The configuration in a deployed control plane: applied, used, changed while runs go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.remote_hut import HOLD, RemoteHut, until

SECONDS = 180  # functions follow a change within seconds, and a sweep takes its time


@pytest.fixture(autouse=True)
def left_as_it_was(hut: RemoteHut) -> Iterator[None]:
    """Let other tests find nothing applied."""
    yield
    hut.call("PUT", "/config", {}, headers={"If-Match": "*"})


def apply(hut: RemoteHut, text: str, *options: str) -> dict[str, Any]:
    """Apply a configuration that is not beside the workflows: it must count all the same."""
    (hut.folder / "applied.yaml").write_text(text)
    found: dict[str, Any] = hut.json("config", "apply", "applied.yaml", *options)
    return found


def environment(value: str) -> str:
    return f"environments: [{{name: e2e, variables: {{VALUE: {value}}}}}]\n"


def narrow(cap: int) -> str:
    return f"backends: [{{name: narrow, type: batch, max_concurrent: {cap}}}]\n"


def test_a_run_keeps_its_version_while_the_configuration_changes(hut: RemoteHut) -> None:
    first = apply(hut, environment("one"), "--message", "begin")["version"]
    run = hut.start(
        [
            {"id": "wait", "command": HOLD},
            {
                "id": "say",
                "deps": ["wait"],
                "environment": "e2e",
                "command": "echo $VALUE; test -e good",
            },
        ]
    )
    hut.reached(run, "wait", "running", seconds=SECONDS)
    (hut.folder / "applied.yaml").write_text(environment("two"))
    assert hut("config", "diff", "applied.yaml").stdout == (
        "~ environments.e2e.variables.VALUE: one -> two\n"
    )
    second = apply(hut, environment("two"))["version"]
    assert second == first + 1
    hut.go()
    assert hut.ended(run, SECONDS)["state"] == "failed"
    assert hut("logs", run, "say").stdout == "one\n"

    (hut.bed.home / "good").touch()
    hut("retry", run)
    ended = hut.ended(run, SECONDS)
    assert (ended["state"], ended["config_version"]) == ("completed", first)
    assert hut("logs", run, "say").stdout == "one\n"
    assert f"version {first}" in hut("show", run).stdout

    later = hut.run([{"id": "say", "environment": "e2e", "command": "echo $VALUE"}])
    assert later["config_version"] == second
    assert hut("logs", later["id"], "say").stdout == "two\n"

    table = hut("config", "history").stdout.splitlines()
    assert [line.split()[0] for line in table[1:3]] == [str(second), str(first)]
    assert table[2].endswith("begin")
    assert hut("config", "diff", "--versions", str(second), str(first)).stdout == (
        "~ environments.e2e.variables.VALUE: two -> one\n"
    )
    (listed,) = hut.json("environments")
    assert (listed["name"], listed["origin"]) == ("e2e", "configuration")


def test_a_cap_holds_at_once_and_a_backend_that_is_gone_ends_its_runs(hut: RemoteHut) -> None:
    apply(hut, narrow(1))
    run = hut.start([{"id": f"t{n}", "command": HOLD} for n in range(3)], backend="narrow")

    def active() -> int:
        counts = hut.show(run)["counts"]
        return int(counts["submitted"] + counts["running"])

    until(lambda: active() == 1, "one task of three is active", SECONDS)
    hut.sweep()
    assert active() == 1
    apply(hut, narrow(3))
    until(lambda: hut.sweep() and active() == 3, "all three are active", SECONDS)
    (found,) = (each for each in hut.json("backends") if each["name"] == "narrow")
    assert (found["active"], found["max_concurrent"], found["can_run"]) == (3, 3, True)

    apply(hut, "")
    file = hut.write([{"id": "t", "command": "true"}], backend="narrow")
    assert "unknown backend 'narrow'" in hut("run", file, exit_code=2).stderr
    hut.go()
    assert hut.ended(run, SECONDS)["state"] == "completed"


def test_the_stack_bounds_what_can_be_applied(hut: RemoteHut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n- name: other\n  type: batch\n  default_image: i\n"
        "  aws: {region: nowhere-1, job_queue: mine}\n"
    )
    said = hut("config", "apply", exit_code=2).stderr
    assert "line 5, field 'backends.other.aws.job_queue'" in said
    assert "hut:queues" in said
    assert "nowhere-1" in said
