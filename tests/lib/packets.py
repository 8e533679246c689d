"""Packets for tests: sent and received by plain sockets that were opened inside a namespace."""
from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.kernel import netns

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_OUTGOING, _VLAN_VALID = 263, 8, 4, 0x10
_ICMP = {socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129)}

_ANSWERS = {socket.AF_INET: {0, 3, 5, 11, 12}, socket.AF_INET6: {1, 2, 3, 4, 129}}  # the reply, and errors


def ping(space: str | None, address: str, count: int = 2, *, ttl: int | None = None, size: int = 32, interval: float = 0.05,
         timeout: float = 2.0) -> int:  # fmt: skip
    """Echo requests that were answered. Ends with the last answer, or `timeout` seconds after the last request.

    Where no answer is expected 0.3 s will do. Where one is, leave the time: a first ARP request that meets a link which is
    still coming up is repeated after a second, and the kernel keeps the packets meanwhile.
    """
    answered: set[int] = set()
    with _icmp_socket(space, address, ttl) as sock:
        for number in range(count):
            _send_echo(sock, address, number, size)
            last = number == count - 1
            deadline = time.monotonic() + (timeout if last else interval)
            while len(answered) <= number and (left := deadline - time.monotonic()) > 0:
                kind, _, sequence, source = _receive_icmp(sock, left)
                if kind == _ICMP[sock.family][2] and source == address and sequence is not None:
                    answered.add(sequence)
    return len(answered)


def icmp_answer(space: str | None, address: str, *, ttl: int = 64, size: int = 32,
                timeout: float = 1.0) -> tuple[int, int, str] | None:  # fmt: skip
    """Type, code and source of the first ICMP message that one echo request brings, an error or the reply; None if none."""
    with _icmp_socket(space, address, ttl) as sock:
        _send_echo(sock, address, 0, size)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            kind, code, _, source = _receive_icmp(sock, left)
            if kind is not None and code is not None and kind in _ANSWERS[sock.family]:
                return kind, code, source
    return None


def _icmp_socket(space: str | None, address: str, ttl: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside(space):
        sock = socket.socket(family, socket.SOCK_RAW, _ICMP[family][0])
    if ttl is not None and family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    elif ttl is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    return sock


def _send_echo(sock: socket.socket, address: str, sequence: int, size: int) -> None:
    kind = _ICMP[sock.family][1]
    body = struct.pack("!HH", os.getpid() & 0xFFFF, sequence) + bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    total = checksum(struct.pack("!BBH", kind, 0, 0) + body) if sock.family == socket.AF_INET else 0  # IPv6: the kernel's
    try:
        sock.sendto(struct.pack("!BBH", kind, 0, total) + body, (address, 0))
    except OSError:  # no route: nothing will be answered
        return


def _receive_icmp(sock: socket.socket, timeout: float) -> tuple[int | None, int | None, int | None, str]:
    if not select.select([sock], [], [], timeout)[0]:
        return None, None, None, ""
    data, source = sock.recvfrom(65535)
    if sock.family == socket.AF_INET:
        data = data[(data[0] & 15) * 4 :]
    kind, code, _, identity, sequence = struct.unpack_from("!BBHHH", data)
    echo = kind in _ICMP[sock.family]
    if echo and identity != os.getpid() & 0xFFFF:  # somebody else's
        return None, None, None, ""
    return kind, code, sequence if echo else None, source[0]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2])) + (data[-1] << 8 if len(data) % 2 else 0)
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def send_frames(space: str | None, device: str, frames: Iterable[bytes]) -> int:
    """Send whole Ethernet frames out of a netdev; gives how many."""
    count = 0
    with netns.inside(space), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((device, 0))
        for frame in frames:
            sock.send(frame)
            count += 1
    return count


class Sniffer:
    """Frames that arrive on a netdev from the moment this is made. VLAN tags are put back where the wire had them."""

    def __init__(self, space: str | None, device: str, *, outgoing: bool = False) -> None:
        self._outgoing = outgoing
        with netns.inside(space):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # nothing is received before it is bound
        self._sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        with netns.inside(space):
            self._sock.bind((device, _ETH_P_ALL))

    def __enter__(self) -> Sniffer:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def next(self, timeout: float = 1.0, predicate: Callable[[bytes], bool] | None = None) -> bytes | None:
        """The next frame, or the next for which `predicate` holds; None after `timeout` seconds without one."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 or timeout == 0:
            if not select.select([self._sock], [], [], max(left, 0))[0]:
                return None
            frame = self._receive()
            if frame is not None and (predicate is None or predicate(frame)):
                return frame
        return None

    def all(self, seconds: float = 0.3, predicate: Callable[[bytes], bool] | None = None) -> list[bytes]:
        """All such frames until `seconds` have passed without one."""
        found = []
        while (frame := self.next(seconds, predicate)) is not None:
            found.append(frame)
        return found

    def _receive(self) -> bytes | None:
        frame, extras, _, address = self._sock.recvmsg(1 << 17, 64)
        if (address[2] == _PACKET_OUTGOING) != self._outgoing:
            return None
        for level, kind, data in extras:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, *_, tag, protocol = struct.unpack("=IIIHHHH", data[:20])
                if status & _VLAN_VALID:
                    return frame[:12] + struct.pack("!HH", protocol or 0x8100, tag) + frame[12:]
        return frame


def sniff(space: str | None, device: str, *, outgoing: bool = False) -> Sniffer:
    """`with sniff(ns, dev) as seen: …; frame = seen.next(1.0, predicate)`; open it before the packets are sent."""
    return Sniffer(space, device, outgoing=outgoing)


@dataclass(frozen=True)
class Exchange:
    """What the server received and from whom, and what came back to the client (None if nothing)."""

    received: bytes
    source: tuple[str, int]
    reply: bytes | None


def udp_exchange(client: str | None, server: str | None, address: str, port: int, *, payload: bytes = b"question",
                 server_port: int | None = None, source_port: int = 0, timeout: float = 1.0) -> Exchange | None:  # fmt: skip
    """A datagram from client to `address`:`port`, and the server's answer (its echo). None if the server got nothing.

    `server_port` is where the server listens, if something on the way translates ports.
    """
    family, anywhere = _family(address)
    with _open(server, family, socket.SOCK_DGRAM) as there, _open(client, family, socket.SOCK_DGRAM) as here:
        there.bind((anywhere, server_port or port))
        here.bind((anywhere, source_port))
        there.settimeout(timeout)
        here.settimeout(timeout)
        try:
            here.sendto(payload, (address, port))
            received, source = there.recvfrom(65535)
        except OSError:
            return None
        try:
            there.sendto(received, source)
            reply, _ = here.recvfrom(65535)
        except OSError:
            return Exchange(received, source[:2], None)
        return Exchange(received, source[:2], reply)


def tcp_exchange(client: str | None, server: str | None, address: str, port: int, *, payload: bytes = b"question",
                 server_port: int | None = None, timeout: float = 1.0) -> Exchange | None:  # fmt: skip
    """As `udp_exchange`, over a TCP connection that carries the whole payload both ways. None if it does not connect."""
    family, anywhere = _family(address)
    with _open(server, family, socket.SOCK_STREAM) as listener, _open(client, family, socket.SOCK_STREAM) as here:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((anywhere, server_port or port))
        listener.listen()
        listener.settimeout(timeout)
        here.settimeout(timeout)
        try:
            here.connect((address, port))
            there, source = listener.accept()
        except OSError:
            return None
        there.settimeout(timeout)
        received = _carry(here, there, payload)
        reply = _carry(there, here, received) if received == payload else None
        there.close()
        return Exchange(received, source[:2], reply)


def _carry(sender: socket.socket, receiver: socket.socket, payload: bytes) -> bytes:
    def send() -> None:
        try:
            sender.sendall(payload)
            sender.shutdown(socket.SHUT_WR)
        except OSError:
            return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    received = bytearray()
    try:
        while data := receiver.recv(1 << 16):
            received += data
    except OSError:
        pass
    thread.join()
    return bytes(received)


def _family(address: str) -> tuple[socket.AddressFamily, str]:
    return (socket.AF_INET6, "::") if ":" in address else (socket.AF_INET, "0.0.0.0")


def _open(space: str | None, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    with netns.inside(space):
        return socket.socket(family, kind)
