"""One endpoint of one service, from the API's event until it is in force.

A node of pcn-k8s with 5,000 services of 10 endpoints each. An EndpointSlice changes by one endpoint, and the clock runs from the
moment at which the API server has it until the agent says that it is in force. *One a second*: each change is the only one, and
the look at everything that follows it is over before the next. *One after another*: 20 changes of other services, each as soon
as the one before is in force, by the change. *Idle*: the agent's share of one CPU while nothing happens.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare import Effort, Goal, Table, compare
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.api_server import ApiServer
from tests.providers.kubernetes.kernel.lab import NodeLab

OURS, IDLE = "pcn-k8s", "pcn-agent"
IN_A_ROW = 20
_APART, _IDLE = 1.3, 4.0  # seconds


def run(effort: Effort) -> list[Table]:
    services = effort.amount(5000)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pcn-bench-")))
        lab = stack.enter_context(NodeLab(directory, slots=110, ranges=("10.244.1.0/24",), known=partial(cluster, services)))
        node = Node(lab, services)
        title, goals = f"{services:,} services of 10 endpoints", [Goal(OURS, at_most=50, of="value")]
        tell = {"unit": "milliseconds", "against": "", "bound": False}
        return [
            compare(f"{title}: one a second", {OURS: node.alone}, effort.at_most(30), goals=goals, **tell),
            compare(f"{title}: one after another", {OURS: node.in_a_row}, effort.at_most(5), **tell),
            compare(f"{title}: idle", {IDLE: node.idle}, effort.at_most(3), **{**tell, "unit": "percent of a CPU"}),
        ]


def cluster(services: int, api: ApiServer) -> None:
    for number in range(services):
        at = f"{number // 250}.{number % 250 + 1}"
        api.put("services", objects.service(f"s{number}", f"10.96.{at}", ports=[{"port": 80}]))
        api.put("slices", slices(number, 8))


def slices(number: int, first: int) -> dict[str, Any]:
    """The endpoints of one service; `first` is the last byte of the first one's address."""
    at = f"{number // 250}.{number % 250 + 1}"
    ends = [f"10.244.2.{first}", *(f"10.{20 + each}.{at}" for each in range(9))]
    return objects.slices(f"s{number}", 8080, *(objects.endpoint(end, "n2") for end in ends))


class Node:
    def __init__(self, lab: NodeLab, services: int) -> None:
        self.lab, self.services, self.changes = lab, services, 0
        self.before: float = lab.status()["in_force_since"]

    def _change(self) -> float:
        """Milliseconds by the clocks of both processes, which are one."""
        number, first = self.changes * 37 % self.services, 9 + self.changes % 200
        self.changes += 1
        began = time.time()
        self.lab.api.put("slices", slices(number, first))
        while (now := self.lab.status()["in_force_since"]) == self.before:
            if time.time() - began > 60:
                raise RuntimeError(self.lab.log())
            time.sleep(0.005)
        self.before = now
        return 1000 * (now - began)

    def alone(self) -> float:
        time.sleep(_APART)
        return self._change()

    def in_a_row(self) -> float:
        began = time.time()
        for _ in range(IN_A_ROW):
            self._change()
        return 1000 * (self.before - began) / IN_A_ROW

    def idle(self) -> float:
        time.sleep(_APART)
        began, used = time.monotonic(), self.lab.agent.cpu()
        time.sleep(_IDLE)
        return 100 * (self.lab.agent.cpu() - used) / (time.monotonic() - began)
