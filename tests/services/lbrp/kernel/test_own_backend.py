"""With MULTI: a client that is its own backend is somebody else there, and a client speaks for itself only."""
from __future__ import annotations

import pytest

from tests.lib.scapy_packets import TCP, Ether
from tests.services.lbrp.lab import CLIENT_MAC, FAR_MAC, LbLab, ends, remade

pytestmark = pytest.mark.kernel
OWN = {4: "203.0.113.4", 6: "2001:db8:99::4"}


@pytest.fixture(params=[("TC", 4), ("TC", 6), ("XDP_DRV", 4)], ids=lambda it: f"{it[0]}-{it[1]}")
def lab(request):
    hook, family = request.param
    with LbLab(hook=hook, family=family) as lab:
        cube, leaf = lab.cube("lb"), "ip" if family == 4 else "ipv6"
        cube["port_mode"] = "MULTI"
        cube["check-source"] = True
        cube["ports"][0][leaf] = lab.client()
        cube[f"hairpin-{leaf}"] = OWN[family]
        service = lab.add(vport=80)
        service["backend"] = [{"ip": lab.client(), "port": 8080}]
        lab.apply()
        yield lab


def test_a_client_that_is_its_own_backend_is_another_there_and_hears_from_the_service(lab):
    request = lab.request()
    assert ends(request) == (OWN[lab.family], 5000, lab.client(), 8080)
    assert remade(request) == bytes(request)
    answer = Ether(src=FAR_MAC, dst=CLIENT_MAC) / lab.ip(lab.client(), OWN[lab.family]) / TCP(sport=8080, dport=5000, flags="SA")
    reply = lab.sent("back", answer)
    assert ends(reply) == (lab.vip(), 80, lab.client(), 5000)
    assert remade(reply) == bytes(reply)


def test_who_sends_in_another_name_is_dropped_and_counted(lab):
    assert lab.request(client=9) is None
    assert lab.request(client=9, vport=81) is None
    assert lab.request(vport=81) is not None
    assert lab.drops("lb") == {"15": 2}  # spoofed


def test_both_are_read_back_and_can_be_taken_away(lab):
    shown, leaf = lab.live_cube("lb"), "hairpin-ip" if lab.family == 4 else "hairpin-ipv6"
    assert (shown[leaf], shown["check-source"]) == (OWN[lab.family], True)
    assert lab.drift() == []
    del lab.cube("lb")[leaf], lab.cube("lb")["check-source"]
    lab.apply()
    assert leaf not in lab.live_cube("lb")
    assert lab.request(client=9, vport=81) is not None
    assert ends(lab.request(sport=6000)) == (lab.client(), 6000, lab.client(), 8080)
