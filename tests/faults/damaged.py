"""Two graphs to damage, one under TC and one under XDP, with something learned and something counted in each; and the means
to damage them: plain system calls, as anybody with root could do."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.engine.apply import drift
from reconciler.engine.session import SessionCache
from reconciler.graph.diff import Change
from reconciler.kernel import bpf, maps, netns, percpu, programs
from reconciler.present.show import show
from tests.faults.bench import Bench
from tests.faults.graphs import Data, cube, hosts
from tests.lib import residue
from tests.lib.packets import ping, send_frames

STATION = "02:00:00:00:00:77"  # learned from one frame, and never heard of again
BARRED = "192.0.2.66"  # counted by the blacklist, whoever sends from it
COUNTED = 3


def tc_graph(tag: str) -> Data:
    """A bridge with three kinds of neighbours: a host, a host behind a guard, and a forwarder that leads to a host; and a
    watcher on a port."""
    br, fwd = f"{tag}-br", f"{tag}-fwd"
    ports = [
        {"name": "p1", "peer": f"{tag}-1", "tcubes": [f"{tag}-watch"]},
        {"name": "p2", "peer": f"{tag}-2", "tcubes": [f"{tag}-guard"]},
        {"name": "p3", "peer": f"{fwd}:w"},
    ]
    actions = [{"inport": a, "action": "FORWARD", "outport": b} for a, b in (("w", "e"), ("e", "w"))]
    cubes = [
        {"name": br, "service-name": "simplebridge", "ports": ports,
         "fdb": {"aging-time": 1000, "entry": [{"address": "02:00:00:00:00:99", "port": "p1"}]}},
        {"name": fwd, "service-name": "simpleforwarder", "actions": actions,
         "ports": [{"name": "w", "peer": f"{br}:p3"}, {"name": "e", "peer": f"{tag}-3"}]},
        {"name": f"{tag}-watch", "service-name": "transparenthelloworld"},
        {"name": f"{tag}-guard", "service-name": "ddosmitigator", "blacklist-src": [{"ip": BARRED}, {"ip": "192.0.2.67"}]},
    ]  # fmt: skip
    return _topology(tag, cubes)


def xdp_graph(tag: str) -> Data:
    """Two bridges joined to each other; on the netdev of one of them a guard, and a watcher whose TC twin sees what goes out."""
    one, two = f"{tag}-br", f"{tag}-two"
    cubes: list[Data] = [
        {"name": one, "service-name": "simplebridge", "type": "XDP_DRV", "fdb": {"aging-time": 1000},
         "ports": [{"name": "p1", "peer": f"{tag}-1"}, {"name": "p2", "peer": f"{tag}-2"}, {"name": "up", "peer": f"{two}:down"}]},
        {"name": two, "service-name": "simplebridge", "type": "XDP_DRV",
         "ports": [{"name": "down", "peer": f"{one}:up"}, {"name": "p3", "peer": f"{tag}-3"}]},
        {"name": f"{tag}-guard", "service-name": "ddosmitigator", "type": "XDP_DRV", "blacklist-src": [{"ip": BARRED}]},
        {"name": f"{tag}-watch", "service-name": "transparenthelloworld", "type": "XDP_DRV"},
    ]  # fmt: skip
    return _topology(tag, cubes, attachments=[{"netdev": f"{tag}-2", "tcubes": [f"{tag}-guard", f"{tag}-watch"]}])


def routed_graph(tag: str) -> Data:
    """A router of several µCubes between three subnets."""
    ports = [{"name": f"p{number}", "peer": f"{tag}-{number}", "ip": f"10.8.{number}.254/24"} for number in (1, 2, 3)]
    data = _topology(tag, [{"name": f"{tag}-gw", "service-name": "router", "ports": ports}])
    for number, link in enumerate(data["spec"]["links"], 1):
        link["peer"] |= {"addresses": [f"10.8.{number}.1/24"], "routes": [{"to": "default", "via": f"10.8.{number}.254"}]}
    return data


GRAPHS = {"TC": tc_graph, "XDP": xdp_graph, "routed": routed_graph}


def _topology(tag: str, cubes: list[Data], **more: Any) -> Data:
    links = []
    for number in (1, 2, 3):
        host = {"name": "eth0", "netns": f"{tag}-h{number}", "addresses": [f"10.8.0.{number}/24"], "mac": f"02:00:00:08:00:0{number}"}
        if number == 1:
            host |= {"routes": [{"to": "192.0.2.0/24", "via": "10.8.0.2"}], "mtu": 1400}
        links.append({"name": f"{tag}-{number}", "kind": "veth", "peer": host})
    return {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "damaged"},
            "spec": {"namespaces": [f"{tag}-h{number}" for number in (1, 2, 3)], "links": links, "cubes": cubes, **more}}  # fmt: skip


@dataclass
class Rig:
    """A graph that is up, and has learned and counted."""

    bench: Bench
    data: Data
    tag: str
    family: str
    neighbours: set[str] = field(default_factory=set)
    kept: SessionCache = field(default_factory=SessionCache)

    @property
    def root(self) -> str:
        return self.bench.root

    def path(self, relative: str) -> str:
        """Of a pin; cubes/br is short for cubes/<tag>-br."""
        top, _, rest = relative.partition("/")
        return f"{self.root}/{top}/{self.tag}-{rest}" if top in ("cubes", "links", "namespaces") else f"{self.root}/{relative}"

    def drift(self) -> list[Change]:
        """As it is seen by whoever looks for the first time, and by whoever goes on from his last look: both see the same, once
        the kernel is done (with a namespace's netdevs, say, which go some time after it)."""
        deadline = time.monotonic() + 2
        while (found := self._drift()) != self._drift(kept=self.kept):
            assert time.monotonic() < deadline, found
        return found

    def _drift(self, **more: Any) -> list[Change]:
        return sorted(drift(self.bench.options(**more)), key=lambda change: change.address)

    def heal(self) -> Any:
        return self.bench.apply(self.data)

    def netdev(self, number: int) -> str:
        return f"{self.tag}-{number}"

    def host(self, number: int) -> str:
        return f"{self.tag}-h{number}"

    def index(self, number: int) -> int:
        return socket.if_nametoindex(self.netdev(number))

    def silent(self) -> list[str]:
        """Pairs of neighbouring hosts that do not reach each other."""
        there = hosts(self.data)
        pairs = [*zip(there, [*there[1:], there[0]], strict=True), (there[1], there[0])]
        return [f"{a.netns} -> {b.ip}" for a, b in pairs if not _reaches(a.netns, b.ip)]

    def learn(self) -> None:
        """A station behind port p1 of the first bridge, which is not heard of again; and packets that the guard counts. Or
        what a router knows of its neighbours by now."""
        if self.family == "routed":
            self.neighbours = self._neighbours()
            assert len(self.neighbours) == 3
            return
        send_frames(self.host(1), "eth0", [_frame(STATION, "02:00:00:08:00:02", "10.8.0.1")])
        send_frames(self.host(2), "eth0", [_frame("02:00:00:08:00:02", "02:00:00:08:00:01", BARRED)] * COUNTED)
        deadline = time.monotonic() + 2
        while self.lost() and time.monotonic() < deadline:
            time.sleep(0.01)

    def lost(self) -> list[str]:
        """What was learned or counted and is not known any more."""
        if self.family == "routed":
            return sorted(self.neighbours - self._neighbours())
        (document,) = show(self.bench.options(), ["damaged"], state=True)
        learned = [entry["address"] for entry in cube(document, "br")["fdb"].get("entry", ())]
        counts = {entry["ip"]: int(entry["drop-pkts"]) for entry in cube(document, "guard").get("blacklist-src", ())}
        found = [] if STATION in learned else [f"the station {STATION}, among {learned}"]
        return found + ([] if counts.get(BARRED) == COUNTED else [f"the {COUNTED} packets from {BARRED}, among {counts}"])


    def _neighbours(self) -> set[str]:
        with opened(self.path("cubes/gw/tables/neighbours")) as table:
            return {key.hex() for key in maps.keys(table, maps.info(table).spec)}


def _reaches(space: str, address: str) -> bool:
    """At the first knock, or at one of the next: a router has to ask for a neighbour with the packet that is for it."""
    return any(ping(space, address, 1, timeout=timeout) for timeout in (0.2, 0.3, 2.0))


def _frame(source: str, target: str, sender: str) -> bytes:
    """An IPv4 datagram that nobody waits for."""
    ends = bytes.fromhex((target + source).replace(":", ""))
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton(sender), socket.inet_aton("10.8.0.1"))
    return (ends + b"\x08\x00" + header + struct.pack("!HHHH", 9, 9, 8, 0)).ljust(60, b"\0")


def _only_speak_when_asked(space: str) -> None:
    """A host's own IPv6 multicast, which it sends at times of its own, may take a wrong way while something is damaged; and where a
    bridge has learned it from is not put right by what heals the damage."""
    with netns.inside(space):
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")


@contextmanager
def rig(root: str, family: str) -> Iterator[Rig]:
    tag = residue.prefix(0x400 + next(_serial))
    there = Rig(Bench(root), GRAPHS[family](tag), tag, family)
    try:
        there.bench.apply(there.data)
        for number in (1, 2, 3):
            _only_speak_when_asked(there.host(number))
        assert there.silent() == []
        there.learn()
        assert there.lost() == []
        time.sleep(0.1)  # so that directories count as unchanged
        assert there.drift() == []
        yield there
    finally:
        there.bench.delete(there.data)


_serial = iter(range(1, 1 << 20))

# -- damage ------------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: str) -> Iterator[int]:
    fd = bpf.open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


def write(path: str, key: bytes, value: bytes) -> None:
    with opened(path) as table:
        maps.update(table, key, percpu.spread(maps.info(table).spec, value))


def erase(path: str, key: bytes) -> None:
    with opened(path) as table:
        assert maps.delete(table, key)


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def v4(address: str) -> bytes:
    """As the blacklist writes it."""
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)


@contextmanager
def stranger(kind: int = bpf.SCHED_CLS) -> Iterator[int]:
    """A program that is not ours: it lets everything pass."""
    verdict = -1 if kind == bpf.SCHED_CLS else 2
    fd = programs.load(struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0), kind, "stranger")
    try:
        yield fd
    finally:
        os.close(fd)


def lose(path: str) -> None:
    """Remove a pin.

    A program array without pin or descriptor is emptied by the kernel a moment later. Whoever opens it by its id within that
    moment, as drift does, and closes it again, makes the kernel (6.18) keep the array for ever; so the moment is waited for.
    """
    array = not os.path.islink(path) and _is_program_array(path)
    os.unlink(path)
    if array:
        time.sleep(0.05)


def _is_program_array(path: str) -> bool:
    with opened(path) as fd:
        return f"map_type:\t{maps.PROG_ARRAY}\n" in Path(f"/proc/self/fdinfo/{fd}").read_text()


def put_in_place(fd: int, path: str) -> None:
    """Another object under a pin's name."""
    lose(path)
    bpf.pin(fd, path)


def another_map(path: str) -> None:
    """An empty map of the same shape under a table's name."""
    with opened(path) as table:
        seen = maps.info(table)
    fd = maps.create(seen.spec, seen.name)
    try:
        put_in_place(fd, path)
    finally:
        os.close(fd)


def detach(path: str) -> None:
    with opened(path) as link:
        bpf.bpf(bpf.LINK_DETACH, struct.pack("<I", link))


def flip(space: str, device: str, feature: Any) -> None:
    from reconciler.kernel import offload

    offload.put(device, feature, not offload.get(device, feature, space), space)
