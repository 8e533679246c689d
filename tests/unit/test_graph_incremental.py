"""A graph that is made of the one before says what a graph made anew says; and groups that were equal once are compared again if one
of them is another."""

from __future__ import annotations

from dataclasses import replace

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
from reconciler.graph.parts import Desired
from reconciler.graph.records import Grouped, HookRecord, PortRecord, assemble, grouped
from reconciler.service.registry import Services

pytestmark = pytest.mark.kernel  # the programs of its cubes are compiled, which takes root

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n"
SERVICES = Services()
BUILDER = Builder(SERVICES)
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
    desired = build_desired(topologies, SERVICES, built, indices, dict.fromkeys(netdevs), before=known)
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
        (text(PLAIN, ("DROP", "v1"), ("DROP", "v2")), ("w0", "v1", "v2"), False),  # a netdev is gone
    ],
)
def test_a_graph_after_an_edit_is_the_one_that_is_made_anew(after: str, netdevs: tuple[str, ...], again: bool) -> None:
    (old,) = parse(text(PLAIN, ("FORWARD, outport: b", "v1"), ("DROP", "v2")), "f")
    known = DesiredCache()
    before = graph(old, known)
    said = dict(before.state)
    new = reparse(old, after) or parse(after, "f")[0]
    made, anew = graph(new, known, netdevs), graph(new, None, netdevs)
    assert list(made.state.items()) == list(anew.state.items())
    assert (made.pending, made.ways, made.notes, made.indices) == (anew.pending, anew.ways, anew.notes, anew.indices)
    assert (made.ways is before.ways) == again
    assert dict(before.state) == said, "the graph before is left as it was"


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
