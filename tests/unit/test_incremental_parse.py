"""An edited text is read as if it had been read whole, whatever was edited; and an edit of one entry leaves the others alone."""
from __future__ import annotations

import random

import pytest

from reconciler.document import Document
from reconciler.document.incremental_parse import reparse
from reconciler.document.load import parse
from reconciler.errors import DocumentError

CUBES = "".join(
    f"    - name: c{number}\n      service-name: hub  # said\n      note: |\n        - name: x\n\n        text\n"
    f"      ports:\n" + "".join(f"        - {{name: p{port}, peer: 'c{port}:p'}}\n" for port in range(9))
    for number in range(12)
)
TEXT = f"# a comment\nkind: Topology\nspec:\n    deep:\n    - - a\n      - b\n{''.join(f'      - {n}{chr(10)}' for n in range(9))}    cubes:\n{CUBES}    end: yes\n"


def read(text: str) -> Document:
    return parse(text, "f")[0]


def positions(document: Document) -> object:
    return {path: list(lines) for path, lines in document.lists.items()}


def agree(old: Document, text: str) -> Document | None:
    """Hold an edited document against the same text read whole."""
    found = reparse(old, text)
    try:
        whole = read(text)
    except DocumentError:
        assert found is None
        return None
    if found is not None:
        assert found.data == whole.data
        known, all_of_them = positions(found), positions(whole)
        assert known.items() <= all_of_them.items()  # type: ignore[attr-defined]
    return found


def test_an_edit_of_one_entry_shares_all_others_with_the_old_document() -> None:
    old = read(TEXT)
    new = agree(old, TEXT.replace("name: c5\n", "name: renamed\n"))
    assert new is not None
    cubes = new.data["spec"]["cubes"]
    assert cubes[5]["name"] == "renamed"
    assert all(ours is theirs for ours, theirs in zip(cubes[:5] + cubes[6:], old.data["spec"]["cubes"][:5] + old.data["spec"]["cubes"][6:], strict=True))
    assert new.position(("spec", "cubes", 5, "name")) == read(new.text).position(("spec", "cubes", 5, "name"))


def test_the_innermost_list_is_the_one_that_is_edited() -> None:
    old = read(TEXT)
    new = agree(old, TEXT.replace("p3, peer", "q, peer", 1))
    assert new is not None
    assert new.data["spec"]["cubes"][0]["ports"][4] is old.data["spec"]["cubes"][0]["ports"][4]


def test_entries_come_and_go() -> None:
    old = read(TEXT)
    lines = TEXT.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if "p3" in line)
    for text in ("".join(lines[:first] + lines[first + 1 :]), "".join([*lines[:first], lines[first].replace("p3", "new"), *lines[first:]])):
        new = agree(old, text)
        assert new is not None
        back = agree(new, TEXT)
        assert back is not None
        assert back.data == old.data


def test_entries_that_follow_one_another_are_changed_at_once_and_the_last_one_too() -> None:
    old = read(TEXT)
    lines = TEXT.splitlines(keepends=True)
    first, last = (max(number for number, line in enumerate(lines) if port in line) for port in ("p3", "p8"))  # of the last cube
    for text in ("".join(lines[:first] + lines[first + 3 :]), "".join([*lines[: last + 1], lines[last].replace("p8", "p9"), *lines[last + 1 :]])):
        new = agree(old, text)
        assert new is not None
        assert all(ours is theirs for ours, theirs in zip(new.data["spec"]["cubes"][:11], old.data["spec"]["cubes"][:11], strict=True))
        back = agree(new, TEXT)
        assert back is not None
        assert back.data == old.data


@pytest.mark.parametrize(("was", "now"), [
    ("name: c5\n", "name: &a c5\n"), ("name: c5\n", "name: *a\n"), ("name: c5\n", 'name: "c5\n'), ("name: c5\n", "name: [c5\n"),
    ("    - name: c5\n", "---\n    - name: c5\n"), ("    - name: c5\n", "   - name: c5\n"), ("    - name: c5\n", "      name: c5\n"),
    ("kind: Topology", "kind: Other"), ("    end: yes\n", ""), ("name: c5\n", "name: c5\r"),
])
def test_what_may_reach_beyond_its_entry_is_read_whole(was: str, now: str) -> None:
    assert agree(read(TEXT), TEXT.replace(was, now)) is None


def test_a_thousand_careless_edits_are_read_as_if_the_text_had_been_read_whole() -> None:
    chance = random.Random(7)
    pieces = ["\n", " ", "  ", "- ", "x", ":", ": ", "'", '"', "{", "}", "[", "]", ",", "|\n", "#", "&a ", "*a", "---\n", "...\n", "\t", "0", "null"]
    old, taken = read(TEXT), 0
    for _ in range(1000):
        at = chance.randrange(len(old.text))
        end = min(len(old.text), at + chance.choice([0, 0, 1, 2, 30, 200]))
        text = old.text[:at] + "".join(chance.choices(pieces, k=chance.choice([0, 1, 1, 2]))) + old.text[end:]
        new = agree(old, text)
        if new is not None:
            taken += 1
            old = new if chance.random() < 0.5 and len(new.text) > len(TEXT) // 2 else read(TEXT)
    assert taken > 100
