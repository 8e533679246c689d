"""The router's slow path: queues packets until their next hop's MAC address is resolved.

The datapath hands up packets whose next hop is unresolved, and the replies for which packets wait. It relies on this worker
for as long as it announces each second that it is alive; afterwards the datapath sends requests itself, and drops the packets
that cause them.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Any

from cubes.lib.layout import index, number
from cubes.lib.macs import default_mac
from cubes.router.fib import LOCAL, REMOTE, Address, Fib, derive, link_local_address, links_of
from cubes.router.namespace import in_force
from cubes.router.packets import Station, answer_of, forwarded, question, source_of, target_of, unreachable
from cubes.router.waiting import Hop, Packet, Queue, Source, WaitingRoom
from reconciler.service.sdk import CubeHandle, Env, Metadata, decode, encode

MISS, RESOLVED = 1, 2  # enum slow_reason in bpf/router/router.h
TRIES, INTERVAL = 3, 1.0  # questions, and seconds between them
HEARTBEAT, SCAN = 1.0, 5.0  # seconds
ERRORS = 250  # that a source is sent in a second, as in bpf/router/router_error.c
REACHABLE, AHEAD = 60, 20  # seconds that a neighbour is believed; what is in use is asked for so much earlier


class SlowPath:
    """One router's waiting room."""

    def __init__(self, cube: CubeHandle) -> None:
        self.cube = cube
        self._waiting = WaitingRoom()
        self._told: Counter[Source] = Counter()  # errors since the last heartbeat
        self._heartbeat = self._scan = 0.0
        self.changed()

    def changed(self) -> None:
        """The configuration is another one: who waits for what is no longer there waits in vain, until its time is up."""
        config = in_force(self.cube.config, self.cube.facts, self.cube.name)
        self._fib: Fib = derive(config, links_of(config, self.cube.facts))
        said = {port["name"]: port for port in config.get("ports", ())}
        self._ports: dict[str, Any] = said
        macs = {name: port.get("mac") or default_mac(self.cube.name, name) for name, port in said.items()}
        self._macs = {name: encode("mac", mac, 6, Env()) for name, mac in macs.items()}

    def packet_in(self, packet: bytes, md: Metadata, reason: int) -> None:
        if reason == RESOLVED:
            address = answer_of(packet)
            if address is not None:
                self._release((address, md.port))
        elif reason == MISS and md.length == len(packet):  # what was cut off cannot be sent on
            self._wait(packet, md)

    def tick(self, now: float) -> None:
        """Announce that the worker is alive; repeat or give up requests; refresh neighbours in use."""
        if now - self._heartbeat >= HEARTBEAT:
            self._heartbeat = now
            self._told.clear()
            self.cube.table("agent").set(bytes(4), index(int(now)))
        for hop, queue in self._waiting:
            if self._release(hop) or now - queue.asked < INTERVAL:
                continue
            if queue.tries < TRIES:
                self._ask(hop, queue, now)
            else:
                self._give_up(hop)
        if now - self._scan >= SCAN:
            self._scan = now
            self._refresh(int(now))

    def held(self) -> int:
        """Packets that wait: what would be lost with this process."""
        return self._waiting.packets

    # -- waiting ----------------------------------------------------------------------------------------------

    def _wait(self, packet: bytes, md: Metadata) -> None:
        hop = self._next_hop(packet)
        if hop is None:
            return
        queue = self._waiting.add(hop, Packet(packet, md.port, source_of(packet)))
        if queue is not None and not self._release(hop) and not queue.tries:  # it may have been learned meanwhile
            self._ask(hop, queue, md.time / 1e9)

    def _next_hop(self, packet: bytes) -> Hop | None:
        target = target_of(packet)
        row = self._fib.find(target) if target is not None else None
        if target is None or row is None or row.kind == LOCAL:
            return None
        return (row.via if row.kind == REMOTE else target), row.port

    def _release(self, hop: Hop) -> bool:
        """Send all packets that wait for a next hop, in order, if it is resolved."""
        mac = self._known(hop) if self._waiting.get(hop) else None
        if mac is None:
            return False
        source = self._macs[hop[1]]
        packets = [forwarded(packet.frame, source, mac) for packet in self._waiting.pop(hop)]
        self.cube.send_packet_out(packets, hop[1], "EGRESS")
        return True

    def _known(self, hop: Hop) -> bytes | None:
        address, port = hop
        if port not in self.cube.ports:
            return None
        row = self.cube.table("neighbours").get(encode("ip", str(address), 16, Env()) + index(self.cube.ports[port]))
        return row[:6] if row is not None else None

    def _ask(self, hop: Hop, queue: Queue, now: float) -> None:
        queue.asked, queue.tries = now, queue.tries + 1
        asker = self._asker(hop)
        if asker is not None:
            self.cube.send_packet_out(question(asker, hop[0]), hop[1], "EGRESS")

    def _asker(self, hop: Hop) -> Station | None:
        """The source of a request: the port's address in the neighbour's subnet, or its link-local one."""
        address, port = hop
        if port not in self._macs or port not in self.cube.ports:
            return None
        if address.version == 6:
            return Station(self._macs[port], link_local_address(self._macs[port]))
        row = self._fib.find(address)
        return Station(self._macs[port], row.via) if row is not None else None

    def _give_up(self, hop: Hop) -> None:
        for packet in self._waiting.pop(hop):
            router = self._speaker(packet.port, hop[0].version)
            error = unreachable(packet.frame, router) if router is not None and self._told[packet.source] < ERRORS else None
            if error is not None:
                self._told[packet.source] += 1
                self.cube.send_packet_out(error, packet.port, "EGRESS")

    def _speaker(self, port: str, version: int) -> Station | None:
        """The source address of an ICMP error about a packet that arrived at a port."""
        said = self._ports.get(port, {}).get("ip" if version == 4 else "ipv6")
        return Station(self._macs[port], ipaddress.ip_interface(said).ip) if said and port in self.cube.ports else None

    # -- neighbours -------------------------------------------------------------------------------------------

    def _refresh(self, now: int) -> None:
        """Re-resolve neighbours in use before their entries expire, so that no packet has to wait."""
        for hop, mac in self._ageing(now):
            asker = self._asker(hop)
            if asker is not None:
                self.cube.send_packet_out(question(asker, hop[0], mac), hop[1], "EGRESS")

    def _ageing(self, now: int) -> Iterator[tuple[Hop, bytes]]:
        names = {at: name for name, at in self.cube.ports.items()}
        for key, row in self.cube.table("neighbours").items():
            seen, used, port = number(row[8:12]), number(row[12:16]), names.get(number(key[16:20]))
            if port is not None and REACHABLE - AHEAD <= now - seen <= REACHABLE and now - used <= AHEAD:
                yield (_address(key[:16]), port), row[:6]


def _address(raw: bytes) -> Address:
    return ipaddress.ip_address(decode("ip", raw, Env()))
