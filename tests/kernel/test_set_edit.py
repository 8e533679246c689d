"""One entry among many of a firewall's set is work for that entry, and one row, wherever it stands. The work is counted, in calls
of functions, so that no clock is asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply
from tests.kernel.test_agent_edit import HEAD, Agent

FEW, MANY = 1000, 6000  # entries
_OF_AN_EDIT = 1000  # calls more, with so many entries more: lists are gone through in blocks, to see what they share
_OF_AN_ENTRY = 40  # calls of which a text that is read anew is worth each of its entries, applied ones included


def of_a_cube(addresses: list[str]) -> str:
    listed = "".join(f"      - {address}\n" for address in addresses)
    return f"{HEAD.format('t')}{FIREWALL}\n{listed}"


def shared(addresses: list[str]) -> str:
    listed = "".join(f"    - {address}\n" for address in addresses)
    lists = f"spec:\n  shared:\n  - name: office\n    entries:\n{listed}"
    return f"{HEAD.format('t').replace('spec:', lists[:-1])}{FIREWALL} {{shared: office}}\n"


FIREWALL = (
    "  - name: fw\n    service-name: firewall\n    chain:\n    - name: INGRESS\n      rule:\n"
    "      - {id: 10, src-set: refused, action: DROP}\n    set:\n    - name: refused\n      prefix:"
)
FORMS = pytest.mark.parametrize("text", [of_a_cube, shared])
Text = Callable[[list[str]], str]


def with_one_more(count: int, place: int) -> list[str]:
    found = [f"10.0.{number >> 8}.{number & 255}" for number in range(count)]
    found.insert(place, "10.99.0.1")
    return found


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, were called."""
    count = 0

    def called(_frame: object, event: str, _what: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    yield Agent(tmp_path)
    apply(parse(of_a_cube(["10.0.0.1"]), "f"), Options(), delete=True)


def edits(agent: Agent, text: Text, count: int, place: int) -> int:
    """Calls for the third edit that puts an entry in at that place, after as many that took it out: what a first one loads and
    learns is of no account."""
    addresses = with_one_more(count, place)
    without, more = text(addresses[:place] + addresses[place + 1 :]), text(addresses)
    agent.save(without)
    for said in (more, without, more, without):
        _until_calm(agent)
        agent.save(said)
    _until_calm(agent)
    calls = calls_of(lambda: agent.save(more))
    assert agent.healer.last["map_writes"] == 1
    return calls


def _until_calm(agent: Agent) -> None:
    while agent.healer._snapshots.unchanged is None or not agent.healer._snapshots.unchanged.is_unchanged():
        agent.healer.poll()


@FORMS
@pytest.mark.parametrize("where", ["in the middle", "at the end"])
def test_an_agent_works_for_the_entry_that_is_edited(agent: Agent, text: Text, where: str) -> None:
    few, many = (edits(agent, text, count, count // 2 if where == "in the middle" else count) for count in (FEW, MANY))
    assert many - few < _OF_AN_EDIT, (few, many)


@FORMS
def test_who_reads_a_text_anew_works_once_for_what_is_applied_and_wanted(agent: Agent, text: Text) -> None:
    """So does a command, which remembers nothing."""

    def applied(count: int) -> int:
        apply(parse(text(with_one_more(count, 0)[1:]), "f"), Options())
        return calls_of(lambda: apply(parse(text(with_one_more(count, count // 2)), "f"), Options()))

    few, many = applied(FEW), applied(MANY)
    assert many - few < _OF_AN_ENTRY * (MANY - FEW), (few, many, (many - few) / (MANY - FEW))
