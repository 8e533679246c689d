"""A rule of the policy-based forwarder as the control plane works with it, and as a row of the `rules` table.

A rule's match on a frame's headers is a vector of values and a mask (bpf/pbforwarder/pbforwarder.h). A rule's identity
follows from its row, id included: one that changes is another rule.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cubes.lib.ranges import FULL, Span
from reconciler.service.sdk import memoised

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "GRE": 47, "ESP": 50, "AH": 51, "ICMPV6": 58, "SCTP": 132}
WITH_PORTS = frozenset({6, 17, 132})
ACTIONS = {"DROP": 0, "SLOWPATH": 1, "FORWARD": 2}
REWRITE = 3
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
LEAVES = (
    "in_port", "src_mac", "dst_mac", "vlan", "ethertype", "src_ip", "dst_ip", "l4_proto", "src_port", "dst_port", "action",
    "out_port", "set_src_mac", "set_dst_mac", "set_src_ip", "set_dst_ip",
    "set_src_port", "set_dst_port", "set_vlan", "pop_vlan", "push_vlan",
)  # fmt: skip
_BIT = {leaf: 1 << place for place, leaf in enumerate((*LEAVES, "src_whole", "dst_whole"))}
"""Bits of `said`. The last two: the address was written without a length."""
SETS = {
    "set_src_mac": 1, "set_dst_mac": 2, "set_src_ip": 4, "set_dst_ip": 8, "set_src_port": 16, "set_dst_port": 32, "set_vlan": 64,
    "push_vlan": 128, "pop_vlan": 256,
}  # fmt: skip

VECTOR = struct.Struct("=16s16sI6s6sI")
ROW = struct.Struct("=II52s52s4HBBHHH16s16s6s6s2s2sHH")
"""struct rule of bpf/pbforwarder/pbforwarder.h."""
KEY_SIZE = 60
_MAPPED = bytes(10) + b"\xff\xff"
_NO_PORT = 0xFFFF
_NO_MAC = bytes(6)

Leaves = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    """An address and the bits of it that count, both of 16 bytes; IPv4 is mapped. `is_whole`: written without a mask."""

    family: int
    value: bytes
    mask: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` and `mask` are vectors; `proto` 0 and `port` -1 request nothing. `row` is what the `rules` table has."""

    identity: int
    id: int
    value: bytes
    mask: bytes
    proto: int
    port: int
    sport: Span
    dport: Span
    needs_ports: bool
    action: int
    out_port: int
    row: bytes

    def __hash__(self) -> int:
        return self.identity


def rules_of(entries: Sequence[Leaves], ports: Mapping[str, int]) -> list[Rule]:
    """In the order of their ids."""
    return sorted((rule(entry, ports) for entry in entries), key=lambda each: each.id)


def rule(entry: Leaves, ports: Mapping[str, int]) -> Rule:
    get = entry.get
    numbers = tuple(-1 if get(leaf) is None else ports[entry[leaf]] for leaf in ("in_port", "out_port"))
    return _rule(int(entry["id"]), tuple([get(leaf) for leaf in LEAVES]), numbers)


@memoised
def _rule(number: int, said: tuple[Any, ...], ports: tuple[int, ...]) -> Rule:
    leaves = {leaf: value for leaf, value in zip(LEAVES, said, strict=True) if value is not None}
    src, dst = (address(leaves[leaf]) if leaf in leaves else None for leaf in ("src_ip", "dst_ip"))
    value, mask = _vectors(leaves, src, dst)
    proto = protocol(leaves.get("l4_proto")) or 0
    sport, dport = (span(leaves[leaf]) if leaf in leaves else FULL for leaf in ("src_port", "dst_port"))
    sets = sum(bit for leaf, bit in SETS.items() if leaves.get(leaf))
    action = ACTIONS[leaves.get("action", "DROP")]
    action = REWRITE if action == ACTIONS["FORWARD"] and sets else action
    bits = sum(_BIT[leaf] for leaf in leaves)
    bits |= (_BIT["src_whole"] if src and src.is_whole else 0) | (_BIT["dst_whole"] if dst and dst.is_whole else 0)
    row = ROW.pack(
        number, bits, value, mask, *sport, *dport, proto, max(ports[0], 0), action,
        ports[1] if ports[1] >= 0 else _NO_PORT, sets,
        _new_address(leaves.get("set_src_ip")), _new_address(leaves.get("set_dst_ip")),
        _new_mac(leaves.get("set_dst_mac")), _new_mac(leaves.get("set_src_mac")), _new_port(leaves.get("set_src_port")),
        _new_port(leaves.get("set_dst_port")), leaves.get("set_vlan", 0), leaves.get("push_vlan", 0),
    )  # fmt: skip
    return Rule(
        identity=int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little"),
        id=number,
        value=value,
        mask=mask,
        proto=proto,
        port=ports[0],
        sport=sport,
        dport=dport,
        needs_ports="src_port" in leaves or "dst_port" in leaves,
        action=action,
        out_port=max(ports[1], 0),
        row=row,
    )


def _vectors(leaves: Leaves, src: Match | None, dst: Match | None) -> tuple[bytes, bytes]:
    """The match on a frame's headers, without its protocol, ingress port and ranges."""
    nothing = Match(0, bytes(16), bytes(16), is_whole=False)
    found = [src or nothing, dst or nothing]
    macs = [mac(leaves[leaf]) if leaf in leaves else (_NO_MAC, _NO_MAC) for leaf in ("dst_mac", "src_mac")]
    ports = port_mask = 0
    for leaf, shift in (("src_port", 16), ("dst_port", 0)):
        low, high = span(leaves[leaf]) if leaf in leaves else FULL
        if low == high:
            ports |= low << shift
            port_mask |= 0xFFFF << shift
    ethertype = leaves.get("ethertype", ETHERTYPES.get(found[0].family or found[1].family))
    link = (ethertype or 0) << 16 | leaves.get("vlan", 0)
    link_mask = (0xFFFF0000 if ethertype is not None else 0) | (0xFFFF if "vlan" in leaves else 0)
    return (
        VECTOR.pack(found[0].value, found[1].value, ports, macs[0][0], macs[1][0], link),
        VECTOR.pack(found[0].mask, found[1].mask, port_mask, macs[0][1], macs[1][1], link_mask),
    )


# -- values as they are written ---------------------------------------------------------------------------------------


def protocol(said: str | int | None) -> int | None:
    return PROTOCOLS[said] if isinstance(said, str) else said


def span(text: str | int) -> Span:
    """A port or a range as (first, last)."""
    low, dash, high = str(text).partition("-")
    return int(low), int(high if dash else low)


@memoised
def mac(text: str) -> tuple[bytes, bytes]:
    """A MAC address, and the bits of it that count."""
    value, _, mask = text.partition("/")
    return bytes.fromhex(value.replace(":", "")), bytes.fromhex(mask.replace(":", "")) if mask else b"\xff" * 6


@memoised
def address(text: str) -> Match:
    """An address, a prefix, or an address and a mask. Raises ValueError for what is none."""
    value, slash, rest = text.partition("/")
    found = ipaddress.ip_address(value)
    width = found.max_prefixlen
    if not slash or rest.isdigit():
        length = int(rest) if slash else width
        if length > width:
            raise ValueError(f"{text} is no prefix: a length is at most {width}")
        mask = ((1 << width) - (1 << (width - length))).to_bytes(width // 8, "big")
    else:
        wide = ipaddress.ip_address(rest)
        if wide.version != found.version:
            raise ValueError(f"{text}: the mask is of another family")
        mask = wide.packed
    if found.version == 4:
        return Match(4, _MAPPED + found.packed, b"\xff" * 12 + mask, not slash)
    return Match(6, found.packed, mask, not slash)


def _new_address(text: str | None) -> bytes:
    """IPv4 in the last 32 bits."""
    return bytes(16) if text is None else ipaddress.ip_address(text).packed.rjust(16, b"\0")


def _new_mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else _NO_MAC


def _new_port(port: int | None) -> bytes:
    return (port or 0).to_bytes(2, "big")


# -- as they are read back --------------------------------------------------------------------------------------------


def from_row(row: bytes, port_name: Callable[[int], str]) -> dict[str, Any]:
    """The leaves of a rule; the inverse of `rule`."""
    (number, bits, value, mask, sport_low, sport_high, dport_low, dport_high, proto, in_port, action, out_port, sets, src, dst,
     dst_mac, src_mac, src_port, dst_port, vlan, push) = ROW.unpack(row)  # fmt: skip
    values, masks = VECTOR.unpack(value), VECTOR.unpack(mask)
    family = 4 if values[5] >> 16 == ETHERTYPES[4] else 6
    read: dict[str, Callable[[], Any]] = {
        "in_port": lambda: port_name(in_port),
        "src_mac": lambda: _mac_text(values[4], masks[4]),
        "dst_mac": lambda: _mac_text(values[3], masks[3]),
        "vlan": lambda: values[5] & 0xFFFF,
        "ethertype": lambda: values[5] >> 16,
        "src_ip": lambda: _address_text(values[0], masks[0], bool(bits & _BIT["src_whole"]), family),
        "dst_ip": lambda: _address_text(values[1], masks[1], bool(bits & _BIT["dst_whole"]), family),
        "l4_proto": lambda: next((name for name, code in PROTOCOLS.items() if code == proto), proto),
        "src_port": lambda: sport_low if sport_low == sport_high else f"{sport_low}-{sport_high}",
        "dst_port": lambda: dport_low if dport_low == dport_high else f"{dport_low}-{dport_high}",
        "action": lambda: next((name for name, code in ACTIONS.items() if code == min(action, 2)), f"#{action}"),
        "out_port": lambda: port_name(out_port),
        "set_src_mac": lambda: src_mac.hex(":"),
        "set_dst_mac": lambda: dst_mac.hex(":"),
        "set_src_ip": lambda: _address(src, family),
        "set_dst_ip": lambda: _address(dst, family),
        "set_src_port": lambda: int.from_bytes(src_port, "big"),
        "set_dst_port": lambda: int.from_bytes(dst_port, "big"),
        "set_vlan": lambda: vlan,
        "pop_vlan": lambda: bool(sets & SETS["pop_vlan"]),
        "push_vlan": lambda: push,
    }
    return {"id": number, **{leaf: text() for leaf, text in read.items() if bits & _BIT[leaf]}}


def _mac_text(value: bytes, mask: bytes) -> str:
    return value.hex(":") if mask == b"\xff" * 6 else f"{value.hex(':')}/{mask.hex(':')}"


def _address(raw: bytes, family: int) -> str:
    return str(ipaddress.ip_address(raw[12:] if family == 4 else raw))


def _address_text(value: bytes, mask: bytes, is_whole: bool, family: int) -> str:
    text, bits = _address(value, family), mask[12:] if family == 4 else mask
    if is_whole:
        return text
    length = prefix_length(bits)
    return f"{text}/{ipaddress.ip_address(bits) if length is None else length}"


def prefix_length(mask: bytes) -> int | None:
    """The length that a mask is, if it is a prefix's."""
    number, width = int.from_bytes(mask, "big"), 8 * len(mask)
    length = number.bit_count()
    return length if number == (1 << width) - (1 << (width - length)) else None
