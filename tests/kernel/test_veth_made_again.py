"""A veth that somebody deleted and an apply made again: neighbours who knew it go on sending, and are heard."""

from __future__ import annotations

import subprocess
from pathlib import Path

from reconciler.kernel import rtnl
from tests.lib.commands import Net, pcn


def macs(net: Net) -> list[str]:
    ends = [(link, None) for link in net.links] + [("eth0", host) for host in net.hosts]
    return [end.netdev.mac for name, host in ends if (end := rtnl.end(name, host)) is not None]


def test_it_has_the_macs_that_it_had_and_no_neighbour_has_to_ask(tmp_path: Path) -> None:
    net = Net(tmp_path)
    pcn("apply", str(net.file), code=0)
    try:
        before = macs(net)
        assert len(set(before)) == 4
        assert all(int(mac[:2], 16) & 3 == 2 for mac in before)
        asked = ["ip", "netns", "exec", net.hosts[0], "ping", "-c", "1", "-W", "2", "10.9.0.2"]
        assert subprocess.run(asked, check=False, capture_output=True).returncode == 0
        subprocess.run(["ip", "link", "delete", "dev", net.links[1]], check=True)
        pcn("apply", str(net.file), code=0)
        assert macs(net) == before
        assert subprocess.run(asked, check=False, capture_output=True).returncode == 0
    finally:
        pcn("delete", net.name, code=0)
