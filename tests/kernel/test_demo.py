"""The demo, as somebody runs it who sees pcn for the first time."""
from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ["graph", "Applied: ", "+ wall", "drop-pkts", '"program_loads": 0', '"map_writes": 1', " 0% packet loss", "pcn drift", "Nothing is left."]


@pytest.mark.slow
def test_the_demo_shows_what_it_promises_and_leaves_nothing() -> None:
    """The test of everything that is left is the usual one: the demo makes its hosts in this run's own network."""
    began = time.monotonic()
    done = subprocess.run([ROOT / "scripts" / "demo"], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert time.monotonic() - began < 90
    assert [words for words in SHOWN if words not in done.stdout] == []
