"""Records of the network: namespaces and links that a topology owns, and settings of other netdevs."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.model import Link


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """A network namespace that a topology owns."""

    name: str
    topology: str

    @property
    def address(self) -> str:
        return f"namespace/{self.name}"


def link_address(name: str, netns: str | None) -> str:
    return f"link/{netns or ''}:{name}"


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """Netdevs that a topology owns. `alias` marks them as pcn's. Live, `link` holds what was read back, and None
    addresses what could not be read because the far end no longer exists."""

    link: Link
    topology: str

    @property
    def name(self) -> str:
        return self.link.end.name

    @property
    def address(self) -> str:
        return link_address(self.link.end.name, self.link.end.netns)


@dataclass(frozen=True, slots=True)
class OffloadRecord:
    """The far end of a veth that carries XDP traffic: GRO enables the NAPI without which redirected frames are lost, and
    checksums must be complete and VLAN tags in the frame because XDP sees no offload metadata."""

    netdev: str
    netns: str | None
    gro: bool = True
    tx_checksum: bool = False
    tx_vlan: bool = False

    @property
    def address(self) -> str:
        return f"offload/{self.netns or ''}:{self.netdev}"


@dataclass(frozen=True, slots=True)
class PromiscuousRecord:
    """A netdev in promiscuous mode, as a bridge's port has to be. Live, `ours`: whether it was requested here; its mark is a
    symlink below bpffs, and may outlive the netdev."""

    netdev: str
    topology: str = field(default="", compare=False)
    ours: bool = field(default=True, compare=False)

    @property
    def address(self) -> str:
        return f"promiscuous/{self.netdev}"


OfNetwork = NamespaceRecord | LinkRecord | OffloadRecord | PromiscuousRecord
