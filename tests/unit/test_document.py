"""A document says where each part of it stands."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.document import Document, _entries
from reconciler.document.load import parse
from reconciler.document.paths import display
from reconciler.errors import Position

TEXT = """\
# a comment
metadata: {name: two, "x y": 1.10}
spec:
    cubes:
    - name: br1
      ports: [{name: p1}, {name: 'p2', peer: 0x1F}]
    -   - deep
"""


@pytest.fixture
def document() -> Document:
    return parse(TEXT, "f")[0]


@pytest.mark.parametrize(("path", "key", "value"), [
    ((), (2, 1), (2, 1)),
    (("metadata",), (2, 1), (2, 11)),
    (("metadata", "name"), (2, 12), (2, 18)),
    (("metadata", "x y"), (2, 23), (2, 30)),
    (("spec", "cubes"), (4, 5), (5, 5)),
    (("spec", "cubes", 0), (5, 7), (5, 7)),
    (("spec", "cubes", 0, "ports", 1), (6, 27), (6, 27)),
    (("spec", "cubes", 0, "ports", 1, "peer"), (6, 40), (6, 46)),
    (("spec", "cubes", 1, 0), (7, 11), (7, 11)),
])
def test_a_path_has_the_position_of_its_key_and_of_its_value(document, path, key, value):
    assert document.position(path, key=True) == Position("f", *key)
    assert document.position(path) == Position("f", *value)


@pytest.mark.parametrize(("path", "position"), [
    (("spec", "cubes", 0, "service-name"), (5, 7)),
    (("spec", "cubes", 9), (5, 5)),
    (("nothing", "there"), (2, 1)),
    (("metadata", "name", "below"), (2, 18)),
    (("metadata", 3), (2, 11)),
])
def test_a_path_that_is_not_there_has_the_position_of_what_is_around_it(document, path, position):
    assert document.position(path) == Position("f", *position)
    assert document.position(path, key=True) == Position("f", *position)


@pytest.mark.parametrize(("path", "text"), [
    (("metadata", "x y"), "1.10"), (("spec", "cubes", 0, "ports", 1, "peer"), "0x1F"),
    (("spec", "cubes", 0, "ports", 1, "name"), "p2"), (("metadata",), None), (("spec", "none"), None),
])
def test_a_scalar_has_the_text_that_it_was_written_as(document, path, text):
    assert document.source_text(path) == text


def test_columns_count_characters_not_bytes():
    (document,) = parse("é: {name: 日本, b: 😀x, c: 1}", "f")
    assert document.position(("é", "c")).column == 25


def test_the_second_document_of_a_file_has_its_own_lines():
    _, second = parse("a: 1\n---\n\nb:\n  c: 2\n", "f")
    assert second.position(("b", "c")) == Position("f", 5, 6)


def test_what_an_alias_repeats_is_where_its_anchor_is():
    (document,) = parse("a: &x {b: 1}\nc: *x\n", "f")
    assert document.position(("c", "b")) == Position("f", 1, 11)


def test_a_document_made_of_others_says_where_each_part_came_from():
    (first,) = parse("a: 1\nb: 2", "one")
    (second,) = parse("x:\n- y", "two")
    made = Document("one", "", {"a": 1, "l": ["y"]}, places={(): (first, ()), ("l",): (second, ("x",))})
    assert made.position(("a",)) == Position("one", 1, 4)
    assert made.position(("l", 0)) == Position("two", 2, 3)
    assert made.source_text(("l", 0)) == "y"


@settings(deadline=None)
@given(st.recursive(st.integers() | st.text(st.characters(categories=["L", "N", "P"]), max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-_", min_size=1), inner, max_size=3)))
def test_at_the_position_of_a_scalar_stands_the_scalar(data):
    import json

    text = json.dumps({"a": data}, indent=1, ensure_ascii=False).replace("\x7f", "")
    (document,) = parse(text, "f")
    lines = text.split("\n")
    for path, value in scalars(document.data, ()):
        where = document.position(path)
        assert lines[where.line - 1][where.column - 1 :].startswith(json.dumps(value, ensure_ascii=False))


def scalars(data, path):
    if isinstance(data, dict | list):
        for step, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from scalars(value, (*path, step))
    else:
        yield path, data


def test_a_path_is_said_with_the_keys_of_its_list_entries():
    data = {"l": [{"name": "a", "r": [{"net": "10.0.0.0/8", "via": "x"}, {"via": "y"}, 5, {"net": 1}]}]}
    keys = {("l",): ("name",), ("l", 0, "r"): ("net", "via")}
    assert display(("l", 0, "r", 0, "net"), data, lambda path: keys.get(path, ())) == "/l/a/r/10.0.0.0/8,x/net"
    assert display(("l", 0, "r", 1), data, lambda path: keys.get(path, ())) == "/l/a/r/[1]"
    assert display(("l", 0, "r", 2), data, lambda path: keys.get(path, ())) == "/l/a/r/[2]"
    assert display(("l", 0, "r", 3), data, lambda path: keys.get(path, ())) == "/l/a/r/1"
    assert display(("l", 7, "x"), data) == "/l/[7]/x"


LISTS = """\
spec:
  cubes:
  - name: fw   # the rules of one
    chain:
    - name: INGRESS
      rule:
      - {id: 1, src: 10.0.0.1}
      - id: 2
        description: |
          - no entry
          at all
      # between two

      -   {id: 3,
        ports: [1, 2,
          3]}
      - - inner 1
        - inner 2
        - inner 3
        - inner 4
        - inner 5
        - inner 6
        - inner 7
        - - inner 8
        - inner 9
      - "id": 'four'
      - id: 5

      - {id: 6}
      - {id: 7}
      - id: 8
        anchored: &here {x: 1}
      - id: 9
        again: *here
      - {id: 10}
    - name: EGRESS
  - name: br
    numbers: [
      {n: 1}, {n: 2}, {n: 3},
      {n: 4}, {n: 5}, {n: 6}, {n: 7}, {n: 8},
      {n: 9}
    ]
"""


def paths(data: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(deeper for step, value in below for deeper in paths(value, (*path, step))), (*path, "not there")]


@pytest.mark.parametrize("text", [LISTS, LISTS.replace("\n", "\r\n"), LISTS.replace("# between two", "# between\u2028  # two")])
def test_what_stands_in_an_entry_of_a_long_list_is_found_by_that_entry_alone_and_at_the_same_place(text, monkeypatch):
    whole = parse(text, "f")[0]
    assert len(whole.lists) == 3
    apart = 0
    for path in paths(whole.data):
        alone = parse(text, "f")[0]
        with monkeypatch.context() as patch:
            patch.setattr("reconciler.document._FEW", 0)
            wanted = whole.position(path), whole.position(path, key=True), whole.source_text(path)
        assert (alone.position(path), alone.position(path, key=True), alone.source_text(path)) == wanted, path
        apart += "_root" not in alone.__dict__
    assert apart > 40


def test_who_asks_for_many_places_is_answered_from_the_tree_of_all():
    text = "rule:\n" + "".join(f"- {{id: {number}}}\n" for number in range(200))
    document = parse(text, "f")[0]
    assert [document.position(("rule", number, "id")).line for number in range(199)] == list(range(2, 201))
    assert "_root" in document.__dict__


@pytest.mark.parametrize("chunk", ["- {a: 1\n", "- !e!tag x\n", "# nothing\n", "a: 1\n"])
def test_lines_that_cannot_be_read_apart_have_no_entries(chunk):
    assert _entries(chunk) == []
