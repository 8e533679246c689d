"""Traffic with an edit a second, for as long as asked: nothing may be lost, and the agent's memory must stay flat.

    sudo .venv/bin/python benchmarks/soak.py --minutes 30
"""
from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agentlab import OWNED, AgentProcess, Bench
from tests.conformance.lab import Lab


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=200.0, help="packets a second")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Lab(OWNED) as lab:
        bench = Bench(lab, Path(directory))
        bench.save()
        lab.apply()
        with bench.agent() as agent:
            run(bench, agent, args.minutes * 60, args.rate)


def run(bench: Bench, agent: AgentProcess, seconds: float, rate: float) -> None:
    began, memory, edits, sent, lost = time.monotonic(), [], 0, 0, 0
    print("minute  RSS KiB  CPU %  applied  sent      lost  dropped by the machine's full backlog", flush=True)
    while time.monotonic() - began < seconds:
        cpu, minute, overflows = agent.cpu(), time.monotonic(), backlog_overflows()
        with bench.stream(rate) as stream:
            while time.monotonic() - minute < min(60.0, seconds):
                edits += 1
                edit(bench, edits)
                time.sleep(1.0)
            stream.close()
        sent, lost = sent + len(stream.sent), lost + stream.lost()
        memory.append(agent.memory())
        used = (agent.cpu() - cpu) / (time.monotonic() - minute) * 100
        applied = agent.status()["reconciles"]["applied"]
        print(f"{(time.monotonic() - began) / 60:6.1f} {memory[-1]:8} {used:6.1f} {applied:8} {sent:9} {lost:5}"
              f" {backlog_overflows() - overflows:8}", flush=True)
    settled = memory[len(memory) // 4 :]
    half = len(settled) // 2 or 1
    growth = statistics.mean(settled[-half:]) - statistics.mean(settled[:half])
    print(json.dumps({"edits": edits, "sent": sent, "lost": lost, "rss_first_kib": memory[0], "rss_last_kib": memory[-1],
                      "growth_kib": round(growth), "status": agent.status()["reconciles"]}))


def backlog_overflows() -> int:
    """Packets that the host dropped since boot because a CPU's queue was full: other traffic on the same machine."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())


def edit(bench: Bench, number: int) -> None:
    """One of: a value, a static row, a log level (which swaps the program), a port of its own; every tenth is broken."""
    cube = bench.lab.cube("br1")
    match number % 4:
        case 0:
            cube["fdb"]["aging-time"] = 60 + number % 200
        case 1:
            cube["fdb"]["entry"] = [{"address": f"02:00:00:00:00:{number % 200 + 16:02x}", "port": "p1"}]
        case 2:
            cube["loglevel"] = "DEBUG" if cube.get("loglevel") != "DEBUG" else "INFO"
        case 3:
            cube["ports"] = cube["ports"][:2] + ([{"name": "p3"}] if len(cube["ports"]) == 2 else [])
    bench.save()
    if number % 10 == 0:
        time.sleep(0.4)
        bench.file.write_text(bench.file.read_text().replace("aging-time", f"aging-{number}"))
        time.sleep(0.6)
        bench.save()


if __name__ == "__main__":
    main()
