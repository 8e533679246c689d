"""A node put together of cubes: a dispatcher at its netdev, a load balancer for NodePorts, a router, and a switch with ClusterIPs for two pods."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.kernel import offload
from tests.lib.lab import Lab
from tests.lib.packets import Exchange, tcp_exchange, udp_exchange

pytestmark = pytest.mark.kernel
MAC = "02:00:c0:00:02:01"
TEXT = """
hosts:
  hout: {mac: "02:00:00:00:00:09", addresses: [192.0.2.9/24, "fd00:9::9/64"], here: {mac: "02:00:c0:00:02:01", addresses: [192.0.2.1/24, "fd00:9::1/64"]}}
  h1: {mac: "02:00:00:00:00:01", addresses: [10.244.1.11/32, "fd00:244:1::11/128"],
       routes: [{to: 169.254.1.1/32}, {to: default, via: 169.254.1.1}, {to: "::/0", via: "fe80::1"}]}
  h2: {mac: "02:00:00:00:00:02", addresses: [10.244.1.12/32, "fd00:244:1::12/128"],
       routes: [{to: 169.254.1.1/32}, {to: default, via: 169.254.1.1}, {to: "::/0", via: "fe80::1"}]}
cubes:
  - name: disp
    service-name: k8sdispatcher
    ports:
      - {name: nic, peer: vout, type: FRONTEND, ip: 192.0.2.1, ipv6: "fd00:9::1"}
      - {name: pods, peer: "elb:front", type: BACKEND}
    internal-src-ip: 10.244.1.254
    internal-src-ipv6: "fd00:244:1::fe"
    internal-subnet: [10.244.0.0/16, "fd00:244::/32"]
    nodeport-rule:
      - {nodeport-port: 30080, proto: TCP}
      - {nodeport-port: 30080, proto: UDP}
      - {nodeport-port: 30081, proto: TCP, external-traffic-policy: LOCAL}
      - {nodeport-port: 30081, proto: UDP, external-traffic-policy: LOCAL}
  - name: elb
    service-name: lbrp
    ports: [{name: front, peer: "disp:pods", type: FRONTEND}, {name: back, peer: "gw:up", type: BACKEND}]
    service: []
  - name: gw
    service-name: router
    ports:
      - {name: up, peer: "elb:back", ip: 192.0.2.1/24, ipv6: "fd00:9::1/64", mac: "02:00:c0:00:02:01"}
      - {name: pods, peer: "sw:up", ip: 10.244.1.1/24, ipv6: "fd00:244:1::1/64", mac: "02:00:0a:f4:01:01"}
    route:
      - {network: 0.0.0.0/0, nexthop: 192.0.2.9}
      - {network: 10.244.1.254/32, nexthop: 192.0.2.9}
      - {network: "::/0", nexthop: "fd00:9::9"}
      - {network: "fd00:244:1::fe/128", nexthop: "fd00:9::9"}
  - name: sw
    service-name: k8switch
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: up, peer: "gw:pods"}]
    cluster-ip-subnet: 10.96.0.0/16
    client-subnet: 10.244.1.0/24
    virtual-client-subnet: 10.10.1.0/24
    cluster-ipv6-subnet: "fd00:96::/112"
    client-ipv6-subnet: "fd00:244:1::/64"
    virtual-client-ipv6-subnet: "fd00:10:1::/64"
    check-source: true
    fwd-table:
      - {address: 10.244.1.11/32, mac: "02:00:00:00:00:01", port: p1}
      - {address: 10.244.1.12/32, mac: "02:00:00:00:00:02", port: p2}
      - {address: "fd00:244:1::11/128", mac: "02:00:00:00:00:01", port: p1}
      - {address: "fd00:244:1::12/128", mac: "02:00:00:00:00:02", port: p2}
      - {address: 0.0.0.0/0, mac: "02:00:0a:f4:01:01", port: up}
      - {address: "::/0", mac: "02:00:0a:f4:01:01", port: up}
    service: []
"""
OUT = {4: "192.0.2.9", 6: "fd00:9::9"}
NODE = {4: "192.0.2.1", 6: "fd00:9::1"}
PODS = {4: "10.244.1.1{}", 6: "fd00:244:1::1{}"}
INTERNAL = {4: "10.244.1.254", 6: "fd00:244:1::fe"}
VIP = {4: "10.96.0.10", 6: "fd00:96::10"}


@pytest.fixture(scope="module", params=("TC", pytest.param("XDP_DRV", marks=pytest.mark.exhaustive)))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(TEXT, hook=request.param) as lab:
        for family in (4, 6):
            backend = [{"ip": PODS[family].format(2), "port": 8080}]
            for proto in ("TCP", "UDP"):
                lab.cube("sw")["service"].append({"vip": VIP[family], "vport": 80, "proto": proto, "backend": backend})
                for port in (30080, 30081):
                    lab.cube("elb")["service"].append({"vip": NODE[family], "vport": port, "proto": proto, "backend": backend})
        lab.apply()
        for host in lab.hosts if request.param != "TC" else ():
            offload.put("eth0", "gro", True, lab.space(host))
            offload.put("eth0", "tx-checksum", False, lab.space(host))
        yield lab


@pytest.fixture(params=(4, 6))
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=(tcp_exchange, udp_exchange))
def exchange(request: pytest.FixtureRequest) -> Any:
    return request.param


def answered(lab: Lab, exchange: Any, client: str, server: str, address: str, port: int, listens: int) -> Exchange:
    """Within some tries: a router drops what comes before it knows a neighbour."""
    for _ in range(6):
        found: Exchange | None = exchange(lab.space(client), lab.space(server), address, port, server_port=listens, timeout=1.0)
        if found is not None and found.reply == found.received:
            return found
    raise AssertionError(f"{client} does not reach {address}:{port}; " + str({cube["name"]: lab.drops(cube["name"]) for cube in lab.spec["cubes"]}))


def test_outside_reaches_a_pod_by_a_node_port(lab: Lab, family: int, exchange: Any) -> None:
    assert answered(lab, exchange, "hout", "h2", NODE[family], 30080, 8080).source[0] == INTERNAL[family]
    assert answered(lab, exchange, "hout", "h2", NODE[family], 30081, 8080).source[0] == OUT[family]


def test_a_pod_reaches_outside_as_the_node_and_a_cluster_ip_as_itself(lab: Lab, family: int, exchange: Any) -> None:
    assert answered(lab, exchange, "h1", "hout", OUT[family], 5300, 5300).source[0] == NODE[family]
    assert answered(lab, exchange, "h1", "h2", VIP[family], 80, 8080).source[0] == PODS[family].format(1)
    assert answered(lab, exchange, "h2", "h2", VIP[family], 80, 8080).source[0].startswith(("10.10.1.", "fd00:10:1:"))
    assert answered(lab, exchange, "h1", "h2", PODS[family].format(2), 8080, 8080).source[0] == PODS[family].format(1)


def test_the_node_itself_is_reached(lab: Lab, family: int) -> None:
    assert lab.ok("hout", NODE[family])
