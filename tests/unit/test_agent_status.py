"""What an agent says of itself, as text."""

from __future__ import annotations

import time

from reconciler.agent.status import render, summary


def test_what_waits_for_a_netdev_is_called_a_port_or_an_attachment() -> None:
    said = {
        "healthy": True, "pid": 7, "root": "/sys/fs/bpf/pcn", "started": time.time(), "memory_kib": 1024, "mode": "heal", "problems": [],
        "topologies": ["a"], "in_no_file": [], "files": [], "reconciles": {"applied": 1, "healed": 0, "failed": 0},
        "drift": {"healed": 0}, "last": None, "slow_path": None,
        "waiting": [{"port": "br1:p1", "netdev": "eth8"}, {"port": ":", "netdev": "eth9"}],
    }  # fmt: skip
    assert render(said).splitlines()[2:4] == ["port br1:p1 waits for eth8", "an attachment waits for eth9"]
    assert summary(said) == "in sync: 1 topology, 0 files watched, 2 waiting for a netdev"
