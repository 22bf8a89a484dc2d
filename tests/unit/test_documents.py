"""JSON and YAML become plain data: what is ambiguous is refused, with its line."""

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hut.model.documents import (
    MalformedDocument,
    WrittenFloat,
    decode_text,
    dotted,
    format_of,
    read_document,
)


def from_json(text):
    return read_document(text, format="json")


def from_yaml(text):
    return read_document(text, format="yaml")


def yaml_value(text):
    """Return what a plain YAML value becomes."""
    return from_yaml(f"key: {text}").data["key"]


@pytest.fixture(params=["libyaml", "pure Python"])
def parser(request, monkeypatch):
    """Read YAML with each of the two parsers an installation may have."""
    if request.param == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader")
    return request.param


# Any data ----------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=25,
)


@given(DATA, st.booleans(), st.sampled_from([None, 2]))
def test_any_data_written_as_json_is_read_back(data, ascii_only, indent):
    document = from_json(json.dumps(data, ensure_ascii=ascii_only, indent=indent))
    assert document.data == data
    assert document.problems == ()


@given(DATA, st.sampled_from([None, 2]))
def test_json_is_yaml_except_for_characters_yaml_does_not_allow(data, indent):
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    # Within quotes YAML folds line separators that JSON keeps, and forbids control characters.
    if set(text) & {"\x85", "\u2028", "\u2029", "\ufeff"}:
        return
    try:
        document = from_yaml(text)
    except MalformedDocument as refusal:
        assert "can't stand here" in str(refusal)  # noqa: PT017 - either outcome is right
    else:
        assert document.data == data


@given(DATA, st.booleans())
def test_types_survive_as_well_as_values(data, ascii_only):
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [shape(entry) for entry in value]
        return float if isinstance(value, float) else type(value)

    read = from_json(json.dumps(data, ensure_ascii=ascii_only)).data
    assert shape(read) == shape(data)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('{}[],:"\\ \n0e-#&*!')))
def test_any_text_is_read_or_refused_as_malformed(text):
    for wanted in ("json", "yaml"):
        try:
            read_document(text, format=wanted)
        except MalformedDocument as refusal:
            assert refusal.message  # noqa: PT017 - either outcome is right


# JSON --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ('{"a": 1,\n}', 1, "trailing comma"),
        ("[1,\n 2,\n]", 2, "trailing comma"),
        ("[1, ]", 1, "trailing comma"),
        ("// a file\n[]", 1, "comments are not JSON"),
        ("[\n1, // one\n2]", 2, "comments are not JSON"),
        ("[1\n/* one */, 2]", 2, "comments are not JSON"),
        ("[] // done", 1, "comments are not JSON"),
        ("# a file\n[]", 1, "comments are not JSON"),
        ("[\n'a']", 2, "double quotes"),
        ("{'a': 1}", 1, "double quotes"),
        ("{a: 1}", 1, "double quotes"),
        ("[True]", 1, "write true"),
        ("[\n\nFalse]", 3, "write false"),
        ("[None]", 1, "write null"),
        ('{"a"\n1}', 2, "colon"),
        ("[1\n2]", 2, "comma"),
        ("[1]\n\n[2]", 3, "more text follows"),
        ('["a\nb"]', None, "line break"),
        ('["a\tb"]', 1, "tab"),
        (r'["C:\dir"]', 1, "backslash"),
        ('[1,\n"abc', 2, "no closing quote"),
        ("[1,\n2", 2, "not closed"),
        ('{"a": {"b": 1}', 1, "not closed"),
        ("[01]", 1, "comma"),
        ("[.5]", 1, "expected a value"),
        ("[+1]", 1, "expected a value"),
        ("nothing", 1, "expected a value"),
        ("[1]\0", 1, "more text follows"),
    ],
)
def test_what_is_not_json_is_refused_with_its_line_and_a_hint(text, line, hint):
    with pytest.raises(MalformedDocument) as refusal:
        from_json(text)
    assert hint in refusal.value.message
    assert "not valid JSON" in refusal.value.message
    if line is not None:
        assert refusal.value.line == line
        assert str(refusal.value).startswith(f"line {line}: ")


def test_the_column_of_a_fault_counts_from_one():
    with pytest.raises(MalformedDocument) as refusal:
        from_json('{\n  "a": nothing}')
    assert (refusal.value.line, refusal.value.column) == (2, 8)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_numbers_json_does_not_know_are_refused_where_they_stand(literal):
    with pytest.raises(MalformedDocument) as refusal:
        from_json(f'["{literal}",\n {literal}]')
    assert literal in refusal.value.message
    assert refusal.value.line == 2


def test_numbers_beyond_all_floats_are_refused_where_they_stand():
    with pytest.raises(MalformedDocument, match="1e999") as refusal:
        from_json("[1,\n1e999]")
    assert refusal.value.line == 2


def test_numbers_of_thousands_of_digits_are_refused_where_they_stand():
    with pytest.raises(MalformedDocument, match="digits") as refusal:
        from_json("[1,\n\n" + "9" * 5000 + "]")
    assert refusal.value.line == 3


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_beyond_all_sense_is_refused(opening):
    with pytest.raises(MalformedDocument, match="too deep"):
        from_json(opening * 100_000)


@pytest.mark.parametrize(
    ("text", "field", "line", "first"),
    [
        ('{"a": 1,\n "a": 2}', "a", 2, 1),
        ('{"a": 1, "b": 0,\n\n "a": 1}', "a", 3, 1),
        ('{"a": 1,\n "\\u0061": 2}', "a", 2, 1),
        ('{\n"a": [{"b": 1}, {"c": 1,\n"c": 2}]}', "a[1].c", 3, 2),
        ('[\n[],\n{"x": {\n"y": 1,\n"y": 1}}]', "[1].x.y", 5, 4),
    ],
)
def test_a_key_that_stands_twice_is_a_problem_with_both_lines(text, field, line, first):
    (problem,) = from_json(text).problems
    assert (problem.field, problem.line) == (field, line)
    assert f"line {first}" in problem.message


def test_every_key_that_stands_twice_is_reported():
    problems = from_json('{"a": 1, "a": 2, "a": 3, "b": {"c": 1, "c": 1}}').problems
    assert [problem.field for problem in problems] == ["a", "a", "b.c"]


def test_the_same_key_in_two_objects_is_no_problem():
    assert from_json('[{"id": 1}, {"id": 2, "a": {"id": 3}}]').problems == ()


@pytest.mark.parametrize(
    "escape",
    [r"\ud800", r"\uDFFF", r"a\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\ude00\ud83d", r"\\\ud800"],
)
def test_half_a_character_is_refused(escape):
    with pytest.raises(MalformedDocument, match="half a character") as refusal:
        from_json(f'[\n"{escape}"]')
    assert refusal.value.line == 2


@pytest.mark.parametrize(
    ("escape", "text"),
    [(r"\ud83d\ude00", "\U0001f600"), (r"\\ud800", r"\ud800"), (r"\uD7FF\uE000", "\ud7ff\ue000")],
)
def test_whole_characters_may_be_written_as_escapes(escape, text):
    assert from_json(f'["{escape}"]').data == [text]


@pytest.mark.parametrize("wanted", ["json", "yaml"])
def test_a_lone_surrogate_in_the_text_is_refused_with_its_place(wanted):
    with pytest.raises(MalformedDocument, match="Unicode") as refusal:
        read_document('["a",\n"\ud800"]', format=wanted)
    assert (refusal.value.line, refusal.value.column) == (2, 2)


# Both --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["json", "yaml"])
@pytest.mark.parametrize("text", ["", " \n\t", "\ufeff", "\ufeff\n"])
def test_an_empty_document_is_refused(text, wanted):
    with pytest.raises(MalformedDocument, match="empty"):
        read_document(text, format=wanted)


@pytest.mark.parametrize("wanted", ["json", "yaml"])
def test_a_byte_order_mark_is_dropped(wanted):
    assert read_document('\ufeff{"a": [1]}', format=wanted).data == {"a": [1]}


@pytest.mark.parametrize("wanted", ["json", "yaml"])
def test_windows_line_ends_are_line_ends(wanted):
    document = read_document('{"a": 1,\r\n"b": 2,\r\n"a": 3}', format=wanted)
    assert [(p.field, p.line) for p in document.problems] == [("a", 3)]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("flow.json", "json"),
        ("flow.yaml", "yaml"),
        ("flow.yml", "yaml"),
        ("FLOW.YML", "yaml"),
        ("flow", "json"),
        ("-", "json"),
        ("flow.yaml.json", "json"),
    ],
)
def test_the_ending_of_a_file_name_tells_its_format(name, wanted):
    assert format_of(name) == wanted


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("a", "b"), "a.b"),
        (("backends", 1, "aws", "region"), "backends[1].aws.region"),
        ((0, 2, "a"), "[0][2].a"),
    ],
)
def test_a_path_is_shown_dotted(path, text):
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("content", "line", "hint"),
    [
        (b"[]\n\xe9", 2, "0xe9"),
        (b"\xff\xfe[\0]\0", None, "UTF-16"),
        (b"\xfe\xff\0[\0]", None, "UTF-16"),
        (b'["\xed\xa0\x80"]', 1, "0xed"),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_the_line(content, line, hint):
    with pytest.raises(MalformedDocument, match=hint) as refusal:
        decode_text(content)
    assert refusal.value.line == line
    assert "UTF-8" in refusal.value.message


def test_a_file_in_utf8_is_decoded_with_or_without_a_byte_order_mark():
    assert decode_text("é".encode()) == "é"
    assert from_json(decode_text('["é"]'.encode("utf-8-sig"))).data == ["é"]


# Lines -------------------------------------------------------------------------------------------

TASKS_JSON = """{
  "name": "demo",
  "tasks": [
    {"id": "a",
     "command": "true"},
    {"id": "b", "deps": [
      "a",
      "x"
    ]}
  ]
}"""
TASKS_YAML = """name: demo

tasks:
  - id: a
    command: "true"
  - id: b
    deps:
      - a
      - x
"""


@pytest.mark.parametrize(
    ("path", "in_json", "in_yaml"),
    [
        ((), 1, 1),
        (("name",), 2, 1),
        (("tasks",), 3, 3),
        (("tasks", 0), 4, 4),
        (("tasks", 0, "command"), 5, 5),
        (("tasks", 1), 6, 6),
        (("tasks", 1, "deps"), 6, 7),
        (("tasks", 1, "deps", 0), 7, 8),
        (("tasks", 1, "deps", 1), 8, 9),
        (("tasks", 1, "command"), 6, 6),
        (("tasks", 9, "id"), 3, 3),
        (("nothing", "here"), 1, 1),
    ],
)
def test_an_entry_has_its_line_and_a_missing_one_that_of_its_parent(path, in_json, in_yaml):
    assert read_document(TASKS_JSON, format="json", with_lines=True).line_of(path) == in_json
    assert from_yaml(TASKS_YAML).line_of(path) == in_yaml


def test_json_has_lines_only_on_request():
    assert from_json(TASKS_JSON).line_of(("tasks", 0)) is None
    assert from_json('{"a": 1, "a": 1}').lines == {}


def every_path(data, path=()):
    yield path
    if isinstance(data, (dict, list)):
        for key, entry in data.items() if isinstance(data, dict) else enumerate(data):
            yield from every_path(entry, (*path, key))


NESTED = st.recursive(
    st.integers() | st.text('[]{},:"\\\n', max_size=6),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(st.text('ab[]{},:"\\\n', max_size=4), inner, min_size=1, max_size=4)
    ),
    max_leaves=20,
).filter(lambda data: isinstance(data, (dict, list)))


@given(NESTED)
def test_indented_json_has_the_lines_a_reader_counts(data):
    text = json.dumps(data, indent=1)
    document = read_document(text, format="json", with_lines=True)
    expected, line = {}, 0

    def count(value, path):
        nonlocal line
        expected[path] = line + 1
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            line += 1
            if isinstance(entry, (dict, list)):
                count(entry, (*path, key))
            else:
                expected[*path, key] = line + 1
        line += 1

    count(data, ())
    assert document.lines == expected


@given(NESTED, st.data())
def test_lines_asked_for_by_path_are_those_of_all_lines(data, pick):
    text = json.dumps(data, indent=1)
    wanted = pick.draw(st.lists(st.sampled_from(list(every_path(data))), min_size=1, max_size=3))
    everything = read_document(text, format="json", with_lines=True)
    some = read_document(text, format="json", with_lines=wanted)
    assert [some.line_of(path) for path in wanted] == [everything.line_of(path) for path in wanted]


# YAML --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("Null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("12", 12),
        ("-7", -7),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("+1.5E-2", 0.015),
        # What YAML 1.1 turns into something else, and what nobody reads the same way, is text.
        *((text, text) for text in ("yes", "no", "on", "off", "y", "N", "tRUE")),
        *((text, text) for text in ("012", "0o14", "0x1F", "0b1", "1_000", "+5", "-0")),
        *((text, text) for text in (".inf", "-.INF", ".nan", "1e999", "1.2.3")),
        *((text, text) for text in ("1:30:00", "2024-01-31", "2024-01-31 10:00:00")),
        ('"12"', "12"),
        ("'true'", "true"),
        ('""', ""),
        ("|\n  12", "12"),
        (">\n  true", "true"),
    ],
)
@pytest.mark.usefixtures("parser")
def test_plain_yaml_values_follow_yaml_1_2_and_what_surprises_stays_text(written, value):
    read = yaml_value(written)
    assert read == value
    assert type(read) is type(value) or isinstance(read, WrittenFloat)


@pytest.mark.parametrize("written", ["1.10", "3.0", "1e3", "0.50", "10.20"])
def test_a_number_remembers_the_form_it_was_written_in(written):
    in_yaml, in_json = yaml_value(written), from_json(f"[{written}]").data[0]
    assert str(in_yaml) == str(in_json) == written
    assert in_yaml == in_json == float(written)


@pytest.mark.parametrize("key", ["1", "1.10", "true", "null", "~", "yes", "0x1F"])
@pytest.mark.usefixtures("parser")
def test_yaml_keys_are_the_text_that_was_written(key):
    assert from_yaml(f"{key}: x").data == {key: "x"}


@pytest.mark.usefixtures("parser")
def test_a_yaml_key_that_stands_twice_is_a_problem_with_both_lines():
    (problem,) = from_yaml("a: 1\nb:\n  c: 1\n  d: 2\n  'c': 3\n").problems
    assert (problem.field, problem.line) == ("b.c", 5)
    assert "line 3" in problem.message


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("a: &x text\nb: [*x, *x]", {"a": "text", "b": ["text", "text"]}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("a: &d {x: 1, y: 2}\nb: {<<: *d, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("a: &d {x: 1, y: 2}\nb: {y: 3, <<: *d}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("- &a {x: 1}\n- &b {x: 2, y: 2}\n- <<: [*a, *b]", [{"x": 1}, {"x": 2, "y": 2}, None]),
        ("<<: {x: 1}\ny: 2", {"x": 1, "y": 2}),
        ('"<<": {x: 1}', {"<<": {"x": 1}}),
    ],
)
@pytest.mark.usefixtures("parser")
def test_aliases_repeat_and_merge_keys_fill_in_what_is_not_written(text, data):
    document = from_yaml(text)
    if isinstance(data, list):
        data = [*data[:-1], {"x": 1, "y": 2}]
    assert document.data == data
    assert document.problems == ()


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a: 1\nb: *x", 2, "*x"),
        ("a: &x\n  - *x", 2, "its own anchor"),
        ("a: &x y\n*x : 1", 2, "alias can't be a key"),
        ("a: 1\n<<: 5", 2, "mapping"),
        ("a: &l [1]\nb:\n  <<: *l", 3, "mapping"),
        ("? [1, 2]\n: x", 1, "key must be plain text"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("a: 1\n...\n---\nb: 2\n---\nc: 3", 3, "second document"),
        ("a: !env HOME", 1, "!env"),
        ("a:\n  !!python/object/apply:os.getcwd []", 2, "python/object"),
        ("a: !!int 5", 1, "!!int"),
        ("a: !!binary aGk=", 1, "!!binary"),
        ("!!set {a, b}", 1, "!!set"),
        ("a:\n\t- 1", 2, "tab"),
        ("a: [1]]\nb: 2", 1, "not valid YAML"),
        ("a: @x", 1, "not valid YAML"),
        ("a: 1\nb: \x01", 2, "escape"),
        ("a: 1\n  b: 2", 2, "not valid YAML"),
        ("%YAML 2.0\n---\na: 1", 1, "not valid YAML"),
    ],
)
@pytest.mark.usefixtures("parser")
def test_yaml_that_is_wrong_or_ambiguous_is_refused_with_its_line(text, line, hint):
    with pytest.raises(MalformedDocument) as refusal:
        from_yaml(text)
    assert hint in refusal.value.message
    assert refusal.value.line == line


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: !!str 5", {"a": "5"}),
        ("a: ! 5", {"a": "5"}),
        ("a: !!map {b: !!seq [1]}", {"a": {"b": [1]}}),
        ("--- {a: 1}\n...\n", {"a": 1}),
        ("%YAML 1.2\n---\na: 1", {"a": 1}),
        ("# tasks\na: 1 # one", {"a": 1}),
    ],
)
@pytest.mark.usefixtures("parser")
def test_tags_that_change_nothing_and_markers_are_allowed(text, data):
    assert from_yaml(text).data == data


@pytest.mark.usefixtures("parser")
def test_a_yaml_document_of_comments_is_empty():
    with pytest.raises(MalformedDocument, match="empty"):
        from_yaml("# nothing\n# here")


@pytest.mark.parametrize("text", ["[" * 5000, "[" * 300 + "]" * 300, "{a: " * 300, "- " * 5000])
@pytest.mark.usefixtures("parser")
def test_yaml_nested_beyond_all_sense_is_refused(text):
    with pytest.raises(MalformedDocument, match="too deep"):
        from_yaml(text)


def test_yaml_may_be_nested_as_deep_as_anybody_writes():
    data = from_yaml("[" * 150 + "]" * 150).data
    depth = 0
    while data:
        (data,) = data
        depth += 1
    assert depth == 149


def laughs(levels, width):
    entries = ["ha", *(f"*l{level}" for level in range(levels - 1))]
    return "\n".join(
        f"l{level}: &l{level} [" + ", ".join([entry] * width) + "]"
        for level, entry in enumerate(entries)
    )


def test_aliases_of_aliases_cannot_make_a_document_huge():
    with pytest.raises(MalformedDocument, match="the aliases add more than") as refusal:
        from_yaml(laughs(9, 10))
    assert refusal.value.line == 6  # 10 to the 6th entries are the most


def test_merged_mappings_cannot_make_a_document_huge():
    lines = ["- &m0 {" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}"]
    lines += ["- {<<: *m0}"] * 1500
    with pytest.raises(MalformedDocument, match="the aliases add more than"):
        from_yaml("\n".join(lines))


def test_some_aliases_of_aliases_are_fine():
    data = from_yaml(laughs(3, 10)).data
    assert data["l2"] == [[["ha"] * 10] * 10] * 10


def test_an_open_bracket_in_yaml_is_reported_on_a_line_the_text_has():
    with pytest.raises(MalformedDocument) as refusal:
        from_yaml("a: [1,\nb: 2")
    assert refusal.value.line in (1, 2)


@pytest.mark.parametrize("escape", [r"\ud800", r"\uDFFF", r"\ud83d\ude00"])
@pytest.mark.parametrize("loader", ["libyaml", "pure Python"])
def test_half_a_character_is_refused_in_yaml(escape, loader, monkeypatch):
    if loader == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader")
    with pytest.raises(MalformedDocument):
        from_yaml(f'a: "{escape}"')


@pytest.mark.parametrize("escape", [r"\U00110000", r"\Uffffffff"])
@pytest.mark.parametrize("loader", ["libyaml", "pure Python"])
def test_escapes_beyond_unicode_are_refused_in_yaml(escape, loader, monkeypatch):
    if loader == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader")
    with pytest.raises(MalformedDocument):
        from_yaml(f'a: "{escape}"')


# PyYAML writes YAML 1.1's other line separators in a way that it does not read back itself.
SAFE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | SAFE_TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(SAFE_TEXT, inner),
        max_leaves=15,
    ),
    st.booleans(),
)
def test_what_a_yaml_writer_writes_is_read_back(data, flow):
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    assert from_yaml(text).data == data


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-5, max_value=1e15))
def test_numbers_in_yaml_are_exact(number):
    assert yaml_value(repr(number)) == number
    assert math.copysign(1, yaml_value(repr(-number))) == -1
