"""Starting and ending a test bed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hutctl_process import alive
from tests.testbed.running import start_test_bed
from tests.testbed_checks.making import Maker, wait_for


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own AWS configuration, which must not be touched."""
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.usefixtures("profile")
def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    (home / "greeting").write_text("hello from home\n")
    pids = tmp_path / "pids"
    with start_test_bed(tmp_path / "bed", home=home) as bed:
        environment = bed.environment()
        assert environment["AWS_ENDPOINT_URL"] == environment["AWS_ENDPOINT_URL_S3"] == bed.url
        assert environment["PATH"] == os.environ["PATH"]
        assert "AWS_PROFILE" not in environment
        assert environment["AWS_CONFIG_FILE"] == os.devnull
        make = Maker(bed, tmp_path)
        function = make.function(f'open("{pids}", "a").write(str(os.getpid()) + "\\n")')
        bed.client("lambda").invoke(FunctionName=function)
        queue, definition = make.batch_queue(), make.definition("true")
        script = f'cat "$HOME/greeting"; echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; wait'
        job = make.submit(queue, definition, "sh", "-c", script)
        make.in_state(job, "RUNNING")
        wait_for(lambda: len(pids.read_text().split()) == 3)
        assert wait_for(lambda: make.log(make.job(job))) == ["hello from home"]
    found = [int(pid) for pid in pids.read_text().split()]
    wait_for(lambda: not any(alive(pid) for pid in found))


def test_a_reset_forgets_everything(tmp_path: Path) -> None:
    with start_test_bed(tmp_path / "bed") as bed:
        make = Maker(bed, tmp_path)
        make.table()
        job = make.submit(make.batch_queue(), make.definition("true"), "sleep", "300")
        make.in_state(job, "RUNNING")
        bed.reset()
        assert bed.client("dynamodb").list_tables()["TableNames"] == []
        assert bed.client("batch").describe_jobs(jobs=[job])["jobs"] == []
        assert bed.client("batch").describe_job_queues()["jobQueues"] == []
        job = make.submit(make.batch_queue(), make.definition("true"))
        assert make.ended(job)["status"] == "SUCCEEDED"
        assert bed.log == ""


def test_in_its_window_a_batch_waits_until_it_is_full(tmp_path: Path) -> None:
    with start_test_bed(tmp_path / "bed", options={"HUT_TESTBED_WINDOWS": "1"}) as bed:
        make = Maker(bed, tmp_path)
        url, arn = make.queue()
        of_queue, of_stream = (make.function('note(len(event["Records"]))') for _ in range(2))
        table = make.table()
        for source, function in ((arn, of_queue), (make.stream(table), of_stream)):
            make.mapping(source, function, BatchSize=5, MaximumBatchingWindowInSeconds=300)
        for n in range(5):
            bed.client("sqs").send_message(QueueUrl=url, MessageBody="{}")
            item = {"pk": {"S": "same"}, "sk": {"S": str(n)}}
            bed.client("dynamodb").put_item(TableName=table, Item=item)
        wait_for(lambda: make.seen(of_queue) and make.seen(of_stream))
        assert make.seen(of_queue) == make.seen(of_stream) == [5]
