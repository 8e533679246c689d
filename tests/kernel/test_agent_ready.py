"""An agent is ready when what its files say is in force, or when it has said why not: never while it only waits for its turn."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.agent import singleton
from reconciler.engine.confirm import ask
from reconciler.kernel.bpffs import Bpffs
from tests.lib.agent_process import OWNED, AgentProcess, Bench
from tests.lib.lab import Lab

TRIAL = "import sys; from reconciler.cli.main import main; sys.exit(main(['apply', '--try', '600', sys.argv[1]]))"
OTHER = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "other"},
         "spec": {"cubes": [{"name": "o", "service-name": "helloworld"}]}}  # fmt: skip


class Systemd:
    """The socket of sd_notify(3), and all that was said."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.words: list[str] = []

    def heard(self) -> list[str]:
        while True:
            try:
                self.words.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.words


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    found = Systemd(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield found
    found.socket.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Lab(OWNED) as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        lab.spec["cubes"][0]["fdb"]["aging-time"] = 77  # there is something to do
        bench.save()
        yield bench


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_words(agent: AgentProcess, systemd: Systemd, word: str) -> None:
    until(lambda: any(said.startswith("STATUS=") and word in said for said in systemd.heard()))
    said = agent.status()
    assert not said["healthy"]
    assert word in said["problems"][0]
    assert "READY=1" not in systemd.heard()
    assert any(words.startswith("EXTEND_TIMEOUT_USEC=") for words in systemd.heard())
    assert "ready" not in agent.text()


def is_ready(agent: AgentProcess, bench: Bench, systemd: Systemd) -> None:
    agent.until(lambda said: bool(systemd.heard()) and said["healthy"] and said["topologies"] == ["lab"], 20)
    until(lambda: "READY=1" in systemd.heard())
    assert bench.lab.live_cube("br1")["fdb"]["aging-time"] == 77
    assert "ready: in sync: 1 topology" in agent.text()


def test_an_agent_that_finds_the_lock_held_waits_says_so_and_is_ready_when_its_files_are_applied(bench: Bench, systemd: Systemd):
    with Bpffs(bench.lab.root).locked(1):
        agent = bench.agent()
        agent.until(lambda _: bool(systemd.heard()), 20)
        wait_for_words(agent, systemd, "is being changed by process")
    with agent:
        is_ready(agent, bench, systemd)


def test_an_agent_that_finds_a_trial_waits_says_so_and_is_ready_when_its_files_are_applied(bench: Bench, systemd: Systemd, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(OTHER))
    environment = os.environ | {"PCN_BPFFS": bench.lab.root}
    command = [sys.executable, "-c", TRIAL, str(other)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as trial:
        assert trial.stderr is not None
        until(lambda: "On trial" in (trial.stderr.readline() if trial.stderr else ""), 60)
        agent = bench.agent()
        agent.until(lambda _: bool(systemd.heard()), 20)
        wait_for_words(agent, systemd, "an apply is on trial")
        assert ask(bench.lab.root, "back")
    with agent:
        is_ready(agent, bench, systemd)


def test_an_agent_whose_files_cannot_be_applied_is_ready_and_says_why(bench: Bench, systemd: Systemd):
    bench.file.write_text("nonsense")
    with bench.agent() as agent:
        until(lambda: "READY=1" in systemd.heard())
        assert any("this is no topology" in said for said in systemd.heard())
        assert not agent.status()["healthy"]


def test_an_agent_that_is_in_force_and_only_cannot_look_for_a_while_stays_healthy(bench: Bench, systemd: Systemd):
    with bench.agent() as agent:
        agent.until(lambda said: said["healthy"])
        with Bpffs(bench.lab.root).locked(5):
            time.sleep(1.5)
            assert singleton.ask(bench.lab.root)["healthy"]
