"""REJECT beside the kernel's iptables: a socket is told the same, whichever of the two refuses it."""
from __future__ import annotations

import errno
import shlex
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cubes.iptables.names import REJECT_WITH
from reconciler.kernel import offload
from tests.lib.netns_topology import run_in
from tests.lib.packets import _open
from tests.services.iptables.lab import HostLab

Case = tuple[str, str, str]  # chain, protocol, what iptables calls the answer
WAYS = {"INPUT": ("h1", "10.0.1.254"), "FORWARD": ("h1", "10.0.2.1"), "OUTPUT": (None, "10.0.2.1")}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
CASES = [(chain, proto, answer) for chain in WAYS for proto in KINDS for answer in sorted(REJECT_WITH) if proto == "tcp" or answer != "tcp-reset"]


@pytest.fixture(scope="module")
def oracle() -> dict[Case, int | None]:
    """What iptables tells."""
    with HostLab() as lab:
        lab.chains()
        return {case: iptables_tells(lab, *case) for case in CASES}


@pytest.fixture(scope="module", params=["TC", "XDP_DRV"])
def lab(request: pytest.FixtureRequest, oracle: dict[Case, int | None]) -> Iterator[HostLab]:
    with HostLab() as lab:
        if request.param != "TC":
            lab.hook = lab.cube("fw")["type"] = request.param
            lab.cube("fw")["forward-by"] = "XDP"
            lab.spec["attachments"].pop()
            for host in ("h1", "h2"):  # as in test_xdp.py
                offload.put("eth0", "gro", True, lab.space(host))
                offload.put("eth0", "tx-checksum", False, lab.space(host))
        lab.chains()
        assert lab.ok("h1", "10.0.2.1"), "neighbours know each other from now on"
        yield lab


def told(lab: HostLab, chain: str, kind: socket.SocketKind) -> int | None:
    """The errno that a socket gets whose first packet goes through this chain; None: it is told nothing."""
    host, address = WAYS[chain]
    with _open(lab.space(host) if host else None, socket.AF_INET, kind) as sock:
        sock.settimeout(0.7)
        sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: of all errors, not only of those that end a connection
        try:
            sock.connect((address, 7))
            with suppress(PermissionError):  # iptables says so to a local sender at once, and by the error besides
                sock.send(b"is anybody there?")
            sock.recv(1)
        except TimeoutError:
            return None
        except OSError as error:
            return error.errno
    return None


def iptables_tells(lab: HostLab, chain: str, proto: str, answer: str) -> int | None:
    line = f"{chain} -p {proto} --dport 7 -j REJECT --reject-with {answer}"
    run_in(None, ["iptables-legacy", "-A", *shlex.split(line)])
    try:
        return told(lab, chain, KINDS[proto])
    finally:
        run_in(None, ["iptables-legacy", "-D", *shlex.split(line)])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_socket_is_told_what_iptables_would_tell_it(lab: HostLab, case: Case, oracle: dict[Case, int | None]) -> None:
    chain, proto, answer = case
    leaves = {"reject-with": REJECT_WITH[answer]} if REJECT_WITH[answer] else {}
    lab.chains(**{chain: [{"l4proto": proto.upper(), "dport": 7, "action": "REJECT", **leaves}]})
    assert oracle[case] is not None
    assert told(lab, chain, KINDS[proto]) == oracle[case]
    assert lab.stats(chain)["0"], "the rule was met"


def test_an_answer_meets_no_rule(lab: HostLab) -> None:
    everything = {"default": "DROP", "rule": [{"action": "REJECT"}]}
    lab.chains(INPUT=everything, FORWARD=everything, OUTPUT=everything)
    before = {chain: lab.stats(chain)["default"] for chain in WAYS}
    for chain in WAYS:
        assert told(lab, chain, socket.SOCK_DGRAM) == errno.ECONNREFUSED, chain
    assert {chain: lab.stats(chain)["default"] for chain in WAYS} == before


def test_what_is_dropped_is_told_nothing(lab: HostLab) -> None:
    lab.chains(INPUT=[{"l4proto": "UDP", "action": "DROP"}])
    assert told(lab, "INPUT", socket.SOCK_DGRAM) is None


def test_with_generic_xdp_a_socket_is_told_whose_checksum_is_left_to_a_device() -> None:
    rules = [{"l4proto": proto, "dport": 7, "action": "REJECT", "reject-with": "HOST_UNREACHABLE"} for proto in ("UDP", "TCP")]
    with HostLab() as lab:
        lab.hook = lab.cube("fw")["type"] = "XDP_SKB"
        lab.chains(INPUT=rules)
        assert [told(lab, "INPUT", kind) for kind in KINDS.values()] == [errno.EHOSTUNREACH] * 2
