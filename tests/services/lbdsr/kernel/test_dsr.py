"""What becomes of a packet for a virtual address, by MAC and through tunnels, and who gets it: taken apart by scapy."""
from __future__ import annotations

import collections

import pytest

from tests.lib.scapy_packets import (
    ARP,
    ICMP,
    IP,
    TCP,
    UDP,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
    Raw,
    built,
)
from tests.services.lbdsr.lab import FROM_MAC, OWN_MAC, DsrLab, mac_of
from tests.services.lbrp.lab import CLIENT_MAC

pytestmark = pytest.mark.kernel
BOTH = [(hook, family) for hook in ("TC", "XDP_DRV") for family in (4, 6)]


@pytest.fixture(params=BOTH, ids=lambda it: f"{it[0]}-{it[1]}")
def lab(request):
    hook, family = request.param
    with DsrLab(hook=hook, family=family) as lab:
        yield lab


@pytest.mark.parametrize("proto", ["TCP", "UDP"])
def test_a_packet_gets_its_backends_mac_and_stays_as_it_is(lab, proto):
    lab.pool(1)
    lab.apply()
    sent = lab.ask(proto=proto, payload=b"x" * 30)
    found = lab.sent("front", sent)
    assert (found.dst, found.src) == (mac_of(1), FROM_MAC)
    assert bytes(found)[12:] == built(sent, 60)[12:]
    assert lab.sent("front", lab.echo(lab.client(), lab.vip())) is None  # to another MAC
    assert lab.drops("lb") == {"9": 1}


def test_only_what_is_for_a_virtual_address_passes_and_nothing_comes_back(lab):
    lab.pool(1)
    lab.apply()
    assert lab.taken(vip=2) == ""
    assert lab.sent("back", lab.ask()) is None
    assert lab.sent("front", Ether(src=CLIENT_MAC, dst=OWN_MAC, type=0x88B5) / Raw(b"x" * 46)) is None
    assert lab.drops("lb") == {"8": 1, "10": 2}  # from_backend, no_service


def test_each_virtual_address_has_backends_of_its_own(lab):
    lab.pool(1)
    lab.cube("lb")["service"] = [{"vip": lab.vip(2), "pool": [{"id": 1, "mac": mac_of(2)}]}, {"vip": lab.vip(3)}]
    lab.apply()
    assert [lab.taken(vip=number) for number in (1, 2, 3)] == [mac_of(1), mac_of(2), ""]
    assert lab.drops("lb") == {"11": 1}  # no_backend
    shown = lab.live_cube("lb")
    assert [service["vip"] for service in shown["service"]] == [lab.vip(2), lab.vip(3)]
    assert lab.plan().plan.steps == ()
    assert lab.drift() == []


def tunnelled(packet, mode, outer):
    """What a tunnel's end takes out: (the outer header, the packet inside)."""
    head = packet[IP] if outer == 4 else packet[IPv6]
    rest = bytes(head.payload)
    if mode == "GUE":
        assert (head.proto if outer == 4 else head.nh) == 17
        udp = UDP(rest)
        assert (udp.dport, udp.len, udp.chksum) == (6080, len(rest), 0)
        assert udp.sport >= 0xC000
        rest = rest[8:]
    return head, rest


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("mode", ["IPIP", "GUE"])
def test_a_tunnel_carries_the_packet_whole(lab, mode, outer):
    end = "10.9.0.7" if outer == 4 else "2001:db8:9::7"
    lab.pool(1, mode=mode, ip=end)
    lab.apply()
    sent = lab.ask(payload=b"y" * 41)
    found = lab.sent("front", sent)
    assert (found.dst, found.src, found.type) == (mac_of(1), FROM_MAC, 0x0800 if outer == 4 else 0x86DD)
    head, inside = tunnelled(found, mode, outer)
    assert (head.src, head.dst) == (("10.9.0.1", end) if outer == 4 else ("2001:db8:9::1", end))
    assert inside == built(sent)[14:]
    if mode == "IPIP":
        assert (head.proto if outer == 4 else head.nh) == (4 if lab.family == 4 else 41)
    size = head.len if outer == 4 else head.plen + 40
    assert size == len(bytes(found)) - 14
    if outer == 4:
        right = head.copy()
        del right.chksum
        assert IP(bytes(right)).chksum == head.chksum


def test_a_short_frame_is_carried_without_its_padding_counted(lab):
    lab.pool(1, mode="IPIP", ip="10.9.0.7")
    lab.apply()
    raw = built(lab.ask(), 90)
    _, out = lab.through("front", raw)
    inner = int.from_bytes(raw[16:18], "big") if lab.family == 4 else int.from_bytes(raw[18:20], "big") + 40
    assert int.from_bytes(out[16:18], "big") == inner + 20


def test_flows_stay_and_a_backend_that_is_down_or_drains_gets_none(lab):
    pool = lab.pool(1, 2, 3, 4)
    lab.apply()
    ports = range(3000, 3200)
    before = {port: lab.taken(sport=port, flags="A") for port in ports}
    counted = collections.Counter(before.values())
    assert set(counted) == {mac_of(number) for number in (1, 2, 3, 4)}
    assert min(counted.values()) > 20
    pool[1]["weight"] = 7
    pool += [{"id": 9, "mac": mac_of(9)}]
    lab.apply()
    assert {port: lab.taken(sport=port, flags="A") for port in ports} == before
    pool[0]["state"] = "DRAINING"
    pool[2]["state"] = "DOWN"
    lab.apply()
    after = {port: lab.taken(sport=port, flags="A") for port in ports}
    assert all(after[port] == before[port] for port in ports if before[port] != mac_of(3))
    assert mac_of(3) not in after.values()
    assert mac_of(1) not in {lab.taken(sport=port) for port in ports}  # SYN: something new
    stats = lab.live_cube("lb", state=True)["stats"]
    assert stats["moved-flows"] >= counted[mac_of(3)]


def test_an_error_goes_to_the_backend_that_the_quoted_packet_came_from(lab):
    lab.pool(1, 2, 3)
    lab.apply()
    for port in range(3000, 3030):
        taken = lab.taken(sport=port)
        answer = lab.ip(lab.vip(), lab.client()) / TCP(sport=80, dport=port, flags="SA") / Raw(b"z" * 20)
        error = ICMP(type=3, code=4) if lab.family == 4 else ICMPv6DestUnreach(code=0)
        frame = Ether(src=CLIENT_MAC, dst=OWN_MAC) / lab.ip(lab.client(77), lab.vip()) / error / Raw(bytes(answer))
        found = lab.sent("front", frame)
        assert found.dst == taken
        assert bytes(found)[12:] == built(frame)[12:]


def test_later_fragments_follow_the_first(lab):
    lab.pool(1, 2, 3)
    lab.apply()
    for number in range(10):
        segment = bytes(UDP(sport=4000 + number, dport=80, len=108)) + b"f" * 92
        if lab.family == 4:
            parts = [lab.ip(lab.client(), lab.vip(), id=number + 1, proto=17, **more) / Raw(text)
                     for more, text in (({"flags": "MF"}, segment[:48]), ({"frag": 6}, segment[48:]))]  # fmt: skip
        else:
            parts = [lab.ip(lab.client(), lab.vip()) / IPv6ExtHdrFragment(nh=17, id=number + 1, **more) / Raw(text)
                     for more, text in (({"m": 1}, segment[:48]), ({"offset": 6}, segment[48:]))]  # fmt: skip
        frames = [Ether(src=CLIENT_MAC, dst=OWN_MAC) / part for part in parts]
        assert lab.sent("front", frames[1]) is None
        first, later = (lab.sent("front", frame) for frame in frames)
        assert first.dst == later.dst


def test_who_asks_for_a_virtual_address_is_told_its_mac(lab):
    lab.pool(1)
    lab.apply()
    for number, answered in ((1, True), (9, False)):
        if lab.family == 4:
            ask = Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=CLIENT_MAC, psrc=lab.client(), pdst=lab.vip(number))
            found = lab.sent("front", ask)
            assert (found is not None) == answered
            if answered:
                assert (found.dst, found.src) == (CLIENT_MAC, OWN_MAC)
                assert (found[ARP].op, found[ARP].hwsrc, found[ARP].psrc, found[ARP].pdst) == (2, OWN_MAC, lab.vip(), lab.client())
        else:
            ask = Ether(src=CLIENT_MAC, dst="33:33:ff:00:00:01") / IPv6(src=lab.client(), dst="ff02::1:ff00:1", hlim=255)
            found = lab.sent("front", ask / ICMPv6ND_NS(tgt=lab.vip(number)) / ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC))
            assert (found is not None) == answered
            if answered:
                assert (found.dst, found[IPv6].src, found[IPv6].dst) == (CLIENT_MAC, lab.vip(), lab.client())
                assert (found[ICMPv6ND_NA].tgt, found[ICMPv6NDOptDstLLAddr].lladdr) == (lab.vip(), OWN_MAC)


def test_what_is_written_is_shown_and_no_drift():
    with DsrLab() as lab:
        pool = lab.pool(1, 2)
        pool[1] |= {"mode": "GUE", "ip": "2001:db8:9::7", "weight": 3, "state": "DRAINING"}
        lab.apply()
        shown = lab.live_cube("lb")
        assert shown["frontend"] == lab.cube("lb")["frontend"]
        assert shown["backend"]["pool"][1] == {"id": 2, "mac": mac_of(2), "mode": "GUE", "ip": "2001:db8:9::7", "weight": 3, "state": "DRAINING"}
        assert lab.plan().plan.steps == ()
        assert lab.drift() == []
        del lab.cube("lb")["frontend"]["mac"]
        lab.apply()
        assert "mac" not in lab.live_cube("lb")["frontend"]
