"""Filters in tcpdump's syntax, compiled to classic BPF by libpcap in a child process (`libpcap_child`)."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from reconciler.compiler.libpcap_child import LIBRARIES, NOT_THERE, REFUSED
from reconciler.errors import FeatureMissing

MOST_BYTES = 8192  # of a text
_SECONDS = 10


def there() -> bool:
    """Whether libpcap is installed."""
    return any(_can_load(name) for name in LIBRARIES)


def _can_load(name: str) -> bool:
    with suppress(OSError):
        return ctypes.CDLL(name) is not None
    return False


def compile_filter(text: str) -> bytes:
    """A filter's classic BPF, 8 bytes an instruction, for Ethernet frames. Raises ValueError with libpcap's message for an
    invalid text, and FeatureMissing where there is no libpcap."""
    said = text.encode()
    if len(said) > MOST_BYTES or b"\0" in said:
        raise ValueError(f"no filter of at most {MOST_BYTES} bytes")
    child = [sys.executable, "-I", "-S", str(Path(__file__).with_name("libpcap_child.py"))]
    try:
        done = subprocess.run(child, input=said, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError("a filter that takes too long to compile") from None
    if done.returncode == NOT_THERE:
        raise FeatureMissing("filters of packets need libpcap: apt-get install libpcap0.8")
    if done.returncode == REFUSED:
        raise ValueError(f"not a filter: {done.stderr.decode(errors='replace')}")
    if done.returncode or not done.stdout:
        raise ValueError("a filter that libpcap cannot compile within its limits")
    return done.stdout
