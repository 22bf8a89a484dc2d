"""Durations, memory and generic resources, in every form a workflow file may use."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.model.quantities import (
    Gres,
    format_seconds,
    format_span,
    parse_duration,
    parse_gres,
    parse_memory,
)

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 366 * 86400


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1:00:00", HOUR),
        ("0:00:01", 1),
        ("02:03:04", 2 * HOUR + 3 * MINUTE + 4),
        ("100:00:00", 100 * HOUR),
        ("90:00", 90 * MINUTE),
        ("0:30", 30),
        ("1-12", 36 * HOUR),
        ("0-1", HOUR),
        ("2-06:00:00", 54 * HOUR),
        ("2-6:30", 54 * HOUR + 30 * MINUTE),
        ("1-00:00:05", DAY + 5),
        ("90s", 90),
        ("15m", 15 * MINUTE),
        ("2h", 2 * HOUR),
        ("1d", DAY),
        ("1.5h", 90 * MINUTE),
        ("0.5s", 0.5),
        ("15 m", 15 * MINUTE),
        ("  2h ", 2 * HOUR),
        ("45", 45 * MINUTE),
        ("1.5", 90),
        (45, 45 * MINUTE),
        (0.5, 30),
        ("366d", YEAR),
    ],
)
def test_a_time_limit_has_the_forms_of_the_seed(written, seconds):
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(30, 30), ("30", 30), (0.25, 0.25), (0, 0), ("0", 0), ("0s", 0), ("2m", 120), ("1:00", 60)],
)
def test_a_bare_delay_counts_seconds_and_may_be_zero(written, seconds):
    assert parse_duration(written, bare="seconds") == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "soon",
        "1h30m",
        "1d12h",
        "2H",
        "5 minutes",
        "15  m",
        "-5",
        "-5m",
        -5,
        "1:2:3:4",
        "1::2",
        "12:",
        ":30",
        "1-",
        "-1",
        "1 - 2",
        "1-2-3",
        "1.5:00",
        "1e3",
        "1,5h",
        "\uff11\uff15m",
        "\u0663m",
        "9" * 31 + ":00",
        True,
        None,
        [],
        {},
        math.nan,
        math.inf,
        "inf",
        "nan",
    ],
)
def test_any_other_duration_is_refused_with_the_forms_that_are_right(written):
    with pytest.raises(ValueError, match="is not a duration") as refusal:
        parse_duration(written)
    for form in ("1:30:00", "D-H", "90s", "15m", "2h", "1d", "minutes"):
        assert form in str(refusal.value)


def test_the_refusal_quotes_what_was_written_but_not_all_of_a_long_text():
    with pytest.raises(ValueError, match="'soonish'"):
        parse_duration("soonish")
    with pytest.raises(ValueError, match="xxx") as refusal:
        parse_duration("x" * 10_000)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("written", [0, "0", "0s", "0:00", "0:00:00", "0-0", 0.0])
def test_a_time_limit_of_zero_is_refused(written):
    with pytest.raises(ValueError, match="no time at all"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["367d", 366 * 24 * 60 + 1, "9" * 20, "9999-0", 1e15])
def test_more_than_a_year_is_refused(written):
    with pytest.raises(ValueError, match="longer than a year"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["1" * 400, "9" * 5000, 1e308, "9" * 400 + "d"])
def test_a_number_beyond_all_floats_is_refused(written):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


def test_a_whole_number_beyond_all_floats_is_refused_as_a_duration():
    with pytest.raises(ValueError, match="duration"):
        parse_duration(10**400)


def test_a_whole_number_beyond_all_floats_is_refused_as_memory():
    with pytest.raises(ValueError, match="memory"):
        parse_memory(10**400)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5s"),
        (1, "1s"),
        (90.0, "90s"),
        (119, "119s"),
        (120, "0:02:00"),
        (5400.0, "1:30:00"),
        (DAY - 1, "23:59:59"),
        (DAY, "1-0:00:00"),
        (2 * DAY + 6 * HOUR + 5, "2-6:00:05"),
    ],
)
def test_seconds_are_shown_in_a_form_of_the_workflow_file(seconds, text):
    assert format_seconds(seconds) == text


@given(st.integers(1, YEAR))
def test_whole_seconds_survive_being_shown_and_read(seconds):
    assert parse_duration(format_seconds(seconds)) == seconds


@given(st.integers(1, 999_999).map(lambda millis: millis / 1000))
def test_small_fractions_of_seconds_survive_being_shown_and_read(seconds):
    assert parse_duration(format_seconds(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["1234567.5s", "0.00001s", "100000.5s"])
def test_every_fraction_of_seconds_survives_being_shown_and_read(written):
    seconds = parse_duration(written)
    assert parse_duration(format_seconds(seconds)) == seconds


@given(st.integers(0, 365), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_clock_forms_agree_with_each_other(days, hours, minutes, seconds):
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    forms = [
        f"{days}-{hours:02}:{minutes:02}:{seconds:02}",
        f"{days * 24 + hours}:{minutes}:{seconds}",
        f"{(days * 24 + hours) * 60 + minutes}:{seconds:02}",
        f"{total}s",
    ]
    assert [parse_duration(form, bare="seconds") for form in forms] == [total] * 4


@given(
    st.text(max_size=12)
    | st.text("0123456789:-.smhd ", max_size=12)
    | st.floats()
    | st.integers(-(10**300), 10**300)
    | st.booleans()
    | st.none()
)
def test_a_duration_is_refused_by_value_error_or_lies_within_a_year(written):
    try:
        seconds = parse_duration(written)
    except ValueError:
        return
    assert 0 < seconds <= YEAR


@pytest.mark.parametrize(
    ("written", "mebibytes"),
    [
        ("4G", 4096),
        ("4GB", 4096),
        ("4Gi", 4096),
        ("4GiB", 4096),
        ("4g", 4096),
        ("4gb", 4096),
        ("16 GB", 16384),
        (" 16GB ", 16384),
        ("512M", 512),
        ("512MB", 512),
        ("512 MiB", 512),
        ("1.5G", 1536),
        ("0.5T", 512 * 1024),
        ("2T", 2 * 1024 * 1024),
        ("2048K", 2),
        ("1K", 1),
        ("1025K", 2),
        ("1.1M", 2),
        ("2048", 2048),
        (2048, 2048),
        (0.5, 1),
        (1536.0, 1536),
        ("1024T", 1024**3),
    ],
)
def test_memory_has_the_forms_of_the_seed_and_is_rounded_up_to_mebibytes(written, mebibytes):
    result = parse_memory(written)
    assert result == mebibytes
    assert isinstance(result, int)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "lots",
        "4X",
        "4P",
        "4B",
        "4i",
        "4iB",
        "4  GB",
        "G4",
        "G",
        "4G4",
        "1e3",
        "1,5G",
        "-4G",
        -1,
        "\uff14G",
        "4GBB",
        True,
        None,
        [4],
        {},
        math.nan,
        math.inf,
        "9" * 400,
    ],
)
def test_any_other_amount_of_memory_is_refused_with_the_forms_that_are_right(written):
    with pytest.raises(ValueError, match="is not an amount of memory") as refusal:
        parse_memory(written)
    for form in ("4G", "4Gi", "512M", "1.5G", "2T", "MiB"):
        assert form in str(refusal.value)


@pytest.mark.parametrize("written", [0, "0", "0G", 0.0, "1025T", "99999999G", 1e12])
def test_no_memory_and_more_than_a_pebibyte_are_refused(written):
    with pytest.raises(ValueError, match="out of range"):
        parse_memory(written)


@given(st.integers(1, 1024), st.sampled_from(["M", "G", "T"]))
def test_the_names_of_a_memory_unit_mean_the_same(count, unit):
    forms = [unit, unit + "B", unit + "i", unit + "iB", unit.lower(), " " + unit]
    factor = {"M": 1, "G": 1024, "T": 1024**2}[unit]
    assert {parse_memory(f"{count}{form}") for form in forms} == {count * factor}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("gpu", [Gres("gpu")]),
        ("gpu:2", [Gres("gpu", 2)]),
        ("gpu:a100", [Gres("gpu", 1, "a100")]),
        ("gpu:a100:4", [Gres("gpu", 4, "a100")]),
        ("gpu:2,fpga:1", [Gres("gpu", 2), Gres("fpga", 1)]),
        ("gpu:2, fpga", [Gres("gpu", 2), Gres("fpga", 1)]),
        ("gpu:a100:1,gpu:v100:2", [Gres("gpu", 1, "a100"), Gres("gpu", 2, "v100")]),
        ("gpu:rtx_6000-ada:2", [Gres("gpu", 2, "rtx_6000-ada")]),
        ("gpu:02", [Gres("gpu", 2)]),
    ],
)
def test_generic_resources_have_the_forms_of_the_seed(written, expected):
    assert list(parse_gres(written)) == expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        ",",
        "gpu,",
        ",gpu",
        "gpu:",
        "gpu:0",
        "gpu:-1",
        "gpu:1.5",
        "gpu:a100:",
        "gpu:a100:0",
        "gpu:a100:x",
        "gpu:1:2",
        "gpu:a:b:1",
        "2",
        "2:gpu",
        "gpu 2",
        "gpu:\u00b2",
        "gpu:\u0662",
        "gpu:1000000",
        "gp\u00fc",
        "$(id)",
        4,
        True,
        None,
        ["gpu"],
        {"gpu": 1},
    ],
)
def test_any_other_generic_resource_is_refused_with_the_forms_that_are_right(written):
    with pytest.raises(ValueError, match="is not a generic resource") as refusal:
        parse_gres(written)
    assert "gpu:a100:4" in str(refusal.value)


@pytest.mark.parametrize("written", ["gpu,gpu", "gpu:1,gpu:2", "gpu:a100,fpga,gpu:a100:2"])
def test_a_generic_resource_stands_once_in_a_list(written):
    with pytest.raises(ValueError, match="names gpu twice"):
        parse_gres(written)


NAMES = st.from_regex(r"[a-z][a-z0-9_.+-]{0,8}", fullmatch=True)


@given(
    st.lists(
        st.builds(Gres, NAMES, st.integers(1, 999_999), st.none() | NAMES),
        min_size=1,
        unique_by=lambda gres: (gres.name, gres.model),
    )
)
def test_generic_resources_survive_being_shown_and_read(resources):
    assert list(parse_gres(",".join(map(str, resources)))) == resources


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-1, "0.0s"), (0.44, "0.4s"), (12.2, "12s"), (59.4, "59s"), (60, "1m"), (200, "3m 20s"),
        (600, "10m"), (3600, "1h"), (7500, "2h 5m"), (90_000, "25h"), (172_800, "2d"),
        (273_600, "3d 4h"),
    ],
)  # fmt: skip
def test_a_span_is_written_for_people(seconds, written):
    assert format_span(seconds) == written
