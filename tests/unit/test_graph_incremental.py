"""A graph that is made of the one before says what a graph made anew says; and groups that were equal once are compared again if one
of them is another."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reconciler.check import check
from reconciler.document import Document
from reconciler.document.incremental_parse import reparse
from reconciler.document.load import parse
from reconciler.engine.builder import Builder
from reconciler.errors import DocumentError
from reconciler.graph.desired import build_desired
from reconciler.graph.diff import diff
from reconciler.graph.incremental import DesiredCache
from reconciler.graph.parts import Desired, LiveCubes, by_address
from reconciler.graph.records import Grouped, HookRecord, PortRecord, assemble, grouped
from reconciler.model import Topology
from reconciler.service.registry import Services

pytestmark = pytest.mark.kernel  # the programs of its cubes are compiled, which takes root

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n"
SERVICES = Services()
BUILDER = Builder(SERVICES)
EXAMPLES = Path(__file__).parents[2] / "examples/topologies"
PLAIN = ("FORWARD, outport: b", "c1:a")


def text(*cubes: tuple[str, str], loglevel: str = "INFO") -> str:
    """Forwarders, each with what it does at port a, and the peer of its port b."""
    return HEAD + "".join(
        f"  - name: c{number}\n    service-name: simpleforwarder\n    loglevel: {loglevel}\n    ports:\n"
        f"    - {{name: a, peer: '{'c0:b' if number == 1 else f'w{number}'}'}}\n    - {{name: b, peer: '{peer}'}}\n"
        f"    actions:\n    - {{inport: a, action: {does}}}\n"
        for number, (does, peer) in enumerate(cubes)
    )


def graph(document: Document, known: DesiredCache | None, netdevs: tuple[str, ...] = ("w0", "w2", "v1", "v2")) -> Desired:
    topologies = check([document], SERVICES)[0]
    built, indices = BUILDER.ensure(BUILDER.keys_of(topologies)), {f"c{number}": {"a": 0, "b": 1} for number in range(3)}
    desired = build_desired(topologies, SERVICES, built, LiveCubes(indices=indices), dict.fromkeys(netdevs), before=known)
    if isinstance(desired.state, Grouped):
        return desired
    desired = replace(desired, state=grouped(desired.state))
    if known is not None:
        known.keep(desired)
    return desired


@pytest.mark.parametrize(
    ("after", "netdevs", "again"),
    [
        (text(PLAIN, ("DROP", "v1"), ("DROP", "v2")), ("w0", "w2", "v1", "v2"), True),  # rows
        (text(PLAIN, ("DROP", "v2"), ("DROP", "v1")), ("w0", "w2", "v1", "v2"), False),  # peers
        (text(PLAIN, ("DROP", "v1"), ("DROP", "v2"), loglevel="DEBUG"), ("w0", "w2", "v1", "v2"), False),  # constants
        (text(PLAIN, ("DROP", "v1")), ("w0", "w2", "v1", "v2"), False),  # a cube less
        (text(PLAIN, ("DROP", "v1"), ("DROP", "v2")), ("w0", "v1", "v2"), True),  # a netdev is gone
        (text(PLAIN, ("DROP", "v1"), ("DROP", "v2")), ("w2", "w0", "v2", "other"), True),  # ... and another came
    ],
)
def test_a_graph_after_an_edit_is_the_one_that_is_made_anew(after: str, netdevs: tuple[str, ...], again: bool) -> None:
    (old,) = parse(text(PLAIN, ("FORWARD, outport: b", "v1"), ("DROP", "v2")), "f")
    known = DesiredCache()
    before = graph(old, known)
    said = dict(before.state)
    new = reparse(old, after) or parse(after, "f")[0]
    made, anew = graph(new, known, netdevs), graph(new, None, netdevs)
    assert made.state == anew.state
    assert list(made.state) == list(anew.state) or len(netdevs) < 4 or "other" in netdevs
    assert (made.pending, made.ways, made.notes, made.indices) == (anew.pending, anew.ways, anew.notes, anew.indices)
    assert (made.ways is before.ways) == again
    assert dict(before.state) == said, "the graph before is left as it was"


@pytest.mark.timeout(300)
def test_netdevs_that_come_and_go_make_the_graph_that_is_made_anew() -> None:
    """In all examples, of which the links are taken away, so that their ports wait for netdevs of somebody else."""
    chance, kept_ways = Random(7), 0
    for path in sorted(EXAMPLES.glob("*.yaml")):
        data = copy.deepcopy(parse(path.read_text(), path.name)[0].data)
        data["spec"].pop("links", None)
        try:
            topologies = check([Document(path.name, "", data)], SERVICES)[0]
            built = BUILDER.ensure(BUILDER.keys_of(topologies))
        except DocumentError:
            continue
        ports = [port for topology in topologies for cube in topology.cubes for port in cube.ports]
        peers = [port.peer for port in ports if port.peer and ":" not in port.peer]
        peers += [each.netdev for topology in topologies for each in topology.attachments if each.netdev]
        known, ways = DesiredCache(), None
        for _ in range(4):
            there = dict.fromkeys([name for name in (*peers, "other0") if chance.random() < 0.6], "veth")
            made, anew = (build(topologies, built, there, cache) for cache in (known, None))
            assert made.state == anew.state, (path.name, there)
            assert (made.pending, made.notes, made.indices) == (anew.pending, anew.notes, anew.indices), (path.name, there)
            assert by_address(made.ways) == by_address(anew.ways)
            kept_ways += made.ways is ways
            ways = made.ways
    assert kept_ways > 10, "most of them need not be made anew"


def build(topologies: Sequence[Topology], built: Any, netdevs: dict[str, str], known: DesiredCache | None) -> Desired:
    desired = build_desired(topologies, SERVICES, built, LiveCubes(), netdevs, before=known)
    if not isinstance(desired.state, Grouped):
        desired = replace(desired, state=grouped(desired.state))
        if known is not None:
            known.keep(desired)
    return desired


def test_the_same_topologies_have_the_very_same_graph() -> None:
    (document,) = parse(text(PLAIN, ("DROP", "v1")), "f")
    known = DesiredCache()
    assert graph(document, known) is graph(document, known)


def test_what_is_wrong_is_said_each_time() -> None:
    known = DesiredCache()
    for _ in range(2):
        graph(parse(text(("DROP", "v1")), "f")[0], known)
        with pytest.raises(DocumentError):
            check(parse(text(("FORWARD, outport: z", "v1")), "f"), SERVICES)


def state(peer: str) -> Grouped:
    return grouped({r.address: r for r in (PortRecord("a", "p", 0, peer), PortRecord("b", "p", 0, "-"), HookRecord("v", "xdp", "s"))})


def test_groups_are_compared_again_if_one_is_another() -> None:
    wanted, live = state("x"), state("x")
    assert diff(wanted, live) == diff(wanted, live) == []
    other = assemble({**live.groups, "a": state("y").groups["a"]}, live)
    assert [change.address for change in diff(wanted, other)] == ["cube/a/port/p"]
    assert dict(other) == dict(state("y"))
    assert [change.action for change in diff(wanted, assemble({"": live.groups[""], "b": live.groups["b"]}, live))] == ["create"]
    assert [change.action for change in diff(assemble({"": live.groups[""]}, None), live)] == ["delete", "delete"]


def test_a_record_that_went_from_a_group_is_not_in_the_state() -> None:
    live = state("x")
    hook = replace(HookRecord("v", "xdp", "s"), netdev="w")
    other = live.but({"": grouped({hook.address: hook}).groups[""]})
    assert set(other) == {"cube/a/port/p", "cube/b/port/p", hook.address}
