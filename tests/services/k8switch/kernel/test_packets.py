"""Real packets through a node's switch: pods, services, the node, and somebody outside; both families, under TC and XDP."""
from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lib.packets import Exchange, ping
from tests.services.k8switch.lab import NODE, PODS, REMOTE, VIPS, VIRTUAL, SwitchLab

pytestmark = pytest.mark.kernel
FAMILIES = (4, 6)


@pytest.fixture(scope="module", params=("TC", "XDP_DRV"))
def lab(request: pytest.FixtureRequest) -> Iterator[SwitchLab]:
    """One switch with all services that these tests need."""
    with SwitchLab(hook=request.param) as lab:
        for family in FAMILIES:
            one, two = (PODS[family].format(number) for number in (1, 2))
            for proto in ("TCP", "UDP"):
                lab.add(VIPS[family].format(10), 80, (two, 8080), proto=proto)  # another pod
                lab.add(VIPS[family].format(11), 80, (one, 8080), proto=proto)  # h1 itself
                lab.add(VIPS[family].format(12), 80, (REMOTE[family], 8080), proto=proto)  # a pod of another node
                lab.add(VIPS[family].format(13), 80, proto=proto)  # none
                lab.add(VIPS[family].format(14), 81, (two, 8080), proto=proto)  # the first one's backend port
                lab.add(NODE[family], 30080, (two, 8080), proto=proto)
                lab.add(NODE[family], 30081, (REMOTE[family], 8080), proto=proto)
        lab.apply()
        yield lab


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=("tcp", "udp"))
def exchange(request: pytest.FixtureRequest, lab: SwitchLab) -> Any:
    return getattr(lab, request.param)


def answered(found: Exchange | None) -> Exchange:
    assert found is not None, "nothing arrived"
    assert found.reply == found.received
    return found


def refused(lab: SwitchLab, host: str, address: str, port: int, kind: int = socket.SOCK_STREAM) -> int | None:
    """The error that a client's socket is told."""
    with lab.in_space(host), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
        sock.settimeout(1)
        try:
            sock.connect((address, port))
            sock.send(b"anybody?")
            sock.recv(100)
        except OSError as error:
            return error.errno
    return None


def test_pods_reach_each_other_and_the_node(lab: SwitchLab, family: int) -> None:
    one, two = (PODS[family].format(number) for number in (1, 2))
    for host, address in (("h1", two), ("h2", one), ("h1", NODE[family]), ("h1", REMOTE[family]), ("hnode", one), ("hnode", two)):
        assert ping(lab.space(host), address, 3, timeout=2) == 3, (host, address)


def test_a_service_sees_the_pod_that_asks(lab: SwitchLab, family: int, exchange: Any) -> None:
    found = answered(exchange("h1", "h2", VIPS[family].format(10), 80, 8080))
    assert found.source[0] == PODS[family].format(1)


def test_a_pod_reaches_itself_through_its_own_service(lab: SwitchLab, family: int, exchange: Any) -> None:
    found = answered(exchange("h1", "h1", VIPS[family].format(11), 80, 8080))
    assert found.source[0] == VIRTUAL[family] + (":11" if family == 6 else "11")


def test_the_node_reaches_services(lab: SwitchLab, family: int, exchange: Any) -> None:
    assert answered(exchange("hnode", "h2", VIPS[family].format(10), 80, 8080)).source[0] in ("10.244.1.1", "fd00:244:1::1", "fd00:1::1")


def test_a_backend_of_another_node_sees_the_pod(lab: SwitchLab, family: int, exchange: Any) -> None:
    assert answered(exchange("h1", "hfar", VIPS[family].format(12), 80, 8080)).source[0] == PODS[family].format(1)


def test_a_node_port_keeps_the_source_for_a_pod_here(lab: SwitchLab, family: int, exchange: Any) -> None:
    found = answered(exchange("hout", "h2", NODE[family], 30080, 8080))
    assert found.source[0] == {4: "192.0.2.9", 6: "fd00:9::9"}[family]


def test_a_node_port_brings_answers_of_other_nodes_back_here(lab: SwitchLab, family: int, exchange: Any) -> None:
    found = answered(exchange("hout", "hfar", NODE[family], 30081, 8080))
    assert found.source[0].startswith(VIRTUAL[family])


def test_two_services_with_one_backend_port_are_told_apart(lab: SwitchLab, family: int) -> None:
    first, second = VIPS[family].format(10), VIPS[family].format(14)
    answered(lab.udp("h1", "h2", first, 80, 8080, source_port=45000 + family))
    answered(lab.udp("h1", "h2", second, 81, 8080, source_port=46000 + family))
    answered(lab.udp("h1", "h2", first, 80, 8080, source_port=45000 + family))


def test_what_no_backend_is_for_is_rejected(lab: SwitchLab, family: int) -> None:
    for vip, port in ((13, 80), (10, 99), (200, 80)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            assert refused(lab, "h1", VIPS[family].format(vip), port, kind) == errno.ECONNREFUSED, (vip, port)


def test_errors_come_in_the_services_name(lab: SwitchLab, family: int) -> None:
    """Nobody listens at the backend's port, which its ICMP error says of the packet that it got."""
    for vip in (10, 11, 12):
        assert refused(lab, "h1", VIPS[family].format(vip), 80, socket.SOCK_DGRAM) == errno.ECONNREFUSED
    for port in (30080, 30081):
        assert refused(lab, "hout", NODE[family], port, socket.SOCK_DGRAM) == errno.ECONNREFUSED, port


def test_fragments_follow_their_first_one(lab: SwitchLab, family: int) -> None:
    payload = bytes(range(256)) * 20
    for client, server, address, port in (("h1", "h2", VIPS[family].format(10), 80), ("h1", "h1", VIPS[family].format(11), 80),
                                          ("h1", "hfar", VIPS[family].format(12), 80), ("hout", "h2", NODE[family], 30080),
                                          ("hout", "hfar", NODE[family], 30081)):  # fmt: skip
        assert answered(lab.udp(client, server, address, port, 8080, payload=payload)).received == payload


def test_addresses_of_services_answer_pings(lab: SwitchLab, family: int) -> None:
    assert ping(lab.space("h1"), VIPS[family].format(10), 2) == 2
    assert ping(lab.space("h1"), VIPS[family].format(200), 2, timeout=0.2) == 0


def test_it_reads_back_as_it_is_written(lab: SwitchLab) -> None:
    assert lab.drift() == []
    assert lab.plan().plan.steps == ()
    live = lab.live_cube("sw", state=True)
    assert live["client-subnet"] == "10.244.1.0/24"
    assert {port["name"]: port.get("type") for port in live["ports"]}["outside"] == "NODEPORT"
    assert {(each["client"], each["backend"]) for each in live["session"]} >= {("10.244.1.11", "10.244.1.12")}
