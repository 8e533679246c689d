"""What the kernel keeps of a document, and when two say the same."""
from __future__ import annotations

import json
import random
from typing import Any

from reconciler.graph.documents import document_data, documents_equal, stored, text_of


def document(rules: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    cubes = [{"name": "fw", "chain": [{"name": "INGRESS", "rule": rules}, {"name": "EGRESS", "rule": []}]}]
    return {"metadata": {"name": "t"}, "spec": {"cubes": cubes, **spec}}


def rules(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "description": f'"é{number}\\', "log": bool(number % 2)} for number in range(count)]


def test_a_document_is_written_as_json_writes_it_also_after_edits():
    some = rules(100)
    for _ in range(3):
        data = document(some, flags=[1.5, None, "x"] * 20)
        text = text_of(data)
        assert text == json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        assert document_data(text) == json.loads(text)
        some = [*some[:50], {"id": 1000 + len(some)}, *some[50:]]


def said(data: dict[str, Any]) -> str:
    return json.dumps(data)


def test_the_order_of_objects_says_nothing_and_all_else_does():
    some, rng = rules(60), random.Random(1)
    shuffled = rng.sample(some, len(some))
    assert documents_equal(said(document(some, namespaces=["a", "b"])), said(document(shuffled, namespaces=["b", "a"])))
    assert not documents_equal(said(document(some)), said(document(shuffled[:-1])))
    assert not documents_equal(said(document(some)), said(document([*shuffled[:-1], shuffled[0]])))
    assert not documents_equal(said(document([{"id": 1}])), said(document([{"id": 2}])))
    assert not documents_equal(said(document([], tcubes=["a", "b"])), said(document([], tcubes=["b", "a"])))
    named = [{"name": name, "at": at} for at, name in enumerate("xxyz")]
    assert documents_equal(said(document(named)), said(document([named[1], named[0], *named[2:]]))), "a name that two have"
    assert not documents_equal(said(document(named)), said(document([*named[:2], {"name": "y", "at": 7}, {"name": "z", "at": 8}])))
    swapped = document(some)
    swapped["spec"]["cubes"][0]["chain"].reverse()
    assert documents_equal(said(document(some)), said(swapped))


def test_true_and_one_are_different():
    """To Python they are equal."""
    for one, other in ((True, 1), (False, 0), (1, 1.0)):
        for more in ([], rules(40)):
            before, after = (said(document([*more, {"id": -1, "at": [{"log": each}]}])) for each in (one, other))
            assert not documents_equal(before, after)
            assert not stored(after).says_the_same_as(stored(before))
        assert not documents_equal(said(document([], flags=[one])), said(document([], flags=[other])))


def test_a_long_document_is_made_of_the_objects_of_one_of_its_name_that_is_alive():
    """What follows from them is remembered by them."""
    some = rules(3000)
    before, other = stored(said(document(some))), stored(said({"metadata": {"name": "u"}, "spec": {"cubes": [{"rule": some}]}}))
    assert before.data["spec"]["cubes"][0]["name"] == "fw"
    assert other.data["spec"]["cubes"][0]["rule"] == some
    after = stored(said(document([*some[:1500], {"id": -1}, *some[1500:]])))
    assert after.data == json.loads(after.text)
    ours, theirs = (each.data["spec"]["cubes"][0]["chain"][0]["rule"] for each in (before, after))
    assert all(one is another for one, another in zip(ours, theirs[:1500] + theirs[1501:], strict=True))
    assert not any(one is another for one, another in zip(ours, other.data["spec"]["cubes"][0]["rule"], strict=True))
