"""Polycube's own scripts for pcn-iptables, on a host between two neighbours: what each of them does, and then looks at."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.packets import tcp_exchange, udp_exchange
from tests.services.iptables.lab import ScriptLab

pytestmark = pytest.mark.kernel

HOST, FAR = "10.0.1.254", "10.0.2.1"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptLab]:
    with ScriptLab(monkeypatch, tmp_path) as host:
        assert host.run("", "pcn-iptables-init") == 0
        yield host


def tcp(host: ScriptLab, client: str | None, server: str | None, address: str, port: int) -> bool:
    found = tcp_exchange(*(host.space(each) if each else None for each in (client, server)), address, port, timeout=0.3)
    return found is not None and found.reply == b"question"


def udp(host: ScriptLab, client: str | None, server: str | None, address: str, port: int) -> bool:
    found = udp_exchange(*(host.space(each) if each else None for each in (client, server)), address, port, timeout=0.3)
    return found is not None and found.reply == b"question"


def arrives(host: ScriptLab, client: str, address: str, port: int) -> bool:
    """Whether a datagram comes to the host, whatever becomes of an answer."""
    return udp_exchange(host.space(client), None, address, port, timeout=0.3) is not None


def test_1_a_rule_of_many_fields(host: ScriptLab) -> None:
    host.script("-P INPUT DROP\n-A INPUT -s 10.0.1.1 -d 10.0.1.254 -p tcp --dport 80 --tcp-flags SYN SYN -j ACCEPT")
    assert not tcp(host, "h1", None, HOST, 80), "what follows the SYN is dropped"
    host.script("-A INPUT -s 10.0.1.1 -d 10.0.1.254 -p tcp --dport 80 -j ACCEPT")
    assert tcp(host, "h1", None, HOST, 80)
    assert not tcp(host, "h1", None, HOST, 81)
    host.script("-A OUTPUT -s 10.0.1.254 -d 10.0.1.1 -p tcp --sport 80 --tcp-flags SYN SYN -j DROP")
    assert not tcp(host, "h1", None, HOST, 80)


def test_2_append_insert_and_delete(host: ScriptLab) -> None:
    host.script("-P INPUT DROP\n-A INPUT -p icmp -j ACCEPT")
    assert host.ok("h1", HOST, 1)
    host.script("-I INPUT -p icmp -j DROP")
    assert host.fails("h1", HOST, 1)
    host.script("-D INPUT -p icmp -j DROP")
    assert host.ok("h1", HOST, 1)


def test_3_delete_by_number_flush_and_policies(host: ScriptLab) -> None:
    host.script("-A INPUT -p icmp -j DROP\n-A INPUT -p udp -j DROP")
    assert host.fails("h1", HOST, 1)
    host.script("-D INPUT 1")
    assert host.ok("h1", HOST, 1)
    assert not arrives(host, "h1", HOST, 5000)
    host.script("-F INPUT")
    assert arrives(host, "h1", HOST, 5000)
    host.script("-P INPUT DROP")
    assert host.fails("h1", HOST, 1)
    host.script("-P INPUT ACCEPT\n-P OUTPUT DROP")
    assert host.fails("h1", HOST, 1)
    host.script("-P OUTPUT ACCEPT")
    assert host.ok("h1", HOST, 1)
    assert host.run("-D INPUT -p icmp -j DROP") == 1


def test_4_and_5_forward_is_apart_from_input_and_output(host: ScriptLab) -> None:
    host.script("-P INPUT DROP\n-P OUTPUT DROP")
    assert host.ok("h1", FAR, 1)
    assert host.fails("h1", HOST, 1)
    host.script("-P FORWARD DROP")
    assert host.fails("h1", FAR, 1)
    host.script("-A FORWARD -s 10.0.1.1 -d 10.0.2.1 -j ACCEPT")
    assert host.fails("h1", FAR, 1), "the answers have no rule"
    host.script("-A FORWARD -s 10.0.2.1 -d 10.0.1.1 -j ACCEPT")
    assert host.ok("h1", FAR, 1)


def test_6_new_and_established_in_forward(host: ScriptLab) -> None:
    host.script("""
        -P FORWARD DROP
        -A FORWARD -s 10.0.1.1 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
        -A FORWARD -s 10.0.2.1 -m conntrack --ctstate ESTABLISHED -j ACCEPT
    """)
    assert host.ok("h1", FAR, 1)
    assert tcp(host, "h1", "h2", FAR, 80)
    assert udp(host, "h1", "h2", FAR, 80)
    assert host.fails("h2", "10.0.1.1", 1)
    assert not tcp(host, "h2", "h1", "10.0.1.1", 80)


@pytest.mark.parametrize(("lines", "passes"), [
    ("-A INPUT -s 10.0.0.0/8 -j DROP\n-A INPUT -s 10.0.1.1 -j ACCEPT", False),
    ("-A INPUT -s 10.0.0.0/8 -j DROP\n-I INPUT -s 10.0.1.1 -j ACCEPT", True),
    ("-P INPUT DROP\n-A INPUT -s 10.0.1.0/24 -j ACCEPT\n-A INPUT -s 10.0.1.1/32 -j DROP", True),
    ("-P INPUT DROP\n-A INPUT -s 10.0.1.0/24 -j ACCEPT\n-I INPUT -s 10.0.1.1/32 -j DROP", False),
])  # fmt: skip
def test_7_to_9_the_order_decides_and_not_the_length_of_a_prefix(host: ScriptLab, lines: str, passes: bool) -> None:
    host.script(lines)
    assert host.ok("h1", HOST, 1) if passes else host.fails("h1", HOST, 1)


def test_20_ports(host: ScriptLab) -> None:
    host.script("""
        -P INPUT DROP
        -A INPUT -p tcp --dport 80 -j ACCEPT
        -A INPUT -p tcp --sport 80 -j ACCEPT
        -A INPUT -p tcp --dport 90 -j DROP
        -A INPUT -p tcp --dport 91 -j ACCEPT
    """)
    assert tcp(host, "h1", None, HOST, 80)
    assert not tcp(host, "h1", None, HOST, 90)
    assert tcp(host, "h1", None, HOST, 91)
    assert tcp(host, None, "h1", "10.0.1.1", 80)


@pytest.mark.parametrize("before", [0, 70])
def test_30_counters(host: ScriptLab, capsys: pytest.CaptureFixture[str], before: int) -> None:
    """Behind more than 64 rules, too, and with what Polycube calls not interactive."""
    cube = {"name": "INPUT", "default": "ACCEPT",
            "rule": [{"id": n, "l4proto": "UDP", "dport": 20_000 + n, "action": "DROP"} for n in range(before)]}  # fmt: skip
    if before:
        host.run("", "pcn-iptables-clean")
        host.spec["cubes"] = [{"name": "pcn-iptables-x", "service-name": "iptables", "interactive": False, "chain": [cube]}]
        host.spec["attachments"] = [{"netdevs": "all", "tcubes": ["pcn-iptables-x"]}]
        cube["rule"].append({"id": before, "src": "10.0.1.1", "l4proto": "UDP", "dport": 5001, "action": "DROP"})  # type: ignore[attr-defined]
        host.apply()
        for _ in range(5):
            assert not arrives(host, "h1", HOST, 5001)
        assert host.pcn("action", "pcn-iptables-x", "chain/apply-rules") == 0
        stats = {each["id"]: each["pkts"] for each in host.live_cube("pcn-iptables-x", state=True)["chain"][0]["stats"]}
        assert stats[str(before)] == 5
        assert stats["0"] == 0
        return
    host.script("-A INPUT -s 10.0.1.1 -p udp --dport 5001 -j DROP")
    for _ in range(5):
        assert not arrives(host, "h1", HOST, 5001)
    lines = host.said(capsys, "-nvL INPUT --line-numbers")
    assert lines[2].split()[:4] == ["1", "5", str(5 * 50), "DROP"]


def test_interfaces(host: ScriptLab) -> None:
    host.script("-P FORWARD DROP\n-A FORWARD -i v1 -o v2 -j ACCEPT")
    assert host.fails("h1", FAR, 1)
    host.script("-A FORWARD -i v2 -o v1 -j ACCEPT")
    assert host.ok("h1", FAR, 1)
    host.script("-A INPUT -i v1 -j DROP")
    assert host.fails("h1", HOST, 1)
    assert host.ok("h2", "10.0.2.254", 1)
    host.script("-F\n-A OUTPUT -o v2 -j DROP")
    assert host.fails("h2", "10.0.2.254", 1)


@pytest.mark.parametrize("protocol", [tcp, udp])
def test_conntrack_of_the_hosts_own_connections(host: ScriptLab, protocol: object) -> None:
    """Only what this host begins goes on: in both directions, for TCP and UDP."""
    host.script("""
        -P INPUT DROP
        -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
        -A OUTPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
    """)
    assert protocol(host, None, "h1", "10.0.1.1", 80)  # type: ignore[operator]
    assert not protocol(host, "h1", None, HOST, 80)  # type: ignore[operator]
    host.script("-I INPUT -m conntrack --ctstate NEW -j ACCEPT")
    assert protocol(host, "h1", None, HOST, 80)  # type: ignore[operator]


def test_horus_on_and_off_says_the_same(host: ScriptLab) -> None:
    for horus in ("ON", "OFF", "ON"):
        host.run("", "pcn-iptables-clean")
        rules = [{"id": 0, "src": "10.0.1.1", "dst": HOST, "action": "DROP"}, {"id": 1, "action": "ACCEPT"}]
        host.spec["cubes"] = [{"name": "x", "service-name": "iptables", "horus": horus, "chain": [{"name": "INPUT", "rule": rules}]}]
        host.spec["attachments"] = [{"netdevs": "all", "tcubes": ["x"]}]
        host.apply()
        assert host.fails("h1", HOST, 1)
        assert host.ok("h2", "10.0.2.254", 1)
