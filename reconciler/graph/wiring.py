"""Where packets go: hooks, hops, and flood members, derived from peers, transparent cubes and attachments.

Everything is a chain of stubs. Inwards, a netdev's hook is the start of a chain through the transparent cubes, from the wire
inwards, to the port behind them. Outwards, a port's hop passes them in the exact reverse, to the netdev or to the chain of
the peer's port. A transparent cube has two rows of its own for each place where it is: an even one outwards, the next
inwards.

A standard cube's egress program runs where its packets meet a netdev, as in Polycube: at the netdev's egress hook under TC
(so it sees what the host's own stack sends too), before the redirect under XDP, which has no such hook; there a TC twin
handles the host's own packets.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler import pins
from reconciler.graph import shadows
from reconciler.graph.places import Places
from reconciler.graph.records import (
    HookRecord,
    LinkRecord,
    MemberRecord,
    NextHopRecord,
    OffloadRecord,
    Record,
    TrampolineRecord,
    WaitingRecord,
)
from reconciler.model import Cube, Link, LinkEnd, Port, Topology, family_of
from reconciler.service.registry import Service, Services

OUTWARD, INWARD = 0, 1
Target = tuple[str, str]  # a hop's (kind, target)
NOWHERE: Target = ("none", "")
PASS: Target = ("pass", "")
_HIDDEN = re.compile("pcn[0-9a-f]{8}[nf]")


@dataclass(slots=True)
class Wiring:
    """`twins` are the XDP cubes whose TC twin some egress hook points to."""

    records: list[Record] = field(default_factory=list)
    pending: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    twins: set[str] = field(default_factory=set)


def wire(
    topologies: Sequence[Topology],
    services: Services,
    indices: Mapping[str, Mapping[str, int]],
    netdevs: Collection[str],
    places: Places,
) -> Wiring:
    return _Wirer(topologies, services, indices, netdevs, places).run()


def hidden_pair(cube: str, port: str, hook: str) -> tuple[str, str]:
    """Names of the near and the far end of the veth pair that carries a port's flooded copies. A cube that moves between TC
    and XDP gets another pair: the MTU of one cannot be changed while the other's programs are on it."""
    number = zlib.crc32(f"{cube}:{port}{'' if hook == 'TC' else ' XDP'}".encode())
    return f"pcn{number:08x}n", f"pcn{number:08x}f"


PAIR_MTU = {"TC": 9216, "XDP": 3400}  # bytes; XDP on a veth wants each frame in a page


def is_hidden(netdev: str) -> bool:
    """Whether a netdev is an end of such a pair."""
    return _HIDDEN.fullmatch(netdev) is not None


class _Wirer:
    def __init__(
        self,
        topologies: Sequence[Topology],
        services: Services,
        indices: Mapping[str, Mapping[str, int]],
        netdevs: Collection[str],
        places: Places,
    ) -> None:
        self.topologies, self.services, self.indices, self.netdevs = topologies, services, indices, netdevs
        self.places = places
        self.cubes = {cube.name: cube for topology in topologies for cube in topology.cubes}
        self.attached = places.attached
        self.peers = {port.peer: (cube, port) for cube in self.cubes.values() for port in cube.ports if port.peer}
        self.wiring = Wiring()

    def run(self) -> Wiring:
        for cube in self.cubes.values():
            for port in cube.ports:
                self._port(cube, port)
            if self._has(cube, pins.INJECT):
                self._slow_path(cube)
        local_peers = [peer for peer in self.peers if not self._is_cube(peer)]
        for netdev in sorted({*self.attached, *local_peers}):
            if netdev in self.netdevs:
                self._netdev(netdev)
            else:
                self._wait(netdev)
        self._offloads()
        return self.wiring

    # -- what the parts are -----------------------------------------------------------------------------------

    def _service(self, cube: Cube) -> Service:
        service = self.services.get(cube.service)
        assert service is not None, f"checked topologies name known services: {cube.service}"
        return service

    def _has(self, cube: Cube, direction: str) -> bool:
        return bool(self._service(cube).programs(direction))

    def _is_cube(self, peer: str) -> bool:
        return ":" in peer and peer.split(":", maxsplit=1)[0] in self.cubes

    def _stub(self, cube: Cube, direction: str, port: str = "", side: str = pins.MAIN) -> Target:
        """`port`: of a transparent cube, the place."""
        if self._service(cube).kind == "standard":
            index = self.indices[cube.name][port]
        else:
            index = self._row(cube, INWARD if direction == "egress" else OUTWARD, port)
            port = port if cube.name in self.places.named else "wire" if direction == "ingress" else "inner"
        return "program", TrampolineRecord(cube.name, side, direction, index, port, "").path

    def _row(self, cube: Cube, way: int, place: str) -> int:
        """A transparent cube's row for a direction at a place. A packet enters by the stub that has the number of the other
        direction's row."""
        return 2 * self.indices[cube.name][place] + way if cube.name in self.places.named else way

    def _transparent(self, names: Sequence[str], direction: str, hook: str | None = None) -> list[Cube]:
        """Those of `names` that have programs in a direction (and are of a hook's family), in the packet's order."""
        found = [self.cubes[name] for name in names if name in self.cubes and self._has(self.cubes[name], direction)]
        if hook is not None:
            found = [cube for cube in found if family(cube) == hook]
        return found if direction == "ingress" else found[::-1]

    def _hop(self, cube: Cube, row: int, target: Target, side: str = pins.MAIN) -> None:
        if target != NOWHERE:
            self.wiring.records.append(NextHopRecord(cube.name, side, row, *target))

    # -- ports ------------------------------------------------------------------------------------------------

    def _way_in(self, cube: Cube, port: Port) -> Target:
        """The first stub of a packet that arrives at a port: its outermost transparent cube's, or the port's own."""
        target = self._stub(cube, "ingress", port.name)
        for outer in reversed(self._transparent(port.tcubes, "ingress")):
            target = self._stub(outer, "ingress", f"{cube.name}:{port.name}")
        return target

    def _port(self, cube: Cube, port: Port) -> None:
        inner, here = self._stub(cube, "ingress", port.name), f"{cube.name}:{port.name}"
        for transparent in reversed(self._transparent(port.tcubes, "ingress")):
            self._hop(transparent, self._row(transparent, INWARD, here), inner)
            inner = self._stub(transparent, "ingress", here)
        target = self._way_out(cube, port)
        if target != NOWHERE:
            for transparent in reversed(self._transparent(port.tcubes, "egress")):
                self._hop(transparent, self._row(transparent, OUTWARD, here), target)
                target = self._stub(transparent, "egress", here)
        else:
            self._let_wait(port.tcubes, here)
        if cube.shadow:
            self._shadow(cube, port, target)
        self._hop(cube, self.indices[cube.name][port.name], target)
        if self._service(cube).floods and target != NOWHERE:
            self._member(cube, port, target)

    def _shadow(self, cube: Cube, port: Port, target: Target) -> None:
        """Packets that leave by the port pass its transparent cubes, also if they originate from the namespace."""
        hidden, here = self.cubes[pins.shadow(cube.name)], f"{cube.name}:{port.name}"
        if not cube.span:
            self._hop(hidden, self._row(hidden, OUTWARD, here), target)
        self.wiring.records += shadows.ways(cube, port, self.indices, self._stub(hidden, "egress", here)[1])

    def _way_out(self, cube: Cube, port: Port) -> Target:
        """The successor of a port's outermost transparent cube."""
        if port.peer is None:
            return NOWHERE
        if self._is_cube(port.peer):
            owner, _, name = port.peer.partition(":")
            return self._way_in(self.cubes[owner], next(p for p in self.cubes[owner].ports if p.name == name))
        if port.peer not in self.netdevs:
            return NOWHERE
        if family(cube) == "TC":
            return "netdev", port.peer
        target: Target = ("netdev", port.peer)
        for outer in reversed(self._transparent(self.attached.get(port.peer, ()), "egress", "XDP")):
            self._hop(outer, self._row(outer, OUTWARD, port.peer), target)
            target = self._stub(outer, "egress", port.peer)
        if self._has(cube, "egress"):
            self._hop(cube, pins.AFTER_EGRESS | self.indices[cube.name][port.name], target)
            target = self._stub(cube, "egress", port.name)
        return target

    def _member(self, cube: Cube, port: Port, target: Target) -> None:
        """A flood member: the netdev itself, or a hidden veth pair whose far end is the start of the port's outward chain."""
        index = self.indices[cube.name][port.name]
        if target[0] == "netdev":
            self.wiring.records.append(MemberRecord(cube.name, index, target[1]))
            self._group_member(cube, index, target[1])
            return
        near, far = hidden_pair(cube.name, port.name, family(cube))
        mtu = PAIR_MTU[family(cube)]
        records: list[Record] = [
            LinkRecord(Link("veth", LinkEnd(near, mtu=mtu), LinkEnd(far, mtu=mtu), {"quiet": True}), cube.topology),
            MemberRecord(cube.name, index, near, far),
        ]
        if family(cube) == "TC":
            records.append(HookRecord(far, "tcx_ingress", target[1]))
        else:
            # A twin's copies are redirected by TC, and what is has no generic XDP run on it: native XDP, which each veth has.
            by = "drv" if self._service(cube).floods_groups else mode(cube)
            records += [
                HookRecord(far, "xdp", target[1], by),
                HookRecord(near, "xdp", self._stub(cube, "ingress", port.name)[1], by),
            ]
            if self._group_member(cube, index, near):
                records += [HookRecord(near, "tcx_ingress", self._twin_stub(cube, port)[1]), OffloadRecord(near, None)]
        self.wiring.records += records

    def _group_member(self, cube: Cube, index: int, netdev: str) -> bool:
        """Of an XDP cube that floods groups of ports. Its TC twin does that, so it has the members, and hops to netdevs."""
        if family(cube) == "TC" or not self._service(cube).floods_groups:
            return False
        self._hop(cube, index, ("netdev", netdev), self._twin(cube))
        self.wiring.records.append(MemberRecord(cube.name, index, netdev, side=pins.TWIN))
        return True

    def _twin_stub(self, cube: Cube, port: Port) -> Target:
        return self._stub(cube, "ingress", port.name, self._twin(cube))

    def _slow_path(self, cube: Cube) -> None:
        """A hidden veth pair: packets that the agent sends into its near end are received at its far end, and enter or leave
        there."""
        near, far = hidden_pair(cube.name, "", family(cube))
        mtu = PAIR_MTU[family(cube)]
        point = "tcx_ingress" if family(cube) == "TC" else "xdp"
        back = TrampolineRecord(cube.name, pins.MAIN, pins.INJECT, 0, "cube", "").path
        self.wiring.records += [
            LinkRecord(Link("veth", LinkEnd(near, mtu=mtu), LinkEnd(far, mtu=mtu), {"quiet": True}), cube.topology),
            HookRecord(far, point, back, mode(cube)),
        ]

    # -- netdevs ----------------------------------------------------------------------------------------------

    def _netdev(self, netdev: str) -> None:
        attached = self.attached.get(netdev, ())
        owner, port = self.peers.get(netdev, (None, None))
        for hook, point in (("XDP", "xdp"), ("TC", "tcx_ingress")):
            target = PASS
            if owner is not None and port is not None and family(owner) == hook:
                target = self._way_in(owner, port)
            elif owner is not None and port is not None and hook == "TC" and self._service(owner).floods_groups:
                target = self._twin_stub(owner, port)  # what its XDP program passes is to be flooded
            users = self._transparent(attached, "ingress", hook)
            for cube in reversed(users):
                self._hop(cube, self._row(cube, INWARD, netdev), target)
                target = self._stub(cube, "ingress", netdev)
            if target != PASS:
                hook_mode = mode(users[0] if users else owner) if hook == "XDP" else ""  # type: ignore[arg-type]
                self.wiring.records.append(HookRecord(netdev, point, target[1], hook_mode))
        self._egress(netdev, attached, owner, port)

    def _wait(self, netdev: str) -> None:
        """A netdev that is not there: what would run at its egress hook stays loaded, so that its coming loads nothing."""
        waiting = self.peers.get(netdev)
        self.wiring.pending.append((waiting[0].name, waiting[1].name, netdev) if waiting else ("", "", netdev))
        owners = [waiting[0]] if waiting and (self._has(waiting[0], "egress") or self._service(waiting[0]).floods_groups) else []
        for cube in (*owners, *self._transparent(self.attached.get(netdev, ()), "egress")):
            self._twin(cube)
        self._let_wait(self.attached.get(netdev, ()), netdev)

    def _let_wait(self, names: Sequence[str], at: str) -> None:
        """Of a cube that is at one place; where one of several is to be, the document declares."""
        waiting = [(place, name) for place, name in enumerate(names) if name in self.cubes and name not in self.places.named]
        self.wiring.records += [WaitingRecord(name, at, place) for place, name in waiting]

    def _egress(self, netdev: str, attached: Sequence[str], owner: Cube | None, port: Port | None) -> None:
        """The TC egress hook: the port's egress program, then the attached cubes from inside to the wire."""
        target = PASS
        for cube in reversed(self._transparent(attached, "egress")):
            side = self._twin(cube)
            self._hop(cube, self._row(cube, OUTWARD, netdev), target, side)
            target = self._stub(cube, "egress", netdev, side)
        if owner is not None and port is not None and self._has(owner, "egress"):
            side = self._twin(owner)
            self._hop(owner, pins.AFTER_EGRESS | self.indices[owner.name][port.name], target, side)
            target = self._stub(owner, "egress", port.name, side)
        if target != PASS:
            self.wiring.records.append(HookRecord(netdev, "tcx_egress", target[1]))

    def _twin(self, cube: Cube) -> str:
        if family(cube) == "TC":
            return pins.MAIN
        self.wiring.twins.add(cube.name)
        return pins.TWIN

    def _offloads(self) -> None:
        """The far ends of veths that XDP cubes forward to need NAPI, complete checksums and tags in the frame: set on own
        links."""
        fast = {peer for peer, (cube, _) in self.peers.items() if family(cube) == "XDP" and not self._is_cube(peer)}
        for topology in self.topologies:
            for link in topology.links:
                if link.peer is None:
                    continue
                for end, other in ((link.end, link.peer), (link.peer, link.end)):
                    if end.netns is None and end.name in fast:
                        fast.discard(end.name)
                        self.wiring.records.append(OffloadRecord(other.name, other.netns))
        self.wiring.notes += [
            f"{netdev} carries XDP traffic and is not this topology's: if it is a veth, its other end needs "
            "'ethtool -K <dev> gro on tx off txvlan off tx-vlan-stag-hw-insert off', or redirected frames, TCP and VLAN tags are "
            "lost; if it is a network card, it needs 'ethtool -K <dev> rxvlan off', or it takes VLAN tags off"
            for netdev in sorted(fast & set(self.netdevs))
        ]


def family(cube: Cube) -> str:
    return family_of(cube.type)


def mode(cube: Cube) -> str:
    return {"XDP_SKB": "skb", "XDP_DRV": "drv"}.get(cube.type, "")
