"""What people read: durations, columns, lines of progress, the tail of a log."""

import io
import sys
import time

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.store.port import StoreError
from hutctl.client import LogPart, Progress
from hutctl.display import text
from hutctl.display.lines import LineDisplay, change_text
from hutctl.display.summary import log_tail, summary

# Text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.00s"),
        (0, "0.00s"),
        (0.4249, "0.42s"),
        (9.5, "9.50s"),
        (12.34, "12.3s"),
        (60, "1m00s"),
        (200, "3m20s"),
        (3599.7, "1h00m"),
        (7500, "2h05m"),
        (86400, "1d00h"),
        (273600, "3d04h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds, shown):
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(9.996, "10.0s"), (59.97, "1m00s")])
def test_a_duration_is_rounded_before_its_unit_is_chosen(seconds, shown):
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (1234, "1,234 tasks")]
)
def test_a_count_has_its_noun(count, shown):
    assert text.plural(count, "task") == shown


def test_only_counts_that_are_not_zero_are_shown_in_colour():
    shown = text.counts_text({"pending": 0, "completed": 1234, "failed": 1})
    assert click.unstyle(shown) == "1,234 completed, 1 failed"
    assert click.style("1 failed", fg="red") in shown


def test_an_unknown_state_is_shown_without_colour():
    assert text.paint("odd") == click.style("odd", fg=None)


def times(started, ended):
    return {"started_at": started, "ended_at": ended}


def test_what_never_started_took_no_time():
    assert text.elapsed(times(None, None)) == ""
    assert text.age(None) == ""


def test_what_has_ended_took_a_fixed_time():
    began = "2026-01-01T00:00:00.000000Z"
    assert text.elapsed(times(began, "2026-01-01T00:03:20.000000Z")) == "3m20s"


def test_what_goes_on_is_measured_until_now():
    assert text.elapsed(times("2020-01-01T00:00:00.000000Z", None)).endswith("h")
    assert text.age("2020-01-01T00:00:00.000000Z").endswith("h ago")


@pytest.fixture
def far_east(monkeypatch):
    """Let the clock of this machine be eight hours before UTC's."""
    monkeypatch.setenv("TZ", "EAST-8")
    time.tzset()
    text._clock_of_second.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    text._clock_of_second.cache_clear()


def test_the_clock_is_the_readers(far_east):
    assert text.clock("2026-01-01T23:15:30.999999Z") == "07:15:30"


# Columns ------------------------------------------------------------------------------------------


def table(header, rows):
    return [click.unstyle(line) for line in text.columns(header, rows)]


def test_columns_are_as_wide_as_what_stands_in_them():
    assert table(("ID", "STATE", "NAME"), [("a", "completed", "x"), ("long-id", "failed", "y")]) == [
        "ID       STATE      NAME",
        "a        completed  x",
        "long-id  failed     y",
    ]  # fmt: skip


def test_styles_take_no_room():
    painted = list(text.columns(("A", "B"), [(text.paint("failed"), "x"), ("ok", "y")]))
    assert painted[1].startswith("\x1b[31m")
    assert [click.unstyle(line).index(last) for line, last in zip(painted, "Bxy", strict=True)] == [
        8,
        8,
        8,
    ]


def test_no_line_ends_in_blanks_and_none_is_needed():
    assert table(("A", "B"), []) == ["A  B"]
    assert table(("A", "B"), [("longer", "")]) == ["A       B", "longer"]


@given(st.lists(st.tuples(*[st.from_regex(r"[a-z]{0,9}", fullmatch=True)] * 3), max_size=8))
def test_every_cell_begins_where_its_title_does(rows):
    header, *lines = table(("FIRST", "SECOND", "LAST"), rows)
    second, last = header.index("SECOND"), header.index("LAST")
    for line, row in zip(lines, rows, strict=True):
        padded = line.ljust(last)
        assert [padded[:second].strip(), padded[second:last].strip(), padded[last:]] == list(row)


def test_without_a_terminal_nothing_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert table(("A", "B"), [("a", "x" * 500)])[1] == "a  " + "x" * 500


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_last_column_is_cut_to_fit(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    _, cut, whole = table(("A", "B"), [("a", "x" * 18), ("a", "x" * 17)])
    assert cut == "a  " + "x" * 16 + "…"
    assert whole == "a  " + "x" * 17


def test_a_styled_last_cell_is_cut_by_what_is_seen(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    red = click.style("x" * 17, fg="red")
    assert list(text.columns(("A", "B"), [("a", red)]))[1] == f"a  {red}"
    long = click.style("x" * 30, fg="red")
    assert table(("A", "B"), [("a", long)])[1] == "a  " + "x" * 16 + "…"


def test_a_terminal_that_is_far_too_narrow_cuts_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "10")
    assert table(("A", "B"), [("abcd", "x" * 30)])[1] == "abcd  " + "x" * 30


# Lines of progress --------------------------------------------------------------------------------


def change(state, *, attempt=1, reason=None, exit_code=None):
    return {
        "at": "2026-01-01T00:00:00.000000Z",
        "task": "a.b",
        "attempt": attempt,
        "state": state,
        "reason": reason,
        "exit_code": exit_code,
    }


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (change("running"), "running    a.b"),
        (change("running", attempt=2), "running    a.b (attempt 2)"),
        (change("completed", reason="exit", exit_code=0), "completed  a.b"),
        (change("completed", attempt=3, reason="exit", exit_code=0), "completed  a.b (attempt 3)"),
        (change("failed", reason="exit", exit_code=3), "failed     a.b (exit code 3)"),
        (change("failed", attempt=2, reason="timeout"), "failed     a.b (timeout)"),
        (change("failed", reason="launch_failed"), "failed     a.b (launch failed)"),
        (
            change("dep_failed", attempt=0, reason="dependency"),
            "dep_failed a.b (a dependency failed)",
        ),
        (
            change("pending", reason="exit", exit_code=75),
            "pending    a.b (again, after attempt 1: exit code 75)",
        ),
        (change("pending", reason="lost"), "pending    a.b (again, after attempt 1: lost)"),
        (change("pending", attempt=0), "pending    a.b"),
    ],
)
def test_a_change_is_a_line_with_what_is_special_about_it(what, line):
    clock, _, rest = change_text(what).partition(" ")
    assert clock == text.clock(what["at"])
    assert rest == line


def test_every_change_is_a_line_on_stderr(capsys):
    changes = [change("submitted"), change("running"), change("failed", reason="signal")]
    display = LineDisplay()
    display.show(Progress({}, changes, []))
    display.show(Progress({}, [], []))
    display.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [change_text(entry) for entry in changes]


# The end of a run ---------------------------------------------------------------------------------


class Logs:
    """Stands for a target: logs by kind, and the run's failed tasks."""

    def __init__(self, failed=(), **logs):
        self.failed = list(failed)
        self.logs = logs

    def read_log(self, *names, **place):
        content = self.logs.get(names[2])
        if content is None:
            raise StoreError("there is no log")
        return LogPart(1, content[place["offset"] :], True)

    def list_tasks(self, *_, states):
        return iter(self.failed if "failed" in states else ())


TASK = {"id": "t", "attempt": 1, "message": "exit code 3", "reason": "exit"}


def tail(err=b"", out=b"", count=5, task=TASK):
    return log_tail(Logs(err=err, out=out), "r1", task, count)


def test_the_tail_is_of_errors_and_else_of_output():
    assert tail(err=b"e1\ne2\n", out=b"o\n") == ("err", ["e1", "e2"])
    assert tail(err=b"\n \n", out=b"o\n") == ("out", ["o"])
    assert tail() == ("err", [])
    assert log_tail(Logs(out=b"o\n"), "r1", TASK, 5) == ("out", ["o"])
    assert log_tail(Logs(), "r1", TASK, 5) == ("err", [])


def test_the_tail_is_the_last_lines():
    content = "".join(f"line {number}\n" for number in range(100)).encode()
    assert tail(err=content, count=3) == ("err", ["line 97", "line 98", "line 99"])
    assert tail(err=content + b"\n\n", count=1) == ("err", ["line 99"])


def test_of_a_huge_log_only_the_end_is_read():
    content = b"x" * 100_000 + b"\nlast\n"
    _, lines = tail(err=content)
    assert lines[-1] == "last"
    assert len(lines[0]) < 20_000


def test_a_task_that_never_ran_has_no_tail():
    assert tail(err=b"of another life\n", task={**TASK, "attempt": 0}) == ("err", [])


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        (b"\x1b]0;title\x07x", "\ufffd]0;title\ufffdx"),
        (b"a\tb", "a\tb"),
        (b"a\x00b\x7fc\x08", "a\ufffdb\ufffdc\ufffd"),
        ("é ✓".encode(), "é ✓"),
        (b"caf\xe9", "caf\ufffd"),
        ("\u202eabc".encode(), "\ufffdabc"),
    ],
)
def test_control_characters_do_not_reach_the_terminal(written, shown):
    assert tail(err=written + b"\n") == ("err", [shown])


@given(st.binary(max_size=200))
def test_whatever_was_written_is_shown_as_lines_of_printable_text(written):
    _, lines = tail(err=written)
    assert len(lines) <= 5
    assert all(c.isprintable() or c == "\t" for line in lines for c in line)


def test_lines_of_windows_end_like_others():
    assert tail(err=b"one\r\ntwo\r\n") == ("err", ["one", "two"])


PROGRESS = b"loading\n" + b"".join(b"%d%%\r" % n for n in range(101)) + b"\nwrong: no data\n"


def test_of_a_progress_bar_the_last_state_is_shown():
    assert tail(err=PROGRESS) == ("err", ["loading", "100%", "wrong: no data"])


def test_of_an_overwritten_line_the_end_is_shown():
    assert tail(err=b"10%\r100%\r\n", count=1) == ("err", ["100%"])


def make_run(state, *, reason=None, message="", ended=True, **counts):
    states = ("pending", "submitted", "running", "completed", "failed", "dep_failed")
    return {
        "id": "r1",
        "workflow": "w",
        "state": state,
        "reason": reason,
        "message": message,
        "started_at": "2026-01-01T00:00:00.000000Z",
        "ended_at": "2026-01-01T00:00:12.000000Z" if ended else None,
        "counts": {name: counts.get(name, 0) for name in states},
    }


def told(client, run):
    return [click.unstyle(line) for line in summary(client, run)]


def test_a_completed_run_is_one_line():
    assert told(Logs(), make_run("completed", completed=3)) == [
        "w r1 completed after 12.0s: 3 completed"
    ]


def test_a_failed_run_tells_what_failed_its_last_words_and_what_to_type():
    client = Logs([{**TASK, "attempt": 2}], err=b"a\nb\n")
    lines = told(client, make_run("failed", failed=1, completed=2))
    assert lines[0] == "w r1 failed after 12.0s: 2 completed, 1 failed"
    assert "t: exit code 3 (attempt 2)" in lines
    assert lines[lines.index("    a") :][:3] == [
        "    a",
        "    b",
        "    more: hutctl logs r1 t --error",
    ]
    assert "hutctl why r1 TASK" in lines[-1]
    assert "hutctl retry r1" in lines[-1]


def test_the_tail_of_the_output_is_pointed_to_as_output():
    lines = told(Logs([TASK], out=b"o\n"), make_run("failed", failed=1))
    assert "    more: hutctl logs r1 t" in lines


def test_of_many_failures_ten_are_told_and_the_rest_is_counted():
    failed = [{**TASK, "id": f"t{number}"} for number in range(1234)]
    lines = told(Logs(failed), make_run("failed", failed=1234))
    assert [line for line in lines if line.startswith("t")] == [
        f"t{number}: exit code 3" for number in range(10)
    ]
    assert "... and 1,224 more: hutctl tasks r1 --state failed" in lines


def test_a_cancelled_run_says_how_to_go_on():
    lines = told(Logs([TASK]), make_run("cancelled", failed=2, completed=1))
    assert lines[1:] == ["Go on with what was not done: hutctl retry r1"]


def test_a_run_that_reached_its_time_limit_says_so():
    run = make_run("failed", reason="timeout", message="the run reached its time limit", failed=1)
    assert told(Logs(), run)[1] == "  the run reached its time limit"


def test_a_run_that_goes_on_tells_for_how_long():
    head = told(Logs(), make_run("running", ended=False, running=1))[0]
    assert head.startswith("w r1 running for ")
