"""The commands as processes, and a small topology to use them on: two hosts and a hello-world cube between them."""
from __future__ import annotations

import itertools
import json
import os
import pty
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft7Validator

from tests.lib import residue

BIN = Path(sys.executable).parent
SCHEMA = Draft7Validator(json.loads(files("reconciler").joinpath("present", "present.schema.json").read_text()))
_serial = itertools.count(1)


class Net:
    """A topology of two hosts and a hello-world cube between them, with names of its own, as a file that can be edited."""

    def __init__(self, directory: Path) -> None:
        self.prefix = residue.prefix(next(_serial))
        self.file = directory / "net.yaml"
        self.name = f"{self.prefix}-net"
        self.hosts, self.links = ([f"{self.prefix}-{kind}{number}" for number in (1, 2)] for kind in "hv")
        self.write()

    def write(self, action: str = "FORWARD", peer: str | None = None, more: str = "", file: Path | None = None) -> Path:
        links = "\n".join(
            f"    - {{name: {link}, kind: veth, peer: {{name: eth0, netns: {host}, addresses: [10.9.0.{number}/24]}}}}"
            for number, (link, host) in enumerate(zip(self.links, self.hosts, strict=True), 1)
        )
        (file or self.file).write_text(f"""\
apiVersion: polycube.network/v1
kind: Topology
metadata: {{name: {self.name}}}
spec:
  namespaces: [{", ".join(self.hosts)}]
  links:
{links}
  cubes:
    - name: {self.prefix}-hw
      service-name: helloworld
      action: {action}
      ports: [{{name: p1, peer: {self.links[0]}}}, {{name: p2, peer: {peer or self.links[1]}}}]
{more}""")
        return file or self.file


def pcn(*arguments: str, code: int | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    result = subprocess.run([str(BIN / "pcn"), *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=60)
    if code is not None:
        assert result.returncode == code, f"{arguments}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def document(*arguments: str, code: int) -> dict:
    """What a command prints in JSON, which is always as its schema says."""
    result = pcn(*arguments, "-o", "json", code=code)
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert [error.message for error in SCHEMA.iter_errors(found)] == []
    return found


def counts(found: dict) -> tuple[int, int, int]:
    return tuple(found["summary"][name] for name in ("program_loads", "map_writes", "link_changes"))


def with_fault(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own in which something goes wrong."""
    script = f"import sys\n{code}\nfrom reconciler.cli.main import main\nsys.exit(main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


def live(net: Net) -> str:
    return pcn("show", code=0).stdout


def ping(net: Net) -> None:
    """One answered packet; links that have just come up lose the first ones."""
    command = ["ip", "netns", "exec", net.hosts[0], "ping", "-c1", "-W1", "10.9.0.2"]
    wait_until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def on_a_terminal(*arguments: str, command: str = "pcn", **environment: str) -> str:
    """What a command shows to somebody who sits at a terminal."""
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | environment
    with subprocess.Popen([str(BIN / command), *arguments], stdout=theirs, stderr=theirs, stdin=theirs, env=variables) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        process.wait()
    os.close(ours)
    return shown.decode()
