"""The MAC that a rule requests (`smac`), as the programs know it.

A station is six bytes. The first two and the last four are words, as the kernel's own order of bytes makes them; a key has both,
mixed, in the place of its ports.
"""

from __future__ import annotations

import sys

SMAC_TUPLE = 0x4000  # TUPLE_SMAC of bpf/firewall/firewall.h
ANY, IS, IS_NOT = range(3)  # enum smac


def packed(smac: str) -> tuple[int, bytes, bytes]:
    """(enum smac, its first two bytes, its last four) of '02:00:00:00:00:01', '!02:…' or ''."""
    if not smac:
        return ANY, bytes(2), bytes(4)
    raw = bytes.fromhex(smac.removeprefix("!").replace(":", ""))
    return (IS_NOT if smac.startswith("!") else IS), raw[:2], raw[2:]


def mixed(smac: str) -> int:
    """What is mixed into the ports of a key, 32 bits (bpf/firewall/firewall_smac.h)."""
    _, high, low = packed(smac)
    word = int.from_bytes(low, sys.byteorder) ^ int.from_bytes(high, sys.byteorder) << 16
    return word * 2654435761 & 0xFFFFFFFF


def is_in_key(smac: str) -> bool:
    """Whether it is part of the key: of '!' the cell asks."""
    return bool(smac) and not smac.startswith("!")
