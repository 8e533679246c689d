"""A rule as a row of the `rules` table, from which it is read back."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any

from cubes.firewall.rules import ACTIONS, FLAGS, ICMPS, KIND, PROTOCOLS, Rule
from cubes.firewall.values import STATES, Prefix
from cubes.lib.address_sets import from_word, to_word
from cubes.lib.ranges import FULL
from reconciler.service.sdk import memoised

SRC_ADDRESS, DST_ADDRESS, PROTO, SPORT, DPORT = 1, 2, 4, 8, 16  # bits of `said` in struct rule
ROW = struct.Struct("=Q16s16sBBBB4H8sIBBBB16sI")
"""struct rule of bpf/firewall/firewall.h."""
_LABEL = struct.Struct("=Q")
_BITS = {0: 96, 4: 96, 6: 0}
_NOT_SAID = 255
_MAPPED = bytes(10) + b"\xff\xff"


def to_row(rule: Rule, label: int, sets: Mapping[str, int]) -> bytes:
    """`sets` has the numbers of those that it names."""
    return _LABEL.pack(label) + _beside_label(rule, to_word(rule.src_set, rule.dst_set, sets))


@memoised
def _beside_label(rule: Rule, sets: int) -> bytes:
    said = (SRC_ADDRESS if rule.src and rule.src.is_address else 0) | (DST_ADDRESS if rule.dst and rule.dst.is_address else 0)
    said |= (PROTO if rule.proto is not None else 0) | (SPORT if rule.sport else 0) | (DPORT if rule.dport else 0)
    sport, dport, action = rule.sport or FULL, rule.dport or FULL, rule.action & KIND
    row = ROW.pack(
        0, *_wide(rule.src), *_wide(rule.dst), *(_length(rule.src), _length(rule.dst)), said, rule.proto or 0,
        *sport, *dport, rule.said_flags[:8], rule.limit, rule.states, action, rule.chain, 0, rule.device.encode(), sets
    )  # fmt: skip
    return row[_LABEL.size :]


def _wide(found: Prefix | None) -> tuple[bytes]:
    if found is None:
        return (bytes(16),)
    return (_MAPPED + found.value.to_bytes(4, "big") if found.family == 4 else found.value.to_bytes(16, "big"),)


def _length(found: Prefix | None) -> int:
    return _NOT_SAID if found is None else found.length + _BITS[found.family]


def from_row(row: bytes, sets: Mapping[int, str]) -> tuple[int, int, dict[str, Any]]:
    """(label, chain, leaves) of a row; the inverse of `to_row`, except for id, name and description. `sets`: names by
    number."""
    (label, src, dst, src_length, dst_length, said, proto, sport_low, sport_high, dport_low, dport_high, flags, limit, states,
     action, chain, _, device, asked) = ROW.unpack(row)  # fmt: skip
    leaves: dict[str, Any] = {}
    if src_length != _NOT_SAID:
        leaves["src"] = _written(src, src_length, bool(said & SRC_ADDRESS))
    if dst_length != _NOT_SAID:
        leaves["dst"] = _written(dst, dst_length, bool(said & DST_ADDRESS))
    leaves |= {leaf: name for leaf, name in zip(("src-set", "dst-set"), from_word(asked, sets), strict=True) if name}
    if said & PROTO:
        leaves["l4proto"] = next((name for name, number in PROTOCOLS.items() if number == proto), proto)
    if said & SPORT and proto in ICMPS:
        leaves["icmp-type"] = f"{sport_low}/{dport_low}" if said & DPORT else sport_low
    elif said & SPORT:
        leaves["sport"] = sport_low if sport_low == sport_high else f"{sport_low}-{sport_high}"
    if said & DPORT and proto not in ICMPS:
        leaves["dport"] = dport_low if dport_low == dport_high else f"{dport_low}-{dport_high}"
    if any(flags):
        leaves["tcpflags"] = ",".join(_flag(flag) for flag in flags if flag)
    if states:
        leaves["conntrack"] = next((name for name, bit in STATES.items() if bit == states), f"#{states}")
    if any(device):
        leaves["in-interface"] = device.rstrip(b"\0").decode("utf-8", "replace")
    if limit:
        leaves["limit"] = limit
    leaves["action"] = next((name for name, number in ACTIONS.items() if number == action), f"#{action}")
    return label, chain, leaves


def _written(raw: bytes, length: int, is_address: bool) -> str:
    if raw.startswith(_MAPPED) and length >= 96:
        text, length = ".".join(map(str, raw[12:])), length - 96
    else:
        text = str(IPv6Address(raw))
    return text if is_address else f"{text}/{length}"


def _flag(said: int) -> str:
    number = (said & 15) - 1
    word = FLAGS[number] if 0 <= number < len(FLAGS) else f"#{said}"
    return f"!{word}" if said & 16 else word
