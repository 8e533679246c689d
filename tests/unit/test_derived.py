"""What is derived from an object lives as long as the object, and objects of one key are one."""
from __future__ import annotations

import copy
import gc
import weakref

import pytest

from reconciler.incremental.memo import Interned, Node, derived


class Text:
    def __init__(self, words: str) -> None:
        self.words = words


def test_it_is_worked_out_once_for_each_object_and_for_other_arguments_again() -> None:
    asked: list[tuple[str, str]] = []

    @derived
    def joined(text: Text, mark: str) -> str:
        asked.append((text.words, mark))
        return mark.join(text.words)

    one, other = Text("ab"), Text("ab")
    assert [joined(one, "-"), joined(one, "-"), joined(one, "+"), joined(other, "-")] == ["a-b", "a-b", "a+b", "a-b"]
    assert asked == [("ab", "-"), ("ab", "+"), ("ab", "-")]


def test_what_raises_is_asked_again() -> None:
    asked: list[str] = []

    @derived
    def number(text: Text) -> int:
        asked.append(text.words)
        return {"1": 1}[text.words]

    wrong = Text("x")
    for _ in range(2):
        with pytest.raises(KeyError):
            number(wrong)
    assert asked == ["x", "x"]


def test_a_copy_that_is_changed_before_it_is_asked_has_nothing_of_its_original() -> None:
    @derived
    def names(node: Node) -> list[str]:
        return sorted(node)

    schema = Node(a=Node(b=1))
    assert names(schema) == ["a"]
    changed = copy.deepcopy(schema)
    changed["c"] = 2
    assert names(changed) == ["a", "c"]
    assert (names({"z": 1}), names({"z": 1, "y": 2})) == (["z"], ["y", "z"])  # type: ignore[arg-type]


def test_nothing_outlives_its_object() -> None:
    made = Interned(Text)
    held = made("a")
    assert made("a") is held

    @derived
    def of(text: Text) -> Text:
        return Text(text.words * 2)

    result = weakref.ref(of(held))
    assert (len(made), result() is not None) == (1, True)
    del held
    gc.collect()
    assert (len(made), result()) == (0, None)
