"""The nat's control plane alone: what is wrong with a configuration, and where; prefixes by RFC 6296."""
from __future__ import annotations

import random
import struct
from ipaddress import IPv6Address, IPv6Network

import pytest

from cubes.lib.sessions import MIGRATIONS
from cubes.nat import sizes
from cubes.nat.prefixes import adjustment
from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services
from tests.lib.scapy_packets import scapy_checksum

HEAD = """apiVersion: polycube.network/v1
kind: Topology
metadata: {name: t}
spec:
  cubes:
    - name: n
      service-name: nat
"""


def said(text: str) -> list[tuple[int, str]]:
    """(line, sentence) of each thing that is wrong; line 1 is the first of `text`."""
    indented = "".join(f"      {line}\n" for line in text.strip("\n").split("\n"))
    try:
        _, found = check(parse(HEAD + indented, "f.yaml"), Services())
    except DocumentError as error:
        found = list(error.problems)
    return [(problem.where.line - HEAD.count("\n"), problem.message) for problem in found if problem.where is not None]


def both(first: str, second: str) -> str:
    return first + second


WRONG = [
    ("rule:\n  snat: {entry: [\n    {id: 1, internal-net: 10.0.0.0/24, external-ip: 'fd00::1'}]}", 3, "fd00::1 and 10.0.0.0/24 are of different families"),
    ("rule:\n  snat: {entry: [{id: 1, internal-net: 10.0.0.0/24, external-ip: 192.0.2.9,\n    last-external-ip: 192.0.2.8}]}", 3, "192.0.2.8 is before 192.0.2.9"),
    ("rule:\n  snat: {entry: [{id: 1, internal-net: 10.0.0.0/24, external-ip: 192.0.2.9,\n    port-range: 2000-1000}]}", 3, "2000-1000 is no range of ports"),
    ("port-range: 0-70000", 1, "0-70000 is no range of ports"),
    (both("rule:\n  snat: {entry: [{id: 1, internal-net: 10.0.0.0/24, external-ip: 192.0.2.1, last-external-ip: 192.0.2.5},\n", "    {id: 2, internal-net: 10.0.1.0/24, external-ip: 192.0.2.5, last-external-ip: 192.0.2.9}]}"), 3,
     "the pool shares some addresses with that of entry 1, not all"),
    ("rule:\n  snat: {entry: [{id: 1, internal-net: 10.0.0.0/24, external-ip: 192.0.2.1},\n    {id: 2, internal-net: 10.0.0.0/24, external-ip: 192.0.2.5}]}", 3,
     "entry 1 is for the same already"),
    ("rule:\n  snat: {entry: [\n    {id: 1, internal-net: 10.0.0.7/24, external-ip: 192.0.2.1}]}", 3, "the prefix has bits set beyond its length of 24"),
    ("rule:\n  dnat: {entry: [\n    {id: 1, external-ip: 192.0.2.1, internal-ip: 'fd00::1'}]}", 3, "fd00::1 and 192.0.2.1 are of different families"),
    ("rule:\n  dnat: {entry: [{id: 1, external-ip: 192.0.2.1, internal-ip: 10.0.0.1},\n    {id: 2, external-ip: 192.0.2.1, internal-ip: 10.0.0.2}]}", 3,
     "entry 1 is for the same already"),
    ("rule:\n  dnat: {entry: [\n    {id: 1, external-ip: 224.0.0.1, internal-ip: 10.0.0.1}]}", 3, "224.0.0.1 is no address that a host can have"),
    ("rule:\n  port-forwarding: {entry: [\n    {id: 1, external-ip: 192.0.2.1, external-port: 0, internal-ip: 10.0.0.1, internal-port: 80}]}", 3, "0 is no port"),
    (both("rule:\n  port-forwarding: {entry: [{id: 1, external-ip: 192.0.2.1, external-port: 80, internal-ip: 10.0.0.1, internal-port: 80},\n", "    {id: 2, external-ip: 192.0.2.1, external-port: 80, internal-ip: 10.0.0.2, internal-port: 80}]}"), 3, "entry 1 is for the same already"),
    ("rule:\n  nptv6: {entry: [\n    {id: 1, internal-prefix: 'fd00::/48', external-prefix: '2001:db8::/56'}]}", 3, "the prefixes have different lengths: 48 and 56"),
    ("rule:\n  nptv6: {entry: [\n    {id: 1, internal-prefix: 'fd00::/96', external-prefix: '2001:db8::/96'}]}", 3, "a prefix has at most 64 bits"),
    (both("rule:\n  nptv6: {entry: [{id: 1, internal-prefix: 'fd00::/48', external-prefix: '2001:db8::/48'},\n", "    {id: 2, internal-prefix: 'fd00:0:0:1::/64', external-prefix: '2001:db8:1::/64'}]}"), 3, "entry 1 is for the same addresses"),
    ("filtering: endpoint-independent", 1, "this is for mapping: endpoint-independent: without one nobody could be reached"),
    ("timeouts:\n  udp: 30", 2, "RFC 4787 asks for 120 seconds at least"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "sentence"), WRONG)
def test_what_makes_no_sense_is_said_with_its_line(text: str, line: int, sentence: str) -> None:
    assert (line, sentence) in said(text)


def test_what_makes_sense_is_not_spoken_of() -> None:
    lines = [
        "rule:",
        "  masquerade: {enabled: true, external-ip: 192.0.2.1}",
        "  snat: {entry: [{id: 1, internal-net: 10.0.0.0/24, external-ip: 192.0.2.1, last-external-ip: 192.0.2.5},",
        "    {id: 2, internal-net: 10.0.0.0/16, external-ip: 192.0.2.1, last-external-ip: 192.0.2.5, port-range: 2000-2999}]}",
        "  dnat: {entry: [{id: 1, external-ip: 192.0.2.1, internal-ip: 10.0.0.1}]}",
        "  port-forwarding: {entry: [{id: 1, external-ip: 192.0.2.1, external-port: 80, proto: TCP, internal-ip: 10.0.0.1, internal-port: 80},",
        "    {id: 2, external-ip: 192.0.2.1, external-port: 80, internal-ip: 10.0.0.2, internal-port: 80}]}",
    ]  # fmt: skip
    assert said("\n".join(lines)) == []


def test_more_rules_than_a_table_holds_are_refused_at_their_list() -> None:
    entries = ", ".join(f"{{id: {n}, external-ip: 10.{n >> 8}.{n & 255}.1, internal-ip: 10.0.0.1}}" for n in range(1, 4099))
    found = said(f"rule:\n  dnat:\n    entry: [{entries}]")
    assert [line for line, _ in found] == [3]
    assert "4096" in found[0][1]


def test_tables_of_sessions_have_a_quarter_more_rows_than_there_may_be_sessions() -> None:
    assert sizes({"sessions": 1_000_000}) == dict.fromkeys(("sessions", "session_ways", "session_slots"), 1_250_000)


def test_sessions_of_the_older_layout_go_on() -> None:
    migrate = MIGRATIONS["sessions"][40, 48]
    assert migrate(bytes(40), bytes(range(48))) == (bytes(40), bytes(range(40)))


def neutral(address: IPv6Address, before: IPv6Network, after: IPv6Network) -> IPv6Address:
    """RFC 6296 3.4 by the book, for a prefix of 48 bits."""
    words = list(struct.unpack("!8H", after.network_address.packed))[:3] + list(struct.unpack("!8H", address.packed))[3:]
    total = words[3] + adjustment(before, after)
    words[3] = (total & 0xFFFF) + (total >> 16)
    words[3] = 0 if words[3] == 0xFFFF else words[3]
    return IPv6Address(struct.pack("!8H", *words))


def test_the_example_of_rfc_6296() -> None:
    inside, outside = IPv6Network("fd01:203:405::/48"), IPv6Network("2001:db8:1::/48")
    assert adjustment(inside, outside) == 0xD54F
    assert neutral(IPv6Address("fd01:203:405:1::1234"), inside, outside) == IPv6Address("2001:db8:1:d550::1234")


def test_a_translated_address_adds_up_to_the_same() -> None:
    chosen = random.Random(6296)
    for _ in range(500):
        inside, outside = (IPv6Network((chosen.getrandbits(48) << 80, 48)) for _ in range(2))
        address = IPv6Address(int(inside.network_address) + (chosen.randrange(0xFFFF) << 64) + chosen.getrandbits(64))
        there = neutral(address, inside, outside)
        assert scapy_checksum(address.packed) % 0xFFFF == scapy_checksum(there.packed) % 0xFFFF
        back = neutral(there, outside, inside)
        assert back == address
