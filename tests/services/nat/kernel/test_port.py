"""A nat on a router's port, with real hosts, over IPv6; tests/conformance/test_c22.py is for IPv4."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lib.packets import tcp_exchange, udp_exchange
from tests.services.nat.lab import NatLab

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["TC", "XDP_DRV"])
def lab(request: pytest.FixtureRequest) -> Iterator[NatLab]:
    with NatLab(hook=request.param) as lab:
        lab.apply()
        lab.reach("h1", "10.0.2.1")
        yield lab


def test_ipv6_is_masqueraded_with_the_ports_address(lab: NatLab) -> None:
    lab.rules(masquerade={"enabled": True})
    lab.reach("h1", "fd02::1")
    for exchange in (tcp_exchange, udp_exchange):
        found = exchange(lab.space("h1"), lab.space("h2"), "fd02::1", 60123)
        assert found is not None
        assert (found.reply, found.source[0]) == (b"question", "fd02::fe")
