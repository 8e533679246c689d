"""The controller's conclusions from a poll or an apply. Pure, but for `lacked_by`, which requests an ifindex."""
from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence

from reconciler.document import Document
from reconciler.engine.apply import ApplyResult
from reconciler.graph.documents import documents_equal
from reconciler.graph.records import HookRecord, PortRecord, Record, State, TopologyRecord, global_records
from reconciler.kernel.netstate import NetdevState
from reconciler.live.applied import applied_document
from reconciler.plan.operations import SetDocument
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS

Waiting = tuple[str, str, str]
"""(cube, port, netdev) of a port that waits for its netdev; '', '', netdev for an attachment."""


def waiting_in(seen: ApplyResult) -> tuple[Waiting, ...]:
    """What waits for a netdev to appear; a present one without an Ethernet header does not count."""
    there = {name for name, netdev in seen.session.live.netdevs.items() if not netdev.carries_ethernet}
    return tuple(each for each in seen.plan.pending if each[2] not in there)


def are_of_ports(netdevs: Collection[str], waiting: Iterable[Waiting], wanted: State) -> bool:
    """Whether any of the netdevs is awaited by a port, or has a hook in the desired state."""
    if not netdevs:
        return False
    hooks = (record.netdev for record in global_records(wanted).values() if isinstance(record, HookRecord))
    return any(netdev in netdevs for _, _, netdev in waiting) or not set(netdevs).isdisjoint(hooks)


def lacked_by(
    port: str, waiting: Iterable[Waiting], records: Mapping[str, Record], netdevs: Mapping[str, NetdevState]
) -> str:
    """The netdev that a port ("cube:port") is not connected to; '' for a connected or an unknown port. `records` and `netdevs`
    are those of the last poll in sync."""
    for cube, name, netdev in waiting:
        if port == f"{cube}:{name}":
            return netdev
    cube, _, name = port.partition(":")
    found = records.get(f"cube/{cube}/port/{name}")
    peer = found.peer if isinstance(found, PortRecord) else "-"
    if peer == "-" or ":" in peer:
        return ""
    with contextlib.suppress(OSError):
        return "" if peer in netdevs and socket.if_nametoindex(peer) == netdevs[peer].index else peer
    return peer


def others_versions(done: ApplyResult, good: Collection[str], applied: Mapping[str, str]) -> list[str]:
    """Topologies of the files (`good`) of which the kernel held another version than was last in force (`applied`)."""
    held = ((record.name, record.document) for record in done.session.live.documents)
    ours = {name for name in good if name in applied}
    return sorted(name for name, document in held if name in ours and not documents_equal(document, applied[name]))


def is_document_lost(done: ApplyResult, names: Collection[str]) -> bool:
    """Whether all that the kernel lacked is one of these documents: then nothing was pending, although every object seemed to
    be."""
    kept = {record.name for record in done.session.live.documents}
    return bool(set(names) - kept) and all(isinstance(step.operation, SetDocument) for step in done.plan.steps)


def totals_of(done: ApplyResult) -> dict[str, int]:
    return {what: done.plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)}


def document_before(applied: Sequence[TopologyRecord], name: str) -> Document | None:
    return next((applied_document(each.stored, name) for each in applied if each.name == name), None)
