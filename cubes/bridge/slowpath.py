"""The bridge's slow path: runs the spanning trees, and flushes learned addresses when a link goes down.

Only BPDUs are received, on a ring per cube and a worker per service, so nothing else delays them. The port states and each
tree's state are in tables, from which the next worker continues; without a worker, ports keep their states.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

from cubes.bridge import memory
from cubes.bridge.bpdu import frame, of_frame
from cubes.bridge.settings import Port, ports_of, trees
from cubes.bridge.steps import Configured, Enabled, Event, Received, Tick, step
from cubes.bridge.tree import Info, Settings, Tree
from cubes.lib.layout import index, number
from cubes.lib.macs import default_mac
from reconciler.service.sdk import CubeHandle, Metadata

_WORDS = 64  # of 64 VLANs each, in `stp_ports`
_ROW = struct.Struct(f"<II{2 * _WORDS}Q")  # struct stp_port
_STATION = struct.Struct("<6sH")


class SlowPath:
    """One bridge."""

    def __init__(self, cube: CubeHandle) -> None:
        self.cube, self.now = cube, 0.0
        self._trees: dict[int, Tree] = {}
        self._ports: dict[str, Port] = {}
        self._up: dict[str, bool] = {}
        self._guarded: dict[str, Port] = {}  # shut by a BPDU, as they were configured then
        self._cleared: dict[int, tuple[int, ...]] = {}
        self._kept: dict[bytes, bytes] = {}
        self._known_as: dict[tuple[int, str], int] = {}  # the identities that ports had in each tree
        self._moved = False  # a port may do something else now
        self._unsent: list[tuple[str, bytes]] = []
        self._started = False

    # -- what happens ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        self.now = max(self.now, now)
        if not self._started:
            self._started = True
            self.changed()
        for vlan, tree in list(self._trees.items()):
            if self.now >= tree.wake:
                self._do(vlan, Tick())

    def packet_in(self, packet: bytes, md: Metadata, reason: int) -> None:  # noqa: ARG002 - there is but one
        self.now = max(self.now, md.time / 1e9)
        port, bpdu, vlan = self._ports.get(md.port), of_frame(packet), md.metadata[0]
        if port is None or bpdu is None or vlan not in self._trees:
            return
        if port.guard:
            self._guard(port)
        elif port.name not in self._guarded:
            self._do(vlan, Received(port.name, bpdu))

    def changed(self) -> None:
        """The configuration changed, or links went up or down."""
        if not self._started:
            return
        self._ports = {port.name: port for port in ports_of(self.cube.config) if port.name in self.cube.ports}
        up = {name: self._carrier(port) for name, port in self._ports.items()}
        lost = [name for name, was in self._up.items() if was and not up.get(name, False)]
        self._guarded = {name: port for name, port in self._guarded.items() if self._ports.get(name) == port and up[name]}
        self._up = up
        self._forget({self.cube.ports[name] for name in lost if name in self.cube.ports})
        wanted = trees(self.cube.config, self.cube.name, self.cube.ports)
        for vlan in self._trees.keys() - wanted.keys():
            del self._trees[vlan]
        for vlan, settings in wanted.items():
            if vlan not in self._trees:
                self._trees[vlan] = self._restored(vlan, settings)
                self._do(vlan, Configured(settings), at_once=False)
            self._configure(vlan, settings)
        self._moved = True
        self._publish(None)

    def _configure(self, vlan: int, settings: Settings) -> None:
        """A port with another peer starts from the beginning."""
        tree = self._trees[vlan]
        if tree.settings != settings:
            self._do(vlan, Configured(settings), at_once=False)
        for name in settings.ports:
            if self._identity(name) != self._known_as.get((vlan, name)):
                self._do(vlan, Enabled(name, up=False), at_once=False)
                self._known_as[vlan, name] = self._identity(name)
            self._do(vlan, Enabled(name, up=self._up[name] and name not in self._guarded), at_once=False)

    def _carrier(self, port: Port) -> bool:
        """A neighbour that is a cube is always there."""
        if not port.peer or ":" in port.peer:
            return bool(port.peer)
        netdev = self.cube.facts.get("netdevs", {}).get(port.peer)
        return bool(netdev and netdev["up"] and netdev["carrier"])

    def _guard(self, port: Port) -> None:
        if port.name in self._guarded:
            return
        self.cube.log("WARN", f"port {port.name} is shut: a BPDU arrived there (bpdu-guard)")
        self._guarded[port.name] = port
        for vlan, tree in list(self._trees.items()):
            if port.name in tree.ports:
                self._do(vlan, Enabled(port.name, up=False))

    def _do(self, vlan: int, event: Event, *, at_once: bool = True) -> None:
        before = self._trees[vlan]
        done = step(before, event, self.now)
        self._trees[vlan] = done.tree
        self._moved |= _cleared(before) != _cleared(done.tree)
        if done.forget:
            self._forget({self.cube.ports[name] for name in done.forget if name in self.cube.ports}, vlan)
        for name, bpdu in done.sent:
            port = self._ports.get(name)
            if port is not None and name in self.cube.ports:
                source = bytes.fromhex((port.mac or default_mac(self.cube.name, name)).replace(":", ""))
                self._unsent.append((name, frame(bpdu, source, vlan, tagged=port.native != vlan)))
        if at_once:
            self._publish([vlan])

    def _publish(self, vlans: Iterable[int] | None) -> None:
        """Port states are written before the tree's state is stored and BPDUs are sent: a worker that dies in between has
        stored too little, and no neighbour hears of a state that is not in force yet."""
        if self._moved:
            self._moved = False
            self._clear()
        self._remember(vlans)
        unsent, self._unsent = self._unsent, []
        for name, packet in unsent:
            self.cube.send_packet_out(packet, name, "EGRESS")

    # -- tables ---------------------------------------------------------------------------------------------------

    def _identity(self, name: str) -> int:
        return self._ports[name].identity(self.cube.name)

    def _restored(self, vlan: int, settings: Settings) -> Tree:
        """The state that the previous worker stored. Received information is trusted for as long as it takes to be received
        again: a port that was not forwarding does not start to meanwhile."""
        tree = Tree(settings)
        for name in settings.ports:
            row = self.cube.table("stp_memory").get(_key(self.cube.ports[name], vlan))
            port = memory.remembered(row) if row is not None and memory.identity_of(row) == self._identity(name) else None
            if port is not None:
                if port.info == Info.RECEIVED:
                    port.info_until = max(port.info_until, self.now + 3 * port.times.hello)
                tree.ports[name] = port
                self._known_as[vlan, name] = self._identity(name)
        # Ports without a memory are made by this, and all think again what they are.
        tree.settings = replace(settings, ports={name: said for name, said in settings.ports.items() if name in tree.ports})
        return tree

    def _remember(self, vlans: Iterable[int] | None) -> None:
        """Store the trees' state; None: of all trees, and the rows of trees that no longer exist are deleted."""
        wanted = {
            _key(self.cube.ports[name], vlan): memory.memory(port, self._identity(name))
            for vlan in (self._trees if vlans is None else vlans)
            for name, port in self._trees[vlan].ports.items()
            if name in self.cube.ports
        }
        table = self.cube.table("stp_memory")
        if vlans is None:
            for key in [key for key, _ in table.items() if key not in wanted]:
                table.delete(key)
            self._kept = {}
        for key, row in wanted.items():
            if self._kept.get(key) != row:
                table.set(key, row)
                self._kept[key] = row

    def _clear(self) -> None:
        """Write the port states; those that stop forwarding first, so that there is no loop between two writes."""
        table = self.cube.table("stp_ports")
        wanted = {self.cube.ports[name]: (self._identity(name), *_words(self._trees, name)) for name in self._ports}
        changed = {at: words for at, words in wanted.items() if self._cleared.get(at) != words}
        for at, words in changed.items():
            row = table.get(index(at)) or bytes(_ROW.size)
            identity, _, *known = _ROW.unpack(row)
            kept = [old & new for old, new in zip(known, words[1:], strict=True)] if identity == words[0] else [0] * len(known)
            table.set(index(at), _ROW.pack(words[0] if identity == words[0] else 0, 0, *kept))
        for at, words in changed.items():
            table.set(index(at), _ROW.pack(words[0], 0, *words[1:]))
            self._cleared[at] = words

    def _forget(self, ports: set[int], vlan: int | None = None) -> None:
        """What was learned at these ports."""
        if not ports:
            return
        table = self.cube.table("fwdtable")
        for key, row in list(table.items()):
            if number(row[:4]) in ports and vlan in (None, _STATION.unpack(key)[1]):
                table.delete(key)


def _key(port: int, vlan: int) -> bytes:
    return struct.pack("<II", port, vlan)


def _cleared(tree: Tree) -> list[tuple[str, bool, bool]]:
    return [(name, port.learn, port.forward) for name, port in tree.ports.items()]


def _words(trees: dict[int, Tree], name: str) -> list[int]:
    """A bit for each VLAN in which a port learns, then for each in which it forwards."""
    words = [0] * (2 * _WORDS)
    for vlan, tree in trees.items():
        port = tree.ports.get(name)
        if port is not None:
            words[vlan // 64] |= port.learn << vlan % 64
            words[_WORDS + vlan // 64] |= port.forward << vlan % 64
    return words
