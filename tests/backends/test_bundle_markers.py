"""What a bundle says of its tasks, and the blocks of its log."""

from __future__ import annotations

import itertools

import pytest

from hut.backends.bundle_markers import (
    BundleMarkers,
    block_log,
    outcome_of,
    outcome_without_end,
    parse_block_log,
    parse_told,
)
from hut.backends.job_logs import JobLogs
from hut.backends.port import (
    TaskReport,
    UnknownCursor,
    array_name,
    bundled_handle,
    child_handle,
    parent_of,
    parse_job_name,
    place_in_bundle,
)
from hut.lifecycle.attempt import Evidence, judge, launch_failed, lost
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import Resources, TaskSpec
from tests.simulation.logs import SimulatedLogs

NONCE, OTHER = "0123456789abcdef", "fedcba9876543210"
NAME, HANDLE, CLOCK = "hut-run1-bundle00c0ffee00ab", "3f2a-77", "1700000000@500.00"
TOLD = f"::hut:{NONCE}:told {NAME} {HANDLE} {CLOCK}"
AGAIN = f"::hut:{NONCE}:again {CLOCK}"
SPEC = TaskSpec("t", "true", resources=Resources(time_limit=5))


def test_names_of_bundles_are_told_from_those_of_arrays():
    name = array_name("hut", "run1", "bundle00c0ffee00ab")
    assert name == NAME
    parsed = parse_job_name(name)
    assert parsed is not None
    assert parsed.is_bundle
    assert parsed.array == "bundle00c0ffee00ab"
    array = parse_job_name(array_name("hut", "run1", "00c0ffee00ab"))
    assert array is not None
    assert not array.is_bundle
    assert parse_job_name("hut-run1-bundle00c0ffee00ab-1") is None
    assert parse_job_name("hut-run1-abundle00c0ffee00ab") is None


def test_handles_of_bundled_tasks_are_told_from_those_of_children():
    assert parent_of(bundled_handle("job", 3)) == "job"
    assert parent_of(child_handle("job", 3)) == "job"
    assert parent_of("job") == "job"
    assert place_in_bundle(bundled_handle("job", 3)) == 3
    assert place_in_bundle(child_handle("job", 3)) is None


def test_an_end_is_told_with_times_and_job():
    told = parse_told(f"{TOLD} end 7 3 510.25 512.50")
    assert told is not None
    assert (told.nonce, told.name, told.handle, told.place) == (NONCE, NAME, HANDLE, 7)
    assert told.end == TaskReport(7, 3, 1700000010.25, 1700000012.5)
    start = parse_told(f"x{TOLD} start 7 510.25")
    assert start is not None
    assert (start.place, start.at, start.end) == (7, 1700000010.25, None)


@pytest.mark.parametrize(
    "line",
    [
        f"{AGAIN} end 7 3 510.25 512.50",
        f"::hut:{NONCE}:note {CLOCK} start 7 510.25",
        f"{TOLD} end 7 3 510.25",
        f"{TOLD} end 7 3 510.25 512.50 and more",
        f"{TOLD} end 7 -1 510.25 512.50",
        f"{TOLD} end 9999999 0 510.25 512.50",
        f"{TOLD.replace(NONCE, 'short')} end 7 3 510.25 512.50",
        f"::hut-told {NAME} {HANDLE} {CLOCK} end 7 0 1 2",
        "a line with :told in it",
        "",
    ],
)
def test_what_tells_nothing(line):
    assert parse_told(line) is None


def test_markers_take_the_first_word_and_their_own_nonce():
    markers = BundleMarkers(NONCE)
    for line in (
        f"::hut:{NONCE}:note {CLOCK} start 0 501.00",
        f"{TOLD} end 1 0 501.00 502.00",
        f"{TOLD} end 1 9 501.00 502.00",
        f"{TOLD.replace(NONCE, OTHER)} end 2 0 501.00 502.00",
        f"{TOLD} end 3 124 501.00 506.00 timeout stopped at its time limit of 5s",
        f"::hut:{NONCE}:cut 4",
        "noise",
    ):
        markers.feed(line)
    assert {index: end.code for index, end in markers.ends.items()} == {1: 0, 3: 124}
    assert sorted(markers.starts) == [0, 1, 3, 4]
    assert not markers.is_whole
    markers.feed(f"::hut:{NONCE}:over 3")
    assert not markers.is_whole  # an end before the last word is missing
    markers.feed(f"{AGAIN} end 0 1 501.00 502.00")
    assert markers.is_whole
    assert sorted(markers.report(3).ends) == [0, 1]  # nobody has a fourth task


def test_outcomes_that_are_told():
    assert outcome_of(TaskReport(0, 0, 1, 2), SPEC) == judge(Evidence(0))
    assert outcome_of(TaskReport(0, 3, 1, 2), SPEC) == judge(Evidence(3))
    timeout = outcome_of(TaskReport(0, 124, 1, 2, "timeout", "stopped"), SPEC)
    assert (timeout.reason, timeout.message) == (
        Reason.TIMEOUT,
        "stopped at its time limit of 5s",
    )
    failed = outcome_of(TaskReport(0, 125, 1, 2, "not-started", "no folder"), SPEC)
    assert (failed.reason, failed.message) == (Reason.LAUNCH_FAILED, "no folder")


OUT_OF_MEMORY = Outcome(TaskState.FAILED, Reason.OUT_OF_MEMORY, 137, "killed for lack of memory")
TERMINATED = Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "Host EC2 terminated.")
TIMEOUT = judge(Evidence(timed_out=True, time_limit=5))
CANCELLED = judge(Evidence(cancelled=True))


@pytest.mark.parametrize(
    ("job", "has_begun", "reason"),
    [
        (judge(Evidence(0)), True, Reason.LOST),
        (judge(Evidence(143)), True, Reason.LOST),
        (OUT_OF_MEMORY, True, Reason.OUT_OF_MEMORY),
        (OUT_OF_MEMORY, False, Reason.LOST),
        (TIMEOUT, True, Reason.TIMEOUT),
        (TIMEOUT, False, Reason.LOST),
        (TERMINATED, True, Reason.HOST_TERMINATED),
        (TERMINATED, False, Reason.HOST_TERMINATED),
        (CANCELLED, False, Reason.CANCELLED),
        (launch_failed("no image"), False, Reason.LAUNCH_FAILED),
        (lost("gone"), False, Reason.LOST),
    ],
)
def test_outcomes_of_tasks_without_an_end_follow_the_job(job, has_begun, reason):
    outcome = outcome_without_end(job, has_begun=has_begun)
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, reason)
    assert outcome.message


# Logs --------------------------------------------------------------------------------------------


def log_of(lines, **options):
    simulated = SimulatedLogs(lambda: 1e9, **options)
    simulated.create_log_group(logGroupName="jobs")
    simulated.open("jobs", "s")
    simulated.write("jobs", "s", lines)
    return JobLogs(simulated, "jobs")


def block(index, *lines, end="end {} 0 501.00 502.00"):
    last = lines[-1:] if lines and not lines[-1].endswith("\n") else ()
    return [
        f"::hut:{NONCE}:block {index}",
        *(line.rstrip("\n") for line in lines[: len(lines) - len(last)]),
        "".join(last) + f"{TOLD} {end.format(index)}",
    ]


LINES = [
    f"::hut:{NONCE}:note {CLOCK} start 0 500.00",
    *block(0, "zero\n"),
    *block(1, *(f"line {number}\n" for number in range(25)), "no end"),
    *block(2),
    *block(3, f"::hut:{OTHER}:told x y {CLOCK} end 3 0 1 2\n", f"::hut:{OTHER}:block 1\n"),
    f"{AGAIN} end 1 0 501.00 502.00",
    f"::hut:{NONCE}:over 4",
]


def read_all(logs, name, limit):
    text, cursor = "", None
    for _ in range(200):
        page = logs.read(name, cursor, limit)
        if not page.text and page.cursor == cursor:
            return text
        text, cursor = text + page.text, page.cursor
    raise AssertionError("it never ends")


@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_a_block_is_read_in_pages_of_any_size(limit):
    logs = log_of(LINES)
    texts = [read_all(logs, block_log("s", NONCE, index), limit) for index in range(5)]
    assert texts[0] == "zero\n"
    assert texts[1] == "".join(f"line {number}\n" for number in range(25)) + "no end\n"
    assert texts[2] == ""
    assert texts[3] == f"::hut:{OTHER}:told x y {CLOCK} end 3 0 1 2\n::hut:{OTHER}:block 1\n"
    assert texts[4] == ""


def test_a_block_is_read_past_empty_pages_and_marks_of_others():
    turns = itertools.cycle([True, False])
    lines = [*LINES[:1], *block(0, "a\n", f"::hut:{NONCE}:note {CLOCK} start 1 500.00\n", "b\n")]
    logs = log_of(lines, is_empty=lambda _: next(turns))
    assert read_all(logs, block_log("s", NONCE, 0), 1) == "a\nb\n"


def test_a_block_that_is_not_there_yet_is_waited_for():
    simulated = SimulatedLogs(lambda: 1e9)
    simulated.create_log_group(logGroupName="jobs")
    logs, name = JobLogs(simulated, "jobs"), block_log("jobs:s", NONCE, 1)
    assert logs.read(name, None, 10).cursor is None
    simulated.open("jobs", "s")
    simulated.write("jobs", "s", block(0, "zero\n"))
    page = logs.read(name, None, 10)
    assert page.text == ""
    assert page.cursor is not None
    assert logs.read(name, page.cursor, 10) == page
    simulated.write("jobs", "s", block(1, "one\n"))
    page = logs.read(name, page.cursor, 10)
    assert page.text == "one\n"
    simulated.write("jobs", "s", ["of nobody"])
    assert logs.read(name, page.cursor, 10) == ("", page.cursor)


def test_cursors_of_other_logs_are_refused():
    logs = log_of(LINES)
    for cursor in ("x", "f/s/1/2/0", "=nonsense"):
        with pytest.raises(UnknownCursor):
            logs.read(block_log("s", NONCE, 0), cursor, 10)


def test_a_log_is_named_with_its_group_its_nonce_and_the_task():
    assert parse_block_log(block_log("/lab/jobs:a/b#c", NONCE, 12)) == (
        "/lab/jobs:a/b#c",
        NONCE,
        12,
    )
    assert parse_block_log("/lab/jobs:a/b") is None


@pytest.mark.parametrize("more", [0, 15_000])
def test_the_last_words_suffice_and_without_them_all_is_read(more):
    noise = ["noise"] * more
    ended = [*LINES[:-2], *noise, f"{AGAIN} end 1 0 501.00 502.00", f"::hut:{NONCE}:over 1"]
    assert sorted(log_of(ended).bundle("s", NONCE).ends) == ([1] if more else [0, 1, 2, 3])
    killed = log_of([*LINES[:-2], *noise]).bundle("s", NONCE)
    assert sorted(killed.ends) == [0, 1, 2, 3]
    assert not killed.is_whole
    assert log_of([]).bundle("other", NONCE).ends == {}
