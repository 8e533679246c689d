"""What of a topology is in the kernel, and the command that would put it there."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from reconciler.kernel import netns, rtnl
from tests.faults.bench import Bench
from tests.faults.graphs import Data

BIN = Path(sys.executable).parent


def first_link(data: Data) -> str:
    return str(data["spec"]["links"][0]["name"])


def untouched(bench: Bench, data: Data) -> list[str]:
    """What of a topology is there."""
    spec = data["spec"]
    found = list(bench.paths())
    found += [name for name in spec["namespaces"] if netns.exists(name)]
    return found + [link["name"] for link in spec["links"] if link["name"] in rtnl.links()]


def command(root: str, data: Data, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, str(BIN / "pcn-apply"), "--bpffs", root, *arguments, "-"]
    return subprocess.run(argv, input=json.dumps(data), capture_output=True, text=True, check=False, timeout=60)
