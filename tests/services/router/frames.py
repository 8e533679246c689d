"""Frames for a router's tests: what h1 sends to its gateway, and what is looked for in what comes back."""
from __future__ import annotations

import ipaddress
import os
import struct

from reconciler.kernel import bpf, maps

SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: p1, peer: v1, ip: 10.0.1.254/24, mac: "02:00:00:00:01:fe"}
      - {name: p2, peer: v2, ip: 10.0.2.254/24}
"""
GATEWAY = bytes.fromhex("0200000001fe")


def mac_of(lab, host):
    return bytes.fromhex(lab.mac(host).replace(":", ""))


def udp(lab, source="10.0.1.1", target="10.0.2.1", *, ttl=64, options=b"", payload=b"x" * 40, mac=GATEWAY, fragment=0):
    """A whole frame from h1 to the gateway."""
    source, target = ipaddress.ip_address(lab.said(source)), ipaddress.ip_address(lab.said(target))
    segment = struct.pack("!HHHH", 5000, 5001, 8 + len(payload), 0) + payload
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(segment), 7, fragment, ttl, 17, 0)
        head += source.packed + target.packed + options
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return mac + mac_of(lab, "h1") + b"\x08\x00" + head + segment
    pseudo = source.packed + target.packed + struct.pack("!II", len(segment), 17)
    segment = segment[:6] + struct.pack("!H", checksum(pseudo + segment)) + segment[8:]
    head = struct.pack("!IHBB", 0x60000000, len(segment), 17, ttl) + source.packed + target.packed
    return mac + mac_of(lab, "h1") + b"\x86\xdd" + head + segment


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_udp(frame):
    return frame[12:14] in (b"\x08\x00", b"\x86\xdd") and frame[23 if frame[12:14] == b"\x08\x00" else 20] == 17


def warm(lab):
    """All that is needed to go from h1 to h2 is known."""
    lab.reach("h1", "10.0.2.1")


def is_question(frame):
    """An ARP packet or a neighbour solicitation."""
    return frame[12:14] == b"\x08\x06" or (frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 135)


def error_of(frame):
    """Type and code of an ICMP or ICMPv6 message, else None."""
    if frame[12:14] == b"\x08\x00" and frame[23] == 1:
        return frame[34], frame[35]
    return (frame[54], frame[55]) if frame[12:14] == b"\x86\xdd" and frame[20] == 58 else None


def assert_whole(frame):
    """All checksums of an ICMP or ICMPv6 packet are right."""
    if frame[12:14] == b"\x08\x00":
        assert checksum(frame[14:34]) == 0
        (total,) = struct.unpack_from("!H", frame, 16)
        assert checksum(frame[34 : 14 + total]) == 0
    else:
        (size,) = struct.unpack_from("!H", frame, 18)
        assert checksum(frame[22:54] + struct.pack("!II", size, 58) + frame[54 : 54 + size]) == 0


def age_all(lab, seconds):
    """Make every learned neighbour look as if it had last been heard of so long ago."""
    fd = bpf.open_pin(f"{lab.root}/cubes/r1/tables/neighbours")
    spec = maps.info(fd).spec
    for key, row in maps.rows(fd, spec).items():
        (seen,) = struct.unpack_from("<I", row, 8)
        maps.update(fd, key, row[:8] + struct.pack("<I", seen - seconds) + row[12:])
    os.close(fd)
