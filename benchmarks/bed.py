"""Where a contender works: a namespace in the middle, and hosts around it, each joined to it by one veth.

    with Bed(["h1", "h2"]) as bed:
        bed.apply({"cubes": [...]})        # pcn in the middle: peers are the netdevs h1 and h2
        bed.run("ip link add ...")          # or whatever else forwards
        with bed.flow("h1", "h2", frame, into="TC") as flow:
            flow.turn(100_000)              # nanoseconds a packet

In the middle a host's wire has the host's name, in the host it is eth0. Every contender has a bed of its own that is made in
the same way, so that they differ in what forwards and in nothing else. IPv6 is off, and nothing speaks unasked.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from benchmarks import machine, programs
from benchmarks.queues import set_queues
from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.engine.apply import ApplyResult, Options, apply
from reconciler.kernel import bpf, netlink, netns, offload, rtnl
from reconciler.model import LinkEnd, Route
from tests.lib.netns_topology import NetnsTopology, run_in, send_frames, settle

_LIVE_FRAMES, _BATCH = 2, 64


class Bed:
    """`subnets`: each host has a subnet of its own, 10.0.N.0/24, and .254 of it as its gateway; else all are in 10.0.0.0/24."""

    def __init__(self, hosts: Sequence[str], *, subnets: bool = False, gro: bool = True) -> None:
        self.hosts, self.subnets, self._gro = list(hosts), subnets, gro

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.world = stack.enter_context(NetnsTopology())
            self.options = Options(root=self.world.bpffs)
            self.middle = self.world.namespace("m")
            for number, host in enumerate(self.hosts, 1):
                self._wire(host, number)
            stack.callback(self._delete)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self, host: str, number: int) -> None:
        space = self.world.namespace(host)
        self.world.wire(host, "eth0", space, near_netns=self.middle, mac=self.mac(host))
        if self._gro:  # without it (or an XDP program) a veth takes no frames from XDP
            offload.put(host, "gro", True, self.middle)
        routes = (Route("default", f"10.0.{number}.254"),) if self.subnets else ()
        netlink.configure(LinkEnd("eth0", space, (f"{self.address(host)}/24",), routes))
        netlink.configure(LinkEnd(host, self.middle, mac=self.gateway_mac(host)))
        settle((host, self.middle), ("eth0", space))

    def _delete(self) -> None:
        if os.path.lexists(self.options.root):
            with netns.inside(self.middle):
                apply([_document({})], self.options, delete=True)

    # -- names --------------------------------------------------------------------------------------------------

    def number(self, host: str) -> int:
        return self.hosts.index(host) + 1

    def space(self, host: str) -> str:
        return self.world.name(host)

    def address(self, host: str) -> str:
        return f"10.0.{self.number(host)}.1" if self.subnets else f"10.0.0.{self.number(host)}"

    def mac(self, host: str) -> str:
        return f"02:00:00:00:{self.number(host):02x}:01"

    def gateway_mac(self, host: str) -> str:
        """Of the wire's end in the middle."""
        return f"02:00:00:00:{self.number(host):02x}:fe"

    def index(self, host: str) -> int:
        """Of the wire's end in the middle."""
        with netns.inside(self.middle):
            return rtnl.links()[host].index

    # -- what forwards ------------------------------------------------------------------------------------------

    def apply(self, spec: dict[str, Any]) -> ApplyResult:
        """pcn in the middle: `spec` of a topology."""
        with netns.inside(self.middle):
            return apply([_document(spec)], self.options)

    def run(self, *commands: str, host: str | None = None) -> None:
        """Commands in the middle, or in a host."""
        for command in commands:
            run_in(self.space(host) if host else self.middle, command.split(), timeout=60)

    def feed(self, command: str, text: str) -> None:
        """A command in the middle that reads `text`, such as rules."""
        with netns.inside(self.middle):
            subprocess.run(command.split(), input=f"{text}\n", text=True, check=True, capture_output=True, timeout=300)

    def udp(self, source: str, target: str, *, size: int = 60, ports: tuple[int, int] = (1000, 2000), origin: str = "",
            to: str = "", via: str = "") -> bytes:  # fmt: skip
        """A frame from host to host, over the gateway if they have subnets. `origin`, `to`: another source and target address,
        `via` another station. The header's checksum is right, and there is none of UDP."""
        mac = via or (self.gateway_mac(source) if self.subnets else self.mac(target))
        ends = bytes.fromhex((mac + self.mac(source)).replace(":", ""))
        addresses = bytes(map(int, f"{origin or self.address(source)}.{to or self.address(target)}".split(".")))
        head = struct.pack("!BBHHHBBH8s", 0x45, 0, size - 14, 0, 0x4000, 64, 17, 0, addresses)
        total = sum(struct.unpack("!10H", head))
        head = head[:10] + struct.pack("!H", ~(total % 0xFFFF) & 0xFFFF) + head[12:]
        return ends + b"\x08\x00" + head + struct.pack("!HHHH", *ports, size - 34, 0) + bytes(size - 42)

    def udp6(self, source: str, target: str) -> bytes:
        """A frame of 64 bytes from host to host of two subnets, fd00:N::/64, over the gateway, without a checksum of UDP."""
        ends = bytes.fromhex((self.gateway_mac(source) + self.mac(source)).replace(":", ""))
        addresses = b"".join(b"\xfd\0" + struct.pack("!H10xH", self.number(host), 1) for host in (source, target))
        head = struct.pack("!IHBB", 6 << 28, 10, 17, 64) + addresses
        return ends + b"\x86\xdd" + head + struct.pack("!HHHH2x", 1000, 2000, 10, 0)

    def say(self, host: str, frame: bytes = b"") -> None:
        """Let a host send a frame; without one, one that nobody answers, so that a bridge learns where the host is."""
        unasked = bytes.fromhex("ff" * 6 + self.mac(host).replace(":", "")) + b"\x88\xb5" + bytes(46)
        send_frames(self.space(host), "eth0", [frame or unasked])

    def on_all_cpus(self) -> None:
        """Wires with a queue for each CPU, so that what one puts in is carried on by it."""
        many = os.cpu_count() or 1
        for host in self.hosts:
            ends = ((host, self.middle), ("eth0", self.space(host)))
            for sends in (1, many):
                for name, space in ends:
                    set_queues(name, space, many, sends)

    @contextlib.contextmanager
    def attached(self, program: int, kind: str, host: str) -> Iterator[None]:
        """A hand-written program where a host's packets come into the middle."""
        with netns.inside(self.middle), programs.attached(program, kind, rtnl.links()[host].index):
            yield

    @contextlib.contextmanager
    def flow(self, source: str, target: str, frame: bytes, *, into: str) -> Iterator[Flow]:
        """`into`: the kind of program that counts at the target, TC or XDP; what the contender makes is what suits it."""
        with netns.inside(self.space(target)):
            counter = programs.Counter(into, rtnl.links()["eth0"].index)
        try:
            with netns.inside(self.space(source)):
                program = programs.generator(frame, out=rtnl.links()["eth0"].index)
            try:
                yield Flow(self.space(source), program, frame, counter)
            finally:
                os.close(program)
        finally:
            counter.close()


class Flow:
    """Frames that one host puts onto its wire as fast as the CPU carries them to the end of their way."""

    def __init__(self, space: str, program: int, frame: bytes, counter: programs.Counter) -> None:
        self._space, self._program, self._frame, self.counter = space, program, frame, counter
        self.lost = 0

    def send(self, packets: int) -> int:
        """Put so many in; gives how many have arrived once the CPU that carries them is done with them."""
        before = self.arrived()
        self.put(packets)
        return self.arrived() - before

    def put(self, packets: int) -> None:
        with netns.inside(self._space):
            inject(self._program, self._frame, packets)

    def arrived(self) -> int:
        """How many have come to the counter so far."""
        return self.counter.value()

    def turn(self, packets: int) -> float:
        """Nanoseconds (of CPU) a packet, from generator to counter. Raises RuntimeError if more than one of 100 is lost."""
        began = machine.spent()
        arrived = self.send(packets)
        took = machine.spent() - began
        self.lost += packets - arrived
        if arrived < 0.99 * packets:
            raise RuntimeError(f"of {packets} packets {arrived} arrived")
        return took / arrived

    def turner(self, packets: int) -> Callable[[], float]:
        return lambda: self.turn(packets)


def inject(program: int, frame: bytes, packets: int) -> None:
    """Run an XDP program on so many frames that are then really sent (BPF_F_TEST_XDP_LIVE_FRAMES)."""
    data = ctypes.create_string_buffer(frame, len(frame))
    attributes = ctypes.create_string_buffer(80)
    struct.pack_into("<IIIIQQIIIIQQIIII", attributes, 0, program, 0, len(frame), 0, ctypes.addressof(data), 0, packets, 0,
                     0, 0, 0, 0, _LIVE_FRAMES, 0, _BATCH, 0)  # fmt: skip
    bpf.bpf(bpf.PROG_TEST_RUN, attributes)


def _document(spec: dict[str, Any]) -> Document:
    data = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "bench"}, "spec": spec}
    return parse(json.dumps(data), "bench")[0]
