"""Real packets at a node's netdev: pods and outside, NodePorts by both policies, and the node itself; both families, under TC and XDP."""
from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.kernel import netns
from tests.lib.packets import Exchange, ping
from tests.services.k8sdispatcher.lab import INTERNAL, NODE, OUT, POD, DispatcherLab

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module", params=("TC", "XDP_DRV"))
def lab(request: pytest.FixtureRequest) -> Iterator[DispatcherLab]:
    with DispatcherLab(hook=request.param) as lab:
        lab.apply()
        yield lab


@pytest.fixture(params=(4, 6))
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=("tcp", "udp"))
def exchange(request: pytest.FixtureRequest, lab: DispatcherLab) -> Any:
    return getattr(lab, request.param)


def answered(found: Exchange | None) -> Exchange:
    assert found is not None, "nothing arrived"
    assert found.reply == found.received
    return found


def error_of(lab: DispatcherLab, host: str, source: str, address: str, port: int) -> int | None:
    """The error that a client's UDP socket is told."""
    with netns.inside(lab.space(host)), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(1.5)
        try:
            sock.connect((address, port))
            sock.send(b"anybody?")
            sock.recv(100)
        except OSError as error:
            return error.errno
    return None


def test_a_pod_leaves_as_the_node(lab: DispatcherLab, family: int, exchange: Any) -> None:
    found = answered(exchange("hin", "hout", OUT[family], 5300, source=POD[family]))
    assert found.source[0] == NODE[family]
    assert 1024 <= found.source[1] <= 29999
    told = [each for each in lab.sessions() if each["src-ip"] == POD[family]]
    assert {(each["direction"], each["operation"], each["originating-rule"]) for each in told} == {("EGRESS", "XLATE_SRC", "POD_TO_EXT")}


def test_the_node_itself_is_left_alone(lab: DispatcherLab, family: int, exchange: Any) -> None:
    assert answered(exchange("hout", None, NODE[family], 5301)).source[0] == OUT[family]
    found = answered(exchange(None, "hout", OUT[family], 5302, source=NODE[family], source_port=40000))
    assert found.source[:2] == (NODE[family], 40000)
    assert ping(lab.space("hout"), NODE[family], 2) == 2


def test_a_node_port_of_the_cluster_answers_by_this_node(lab: DispatcherLab, family: int, exchange: Any) -> None:
    found = answered(exchange("hout", "hin", NODE[family], 30080))
    assert found.source[0] == INTERNAL[family]
    told = [each for each in lab.sessions() if each["originating-rule"] == "NODEPORT_CLUSTER"]
    assert {(each["direction"], each["operation"]) for each in told} == {("INGRESS", "XLATE_SRC"), ("EGRESS", "XLATE_DST")}


def test_a_local_node_port_keeps_the_source(lab: DispatcherLab, family: int, exchange: Any) -> None:
    found = answered(exchange("hout", "hin", NODE[family], 30081, source_port=41000 + family))
    assert found.source == (OUT[family], 41000 + family)


def test_an_external_address_is_a_services(lab: DispatcherLab) -> None:
    assert answered(lab.udp("hout", "hin", "203.0.113.1", 53)).source[0] == INTERNAL[4]


def test_pods_of_the_cluster_know_each_other(lab: DispatcherLab, family: int) -> None:
    """From outside, as by direct routing: nothing is rewritten, and what answers passes as it came (hout is no pod: so by its own session)."""
    with lab.sniff("hin") as seen:
        ping(lab.space("hout"), POD[family], 1, timeout=0.3)
        source = socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, OUT[family])
        assert seen.next(1.0, lambda frame: source in frame and socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, POD[family]) in frame)


def test_errors_find_their_way(lab: DispatcherLab, family: int) -> None:
    assert error_of(lab, "hin", POD[family], OUT[family], 9) == errno.ECONNREFUSED
    assert error_of(lab, "hout", "", NODE[family], 30080) == errno.ECONNREFUSED
    assert error_of(lab, "hout", "", NODE[family], 30081) == errno.ECONNREFUSED


def test_fragments_follow_their_first_one(lab: DispatcherLab, family: int) -> None:
    payload = bytes(range(256)) * 20
    assert answered(lab.udp("hin", "hout", OUT[family], 5303, source=POD[family], payload=payload)).source[0] == NODE[family]
    assert answered(lab.udp("hout", "hin", NODE[family], 30080, payload=payload)).source[0] == INTERNAL[family]
    assert answered(lab.udp("hout", "hin", NODE[family], 30081, payload=payload)).source[0] == OUT[family]
    assert answered(lab.udp("hout", None, NODE[family], 5304, payload=payload)).source[0] == OUT[family]


def test_pods_ping_outside(lab: DispatcherLab, family: int) -> None:
    kind = (socket.AF_INET, socket.IPPROTO_ICMP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    request = bytes([8 if family == 4 else 128, 0]) + bytes(6) + b"anybody?"
    with netns.inside(lab.space("hin")):
        from pathlib import Path

        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        sock = socket.socket(kind[0], socket.SOCK_DGRAM, kind[1])
    with sock:
        sock.settimeout(1.5)
        sock.bind((POD[family], 0))
        sock.sendto(request, (OUT[family], 0))
        assert sock.recv(100)[8:] == b"anybody?"


def test_it_reads_back_as_it_is_written(lab: DispatcherLab) -> None:
    assert lab.drift() == []
    assert lab.plan().plan.steps == ()
    live = lab.live_cube("disp")
    assert live["internal-src-ip"] == "10.244.1.254"
    assert {port["name"]: port["type"] for port in live["ports"]} == {"nic": "FRONTEND", "pods": "BACKEND"}
