"""A ring of bridges is warned of where it closes, and all joins of it are named."""
from __future__ import annotations

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.service.registry import Services
from tests.unit.data.documents import PROBLEM, RELATED, marks, topology

RINGS = {
    "two links": """
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: ‹b:p}, {name: q, peer: «b:q}]}
        - {name: b, service-name: simplebridge, ports: [{name: p, peer: a:p}, {name: q, peer: a:q}]}
        """,
    "two links, each named at another side": """
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: ‹b:p}, {name: q}]}
        - {name: b, service-name: simplebridge, ports: [{name: p}, {name: q, peer: «a:q}]}
        """,
    "a link and a veth": """
        links: [{name: «va, kind: veth, peer: {name: vb}}]
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: ‹b:p}, {name: q, peer: va}]}
        - {name: b, service-name: simplebridge, ports: [{name: p}, {name: q, peer: vb}]}
        """,
    "both ends of a veth at one bridge": """
        links: [{name: «va, kind: veth, peer: {name: vb}}]
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: va}, {name: q, peer: vb}]}
        """,
    "three in a ring, one of them under a watch": """
        links: [{name: «v1, kind: veth, peer: {name: v2}}]
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: ‹b:p}, {name: q, peer: v1}]}
        - {name: b, service-name: simplebridge, ports: [{name: p}, {name: q, peer: ‹c:q, tcubes: [w]}]}
        - {name: c, service-name: simplebridge, ports: [{name: q}, {name: r, peer: v2}]}
        - {name: w, service-name: transparenthelloworld}
        """,
}
TREES = {
    "a tree": """
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: b:p}, {name: q, peer: c:p}, {name: r, peer: veth1}]}
        - {name: b, service-name: simplebridge, ports: [{name: p}]}
        - {name: c, service-name: simplebridge, ports: [{name: p, peer: a:q}]}
        """,
    "a ring of routers": """
        cubes:
        - {name: a, service-name: router, ports: [{name: p, peer: b:p}, {name: q, peer: b:q}]}
        - {name: b, service-name: router, ports: [{name: p}, {name: q}]}
        """,
    "a ring with a router in it": """
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: r:p}, {name: q, peer: r:q}]}
        - {name: r, service-name: router, ports: [{name: p}, {name: q}]}
        """,
    "a veth whose other end is in a namespace": """
        namespaces: [h]
        links: [{name: va, kind: veth, peer: {name: vb, netns: h}}]
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: va}, {name: q, peer: vb}]}
        """,
}


def warnings_of(*texts: str):
    plain = [text.replace(PROBLEM, "").replace(RELATED, "") for text in texts]
    return check([document for number, text in enumerate(plain) for document in parse(text, f"f{number}.yaml")], Services())[1]


@pytest.mark.parametrize("spec", RINGS.values(), ids=RINGS)
def test_a_ring_is_a_warning_at_the_join_that_closes_it_with_the_others_beside_it(spec):
    text = topology(spec)
    (warning,) = warnings_of(text)
    assert warning.severity == "warning"
    assert "goes round" in warning.message
    assert [warning.where] == marks(text, PROBLEM, "f0.yaml")
    assert sorted((place for place, _ in warning.related), key=lambda place: place.line) == marks(text, RELATED, "f0.yaml")


@pytest.mark.parametrize("spec", TREES.values(), ids=TREES)
def test_what_is_no_ring_of_bridges_is_not_warned_of(spec):
    assert warnings_of(topology(spec)) == []


def test_a_ring_through_two_topologies_is_one_and_each_further_join_closes_another():
    one = topology("cubes: [{name: a, service-name: simplebridge, ports: [{name: p, peer: b:p}, {name: q, peer: b:q}, {name: r, peer: b:r}]}]")
    other = topology("cubes: [{name: b, service-name: simplebridge, ports: [{name: p}, {name: q}, {name: r}]}]", "other")
    found = warnings_of(one, other)
    assert len(found) == 2
    assert found == warnings_of(one, other), "it is said each time, and not only the first"


def test_a_ring_through_a_bridge_with_a_spanning_tree_is_none_until_that_is_taken_away():
    text = topology("""
        cubes:
        - {name: a, service-name: simplebridge, ports: [{name: p, peer: b:p}, {name: q, peer: b:q}]}
        - {name: b, service-name: bridge, stp-enabled: true, ports: [{name: p}, {name: q}]}
        """)
    assert warnings_of(text) == []
    assert len(warnings_of(text.replace("stp-enabled: true", "stp-enabled: false"))) == 1
    assert warnings_of(text) == []
