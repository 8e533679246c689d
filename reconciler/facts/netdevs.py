"""The fact `netdevs`: those of the host's namespace by name, but for the hidden ones that are part of cubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from reconciler import pins

NAME = "netdevs"


class Netdev(TypedDict):
    """`kind` is '' for hardware and the loopback; `up` is what was requested, `carrier` whether packets get through; `master` is
    the bridge, bond or the like that it is part of, '' if none."""

    index: int
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    master: str


def of(states: Mapping[str, Any]) -> dict[str, Netdev]:
    """`states` as the kernel has them (kernel/netstate.py)."""
    names = {s.index: name for name, s in states.items()}
    return {
        name: Netdev(index=s.index, kind=s.kind, mac=s.mac, mtu=s.mtu, up=s.up, carrier=s.running, master=names.get(s.master, ""))
        for name, s in sorted(states.items())
        if not pins.is_hidden(name)
    }
