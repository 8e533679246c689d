"""C10: one router between five subnets."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Counts, counts
from tests.services.router.lab import RouterLab

pytestmark = pytest.mark.kernel

HOSTS = {f"h{i}": f"10.0.{i}.1" for i in range(1, 6)}
HOST = "  h{0}: {{addresses: [10.0.{0}.1/24], routes: [{{to: default, via: 10.0.{0}.254}}]}}\n"
PORT = "      - {{name: to_veth{0}, peer: v{0}, ip: 10.0.{0}.254/24}}\n"
SCENARIO = f"""
hosts:
{"".join(HOST.format(i) for i in range(1, 6))}
cubes:
  - name: r1
    service-name: router
    ports:
{"".join(PORT.format(i) for i in range(1, 6))}
"""


@pytest.fixture(params=[(hook, family) for hook in HOOKS for family in (4, 6)], ids=lambda param: f"{param[0]}-IPv{param[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        yield lab


def test_every_host_reaches_every_other_and_the_router_knows_five_neighbours_and_five_subnets(lab):
    lab.cycle(HOSTS)
    known = lab.neighbours("r1")
    assert known == {lab.said(address): (f"to_veth{host[1:]}", lab.mac(host)) for host, address in HOSTS.items()}
    connected = {network: row for network, row in lab.fib("r1").items() if row[0] == "connected"}
    assert connected == {lab.said(f"10.0.{i}.0/24"): ("connected", f"to_veth{i}", lab.said(f"10.0.{i}.254")) for i in range(1, 6)}


def test_what_is_shown_changes_nothing_when_it_is_applied(lab):
    shown = lab.live_cube("r1")
    assert shown["ports"] == lab.cube("r1")["ports"]
    lab.spec["cubes"] = [shown]
    assert counts(lab.plan()) == Counts()
    assert not lab.drift()
