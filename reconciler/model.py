"""What a checked topology is, once no trace of YAML is left in it.

Everything downstream of `check` works on these values. They are frozen, compare by content, and hold only what the
user wrote plus the models' defaults, so that two topologies are the same exactly when their intent is.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

HookType = Literal["TC", "XDP_SKB", "XDP_DRV"]


class BuildKey(NamedTuple):
    """What programs are compiled for: a service, TC or XDP, and what represents the sources, if they are a cube's own."""

    service: str
    family: str
    sources: str = ""


def family_of(hook_type: str) -> str:
    """Of which family the programs are of a cube of this type: TC or XDP."""
    return "TC" if hook_type == "TC" else "XDP"


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the namespace of the link end that lists it. `to` is a prefix or 'default'."""

    to: str
    via: str | None = None


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One netdev: `netns` None is the namespace that pcn runs in. `mtu`, `mac` None leave the kernel's choice."""

    name: str
    netns: str | None = None
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    mtu: int | None = None
    mac: str | None = None
    up: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """A netdev that the topology owns; for a veth, `peer` is its other end. `options` are the kind's own
    (vxlan: id, local, remote, dstport, link; vlan: id, link; macvlan: mode, link; bridge, ifb, dummy: none)."""

    kind: str
    end: LinkEnd
    peer: LinkEnd | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ends(self) -> tuple[LinkEnd, ...]:
        return (self.end,) if self.peer is None else (self.end, self.peer)


@dataclass(frozen=True, slots=True)
class Port:
    """`peer` is a netdev ('veth1') or another cube's port ('r1:to_br1'), already made symmetric; None is unconnected.
    `tcubes` are transparent cubes, from the wire inwards. `config` are the service's own leaves of a port."""

    name: str
    peer: str | None = None
    tcubes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cube:
    """`config` is the service's own RFC 7951 data with defaults filled in, without name, type, loglevel, fuse, shadow,
    span and ports. `shadow`: it has a network namespace, into which, with `span`, all of its packets are copied."""

    name: str
    service: str
    topology: str
    type: HookType = "TC"
    loglevel: str = "INFO"
    ports: tuple[Port, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    fuse: bool = True
    shadow: bool = False
    span: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """Transparent cubes on a netdev, from the wire inwards; or on all that the selector `netdevs` matches (facts/selector.py)."""

    netdev: str
    tcubes: tuple[str, ...]
    netdevs: str = ""


@dataclass(frozen=True, slots=True)
class Tap:
    """A transparent cube that a running command requests and no document: at a port ('br1:p1') or a netdev, next to what it is
    on; or, with `outside`, on the wire's side of that transparent cube there."""

    cube: Cube
    place: str
    outside: str = ""


@dataclass(frozen=True)  # what follows from one is kept on it (incremental.memo)
class Topology:
    """One checked document. `document` is its canonical plain form (defaults omitted, as the user wrote it, keys in
    model order): what the kernel keeps as the applied document."""

    name: str
    namespaces: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    cubes: tuple[Cube, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)
