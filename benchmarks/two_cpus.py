"""Packets that two CPUs carry at once over one way, each of flows of its own, as a netdev with two queues hands them out."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from benchmarks import machine
from benchmarks.bed import Flow
from benchmarks.compare import Turn


def turner(flows: Sequence[Flow], packets: int) -> Turn:
    """A turn: nanoseconds of CPU a packet, from generator to counter, of so many packets on each CPU. The flows have one counter.
    Raises RuntimeError if there are fewer CPUs than flows, or more than one of 100 packets is lost."""
    cpus = sorted(os.sched_getaffinity(0))[: len(flows)]
    if len(cpus) < len(flows):
        raise RuntimeError(f"this takes {len(flows)} CPUs, and there is {len(cpus)}")

    def turn() -> float:
        spent: list[int] = []
        start, before = threading.Barrier(len(flows)), flows[0].arrived()
        threads = [
            threading.Thread(target=_carry, args=(flow, packets, cpu, start, spent))
            for flow, cpu in zip(flows, cpus, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        arrived, sent = flows[0].arrived() - before, packets * len(flows)
        if len(spent) < len(flows) or arrived < 0.99 * sent:
            raise RuntimeError(f"of {sent} packets {arrived} arrived")
        return sum(spent) / arrived

    return turn


def _carry(flow: Flow, packets: int, cpu: int, start: threading.Barrier, spent: list[int]) -> None:
    """One thread's share; the CPU is its own, and not the process's."""
    os.sched_setaffinity(0, {cpu})
    start.wait(60)
    began = machine.spent()
    flow.put(packets)
    spent.append(machine.spent() - began)
