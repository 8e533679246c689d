"""RFC 6296: by how much one word of an address compensates for the other prefix, so that the checksum stays the same."""

from __future__ import annotations

import struct
from ipaddress import IPv6Network

LONGEST = 64
IN_SUBNET = 48  # a prefix of so many bits leaves the subnet's word to make up for it, a longer one those of the interface


def _sum(prefix: IPv6Network) -> int:
    total: int = sum(struct.unpack("!8H", prefix.network_address.packed))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def adjustment(before: IPv6Network, after: IPv6Network) -> int:
    """The ones' complement sum to add to a word of an address whose prefix is replaced."""
    total = _sum(before) + (_sum(after) ^ 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    return 0 if total == 0xFFFF else total


def mask(prefix: IPv6Network) -> bytes:
    return prefix.netmask.packed
