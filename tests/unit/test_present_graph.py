"""Drawings: what is joined to what, and pictures in which nothing covers anything else."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Attachment, Cube, Link, LinkEnd, Port, Topology
from reconciler.present.graph import CUBE, HOST, NETDEV, TRANSPARENT, Drawing, Wire, draw
from reconciler.present.graph_layout import distances, layout
from reconciler.present.graph_text import as_dot, as_mermaid, as_text
from reconciler.present.svg import as_svg

KINDS = {"bridge": "standard", "wall": "transparent"}


def veth(name: str, host: str, address: str) -> Link:
    return Link("veth", LinkEnd(name), LinkEnd("eth0", host, (address,)))


WORLD = Topology(
    "t",
    ("h1", "h2"),
    (veth("v1", "h1", "10.0.0.1/24"), veth("v2", "h2", "10.0.0.2/24"), Link("bridge", LinkEnd("kbr"))),
    (
        Cube("b1", "bridge", "t", ports=(Port("p1", "v1", ("outer", "inner")), Port("up", "b2:down"), Port("spare"))),
        Cube("b2", "bridge", "t", ports=(Port("down", "b1:up", ("mid",)), Port("p2", "v2"), Port("ext", "eth9"), Port("k", "kbr"))),
        Cube("inner", "wall", "t"), Cube("outer", "wall", "t"), Cube("mid", "wall", "t"), Cube("lone", "wall", "t"), Cube("edge", "wall", "t"),
        Cube("idle", "wall", "t"),
    ),
    (Attachment("eth7", ("lone",)), Attachment("v2", ("edge",))),
)  # fmt: skip


def test_text_leads_from_a_port_outwards_to_what_is_at_the_end() -> None:
    assert as_text([WORLD], KINDS).splitlines() == [
        "b1  bridge (TC)",
        "  p1     -- [inner] -- [outer] -- v1 -- h1:eth0 10.0.0.1/24",
        "  up     -- [mid] -- b2:down",
        "  spare  -- nothing",
        "b2  bridge (TC)",
        "  down  -- [mid] -- b1:up",
        "  p2    -- [edge] -- v2 -- h2:eth0 10.0.0.2/24",
        "  ext   -- eth9",
        "  k     -- kbr bridge",
        "this host  -- [lone] -- eth7",
        "idle  wall (TC), not on any wire",
    ]


def test_a_drawing_has_a_box_for_each_thing_and_a_wire_for_each_joint() -> None:
    drawing = draw([WORLD], KINDS)
    kinds = {box.title: box.kind for box in drawing.boxes.values()}
    assert (kinds["b1"], kinds["inner"], kinds["h1"], kinds["eth9"]) == (CUBE, TRANSPARENT, HOST, NETDEV)
    assert Wire("cube b1", "cube inner", "p1") in drawing.wires
    assert Wire("cube outer", "host h1", "", "eth0", "v1") in drawing.wires
    assert sum(wire.one == "cube mid" or wire.other == "cube mid" for wire in drawing.wires) == 2


def test_a_host_with_two_wires_is_one_box_with_two_lines() -> None:
    twice = Topology("t", ("h",), (Link("veth", LinkEnd("a"), LinkEnd("x", "h")), Link("veth", LinkEnd("b"), LinkEnd("y", "h"))),
                     (Cube("c", "bridge", "t", ports=(Port("p", "a"), Port("q", "b"))),))  # fmt: skip
    drawing = draw([twice], KINDS)
    assert drawing.boxes["host h"].lines == ("x", "y")
    assert len([wire for wire in drawing.wires if wire.other == "host h"]) == 2


def test_dot_and_mermaid_quote_what_they_are_given() -> None:
    odd = Topology("t", (), (), (Cube('a"b', "bridge", "t", ports=(Port("p", "e<t#0"),)),))
    drawing = draw([odd], KINDS)
    assert r'"cube a\"b" [shape=box, label="a\"b\nbridge (TC)"]' in as_dot(drawing)
    assert 'n0["a&quot;b<br/>bridge (TC)"]' in as_mermaid(drawing)
    assert 'n1(["e&lt;t&#35;0"])' in as_mermaid(drawing)


def test_a_picture_is_xml_with_every_name_in_it() -> None:
    root = ElementTree.fromstring(as_svg(draw([WORLD], KINDS)))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"b1", "b2", "inner", "h1", "eth0 10.0.0.1/24", "p1", "v1", "eth9", "this host"} <= texts


def test_an_empty_drawing_is_a_picture_too() -> None:
    assert ElementTree.fromstring(as_svg(Drawing())).tag.endswith("svg")


def boxes_of(drawing: Drawing) -> list[tuple[float, float, float, float]]:
    root = ElementTree.fromstring(as_svg(drawing))
    found = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("class")]
    return [tuple(float(each.get(name, "0")) for name in ("x", "y", "width", "height")) for each in found]  # type: ignore[misc]


def test_no_box_covers_another_or_leaves_the_picture() -> None:
    drawing = draw([WORLD], KINDS)
    width, height = (float(ElementTree.fromstring(as_svg(drawing)).get(name, "0")) for name in ("width", "height"))
    boxes = boxes_of(drawing)
    assert len(boxes) == len(drawing.boxes)
    for (x, y, w, h), (p, q, v, u) in combinations(boxes, 2):
        assert x + w <= p or p + v <= x or y + h <= q or q + u <= y
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)


def test_a_chain_is_a_straight_line_in_the_order_of_the_file() -> None:
    found = layout(["a", "b", "c"], [("a", "b"), ("b", "c")], dict.fromkeys("abc", 10.0), 5.0)
    assert found.columns() == [["a"], ["b"], ["c"]]
    assert len(set(found.y.values())) == 1


def test_what_hangs_off_a_bridge_is_spread_over_both_sides() -> None:
    hosts = [f"h{number}" for number in range(10)]
    found = layout(["br", *hosts], [("br", host) for host in hosts], dict.fromkeys(["br", *hosts], 10.0), 5.0)
    assert [len(column) for column in found.columns()] == [5, 1, 5]


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=20))
    )
)
def test_any_graph_is_laid_out_without_boxes_on_each_other(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, joints = graph
    keys = [f"k{number}" for number in range(size)]
    wires = [(f"k{one}", f"k{other}") for one, other in joints if one != other]
    heights = {key: 10.0 + number for number, key in enumerate(keys)}
    found = layout(keys, wires, heights, 5.0)
    for column in found.columns():
        assert column
        for one, other in combinations(column, 2):
            assert abs(found.y[one] - found.y[other]) >= (heights[one] + heights[other]) / 2 + 5.0 - 1e-6


@pytest.mark.parametrize(("start", "far"), [("a", 2), ("b", 1)])
def test_distances_are_counted_in_steps(start: str, far: int) -> None:
    near = {"a": ["b"], "b": ["a", "c"], "c": ["b"]}
    assert max(distances(start, near).values()) == far
