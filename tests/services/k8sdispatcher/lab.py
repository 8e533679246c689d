"""A node's dispatcher between somebody outside (hout) and the pods' side (hin), on vout, which is the node's netdev with its stack.

    with DispatcherLab(hook="TC") as lab:
        lab.apply()
        lab.udp("hin", "hout", OUT[4], 5353, source=POD[4])

hin plays the router and the load balancer behind BACKEND: it has a pod's address, and the node's too, at which it answers for services.
"""
from __future__ import annotations

import socket
from typing import Any

from reconciler.kernel import netns, offload
from tests.lib.lab import Lab
from tests.lib.packets import Exchange

NODE_MAC = "02:00:c0:00:02:01"
TEXT = """
hosts:
  hout: {mac: "02:00:00:00:00:09", addresses: [192.0.2.9/24, "fd00:9::9/64"],
         routes: [{to: 10.244.0.0/16, via: 192.0.2.1}, {to: "fd00:244::/32", via: "fd00:9::1"}, {to: 203.0.113.1/32, via: 192.0.2.1}],
         here: {mac: "02:00:c0:00:02:01", addresses: [192.0.2.1/24, "fd00:9::1/64"]}}
  hin: {mac: "02:00:c0:00:02:01", addresses: [10.244.1.11/32, "fd00:244:1::11/128", 192.0.2.1/24, "fd00:9::1/64", 203.0.113.1/32],
        routes: [{to: default, via: 192.0.2.9}, {to: "::/0", via: "fd00:9::9"}]}
cubes:
  - name: disp
    service-name: k8sdispatcher
    ports:
      - {name: nic, peer: vout, type: FRONTEND, ip: 192.0.2.1, ipv6: "fd00:9::1"}
      - {name: pods, peer: vin, type: BACKEND}
    internal-src-ip: 10.244.1.254
    internal-src-ipv6: "fd00:244:1::fe"
    internal-subnet: [10.244.0.0/16, "fd00:244::/32"]
    nodeport-rule:
      - {nodeport-port: 30080, proto: TCP}
      - {nodeport-port: 30080, proto: UDP}
      - {nodeport-port: 30081, proto: TCP, external-traffic-policy: LOCAL}
      - {nodeport-port: 30081, proto: UDP, external-traffic-policy: LOCAL, rule-name: local}
    external-rule:
      - {ip: 203.0.113.1, port: 53, proto: UDP}
"""
OUT = {4: "192.0.2.9", 6: "fd00:9::9"}
NODE = {4: "192.0.2.1", 6: "fd00:9::1"}
POD = {4: "10.244.1.11", 6: "fd00:244:1::11"}
INTERNAL = {4: "10.244.1.254", 6: "fd00:244:1::fe"}


class DispatcherLab(Lab):
    def __init__(self, *, hook: str = "TC", text: str = TEXT, **leaves: Any) -> None:
        super().__init__(text, hook=hook)
        self.cube("disp").update({name.replace("_", "-"): value for name, value in leaves.items()})
        self._offloaded = False

    def __enter__(self) -> DispatcherLab:
        super().__enter__()
        return self

    def apply(self) -> Any:
        result = super().apply()
        if self.hook != "TC" and not self._offloaded:
            for host in self.hosts:  # what XDP redirects over a veth arrives only so
                offload.put("eth0", "gro", True, self.space(host))
                offload.put("eth0", "tx-checksum", False, self.space(host))
        self._offloaded = True
        return result

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.live_cube("disp", state=True)["session-rule"]
        return found

    def udp(self, client: str | None, server: str | None, address: str, port: int, **said: Any) -> Exchange | None:
        return exchange(self, socket.SOCK_DGRAM, client, server, address, port, **said)

    def tcp(self, client: str | None, server: str | None, address: str, port: int, **said: Any) -> Exchange | None:
        return exchange(self, socket.SOCK_STREAM, client, server, address, port, **said)


def exchange(lab: DispatcherLab, kind: socket.SocketKind, client: str | None, server: str | None, address: str, port: int, *,
             source: str = "", source_port: int = 0, payload: bytes = b"question", timeout: float = 1.5, at: str = "") -> Exchange | None:  # fmt: skip
    """What arrives of a client that has connected its socket, so that it hears nobody else, and what comes back. None: nothing arrived."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside(lab._where(server)):
        there = socket.socket(family, kind)
    with netns.inside(lab._where(client)):
        here = socket.socket(family, kind)
    with there, here:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        there.bind((at or address, port))
        here.bind((source, source_port))
        there.settimeout(timeout)
        here.settimeout(timeout)
        try:
            if kind == socket.SOCK_STREAM:
                there.listen()
            here.connect((address, port))
            here.send(payload)
            return _answer_stream(there, here) if kind == socket.SOCK_STREAM else _answer(there, here)
        except OSError:
            return None


def _answer(there: socket.socket, here: socket.socket) -> Exchange:
    received, sender = there.recvfrom(65535)
    there.sendto(received, sender)
    try:
        return Exchange(received, sender[:2], here.recv(65535))
    except OSError:
        return Exchange(received, sender[:2], None)


def _answer_stream(there: socket.socket, here: socket.socket) -> Exchange:
    accepted, sender = there.accept()
    with accepted:
        accepted.settimeout(there.gettimeout())
        received = accepted.recv(65535)
        accepted.send(received)
        return Exchange(received, sender[:2], here.recv(65535))
