"""The agent's status: as plain data, and as a few lines of text."""
from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from reconciler.agent.consent import problem_of
from reconciler.agent.controller import OBSERVE, Controller
from reconciler.agent.files import File, Files
from reconciler.live.applied import name_of

FORMAT_VERSION = "1.0"


def status(files: Files, healer: Controller, started: float, slow_path: Mapping[str, Any] | None) -> dict[str, Any]:
    """Times are seconds since the epoch. `healthy`: the kernel is in sync with the files, and with what was applied."""
    problems = _problems(files, healer)
    tally = healer.tally
    return {
        "format_version": FORMAT_VERSION,
        "pid": os.getpid(),
        "root": healer.options.root,
        "mode": healer.mode,
        "prune": healer.prune,
        "started": started,
        "healthy": not problems,
        "problems": problems,
        "watched": list(files.arguments),
        "files": [
            {
                "path": path,
                "digest": file.digest,
                "state": _state(file, healer),
                "applied_digest": file.good_digest,
                "topologies": sorted(map(name_of, file.good)),
                "problem": file.problem,
            }
            for path, file in sorted(files.files.items())
        ],
        "topologies": sorted(healer.applied),
        "in_no_file": sorted(healer.applied.keys() - healer.wanted.topologies) if not healer.problem else [],
        "trials": sorted(healer.trials.running),
        "waiting": [{"port": f"{cube}:{port}", "netdev": netdev} for cube, port, netdev in healer.waiting],
        "last": healer.last,
        "last_success": healer.last_success,
        "reconciles": dict(tally.results),
        "done": {"program_loads": tally.program_loads, "map_writes": tally.map_writes, "link_changes": tally.link_changes},
        "drift": {"now": list(healer.drift), "healed": tally.drift_healed, "last": healer.healed[-5:]},
        "pending": list(healer.pending),
        "looks": tally.polls,
        "slow_path": dict(slow_path) if slow_path is not None else None,
        "memory_kib": resident(),
    }


def _problems(files: Files, healer: Controller) -> list[str]:
    problems = [file.problem for file in files.files.values() if file.problem]
    problems += [f"{files.absent} is not there"] if files.absent else []
    problems += [healer.problem] if healer.problem else []
    problems += [f"waiting: {healer.busy_with}"] if _is_held_up(healer) else []
    problems += [*healer.sealed, *healer.trials.problems()]
    problems += [problem_of(healer.resets)] if healer.resets else []
    problems += [str(problem) for problem in healer.refused]
    if healer.mode == OBSERVE and healer.pending:
        problems.append(f"{len(healer.pending)} changes pending, not applied (--{OBSERVE})")
    if healer.drift:
        problems.append(f"{len(healer.drift)} objects have drifted")
    return problems


def _is_held_up(healer: Controller) -> bool:
    """Whether another writer, or its trial, prevents changes that are or may be needed."""
    in_force = healer.concluded and healer.good.digest == healer.wanted.digest and not healer.drift and not healer.pending
    return bool(healer.busy_with) and not in_force


def _state(file: File, healer: Controller) -> str:
    if file.problem:
        return "broken"
    return "applied" if file.good_digest == file.digest and healer.good.digest == healer.wanted.digest else "waiting"


def resident() -> int:
    """KiB of resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def summary(said: Mapping[str, Any]) -> str:
    """One line, for systemctl status."""
    if not said["healthy"]:
        return str(said["problems"][0]).splitlines()[0]
    waiting = f", {len(said['waiting'])} waiting for a netdev" if said["waiting"] else ""
    count = len(said["topologies"])
    return f"in sync: {count} topolog{'y' if count == 1 else 'ies'}, {len(said['files'])} files watched{waiting}"


def _whose(port: str) -> str:
    """The port that waits, as text; an attachment has none (":")."""
    return "an attachment" if port == ":" else f"port {port}"


def render(said: Mapping[str, Any]) -> str:
    """The status as text."""
    how = "healthy" if said["healthy"] else "NOT HEALTHY"
    up, memory = _span(time.time() - said["started"]), said["memory_kib"] / 1024
    lines = [f"{how}: agent {said['pid']} of {said['root']}, up {up}, {memory:.0f} MiB, mode {said['mode']}"]
    lines += [f"  {line}" for problem in said["problems"] for line in problem.splitlines()]
    lines.append(f"topologies: {', '.join(said['topologies']) or 'none'}")
    lines += [f"topology {name} is in no file here; it stays (pcn delete {name} removes it)" for name in said["in_no_file"]]
    lines += [f"file {file['path']}: {file['state']} ({file['digest'][:12]})" for file in said["files"]]
    lines += [f"{_whose(each['port'])} waits for {each['netdev']}" for each in said["waiting"]]
    counts, healed = said["reconciles"], said["drift"]["healed"]
    lines.append(f"so far: applied {counts['applied']}, healed {counts['healed']} ({healed} objects), failed {counts['failed']}")
    if last := said["last"]:
        lines.append(f"last: {last['result']} {_span(time.time() - last['at'])} ago in {last['seconds'] * 1000:.0f} ms")
    slow_path = said["slow_path"]
    if slow_path and slow_path["cubes"]:
        totals = ", ".join(f"{name} {value}" for name, value in slow_path.items() if isinstance(value, int))
        lines.append(f"slow path: {totals}")
    return "\n".join(lines)


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(0.0, seconds):.1f} s"
