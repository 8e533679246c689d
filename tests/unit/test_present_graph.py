"""Drawings: what is joined to what, and pictures in which nothing covers anything else."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Attachment, Cube, Link, LinkEnd, Port, Topology
from reconciler.present.graph import CUBE, HOST, MISSING, NETDEV, TRANSPARENT, Drawing, Wire, draw
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
        "  spare  -- not connected",
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


def test_addresses_of_ports_are_in_the_text_and_in_the_cubes_box() -> None:
    config = {"ip": "10.0.0.1/24", "secondaryip": [{"ip": "10.0.9.1/24"}], "mac": "02:00:00:00:00:01", "dns": "10.0.0.9"}
    routed = Topology("t", cubes=(Cube("r", "bridge", "t", ports=(Port("a", "e0", (), config), Port("b", None, (), {"ip": "fd00::1/64"}))),))
    assert draw([routed], KINDS).boxes["cube r"].lines[1:] == ("a 10.0.0.1/24 10.0.9.1/24", "b fd00::1/64, not connected")
    assert as_text([routed], KINDS).splitlines()[1:] == [
        "  a  10.0.0.1/24 10.0.9.1/24  -- e0",
        "  b  fd00::1/64               -- not connected",
    ]


def test_what_is_not_there_is_drawn_as_missing_where_it_is_known() -> None:
    drawing = draw([WORLD], KINDS, ["v1", "eth7"])
    assert {box.title for box in drawing.boxes.values() if box.kind == MISSING} == {"h2", "eth9", "kbr"}
    assert "  p2    -- [edge] -- v2 is not there -- h2:eth0 10.0.0.2/24" in as_text([WORLD], KINDS, ["v1", "eth7"]).splitlines()
    assert "stroke-dasharray" in as_mermaid(drawing)
    assert 'class="missing"' in as_svg(drawing)
    everywhere = Topology("t", cubes=(Cube("w", "wall", "t"),), attachments=(Attachment("", ("w",), "all !lo"),))
    assert MISSING not in {box.kind for box in draw([everywhere], KINDS, []).boxes.values()}, "a selector is no netdev"


def test_transparent_cubes_of_a_port_that_waits_or_leads_nowhere_stay_on_it() -> None:
    waiting = Topology("t", cubes=(
        Cube("b", "bridge", "t", ports=(Port("p", "later", ("outer", "inner")), Port("q", None, ("mid",)))),
        *(Cube(name, "wall", "t") for name in ("outer", "inner", "mid")),
    ))  # fmt: skip
    assert as_text([waiting], KINDS, []).splitlines() == [
        "b  bridge (TC)",
        "  p  -- [inner] -- [outer] -- later is not there",
        "  q  -- [mid] -- not connected",
    ]


def test_several_topologies_are_grouped_in_every_form() -> None:
    other = Topology("u", cubes=(Cube("x", "bridge", "u", ports=(Port("p", "eth0"),)),))
    drawing = draw([WORLD, other], KINDS)
    assert [line for line in as_text([WORLD, other], KINDS).splitlines() if line.startswith("topology")] == ["topology t", "topology u"]
    assert as_dot(drawing).count("subgraph cluster_") == 2
    assert as_mermaid(drawing).count("subgraph ") == 2
    frames = [each for each in ElementTree.fromstring(as_svg(drawing)).iter() if each.get("class") == "frame"]
    (top, high), (below, _) = [(float(each.get("y", "")), float(each.get("height", ""))) for each in frames]
    assert top + high < below
    assert "frame" not in {each.get("class") for each in ElementTree.fromstring(as_svg(draw([WORLD], KINDS))).iter()}


def test_lines_end_between_words_where_the_terminal_is_narrow() -> None:
    lines = as_text([WORLD], KINDS, None, 30).splitlines()
    assert max(map(len, lines)) <= 30
    assert [word for line in lines for word in line.split()] == as_text([WORLD], KINDS).split()


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
