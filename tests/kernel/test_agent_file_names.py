"""A file may have any bytes for a name: none of them stops the agent, which goes on with what the file says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.lib.agent_process import OWNED, Bench
from tests.lib.lab import Lab


@pytest.fixture
def bench(tmp_path):
    with Lab(OWNED) as lab:
        lab.apply()
        yield Bench(lab, tmp_path)


def test_an_agent_watches_files_whose_names_and_directories_are_no_utf_8(bench, tmp_path, monkeypatch):
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfefiles"))
    home.mkdir()
    bench.directory, bench.file = home, home / os.fsdecode(b"lab\xff.yaml")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        bench.save()
        (home / os.fsdecode(b"broken\xfe.yaml")).write_text("nonsense")
        metrics = tmp_path / "metrics"
        with bench.agent("--metrics", f"unix:{metrics}") as agent:
            agent.until(lambda said: said["topologies"] and not said["healthy"])
            assert "broken\\udcfe.yaml" in bench.log.read_text()
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(str(metrics))
                asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert b" 200 " in asking.makefile("rb").readline()
            (home / os.fsdecode(b"broken\xfe.yaml")).unlink()
            agent.until(lambda said: said["healthy"])
            bench.lab.cube("br1")["fdb"]["aging-time"] = 77
            bench.save()
            agent.until(lambda said: bench.lab.live_cube("br1")["fdb"]["aging-time"] == 77)
        assert b"READY=1" in notified.recv(4096) + notified.recv(4096)
