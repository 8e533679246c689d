"""What the figures were made on: processor, cores, kernel. No names, no paths."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path


def describe() -> str:
    """One line, such as 'AMD EPYC, 2 cores at 2.4 GHz, Linux 6.18, mitigations: ...'."""
    said = [f"{_processor()}, {os.cpu_count()} cores", f"Linux {platform.release()}"]
    if (retbleed := _read("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow")) and "Not affected" not in retbleed:
        said.append(f"spec_rstack_overflow: {retbleed}")
    if (spectre := _read("/sys/devices/system/cpu/vulnerabilities/spectre_v2")) and "Not affected" not in spectre:
        said.append(f"spectre_v2: {spectre.partition(';')[0]}")
    return ", ".join(said)


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Bind this process to one CPU, the last that it may use: packets that it puts in are then carried all the way there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spent() -> int:
    """Nanoseconds of CPU that this thread, and the CPU's own thread for packets that were put off, have taken so far.

    Packets that a system call puts in are carried on that call's time, so the difference of two calls says what they cost,
    whatever else the machine does meanwhile: others take turns on the CPU, but theirs are not counted.
    """
    softirqd = _softirqd(max(os.sched_getaffinity(0)))
    return time.thread_time_ns() + (int(softirqd.read_text().split()[0]) if softirqd else 0)


@functools.cache
def _softirqd(cpu: int) -> Path | None:
    """Where ksoftirqd of a CPU says how long it ran; None if it is not to be seen from here."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        if _read(str(comm)) == f"ksoftirqd/{cpu}":
            return comm.with_name("schedstat")
    return None


def _processor() -> str:
    lines = _read("/proc/cpuinfo").splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return found.get("model name", platform.machine())


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return ""
