"""A load balancer between a client (h1) and the backends' side (h2), written down once for IPv4 and run again over IPv6, into which
frames are put without a wire: what comes out is what the stub of a port made of it.

    with LbLab(hook="TC", family=6) as lab:
        lab.service(backends=[(11, 8080)])
        out = lab.request(sport=5000)         # the frame at the BACKEND port, taken apart by scapy; None: dropped
"""
from __future__ import annotations

import ipaddress
import itertools
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

from reconciler.kernel import netns, programs
from reconciler.kernel.bpffs import Bpffs
from tests.lib.lab import Lab
from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Ether, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, Packet, Raw, built

CLIENT_MAC, FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
SCENARIO = """
hosts: {h1: 192.0.2.1/24, h2: 192.0.2.254/24}
cubes:
  - name: lb
    service-name: lbrp
    ports:
      - {name: front, peer: v1, type: FRONTEND}
      - {name: back, peer: v2, type: BACKEND}
"""
REDIRECT = {"TC": 7, "XDP": 4}
NETWORKS = {4: ("192.0.2", "198.51.100", "10.0.0"), 6: ("2001:db8:1:", "2001:db8:2:", "2001:db8:3:")}


class LbLab(Lab):
    def __init__(self, *, hook: str = "TC", family: int = 4, text: str = SCENARIO) -> None:
        super().__init__(text, hook=hook)
        self.family = family
        self._stubs: dict[str, int] = {}

    # -- addresses: a number is a host's in its network -----------------------------------------------------------

    def _address(self, network: int, host: int) -> str:
        prefix = NETWORKS[self.family][network]
        if self.family == 4:
            return str(ipaddress.IPv4Address(f"{prefix}.0") + host)
        return str(ipaddress.IPv6Address(f"{prefix}:") + host)

    def client(self, host: int = 1) -> str:
        return self._address(0, host)

    def vip(self, host: int = 1) -> str:
        return self._address(1, host)

    def backend(self, host: int) -> str:
        return self._address(2, host)

    # -- configuration --------------------------------------------------------------------------------------------

    def add(self, *backends: tuple[int, int] | tuple[int, int, int], vip: int = 1, vport: int = 80, proto: str = "TCP", **leaves: Any) -> dict[str, Any]:
        """A service whose backends are (host, port) or (host, port, weight); gives it, to be changed."""
        services = self.cube("lb").setdefault("service", [])
        services.append({"vip": self.vip(vip), "vport": vport, "proto": proto, **leaves, "backend": self.backends(*backends)})
        return services[-1]

    def backends(self, *said: tuple[int, ...]) -> list[dict[str, Any]]:
        return [{"ip": self.backend(one[0]), "port": one[1], "weight": one[2] if len(one) > 2 else 1} for one in said]

    # -- frames ---------------------------------------------------------------------------------------------------

    def through(self, port: str, frame: Packet | bytes) -> tuple[bool, bytes]:
        """Whether a frame that comes in at a port is sent on, and what it is then."""
        raw = frame if isinstance(frame, bytes) else built(frame, 60)
        pin = next(name for name in self.reader().names("cubes/lb/in") if name.endswith(f"_{port}")) if port not in self._stubs else ""
        if pin:
            self._stubs[port] = self._fds.enter_context(Bpffs(self.root).opened(f"cubes/lb/in/{pin}"))
        verdict, out = programs.test_run(self._stubs[port], raw)[:2]
        return verdict == REDIRECT["TC" if self.hook == "TC" else "XDP"], out

    def sent(self, port: str, frame: Packet | bytes) -> Packet | None:
        went, out = self.through(port, frame)
        return Ether(out) if went else None

    def apply(self) -> Any:
        """Programs may be others afterwards."""
        self._forget()
        return super().apply()

    def __enter__(self) -> LbLab:
        import contextlib

        super().__enter__()
        self._fds = contextlib.ExitStack()
        return self

    def __exit__(self, *error: object) -> None:
        self._forget()
        super().__exit__(*error)

    def _forget(self) -> None:
        self._fds.close()
        self._stubs.clear()

    def ip(self, source: str, target: str, **fields: Any) -> Packet:
        return IP(src=source, dst=target, **fields) if self.family == 4 else IPv6(src=source, dst=target, **fields)

    def ask(self, *, client: int = 1, sport: int = 5000, vip: int = 1, vport: int = 80, proto: str = "TCP", flags: str = "S", payload: bytes = b"") -> Packet:
        """What a client sends to a virtual address."""
        carried = TCP(sport=sport, dport=vport, flags=flags) if proto == "TCP" else UDP(sport=sport, dport=vport)
        return Ether(src=CLIENT_MAC, dst=FAR_MAC) / self.ip(self.client(client), self.vip(vip)) / carried / Raw(payload)

    def answer(self, *, client: int = 1, sport: int = 5000, backend: int = 11, port: int = 8080, proto: str = "TCP", flags: str = "SA", payload: bytes = b"") -> Packet:
        """What a backend sends back."""
        carried = TCP(sport=port, dport=sport, flags=flags) if proto == "TCP" else UDP(sport=port, dport=sport)
        return Ether(src=FAR_MAC, dst=CLIENT_MAC) / self.ip(self.backend(backend), self.client(client)) / carried / Raw(payload)

    def echo(self, source: str, target: str, *, identifier: int = 7, reply: bool = False) -> Packet:
        if self.family == 4:
            message: Packet = ICMP(type=0 if reply else 8, id=identifier, seq=1)
        else:
            message = ICMPv6EchoReply(id=identifier, seq=1) if reply else ICMPv6EchoRequest(id=identifier, seq=1)
        return Ether(src=CLIENT_MAC, dst=FAR_MAC) / self.ip(source, target) / message / Raw(b"x" * 32)

    def request(self, **said: Any) -> Packet | None:
        return self.sent("front", self.ask(**said))

    def reply(self, **said: Any) -> Packet | None:
        return self.sent("back", self.answer(**said))

    def choices(self, flows: Iterable[tuple[int, int]], *, flags: str = "A", **said: Any) -> list[str]:
        """The backend of each flow (client, port)."""
        head = built(self.ask(**said, flags=flags), 60)
        return [self._chosen(head, client, sport) for client, sport in flows]

    def _chosen(self, head: bytes, client: int, sport: int) -> str:
        """The checksums of such a frame are wrong, which nobody looks at but a receiver: the IP header's is made anew."""
        raw = bytearray(head)
        source = ipaddress.ip_address(self.client(client)).packed
        if self.family == 4:
            raw[26:30], raw[34:36] = source, sport.to_bytes(2, "big")
            raw[24:26] = b"\0\0"
            total = sum(int.from_bytes(raw[at : at + 2], "big") for at in range(14, 34, 2))
            total = (total & 0xFFFF) + (total >> 16)
            raw[24:26] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
        else:
            raw[22:38], raw[54:56] = source, sport.to_bytes(2, "big")
        went, out = self.through("front", bytes(raw))
        target = out[30:34] if self.family == 4 else out[38:54]
        return str(ipaddress.ip_address(target)) if went else ""


def ends(packet: Packet | None) -> tuple[str, int, str, int]:
    """(source, port, target, port) of what was sent; fails if nothing was."""
    assert packet is not None, "dropped"
    ip, carried = (packet[IP] if IP in packet else packet[IPv6]), packet[TCP] if TCP in packet else packet[UDP]
    return ip.src, carried.sport, ip.dst, carried.dport


def remade(packet: Packet) -> bytes:
    """The same frame with all lengths and checksums made anew by scapy."""
    copy = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        if layer in copy:
            copy[layer].chksum = None
    for message in (ICMPv6EchoRequest, ICMPv6EchoReply):
        if message in copy:
            copy[message].cksum = None
    return built(copy)


class Requests:
    """UDP of so many flows to a virtual address for as long as the block runs, some 1000 a second, well below what makes a veth's
    queue overflow on a busy machine. Afterwards `sent` says how many, and `arrived` how many came out on the other side."""

    def __init__(self, lab: LbLab, flows: int = 40, **said: Any) -> None:
        self.sent = self.arrived = 0
        self._frames = [built(lab.ask(sport=5000 + number, proto="UDP", payload=_MARK, **said)) for number in range(flows)]
        self._over, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)
        self._seen = lab.sniff("h2")
        with netns.inside(lab.space("h1")):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._sock.bind(("eth0", 0))

    def _run(self) -> None:
        for frame in itertools.cycle(self._frames):
            self._sock.send(frame)
            self.sent += 1
            if self._over.wait(0.001):
                return

    def pass_by(self, count: int) -> None:
        """Wait until so many more were sent."""
        until = self.sent + count
        while self.sent < until and self._thread.is_alive():
            time.sleep(0.002)

    def __enter__(self) -> Requests:
        self._thread.start()
        self.pass_by(2 * len(self._frames))
        return self

    def __exit__(self, *_: object) -> None:
        self.pass_by(len(self._frames))
        self._over.set()
        self._thread.join()
        self._sock.close()
        with self._seen as seen:
            self.arrived = len(seen.all(0.5, lambda frame: _MARK in frame))


_MARK = b"a request, one of many"
