"""Read back the network around the cubes: namespaces, netdevs and offload settings that topologies own.

A netdev has more properties than a document can name, and most do not matter. So a live link is the wanted one with the
kernel's values: equal to the wanted record exactly when nothing that was requested differs.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler import pins
from reconciler.graph.records import GONE, LinkRecord, NamespaceRecord, OffloadRecord, PromiscuousRecord, Record, link_address
from reconciler.graph.shadows import end
from reconciler.kernel import linkspec, netns, offload, rtnl
from reconciler.kernel.bpffs import DEFAULT_ROOT
from reconciler.kernel.netlink import SCRATCH_GROUPS, owned_groups
from reconciler.kernel.netstate import EndState
from reconciler.kernel.reader import Reader
from reconciler.live import shadows
from reconciler.model import Link, LinkEnd, Route


def group_of(root: str) -> int:
    """The group of every netdev that pcn created for a root; 'pcn' for the default one. A netdev is created in it, so that
    one which a killed apply had no time to mark is still identified as this root's."""
    return 0x70636E if root == DEFAULT_ROOT else 0x50000000 + zlib.crc32(root.encode()) % 0x200000 * (1 + SCRATCH_GROUPS)


def alias(root: str, topology: str) -> str:
    """The mark on a netdev: whose it is, down to the bpffs root."""
    return f"{root}/topologies/{topology}"


OWN_OPTIONS = ("quiet", "told")  # of links that no document has: the kernel knows nothing of them


@dataclass(slots=True)
class LiveLinks:
    """`conflicts` are netdevs and namespaces that are wanted, exist, and are not ours."""

    records: list[Record] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def observe_links(reader: Reader, wanted: Iterable[Record], applied: Collection[str] = ()) -> LiveLinks:
    """Those of the wanted records that exist, with the kernel's values; and netdevs with our mark that are not wanted.
    `applied` are the namespaces that applied documents name: they are ours even if they have lost their mark."""
    live = LiveLinks()
    records = list(wanted)
    present = set(netns.names())
    marked = {pins.unescape(name): reader.link_text(f"namespaces/{name}") or "" for name in reader.names("namespaces")}
    live.records += [
        NamespaceRecord(name, owner if name in present else GONE) for name, owner in marked.items() if not name.endswith("~")
    ]
    ends = _Ends(present)
    root = str(reader.root.root)
    unmarked = {r.name for r in records if isinstance(r, NamespaceRecord)} & present - marked.keys() - {*applied}
    recognised = _led_into(records, ends, root) & unmarked if unmarked else set()
    live.records += [NamespaceRecord(name, "") for name in (*applied, *recognised) if name in present and name not in marked]
    live.conflicts += [
        f"network namespace {name!r} exists and is not pcn's; pcn will not take it over" for name in sorted(unmarked - recognised)
    ]
    known: set[tuple[str | None, str]] = set()
    for record in records:
        if isinstance(record, LinkRecord):
            known |= {(end.netns, end.name) for end in (record.link.end, record.link.peer) if end is not None}
            _link(record, ends, reader, live)
        elif isinstance(record, OffloadRecord) and ends.get(record.netns, record.netdev) is not None:
            gro = offload.get(record.netdev, "gro", record.netns)
            checksum = offload.get(record.netdev, "tx-checksum", record.netns)
            tag = offload.get(record.netdev, "tx-vlan", record.netns)
            live.records.append(OffloadRecord(record.netdev, record.netns, gro, checksum, tag))
    live.records += _orphans(ends, known, root)
    live.records += _promiscuous(reader, {r.netdev for r in records if isinstance(r, PromiscuousRecord)}, ends)
    return live


def _promiscuous(reader: Reader, wanted: Collection[str], ends: _Ends) -> Iterable[PromiscuousRecord]:
    """Promiscuous netdevs, of those that should be, and of those that were set by us. One that was renamed since is to be
    marked again, under its present name."""
    marks = {pins.unescape(name): reader.link_text(f"{pins.PROMISCUOUS}/{name}") or "" for name in reader.names(pins.PROMISCUOUS)}
    renamed = {mark.partition(" ")[0] for name, mark in marks.items() if ends.get(None, name) is None}
    for name in sorted({*wanted, *marks}):
        index, _, topology = marks.get(name, "").partition(" ")
        state = ends.get(None, name)
        ours = state is not None and index == str(state.netdev.index)
        if name not in marks and state is not None and str(state.netdev.index) in renamed:
            continue
        if (state is not None and state.netdev.promiscuous) or (name in marks and name not in wanted):
            yield PromiscuousRecord(name, topology, ours or name not in wanted)


def _led_into(records: Iterable[Record], ends: _Ends, root: str) -> set[str]:
    """Namespaces with the peer of a wanted veth whose end here has our mark: they are ours, even if bpffs was lost with all
    marks in it. Marks inside the namespace do not count, for others may be root there."""
    mark, groups = f"{root}/topologies/", owned_groups(group_of(root))
    found = set()
    for record in records:
        if not isinstance(record, LinkRecord) or record.link.peer is None:
            continue
        for near, far in ((record.link.end, record.link.peer), (record.link.peer, record.link.end)):
            here, there = ends.get(None, near.name) if near.netns is None else None, ends.get(far.netns, far.name)
            if far.netns is None or here is None or there is None:
                continue
            ours = here.netdev.group in groups and here.netdev.alias.startswith(mark)
            if ours and (here.netdev.peer_index, there.netdev.peer_index) == (there.netdev.index, here.netdev.index):
                found.add(far.netns)
    return found


class _Ends:
    """Netdevs with their addresses by namespace, each namespace read at most once."""

    def __init__(self, namespaces: Collection[str]) -> None:
        self._namespaces = namespaces
        self._read: dict[str | None, Mapping[str, EndState]] = {}
        self._holders: dict[str | None, dict[str, str]] = {}

    def all(self, namespace: str | None) -> Mapping[str, EndState]:
        if namespace not in self._read:
            there = namespace is None or namespace in self._namespaces
            self._read[namespace] = rtnl.ends(namespace) if there else {}
        return self._read[namespace]

    def get(self, namespace: str | None, name: str) -> EndState | None:
        return self.all(namespace).get(name)

    def holder_of(self, namespace: str | None, name: str) -> str:
        """The netdev that has this as one of its other names; '' if none has."""
        if namespace not in self._holders:
            ends = self.all(namespace)
            self._holders[namespace] = {other: real for real, state in ends.items() for other in state.netdev.other_names}
        return self._holders[namespace].get(name, "")


def _link(record: LinkRecord, ends: _Ends, reader: Reader, live: LiveLinks) -> None:
    link, root = record.link, str(reader.root.root)
    seen = ends.get(link.end.netns, link.end.name)
    live.conflicts += [
        f"netdev {holder!r} has {end.name!r} as another name (altname); pcn cannot make a netdev of that name"
        for end in (link.end, link.peer)
        if end is not None and ends.get(end.netns, end.name) is None and (holder := ends.holder_of(end.netns, end.name))
    ]
    if seen is None:
        other = ends.get(link.peer.netns, link.peer.name) if link.peer is not None else None
        if link.peer is not None and other is not None and other.netdev.group not in owned_groups(group_of(root)):
            live.conflicts.append(f"netdev {link.peer.name!r} exists and is not pcn's; pcn will not take it over")
        return
    mark, born = f"{root}/topologies/", seen.netdev.group in owned_groups(group_of(root))
    if not ((born and not seen.netdev.alias) or seen.netdev.alias.startswith(mark)):
        live.conflicts.append(f"netdev {link.end.name!r} exists and is not pcn's; pcn will not take it over")
        return
    owner = seen.netdev.alias.removeprefix(mark) if born else ""  # '': it has lost a mark of ours, or never got it
    live.records.append(LinkRecord(_as_seen(link, seen, ends, reader), owner))


def _as_seen(link: Link, seen: EndState, ends: _Ends, reader: Reader) -> Link:
    """`link` with the kernel's values where they differ; for a configured end, with the configuration that it got last."""
    quiet = {name: value for name, value in link.options.items() if name in OWN_OPTIONS}
    plain = replace(link, options={name: value for name, value in link.options.items() if name not in OWN_OPTIONS})
    differing = linkspec.differing_options(plain, seen.netdev, lambda name: _index(ends, link.end.netns, name))
    options: dict[str, Any] = dict(link.options)
    kind = seen.netdev.kind if "kind" in differing else link.kind
    for name in differing:
        if name != "kind":
            options[name] = seen.netdev.options.get(name)
    peer = None
    if link.peer is not None:
        other = ends.get(link.peer.netns, link.peer.name)
        if other is not None and other.netdev.index == seen.netdev.peer_index and other.netdev.peer_index == seen.netdev.index:
            told = link.options.get("told")
            peer = end_as_seen(link.peer, other) if told is None else end_as_told(link.peer, shadows.told(reader, told))
    return Link(kind, end_as_seen(link.end, seen), peer, options | quiet)


def end_as_told(wanted: LinkEnd, told: Mapping[str, Any]) -> LinkEnd:
    return end(wanted.name, wanted.netns or "", told)


def _index(ends: _Ends, namespace: str | None, name: str) -> int:
    for place in (namespace, None):
        state = ends.get(place, name)
        if state is not None:
            return state.netdev.index
    return 0


def end_as_seen(wanted: LinkEnd, seen: EndState) -> LinkEnd:
    """`wanted` itself if nothing differs; else with the kernel's values in the place of those that do."""
    changes = linkspec.diff_end(wanted, seen)
    if not changes:
        return wanted
    addresses = [linkspec.canonical_address(address) for address in wanted.addresses]
    routes = [linkspec.canonical_route(route) for route in wanted.routes]
    plain: dict[str, Any] = {}
    for change in changes:
        if change.field in ("up", "mtu", "mac"):
            plain[change.field] = change.before
            continue
        values: list[Any] = addresses if change.field == "address" else routes
        if change.before is None:
            values.remove(change.after)
        else:
            values.append(change.before)
    return replace(wanted, addresses=tuple(addresses), routes=tuple(_routes(routes)), **plain)


def _routes(routes: Iterable[Any]) -> Iterable[Route]:
    return (route for route in routes if isinstance(route, Route))


def _orphans(ends: _Ends, known: Collection[tuple[str | None, str]], root: str) -> list[Record]:
    """Netdevs of this namespace with the mark of this root, or with none yet, that are not wanted any more."""
    mark, groups = f"{root}/topologies/", owned_groups(group_of(root))
    return [
        LinkRecord(Link(state.netdev.kind, LinkEnd(name)), state.netdev.alias.removeprefix(mark))
        for name, state in ends.all(None).items()
        if state.netdev.group in groups and (state.netdev.alias or mark).startswith(mark) and (None, name) not in known
    ]


def address_of(link: Link) -> str:
    return link_address(link.end.name, link.end.netns)
