"""Edits of every kind while datagrams pass through a session: none is lost, and rows are written in proportion to the change."""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.soak import backlog_overflows
from tests.lib.agent_process import Stream
from tests.lib.lab import counts
from tests.services.nat.lab import NatLab

pytestmark = pytest.mark.kernel

MANY = [{"id": n, "external-ip": f"203.0.{n >> 8}.{n & 255}", "internal-ip": "10.0.1.1"} for n in range(1, 501)]
FORWARD = {"id": 1, "external-ip": "203.0.113.1", "external-port": 80, "proto": "TCP", "internal-ip": "10.0.1.1", "internal-port": 8080}
SNAT = {"id": 1, "internal-net": "10.0.9.0/24", "external-ip": "203.0.113.9"}
NPT = {"id": 1, "internal-prefix": "fd09::/48", "external-prefix": "2001:db8:9::/48"}
Rules = dict[str, Any]


def entries(rules: Rules, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rules.setdefault(kind, {}).setdefault("entry", [])
    return found


# What is done to the rules, and the most rows that it writes: what is said, by what it is known and its mark, who is translated, and to what
ROWS: dict[str, tuple[Callable[[Rules], Any], int]] = {
    "a dnat rule more among 500": (lambda rules: entries(rules, "dnat").append({"id": 900, "external-ip": "192.0.2.9", "internal-ip": "10.0.1.1"}), 5),
    "another address inside": (lambda rules: entries(rules, "dnat")[250].update({"internal-ip": "10.0.1.9"}), 7),
    "a dnat rule less": (lambda rules: entries(rules, "dnat").pop(100), 5),
    "a port forwarded": (lambda rules: entries(rules, "port-forwarding").append(dict(FORWARD)), 5),
    "to another port": (lambda rules: entries(rules, "port-forwarding")[0].update({"internal-port": 8081}), 7),
    "a snat rule for others": (lambda rules: entries(rules, "snat").append(dict(SNAT)), 4),
    "a prefix": (lambda rules: entries(rules, "nptv6").append(dict(NPT)), 3),
    "no port forwarded": (lambda rules: rules.pop("port-forwarding"), 5),
}
LEAVES: dict[str, Any] = {"mapping": "endpoint-independent", "filtering": "endpoint-independent", "hairpin": True,
                          "timeouts": {"udp": 200}, "sessions": 1000, "loglevel": "WARN"}  # fmt: skip


def test_edits_of_every_kind_lose_no_packet_and_write_what_changed() -> None:
    with NatLab(sessions=500) as lab:
        lab.apply()
        # Known for good: one that it learned the router believes for a minute, which this may take on a busy machine.
        lab.cube("r1")["arp-table"] = [{"address": "10.0.2.1", "interface": "to_v2", "mac": lab.mac("h2")}]
        lab.rules(masquerade={"enabled": True}, dnat=[dict(each) for each in MANY])
        lab.reach("h1", "10.0.2.1")
        rules, written, began, session = lab.cube("nat1")["rule"], {}, {}, None
        before = backlog_overflows()
        with Stream(lab.space("h1"), lab.space("h2"), "10.0.2.1") as stream:
            for name, (edit, _) in ROWS.items():
                began[name] = time.monotonic()
                edit(rules)
                written[name] = counts(lab.apply()).map_writes
            for leaf, value in LEAVES.items():
                began[leaf] = time.monotonic()
                lab.cube("nat1")[leaf] = value
                lab.apply()
                (now,) = [each["external-port"] for each in lab.sessions() if each["proto"] == "UDP"]
                assert session in (None, now), leaf
                session = now
        assert len(stream.arrived) > 100
        lost = stream.losses_after(began)
        assert lost == {} or backlog_overflows() > before, (lost, lab.drops("nat1"), lab.drops("r1"))  # a CPU's queue, which the whole machine shares, was full
        assert {name: count for name, count in written.items() if not 0 < count <= ROWS[name][1]} == {}
        assert lab.drift() == []
