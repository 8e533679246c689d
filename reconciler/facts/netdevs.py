"""The fact `netdevs`: those of the host's namespace by name, but for the hidden ones that are part of cubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from reconciler import pins

NAME = "netdevs"


class Netdev(TypedDict):
    """`kind` is '' for hardware and the loopback; `up` is what was asked for, `carrier` whether packets get through."""

    index: int
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool


def of(states: Mapping[str, Any]) -> dict[str, Netdev]:
    """`states` as the kernel has them (kernel/netstate.py)."""
    return {
        name: Netdev(index=s.index, kind=s.kind, mac=s.mac, mtu=s.mtu, up=s.up, carrier=s.running)
        for name, s in sorted(states.items())
        if not pins.is_hidden(name)
    }
