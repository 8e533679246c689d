"""C19: who began decides. What the inside begins is answered; what the outside begins is not let in."""
from __future__ import annotations

import pytest

from tests.services.firewall.lab import HOOKS, HOST, STACK, FirewallLab

pytestmark = pytest.mark.kernel

EGRESS = [{"conntrack": "NEW"}, {"conntrack": "ESTABLISHED"}]
INGRESS = [{"conntrack": "NEW", "action": "DROP"}, {"conntrack": "ESTABLISHED"}]


@pytest.fixture(params=HOOKS)
def lab(request):
    with FirewallLab(hook=request.param, accept_established="OFF") as lab:
        lab.chain("INGRESS", *INGRESS)
        lab.chain("EGRESS", *EGRESS)
        lab.apply()
        yield lab


def test_an_echo_is_answered_only_to_the_inside(lab):
    assert lab.in_fails()
    assert lab.out_ok()


def test_a_datagram_opens_the_way_for_its_answers(lab):
    assert lab.udp("h1", None, STACK, 50000, 50000) == (False, False)
    assert lab.udp(None, "h1", HOST, 50000, 50000) == (True, True)
    assert lab.udp("h1", None, STACK, 50000, 50000) == (True, True)  # the same five-tuple
    assert lab.udp("h1", None, STACK, 50001, 50000) == (False, False)


def test_a_connection_that_is_over_is_none(lab):
    """No test waits for a minute: the end of its time is written into the kernel's own row."""
    assert lab.udp(None, "h1", HOST, 50000, 50000) == (True, True)
    (session,) = lab.sessions()
    assert (session["src"], session["dst"], session["l4proto"], session["state"]) == (STACK, HOST, "UDP", "ESTABLISHED")
    assert 175 <= session["eta"] <= 180
    end_all(lab)
    assert lab.sessions() == []
    assert lab.udp("h1", None, STACK, 50000, 50000) == (False, False)


def end_all(lab) -> None:
    import struct

    from reconciler.kernel import maps

    for table in ("connections", "openings"):
        with lab.reader().root.opened(f"cubes/fw/tables/{table}") as fd:
            for key, row in maps.rows(fd, maps.info(fd).spec).items():
                maps.update(fd, key, struct.pack("<Q", 1) + row[8:])
