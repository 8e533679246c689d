"""YAML as YAML 1.2 reads it, what of it is refused, and what hostile text cannot do."""
from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.document.construct import MAX_REPEATED, construct
from reconciler.document.syntax import MAX_DEPTH
from reconciler.errors import DocumentError, Position


def read(text):
    (data,) = construct(text, "f")
    return data


def refused(text):
    """(line, column, path, message, hint, places of related) of each problem."""
    with pytest.raises(DocumentError) as caught:
        construct(text, "f")
    return [(problem.where.line, problem.where.column, problem.path, problem.message, problem.hint,
             [(place.line, place.column) for place, _ in problem.related]) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [
    "ON", "off", "yes", "No", "y", "22:22", "52:54:00:12:34:56", "0123", "-012", "1_000", "2001-01-01", "10.0.0.1", "0b1", "0x",
    "0o8", "1.1.1", "tRUE", "nULL", ".inf", ".nan", "1e", "e1", "+", ".", "-.", "0x-1", "1" * 101,
])
def test_only_what_yaml_1_2_calls_a_number_or_a_word_is_one(text):
    assert read(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(("text", "value"), [
    ("12", 12), ("-5", -5), ("+5", 5), ("0", 0), ("0x1F", 31), ("0o17", 15), ("18446744073709551615", 2**64 - 1),
    ("1.10", 1.1), ("1e3", 1000.0), (".5", 0.5), ("-1.", -1.0), ("1.5E-3", 0.0015),
    ("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("Null", None), ("", None),
])
def test_numbers_and_words_of_yaml_1_2_are_read(text, value):
    found = read(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ['"12"', "'12'", "!!str 12", "! 12", "|-\n  12", ">-\n  12"])
def test_quoted_and_tagged_text_is_text(text):
    assert read(f"a: {text}") == {"a": "12"}


def test_keys_are_text_whatever_they_look_like():
    assert read("1: a\ntrue: b\nnull: c\n0x1: d\n~: e") == {"1": "a", "true": "b", "null": "c", "0x1": "d", "~": "e"}


def test_json_is_read_with_its_escapes_and_tabs():
    assert read('{\n\t"a":\t["b\\/c", "\\u00e9", 1, true, null]\n}') == {"a": ["b/c", "é", 1, True, None]}


def test_an_alias_is_what_its_anchor_is():
    assert read("a: &x {b: [1]}\nc: *x\nd: [*x, &y 5, *y]") == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, 5, 5]}


TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]) | st.just("\n"))


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXT,
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20))
def test_json_that_another_library_writes_is_read_back(data):
    assert read(json.dumps({"a": data}, ensure_ascii=False, indent=1)) == {"a": data}


FAULTS = [
    ("a duplicate key", "a: 1\nb: 2\na: 3", (3, 1, "/a", 'duplicate key "a"', "", [(1, 1)])),
    ("a duplicate key in a list", "cubes:\n- {name: br1, x: {y: 1, z: 2, y: 3}}",
     (2, 31, "/cubes/br1/x/y", 'duplicate key "y"', "", [(2, 19)])),
    ("a duplicate key in quotes", 'a: 1\n"a": 2', (2, 1, "/a", 'duplicate key "a"', "", [(1, 1)])),
    ("a merge key", "a: &x {b: 1}\nc:\n  <<: *x", (3, 3, "/c/<<", "merge keys (<<) are not part of YAML 1.2",
                                                 "write the keys out, or use an alias as a whole value", [])),
    ("an alias of nothing", "a: [1, *x]", (1, 8, "/a/[1]", "the alias *x has no anchor &x before it", "", [])),
    ("an alias of what it is in", "a: &x [*x]", (1, 8, "/a/[0]", "the alias *x has no anchor &x before it", "", [])),
    ("a list as a key", "a:\n  [1, 2]: x", (2, 3, "/a", "a key must be plain text, not a list, a mapping or an alias", "", [])),
    ("a tag", "a: !!python/object:os.system x", (1, 4, "/a", "the tag !!python/object:os.system is not accepted",
                                                 "leave it out; quotes make text of a value", [])),
    ("a tag on a list", "a: !foo [1]", (1, 4, "/a", "the tag !foo is not accepted", "leave it out", [])),
    ("a tab", "a:\n\tb: 1", (2, 1, "", "not YAML: a tab cannot indent YAML", "use spaces", [])),
    ("a reserved character", "a: @b", (1, 4, "", "not YAML: a plain value cannot start with '@'", "put it in quotes", [])),
    ("two colons", "a: b: c", (1, 5, "", "not YAML: a second ':' in one value, or a wrong indentation",
                               "a value that contains ': ' needs quotes", [])),
    ("an open list", "a: [1, 2\nb: 3", (2, 2, "", "not YAML: did not find expected ',' or ']'", "", [(1, 4)])),
    ("an open quote", 'a: "b\nc: 3', (2, 5, "", "not YAML: the file ends inside quotes", "", [(1, 4)])),
    ("a wrong indentation", "a:\n  b: 1\n c: 2", (3, 2, "", "not YAML: expected a key, or the end of the mapping",
                                                 "is the indentation right?", [(1, 1)])),
    ("a control character", "é: \x07", (1, 4, "", "the character U+0007 is not allowed in YAML",
                                         r'in quotes, write it as an escape: "\x..", "\u...."', [])),
    ("text after the end", "a: 1\n...\nb", (3, 1, "", "not YAML: expected the end of the document",
                                            "is the indentation right?", [])),
    ("half a surrogate pair", 'a: "\\ud83d\\ude00"', (1, 7, "", "not YAML: this escape is not a character",
                               r"write a character outside of the BMP as it is, or as \UXXXXXXXX", [(1, 4)])),
]


@pytest.mark.parametrize(("text", "problem"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_what_is_not_accepted_is_shown_where_it_is(text, problem):
    assert refused(text) == [problem]


def test_all_faults_before_the_one_that_stops_the_reader_are_told():
    assert [problem[:2] for problem in refused("a: 1\na: 2\nb: !x y\nc: *z\nd: [")] == [(2, 1), (3, 4), (4, 4), (5, 5)]


def test_faults_of_several_documents_are_told():
    assert [problem[:3] for problem in refused("a: 1\na: 2\n---\nn: {name: x, l: [{name: y, k: 1, k: 2}]}")] == [
        (2, 1, "/a"), (4, 34, "/n/l/y/k")]


def test_an_anchor_does_not_reach_into_the_next_document():
    assert [problem[:2] for problem in refused("a: &x 1\n---\nb: *x")] == [(3, 4)]


def test_a_yaml_bomb_is_refused_at_once():
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30))
    start = time.monotonic()
    ((line, _, _, message, _, _),) = refused(bomb)
    assert time.monotonic() - start < 1
    assert (line, message) == (7, f"aliases repeat more than {MAX_REPEATED:,} values")


def test_aliases_cannot_nest_deeper_than_text_can():
    chain = "a0: &a0 []\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))
    assert [problem[3] for problem in refused(chain)] == [f"more than {MAX_DEPTH} levels of lists and mappings"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000])
def test_deep_text_is_refused_before_it_costs_anything(text):
    start = time.monotonic()
    assert refused(text)[-1][3] == f"more than {MAX_DEPTH} levels of lists and mappings"
    assert time.monotonic() - start < 2


def test_memory_stays_bounded_with_a_file_of_very_many_values(monkeypatch):
    monkeypatch.setattr("reconciler.document.construct.MAX_VALUES", 20_000)
    text = "[" + "a," * 1_000_000 + "]"
    tracemalloc.start()
    try:
        assert len(refused(text)) == 1
        assert tracemalloc.get_traced_memory()[1] < 20 * len(text)
    finally:
        tracemalloc.stop()


def test_a_whole_depth_that_is_allowed_is_read():
    data = read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        (data,) = data
    assert data == []


def test_a_problem_names_its_file():
    with pytest.raises(DocumentError) as caught:
        construct("a: [", "some/file.yaml")
    assert caught.value.problems[0].where == Position("some/file.yaml", 1, 5)
