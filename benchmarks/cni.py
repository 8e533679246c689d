"""CNI: a pod is added, by pcn-k8s and by the plugins `bridge` and `host-local`.

Calls of the plugins as a runtime makes them: from the start of the program to its answer, of which pcn-k8s gives none before the
pod's policies are in force, by its plugin in C and by the one in Python. All are in the network namespace of one node, with an
agent and a provider of 110 slots. What was added is deleted again, outside of the time. *At once*: 30 calls together, until the
last one has answered.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.compare import Effort, Goal, Table, Turn, compare
from reconciler.kernel import netlink
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import NodeLab
from tests.providers.kubernetes.stubs import PYTHON, stub

OURS, IN_PYTHON, BRIDGE = "pcn-k8s", "with the plugin in Python", "bridge and host-local"
PLUGINS = "/usr/lib/cni"
AT_ONCE = 30
_NUMBERS = itertools.count(1)
Call = Callable[[str, str, str], None]  # verb, name, namespace


def run(effort: Effort) -> list[Table]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pcn-bench-")))
        lab = stack.enter_context(NodeLab(directory, slots=110, ranges=("10.244.1.0/24",)))
        stack.callback(netlink.linkwrite.delete_link, "cni0")
        calls = {OURS: _ours(lab, stub("C", directory)), IN_PYTHON: _ours(lab, PYTHON), BRIDGE: _bridge(directory)}
        one = {name: _alone(lab, call) for name, call in calls.items()}
        many = {name: _at_once(lab, call) for name, call in calls.items()}
        goals = [Goal(OURS, at_least=1 / 1.2)]
        return [
            compare("ADD", one, effort, against=BRIDGE, unit="milliseconds", bound=False, goals=goals),
            compare(f"{AT_ONCE} at once", many, effort.at_most(5), against=BRIDGE, unit="milliseconds", bound=False,
                    goals=[Goal(OURS, at_most=1500, of="value")]),
        ]  # fmt: skip


def _alone(lab: NodeLab, call: Call) -> Turn:
    def turn() -> float:
        (name, space), = _pods(lab, 1)
        began = _now()
        call("ADD", name, space)
        took = _now() - began
        call("DEL", name, space)
        return took

    return turn


def _at_once(lab: NodeLab, call: Call) -> Turn:
    def turn() -> float:
        pods = _pods(lab, AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = _now()
            list(threads.map(lambda pod: call("ADD", *pod), pods))
            took = _now() - began
            list(threads.map(lambda pod: call("DEL", *pod), pods))
        return took

    return turn


def _pods(lab: NodeLab, count: int) -> list[tuple[str, str]]:
    """Names and namespaces of pods that the API knows."""
    names = [f"p{next(_NUMBERS)}" for _ in range(count)]
    for name in names:
        lab.api.put("pods", objects.pod(name, lab.node, phase="Pending"))
    return [(name, lab.world.namespace(name)) for name in names]


def _now() -> float:
    return time.perf_counter() * 1000


def _ours(lab: NodeLab, plugin: tuple[str, ...]) -> Call:
    def call(verb: str, name: str, space: str) -> None:
        lab.plugin = plugin
        code, said = lab.cni(verb, name, f"c-{name}", space)
        if code:
            raise RuntimeError(f"{verb}: {said}")

    return call


def _bridge(directory: Path) -> Call:
    ranges, routes = [[{"subnet": "10.245.0.0/22"}]], [{"dst": "0.0.0.0/0"}]
    ipam = {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": str(directory)}
    said = {"cniVersion": "1.0.0", "name": "b", "type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
    config = json.dumps(said)

    def call(verb: str, name: str, space: str) -> None:
        usual = {"PATH": os.environ["PATH"], "CNI_PATH": PLUGINS, "CNI_IFNAME": "eth0"}
        own = {"CNI_COMMAND": verb, "CNI_CONTAINERID": f"c-{name}", "CNI_NETNS": f"/run/netns/{space}"}
        argv = [f"{PLUGINS}/bridge"]
        subprocess.run(argv, input=config, env=usual | own, text=True, capture_output=True, check=True, timeout=60)

    return call
