"""Packets that two CPUs carry at once over one way, each of flows of its own, as a netdev with two queues hands them out."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from benchmarks import machine
from benchmarks.bed import Flow
from benchmarks.compare import Turn


def turner(flows: Sequence[Flow], packets: int) -> Turn:
    """A turn: nanoseconds of CPU a packet, from generator to counter, of so many packets on each CPU. Raises as `carry`."""

    def turn() -> float:
        found = carry(flows, packets, range(len(flows)))
        return sum(found) / len(found)

    return turn


def carry(flows: Sequence[Flow], packets: int, places: Sequence[int]) -> list[float]:
    """Nanoseconds of CPU a packet of each of these flows, which begin at the same time on the CPUs of these places. Flows may
    have a counter in common. Raises RuntimeError if there are fewer CPUs, or more than one packet of 100 is lost."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) <= max(places):
        raise RuntimeError(f"this takes {max(places) + 1} CPUs, and there is {len(cpus)}")
    spent: dict[int, int] = {}
    start, before = threading.Barrier(len(flows)), _arrived(flows)

    def put(number: int) -> None:
        os.sched_setaffinity(0, {cpus[places[number]]})  # the thread's own, and not the process's
        start.wait(60)
        began = machine.spent()
        flows[number].put(packets)
        spent[number] = machine.spent() - began

    threads = [threading.Thread(target=put, args=(number,)) for number in range(len(flows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived, sent = _arrived(flows) - before, packets * len(flows)
    if len(spent) < len(flows) or arrived < 0.99 * sent:
        raise RuntimeError(f"of {sent} packets {arrived} arrived")
    return [spent[number] / packets for number in range(len(flows))]


def _arrived(flows: Sequence[Flow]) -> int:
    return sum(counter.value() for counter in {flow.counter for flow in flows})
