"""Requests and answers over one TCP connection, by sockperf: both processes on one CPU, one request at a time."""

from __future__ import annotations

import re

from benchmarks.bed import Bed
from benchmarks.compare import Turn
from tests.lib.netns_topology import run_in

_LATENCY = re.compile(r"Latency is ([\d.]+) usec")
_PORT = 8080


def requester(bed: Bed, client: str, server: str, *, seconds: float = 1.0, address: str = "", port: int = _PORT) -> Turn:
    """A turn: requests a second, of 64 bytes. `address` and `port`: where the client finds the server, if not at its own.

    Server and client run where this process is bound to. The turn waits for the first connection: some bridges learn late.
    """
    place = address or bed.address(server)
    bed.world.spawn(bed.space(server), ["sockperf", "server", "--tcp", "-i", bed.address(server), "-p", str(_PORT)])

    def turn() -> float:
        argv = ["sockperf", "ping-pong", "--tcp", "-i", place, "-p", str(port), "-m", "64", "-t", f"{max(1, round(seconds))}"]
        said = run_in(bed.space(client), argv, timeout=20 + seconds)
        found = _LATENCY.search(said)
        if found is None:
            raise RuntimeError(f"sockperf says nothing of latency:\n{said}")
        return 1e6 / (2 * float(found.group(1)))

    return turn
