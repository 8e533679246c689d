"""A state as a networkx graph: what the design calls the desired and the live graph, for drawing and for reach.

Nodes are cubes, ports, netdevs, programs and tables, with their records as attributes; edges are peer links, attachments
in order, holds and calls. Rows of tables are attributes of their table, never nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.graph.records import (
    CubeRecord,
    HookRecord,
    LinkRecord,
    NextHopRecord,
    PortRecord,
    ProgramRecord,
    State,
    TableRecord,
    TrampolineRecord,
)

if TYPE_CHECKING:
    from networkx import DiGraph


def as_graph(state: State) -> DiGraph[str]:
    """Every record of `state` that is a vertex, and how they hang together."""
    import networkx

    graph: DiGraph[str] = networkx.DiGraph()
    stubs = {record.path: record for record in state.values() if isinstance(record, TrampolineRecord)}
    for address, record in state.items():
        if isinstance(record, CubeRecord):
            graph.add_node(address, kind="cube", record=record)
        elif isinstance(record, LinkRecord):
            graph.add_node(f"netdev/{record.link.end.name}", kind="netdev", record=record)
        elif isinstance(record, PortRecord | ProgramRecord | TableRecord):
            kind = {PortRecord: "port", ProgramRecord: "program", TableRecord: "table"}[type(record)]
            graph.add_node(address, kind=kind, record=record)
            if record.cube:
                graph.add_edge(f"cube/{record.cube}", address, kind="holds")
    for record in state.values():
        if isinstance(record, PortRecord) and record.peer != "-":
            graph.add_edge(record.address, _peer(record.peer, state), kind="peer")
        elif isinstance(record, HookRecord) and record.stub in stubs:
            graph.add_edge(f"netdev/{record.netdev}", f"cube/{stubs[record.stub].cube}", kind="attached", point=record.point)
        elif isinstance(record, NextHopRecord) and record.kind == "program" and record.target in stubs:
            graph.add_edge(
                f"cube/{record.cube}",
                f"cube/{stubs[record.target].cube}",
                kind="calls",
                row=record.row,
                side=record.side or "main",
            )
    for node in graph.nodes:
        graph.nodes[node].setdefault("kind", node.partition("/")[0])
    return graph


def _peer(peer: str, state: State) -> str:
    cube, _, port = peer.partition(":")
    return f"cube/{cube}/port/{port}" if port and f"cube/{cube}" in state else f"netdev/{peer}"


def neighbours(state: State) -> dict[str, tuple[str, ...]]:
    """The cubes with which each cube exchanges packets directly."""
    graph = as_graph(state)
    near: dict[str, set[str]] = {}
    for one, other, data in graph.edges(data=True):
        if data["kind"] == "calls":
            a, b = one.partition("/")[2], other.partition("/")[2]
            near.setdefault(a, set()).add(b)
            near.setdefault(b, set()).add(a)
    return {cube: tuple(sorted(found)) for cube, found in near.items()}


__all__ = ["as_graph", "neighbours"]
