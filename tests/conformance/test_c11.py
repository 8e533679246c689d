"""C11: secondary addresses. Each host is in a subnet of one of them; all twelve addresses answer everybody."""
from __future__ import annotations

import pytest

from reconciler.errors import DocumentError
from tests.services.router.lab import RouterLab

pytestmark = pytest.mark.kernel

HOSTS = {"h1": "10.0.1.1", "h2": "10.0.2.1", "h3": "10.0.3.1"}
OWN = {
    "to_veth1": ["10.0.0.120/24", "10.10.10.1/24", "10.10.21.2/24", "10.0.1.254/24"],
    "to_veth2": ["10.10.20.10/24", "10.14.1.1/24", "10.1.15.2/24", "10.0.2.254/24"],
    "to_veth3": ["10.30.10.10/24", "11.1.1.1/24", "12.1.1.1/24", "10.0.3.254/24"],
}
SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
  h3: {addresses: [10.0.3.1/24], routes: [{to: default, via: 10.0.3.254}]}
cubes:
  - name: r1
    service-name: router
    ports:
""" + "".join(
    f"      - {{name: {port}, peer: v{port[-1]}, ip: {first}, secondaryip: [{', '.join('{ip: ' + ip + '}' for ip in rest)}]}}\n"
    for port, (first, *rest) in OWN.items()
)  # fmt: skip


@pytest.fixture(params=[("TC", 4), ("TC", 6), ("XDP_DRV", 4), ("XDP_DRV", 6)], ids=lambda param: f"{param[0]}-IPv{param[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        yield lab


def test_all_addresses_answer_every_host_and_hosts_reach_each_other(lab):
    for host in HOSTS:
        for addresses in OWN.values():
            for address in addresses:
                lab.reach(host, address.partition("/")[0])
    lab.cycle(HOSTS)
    local = {network for network, row in lab.fib("r1").items() if row[0] == "local"}
    assert local == {
        f"{lab.said(ip.partition('/')[0])}/{32 if lab.family == 4 else 128}" for addresses in OWN.values() for ip in addresses
    }


def test_a_port_may_have_more_than_five(lab):
    lab.port("r1", "to_veth1")["secondaryip"] += [{"ip": lab.said(f"10.20.{i}.1/24")} for i in range(10)]
    lab.apply()
    assert not lab.drift()
    for i in range(10):
        lab.reach("h2", f"10.20.{i}.1")


def test_a_secondary_address_without_a_primary_one_is_refused_where_it_stands(lab):
    port = lab.port("r1", "to_veth2")
    del port["ip" if lab.family == 4 else "ipv6"]
    with pytest.raises(DocumentError) as caught:
        lab.plan()
    first = caught.value.problems[0]
    assert "port to_veth2 has no primary address of this family" in first.message
    assert first.path.startswith("/spec/cubes/r1/ports/to_veth2/secondaryip/")
    assert first.where is not None
