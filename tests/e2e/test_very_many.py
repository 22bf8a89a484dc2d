"""A workflow of very many tasks: 30,000, and 100,000 in `make soak`.

It is the last test: all that is stored makes the test bed slow.
"""

from __future__ import annotations

from tests.e2e.remote_hut import HOLD, RemoteHut, until
from tests.sized import FACTOR

MANY = 100_000 if FACTOR > 1 else 30_000
LIMIT = 900  # seconds


def test_very_many_tasks_are_registered_and_cancelled(hut: RemoteHut) -> None:
    tasks = [
        {"id": "hold", "command": HOLD, "priority": 9},
        *({"id": f"t.{i}", "command": f": {'more' * 30}"} for i in range(MANY - 2)),
        {"id": "end", "command": "true", "deps": ["t.*"]},
    ]
    file = hut.write(tasks, "many.json")
    run = hut("run", file, "--detach", "--max-concurrent", "1").stdout.strip()
    # It is too large for a request.
    bucket = hut.deployment.outputs["BucketName"]
    sent = hut.bed.client("s3").list_objects_v2(Bucket=bucket, Prefix="uploads/")
    assert any(each["Size"] > 4_000_000 for each in sent["Contents"])
    until(lambda: hut.show(run)["counts"]["submitted"], "the first task is submitted", LIMIT)
    # No event tells of starts in a run of this size.
    until(lambda: hut.sweep() and hut.show(run)["counts"]["running"], "a sweep sees it run", LIMIT)
    document = hut.show(run)
    assert document["total"] == MANY
    assert document["counts"]["pending"] == MANY - 1
    assert hut.json("why", run, f"t.{MANY // 2}")["why"]
    listed = hut.get(f"/runs/{run}/tasks", cursor=MANY - 4).document
    assert [task["id"] for task in listed] == [f"t.{MANY - 4}", f"t.{MANY - 3}", "end"]
    hut.call("POST", f"/runs/{run}/cancel")
    counts = hut.ended(run, LIMIT)["counts"]
    assert counts["failed"] == MANY
    assert len(hut.jobs(run)) == 1
