"""The router's waiting room, with a cube that writes down what it is told to send."""
from __future__ import annotations

import ipaddress
import struct

import pytest

from cubes.router import slowpath
from cubes.router.packets import Station, answer_of, checksum, forwarded, question, target_of, unreachable
from cubes.router.slowpath import MISS, RESOLVED, SlowPath
from reconciler.service.model.codec import Env, encode

CONFIG = {
    "ports": [
        {"name": "p", "ip": "10.0.1.254/24", "ipv6": "2001:db8:1::fe/64", "mac": "02:00:00:00:00:01"},
        {"name": "q", "ip": "10.0.2.254/24", "ipv6": "2001:db8:2::fe/64", "mac": "02:00:00:00:00:02"},
    ],
    "route": [{"network": "10.9.0.0/16", "nexthop": "10.0.2.9"}],
}
HOST = bytes.fromhex("020000000077")


class Cube:
    """What a half is given, without a kernel behind it: tables are dictionaries."""

    def __init__(self, config):
        self.name, self.config, self.ports = "r1", config, {"p": 0, "q": 1}
        self.tables = {"neighbours": {}, "agent": {}}
        self.sent, self.facts = [], {}

    def table(self, name):
        rows = self.tables[name]

        class Table:
            get, items = rows.get, rows.items
            set = rows.__setitem__

        return Table

    def send_packet_out(self, packets, port, direction):
        assert direction == "EGRESS"
        for packet in (packets,) if isinstance(packets, bytes) else packets:
            self.sent.append((port, packet))
        return 1

    def learn(self, address, port, seen=0, used=0):
        key = encode("ip", address, 16, Env()) + struct.pack("<I", self.ports[port])
        self.tables["neighbours"][key] = HOST + bytes(2) + struct.pack("<II", seen, used)


class Md:
    def __init__(self, port="p", length=0, time=0):
        self.port, self.length, self.time = port, length, time


@pytest.fixture
def cube():
    return Cube(CONFIG)


@pytest.fixture
def slow(cube):
    return SlowPath(cube)


def packet4(target="10.0.2.1", number=0, ttl=9):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + 4, number, 0, ttl, 17, 0) + bytes([10, 0, 1, 1]) + ipaddress.ip_address(target).packed
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return bytes.fromhex("020000000001020000000055") + b"\x08\x00" + head + bytes(8) + struct.pack("!I", number)


def packet6(target="2001:db8:2::1"):
    ends = ipaddress.ip_address("2001:db8:1::1").packed + ipaddress.ip_address(target).packed
    return bytes.fromhex("020000000001020000000055") + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, 12, 17, 9) + ends + bytes(12)


def arrive(slow, packet, time=0):
    slow.packet_in(packet, Md(length=len(packet), time=time), MISS)


def questions(cube):
    return [packet for _, packet in cube.sent if packet[12:14] == b"\x08\x06" or packet[20] == 58]


@pytest.mark.parametrize(("packet", "asked"), [
    (packet4(), "10.0.2.1"), (packet4("10.9.1.2"), "10.0.2.9"), (packet6(), "2001:db8:2::1"),
])  # fmt: skip
def test_the_first_packet_is_kept_and_its_next_hop_asked_for_once(slow, cube, packet, asked):
    arrive(slow, packet)
    arrive(slow, packet)
    (port, sent), = cube.sent
    assert port == "q"
    assert ipaddress.ip_address(sent[38:42] if ":" not in asked else sent[62:78]) == ipaddress.ip_address(asked)


def test_all_that_wait_go_when_the_answer_comes_in_their_order(slow, cube):
    for number in range(5):
        arrive(slow, packet4(number=number))
    cube.sent.clear()
    cube.learn("10.0.2.1", "q")
    answer = HOST * 2 + b"\x08\x06" + bytes(14) + ipaddress.ip_address("10.0.2.1").packed + bytes(10)
    slow.packet_in(answer, Md("q", len(answer)), RESOLVED)
    assert [packet[-1] for _, packet in cube.sent] == [0, 1, 2, 3, 4]
    assert {(port, packet[:12], packet[22], checksum(packet[14:34])) for port, packet in cube.sent} == {
        ("q", HOST + bytes.fromhex("020000000002"), 8, 0)
    }
    assert not slow._waiting


def test_an_answer_that_was_lost_on_the_way_here_is_found_in_the_table(slow, cube):
    arrive(slow, packet4())
    cube.learn("10.0.2.1", "q")
    cube.sent.clear()
    slow.tick(0.1)
    assert len(cube.sent) == 1
    arrive(slow, packet4())
    assert len(cube.sent) == 2


def test_three_questions_and_then_an_error_for_each_packet(slow, cube):
    arrive(slow, packet4(), time=10_000_000_000)
    arrive(slow, packet4(number=1), time=10_000_000_000)
    for tick in range(100, 131):
        slow.tick(tick / 10)
    asked = questions(cube)
    assert len(asked) == 3
    errors = [(port, packet) for port, packet in cube.sent if packet not in asked]
    assert [(port, packet[34:36]) for port, packet in errors] == [("p", b"\x03\x01")] * 2
    assert all(packet[26:30] == bytes([10, 0, 1, 254]) for _, packet in errors)
    cube.sent.clear()
    slow.tick(20)
    assert not cube.sent


def test_a_source_is_told_of_so_many_losses_a_second(slow, cube):
    for number in range(600):
        arrive(slow, packet4(f"10.0.2.{number % 200 + 1}", number), time=10_000_000_000)
    for tick in range(100, 131):
        slow.tick(tick / 10)
    assert len([packet for _, packet in cube.sent if packet[34:36] == b"\x03\x01"]) == slowpath.ERRORS


def test_what_was_cut_off_or_has_no_way_is_not_kept(slow, cube):
    slow.packet_in(packet4(), Md(length=9000), MISS)
    arrive(slow, packet4("10.77.0.1"))
    arrive(slow, packet4("10.0.1.254"))
    assert not slow._waiting
    assert not cube.sent


def test_it_says_each_second_that_it_lives(slow, cube):
    slow.tick(100.0)
    slow.tick(100.5)
    assert cube.tables["agent"][bytes(4)] == struct.pack("<I", 100)
    slow.tick(101.0)
    assert cube.tables["agent"][bytes(4)] == struct.pack("<I", 101)


def test_those_in_use_are_asked_ahead_of_time_and_others_are_let_go(slow, cube):
    cube.learn("10.0.1.1", "p", seen=50, used=99)
    cube.learn("10.0.1.2", "p", seen=50, used=50)
    cube.learn("10.0.1.3", "p", seen=90, used=99)
    cube.learn("2001:db8:2::5", "q", seen=50, used=99)
    slow.tick(100.0)
    assert sorted((port, packet[:6]) for port, packet in cube.sent) == [("p", HOST), ("q", HOST)]


def test_a_port_that_is_gone_is_done_without(slow, cube):
    arrive(slow, packet4())
    cube.config, cube.ports = {"ports": CONFIG["ports"][:1]}, {"p": 0}
    slow.changed()
    for tick in range(60):
        slow.tick(tick / 10)
    assert not slow._waiting


def test_questions_and_answers_are_what_the_standards_say():
    asker = Station(bytes.fromhex("020000000001"), ipaddress.ip_address("fe80::1"))
    frame = question(asker, ipaddress.ip_address("2001:db8::12:3456"))
    assert frame[:6].hex(":") == "33:33:ff:12:34:56"
    assert ipaddress.ip_address(frame[38:54]) == ipaddress.ip_address("ff02::1:ff12:3456")
    assert frame[21] == 255
    assert checksum(frame[22:54] + struct.pack("!II", 32, 58) + frame[54:]) == 0
    assert answer_of(frame) == ipaddress.ip_address("fe80::1")
    assert target_of(frame) == ipaddress.ip_address("ff02::1:ff12:3456")
    assert answer_of(packet4()) is None


def test_a_checksum_survives_every_time_to_live():
    for ttl in range(2, 256):
        assert checksum(forwarded(packet4(ttl=ttl, number=ttl * 251), HOST, HOST)[14:34]) == 0


@pytest.mark.parametrize("change", [
    lambda p: p[:20] + b"\x00\x05" + p[22:],  # a later fragment
    lambda p: p[:23] + b"\x01" + p[24:34] + b"\x03" + p[35:],  # an error
    lambda p: p[:26] + bytes([224, 0, 0, 1]) + p[30:],  # from a group
])  # fmt: skip
def test_no_error_is_made_of_what_must_not_have_one(change):
    router = Station(HOST, ipaddress.ip_address("10.0.1.254"))
    assert unreachable(packet4(), router) is not None
    assert unreachable(change(packet4()), router) is None


def test_an_ipv6_error_is_whole():
    frame = unreachable(packet6(), Station(HOST, ipaddress.ip_address("2001:db8:1::fe")))
    assert frame is not None
    assert frame[54:56] == b"\x01\x03"
    assert checksum(frame[22:54] + struct.pack("!II", len(frame) - 54, 58) + frame[54:]) == 0
