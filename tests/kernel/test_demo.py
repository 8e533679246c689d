"""The demo, as somebody runs it who sees pcn for the first time."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ["graph", "Applied: ", "+ wall", "drop-pkts", '"program_loads": 0', '"map_writes": 2', " 0% packet loss", "pcn drift", "Nothing is left."]


@pytest.mark.slow
def test_the_demo_shows_what_it_promises_and_leaves_nothing() -> None:
    """The test of everything that is left is the usual one: the demo makes its hosts in this run's own network."""
    began = time.monotonic()
    done = subprocess.run([ROOT / "scripts" / "demo"], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert time.monotonic() - began < 90
    assert [words for words in SHOWN if words not in done.stdout] == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_ends_with_the_page_when_asked_to() -> None:
    """It says where the page is, which is there until Enter, and shows what the demo made."""
    linkwrite.set_link("lo", up=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"PCN_DEMO_PORT": str(port)}
    demo = subprocess.Popen(
        [ROOT / "scripts" / "demo", "--web"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert demo.stdout is not None
    try:
        said = []
        for line in demo.stdout:
            said.append(line)
            if line.startswith("Press Enter"):
                break
        assert f"The page is at http://localhost:{port}/" in said[-2], said[-20:]
        with urllib.request.urlopen(f"http://localhost:{port}/web/graph", timeout=60) as answer:
            assert {cube["name"] for cube in json.load(answer)["cubes"]} == {"br1", "wall"}
        with urllib.request.urlopen(f"http://localhost:{port}/", timeout=60) as answer:
            assert b"<title>pcn</title>" in answer.read()
        rest = demo.communicate("\n", timeout=120)[0]
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait(60)
    assert demo.returncode == 0, rest
    assert "Nothing is left." in rest
