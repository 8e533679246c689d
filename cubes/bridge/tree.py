"""A spanning tree from one bridge's point of view: plain data. Its transitions are in `steps`.

Variables are those of IEEE 802.1D-2004, 17.19; timers are deadlines here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from cubes.bridge.bpdu import Times, Vector


class Role(IntEnum):
    DISABLED = 0
    ROOT = 1
    DESIGNATED = 2
    ALTERNATE = 3
    BACKUP = 4


class Info(IntEnum):
    """Where a port's information originates from."""

    DISABLED = 0
    AGED = 1
    MINE = 2
    RECEIVED = 3


@dataclass(frozen=True, slots=True)
class PortSettings:
    """`number` is unique in its bridge, from 1. `shared`: there may be more than one bridge at the other end, and none agrees for
    all."""

    number: int
    cost: int = 4
    priority: int = 128
    edge: bool = False
    shared: bool = False

    @property
    def identity(self) -> int:
        return self.priority << 8 | self.number if self.number < 256 else (self.priority & 0xF0) << 8 | self.number


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one tree. `address` is the bridge's, 6 bytes as a number."""

    address: int
    priority: int = 32768
    rapid: bool = False
    hello: float = 2.0
    max_age: float = 20.0
    delay: float = 10.0
    ports: Mapping[str, PortSettings] = field(default_factory=dict)

    @property
    def identity(self) -> int:
        return self.priority << 48 | self.address

    @property
    def times(self) -> Times:
        return Times(0.0, self.max_age, self.hello, self.delay)


USUAL = Times(0.0, 20.0, 2.0, 15.0)
WORST = Vector(2**64 - 1, 2**32 - 1, 2**64 - 1, 2**16 - 1)


@dataclass(slots=True)
class Port:
    """`vector` and `times` are the port's priority and times, from whichever source."""

    enabled: bool = False
    edge: bool = False  # operational
    role: Role = Role.DISABLED
    chosen: Role = Role.DISABLED  # selectedRole
    info: Info = Info.DISABLED
    vector: Vector = WORST
    times: Times = USUAL
    designated: Vector = WORST
    update: bool = False
    proposed: bool = False
    proposing: bool = False
    agree: bool = False
    agreed: bool = False
    sync: bool = False
    synced: bool = True
    re_root: bool = False
    disputed: bool = False
    learn: bool = False
    forward: bool = False
    rapid: bool = False  # sendRSTP
    news: bool = False  # newInfo
    tc_active: bool = False
    tc_ack: bool = False
    tc_prop: bool = False
    rcvd_tc: bool = False
    rcvd_tcn: bool = False
    rcvd_tc_ack: bool = False
    info_until: float = 0.0
    fd_until: float = 0.0
    rr_until: float = 0.0
    rb_until: float = 0.0
    tc_until: float = 0.0
    migrate_at: float = 0.0
    hello_at: float = 0.0
    sent: tuple[float, ...] = ()  # when the last BPDUs were

    @property
    def state(self) -> str:
        """By Polycube's name."""
        if self.role == Role.DISABLED:
            return "disabled"
        if self.forward:
            return "forwarding"
        if self.learn:
            return "learning"
        return "listening" if self.role in (Role.ROOT, Role.DESIGNATED) else "blocking"


@dataclass(slots=True)
class Tree:
    settings: Settings
    ports: dict[str, Port] = field(default_factory=dict)
    root: Vector = WORST  # rootPriority
    root_times: Times = USUAL
    root_port: str = ""
    wake: float = 0.0  # when something is due, if nothing happens before
    changes: int = 0  # of the topology

    def copy(self) -> Tree:
        made = copy.copy(self)
        made.ports = {name: copy.copy(port) for name, port in self.ports.items()}
        return made
