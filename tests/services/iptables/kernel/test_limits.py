"""Limits and the lines of LOG: as often as iptables' would, and with the same words."""
from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.lib.packets import _open
from tests.services.iptables.lab import HostLab

ONLY_3 = {"l4proto": "UDP", "limit": "1/hour", "limit-burst": 3}


@pytest.fixture(params=["TC", "XDP_SKB"])
def lab(request: pytest.FixtureRequest) -> Iterator[HostLab]:
    with HostLab() as lab:
        lab.hook = lab.cube("fw")["type"] = request.param
        yield lab


def heard(lab: HostLab, port: int, count: int = 8) -> int:
    """How many of so many datagrams from h1 the host hears."""
    with closing(_open(None, socket.AF_INET, socket.SOCK_DGRAM)) as there, closing(_open(lab.space("h1"), socket.AF_INET, socket.SOCK_DGRAM)) as here:
        there.bind(("10.0.1.254", port))
        there.settimeout(0.5)
        for number in range(count):
            here.sendto(bytes([number]), ("10.0.1.254", port))
        found = 0
        try:
            while there.recv(9):
                found += 1
        except TimeoutError:
            return found


def test_beyond_its_limit_a_rule_does_not_match(lab: HostLab) -> None:
    lab.chains(INPUT={"default": "DROP", "rule": [{"action": "ACCEPT", **ONLY_3}]})
    assert heard(lab, 4000) == 3
    assert heard(lab, 4000) == 0
    assert lab.stats("INPUT")["default"] >= 13


def test_a_rule_has_one_limit_wherever_its_chain_is_laid_out(lab: HostLab) -> None:
    some = {"rule": [{"action": "RETURN", **ONLY_3}, {"l4proto": "UDP", "action": "DROP"}]}
    lab.chains(INPUT=[{"l4proto": "UDP", "dport": 4000, "action": "some"}, {"l4proto": "UDP", "dport": 4001, "action": "some"}], some=some)
    assert heard(lab, 4000, 2) == 2
    assert heard(lab, 4001, 2) == 1
    assert heard(lab, 4000, 1) == 0


def test_a_change_elsewhere_does_not_fill_it_up(lab: HostLab) -> None:
    chains = {"INPUT": {"default": "DROP", "rule": [{"action": "ACCEPT", **ONLY_3}]}}
    lab.chains(**chains)
    assert heard(lab, 4000) == 3
    chains["INPUT"]["rule"] = [{"l4proto": "TCP", "action": "DROP"}, *chains["INPUT"]["rule"]]  # type: ignore[index]
    lab.chains(**chains)
    assert heard(lab, 4000) == 0


def test_a_line_says_what_iptables_says_of_a_packet(lab: HostLab) -> None:
    log = {"l4proto": "UDP", "dport": 4000, "action": "LOG"}
    lab.chains(INPUT=[{**log, "log-prefix": "heard: "}, {"l4proto": "UDP", "action": "own"}], own=[log])
    with lab.logged() as lines:
        assert heard(lab, 4000, 1) == 1
    said = [line[line.index("IN=") :].split(" SPT=")[0] for line in lines if "IN=" in line]
    assert said == ["IN=v1 OUT= SRC=10.0.1.1 DST=10.0.1.254 LEN=29 PROTO=UDP"] * 2, lines
    assert "heard: IN=" in lines[0]
    assert "own:0 IN=" in lines[1]
