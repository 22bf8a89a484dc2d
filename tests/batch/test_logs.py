"""Log streams, read page by page. Calls go to moto, or to stubs for what it does not do."""

import time

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from hut.backends.job_logs import JobLogs
from hut.backends.markers import Markers
from hut.backends.port import LogPage, UnknownCursor

MARK = "::hut:0123456789abcdef:"


def client():
    return boto3.client("logs", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def logs():
    with mock_aws():
        made = client()
        made.create_log_group(logGroupName="/hut/jobs")
        made.create_log_stream(logGroupName="/hut/jobs", logStreamName="s")
        yield made


def write(logs, *lines):
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(logGroupName="/hut/jobs", logStreamName="s", logEvents=events)


@pytest.fixture
def stub():
    made = client()
    with Stubber(made) as stubber:
        yield made, stubber


def answer(*lines, token):
    return {"events": [{"message": line} for line in lines], "nextForwardToken": token}


def asked(**more):
    plain = {"logGroupName": "/hut/jobs", "logStreamName": "s", "startFromHead": True, "limit": 5}
    return {**plain, **more}


def test_every_page_is_read_and_what_comes_later_too(logs):
    write(logs, *(f"line {number}" for number in range(25)))
    reader = JobLogs(logs, "/hut/jobs")
    text, cursor = "", None
    while (page := reader.read("s", cursor, 10)).text:
        assert page.text.count("\n") <= 10
        text, cursor = text + page.text, page.cursor
    assert text == "".join(f"line {number}\n" for number in range(25))
    assert reader.read("s", cursor, 10) == LogPage("", cursor)
    write(logs, "later")
    assert reader.read("s", cursor, 10).text == "later\n"


def test_an_empty_line_that_was_sent_as_a_blank_is_empty_again(logs):
    write(logs, "first", " ", "  ", "last")
    assert JobLogs(logs, "/hut/jobs").read("s", None, 10).text == "first\n\n  \nlast\n"


@pytest.mark.parametrize(("group", "stream"), [("/hut/jobs", "none"), ("/none", "s")])
def test_a_log_that_does_not_exist_yet_is_empty(logs, group, stream):
    reader = JobLogs(logs, group)
    assert reader.read(stream, None, 10) == LogPage("", None)
    assert list(reader.all_lines(stream)) == []
    assert reader.tail(stream, Markers("0" * 16)) == Markers("0" * 16)


def test_empty_pages_in_between_are_passed_over(stub):
    logs, stubber = stub
    stubber.add_response("get_log_events", answer(token="a"), asked())
    stubber.add_response("get_log_events", answer(token="b"), asked(nextToken="a"))
    stubber.add_response("get_log_events", answer("x", token="c"), asked(nextToken="b"))
    stubber.add_response("get_log_events", answer(token="c"), asked(nextToken="c"))
    reader = JobLogs(logs, "/hut/jobs")
    assert reader.read("s", None, 5) == LogPage("x\n", "c")
    assert reader.read("s", "c", 5) == LogPage("", "c")


def test_lines_for_hut_are_not_shown(stub):
    logs, stubber = stub
    lines = ["out", "50 %" + MARK + "begin od", MARK + "data 1 61", MARK + "timeout stopped"]
    stubber.add_response("get_log_events", answer(*lines, token="a"), asked())
    page = JobLogs(logs, "/hut/jobs").read("s", None, 5)
    assert page.text == "out\n50 %\nhut: stopped\n"


def test_a_page_of_lines_for_hut_is_no_end(stub):
    logs, stubber = stub
    stubber.add_response("get_log_events", answer(MARK + "data 1 61", token="a"), asked())
    stubber.add_response("get_log_events", answer("x", token="b"), asked(nextToken="a"))
    assert JobLogs(logs, "/hut/jobs").read("s", None, 5) == LogPage("x\n", "b")


def test_all_lines_are_read_over_empty_pages(stub):
    logs, stubber = stub
    asks = {"limit": 10_000}
    stubber.add_response("get_log_events", answer("1", token="a"), asked(**asks))
    stubber.add_response("get_log_events", answer(token="b"), asked(**asks, nextToken="a"))
    stubber.add_response("get_log_events", answer("2", token="c"), asked(**asks, nextToken="b"))
    stubber.add_response("get_log_events", answer(token="c"), asked(**asks, nextToken="c"))
    assert list(JobLogs(logs, "/hut/jobs").all_lines("s")) == ["1", "2"]


def test_the_launchers_word_is_found_at_the_end(logs):
    write(logs, *(f"line {number}" for number in range(500)), MARK + "timeout stopped")
    markers = JobLogs(logs, "/hut/jobs").tail("s", Markers("0123456789abcdef"))
    assert markers.timed_out


def test_a_foreign_cursor_is_told(stub):
    logs, stubber = stub
    stubber.add_client_error("get_log_events", "InvalidParameterException")
    with pytest.raises(UnknownCursor, match="does not belong to this log, or is older than a day"):
        JobLogs(logs, "/hut/jobs").read("s", "mine", 5)


@pytest.mark.parametrize("code", ["ThrottlingException", "InvalidParameterException"])
def test_other_errors_are_the_callers(stub, code):
    logs, stubber = stub
    stubber.add_client_error("get_log_events", code)
    with pytest.raises(ClientError, match=code):
        JobLogs(logs, "/hut/jobs").read("s", None, 5)
