"""A switch of two ports with a capture at one of them, and the command that reads it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.lib.commands import BIN
from tests.lib.lab import Lab


def lab_of(hook: str, *more: dict[str, Any], cube: dict[str, Any] | None = None) -> Lab:
    cap = {"name": "cap", "service-name": "packetcapture", "capture": "BIDIRECTIONAL", **(cube or {})}
    switch = {"name": "br", "service-name": "simplebridge",
              "ports": [{"name": "p1", "peer": "v1", "tcubes": ["cap"]}, {"name": "p2", "peer": "v2"}]}  # fmt: skip
    return Lab(json.dumps({"hosts": {"h1": "10.0.0.1/24", "h2": "10.0.0.2/24"}, "cubes": [switch, cap, *more]}), hook=hook)


@contextlib.contextmanager
def capturing(lab: Lab, *words: str, stdout: Any = None) -> Iterator[subprocess.Popen[str]]:
    """`pcn capture` as a process, until it reads; it is stopped, and has ended, at the end."""
    child = subprocess.Popen([str(BIN / "pcn"), "capture", *words, "--bpffs", lab.root], stdout=stdout, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait(30)
        if child.stderr is not None:
            child.stderr.close()


def begun(child: subprocess.Popen[str]) -> str:
    """Its first words, after which it reads."""
    assert child.stderr is not None
    return child.stderr.readline()


def ended(child: subprocess.Popen[str]) -> str:
    """Its last words."""
    child.terminate()
    child.wait(30)
    assert child.stderr is not None
    return child.stderr.read()


def tcpdump(file: Path | str, *words: str) -> list[str]:
    """What tcpdump reads in a file, a line a packet."""
    done = subprocess.run(["tcpdump", "-n", "-r", str(file), *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.splitlines()


def eventually(sure: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not sure():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sizes(paths: Sequence[str]) -> list[int]:
    return [os.path.getsize(path) for path in paths]
