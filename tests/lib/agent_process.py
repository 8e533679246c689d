"""An agent as a process of its own, and a stream of packets whose losses and gaps can be counted."""
from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.agent import singleton
from reconciler.kernel import netns
from tests.lib.lab import Lab

OWNED = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: br1, service-name: simplebridge, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}], fdb: {aging-time: 120}}
"""
ROOT = Path(__file__).resolve().parents[2]
_SO_RCVBUFFORCE = 33
_MAIN = "import sys; from reconciler.cli.agent import main; sys.exit(main())"


class AgentProcess:
    """`pcn-agent` in the network namespace of the caller, looking after `root`; its log is in `log`."""

    def __init__(
        self, root: str, log: Path, *arguments: str, env: dict[str, str] | None = None, patience: float = 20.0
    ) -> None:
        self.root, self.log, self.patience = root, log, patience
        environment = os.environ | {"PCN_BPFFS": root} | (env or {})
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, "-c", _MAIN, *arguments], cwd=ROOT, env=environment,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # fmt: skip

    def __enter__(self) -> AgentProcess:
        self.until(lambda said: bool(said["looks"] or said["problems"]), self.patience)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def status(self) -> dict[str, Any]:
        found = singleton.ask(self.root)
        assert found is not None, f"the agent does not answer\n{self.text()}"
        return found

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 5.0) -> float:
        """Wait until the agent's status fulfils the condition; the seconds that it took."""
        began = time.monotonic()
        while True:
            said = singleton.ask(self.root, 1.0)
            if said is not None and condition(said):
                return time.monotonic() - began
            assert self.process.poll() is None, f"the agent ended\n{self.text()}"
            assert time.monotonic() - began < seconds, f"not within {seconds} s: {json.dumps(said, indent=1)}\n{self.text()}"
            time.sleep(0.02)

    def text(self) -> str:
        return self.log.read_text()

    def poll(self) -> None:
        """SIGHUP, and wait until it has looked."""
        before = self.status()["looks"]
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda said: said["looks"] > before)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def memory(self) -> int:
        """KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Stream:
    """Numbered datagrams from one namespace to an address in another, `rate` a second, until it is closed."""

    def __init__(self, source: str | None, target: str | None, address: str, rate: float = 500.0) -> None:
        self._period, self._ended = 1 / rate, False
        with netns.inside(target):
            self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)  # a busy machine shall not look like a lossy cube
        self._in.bind((address, 0))
        self._in.settimeout(0.1)
        with netns.inside(source):
            self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._address = self._in.getsockname()
        self.sent: list[float] = []
        self.arrived: dict[int, float] = {}
        self._threads = [threading.Thread(target=self._send, daemon=True), threading.Thread(target=self._receive, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ended:
            try:
                self._out.sendto(struct.pack("!I", len(self.sent)), self._address)
            except OSError:  # no route for a moment: it counts as lost
                pass
            self.sent.append(time.monotonic())
            due = max(due + self._period, time.monotonic() - self._period)  # what was missed is not made up for in a burst
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while True:
            try:
                (number,) = struct.unpack("!I", self._in.recv(64))
                self.arrived[number] = time.monotonic()
            except TimeoutError:
                if self._ended:
                    return

    def __enter__(self) -> Stream:
        deadline = time.monotonic() + 5
        while not self.arrived and time.monotonic() < deadline:
            time.sleep(0.01)
        self.first = max(self.arrived, default=0)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop sending, and receive what is still on its way."""
        self._ended = True
        for thread in self._threads:
            thread.join()
        self._in.close()
        self._out.close()

    def lost(self) -> int:
        """Datagrams that did not arrive since the first one did."""
        assert self._ended
        return sum(number not in self.arrived for number in range(self.first, len(self.sent)))


    def losses(self) -> list[tuple[float, float, int]]:
        """Runs of datagrams that did not arrive: when the first and the last was sent (`time.monotonic`), and how many."""
        found: list[tuple[float, float, int]] = []
        for number in range(self.first, len(self.sent)):
            if number not in self.arrived:
                in_run = number - 1 not in self.arrived and bool(found)
                start, count = (found[-1][0], found.pop()[2]) if in_run else (self.sent[number], 0)
                found.append((start, self.sent[number], count + 1))
        return found

    def losses_after(self, began: dict[str, float]) -> dict[str, int]:
        """Datagrams that did not arrive, by what was begun last before they were sent."""
        found: dict[str, int] = {}
        for at, _, count in self.losses():
            last = max((name for name in began if began[name] <= at), key=lambda name: began[name], default="")
            found[last] = found.get(last, 0) + count
        return found


class Bench:
    """A lab whose topology is a file that an agent watches."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab, self.directory, self.log = lab, directory / "files", directory / "log"
        self.directory.mkdir()
        self.file = self.directory / "lab.yaml"

    def save(self) -> None:
        """As an editor does: a new file, renamed over the old one."""
        draft = self.directory / ".lab.yaml.new"
        draft.write_text(json.dumps(self.lab.document().data))
        draft.rename(self.file)

    def agent(self, *options: str) -> AgentProcess:
        return AgentProcess(self.lab.root, self.log, *options, str(self.directory))

    def agent_of(self, path: Path) -> AgentProcess:
        return AgentProcess(self.lab.root, self.log, str(path))

    def stream(self, rate: float = 500.0) -> Stream:
        return Stream(self.lab.space("h1"), self.lab.space("h2"), "10.0.0.2", rate)
