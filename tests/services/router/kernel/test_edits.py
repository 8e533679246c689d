"""Routes are added, removed and replaced while packets pass: every packet goes where the table before an edit says or the one after."""
from __future__ import annotations

import ipaddress
import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from cubes.router.tree import tree_of
from cubes.router.tree6 import tree6_of
from reconciler.kernel import netns
from reconciler.plan.steps import Step
from tests.lib.lab import Counts, counts
from tests.services.router.frames import udp
from tests.services.router.lab import RouterLab

SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24]}
  h3: {addresses: [10.0.3.1/24]}
  h4: {addresses: [10.0.4.1/24]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: p1, peer: v1, ip: 10.0.1.254/24, mac: "02:00:00:00:01:fe"}
      - {name: p2, peer: v2, ip: 10.0.2.254/24}
      - {name: p3, peer: v3, ip: 10.0.3.254/24}
      - {name: p4, peer: v4, ip: 10.0.4.254/24}
"""
HOPS = {"10.0.2.1": "h2", "10.0.3.1": "h3", "10.0.4.1": "h4"}
WITHIN = 200  # frames that may be on their way at once
_SO_RCVBUFFORCE = 33
Routes = dict[ipaddress.IPv4Network, str]


def some_routes(chance: random.Random, count: int) -> Routes:
    """Many of them in one another, of all lengths, so that an edit is felt by others' addresses too."""
    found = {}
    for _ in range(count):
        length = chance.choice((9, 12, 16, 17, 20, 24, 24, 25, 28, 32))
        value = chance.choice((0x14000000, 0x14010000, 0x14010200, 0x1E000000)) ^ chance.getrandbits(chance.choice((4, 8, 12, 24)))
        found[ipaddress.IPv4Network((value >> (32 - length) << (32 - length), length))] = chance.choice(list(HOPS))
    return found


def edited(chance: random.Random, routes: Routes) -> Routes:
    kept = {network: hop for network, hop in routes.items() if network.prefixlen == 0 or chance.random() > 0.15}
    moved = {network: chance.choice(list(HOPS)) for network in kept if chance.random() < 0.15}
    return kept | moved | some_routes(chance, chance.randint(0, 8))


def hop_of(routes: Routes, address: ipaddress.IPv4Address) -> str:
    """The model: the longest of all prefixes that an address is in."""
    return routes[max((network for network in routes if address in network), key=lambda network: network.prefixlen)]


class Stream:
    """Frames to all `targets` in turn, numbered; `phases` says of each in which state it was sent: 2n is table n, 2n + 1 an edit of it."""

    def __init__(self, lab: RouterLab, targets: list[ipaddress.IPv4Address]) -> None:
        self.phase, self.phases = 0, []
        self.arrived: dict[int, list[str]] = {}
        self._ethertype, self._at = (0x0800, 42) if lab.family == 4 else (0x86DD, 62)
        self._frames = [udp(lab, target=str(target), payload=b"NUMBER" + bytes(34)) for target in targets]
        self._over = threading.Event()
        self._socks = {_raw(lab.space(host), self._ethertype): host for host in HOPS.values()}
        self._sock = _raw(lab.space("h1"))
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]

    def _send(self) -> None:
        while not self._over.is_set():
            number = len(self.phases)
            frame = self._frames[number % len(self._frames)]
            self.phases.append(self.phase)
            self._sock.send(frame[: self._at + 6] + struct.pack("!I", number) + frame[self._at + 10 :])
            time.sleep(0.0003)

    def _receive(self) -> None:
        while (ready := select.select(list(self._socks), [], [], 0.5)[0]) or not self._over.is_set():
            for sock in ready:
                frame = sock.recv(2048)
                if frame[self._at : self._at + 6] == b"NUMBER":
                    self.arrived.setdefault(struct.unpack_from("!I", frame, self._at + 6)[0], []).append(self._socks[sock])

    def go_on(self) -> None:
        """Let some frames pass, however long that takes."""
        enough = len(self.phases) + len(self._frames)
        while len(self.phases) < enough:
            time.sleep(0.01)

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for sock in (self._sock, *self._socks):
            sock.close()


def _raw(space: str, ethertype: int = 0) -> socket.socket:
    with netns.inside(space):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        sock.bind(("eth0", ethertype))
    return sock


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_no_packet_goes_where_neither_table_says_and_none_is_lost_while_routes_are_edited(hook: str, family: int) -> None:
    chance = random.Random(hook)
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        cube = lab.cube("r1")
        cube["arp-table"] = [{"address": lab.said(hop), "interface": f"p{host[1]}", "mac": lab.mac(host)} for hop, host in HOPS.items()]
        tables = [{ipaddress.IPv4Network("0.0.0.0/0"): "10.0.2.1"} | some_routes(chance, 60)]
        put(lab, tables[0])
        targets = [network[chance.randrange(network.num_addresses)] for network in list(tables[0])[1:]]
        with Stream(lab, targets) as stream:
            for _ in range(12):
                stream.go_on()
                tables.append(edited(chance, tables[-1]))
                stream.phase += 1
                put(lab, tables[-1])
                stream.phase += 1
            stream.go_on()
        assert counts(lab.plan()) == Counts()
    hosts = [[HOPS[hop_of(table, target)] for target in targets] for table in tables]
    assert len(stream.phases) >= 13 * len(targets)
    found = Counter(verdict(stream, hosts, number) for number in range(len(stream.phases)))
    assert set(found) == {""}, found


def put(lab: RouterLab, routes: Routes) -> None:
    lab.cube("r1")["route"] = [{"network": lab.said(str(network)), "nexthop": lab.said(hop)} for network, hop in routes.items()]
    lab.apply()


def verdict(stream: Stream, hosts: list[list[str]], number: int) -> str:
    """'' if a frame came to one host, by a table that was in force at some time of its way."""
    first, last = stream.phases[number], stream.phases[min(number + WITHIN, len(stream.phases) - 1)]
    came = stream.arrived.get(number, [])
    if len(came) != 1:
        return "lost" if not came else "twice"
    allowed = {hosts[table][number % len(hosts[0])] for table in range(first // 2, (last + 1) // 2 + 1)}
    return "" if came[0] in allowed else f"at {came[0]}, not {sorted(allowed)}"


@pytest.mark.parametrize("family", [4, 6])
def test_between_any_two_steps_of_an_edit_the_tables_say_all_of_the_old_routes_or_all_of_the_new(family: int) -> None:
    chance = random.Random(5)
    rows = ("root", "ways", "blocks") if family == 4 else ("root", "ways", "nodes", "tests")
    with RouterLab(SCENARIO, family=family) as lab:
        routes = {ipaddress.IPv4Network("0.0.0.0/0"): "10.0.2.1"} | some_routes(chance, 60)
        put(lab, routes)
        seen: list[set[int]] = []

        def packed(address: object) -> bytes:
            return ipaddress.ip_address(lab.said(str(address))).packed

        exchanged: set[int] = set()

        def look(_number: int, step: Step) -> None:
            if step.operation.kind == "create_map":
                exchanged.add(len(seen))  # the programs have the old tables, and then the new ones, whatever their pins are called
            if len(seen) in exchanged:
                return
            live = {name: lab.table("r1", name) for name in (f"fib{family}_{each}" for each in rows)}
            tree = tree_of(live) if family == 4 else tree6_of(live)
            found = [(tree.find(packed(target)) or b"")[-len(packed(target)) :] for target in targets]
            said = [[packed(hop_of(table, target)) for target in targets] for table in (old, routes)]
            assert found in said
            seen[-1].add(said.index(found))

        usual = lab.options
        lab.options = replace(usual, before=look)
        try:
            for _ in range(12):
                seen.append(set())
                old, routes = routes, edited(chance, routes)
                targets = [network[at] for network in (*old, *routes) for at in (0, -1)]
                put(lab, routes)
        finally:
            lab.options = usual
        assert seen.count({0, 1}) >= 6
