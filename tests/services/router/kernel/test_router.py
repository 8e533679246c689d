"""What a router does with each kind of packet, seen on the wire: answers, errors, and what it drops and counts."""
from __future__ import annotations

import ipaddress
import socket
import struct
import time

import pytest

from reconciler.kernel import netns
from tests.lib import packets
from tests.services.router.frames import SCENARIO, assert_whole, checksum, error_of, is_udp, mac_of, udp, warm
from tests.services.router.lab import NO_PORT, NO_ROUTE, TIME_EXCEEDED, RouterLab

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


def test_a_protocol_that_it_has_not_is_too_in_ipv4_and_dropped_and_counted_in_ipv6(lab):
    frame = bytearray(udp(lab, target="10.0.1.254"))
    frame[23 if lab.family == 4 else 20] = 47
    if lab.family == 4:
        frame[24:26] = bytes(2)
        frame[24:26] = struct.pack("!H", checksum(bytes(frame[14:34])))
    with lab.sniff("h1") as seen:
        lab.send("h1", bytes(frame))
        answer = seen.next(0.5, lambda each: error_of(each) == (3, 2))
    if lab.family == 4:
        assert answer is not None
        assert_whole(answer)
    else:
        assert answer is None
        assert lab.drops("r1")[UNREACHABLE] == 1


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


def test_errors_to_one_source_are_limited_to_250_a_second(lab):
    warm(lab)
    with lab.sniff("h1") as seen:
        started = time.monotonic()
        lab.send("h1", *[udp(lab, target="10.99.0.1")] * 3000)
        found = seen.all(0.2, lambda frame: error_of(frame) == NO_ROUTE[lab.family])
        seconds = time.monotonic() - started
    assert 250 <= len(found) <= 251 + 250 * seconds
    assert lab.drops("r1")[LIMITED] == 3000 - len(found)


def test_none_is_sent_about_an_error_a_later_fragment_or_a_sender_that_is_no_single_station(lab4):
    warm(lab4)
    error = udp(lab4, target="10.99.0.1")
    error = error[:23] + b"\x01" + error[24:34] + b"\x0b\x00" + error[36:]
    frames = [error, udp(lab4, target="10.99.0.1", fragment=5)]
    with lab4.sniff("h1") as seen:
        lab4.send("h1", *frames)
        assert seen.next(0.3, lambda frame: error_of(frame) is not None and error_of(frame)[0] == 3) is None
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
