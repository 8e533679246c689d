"""What a router does with each kind of packet, seen on the wire: answers, errors, and what it drops and counts."""
from __future__ import annotations

import ipaddress
import os
import socket
import struct

import pytest

from reconciler.kernel import bpf, maps, netns
from tests import packets
from tests.conformance.router_lab import NO_PORT, NO_ROUTE, TIME_EXCEEDED, RouterLab

SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: p1, peer: v1, ip: 10.0.1.254/24, mac: "02:00:00:00:01:fe"}
      - {name: p2, peer: v2, ip: 10.0.2.254/24}
"""
GATEWAY = bytes.fromhex("0200000001fe")
WRONG_MAC, PROTOCOL, MARTIAN, TTL, UNREACHABLE, UNRESOLVED, LIMITED = (str(number) for number in range(8, 15))
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


def mac_of(lab, host):
    return bytes.fromhex(lab.mac(host).replace(":", ""))


def udp(lab, source="10.0.1.1", target="10.0.2.1", *, ttl=64, options=b"", payload=b"x" * 40, mac=GATEWAY, fragment=0):
    """A whole frame from h1 to the gateway."""
    source, target = ipaddress.ip_address(lab.said(source)), ipaddress.ip_address(lab.said(target))
    segment = struct.pack("!HHHH", 5000, 5001, 8 + len(payload), 0) + payload
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(segment), 7, fragment, ttl, 17, 0)
        head += source.packed + target.packed + options
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return mac + mac_of(lab, "h1") + b"\x08\x00" + head + segment
    pseudo = source.packed + target.packed + struct.pack("!II", len(segment), 17)
    segment = segment[:6] + struct.pack("!H", checksum(pseudo + segment)) + segment[8:]
    head = struct.pack("!IHBB", 0x60000000, len(segment), 17, ttl) + source.packed + target.packed
    return mac + mac_of(lab, "h1") + b"\x86\xdd" + head + segment


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_udp(frame):
    return frame[12:14] in (b"\x08\x00", b"\x86\xdd") and frame[23 if frame[12:14] == b"\x08\x00" else 20] == 17


def is_error(kind):
    return lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1 and frame[34] == kind


def warm(lab):
    lab.reach("h1", "10.0.2.1")


# -- what is for the router ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32, 1000, 1452])
def test_echo_to_any_of_its_addresses_is_answered_in_the_kernel_whatever_its_size(lab, size):
    for address in ("10.0.1.254", "10.0.2.254"):
        assert packets.ping(lab.space("h1"), lab.said(address), 2, size=size) == 2


def test_a_service_that_it_has_not_is_said_to_be_unreachable(lab):
    with lab.sniff("h1") as seen:
        lab.send("h1", udp(lab, target="10.0.1.254"))
        frame = seen.next(1, lambda frame: error_of(frame) == NO_PORT[lab.family])
    assert frame is not None
    assert_whole(frame)


def error_of(frame):
    """Type and code of an ICMP or ICMPv6 message, else None."""
    if frame[12:14] == b"\x08\x00" and frame[23] == 1:
        return frame[34], frame[35]
    return (frame[54], frame[55]) if frame[12:14] == b"\x86\xdd" and frame[20] == 58 else None


def assert_whole(frame):
    """All checksums of an ICMP or ICMPv6 packet are right."""
    if frame[12:14] == b"\x08\x00":
        assert checksum(frame[14:34]) == 0
        (total,) = struct.unpack_from("!H", frame, 16)
        assert checksum(frame[34 : 14 + total]) == 0
    else:
        (size,) = struct.unpack_from("!H", frame, 18)
        assert checksum(frame[22:54] + struct.pack("!II", size, 58) + frame[54 : 54 + size]) == 0


# -- forwarding -----------------------------------------------------------------------------------------------------------


def test_a_packet_is_forwarded_with_one_less_to_live_new_macs_and_nothing_else_changed(lab):
    warm(lab)
    sent = udp(lab, ttl=17)
    with lab.sniff("h2") as seen:
        lab.send("h1", sent)
        got = seen.next(1, is_udp)
    assert got is not None
    assert got[:6] == mac_of(lab, "h2")
    place = 22 if lab.family == 4 else 21
    assert (sent[place], got[place]) == (17, 16)
    if lab.family == 4:
        assert checksum(got[14:34]) == 0
        assert got[14:22] + got[23:24] + got[26:] == sent[14:22] + sent[23:24] + sent[26:]
    else:
        assert got[14:21] + got[22:] == sent[14:21] + sent[22:]


@pytest.mark.parametrize("ttl", [0, 1])
def test_time_never_wraps_and_its_end_is_told_with_what_was_sent(lab, ttl):
    warm(lab)
    sent = udp(lab, ttl=ttl)
    with lab.sniff("h1") as here, lab.sniff("h2") as there:
        lab.send("h1", sent)
        frame = here.next(1, lambda frame: error_of(frame) == TIME_EXCEEDED[lab.family])
        assert there.next(0.2, is_udp) is None
    assert frame is not None
    assert_whole(frame)
    quoted = frame[42:] if lab.family == 4 else frame[62:]
    assert quoted[: min(128, len(sent) - 14)] == sent[14 : 14 + 128]
    source = frame[26:30] if lab.family == 4 else frame[22:38]
    assert source == ipaddress.ip_address(lab.said("10.0.1.254")).packed


def test_where_no_route_leads_is_said_to_be_unreachable(lab):
    assert lab.answer("h1", "10.99.0.1") == (*NO_ROUTE[lab.family], lab.said("10.0.1.254"))


def test_errors_reach_the_socket_of_a_packet_whose_checksum_the_kernel_left_to_a_device(lab):
    """A socket's own datagram: under TC its checksum is not computed yet when the error is made of it."""
    family, level, recverr = (socket.AF_INET, socket.IPPROTO_IP, 11) if lab.family == 4 else (socket.AF_INET6, socket.IPPROTO_IPV6, 25)
    with netns.inside(lab.space("h1")):
        sock = socket.socket(family, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(level, recverr, 1)
        sock.settimeout(1)
        sock.connect((lab.said("10.99.0.1"), 9))
        sock.send(b"question" * 20)
        with pytest.raises(OSError, match="unreachable"):
            sock.recv(10)


def test_errors_are_limited_to_a_thousand_a_second(lab):
    warm(lab)
    with lab.sniff("h1") as seen:
        lab.send("h1", *[udp(lab, target="10.99.0.1")] * 3000)
        found = seen.all(0.2, lambda frame: error_of(frame) == NO_ROUTE[lab.family])
    assert 500 <= len(found) <= 2100
    assert lab.drops("r1")[LIMITED] >= 3000 - len(found) - 500


def test_none_is_sent_about_an_error_a_later_fragment_or_a_sender_that_is_no_single_station(lab4):
    warm(lab4)
    error = udp(lab4, target="10.99.0.1")
    error = error[:23] + b"\x01" + error[24:34] + b"\x0b\x00" + error[36:]
    frames = [error, udp(lab4, target="10.99.0.1", fragment=5)]
    with lab4.sniff("h1") as seen:
        lab4.send("h1", *frames)
        assert seen.next(0.3, is_error(3)) is None
    assert lab4.drops("r1")[UNREACHABLE] == 2


def test_options_survive(lab4):
    warm(lab4)
    options = b"\x44\x0c\x05\x00" + bytes(8)  # a time stamp that nobody fills in
    with lab4.sniff("h2") as seen:
        lab4.send("h1", udp(lab4, options=options))
        got = seen.next(1, is_udp)
    assert got is not None
    assert got[34:46] == options
    assert checksum(got[14:46]) == 0


def test_a_whole_stream_passes_in_the_kernels_big_segments(lab):
    warm(lab)
    payload = bytes(range(256)) * 8000
    exchange = packets.tcp_exchange(lab.space("h1"), lab.space("h2"), lab.said("10.0.2.1"), 8080, payload=payload, timeout=5)
    assert exchange is not None
    assert exchange.received == exchange.reply == payload


def test_a_packet_that_does_not_fit_is_answered_with_the_mtu_and_a_stream_goes_on_in_smaller_ones(lab):
    lab.hosts["h2"]["mtu"] = 1300
    lab.hosts["h2"]["here"] = {"mtu": 1300}
    lab.apply()
    warm(lab)
    with lab.sniff("h1") as seen:
        lab.send("h1", udp(lab, payload=bytes(1400)))
        frame = seen.next(1, lambda frame: error_of(frame) == {4: (3, 4), 6: (2, 0)}[lab.family])
    assert frame is not None
    assert_whole(frame)
    assert struct.unpack_from("!I", frame, 38 if lab.family == 4 else 58)[0] == 1300
    payload = bytes(range(256)) * 2000
    exchange = packets.tcp_exchange(lab.space("h1"), lab.space("h2"), lab.said("10.0.2.1"), 8080, payload=payload, timeout=5)
    assert exchange is not None
    assert exchange.reply == payload


# -- what is not for a router ---------------------------------------------------------------------------------------------


def test_what_is_for_another_station_is_dropped_and_counted(lab):
    warm(lab)
    before = lab.drops("r1").get(WRONG_MAC, 0)
    with lab.sniff("h2") as seen:
        lab.send("h1", udp(lab, mac=bytes.fromhex("020000000999")))
        assert seen.next(0.3, is_udp) is None
    assert lab.drops("r1")[WRONG_MAC] == before + 1


@pytest.mark.parametrize(("source", "target"), [
    ("127.0.0.1", "10.0.2.1"), ("0.0.0.0", "10.0.2.1"), ("224.0.0.5", "10.0.2.1"), ("10.0.1.1", "224.0.0.5"),
    ("10.0.1.1", "255.255.255.255"), ("10.0.1.1", "127.0.0.1"), ("10.0.1.1", "10.0.2.255"),
])  # fmt: skip
def test_martians_multicast_and_a_subnets_broadcasts_are_dropped_and_counted(lab4, source, target):
    warm(lab4)
    before = lab4.drops("r1").get(MARTIAN, 0)
    with lab4.sniff("h2") as seen:
        lab4.send("h1", udp(lab4, source, target))
        assert seen.next(0.2, is_udp) is None
    assert lab4.drops("r1")[MARTIAN] == before + 1


@pytest.mark.parametrize(("source", "target"), [
    ("::1", "fd00::a:0:2:1"), ("::", "fd00::a:0:2:1"), ("ff02::1", "fd00::a:0:2:1"), ("fd00::a:0:1:1", "ff05::2"),
    ("fd00::a:0:1:1", "::1"), ("fd00::a:0:1:1", "fe80::1"), ("fe80::1", "fd00::a:0:2:1"),
])  # fmt: skip
def test_the_same_of_ipv6_and_what_is_link_local_stays_there(lab6, source, target):
    warm(lab6)
    before = lab6.drops("r1").get(MARTIAN, 0)
    with lab6.sniff("h2") as seen:
        lab6.send("h1", udp(lab6, source, target))
        assert seen.next(0.2, is_udp) is None
    assert lab6.drops("r1")[MARTIAN] > before


def test_tagged_frames_and_other_protocols_are_dropped_and_counted(lab4):
    warm(lab4)
    before = lab4.drops("r1").get(PROTOCOL, 0)
    plain = udp(lab4)
    lab4.send("h1", plain[:12] + b"\x81\x00\x00\x05" + plain[12:], plain[:12] + b"\x88\xb5" + plain[14:])
    assert lab4.drops("r1")[PROTOCOL] >= before + 2


def test_what_is_cut_short_is_dropped_and_counted(lab):
    frame = udp(lab)
    lab.send("h1", frame[:30], frame[:-20])
    assert lab.drops("r1")["MALFORMED"] == 2


# -- neighbours -----------------------------------------------------------------------------------------------------------


def test_without_an_agent_a_packet_becomes_the_question_and_the_next_one_passes(lab):
    lab.reach("h1", "10.0.1.254")
    with lab.sniff("h2") as seen:
        assert packets.ping(lab.space("h1"), lab.said("10.0.2.1"), 1, timeout=0.2) == 0
        question = seen.next(1, lambda f: f[12:14] == b"\x08\x06" or (f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 135))
    assert question is not None
    assert packets.ping(lab.space("h1"), lab.said("10.0.2.1"), 3) == 3


def test_a_silent_neighbour_is_asked_for_once_a_second(lab):
    lab.reach("h1", "10.0.1.254")
    with lab.sniff("h2") as seen:
        lab.send("h1", *[udp(lab, target="10.0.2.77")] * 50)
        asked = [f for f in seen.all(0.2) if f[12:14] == b"\x08\x06" or (f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 135)]
    assert len(asked) == 1
    assert lab.drops("r1")[UNRESOLVED] == 49


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


def age_all(lab, seconds):
    """Make every learned neighbour look as if it had last been heard of so long ago."""
    fd = bpf.open_pin(f"{lab.root}/cubes/r1/tables/neighbours")
    spec = maps.info(fd).spec
    for key, row in maps.rows(fd, spec).items():
        (seen,) = struct.unpack_from("<I", row, 8)
        maps.update(fd, key, row[:8] + struct.pack("<I", seen - seconds) + row[12:])
    os.close(fd)


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
