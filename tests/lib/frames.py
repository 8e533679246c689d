"""Frames as they are on a wire, made by hand: whole ones, tagged ones, and ones that end too soon."""
from __future__ import annotations

import ipaddress
import struct

H1, H2, H3 = (f"02:00:00:00:00:{number:02x}" for number in (1, 2, 3))
BROADCAST = "ff:ff:ff:ff:ff:ff"


def ethernet(source: str, target: str, kind: int = 0x88B5, payload: bytes = bytes(46)) -> bytes:
    return bytes.fromhex((target + source).replace(":", "")) + struct.pack("!H", kind) + payload


def ip(source: str, target: str) -> bytes:
    """A header and nothing to speak of behind it, IPv4 or IPv6."""
    one, other = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if one.version == 4:
        return struct.pack("!BBHIBBH", 0x45, 0, 20, 0, 64, 253, 0) + one.packed + other.packed
    return struct.pack("!IHBB", 6 << 28, 0, 59, 64) + one.packed + other.packed


def packet(source: str, target: str, *, tags: tuple[int, ...] = (), cut: int | None = None) -> bytes:
    """IP between two addresses, with VLAN tags of these protocols; `cut`: only so many bytes after the Ethernet header."""
    kind = 0x0800 if ipaddress.ip_address(source).version == 4 else 0x86DD
    kinds = [*tags, kind]
    body = b"".join(struct.pack("!HH", 5, following) for following in kinds[1:]) + ip(source, target)
    return ethernet(H1, H2, kinds[0], body if cut is None else body[:cut])
