"""The MAC address that a rule matches on (`smac`), as the programs have it.

A MAC address is six bytes, stored as two words in native byte order: the first two bytes and the last four. A key has both,
mixed into its ports.
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
    """Whether it is part of the key; a negated one is matched by the cell alone."""
    return bool(smac) and not smac.startswith("!")
