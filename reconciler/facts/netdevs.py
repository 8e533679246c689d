"""The fact `netdevs`: those of the host's namespace by name, except the hidden ones of cubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from reconciler import pins

NAME = "netdevs"


class Netdev(TypedDict):
    """`kind` is '' for hardware and the loopback; `up` is the administrative state, `carrier` the operational state; `master`
    is its bridge, bond or the like, '' if none."""

    index: int
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    master: str


def of(states: Mapping[str, Any]) -> dict[str, Netdev]:
    """`states`: netdevs by name (NetdevState of kernel/netstate.py)."""
    names = {s.index: name for name, s in states.items()}
    return {
        name: Netdev(index=s.index, kind=s.kind, mac=s.mac, mtu=s.mtu, up=s.up, carrier=s.running, master=names.get(s.master, ""))
        for name, s in sorted(states.items())
        if not pins.is_hidden(name)
    }
