"""C23: a load balancer between two hosts (SINGLE), and one with a client behind each of two ports (MULTI). What Polycube's scripts
test_single.sh and test_multi.sh ask, over IPv4 and IPv6, and what they say of weights."""
from __future__ import annotations

import pytest

from reconciler.kernel import netns
from tests.lib.lab import HOOKS, Lab, counts

pytestmark = pytest.mark.kernel

SINGLE = """
hosts:
  h1: {addresses: [192.178.1.1/24], routes: [{to: default, via: 192.178.1.2}]}
  h2: {addresses: [192.178.1.2/24]}
cubes:
  - name: lb0
    service-name: lbrp
    port_mode: SINGLE
    ports:
      - {name: to_ns1, peer: v1, type: FRONTEND}
      - {name: to_ns2, peer: v2, type: BACKEND}
"""
MULTI = """
hosts:
  h1: {addresses: [192.178.1.1/32], routes: [{to: 192.178.1.254/32}, {to: default, via: 192.178.1.254}]}
  h2: {addresses: [192.178.1.2/32], routes: [{to: 192.178.1.254/32}, {to: default, via: 192.178.1.254}]}
  h3: {addresses: [192.178.1.254/24]}
cubes:
  - name: lb0
    service-name: lbrp
    port_mode: MULTI
    ports:
      - {name: to_ns1, peer: v1, type: FRONTEND, ip: 192.178.1.1}
      - {name: to_ns2, peer: v2, type: FRONTEND, ip: 192.178.1.2}
      - {name: to_ns3, peer: v3, type: BACKEND}
"""
SERVICE = [
    {"vip": "10.0.0.1", "vport": 80, "proto": "TCP", "backend": [{"ip": "192.178.1.2", "port": 80}]},
    {"vip": "10.0.0.1", "vport": 80, "proto": "UDP", "backend": [{"ip": "192.178.1.2", "port": 80}]},
    {"vip": "10.0.0.1", "vport": 0, "proto": "ICMP", "backend": [{"ip": "192.178.1.2", "port": 0}]},
]


@pytest.mark.parametrize("hook", HOOKS)
def test_single_what_is_for_no_service_passes_and_a_service_is_reached(hook):
    with Lab(SINGLE, hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "192.178.1.2")
        assert lab.ok("h2", "192.178.1.1")
        assert lab.fails("h1", "10.0.0.1")
        lab.cube("lb0")["service"] = SERVICE
        lab.apply()
        assert lab.ok("h1", "10.0.0.1")  # a reply from any other address is none
        assert lab.plan().plan.steps == ()
        lab.cube("lb0")["service"] = [
            {"vip": "10.0.0.1", "vport": 80, "proto": "ALL", "backend": [{"ip": "192.178.1.2", "port": 80}]}
        ]
        lab.apply()
        assert lab.ok("h1", "10.0.0.1")
        (entry,) = lab.live_cube("lb0")["service"]
        assert entry["proto"] == "ALL"
        assert lab.drift() == []


@pytest.mark.parametrize("hook", HOOKS)
def test_multi_a_client_is_the_backend_of_another(hook):
    with Lab(MULTI, hook=hook) as lab:
        lab.apply()
        for client, address in (("h1", "192.178.1.1"), ("h2", "192.178.1.2")):
            assert lab.ok(client, "192.178.1.254")
            assert lab.ok("h3", address)
        with netns.inside(lab.space("h3")), open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as forward:
            forward.write("1")
        lab.cube("lb0")["service"] = SERVICE
        lab.apply()
        assert lab.ok("h1", "10.0.0.1")
        assert lab.drops("lb0") == {}


def test_weights_are_written_shown_and_deleted_in_any_order():
    with Lab(SINGLE) as lab:
        weights = {"192.178.1.11": 20, "192.178.1.12": 30, "192.178.1.13": 20}
        service = {"vip": "10.0.0.1", "vport": 80, "proto": "TCP", "backend": []}
        lab.cube("lb0")["service"] = [service]
        for ip, weight in weights.items():
            service["backend"].append({"ip": ip, "port": 80, "weight": weight})
            lab.apply()
        (shown,) = lab.live_cube("lb0")["service"]
        assert {backend["ip"]: backend["weight"] for backend in shown["backend"]} == weights
        for place in (1, 0, 0):
            del service["backend"][place]
            assert counts(lab.apply()).program_loads == 0
        assert "backend" not in lab.live_cube("lb0")["service"][0]
        lab.cube("lb0")["service"] = []
        lab.apply()
        assert "service" not in lab.live_cube("lb0")
        assert not any(lab.table("lb0", name) for name in ("services", "members", "rings"))
