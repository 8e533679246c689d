"""C22: nat on a router's port. Masquerade, snat, dnat, port forwarding and their precedence; what the table of sessions says."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lib.packets import Exchange, tcp_exchange, udp_exchange
from tests.services.nat.lab import NatLab

pytestmark = pytest.mark.kernel

X = "10.0.3.1"  # nobody's
HOOKS = ("TC", "XDP_DRV")


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest) -> Iterator[NatLab]:
    with NatLab(hook=request.param) as lab:
        lab.apply()
        lab.reach("h1", "10.0.2.1")
        lab.reach("h2", "10.0.1.1")
        yield lab


def tcp(lab: NatLab, client: str, server: str, address: str, port: int, listens: int | None = None) -> Exchange | None:
    return tcp_exchange(lab.space(client), lab.space(server), address, port, server_port=listens, timeout=1)


def udp(lab: NatLab, client: str, server: str, address: str, port: int, listens: int | None = None) -> Exchange | None:
    return udp_exchange(lab.space(client), lab.space(server), address, port, server_port=listens, timeout=0.5)


def kinds(lab: NatLab) -> set[tuple[str, str]]:
    return {(each["originating-rule"], each["external-ip"]) for each in lab.sessions()}


def answered(found: Exchange | None) -> bool:
    return found is not None and found.reply == b"question"


def test_masquerade_has_the_address_of_the_port(lab: NatLab) -> None:
    lab.rules(masquerade={"enabled": True})
    lab.reach("h1", "10.0.2.1")
    for exchange in (tcp, udp):
        found = exchange(lab, "h1", "h2", "10.0.2.1", 60123)
        assert answered(found)
        assert found is not None
        assert found.source[0] == "10.0.2.254"
    assert kinds(lab) == {("masquerade", "10.0.2.254")}
    assert {each["proto"] for each in lab.sessions()} == {"ICMP", "TCP", "UDP"}


def test_snat_has_the_address_that_is_said(lab: NatLab) -> None:
    lab.rules(snat=[{"id": 1, "internal-net": "10.0.1.0/24", "external-ip": "10.0.2.254"}])
    lab.reach("h1", "10.0.2.1")
    for exchange in (tcp, udp):
        found = exchange(lab, "h1", "h2", "10.0.2.1", 60123)
        assert found is not None
        assert found.source[0] == "10.0.2.254"
    assert kinds(lab) == {("snat", "10.0.2.254")}


def test_dnat_leads_an_address_outside_to_one_inside(lab: NatLab) -> None:
    assert lab.fails("h2", X)
    assert tcp(lab, "h2", "h1", X, 60123) is None
    assert udp(lab, "h2", "h1", X, 3000) is None
    lab.rules(dnat=[{"id": 1, "external-ip": X, "internal-ip": "10.0.1.1"}],
              snat=[{"id": 1, "internal-net": "10.0.1.1/32", "external-ip": X}])  # fmt: skip
    lab.reach("h2", X)
    assert answered(tcp(lab, "h2", "h1", X, 60123))
    assert answered(udp(lab, "h2", "h1", X, 3000))
    assert kinds(lab) == {("dnat", X)}
    assert lab.udp_error("h2", X, 9) == (3, 3, X), "the error about a closed port comes from where the packet went"


def test_port_forwarding_leads_to_another_port(lab: NatLab) -> None:
    assert tcp(lab, "h2", "h1", X, 80, 8080) is None
    lab.rules(**{"port-forwarding": [{"id": 1, "external-ip": X, "external-port": 80, "proto": "TCP", "internal-ip": "10.0.1.1",
                                      "internal-port": 8080}]})  # fmt: skip
    assert answered(tcp(lab, "h2", "h1", X, 80, 8080))
    assert udp(lab, "h2", "h1", X, 80, 8080) is None
    assert kinds(lab) == {("portforwarding", X)}


def test_port_forwarding_goes_before_dnat_and_that_of_a_protocol_before_that_of_all(lab: NatLab) -> None:
    forward = {"external-ip": X, "external-port": 80, "internal-ip": "10.0.1.1"}
    lab.rules(dnat=[{"id": 1, "external-ip": X, "internal-ip": "10.0.1.1"}],
              **{"port-forwarding": [{"id": 1, "proto": "TCP", "internal-port": 8080, **forward},
                                     {"id": 2, "proto": "ALL", "internal-port": 8081, **forward}]})  # fmt: skip
    assert answered(tcp(lab, "h2", "h1", X, 80, 8080))
    assert answered(udp(lab, "h2", "h1", X, 80, 8081))
    assert answered(tcp(lab, "h2", "h1", X, 81, 81))
    assert {each["originating-rule"] for each in lab.sessions()} == {"portforwarding", "dnat"}


def test_a_rule_that_goes_takes_its_sessions_with_it(lab: NatLab) -> None:
    lab.rules(dnat=[{"id": 1, "external-ip": X, "internal-ip": "10.0.1.1"}])
    lab.reach("h2", X)
    assert lab.sessions()
    lab.rules()
    assert lab.sessions() == []
    assert lab.fails("h2", X)
    assert not lab.drift()


def test_what_is_written_is_read_back(lab: NatLab) -> None:
    said: dict[str, Any] = {
        "masquerade": {"enabled": True, "external-ip": "10.0.2.9"},
        "snat": {"entry": [{"id": 3, "internal-net": "10.0.1.0/24", "external-ip": "10.0.2.254", "port-range": "2000-2999"}]},
        "dnat": {"entry": [{"id": 7, "external-ip": X, "internal-ip": "10.0.1.1"}]},
        "port-forwarding": {"entry": [{"id": 1, "external-ip": X, "external-port": 80, "proto": "UDP", "internal-ip": "10.0.1.1",
                                       "internal-port": 8080}]},
    }  # fmt: skip
    lab.cube("nat1").update({"rule": said, "hairpin": True, "sessions": 1000, "port-range": "3000-3999", "timeouts": {"udp": 150}})
    lab.apply()
    shown = lab.live_cube("nat1")
    assert shown["rule"] == said
    assert (shown["hairpin"], shown["sessions"], shown["port-range"], shown["timeouts"]["udp"]) == (True, 1000, "3000-3999", 150)
    assert (lab.drift(), lab.plan().plan.steps) == ([], ())
