"""Marker lines: what a log tells, however it was cut, mixed and repeated on its way."""

import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hut.backends.markers import (
    Damaged,
    Markers,
    NoFile,
    cksum,
    nonce_of,
    without_markers,
)
from hut.model.workflow import TaskSpec
from tests.batch.plain_batch import run_of

NONCE = "0123456789abcdef"


def told(*lines, nonce=NONCE):
    markers = Markers(nonce)
    for line in lines:
        markers.feed(line)
    return markers


def mark(text, nonce=NONCE):
    return f"::hut:{nonce}:{text}"


COPY = [
    mark("begin base64"),
    mark("data 1 aGVs"),
    mark("data 2 bG8K"),
    mark("end 2 cksum=3015617425,6"),
]


def test_a_copy_is_put_together():
    assert told(*COPY).content() == b"hello\n"


def test_order_repetition_and_lines_in_between_do_not_matter():
    lines = [COPY[2], "noise", "", COPY[3], COPY[1], COPY[1], "::hut:", COPY[0]]
    assert told(*lines).content() == b"hello\n"


@pytest.mark.parametrize("missing", range(len(COPY)))
def test_a_copy_that_is_not_all_there_is_none_yet(missing):
    assert told(*COPY[:missing], *COPY[missing + 1 :]).content() is None


def test_a_line_that_follows_output_without_an_end_is_found():
    assert told(*(f"100 %{line}" for line in COPY)).content() == b"hello\n"


def test_markers_of_another_attempt_mean_nothing():
    assert told(*COPY, mark("timeout x"), nonce="f" * 16) == Markers("f" * 16)


@pytest.mark.parametrize(
    ("piece", "end"),
    [("aGVsbG8K", "cksum=3015617425,7"), ("aGVs", "cksum=3015617425,6"), ("?", "-"), ("é", "-")],
)
def test_a_copy_that_was_changed_is_noticed(piece, end):
    markers = told(COPY[0], mark(f"data 1 {piece}"), mark(f"end 1 {end}"))
    with pytest.raises(Damaged):
        markers.content()


def test_the_text_form_keeps_blanks_and_empty_lines():
    lines = ["begin text", "data 1 . a |", "data 2 .|", "data 3 +b|", "data 4 +c|", "end 4 -"]
    assert told(*map(mark, lines)).content() == b" a \n\nbc"
    with pytest.raises(Damaged):
        told(*map(mark, [*lines[:3], "data 3 b|", *lines[4:]])).content()


def test_replaced_bytes_are_noticed_even_without_a_checksum():
    with pytest.raises(Damaged):
        told(*map(mark, ["begin text", "data 1 .\ufffd|", "end 1 -"])).content()


def test_a_missing_file_is_told():
    with pytest.raises(NoFile, match=r"^No such file or directory$"):
        told(mark("no-file No such file or directory")).content()


def test_the_launchers_words_are_told():
    markers = told(mark("timeout stopped at its time limit of 5s"), mark("not-started no folder"))
    assert (markers.timed_out, markers.not_started) == (True, "no folder")
    assert told("hut: timeout").timed_out is False


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a ::hut: b", "a ::hut: b"),
        (mark("something else"), mark("something else")),
        (mark("data 1 aGVs"), None),
        (mark("begin od"), None),
        (mark("end 0 -"), None),
        ("50 %" + mark("begin od"), "50 %"),
        (mark("timeout stopped at its time limit of 5s"), "hut: stopped at its time limit of 5s"),
        ("x" + mark("not-started no folder"), "xhut: no folder"),
    ],
)
def test_people_see_words_and_no_data(line, shown):
    assert without_markers(line) == shown


def test_the_nonce_is_the_same_for_the_same_attempt_only():
    run, spec = run_of(), TaskSpec("t", "true")
    nonces = {
        nonce_of(run, spec, 1),
        nonce_of(run, spec._replace(command="false"), 1),
        nonce_of(run, spec, 2),
        nonce_of(run, spec._replace(id="u"), 1),
        nonce_of(run_of(workflow="other"), spec, 1),
        nonce_of(run_of(), spec, 11),
    }
    assert len(nonces) == 4
    assert all(len(nonce) == 16 for nonce in nonces)


@pytest.mark.skipif(shutil.which("cksum") is None, reason="there is no cksum here")
@pytest.mark.parametrize("size", [0, 1, 3, 255, 256, 70_000])
def test_the_checksum_is_that_of_cksum(size):
    content = bytes(index * 7 % 256 for index in range(size))
    answer = subprocess.run(["cksum"], input=content, capture_output=True, check=True)
    assert answer.stdout.split()[:2] == [b"%d" % cksum(content), b"%d" % size]


@given(st.text())
@example(mark("end 99999999999 -"))
@example(mark("begin base65"))
@example(mark("data x y"))
def test_no_line_breaks_the_reader(line):
    markers = told(line)
    assert markers.content() is None
    without_markers(line)


LINES = st.one_of(
    st.sampled_from(COPY),
    st.sampled_from(COPY).map(lambda line: line.replace(NONCE, "f" * 16)),
    st.tuples(st.sampled_from(COPY), st.integers(0, 40)).map(lambda pair: pair[0][: pair[1]]),
    st.tuples(st.sampled_from(COPY), st.sampled_from(COPY)).map("".join),
    st.tuples(st.sampled_from(COPY), st.text(max_size=9)).map("".join),
    st.sampled_from(
        [
            mark("data 3 " + "QUFB" * 4000),
            mark("data " + "9" * 5000 + " x"),
            mark("data 999999999 QUFB"),
            mark("end 999999999 -"),
            mark("end " + "9" * 5000 + " -"),
            mark("end 0 -"),
            mark("begin od"),
            mark("begin text"),
            mark("no-file "),
            mark("no-file why"),
            mark("timeout \x1b[2J"),
            mark("not-started \ufffd"),
            mark("end 2 cksum=1,6"),
            mark("end 2 sha256=00"),
        ]
    ),
    st.text(max_size=30),
)


@given(st.lists(LINES, max_size=12))
@example(
    [mark("begin base64"), mark("data " + "9" * 5000 + " x"), mark("end " + "9" * 5000 + " -")]
)
@example([mark("begin base64"), mark("end 999999999 -")])
def test_any_lines_are_a_file_none_yet_or_a_reason(lines):
    markers = told(*lines)
    try:
        content = markers.content()
    except (NoFile, Damaged):
        return
    assert content is None or isinstance(content, bytes)
    for line in lines:
        shown = without_markers(line)
        assert shown is None or len(shown) <= len(line)


def test_what_a_task_prints_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("hut.backends.markers._MOST_CHARACTERS", 100)
    assert told(mark("begin base64"), mark("data 1 " + "A" * 100), mark("end 1 -")).content()
    markers = told(*COPY, *(mark(f"data {n} AAAA") for n in range(3, 100)))
    assert len(markers._pieces) < 30
    with pytest.raises(Damaged, match="more than a copy"):
        markers.content()
