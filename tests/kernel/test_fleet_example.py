"""The three sites of examples/fleet, as namespaces that each have an agent, and a wire between them: VLANs across VXLAN tunnels."""
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from reconciler.kernel import netns
from tests.lib.fleet import FleetHost
from tests.lib.netns_topology import run_in
from tests.lib.packets import ping

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fleet"
SITES = [f"site-{number}" for number in (1, 2, 3)]


@pytest.fixture
def sites() -> Iterator[list[str]]:
    """Namespaces with an address each on one wire, which is a Linux bridge."""
    run_in(None, ["ip", "link", "add", "fleet-wan", "type", "bridge"])
    run_in(None, ["ip", "link", "set", "fleet-wan", "up"])
    for number, site in enumerate(SITES, 1):
        run_in(None, ["ip", "netns", "add", site])
        run_in(None, ["ip", "link", "add", f"fleet-wan{number}", "type", "veth", "peer", "name", "wan", "netns", site])
        run_in(None, ["ip", "link", "set", f"fleet-wan{number}", "master", "fleet-wan", "up"])
        run_in(site, ["ip", "link", "set", "lo", "up"])
        run_in(site, ["ip", "address", "add", f"192.0.2.{number}/24", "dev", "wan"])
        run_in(site, ["ip", "link", "set", "wan", "up"])
    yield SITES
    for site in SITES:
        run_in(None, ["ip", "netns", "del", site])
    run_in(None, ["ip", "link", "del", "fleet-wan"])


def reaches(space: str, address: str, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ping(space, address, 1, timeout=1.0):
            return True
    return False


@pytest.mark.timeout(240)
def test_vlans_go_across_three_sites_and_the_router_of_one_joins_them(sites: list[str], tmp_path: Path, own_root: str) -> None:
    with ExitStack() as stack:
        for site in sites:
            with netns.inside(site):
                host = FleetHost(site, own_root, tmp_path, "", str(EXAMPLE))
            stack.enter_context(closing(_Inside(site, host)))
            host.agent.until(lambda said: said["healthy"], 60)
            assert host.agent.status()["topologies"] == [site]
        assert reaches("desk2", "10.0.10.3")  # the same VLAN, over two tunnels
        assert reaches("phone3", "10.0.20.2")
        assert reaches("desk2", "10.0.10.254")
        assert reaches("desk2", "10.0.20.3")  # the other VLAN, by the router on site-1
        assert ping("desk2", "10.0.10.3", 1, size=1400) == 1


class _Inside:
    """A host that is taken down from inside its namespace, where its netdevs are."""

    def __init__(self, site: str, host: FleetHost) -> None:
        self._site, self._host = site, host

    def close(self) -> None:
        with netns.inside(self._site):
            self._host.close()
