"""A tap between two cubes under full load: does it lose a packet, and is every one that it wants in the file or counted?

    .venv/bin/python -m benchmarks.tap [--packets N] [--runs N] [--hook TC|XDP_DRV]

Runs take turns: without a tap, with one that wants nothing that comes, with one that wants one packet of a thousand. A run puts
packets in as fast as one CPU carries them, through two switches that are one program; one of 1,000 goes to another port.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import flows, machine
from benchmarks.bed import Bed, Flow
from reconciler.kernel import netns

_FLOWS = 1000  # of which one is wanted
_FILTERS = {"none": "", "nothing": "udp dst port 4000", "1 in 1,000": "udp src port 1500"}
_PORTS = [{"name": "on", "peer": "s2:on"}, {"name": "on", "peer": "s1:on"}]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--hook", default="XDP_DRV")
    args = parser.parse_args()
    wrong = 0
    with Bed(["a", "b"]) as bed, machine.pinned():
        ports = [[_PORTS[number], {"name": "h", "peer": host}] for number, host in enumerate("ab")]
        kind = {"service-name": "simplebridge", "type": args.hook}
        bed.apply({"cubes": [{"name": f"s{number}", **kind, "ports": each} for number, each in enumerate(ports, 1)]})
        bed.say("a")
        bed.say("b")
        frame = flows.frame(bed, "a", "b", bed.address("b"), 2000)
        into = "TC" if args.hook == "TC" else "XDP"
        with flows.flows(bed, "a", "b", frame, _FLOWS, into=into) as flow, netns.inside(bed.middle):
            for run in range(args.runs):
                for name, text in _FILTERS.items():
                    wrong += not _turn(bed, flow, name, text, args.packets, run)
    return int(bool(wrong))


def _turn(bed: Bed, flow: Flow, name: str, text: str, packets: int, run: int) -> bool:
    """One run, told in a line; whether the books balance."""
    with tempfile.TemporaryDirectory() as directory:
        file, said = Path(directory) / "a.pcapng", ""
        with _tap(bed, text, file) as tap:
            before, began, spent = flow.arrived(), time.monotonic(), machine.spent()
            flow.put(packets)
            took, spent = time.monotonic() - began, machine.spent() - spent
            lost, wanted = packets - (flow.arrived() - before), packets // _FLOWS
            if tap is not None:
                tap.send_signal(signal.SIGTERM)
                said = tap.communicate(timeout=120)[1]
        captured, dropped = map(int, re.findall(r"(\d+) packets? captured, (\d+) lost", said)[0]) if said else (0, 0)
        read = _read(file) if said else 0
    fine = read == captured and (captured + dropped == wanted if name == "1 in 1,000" else captured == 0)
    rate = packets / took / 1e6
    told = f"captured {captured:6} of {wanted}, no room {dropped}, in the file {read}{'' if fine else '  WRONG'}"
    print(f"{run:2} {name:11} {rate:5.2f} M/s {spent / packets:5.0f} ns of CPU each  lost {lost:6}  {told}", flush=True)
    return fine


@contextlib.contextmanager
def _tap(bed: Bed, text: str, file: Path) -> Iterator[subprocess.Popen[str] | None]:
    """A tap between the switches, on the other CPU."""
    if not text:
        yield None
        return
    command = [str(Path(sys.executable).parent / "pcn"), "capture", "s1:on", text, "-w", str(file), "--bpffs", bed.options.root]
    others = os.sched_getaffinity(0)
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {0}))  # noqa: PLW1509
    assert child.stderr is not None
    words = child.stderr.readline()
    os.sched_setaffinity(0, others)
    if "capturing" not in words:
        raise RuntimeError(words + child.stderr.read())
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def _read(file: Path) -> int:
    done = subprocess.run(["tcpdump", "-n", "-r", str(file)], capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main())
