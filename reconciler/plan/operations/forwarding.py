"""Operations on a packet's path: next hops, members of a flood, hooks of netdevs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reconciler.plan.operations.base import Operation
from reconciler.plan.operations.names import Rename


@dataclass(frozen=True, slots=True)
class SetHop(Operation):
    """Write row `row` of the hops below `home`: 'none', 'pass', 'netdev' (`target` is its name) or 'program' (a stub's path)."""

    subject: ClassVar[str] = "home"
    home: str
    row: int
    hop: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class SetMember(Operation):
    """Write row `index` of the flood table below `home`. `netdev` is the egress of the port, '' for none; `far` is the far
    end of a hidden veth pair, '' if the port is a plain netdev."""

    subject: ClassVar[str] = "home"
    home: str
    family: str
    index: int
    netdev: str = ""
    far: str = ""


@dataclass(frozen=True, slots=True)
class _AtHook(Operation):
    """At a netdev's hook ('xdp', 'tcx_ingress', 'tcx_egress'), with the bpf_link pinned at `pin`."""

    subject: ClassVar[str] = "netdev"
    netdev: str
    point: str
    pin: str


class DetachHook(_AtHook):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class UpdateHook(_AtHook):
    """Exchange the program of a hook for the one that is pinned at `stub`."""

    stub: str


@dataclass(frozen=True, slots=True)
class AttachHook(_AtHook):
    """`mode`: '' | 'skb' | 'drv', of XDP."""

    stub: str
    mode: str = ""

    def inverse(self) -> DetachHook:
        return DetachHook(self.netdev, self.point, self.pin)

    def occupies(self) -> tuple[str, ...]:
        return (self.pin,)


class MoveHook(Rename):
    """Rename a hook's pin after its netdev; never over another one."""

    __slots__ = ()

    def inverse(self) -> MoveHook:
        return MoveHook(self.to, self.path)
