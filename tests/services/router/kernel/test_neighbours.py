"""How a router gets to know its neighbours without an agent: it asks, learns, forgets, and believes not everything."""
from __future__ import annotations

import ipaddress
import struct

import pytest

from tests.lib import packets
from tests.services.router.frames import (
    GATEWAY,
    SCENARIO,
    age_all,
    assert_whole,
    checksum,
    is_question,
    is_udp,
    mac_of,
    udp,
    warm,
)
from tests.services.router.lab import RouterLab

UNRESOLVED = "13"  # enum router_drop
HALVES = [(hook, family) for hook in ("TC", "XDP_DRV") for family in (4, 6)]


@pytest.fixture(params=HALVES, ids=lambda param: f"{param[0]}-IPv{param[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        yield lab


@pytest.fixture(params=("TC", "XDP_DRV"))
def lab4(request):
    with RouterLab(SCENARIO, hook=request.param) as lab:
        lab.apply()
        yield lab


@pytest.fixture(params=("TC", "XDP_DRV"))
def lab6(request):
    with RouterLab(SCENARIO, hook=request.param, family=6) as lab:
        lab.apply()
        yield lab


def test_without_an_agent_a_packet_becomes_the_question_and_the_next_one_passes(lab):
    lab.reach("h1", "10.0.1.254")
    with lab.sniff("h2") as seen:
        assert packets.ping(lab.space("h1"), lab.said("10.0.2.1"), 1, timeout=0.2) == 0
        question = seen.next(1, is_question)
    assert question is not None
    assert lab.drops("r1")[UNRESOLVED] == 1
    assert packets.ping(lab.space("h1"), lab.said("10.0.2.1"), 3) == 3


def test_a_silent_neighbour_is_asked_for_once_a_second(lab):
    lab.reach("h1", "10.0.1.254")
    with lab.sniff("h2") as seen:
        lab.send("h1", *[udp(lab, target="10.0.2.77")] * 50)
        asked = seen.all(0.2, is_question)
    assert len(asked) == 1
    assert lab.drops("r1")[UNRESOLVED] == 50


def test_a_static_neighbour_is_not_asked_for_and_its_look_up_is_there_only_with_it(lab):
    lab.cube("r1")["arp-table"] = [{"address": lab.said("10.0.2.77"), "mac": "02:00:00:00:00:77", "interface": "p2"}]
    lab.apply()
    assert not lab.drift()
    assert lab.live_cube("r1")["arp-table"] == lab.cube("r1")["arp-table"]
    lab.reach("h1", "10.0.1.254")
    with lab.sniff("h2") as seen:
        lab.send("h1", udp(lab, target="10.0.2.77"))
        frame = seen.next(1, is_udp)
    assert frame is not None
    assert frame[:6].hex(":") == "02:00:00:00:00:77"


def test_a_neighbour_that_is_not_heard_of_for_a_minute_is_asked_for_again(lab):
    warm(lab)
    age_all(lab, 61)
    with lab.sniff("h2") as seen:
        lab.send("h1", udp(lab))
        assert seen.next(0.3, is_udp) is None
    lab.reach("h1", "10.0.2.1")


def test_ages_are_shown_and_a_flush_forgets(lab):
    warm(lab)
    age_all(lab, 30)
    shown = lab.live_cube("r1", state=True)["arp-table"]
    assert all(29 <= entry["age"] <= 32 for entry in shown)
    lab.flush("r1", "neighbours")
    assert not lab.live_cube("r1", state=True).get("arp-table")


def test_nobody_can_make_it_believe_an_address_that_is_not_on_the_port(lab4):
    warm(lab4)
    h1 = mac_of(lab4, "h1")
    reply = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + h1 + bytes([10, 0, 2, 99]) + GATEWAY + bytes([10, 0, 1, 254])
    lab4.send("h1", GATEWAY + h1 + b"\x08\x06" + reply)
    assert "10.0.2.99" not in lab4.neighbours("r1")


def test_its_link_local_address_answers_and_defends_itself(lab6):
    """What a host's duplicate address detection hears: an advertisement to all nodes."""
    own = ipaddress.IPv6Address("fe80::1fe").packed[:8] + bytes.fromhex("000000fffe0001fe")
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + own[13:]
    body = b"\x87\x00\x00\x00" + bytes(4) + own
    body = body[:2] + struct.pack("!H", checksum(bytes(16) + group + struct.pack("!II", len(body), 58) + body)) + body[4:]
    head = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + bytes(16) + group
    with lab6.sniff("h1") as seen:
        lab6.send("h1", b"\x33\x33" + group[12:] + mac_of(lab6, "h1") + b"\x86\xdd" + head + body)
        frame = seen.next(1, lambda f: f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 136)
    assert frame is not None
    assert frame[38:54] == ipaddress.IPv6Address("ff02::1").packed
    assert frame[62:78] == own
    assert_whole(frame)
