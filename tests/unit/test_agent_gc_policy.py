"""The collector of cycles looks at what is new, once all is quiet; and in the end at all of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from reconciler.agent.gc_policy import GcPolicy


class Knot:
    """Two of these that know each other go only if a collector comes by."""

    def __init__(self) -> None:
        self.other: Knot | None = None


def knot() -> weakref.ref[Knot]:
    one, two = Knot(), Knot()
    one.other, two.other = two, one
    return weakref.ref(one)


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


def test_what_stays_is_set_aside_once_it_is_quiet() -> None:
    tidier, seen = GcPolicy(), knot()
    tidier.quiet()
    assert seen() is None, "what is new is collected first"
    aside = gc.get_freeze_count()
    assert aside > 1000
    kept = [[] for _ in range(1000)]
    tidier.quiet()
    assert gc.get_freeze_count() == aside, "nothing was done since"
    tidier.busy()
    tidier.quiet()
    assert gc.get_freeze_count() > aside
    assert len(kept) == 1000


def test_a_cycle_among_what_was_set_aside_goes_too_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.agent.gc_policy._MOST", 3)
    one, two = Knot(), Knot()
    one.other, two.other = two, one
    seen, tidier = weakref.ref(one), GcPolicy()
    tidier.quiet()
    del one, two
    for _ in range(2):
        assert seen() is not None
        tidier.busy()
        tidier.quiet()
    assert seen() is None
