"""What is applied is checked where it differs from what is wanted, and an apply comes by each entry once with each kind of work."""
from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from reconciler.check import check
from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.graph.desired import document_text
from reconciler.incremental.entry_memo import EntryMemo
from reconciler.live.quarantine import readable
from reconciler.present.configs import _apart
from reconciler.service.registry import Services
from tests.unit.data.documents import topology

COUNT = 500
SERVICES = Services()


def routes(last: str) -> str:
    lines = [f"  - {{network: 10.{n >> 8}.{n & 255}.0/24, nexthop: 192.0.2.{n % 9 + 2}}}" for n in range(COUNT - 1)]
    lines.append(f"  - {{network: 10.99.0.0/16, nexthop: {last}}}")
    return topology("\n".join(["cubes:", "- name: r", "  service-name: router", "  ports: [{name: p, ip: 192.0.2.1/24}]", "  route:", *lines]))


def applied(text: str) -> Document:
    ((topology,), _) = check(parse(text, "f"), SERVICES)
    return Document("kernel", document_text(topology), json.loads(document_text(topology)))


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> Counter[EntryMemo[Any]]:
    """How many entries each kind of work looked at."""
    found: Counter[EntryMemo[Any]] = Counter()
    real = EntryMemo.each

    def each(memo: EntryMemo[Any], entries: Any, work: Any) -> Any:
        def counted(place: int, entry: Any) -> Any:
            found[memo] += len(entries) >= COUNT // 2
            return work(place, entry)

        return real(memo, entries, counted)

    monkeypatch.setattr(EntryMemo, "each", each)
    return found


def test_of_what_is_applied_only_what_is_not_wanted_any_more_is_checked(worked_on: Counter[EntryMemo[Any]]) -> None:
    before = applied(routes("192.0.2.2"))
    worked_on.clear()
    ((wanted,), _) = check(parse(routes("192.0.2.3"), "f"), SERVICES)
    assert worked_on, "the routes are checked"
    assert max(worked_on.values()) == COUNT, "each kind of work comes by each entry once"
    worked_on.clear()
    (then,), wrong = readable([before], SERVICES)
    assert not wrong
    assert max(worked_on.values()) <= 1
    assert document_text(then) == before.text
    assert then.cubes[0].config["route"][-1]["nexthop"] == "192.0.2.2"
    assert wanted.cubes[0].config["route"][-1]["nexthop"] == "192.0.2.3"


def test_a_peer_that_only_the_other_side_names_stays_with_what_is_applied() -> None:
    cubes = "cubes:\n- {name: a, service-name: helloworld, ports: [{name: p}]}\n- {name: b, service-name: helloworld, ports: [{name: q, peer: 'a:p'}]}\n"
    one = topology(cubes)
    before = applied(one)
    check(parse(one, "f"), SERVICES)
    (then,), wrong = readable([before], SERVICES)
    assert not wrong
    assert document_text(then) == before.text
    assert then.cubes[0].ports[0].peer == "b:q"


def test_a_plan_looks_at_the_entries_that_differ() -> None:
    old = {"route": [{"network": n} for n in range(9)], "more": {"list": [1, 2, 3]}, "gone": [1]}
    new = {"route": [*old["route"][:4], {"network": 99}, *old["route"][4:]], "more": {"list": [1, 4, 3]}, "new": [2]}  # type: ignore[index]
    ours, theirs = _apart({}, old, new)
    assert ours == {"route": [], "more": {"list": [2]}, "gone": [1]}
    assert theirs == {"route": [{"network": 99}], "more": {"list": [4]}, "new": [2]}


def test_a_plan_looks_into_the_entries_that_were_changed() -> None:
    chain = {"properties": {"chain": {"x-yang-key": ["name"], "items": {"properties": {"rule": {"x-yang-key": ["id"], "items": {}}}}}}}
    old, new = ({"chain": [{"name": "IN", "rule": [{"id": 1}, {"id": 2, "action": word}]}]} for word in ("DROP", "ACCEPT"))
    ours, theirs = _apart(chain, old, new)
    assert ours == {"chain": [{"name": "IN", "rule": [{"id": 2, "action": "DROP"}]}]}
    assert theirs == {"chain": [{"name": "IN", "rule": [{"id": 2, "action": "ACCEPT"}]}]}
