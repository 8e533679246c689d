"""src-ip-rewrite: backends know a client of one range under an address of another, answer to it, and ask for it by ARP."""
from __future__ import annotations

import pytest

from tests.lib.scapy_packets import ARP, ICMP, IP, TCP, Ether, Raw, built
from tests.services.lbrp.lab import CLIENT_MAC, FAR_MAC, LbLab, ends, remade

pytestmark = pytest.mark.kernel
NEW = {4: "203.0.113", 6: "2001:db8:99:"}


@pytest.fixture(params=[(hook, family) for hook in ("TC", "XDP_DRV") for family in (4, 6)], ids=lambda it: f"{it[0]}-{it[1]}")
def lab(request):
    hook, family = request.param
    with LbLab(hook=hook, family=family) as lab:
        ranges = ("192.0.2.0/24", "203.0.113.0/24") if family == 4 else ("2001:db8:1::/64", "2001:db8:99::/64")
        lab.cube("lb")["src-ip-rewrite"] = dict(zip(("ip-range", "new_ip_range"), ranges, strict=True))
        lab.add((11, 8080))
        lab.apply()
        yield lab


def renamed(lab, host):
    return f"203.0.113.{host}" if lab.family == 4 else f"2001:db8:99::{host:x}"


def answer(lab, target, *, sport=8080, dport=5000):
    return Ether(src=FAR_MAC, dst=CLIENT_MAC) / lab.ip(lab.backend(11), target) / TCP(sport=sport, dport=dport, flags="SA")


def test_a_client_arrives_under_its_other_address_and_hears_from_the_service(lab):
    request = lab.request(client=9)
    assert ends(request) == (renamed(lab, 9), 5000, lab.backend(11), 8080)
    assert remade(request) == bytes(request)
    reply = lab.sent("back", answer(lab, renamed(lab, 9)))
    assert ends(reply) == (lab.vip(), 80, lab.client(9), 5000)
    assert remade(reply) == bytes(reply)


def test_what_is_for_no_service_keeps_its_source_and_a_strange_packet_to_a_new_address_is_dropped(lab):
    assert ends(lab.request(vport=81))[0] == lab.client()
    assert lab.sent("back", answer(lab, renamed(lab, 9), sport=1)) is None
    assert lab.drops("lb") == {"14": 1}  # no_flow


def test_the_ranges_are_read_back_and_without_them_nothing_is_rewritten(lab):
    shown = lab.live_cube("lb")["src-ip-rewrite"]
    assert shown == lab.cube("lb")["src-ip-rewrite"]
    assert lab.drift() == []
    del lab.cube("lb")["src-ip-rewrite"]
    lab.apply()
    assert "src-ip-rewrite" not in lab.live_cube("lb")
    assert ends(lab.request(client=9, sport=6000))[0] == lab.client(9)


def test_an_error_about_a_rewritten_packet_quotes_what_the_client_sent(lab):
    if lab.family == 6:
        pytest.skip("as of IP: the same code, and test_translation has IPv6's errors")
    request = lab.request(client=9)
    error = Ether(src=FAR_MAC, dst=CLIENT_MAC) / IP(src=lab.backend(11), dst=renamed(lab, 9)) / ICMP(type=3, code=1)
    found = lab.sent("back", error / Raw(bytes(request[IP])))
    assert (found[IP].src, found[IP].dst) == (lab.vip(), lab.client(9))
    sent = bytes(Ether(built(lab.ask(client=9)))[IP])
    assert bytes(found[IP])[28 : 28 + len(sent)] == sent
    copy = found.copy()
    del copy[ICMP].chksum
    assert bytes(copy) == bytes(found)


def test_a_backend_that_asks_for_the_other_address_is_answered_by_the_client(lab):
    if lab.family == 6:
        pytest.skip("over IPv6 the new range needs a route")
    question = Ether(src=FAR_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=FAR_MAC, psrc="10.0.0.11", pdst="203.0.113.9")
    asked = lab.sent("back", question)
    assert (asked[ARP].psrc, asked[ARP].pdst) == ("10.0.0.11", "192.0.2.9")
    said = Ether(src=CLIENT_MAC, dst=FAR_MAC) / ARP(op=2, hwsrc=CLIENT_MAC, psrc="192.0.2.9", hwdst=FAR_MAC, pdst="10.0.0.11")
    assert lab.sent("front", said)[ARP].psrc == "203.0.113.9"
    assert lab.sent("front", said)[ARP].psrc == "192.0.2.9"  # nobody asks any more
    own = Ether(src=FAR_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=FAR_MAC, psrc="10.0.0.11", pdst="192.0.2.9")
    assert lab.sent("back", own)[ARP].pdst == "192.0.2.9"
    assert lab.sent("front", said)[ARP].psrc == "192.0.2.9"
