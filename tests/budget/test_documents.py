"""A no-op decodes no stored document again, however many there are."""
from __future__ import annotations

import gc
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, drift
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.graph.documents import stored
from tests.budget.test_budget import FIGURES, must_be, settle

pytestmark = pytest.mark.kernel
COUNT = FIGURES["documents_decoded"]["topologies"]
FIGURE = FIGURES["documents_decoded"]


@contextmanager
def decoded() -> Iterator[Counter[str]]:
    """How many stored documents are decompressed to text, and read as JSON, within the block."""
    calls: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:

        def count(owner: Any, name: str, word: str) -> None:
            real = getattr(owner, name)

            def counting(data: Any, *args: Any, **named: Any) -> Any:
                made = real(data, *args, **named)
                text = made if isinstance(made, bytes) else data if isinstance(data, bytes) else data.encode()
                calls[word] += b'"kind":"Topology"' in text
                return made

            patch.setattr(owner, name, counting)

        count(zlib, "decompress", "decompressed")
        count(json, "loads", "read")
        yield calls


def forget(others: frozenset[str], but: int = 0) -> None:
    """As in a process that has just begun: of what was made of documents here only what options keep is left."""
    gc.collect()
    assert sum(each.text not in others for each in stored.alive()) == but


def topologies(odd: str = "FORWARD") -> list[Document]:
    """Of one helloworld each, of which the first has another action."""
    head = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: t{0}}}\nspec:\n  cubes:\n"
    cube = "  - {{name: c{0}, service-name: helloworld, action: {1}, ports: [{{name: a}}, {{name: b}}]}}\n"
    texts = ((head + cube).format(number, "FORWARD" if number else odd) for number in range(COUNT))
    return [document for number, text in enumerate(texts) for document in parse(text, f"f{number}")]


@pytest.fixture
def others() -> frozenset[str]:
    """The documents of tests before, which something in this process keeps alive."""
    gc.collect()
    return frozenset(each.text for each in stored.alive())


@pytest.fixture
def documents(others: frozenset[str]) -> Iterator[list[Document]]:
    made = topologies()
    apply(made, Options())
    settle()
    yield made
    apply(made, Options(), delete=True)


def test_by_an_agent(documents: list[Document]) -> None:
    """Which keeps its options, and what it read of its files."""
    options = Options()
    apply(documents, options)
    done = apply(documents, options)
    unchanged = UnchangedCheck(options, done)
    assert unchanged.is_unchanged()
    found = {}
    with decoded() as calls:
        assert unchanged.is_unchanged()
    found["a look"] = dict(+calls)
    with decoded() as calls:
        assert not apply(documents, options).plan.steps
    found["an apply"] = dict(+calls)
    with decoded() as calls:
        assert not drift(options)
    found["drift"] = dict(+calls)
    must_be("documents decoded by an agent where nothing changed", FIGURE["agent, nothing changed"], found)


def test_what_changed_is_decoded(documents: list[Document], others: frozenset[str]) -> None:
    """One document that somebody else applied: that one, and no other."""
    options = Options()
    assert not drift(options)
    apply(topologies("DROP"), Options())
    options.kept.topologies.clear()
    forget(others, but=COUNT)
    with decoded() as calls:
        assert not drift(options)
    must_be("documents decoded where one changed", FIGURE["one changed"], dict(+calls))


def test_by_a_command(documents: list[Document], others: frozenset[str]) -> None:
    """Which begins with nothing: it has to read what is stored, but what its files say as well it need not decode."""
    again = topologies()
    forget(others)
    with decoded() as calls:
        assert not apply(again, Options()).plan.steps
    must_be("documents decoded by a command that changes nothing", FIGURE["command, nothing changed"], dict(+calls))
