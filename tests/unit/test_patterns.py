"""Wildcards in dependencies match like file name patterns, and crossing dots."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.planning.patterns import IdIndex, is_pattern

# Few characters, so that ids and patterns meet; all kinds an id may have.
ID = st.text("ab0.-_A", min_size=1, max_size=8)
IDS = st.lists(ID, unique=True, max_size=40)
PATTERN = st.text("ab0.-_A*?[]!^", min_size=1, max_size=10).filter(is_pattern)


def by_rule(ids, pattern):
    return [place for place, task_id in enumerate(ids) if fnmatchcase(task_id, pattern)]


@given(IDS, PATTERN)
def test_a_match_is_what_fnmatch_says_in_document_order(ids, pattern):
    assert IdIndex(ids).match(pattern) == by_rule(ids, pattern)


@given(IDS.filter(bool), st.data())
def test_a_pattern_made_from_an_id_matches_like_fnmatch(ids, data):
    task_id = data.draw(st.sampled_from(ids))
    start = data.draw(st.integers(0, len(task_id)))
    end = data.draw(st.integers(start, len(task_id)))
    inner = data.draw(st.sampled_from(["*", "?" * (end - start) + "*", "*[ab0.-]*", "**"]))
    pattern = task_id[:start] + inner + task_id[end:]
    found = IdIndex(ids).match(pattern)
    assert found == by_rule(ids, pattern)
    if "[" not in inner:
        assert ids.index(task_id) in found


MANY = [f"{step}.{number}.{part}" for number in range(30) for step in "ab" for part in ("x", "yx")]


@given(
    st.permutations(MANY),
    st.lists(
        st.sampled_from(
            ["a", "b", ".", "1", "2", "x", "yx", "*", "*", "?", "[ab]", "[!a]", "[1-2"]
        ),
        min_size=1,
        max_size=6,
    )
    .map("".join)
    .filter(is_pattern),
)
def test_among_many_ids_a_match_is_what_fnmatch_says(ids, pattern):
    assert IdIndex(ids).match(pattern) == by_rule(ids, pattern)


@given(st.lists(PATTERN, max_size=5), IDS)
def test_an_index_answers_any_number_of_patterns(patterns, ids):
    index = IdIndex(ids)
    once = [index.match(pattern) for pattern in patterns]
    assert [index.match(pattern) for pattern in patterns] == once
    assert once == [by_rule(ids, pattern) for pattern in patterns]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", ["map.1", "map.2", "map.10", "Map.1", "reduce", "map"]),
        ("map.*", ["map.1", "map.2", "map.10"]),
        ("map*", ["map.1", "map.2", "map.10", "map"]),
        ("map.?", ["map.1", "map.2"]),
        ("map.[12]", ["map.1", "map.2"]),
        ("map.[!1]", ["map.2"]),
        ("map.[0-1]*", ["map.1", "map.10"]),
        ("*1", ["map.1", "Map.1"]),
        ("*.1*", ["map.1", "map.10", "Map.1"]),
        ("m*e", []),
        ("r*e", ["reduce"]),
        ("?ap", ["map"]),
        ("[Mm]ap.1", ["map.1", "Map.1"]),
        ("map.[]1]", ["map.1"]),
        ("map.[1", []),
        ("MAP.*", []),
    ],
)
def test_wildcards_are_case_sensitive_and_cross_dots(pattern, matches):
    ids = ["map.1", "map.2", "map.10", "Map.1", "reduce", "map"]
    assert [ids[place] for place in IdIndex(ids).match(pattern)] == matches


@pytest.mark.parametrize(
    "pattern", ["*.x", "a.*.yx", "*.17.*", "a.1*x", "*7.yx", "[ab].3?.x", "*[*.]x", "*[?y]x"]
)
def test_a_long_list_of_ids_is_searched_from_either_end(pattern):
    ids = [f"{step}.{number}.{part}" for number in range(200) for step in "ab" for part in "xy"]
    ids += [task_id + "x" for task_id in ids]
    assert IdIndex(ids).match(pattern) == by_rule(ids, pattern)
    assert IdIndex(ids[::-1]).match(pattern) == by_rule(ids[::-1], pattern)


@pytest.mark.parametrize(
    ("dependency", "expected"),
    [("a", False), ("a.b-c_1", False), ("a*", True), ("?", True), ("a[1]", True), ("a[", True)],
)
def test_a_star_a_question_mark_or_a_bracket_makes_a_pattern(dependency, expected):
    assert is_pattern(dependency) is expected


def test_no_ids_match_nothing():
    assert IdIndex([]).match("*") == []
