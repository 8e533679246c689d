"""What a filter takes from a node's netdev: 10,000 random frames against a model, and real packets with a switch behind it."""
from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.kernel import offload
from reconciler.service.registry import Services
from tests.lib.flow_frames import ICMP, ICMPV6, TCP, UDP, Fields, frame
from tests.lib.lab import Lab
from tests.lib.packets import tcp_exchange, udp_exchange

pytestmark = pytest.mark.kernel
LOW, HIGH = 30000, 32767
ALONE = """
hosts: {hout: 192.0.2.9/24, hin: 192.0.2.77/24}
cubes:
  - name: filter
    service-name: k8sfilter
    ports: [{name: nic, peer: vout, type: EXTERNAL}, {name: in, peer: vin, type: INTERNAL}]
"""
WITH_SWITCH = """
hosts:
  hout: {mac: "02:00:00:00:00:09", addresses: [192.0.2.9/24, "fd00:9::9/64"], here: {mac: "02:00:c0:00:03:01", addresses: [192.0.2.1/24, "fd00:9::1/64"]}}
  hpod: {mac: "02:00:0a:f4:01:0b", addresses: [10.244.1.11/32, "fd00:244:1::11/128"],
         routes: [{to: 169.254.1.1/32}, {to: default, via: 169.254.1.1}, {to: "::/0", via: "fe80::1"}]}
cubes:
  - name: filter
    service-name: k8sfilter
    ports: [{name: nic, peer: vout, type: EXTERNAL}, {name: in, peer: "sw:outside", type: INTERNAL}]
  - name: sw
    service-name: k8switch
    ports: [{name: pod, peer: vpod}, {name: outside, peer: "filter:in", type: NODEPORT}, {name: up}]
    client-subnet: 10.244.1.0/24
    client-ipv6-subnet: "fd00:244:1::/64"
    fwd-table:
      - {address: 10.244.1.11/32, mac: "02:00:0a:f4:01:0b", port: pod}
      - {address: "fd00:244:1::11/128", mac: "02:00:0a:f4:01:0b", port: pod}
      - {address: 0.0.0.0/0, mac: "02:00:0a:f4:01:01", port: up}
      - {address: "::/0", mac: "02:00:0a:f4:01:01", port: up}
    service:
      - {vip: 192.0.2.1, vport: 30080, proto: TCP, backend: [{ip: 10.244.1.11, port: 8080}]}
      - {vip: 192.0.2.1, vport: 30080, proto: UDP, backend: [{ip: 10.244.1.11, port: 8080}]}
      - {vip: "fd00:9::1", vport: 30080, proto: TCP, backend: [{ip: "fd00:244:1::11", port: 8080}]}
      - {vip: "fd00:9::1", vport: 30080, proto: UDP, backend: [{ip: "fd00:244:1::11", port: 8080}]}
"""
NODE = {4: "192.0.2.1", 6: "fd00:9::1"}
OUT = {4: "192.0.2.9", 6: "fd00:9::9"}


def some_port(chance: random.Random) -> int:
    return chance.choice((LOW, HIGH, LOW - 1, HIGH + 1, 80, chance.randrange(LOW, HIGH), chance.randrange(1, 65536)))


def some_fields(chance: random.Random, serial: int) -> Fields:
    family = chance.choice((4, 6))
    proto = chance.choice((TCP, TCP, UDP, UDP, ICMP if family == 4 else ICMPV6, 132))
    said = Fields(family, proto, OUT[family], NODE[family], some_port(chance), some_port(chance), identification=serial & 0xFFFF)
    if proto in (ICMP, ICMPV6):
        about = Fields(family, chance.choice((TCP, UDP, 47)), said.dst, said.src, some_port(chance), some_port(chance))
        kind = chance.choice((3, 11, 8)) if family == 4 else chance.choice((1, 3, 128))
        return said._replace(dport=kind, quoted=about if kind not in (8, 128) else None)
    return said


def expected(said: Fields) -> bool:
    """Whether the pods' side gets it."""
    if said.quoted is not None:
        return said.quoted.proto in (TCP, UDP) and LOW <= said.quoted.sport <= HIGH
    return said.proto in (TCP, UDP) and LOW <= said.dport <= HIGH


@pytest.mark.parametrize("hook", ["TC", pytest.param("XDP_DRV", marks=pytest.mark.exhaustive)])
def test_ten_thousand_frames_go_where_the_model_says(hook: str) -> None:
    chance = random.Random(5)
    with Lab(ALONE, hook=hook) as lab:
        lab.apply()
        found = Counter()
        pin = next(f"cubes/filter/in/{name}" for name in lab.reader().names("cubes/filter/in") if name.endswith("_nic"))
        inner = next(f"cubes/filter/in/{name}" for name in lab.reader().names("cubes/filter/in") if name.endswith("_in"))
        for serial in range(10_000):
            said = some_fields(chance, serial)
            verdict = lab.run(pin, frame(said))
            assert verdict == ("redirect" if expected(said) else "pass"), said
            found[verdict] += 1
            if serial % 100 == 0:
                assert lab.run(inner, frame(said)) == "redirect"
        assert min(found.values()) > 2000


def test_later_fragments_follow_their_first_one() -> None:
    with Lab(ALONE) as lab:
        lab.apply()
        pin = next(f"cubes/filter/in/{name}" for name in lab.reader().names("cubes/filter/in") if name.endswith("_nic"))
        for family in (4, 6):
            later = Fields(family, UDP, OUT[family], NODE[family], fragment=2, identification=99)
            assert lab.run(pin, frame(later)) == "pass"
            if family == 4:  # its first one: with the bit that says that more follow
                first = bytearray(frame(later._replace(fragment=0, sport=5000, dport=LOW)))
                first[20] |= 0x20
                first[24:26] = (int.from_bytes(first[24:26], "big") - 0x2000).to_bytes(2, "big")
                assert lab.run(pin, bytes(first)) == "redirect"
                assert lab.run(pin, frame(later)) == "redirect"
                assert lab.run(pin, frame(later._replace(identification=98))) == "pass"


@pytest.fixture(scope="module", params=("TC", "XDP_DRV"))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(WITH_SWITCH, hook=request.param) as lab:
        lab.apply()
        for host in lab.hosts if request.param != "TC" else ():
            offload.put("eth0", "gro", True, lab.space(host))
            offload.put("eth0", "tx-checksum", False, lab.space(host))
        yield lab


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("exchange", [tcp_exchange, udp_exchange])
def test_a_node_port_is_a_pods_and_the_pod_knows_its_client(lab: Lab, family: int, exchange: Any) -> None:
    found = exchange(lab.space("hout"), lab.space("hpod"), NODE[family], 30080, server_port=8080, payload=b"x" * 4000, timeout=2)
    assert found is not None
    assert found.reply == found.received == b"x" * 4000
    assert found.source[0] == OUT[family]


@pytest.mark.parametrize("family", [4, 6])
def test_all_else_is_the_hosts(lab: Lab, family: int) -> None:
    found = tcp_exchange(lab.space("hout"), None, NODE[family], 22, timeout=2)
    assert found is not None
    assert found.reply == found.received
    assert lab.ok("hout", NODE[family])


def test_it_reads_back_as_it_is_written() -> None:
    with Lab(ALONE) as lab:
        lab.cube("filter")["nodeport-range"] = "31000-31999"
        lab.apply()
        assert lab.live_cube("filter")["nodeport-range"] == "31000-31999"
        assert lab.plan().plan.steps == ()


@pytest.mark.parametrize(("leaves", "sentence"), [
    ("nodeport-range: 40000-30000", "40000-30000 is no range of ports"),
    ("ports: [{name: a, type: EXTERNAL}, {name: b, type: EXTERNAL}]", "there is a port of type EXTERNAL already, and there can be one"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(leaves: str, sentence: str) -> None:
    text = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n    - name: f\n      service-name: k8sfilter\n"
    with pytest.raises(DocumentError) as error:
        check(parse(text + f"      {leaves}\n", "f.yaml"), Services())
    assert sentence in [problem.message for problem in error.value.problems]
