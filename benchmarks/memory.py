"""Memory: an idle agent, and an apply.

With 1,000 forwarders in a ring: what `pcn-agent` holds once it has looked and has nothing to do, and the most that `pcn-apply`
holds at any moment of the first apply (all programs are in the cache) and of one that changes nothing. Resident set size, of one
process; what the kernel holds for maps and programs is not in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import topologies
from benchmarks.compare import Effort, Goal, Row, Table
from benchmarks.edit import COMMAND
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply
from tests.lib.agent_process import ROOT, AgentProcess

_IDLE = "pcn-agent, idle"
_MEASURED = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(effort: Effort) -> list[Table]:
    count = effort.amount(1000)
    options = Options(root=os.environ["PCN_BPFFS"])
    with tempfile.TemporaryDirectory(prefix="pcn-bench-") as directory:
        file = Path(directory) / "files" / "bench.yaml"
        file.parent.mkdir()
        file.write_text(topologies.ring(count))
        smallest = parse(topologies.ring(2), "bench")  # so that programs are compiled
        apply(smallest, options)
        apply(smallest, options, delete=True)
        try:
            first, noop = peak(file), peak(file)
            with AgentProcess(options.root, Path(directory) / "log", str(file.parent)) as agent:
                agent.until(lambda said: said["healthy"], 120)
                time.sleep(3)
                idle = agent.memory() / 1024
        finally:
            apply(parse(file.read_text(), "bench"), options, delete=True)
    rows = (Row(_IDLE, (idle,)), Row("pcn-apply, first, at most", (first,)), Row("pcn-apply, no-op, at most", (noop,)))
    return [Table(f"{count:,} cubes", "MiB", rows, goals=(Goal(_IDLE, at_most=80, of="value"),))]


def peak(file: Path) -> float:
    """MiB that the command holds at most. A process begins with the size of the one that started it, so a small one does."""
    argv = [sys.executable, "-S", "-c", _MEASURED, sys.executable, "-c", COMMAND, str(file)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(done.stdout) / 1024
