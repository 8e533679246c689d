"""The MAC of a veth's end without a configured one: the same each time that it is created, so that neighbours' entries stay
valid.

A random one would leave them with a stale entry, for up to a minute of silence after a deleted veth was created again. It
follows from the boot, the network namespace and the names, so no other host, nor another namespace of this one, has it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from reconciler.model import Link, LinkEnd

_HERE = "/proc/thread-self/ns/net"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def with_steady_macs(link: Link) -> Link:
    """A veth with the MACs with which its ends are to be created; those of the document have priority."""
    if link.kind != "veth" or link.peer is None or (link.end.mac and link.peer.mac):
        return link
    place = f"{_BOOT.read_text(encoding='ascii').strip()} {os.stat(_HERE).st_ino} {link.end.netns or ''}/{link.end.name}"
    return replace(link, end=_with(link.end, f"{place} near"), peer=_with(link.peer, f"{place} far"))


def _with(end: LinkEnd, place: str) -> LinkEnd:
    return end if end.mac else replace(end, mac=_mac_of(place))


def _mac_of(place: str) -> str:
    """A unicast, locally administered one (bit 1 of the first byte)."""
    raw = bytearray(hashlib.blake2b(place.encode(), digest_size=6).digest())
    raw[0] = raw[0] & 0xFC | 2
    return raw.hex(":")
