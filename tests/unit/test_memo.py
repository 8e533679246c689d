"""What is memoised lives as long as its owner: the object that it was derived from, or the holder of the memo."""
from __future__ import annotations

import copy
import gc
import threading
import weakref
from types import ModuleType

import pytest

from reconciler.check import check
from reconciler.document import Document
from reconciler.incremental.memo import Interned, Memo, Node, Owned, derived, memoised, recent
from reconciler.service.implementation import ModuleImpl
from reconciler.service.model.codec import Env
from reconciler.service.registry import Services


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


CALLS: list[object] = []


@memoised
def doubled(number: int) -> int:
    CALLS.append(number)
    return 2 * number


@recent
def spread(number: int) -> list[int]:
    return [number] * 3


LISTS: Owned[list[int]] = Owned(list)


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def test_each_owner_computes_once_and_without_one_nothing_is_stored() -> None:
    one, other = Memo(), Memo()
    assert [one.run(doubled, 4), one.run(doubled, 4), other.run(doubled, 4)] == [8, 8, 8]
    assert CALLS == [4, 4]
    assert [doubled(4), doubled(4)] == [8, 8]
    assert CALLS == [4] * 4
    assert one.run(spread, 1) is one.run(spread, 1) is not other.run(spread, 1)


def test_what_is_owned_is_the_owners_and_without_one_is_new_each_time() -> None:
    one, other = Memo(), Memo()
    one.run(lambda: LISTS().append(1))
    assert one.run(LISTS) == [1]
    assert other.run(LISTS) == LISTS() == []
    one.run(lambda: LISTS.of("a").append(7))
    assert [one.run(LISTS.of, key) for key in ("a", "b")] == [[7], []]
    for number in range(2000):
        one.run(LISTS.of, str(number))
    assert one.run(LISTS.of, "a") == [], "the least recently used ones are evicted"


def test_an_owner_ends_with_its_work_also_by_an_exception_and_is_the_thread_s_own() -> None:
    one, other = Memo(), Memo()

    def fails() -> None:
        assert other.run(LISTS) is not one.run(LISTS)
        LISTS().append(1)
        thread = threading.Thread(target=lambda: CALLS.append(LISTS()))
        thread.start()
        thread.join()
        raise RuntimeError("over")

    with pytest.raises(RuntimeError, match="over"):
        one.run(fails)
    assert CALLS == [[]], "another thread has no owner"
    assert LISTS() == []
    assert one.run(LISTS) == [1]


def test_all_that_is_memoised_is_freed_with_its_owner() -> None:
    class Big:
        pass

    things: Owned[Big] = Owned(Big)
    memo = Memo()
    alive = weakref.ref(memo.run(things))
    gc.collect()
    assert alive() is not None
    del memo
    gc.collect()
    assert alive() is None


def test_what_checks_and_halves_remember_is_freed_with_the_services() -> None:
    services = Services()
    rules = [{"id": number, "src": f"10.0.{number >> 8}.{number & 255}"} for number in range(100)]
    cube = {"name": "fw", "service-name": "firewall", "chain": [{"name": "INGRESS", "rule": rules}]}
    head = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "t"}}
    document = Document("f", "", {**head, "spec": {"cubes": [cube]}}, 0)
    topologies, _ = check([document], services)
    assert check([document], services)[0][0] is topologies[0], "the last answer is remembered"
    found, half = weakref.ref(document), weakref.ref(services.get("firewall"))
    del topologies, document
    gc.collect()
    assert found() is not None
    del services
    gc.collect()
    assert found() is None
    assert half() is None


def test_what_a_half_finds_lazily_is_found_within_its_memo() -> None:
    module = ModuleType("half")
    seen = []

    def finds(config: object, env: object):
        seen.append(LISTS())
        yield ("x",), "wrong", "error"

    module.check = finds  # type: ignore[attr-defined]
    impl = ModuleImpl(module)
    for _ in range(2):
        assert list(impl.check({}, Env())) == [(("x",), "wrong", "error")]
    assert seen[0] is seen[1]
