"""Rings and rows of a load balancer, and what its check refuses: without a kernel."""
from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from cubes.lbrp import check
from cubes.lib import maglev
from cubes.lib.balancer_rows import derive
from reconciler.check import check as check_documents
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services
from reconciler.service.sdk import Env


def names(count):
    return [f"10.0.{number // 256}.{number % 256}:80".encode() for number in range(count)]


# -- rings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "found"), [  # of the authors' own program, and of others who published them
    (b"", 0), (b"test", 0xBA6BD213), (b"\xff\xff\xff\xff", 0x76293B50), (b"\x21\x43\x65\x87", 0xF55B516B), (bytes(4), 0x2362F9DE),
])  # fmt: skip
def test_the_hash_is_murmur3(data, found):
    assert maglev.murmur3(data) == found


def test_a_ring_follows_from_its_backends_and_not_from_their_order():
    weights = dict(zip(names(20), range(1, 21), strict=True))
    other = dict(random.Random(1).sample(list(weights.items()), 20))
    assert maglev.ring(4093, weights) == maglev.ring(4093, other)


@pytest.mark.parametrize("weights", [[1], [1, 1], [1] * 5, [1] * 80, [1, 2, 3], [20, 30, 20], [1, 100], [1] * 1000, [65535, 1000]])
def test_each_backend_has_its_share_within_2_percent(weights):
    said = dict(zip(names(len(weights)), weights, strict=True))
    size = maglev.size_for(weights)
    counted = Counter(maglev.ring(size, said))
    for name, weight in said.items():
        assert abs(counted[name] / size / (weight / sum(weights)) - 1) < 0.021, (name, weight)


@pytest.mark.parametrize("count", [2, 10, 100, 1000])
def test_a_removed_backend_moves_its_share_of_65537_slots_plus_1_percent_at_most(count):
    weights = dict.fromkeys(names(count), 1)
    before = maglev.ring(65537, weights)
    gone = names(count)[count // 2]
    after = maglev.ring(65537, {name: 1 for name in weights if name != gone})
    moved = sum(a != b for a, b in zip(before, after, strict=True)) / 65537
    assert moved <= before.count(gone) / 65537 + 0.01
    back = maglev.ring(65537, weights)
    assert back == before


def test_two_services_of_the_same_backends_share_a_short_ring():
    weights = {f"10.0.0.{number}".encode(): number % 3 + 1 for number in range(4)}
    assert maglev.deal(weights, 251) is maglev.deal(dict(reversed(weights.items())), 251)
    assert maglev.deal(weights, 251) != maglev.deal({**weights, b"10.0.0.9": 1}, 251)
    assert maglev.deal(weights, 4093) is not maglev.deal(weights, 4093), "long ones take too much memory"


def test_a_backend_without_a_weight_has_no_slot_and_none_at_all_makes_no_ring():
    assert maglev.ring(251, {b"a": 1, b"b": 0}) == [b"a"] * 251
    assert maglev.ring(251, {b"b": 0}) == []
    assert maglev.size_for([0, 0]) == 0


def test_two_names_of_one_number_are_told_apart():
    first = maglev.number(b"a")
    assert maglev.number(b"a", {first}) == first + 1
    assert maglev.number(b"a", {first, first + 1}) == first + 2
    assert maglev.number(b"a", {0xFFFFFFFF}) == first


# -- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Layout:
    size: int
    fields: tuple[Place, ...]


@dataclass(frozen=True)
class Table:
    key: Any
    value: Any


def layout(**sizes):
    fields, offset = [], 0
    for name, size in sizes.items():
        fields.append(Place(name, offset, size))
        offset += size
    return Layout(offset, tuple(fields))


TABLES = {
    "services": Table(layout(vip=16, vport=2, proto=1, zero=1), layout(number=4, size=4, affinity=4, flags=4)),
    "members": Table(layout(service=4, backend=4), layout(ip=16, port=2, flags=2)),
}


def services(count, backends=3):
    return [
        {"vip": f"10.{place >> 16 & 255}.{place >> 8 & 255}.{place & 255}", "vport": 80, "proto": "TCP",
         "backend": [{"ip": f"172.16.{place % 200}.{one}", "port": 8080} for one in range(1, backends + 1)]}
        for place in range(256, 256 + count)
    ]  # fmt: skip


def differing(before, after):
    return {name: sum(before[name].get(key) != after[name].get(key) for key in {*before[name], *after[name]}) for name in before}


def test_10000_services_of_three_backends_take_a_row_of_their_ring_each_and_an_edit_only_its_own():
    config = {"service": services(10000)}
    rows = derive(config, TABLES)
    assert {name: len(found) for name, found in rows.items()} == {
        "services": 20000, "members": 30000, "rings": 10000, "client_ranges": 0, "vip_marks": 1024,
    }  # fmt: skip
    edited = {"service": list(config["service"])}
    edited["service"][77] = {**edited["service"][77], "backend": edited["service"][77]["backend"][:2]}
    assert differing(rows, derive(edited, TABLES)) == {"services": 0, "members": 1, "rings": 1, "client_ranges": 0, "vip_marks": 0}
    fewer = {"service": config["service"][:77] + config["service"][78:]}
    assert differing(rows, derive(fewer, TABLES)) == {"services": 2, "members": 3, "rings": 1, "client_ranges": 0, "vip_marks": 1}


def test_rows_do_not_depend_on_the_order_of_what_is_written():
    config = services(40)
    other = [{**service, "backend": service["backend"][::-1]} for service in reversed(config)]
    assert derive({"service": config}, TABLES) == derive({"service": other}, TABLES)


# -- check ------------------------------------------------------------------------------------------------------------


def service(**said):
    return {"vip": "192.0.2.1", "vport": 80, "proto": "TCP", "backend": [{"ip": "10.0.0.1", "port": 80}], **said}


PORTS = [{"name": "f", "type": "FRONTEND"}, {"name": "b", "type": "BACKEND"}]
WRONG = [
    ({"service": [service(backend=[{"ip": "fd00::1", "port": 80}])]}, "/service/0/backend/0/ip", "families differ"),
    ({"service": [service(backend=[{"ip": "10.0.0.1", "port": 80, "weight": 0}])]}, "/service/0/backend/0/weight", "weight 0"),
    ({"service": [service(backend=[{"ip": "224.0.0.1", "port": 80}])]}, "/service/0/backend/0/ip", "no address"),
    ({"service": [service(backend=[{"ip": "10.0.0.1", "port": 0}])]}, "/service/0/backend/0/port", "no port"),
    ({"service": [service(vip="127.0.0.1")]}, "/service/0/vip", "no address"),
    ({"service": [service(vport=0)]}, "/service/0/vport", "needs a port"),
    ({"service": [service(proto="ICMP")]}, "/service/0/vport", "vport 0"),
    ({"service": [service(), service(proto="ALL")]}, "/service/1/proto", "is in the service"),
    ({"service": [service(**{"source-range": ["2001:db8::/32"]})]}, "/service/0/source-range/0", "families differ"),
    ({"ports": [*PORTS, {"name": "g", "type": "FRONTEND"}]}, "/ports/2/type", "there can be one"),
    ({"ports": [*PORTS, {"name": "g", "type": "BACKEND"}]}, "/ports/2/type", "there can be one"),
    ({"ports": [{**PORTS[0], "ip": "10.0.0.1"}, PORTS[1]]}, "/ports/0/ip", "MULTI"),
    ({"port_mode": "MULTI", "ports": PORTS}, "/ports/0", "needs its client's address"),
    ({"port_mode": "MULTI", "ports": [{**PORTS[0], "ip": "10.0.0.1"}, {"name": "g", "type": "FRONTEND", "ip": "10.0.0.1"}, PORTS[1]]},
     "/ports/1/ip", "already"),
    ({"src-ip-rewrite": {"ip-range": "10.0.0.0/24", "new_ip_range": "10.1.0.0/25"}}, "/src-ip-rewrite/new_ip_range", "not as long"),
    ({"src-ip-rewrite": {"ip-range": "10.0.0.0/24", "new_ip_range": "10.0.0.0/24"}}, "/src-ip-rewrite/new_ip_range", "itself"),
    ({"src-ip-rewrite": {"ip-range": "10.0.0.0/24", "new_ip_range": "fd00::/24"}}, "/src-ip-rewrite/new_ip_range", "families"),
    ({"src-ip-rewrite": {"ip-range": "10.0.0.1/24", "new_ip_range": "10.1.0.0/24"}}, "/src-ip-rewrite/ip-range", "behind its prefix"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "path", "words"), WRONG, ids=[path for _, path, _ in WRONG])
def test_what_makes_no_sense_is_an_error_at_its_place(config, path, words):
    errors = [(steps, sentence) for steps, sentence, severity in check(config, Env()) if severity == "error"]
    assert [("/" + "/".join(map(str, steps))) for steps, _ in errors] == [path]
    assert words in errors[0][1]


def test_more_than_a_table_holds_is_an_error():
    many = services(65537, backends=0)
    found = [sentence for _, sentence, severity in check({"service": many}, Env()) if severity == "error"]
    assert found == ["65537 entries of service are more than the 65536 that a load balancer holds"]


HEAD = "- name: lb\n  service-name: lbrp\n  service:\n"
SAID = [
    ("    - {vip: 192.0.2.1, vport: 80, proto: TCP, backend: [{ip: fd00::1, port: 80}]}\n",
     "4:62: /spec/cubes/lb/service/192.0.2.1,80,TCP/backend/fd00::1,80/ip: fd00::1 is no backend"),
    ("    - {vip: 192.0.2.1, vport: 80, proto: TCP, backend: [{ip: 10.0.0.1, port: 80, weight: 0}]}\n",
     "4:90: /spec/cubes/lb/service/192.0.2.1,80,TCP/backend/10.0.0.1,80/weight: all backends have weight 0"),
    ("    - {vip: 192.0.2.1, vport: 70000, proto: TCP}\n", "4:31: /spec/cubes/lb/service/192.0.2.1,70000,TCP/vport: "),
    ("    - {vip: 192.0.2.1, vport: 80, proto: TCP, ring-size: 300}\n", "4:58: /spec/cubes/lb/service/192.0.2.1,80,TCP/ring-size: "),
    ("".join(f"    - {{vip: 10.0.{n >> 8}.{n & 255}, vport: 80, proto: TCP, ring-size: 65537, backend: [{{ip: 10.9.0.1, port: 80}}]}}\n" for n in range(1021)),
     "4:5: /spec/cubes/lb/service: the rings take 262397 pages"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), SAID, ids=["family", "weights", "port", "ring", "room"])
def test_an_error_says_file_line_and_column(text, said):
    with pytest.raises(DocumentError) as caught:
        check_documents(parse(HEAD + text, "file.yaml"), Services())
    assert str(caught.value).startswith(f"file.yaml:{said}"), caught.value
