"""A node's switch with two pods (h1, h2), the node (hnode), a pod of another node (hfar), and somebody outside (hout).

    with SwitchLab(hook="TC") as lab:
        lab.add(VIPS[4].format(10), 80, (PODS[4].format(2), 8080))
        lab.apply()
        lab.udp("h1", "h2", VIPS[4].format(10), 80, 8080)

Pods have the address of a host and the gateway 169.254.1.1 or fe80::1, which nobody has: the switch answers for it.
"""
from __future__ import annotations

import socket
from typing import Any

from reconciler.kernel import netns, offload
from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in
from tests.lib.packets import Exchange, tcp_exchange

NIC_MAC = "02:00:00:00:00:99"  # of the node's netdev, which hout sends to
TEXT = """
hosts:
  h1: {mac: "02:00:00:00:00:01", addresses: [10.244.1.11/32, "fd00:244:1::11/128"],
       routes: [{to: 169.254.1.1/32}, {to: default, via: 169.254.1.1}, {to: "::/0", via: "fe80::1"}]}
  h2: {mac: "02:00:00:00:00:02", addresses: [10.244.1.12/32, "fd00:244:1::12/128"],
       routes: [{to: 169.254.1.1/32}, {to: default, via: 169.254.1.1}, {to: "::/0", via: "fe80::1"}]}
  hnode: {mac: "02:00:00:00:00:03", addresses: [10.244.1.1/24, "fd00:244:1::1/64", 10.0.0.1/32, "fd00:1::1/128"],
       routes: [{to: 10.96.0.0/16}, {to: 10.10.1.0/24}, {to: "fd00:96::/112"}, {to: "fd00:10:1::/64"}]}
  hfar: {mac: "02:00:00:00:00:05", addresses: [10.244.2.5/32, "fd00:244:2::5/128"],
         routes: [{to: 169.254.1.1/32}, {to: default, via: 169.254.1.1}, {to: "::/0", via: "fe80::1"}]}
  hout: {mac: "02:00:00:00:00:04", addresses: [192.0.2.9/24, "fd00:9::9/64"], routes: [{to: 10.0.0.1/32}, {to: "fd00:1::1/128"}]}
cubes:
  - name: sw
    service-name: k8switch
    ports:
      - {name: p1, peer: v1}
      - {name: p2, peer: v2}
      - {name: node, peer: vnode}
      - {name: far, peer: vfar}
      - {name: outside, peer: vout, type: NODEPORT}
    cluster-ip-subnet: 10.96.0.0/16
    client-subnet: 10.244.1.0/24
    virtual-client-subnet: 10.10.1.0/24
    cluster-ipv6-subnet: "fd00:96::/112"
    client-ipv6-subnet: "fd00:244:1::/64"
    virtual-client-ipv6-subnet: "fd00:10:1::/64"
    fwd-table:
      - {address: 10.244.1.11/32, mac: "02:00:00:00:00:01", port: p1}
      - {address: "fd00:244:1::11/128", mac: "02:00:00:00:00:01", port: p1}
      - {address: 10.244.1.12, mac: "02:00:00:00:00:02", port: p2}
      - {address: "fd00:244:1::12", mac: "02:00:00:00:00:02", port: p2}
      - {address: 10.244.2.0/24, mac: "02:00:00:00:00:05", port: far}
      - {address: "fd00:244:2::/64", mac: "02:00:00:00:00:05", port: far}
      - {address: 0.0.0.0/0, mac: "02:00:00:00:00:03", port: node}
      - {address: "::/0", mac: "02:00:00:00:00:03", port: node}
"""
PODS = {4: "10.244.1.1{}", 6: "fd00:244:1::1{}"}
VIRTUAL = {4: "10.10.1.", 6: "fd00:10:1:"}
REMOTE = {4: "10.244.2.5", 6: "fd00:244:2::5"}
NODE = {4: "10.0.0.1", 6: "fd00:1::1"}
VIPS = {4: "10.96.0.{}", 6: "fd00:96::{}"}


class SwitchLab(Lab):
    def __init__(self, *, hook: str = "TC", text: str = TEXT) -> None:
        super().__init__(text, hook=hook)
        self._ready = False

    def __enter__(self) -> SwitchLab:
        super().__enter__()
        return self

    def apply(self) -> Any:
        result = super().apply()
        if not self._ready:
            for host in self.hosts if self.hook != "TC" else ():  # what XDP redirects over a veth arrives only so
                offload.put("eth0", "gro", True, self.space(host))
                offload.put("eth0", "tx-checksum", False, self.space(host))
            if "hout" in self.hosts:
                for address in NODE.values():
                    run_in(self.space("hout"), ["ip", "neigh", "add", address, "lladdr", NIC_MAC, "dev", "eth0"])
            self._ready = True
        return result

    def add(self, vip: str, vport: int, *backends: tuple[str, int], proto: str = "UDP", **leaves: Any) -> dict[str, Any]:
        """A service, which an `apply` brings; gives it, to be changed."""
        services = self.cube("sw").setdefault("service", [])
        services.append({"vip": vip, "vport": vport, "proto": proto, **leaves, "backend": [{"ip": ip, "port": port} for ip, port in backends]})
        return services[-1]

    def udp(self, client: str, server: str, address: str, port: int, listens: int, **said: Any) -> Exchange | None:
        """As udp_exchange, but the client hears nobody but whom it asks."""
        return connected_udp(self.space(client), self.space(server), address, port, listens, **said)

    def tcp(self, client: str, server: str, address: str, port: int, listens: int, **said: Any) -> Exchange | None:
        return tcp_exchange(self.space(client), self.space(server), address, port, server_port=listens, **{"timeout": 1.0} | said)

    def in_space(self, host: str) -> Any:
        return netns.inside(self.space(host))


def connected_udp(client: str, server: str, address: str, port: int, listens: int, *, payload: bytes = b"question", source_port: int = 0,
                  timeout: float = 1.0) -> Exchange | None:  # fmt: skip
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside(server):
        there = socket.socket(family, socket.SOCK_DGRAM)
    with netns.inside(client):
        here = socket.socket(family, socket.SOCK_DGRAM)
    with there, here:
        there.bind(("", listens))
        here.bind(("", source_port))
        there.settimeout(timeout)
        here.settimeout(timeout)
        try:
            here.connect((address, port))
            here.send(payload)
            received, source = there.recvfrom(65535)
        except OSError:
            return None
        try:
            there.sendto(received, source)
            return Exchange(received, source[:2], here.recv(65535))
        except OSError:
            return Exchange(received, source[:2], None)
