"""What becomes of a packet of a service, there and back: taken apart by scapy, which makes all checksums anew to compare."""
from __future__ import annotations

import ipaddress

import pytest

from cubes.lib.vip_marks import place_of
from tests.lib.scapy_packets import (
    ICMP,
    IP,
    TCP,
    UDP,
    Dot1Q,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    Raw,
    built,
)
from tests.services.lbrp.lab import CLIENT_MAC, FAR_MAC, LbLab, ends, remade

pytestmark = pytest.mark.kernel


@pytest.fixture(params=[(hook, family) for hook in ("TC", "XDP_DRV") for family in (4, 6)], ids=lambda it: f"{it[0]}-{it[1]}")
def lab(request):
    hook, family = request.param
    with LbLab(hook=hook, family=family) as lab:
        yield lab


def whole(packet):
    """All checksums are right, and nothing lies behind the packet that was not there."""
    assert packet is not None, "dropped"
    raw = bytes(packet)
    assert remade(packet)[: len(raw)] == raw
    return packet


def ip_of(packet):
    return packet[IP] if IP in packet else packet[IPv6]


@pytest.mark.parametrize("proto", ["TCP", "UDP"])
def test_a_request_goes_to_the_backend_and_its_answer_comes_from_the_service(lab, proto):
    lab.add((11, 8080), proto=proto)
    lab.apply()
    request = whole(lab.request(proto=proto, payload=b"p" * 33))
    assert ends(request) == (lab.client(), 5000, lab.backend(11), 8080)
    assert (request.src, request.dst) == (CLIENT_MAC, FAR_MAC)
    assert request[Raw].load == b"p" * 33
    assert ip_of(request).fields.get("ttl", ip_of(request).fields.get("hlim")) == 64
    answer = whole(lab.reply(proto=proto, payload=b"q" * 34))
    assert ends(answer) == (lab.vip(), 80, lab.client(), 5000)
    assert answer[Raw].load == b"q" * 34
    assert lab.drops("lb") == {}


def test_a_udp_checksum_that_was_not_made_is_not_made_here(lab):
    if lab.family == 6:
        pytest.skip("IPv6 has none without")
    lab.add((11, 8080), proto="UDP")
    lab.apply()
    packet = lab.ask(proto="UDP")
    packet[UDP].chksum = 0
    assert lab.sent("front", packet)[UDP].chksum == 0


def test_what_is_for_no_service_passes_as_it_is_both_ways(lab):
    lab.add((11, 8080))
    lab.apply()
    others = [
        lab.ask(vport=81), lab.ask(proto="UDP"), lab.ask(vip=9), Ether(src=CLIENT_MAC, dst=FAR_MAC, type=0x88B5) / Raw(b"x" * 46),
        Ether(src=CLIENT_MAC, dst=FAR_MAC) / lab.ip(lab.client(), lab.backend(11)) / TCP(sport=1, dport=8080),
        lab.echo(lab.client(), lab.backend(11)),
    ]  # fmt: skip
    for port in ("front", "back"):
        for packet in others:
            raw = built(packet, 60)
            assert lab.through(port, raw) == (True, raw)
    assert ends(lab.reply(sport=4)) == (lab.backend(11), 8080, lab.client(), 4)  # no flow of a service


def test_an_address_that_has_the_mark_of_a_virtual_one_passes_as_it_is(lab):
    def place(number):
        address = lab.vip(number)
        return place_of(bytes(10) + b"\xff\xff" + ipaddress.IPv4Address(address).packed if lab.family == 4 else ipaddress.IPv6Address(address).packed)

    lab.add((11, 8080), vip=1)
    lab.apply()
    twin = next(number for number in range(2, 1 << 24) if place(number) == place(1))
    raw = built(lab.ask(vip=twin), 60)
    assert lab.through("front", raw) == (True, raw)
    assert ends(lab.request(sport=5000))[2:] == (lab.backend(11), 8080)


def test_two_services_on_one_backend_port_are_told_apart(lab):
    lab.add((11, 8080), vip=1)
    lab.add((11, 8080), vip=2, vport=443)
    lab.apply()
    assert ends(lab.request(sport=5000, vip=1))[2:] == (lab.backend(11), 8080)
    assert ends(lab.request(sport=5001, vip=2, vport=443))[2:] == (lab.backend(11), 8080)
    assert ends(lab.reply(sport=5000))[:2] == (lab.vip(1), 80)
    assert ends(lab.reply(sport=5001))[:2] == (lab.vip(2), 443)


def test_one_client_port_to_two_services_on_one_backend_port_is_refused_and_counted_or_goes_elsewhere(lab):
    lab.add((11, 8080), vip=1)
    lab.add((11, 8080), vip=2)
    lab.apply()
    assert lab.request(vip=1) is not None
    assert lab.request(vip=2) is None
    assert lab.drops("lb") == {"10": 1}  # clash
    assert ends(lab.reply())[:2] == (lab.vip(1), 80)
    lab.cube("lb")["service"][1]["backend"] = lab.backends((11, 8080), (12, 8080))
    lab.apply()
    taken = {ends(lab.request(vip=2, sport=port, client=7))[2] for port in range(5000, 5040)}
    assert taken == {lab.backend(11), lab.backend(12)}
    for port in range(6000, 6040):
        assert ends(lab.request(vip=1, sport=port))[2] == lab.backend(11)
        got = lab.request(vip=2, sport=port)
        assert got is None or ends(got)[2] == lab.backend(12)


def test_echo_requests_are_answered_here_without_a_service_for_them_and_go_to_a_backend_with_one(lab):
    lab.add((11, 8080))
    lab.apply()
    answer = whole(lab.sent("front", lab.echo(lab.client(), lab.vip())))
    assert (ip_of(answer).src, ip_of(answer).dst, answer.dst) == (lab.vip(), lab.client(), CLIENT_MAC)
    assert answer[ICMP].type == 0 if lab.family == 4 else ICMPv6EchoReply in answer
    assert lab.through("front", lab.echo(lab.client(), lab.vip(9)))[0]  # nobody's address here: it passes
    lab.add((11, 0), vport=0, proto="ICMP")
    lab.apply()
    request = whole(lab.sent("front", lab.echo(lab.client(), lab.vip(), identifier=77)))
    assert ip_of(request).dst == lab.backend(11)
    answer = whole(lab.sent("back", lab.echo(lab.backend(11), lab.client(), identifier=77, reply=True)))
    assert (ip_of(answer).src, ip_of(answer).dst) == (lab.vip(), lab.client())
    other = lab.sent("back", lab.echo(lab.backend(11), lab.client(), identifier=78, reply=True))
    assert ip_of(other).src == lab.backend(11)


def test_a_tagged_frame_is_translated_behind_its_tag(lab):
    lab.add((11, 8080))
    lab.apply()
    packet = lab.ask()
    packet = Ether(src=CLIENT_MAC, dst=FAR_MAC) / Dot1Q(vlan=7) / packet.payload
    found = whole(lab.sent("front", packet))
    assert ends(found)[2:] == (lab.backend(11), 8080)
    if lab.hook != "TC":  # under TC the tag is beside what test_run gives back
        assert found[Dot1Q].vlan == 7


def test_options_and_extension_headers_are_stepped_over(lab):
    lab.add((11, 8080))
    lab.apply()
    if lab.family == 4:
        head = IP(src=lab.client(), dst=lab.vip(), options=b"\x07\x07\x04\0\0\0\0\0")
    else:
        head = IPv6(src=lab.client(), dst=lab.vip()) / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
    found = whole(lab.sent("front", Ether(src=CLIENT_MAC, dst=FAR_MAC) / head / TCP(sport=5000, dport=80)))
    assert ends(found)[2:] == (lab.backend(11), 8080)


def fragments_of(lab, source, target, segment, identity):
    """A packet in two fragments, the first of 48 bytes."""
    if lab.family == 4:
        first = IP(src=source, dst=target, proto=17, id=identity, flags="MF") / Raw(segment[:48])
        last = IP(src=source, dst=target, proto=17, id=identity, frag=6) / Raw(segment[48:])
    else:
        first = IPv6(src=source, dst=target) / IPv6ExtHdrFragment(nh=17, id=identity, m=1) / Raw(segment[:48])
        last = IPv6(src=source, dst=target) / IPv6ExtHdrFragment(nh=17, id=identity, offset=6) / Raw(segment[48:])
    return [Ether(src=CLIENT_MAC, dst=FAR_MAC) / part for part in (first, last)]


def segment_of(lab, source, target, sport, dport, payload):
    """A UDP datagram with its checksum, as the whole packet has it."""
    whole_packet = lab.ip(source, target) / UDP(sport=sport, dport=dport) / Raw(payload)
    return bytes(whole_packet)[20 if lab.family == 4 else 40 :]


def test_later_fragments_follow_the_first_and_none_passes_ahead_of_it(lab):
    lab.add((11, 8080), proto="UDP")
    lab.apply()
    payload = bytes(range(100))
    first, last = fragments_of(lab, lab.client(), lab.vip(), segment_of(lab, lab.client(), lab.vip(), 5000, 80, payload), 99)
    assert lab.sent("front", last) is None
    assert lab.drops("lb") == {"12": 1}  # fragment
    parts = [lab.sent("front", part) for part in (first, last)]
    assert [ip_of(part).dst for part in parts] == [lab.backend(11)] * 2
    joined = b"".join(bytes(part[IPv6ExtHdrFragment].payload if lab.family == 6 else part[IP].payload) for part in parts)
    assert joined == segment_of(lab, lab.client(), lab.backend(11), 5000, 8080, payload)
    back = fragments_of(lab, lab.backend(11), lab.client(), segment_of(lab, lab.backend(11), lab.client(), 8080, 5000, payload), 55)
    parts = [lab.sent("back", part) for part in back]
    assert [ip_of(part).src for part in parts] == [lab.vip()] * 2
    joined = b"".join(bytes(part[IPv6ExtHdrFragment].payload if lab.family == 6 else part[IP].payload) for part in parts)
    assert joined == segment_of(lab, lab.vip(), lab.client(), 80, 5000, payload)


def unreachable(lab, source, target, quoted):
    error = ICMP(type=3, code=1) if lab.family == 4 else ICMPv6DestUnreach(code=3)
    return Ether(src=FAR_MAC, dst=CLIENT_MAC) / lab.ip(source, target) / error / Raw(bytes(quoted))


def quoted_of(packet):
    """The packet that an error quotes."""
    if IP in packet:
        return IP(bytes(packet[IP])[28:])
    return IPv6(bytes(packet[IPv6])[48:])


def is_icmp_right(packet):
    """The error's own checksum."""
    copy = packet.copy()
    if IP in copy:
        del copy[IP].payload.chksum
    else:
        del copy[IPv6].payload.cksum
    return bytes(copy) == bytes(packet)


@pytest.mark.parametrize("proto", ["TCP", "UDP"])
def test_an_error_about_a_request_reaches_its_client_in_the_services_name(lab, proto):
    lab.add((11, 8080), proto=proto)
    lab.apply()
    request = lab.request(proto=proto)
    error = lab.sent("back", unreachable(lab, lab.backend(99), lab.client(), ip_of(request)))
    assert (ip_of(error).src, ip_of(error).dst) == (lab.vip(), lab.client())
    assert is_icmp_right(error)
    sent = bytes(ip_of(Ether(built(lab.ask(proto=proto)))))
    assert bytes(quoted_of(error))[: len(sent)] == sent


@pytest.mark.parametrize("proto", ["TCP", "UDP"])
def test_an_error_about_an_answer_reaches_the_backend_that_sent_it(lab, proto):
    lab.add((11, 8080), (12, 8081), proto=proto)
    lab.apply()
    _, _, address, port = ends(lab.request(proto=proto))
    backend = 11 if address == lab.backend(11) else 12
    answer = lab.reply(proto=proto, backend=backend, port=port)
    error = lab.sent("front", unreachable(lab, lab.client(50), lab.vip(), ip_of(answer)))
    assert (ip_of(error).src, ip_of(error).dst) == (lab.client(50), address)
    assert is_icmp_right(error)
    sent = bytes(ip_of(Ether(built(lab.answer(proto=proto, backend=backend, port=port)))))
    assert bytes(quoted_of(error))[: len(sent)] == sent


def test_an_error_about_an_echo_goes_both_ways_too(lab):
    lab.add((11, 0), vport=0, proto="ICMP")
    lab.apply()
    request = lab.sent("front", lab.echo(lab.client(), lab.vip(), identifier=9))
    error = lab.sent("back", unreachable(lab, lab.backend(99), lab.client(), ip_of(request)))
    assert (ip_of(error).src, ip_of(error).dst, ip_of(quoted_of(error)).dst) == (lab.vip(), lab.client(), lab.vip())
    assert is_icmp_right(error)


def test_an_error_about_something_else_passes_as_it_is(lab):
    lab.add((11, 8080))
    lab.apply()
    lab.request()
    other = lab.ip(lab.client(), lab.backend(11)) / TCP(sport=6000, dport=8080)
    error = built(unreachable(lab, lab.backend(99), lab.client(), other), 60)
    assert lab.through("back", error) == (True, error)
    error = built(unreachable(lab, lab.backend(99), lab.client(3), other), 60)  # for somebody whose packet it does not quote
    assert lab.through("back", error) == (True, error)


def test_without_a_backend_a_service_answers_with_a_reset_or_port_unreachable_or_says_nothing(lab):
    service = lab.add()
    lab.add(vport=53, proto="UDP")
    lab.apply()
    reset = whole(lab.request())
    assert ends(reset) == (lab.vip(), 80, lab.client(), 5000)
    assert (reset[TCP].flags, reset[TCP].ack, reset.dst) == ("RA", 1, CLIENT_MAC)
    error = lab.request(vport=53, proto="UDP", payload=b"x" * 20)
    assert (ip_of(error).src, ip_of(error).dst) == (lab.vip(), lab.client())
    assert (error[ICMP].type, error[ICMP].code) == (3, 3) if lab.family == 4 else error[ICMPv6DestUnreach].code == 4
    quoted = bytes(quoted_of(error))
    sent = bytes(ip_of(Ether(built(lab.ask(vport=53, proto="UDP", payload=b"x" * 20)))))
    assert quoted[: len(sent)] == sent
    assert lab.drops("lb") == {"8": 2}  # no_backend
    service["no-backend"] = "DROP"
    lab.apply()
    assert lab.request() is None
    service["backend"] = [{**lab.backends((11, 8080))[0], "state": "DOWN"}]
    lab.apply()
    assert lab.request() is None
    assert lab.drops("lb") == {"8": 4}


def test_only_clients_of_the_ranges_are_served(lab):
    lab.add((11, 8080), **{"source-range": [f"{lab.client(1)}/{32 if lab.family == 4 else 128}", f"{lab.client(64)}/{26 if lab.family == 4 else 122}"]})
    lab.apply()
    assert [client for client in (1, 2, 63, 64, 127, 128) if lab.request(client=client) is not None] == [1, 64, 127]
    assert lab.drops("lb") == {"9": 3}  # source_range


def test_a_truncated_packet_is_dropped_as_malformed(lab):
    lab.add((11, 8080))
    lab.apply()
    raw = built(lab.ask())
    assert not lab.through("front", raw[: len(raw) - 12])[0]
    assert lab.drops("lb") == {"MALFORMED": 1}
