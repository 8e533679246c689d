"""Records of the forwarding paths: hops, members of a flood, hooks of netdevs."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler import pins


@dataclass(frozen=True, slots=True)
class NextHopRecord:
    """Row `row` of a cube's hops: kind 'none', 'pass', 'netdev' (target is its name) or 'program' (a stub's path)."""

    cube: str
    side: str
    row: int
    kind: str
    target: str = ""

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/hop/{self.side}{self.row}"


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """Row `index` of a cube's flood table: `netdev` is the egress of the port. `far` is the far end of the hidden veth pair
    (then `netdev` is the near end), '' if the port is a plain netdev, and in a twin's table, as it sends through the near
    end."""

    cube: str
    index: int
    netdev: str
    far: str = ""
    side: str = pins.MAIN

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/member/{self.side}{self.index}"


@dataclass(frozen=True, slots=True)
class HookRecord:
    """The program at a netdev's hook ('xdp', 'tcx_ingress', 'tcx_egress'). `mode`: '' | 'skb' | 'drv' for XDP. `pin` is its
    pin, if that is not under its netdev's name: the netdev was renamed."""

    netdev: str
    point: str
    stub: str
    mode: str = ""
    pin: str = ""

    @property
    def path(self) -> str:
        return self.pin or pins.hook(self.netdev, self.point)

    @property
    def address(self) -> str:
        return f"hook/{self.netdev}/{self.point}"
