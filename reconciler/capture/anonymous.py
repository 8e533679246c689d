"""Anonymises the addresses in packets, for captures that are shared.

The mapping is consistent within a run and prefix-preserving (Crypto-PAn, Xu et al. 2002). MAC addresses keep their group and
local bits, and broadcast is unchanged. Only Ethernet, IPv4, IPv6 and ARP headers are rewritten, neither other protocols nor
payloads; checksums are not updated.
"""

from __future__ import annotations

import hashlib
import os

_TAGS = (b"\x81\x00", b"\x88\xa8")
_BROADCAST = b"\xff" * 6
_MOST = 1 << 16  # size of the cache


class Anonymous:
    """One run with a random key."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key or os.urandom(32)
        self._known: dict[bytes, bytes] = {}

    def frame(self, frame: bytes) -> bytes:
        """The frame with anonymised addresses; it may be truncated anywhere."""
        made = bytearray(frame)
        self._put(made, 0, 6)
        self._put(made, 6, 6)
        at = 12
        while bytes(made[at : at + 2]) in _TAGS:
            at += 4
        kind, at = bytes(made[at : at + 2]), at + 2
        if kind == b"\x08\x00":
            self._put(made, at + 12, 4)
            self._put(made, at + 16, 4)
        elif kind == b"\x86\xdd":
            self._put(made, at + 8, 16)
            self._put(made, at + 24, 16)
        elif kind == b"\x08\x06":
            for offset, length in ((8, 6), (14, 4), (18, 6), (24, 4)):
                self._put(made, at + offset, length)
        return bytes(made)

    def address(self, address: bytes) -> bytes:
        """The anonymised address of a complete one: MAC, IPv4 or IPv6 by its length."""
        if address == _BROADCAST or not any(address):
            return address
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[address] = self._made(address)
        return found

    def _put(self, made: bytearray, at: int, length: int) -> None:
        there = bytes(made[at : at + length])
        if there:  # a truncated address is padded with zeros
            made[at : at + len(there)] = self.address(there.ljust(length, b"\0"))[: len(there)]

    def _made(self, address: bytes) -> bytes:
        """Each bit is flipped by a keyed hash of the bits before it."""
        bits, size = int.from_bytes(address, "big"), 8 * len(address)
        turned = 0
        for position in range(size):
            before = bits >> (size - position)
            said = b"%d %d %d" % (size, position, before)
            turned = turned << 1 | hashlib.blake2b(said, key=self._key, digest_size=1).digest()[0] & 1
        if size == 48:
            turned &= ~(0b11 << 40)
        return (bits ^ turned).to_bytes(len(address), "big")
