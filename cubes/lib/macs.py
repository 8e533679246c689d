"""Locally administered MAC addresses, derived from names, so that they are the same on every host."""

from __future__ import annotations

import hashlib


def default_mac(cube: str, port: str) -> str:
    """A locally administered unicast address; the same for the same names everywhere."""
    return ":".join(f"{byte:02x}" for byte in (2, *hashlib.sha256(f"{cube}:{port}".encode()).digest()[:5]))


def is_station(mac: str) -> bool:
    """Whether it can be a single station's: no group's, and not all zeros."""
    return not int(mac[:2], 16) & 1 and any(c not in "0:" for c in mac)
