"""C20: an ICMP error is let through if it is about a connection, and an echo is not."""
from __future__ import annotations

import socket

import pytest

from reconciler.kernel import netns
from tests.services.firewall.frames import MACS, ipv4
from tests.services.firewall.lab import HOOKS, STACK, FirewallLab

pytestmark = pytest.mark.kernel


@pytest.fixture(params=HOOKS)
def lab(request):
    with FirewallLab(hook=request.param) as lab:
        lab.both({"l4proto": "UDP"}, {"l4proto": "ICMP", "conntrack": "RELATED"}, {"l4proto": "ICMP", "action": "DROP"}, default="ACCEPT")
        lab.apply()
        yield lab


def is_refused(lab) -> bool:
    """Whether the host hears that nobody listens at a port."""
    with netns.inside(lab.space("h1")), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((STACK, 50000))
        sock.send(b"?")
        try:
            sock.recv(10)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    raise AssertionError("somebody answered")


def test_an_error_about_a_datagram_comes_back_and_echoes_do_not(lab):
    assert is_refused(lab)
    assert is_refused(lab)
    assert lab.in_fails()
    assert lab.out_fails()


def test_an_error_about_nothing_is_invalid(lab):
    lab.chain("INGRESS", {"l4proto": "ICMP", "conntrack": "INVALID", "action": "DROP"}, default="ACCEPT")
    lab.apply()
    quoted = bytes.fromhex("4500001c000040004011") + bytes(2) + bytes.fromhex("0a000002 0a000001") + bytes.fromhex("c350c351 00080000")
    error = bytes.fromhex("03030000 00000000") + quoted
    frame = MACS + b"\x08\x00" + ipv4(1, 0x0A000001, 0x0A000002, error, None)
    lab.send("h1", frame, frame)
    assert lab.stats("INGRESS")["0"][0] == 2
