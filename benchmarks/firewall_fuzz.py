"""The firewall's programs against the reference model, for as long as it takes.

    sudo .venv/bin/python -m benchmarks.firewall_fuzz [--sets 1000] [--packets 1000] [--largest 5000] [--hook TC] [--seed 1]
                                                      [--from 0] [--wire]

With --wire the packets go from one host to another through the firewall, else each through BPF_PROG_TEST_RUN.

Every set of rules is loaded over the one before, as an edit. Verdicts, counters and connections must equal the model's; a
difference is printed with what reproduces it.
"""
from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections.abc import Iterator

from tests.lib.sandbox import enter_sandbox
from tests.services.firewall.fuzz import differences
from tests.services.firewall.lab import FirewallLab
from tests.services.firewall.machine import Machine
from tests.services.firewall.wire import WireLab, WireMachine


@contextlib.contextmanager
def in_test_runs(hook: str) -> Iterator[Machine]:
    with FirewallLab(hook=hook) as lab:
        lab.firewall["loglevel"] = "OFF"
        lab.firewall["set"] = [{"name": "s0"}]
        lab.both({"src-set": "s0"}, default="REJECT")  # so that the programs that answer, and that look for sets, are there
        lab.apply()
        with Machine(lab, "fw") as machine:
            yield machine


@contextlib.contextmanager
def on_a_wire(hook: str) -> Iterator[Machine]:
    with WireLab(hook=hook) as lab, WireMachine(lab, "fw") as machine:
        yield machine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--packets", type=int, default=1000)
    parser.add_argument("--largest", type=int, default=5000, help="rules in a set")
    parser.add_argument("--hook", default="TC", choices=["TC", "XDP_SKB", "XDP_DRV"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first set that is tried")
    parser.add_argument("--wire", action="store_true")
    args = parser.parse_args()
    enter_sandbox()
    rng, wrong, refused, began = random.Random(args.seed), 0, 0, time.monotonic()
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(on_a_wire(args.hook) if args.wire else in_test_runs(args.hook))
        for number in range(args.first + args.sets):
            size, seed = round(args.largest ** rng.random()), rng.random()
            if number < args.first:
                continue
            try:
                found = differences(machine, seed, size, args.packets)
            except ValueError as error:
                refused += 1
                print(f"set {number} ({size} rules, seed {seed}) is refused: {error}")
                continue
            wrong += bool(found)
            for line in found[:5]:
                print(f"set {number} ({size} rules, seed {seed}): {line}")
            if number % 100 == 99:
                print(f"{number + 1} sets, {wrong} with differences, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{args.sets} sets of up to {args.largest} rules, {args.packets} packets each:")
    print(f"{wrong} with differences, {refused} refused")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
