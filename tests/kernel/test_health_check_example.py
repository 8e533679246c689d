"""The example with health checks, as it is: its client is served by whoever is there, and refused when nobody is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.document.load import load
from tests.faults.bench import Bench
from tests.lib.agent_process import AgentProcess
from tests.lib.commands import pcn
from tests.lib.netns_topology import run_in
from tests.lib.servers import Server

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "how-to" / "health-checks.yaml"
SERVERS = {"hcweb1": "10.7.2.1", "hcweb2": "10.7.2.2"}
_ASK = (
    "import urllib.request, sys\n"
    "try: print(urllib.request.urlopen('http://10.97.0.80/', timeout=1).read().decode())\n"
    "except OSError as error: print(type(getattr(error, 'reason', error)).__name__)\n"
)


def asked() -> str:
    """Which server answers a new connection, or what went wrong instead."""
    return run_in("hcclient", ["python3", "-c", _ASK]).strip()


def serve(space: str) -> Server:
    return Server(space, SERVERS[space], 8080, f"HTTP/1.1 200 OK\r\nContent-Length: {len(space)}\r\n\r\n{space}".encode())


def within(seconds: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


@pytest.mark.serial
def test_the_client_is_served_by_whoever_is_there(own_root: str, tmp_path: Path) -> None:
    bench, (document,) = Bench(own_root), load([str(EXAMPLE)])
    try:
        pcn("apply", str(EXAMPLE), code=0)
        with serve("hcweb1") as first, serve("hcweb2"), AgentProcess(own_root, tmp_path / "log", str(EXAMPLE)):
            within(60, lambda: {asked() for _ in range(6)} == set(SERVERS))
            first.close()
            within(60, lambda: {asked() for _ in range(6)} == {"hcweb2"})
            with serve("hcweb1"):
                within(60, lambda: {asked() for _ in range(6)} == set(SERVERS))
    finally:
        bench.delete(document.data)
