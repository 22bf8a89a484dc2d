"""The agent brings output to CloudWatch Logs: batches, outages, refusals."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.ec2.host import shipping
from hut.backends.ec2.host.calls import Aws, Stop
from hut.backends.ec2.host.shipping import (
    LARGEST_PIECE,
    MOST_BYTES,
    MOST_EVENTS,
    Shipper,
    make_batch,
)
from tests.ec2.host_world import NAME, wait_for


class Clock:
    """Marks that know one time, or a time for each position."""

    def __init__(self, at=lambda _: 1000):
        self.at = at


def batches(data, *, is_end=True, start=0, clock=None):
    found = []
    position = 0
    while True:
        piece = data[position : position + MOST_BYTES]
        reaches = position + len(piece) == len(data)
        batch = make_batch(piece, start + position, clock or Clock(), is_end=is_end and reaches)
        if not batch.events:
            return found, position
        found.append(batch.events)
        position = batch.end - start


def messages(found):
    return [event["message"] for events in found for event in events]


def size(events):
    return sum(len(event["message"].encode()) + 26 for event in events)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"\n", [" "]),
        (b"a\n\n\nb", ["a", " ", " ", "b"]),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
        ("é\n".encode(), ["é"]),
    ],
)
def test_lines_become_events(data, expected):
    assert messages(batches(data)[0]) == expected


def test_a_line_without_an_end_waits_while_more_may_come():
    assert batches(b"a\nb", is_end=False) == ([[{"timestamp": 1000, "message": "a"}]], 2)


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_long_lines_are_cut_between_characters(character, shift):
    line = "x" * shift + character * (2 * LARGEST_PIECE // len(character.encode()) + 5)
    found = messages(batches(line.encode())[0])
    assert len(found) >= 2
    assert "".join(found) == line
    assert all(len(message.encode()) <= LARGEST_PIECE for message in found)


def test_a_batch_has_no_more_events_than_one_call_takes():
    found, _ = batches(b"x\n" * 25_000)
    assert [len(events) for events in found] == [MOST_EVENTS, MOST_EVENTS, 5000]


def test_a_batch_is_no_larger_than_one_call_takes():
    found, _ = batches(b"\xff" * 60_000 + b"\n" + (b"x" * 5000 + b"\n") * 500)
    assert all(size(events) <= MOST_BYTES for events in found)
    assert len(messages(found)) == 501


def test_bytes_that_are_no_text_still_fit():
    found, _ = batches(b"\x80" * (3 * LARGEST_PIECE))
    assert all(size(events) <= MOST_BYTES for events in found)
    assert "".join(messages(found)) == "\ufffd" * (3 * LARGEST_PIECE)


def test_a_batch_spans_less_than_a_day():
    clock = Clock(lambda position: position * 3600 * 1000)
    found, _ = batches(b"\n" * 60, clock=clock)
    assert all(e[-1]["timestamp"] - e[0]["timestamp"] < 24 * 3600 * 1000 for e in found)
    assert len(messages(found)) == 60


@given(st.lists(st.binary(max_size=60)), st.integers(0, 40))
def test_nothing_is_lost_wherever_it_is_read(lines, cut):
    """What is read in two parts, the second from where the first ended, is the same."""
    data = b"\n".join(lines)
    first, position = batches(data[:cut], is_end=False)
    second, end = batches(data[position:])
    assert position + end == len(data)
    expected = [line.decode("utf-8", "replace") or " " for line in data.split(b"\n")]
    if expected[-1] == " ":
        expected.pop()
    assert messages(first) + messages(second) == expected


def test_marks_tell_when_a_byte_was_there(monkeypatch):
    marks = shipping._Marks()
    for now, size in ((10.0, 0), (11.0, 5), (12.0, 5), (9.0, 8), (13.0, 20)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        marks.note(size)
    assert [marks.at(position) for position in (0, 4, 5, 7, 8, 19)] == [
        *(11_000, 11_000, 12_000, 12_000, 13_000, 13_000)
    ]


def test_marks_take_little_memory(monkeypatch):
    marks = shipping._Marks()
    for number in range(50_000):
        marks.note(number)
    assert len(marks._marks) <= 10_000


@pytest.fixture
def shipper(aws, tmp_path, monkeypatch):
    """Return what sends a file of the test, and the file."""
    for name, value in (
        ("AWS_ENDPOINT_URL", aws.url),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("HUT_HOST_PACE", "0.01"),
    ):
        monkeypatch.setenv(name, value)
    path = tmp_path / "output"
    path.touch()
    log = ("/hut", "stream", "eu-north-1")
    return Shipper(Aws("eu-north-1", Stop()), log, str(path)), path


def stream(aws):
    with aws.lock:
        return [event["message"] for event in aws.streams.get(("/hut", "stream"), [])]


def test_lines_arrive_while_the_task_runs(world):
    world.payload(f"echo one; while [ ! -e {world.folder}/go ]; do sleep 0.05; done; echo two")
    process = world.begin()
    wait_for(lambda: world.log() == ["one"])
    (world.folder / "go").touch()
    world.end(process)
    assert world.log() == ["one", "two"]


def test_a_hundred_thousand_lines(world):
    report = world.run("seq 100000")
    assert report["said"] == ""
    assert world.log() == [str(number) for number in range(1, 100_001)]
    times = [event["timestamp"] for event in world.events()]
    assert times == sorted(times)
    assert world.aws.count("PutLogEvents") < 30


def test_a_task_never_waits_for_cloudwatch_and_nothing_is_lost_while_it_is_away(world):
    world.aws.away |= {"CreateLogStream", "PutLogEvents"}
    go = world.folder / "go"
    world.payload(
        f"seq 20000; echo done >{world.folder}/written; while [ ! -e {go} ]; do sleep 0.05; done"
    )
    process = world.begin()
    wait_for((world.folder / "written").exists)
    wait_for(lambda: world.aws.count("CreateLogStream") > 2)
    world.aws.away.clear()
    wait_for(lambda: len(world.log()) == 20_000)
    go.touch()
    assert world.end(process)["said"] == ""
    assert world.log() == [str(number) for number in range(1, 20_001)]


def test_the_end_is_told_although_cloudwatch_stays_away(world):
    world.aws.away.add("PutLogEvents")
    report = world.run("echo lost; exit 3")
    assert (report["how"], report["exit_code"]) == ("exit", 3)
    assert "5 bytes of its output could not be sent to CloudWatch Logs" in report["said"]
    assert "503" in report["said"]


def test_a_group_that_is_missing_is_told(world):
    world.aws.failures["CreateLogStream"] = [(400, "ResourceNotFoundException")] * 10_000
    report = world.run("echo lost")
    assert (report["how"], "ResourceNotFoundException" in report["said"]) == ("exit", True)


def test_a_stream_that_is_there_is_written_to(aws, shipper):
    aws.streams["/hut", "stream"] = []
    sends, path = shipper
    path.write_text("a\n")
    sends.start()
    assert sends.finish() == ""
    assert stream(aws) == ["a"]


def test_a_stream_that_is_deleted_is_made_again(aws, shipper):
    sends, path = shipper
    sends.start()
    wait_for(lambda: ("/hut", "stream") in aws.streams)
    with aws.lock:
        del aws.streams["/hut", "stream"]
    path.write_text("a\n")
    assert sends.finish() == ""
    assert stream(aws) == ["a"]


def test_a_batch_that_is_refused_for_ever_does_not_hold_back_what_follows(aws, shipper):
    sends, path = shipper
    aws.failures["PutLogEvents"] = [(400, "InvalidParameterException")]
    path.write_text("a\n")
    sends.start()
    wait_for(lambda: aws.count("PutLogEvents") == 1)
    with path.open("a") as file:
        file.write("b\n")
    said = sends.finish()
    assert said.startswith("CloudWatch Logs refused 1 lines of its output: PutLogEvents: Invalid")
    assert stream(aws) == ["b"]


def test_throttled_calls_are_made_again(aws, shipper):
    sends, path = shipper
    aws.failures["PutLogEvents"] = [(400, "ThrottlingException"), (0, ""), (500, "InternalFailure")]
    path.write_text("a\n")
    sends.start()
    assert sends.finish() == ""
    assert stream(aws) == ["a"]


@pytest.mark.parametrize(
    ("rejected", "count"),
    [
        ({"tooOldLogEventEndIndex": 2}, 2),
        ({"tooNewLogEventStartIndex": 1}, 2),
        ({"expiredLogEventEndIndex": 1}, 1),
    ],
)
def test_events_that_are_rejected_are_counted(aws, shipper, rejected, count):
    sends, path = shipper
    aws.reject = rejected
    path.write_text("a\nb\nc\n")
    sends.start()
    assert sends.finish() == f"CloudWatch Logs refused {count} lines of its output"


def test_memory_stays_bounded_whatever_the_task_writes(world):
    """100 MB wait in the file while CloudWatch is away; the agent holds a batch of it."""
    world.aws.away |= {"CreateLogStream", "PutLogEvents"}
    world.payload(
        f"yes 0123456789 | head -c 100000000; echo >{world.folder}/written; "
        f"while [ ! -e {world.folder}/go ]; do sleep 0.05; done",
    )
    process = world.begin()
    agent = world.agent_of(process)
    wait_for((world.folder / "written").exists)
    tries = world.aws.count("CreateLogStream")
    wait_for(lambda: world.aws.count("CreateLogStream") > tries + 1)
    peak = Path(f"/proc/{agent}/status").read_text().partition("VmHWM:")[2].split()[0]
    (world.folder / "go").touch()
    report = world.end(process)
    assert "100000001 bytes" in report["said"] or "could not be sent" in report["said"]
    assert int(peak) < 80_000, json.dumps(peak)
    assert (world.host / "attempts" / NAME / "output").exists()
