"""A firewall between two hosts, on a forwarder's port, and frames that really go from one host to the other.

    with WireLab(hook="TC") as lab, WireMachine(lab, "fw") as machine:
        machine.load(config)
        machine.run("INGRESS", frame)      # from h1 to h2: "ACCEPT" if it arrived, else "DROP"

The hosts only look on. A frame's destination is nobody's, and holds the number by which it is known again. A mark, which is no
IP and so passes, goes behind each frame: on a wire nothing overtakes, so what did not come before its mark was dropped.
"""
from __future__ import annotations

import itertools
import socket
import struct

from reconciler.kernel import netns, offload
from tests.lib.lab import Lab
from tests.lib.traffic import ETHERTYPE
from tests.services.firewall.machine import Machine, Run

TEXT = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - name: sf
    service-name: simpleforwarder
    ports: [{name: p1, peer: v1, tcubes: [fw]}, {name: p2, peer: v2}]
    actions: [{inport: p1, action: FORWARD, outport: p2}, {inport: p2, action: FORWARD, outport: p1}]
  - {name: fw, service-name: firewall, loglevel: "OFF", set: [{name: s0}], chain: [{name: INGRESS, default: REJECT, rule: [{id: 1, src-set: s0}]}]}
"""
ENDS = {"INGRESS": ("h1", "h2"), "EGRESS": ("h2", "h1")}
NOBODY, MARK = b"\x06", b"\x0a"  # first bytes of unicast addresses that no host here has
_ETH_P_ALL = 3


class WireLab(Lab):
    def __init__(self, *, hook: str = "TC") -> None:
        super().__init__(TEXT, hook=hook)

    def __enter__(self) -> WireLab:
        super().__enter__()
        self.apply()
        for host in self.hosts if self.hook != "TC" else ():
            offload.put("eth0", "gro", True, self.space(host))  # or what XDP sends there is lost
        return self


class WireMachine(Machine):
    def __init__(self, lab: Lab, cube: str) -> None:
        super().__init__(lab, cube)
        self._socks = {host: _look(lab.space(host)) for host in lab.hosts}
        self._numbers = itertools.count(1)

    def __exit__(self, *_: object) -> None:
        for sock in self._socks.values():
            sock.close()
        super().__exit__()

    def _entries(self) -> dict[str, tuple[Run, dict[int, str]]]:
        return {}  # frames enter by the wire

    def device(self, chain: str) -> str:
        return {"INGRESS": "v1", "EGRESS": "v2"}[chain]

    def run(self, chain: str, frame: bytes) -> str:
        sender, receiver = (self._socks[host] for host in ENDS[chain])
        number = b"\0" + next(self._numbers).to_bytes(4, "big")
        sender.send(NOBODY + number + frame[6:])
        sender.send((MARK + number + frame[6:12] + struct.pack("!H", ETHERTYPE)).ljust(60, b"\0"))
        arrived = False
        while (target := receiver.recv(6)) != MARK + number:
            arrived |= target == NOBODY + number
        return "ACCEPT" if arrived else "DROP"


def _look(space: str) -> socket.socket:
    with netns.inside(space):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        sock.bind(("eth0", _ETH_P_ALL))
    sock.settimeout(5)
    return sock
