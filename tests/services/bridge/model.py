"""What a bridge should do with a frame, said again and otherwise than its C: a reference for random frames. Nothing ages here."""
from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cubes.bridge.settings import Port

VLAN, SERVICE_VLAN = 0x8100, 0x88A8


def tagged(frame: bytes, tci: int, protocol: int = VLAN) -> bytes:
    return frame[:12] + struct.pack("!HH", protocol, tci) + frame[12:]


@dataclass
class Bridge:
    """`ports` in the order of their numbers. `where` has what was learned: by (VLAN, address) a port's name."""

    ports: list[Port]
    passes: frozenset[int] = frozenset()  # the groups of one wire that are passed on, by their last byte
    where: dict[tuple[int, bytes], str] = field(default_factory=dict)

    def out(self, name: str, frame: bytes) -> dict[str, bytes]:
        """What leaves by which port when this frame arrives at port `name`."""
        port = next(port for port in self.ports if port.name == name)
        tci = struct.unpack_from("!H", frame, 14)[0] if frame[12:14] == b"\x81\x00" else None
        bare = frame if tci is None else frame[:12] + frame[16:]
        said, priority = (tci or 0) & 0xFFF, (tci or 0) & 0xF000
        vlan = said or port.native
        if (said and not port.trunk) or not vlan or not port.carries(vlan):
            return {}
        target, source = frame[:6], frame[6:12]
        if target[:5] == b"\x01\x80\xc2\0\0" and target[5] < 16 and target[5] not in self.passes:
            return {}
        if not source[0] & 1:
            self.where[vlan, source] = name
        known = None if target[0] & 1 else self.where.get((vlan, target))
        to = [each for each in self.ports if each.name != name and each.carries(vlan) and known in (None, each.name)]
        return {each.name: bare if each.native == vlan else tagged(bare, priority | vlan) for each in to}
