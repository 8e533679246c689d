"""The forwarder's rules as rows: there and back, and what is refused, with its place."""
from __future__ import annotations

import random
from typing import Any

import pytest

from cubes.pbforwarder.check import problems
from cubes.pbforwarder.rules import from_row, rule, rules_of
from cubes.pbforwarder.tuples import GRIDS, select
from reconciler.check import check as check_documents
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services
from tests.services.pbforwarder.model import random_rule

PORTS = {"p1": 0, "p2": 1, "p3": 2}
NAMES = list(PORTS)


def test_every_rule_can_be_read_back_as_it_was_written() -> None:
    chance = random.Random(1)
    for number in range(3000):
        written = random_rule(chance, number, NAMES)
        assert list(problems({"rules": [written]})) == []
        assert from_row(rule(written, PORTS).row, lambda index: NAMES[index]) == written


@pytest.mark.parametrize("count", [1, 50, 400])
def test_every_rule_has_a_cell_under_a_key_that_it_matches(count: int) -> None:
    chance = random.Random(count)
    rules = rules_of([random_rule(chance, number, NAMES) for number in range(count)], PORTS)
    chosen = select(tuple(rules), None)
    assert chosen.fits
    assert {each.identity for some in chosen.cells.values() for each in some} == {each.identity for each in rules}
    assert all(some == sorted(some, key=lambda each: each.id) for some in chosen.cells.values())


def test_many_prefix_lengths_get_a_coarser_grid_and_what_cannot_be_searched_is_refused() -> None:
    def wide(number: int, src: int, dst: int) -> dict[str, Any]:
        mask = (1 << 128) - 1
        addresses = (f"{'::' if not length else _six(number, length)}/{length}" for length in (src, dst))
        return {"id": number, **dict(zip(("src_ip", "dst_ip"), addresses, strict=True)), "action": "DROP"} if mask else {}

    rules = rules_of([wide(src * 64 + dst, src, dst) for src in range(1, 64, 2) for dst in range(1, 64, 2)], PORTS)
    assert GRIDS[select(tuple(rules), None).grid][0] > 1
    overlapping = [{"id": n, "l4_proto": "UDP", "dst_port": f"{n}-{n + 30000}", "src_port": f"{2 * n}-{2 * n + 20001}"} for n in range(1, 3000)]
    with pytest.raises(ValueError, match="too unlike each other"):
        select(tuple(rules_of(overlapping, PORTS)), None)


def _six(number: int, length: int) -> str:
    import ipaddress

    value = (number * 0x9E3779B97F4A7C15 << 64) & ((1 << 128) - (1 << (128 - length)))
    return str(ipaddress.IPv6Address(value & ((1 << 128) - 1)))


@pytest.mark.parametrize(
    ("leaves", "leaf", "words"),
    [
        ({"action": "FORWARD"}, "action", "needs an out_port"),
        ({"dst_port": 80}, "dst_port", "needs l4_proto"),
        ({"l4_proto": "ICMP", "src_port": 80}, "src_port", "needs l4_proto"),
        ({"l4_proto": "TCP", "dst_port": "90-80"}, "dst_port", "no range"),
        ({"l4_proto": "TCP", "dst_port": "80-80"}, "dst_port", "is written 80"),
        ({"l4_proto": "TCP", "dst_port": "80-99999"}, "dst_port", "no range"),
        ({"l4_proto": 6}, "l4_proto", "is written TCP"),
        ({"src_ip": "10.0.0.1/24"}, "src_ip", "bits set"),
        ({"src_ip": "10.0.0.0/255.255.255.0"}, "src_ip", "is written /24"),
        ({"src_ip": "10.0.0.1/ffff::"}, "src_ip", "another family"),
        ({"src_ip": "10.0.0.0/33"}, "src_ip", "no prefix"),
        ({"src_ip": "fd00::/129"}, "src_ip", "no prefix"),
        ({"src_ip": "::::/f::f"}, "src_ip", ""),
        ({"src_ip": "10.0.0.1", "dst_ip": "fd00::1"}, "dst_ip", "different families"),
        ({"src_ip": "10.0.0.1", "ethertype": 0x86DD}, "ethertype", "EtherType"),
        ({"src_mac": "02:00:00:00:00:01/ff:ff:ff:ff:ff:ff"}, "src_mac", "left out"),
        ({"src_mac": "02:00:00:00:00:01/ff:ff:ff:00:00:00"}, "src_mac", "bits set"),
        ({"set_vlan": 5}, "set_vlan", "not FORWARD"),
        ({"action": "FORWARD", "out_port": "p1", "set_src_ip": "10.0.0.1"}, "set_src_ip", "family"),
        ({"action": "FORWARD", "out_port": "p1", "src_ip": "fd00::1", "set_src_ip": "10.0.0.1"}, "set_src_ip", "family"),
        ({"action": "FORWARD", "out_port": "p1", "set_dst_port": 80}, "set_dst_port", "TCP or UDP"),
        ({"action": "FORWARD", "out_port": "p1", "set_vlan": 5, "pop_vlan": True}, "set_vlan", "taken off"),
    ],
)
def test_what_makes_no_sense_is_an_error_at_its_leaf(leaves: dict[str, Any], leaf: str, words: str) -> None:
    said = list(problems({"rules": [{"id": 1}, {"id": 2, **leaves}]}))
    assert [(steps, kind) for steps, _, kind in said] == [(("rules", 1, leaf), "error")]
    assert words in said[0][1]


@pytest.mark.parametrize(("rule", "said"), [
    ("{id: 7, action: FORWARD}", "4:23: /spec/cubes/pbf/rules/7/action: "),
    ("{id: 7, l4_proto: TCP, dst_port: 90-80}", "4:40: /spec/cubes/pbf/rules/7/dst_port: "),
    ("{id: 7, vlan: 4095}", "4:21: /spec/cubes/pbf/rules/7/vlan: "),
    ("{id: 7, action: FORWARD, out_port: p9}", "4:42: /spec/cubes/pbf/rules/7/out_port: "),
])  # fmt: skip
def test_an_error_says_file_line_and_column(rule: str, said: str) -> None:
    text = f"- name: pbf\n  service-name: pbforwarder\n  rules:\n    - {rule}\n"
    with pytest.raises(DocumentError) as caught:
        check_documents(parse(text, "file.yaml"), Services())
    assert str(caught.value).startswith(f"file.yaml:{said}"), caught.value
