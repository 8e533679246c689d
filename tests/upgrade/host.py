"""A host that runs a release: every example applied, its agent at work, packets and connections under way, rows learned.

    with Host(old, root, tmp_path) as host:
        host.start()
        ...another release takes over...
        host.check()      # says in words what was lost: packets, connections, learned rows, or what stands in bpffs
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from reconciler.document.load import load
from reconciler.kernel import netns, rtnl
from tests.lib.packets import ping, send_frames
from tests.upgrade.release import Agent, Release, this_release
from tests.upgrade.traffic import Connection, Flow, Traffic, echo, udp

# Example: who sends to whom. Each pair has a flow of packets and an open connection.
TALKS = {
    "two-hosts": [("h1", "h2", "10.0.0.2")],
    "blacklist": [("good", "server", "10.2.0.3")],
    "forwarder-chain": [("left", "right", "10.1.0.2")],
    "firewall": [("fclient", "fweb", "10.7.0.80")],
    "router": [("ra", "rb", "10.5.2.1")],
    "router-ring": [("ring1", "ring3", "10.7.3.1"), ("ring1", "ring2", "10.7.2.1")],
    "xdp-switch": [("x1", "x3", "10.3.0.3")],
}
# Lists of the state that cubes have, with the leaves that do not change from one moment to the next.
LEARNED = {
    "simplebridge": (("fdb", "entry"), ("address", "port")),
    "router": (("arp-table",), ("address", "interface", "mac")),
    "firewall": (("session-table",), ("src", "dst", "l4proto", "sport", "dport")),
}

_ONCE = bytes.fromhex("ffffffffffff 020000000099 88b5") + bytes(46)  # from a station that is silent afterwards; an EtherType of nobody's
_GENERATION = re.compile(r"cubes/[^/]+/(g[0-9]+|tables)(/|$)|shared/")
Learned = dict[str, set[tuple[Any, ...]]]  # what each cube has learned


def _copy(example: Path, to: Path) -> None:
    """But that bridges keep what they learn for an hour: a slow machine takes minutes, and one of the examples says two."""
    (document,) = load([str(example)])
    data = copy.deepcopy(document.data)
    for cube in data["spec"]["cubes"]:
        if cube["service-name"] == "simplebridge":
            cube["fdb"] = {**cube.get("fdb", {}), "aging-time": 3600}
    to.write_text(json.dumps(data))


class Host:
    """`examples`: those that run; all that there are by default."""

    def __init__(self, release: Release, root: str, directory: Path, examples: tuple[str, ...] = tuple(TALKS)) -> None:
        self.release, self.root, self.directory, self.examples = release, root, directory, examples
        self.files = directory / "topologies"
        self.files.mkdir()
        for name in examples:
            _copy(release.example(name), self.files / f"{name}.yaml")
        self.cleaner = this_release(release.cache)  # whoever changed it, this one can take it away
        self.traffic = Traffic([])
        self.connections: list[Connection] = []
        self.agents: list[Agent] = []
        self.learned: Learned = {}

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        """Everything goes, whatever became of it."""
        self.traffic.close()
        for connection in self.connections:
            connection.close()
        for agent in self.agents:
            agent.stop()
        done = self.cleaner.run(self.root, "pcn-apply", "--delete", str(self.files), code=None)
        if done.returncode:  # a test that failed: the next one shall not meet what it left
            for name in netns.names():
                netns.delete(name)

    def apply(self, release: Release, *arguments: str, code: int | None = 0) -> str:
        done = release.run(self.root, "pcn-apply", *arguments, str(self.files), code=code)
        return done.stdout + done.stderr

    def agent(self, release: Release, *options: str) -> Agent:
        agent = Agent(release, self.root, self.directory / "agent.log", *options, str(self.files))
        self.agents.append(agent)
        return agent

    def start(self, *, agent: bool = True) -> None:
        """Apply, and let everything begin that is not to be disturbed."""
        self.apply(self.release)
        if agent:
            self.agent(self.release).until_in_sync()
        talks = [talk for name in self.examples for talk in TALKS[name]]
        for source, _, address in talks:
            until(lambda source=source, address=address: ping(source, address, 1) == 1, f"{source} does not reach {address}")
        for source, _, _ in talks:  # somebody speaks once: what is learned of him no later packet brings back
            send_frames(source, "eth0", [_ONCE])
        if "router" in self.examples:
            until(lambda: ping("ra", "10.5.3.1", 1) == 1, "ra does not reach rc")
        flows = [self._flow(name, *talk) for name in self.examples for talk in TALKS[name]]
        self.connections = [Connection(*talk, 80) for talk in talks]
        self.traffic = Traffic(flows)
        self.traffic.start()
        self.note()

    def edited(self, name: str, edit: Callable[[Any], None]) -> Path:
        """An example's file with something changed, beside the others."""
        (document,) = load([str(self.files / f"{name}.yaml")])
        data = copy.deepcopy(document.data)
        edit(data)
        path = self.directory / f"{name}-edited.yaml"
        path.write_text(json.dumps(data))
        return path

    def note(self) -> None:
        """What is learned now is what must be there afterwards."""
        self.learned = learned(self.release, self.root)
        lacking = [cube for cube, rows in self.learned.items() if not rows]
        assert self.learned, "nothing has been learned, so nothing could be lost"
        assert not lacking, f"these cubes learned nothing, so nothing could be lost: {', '.join(lacking)}"

    def _flow(self, name: str, source: str, target: str, address: str) -> Flow:
        if name == "firewall":
            return echo(source, address)  # it lets no datagrams pass
        return udp(source, target, address, counts=self._attended if name.startswith("router") else lambda _: True)

    def _attended(self, when: float) -> bool:
        """Whether an agent was there at a time, or shortly before. Without one, a router loses the packet with which it asks
        for a neighbour again, once a minute; what an agent asks ahead of time is good for as long as this."""
        return any(agent.came <= when <= agent.went + 15 for agent in self.agents)

    def losses(self, release: Release, *, moving: bool = False) -> list[str]:
        """What was lost since `note`, as seen by a release. `moving`: packets go on, and are looked at later."""
        found = []
        if not moving:
            self.traffic.stop()
            found += self.traffic.losses()
        found += [f"connection lost: {each.name} carries nothing any more" for each in self.connections if not each.works()]
        now = learned(release, self.root)
        for cube, rows in self.learned.items():
            gone = rows - now.get(cube, set())
            found += [f"learned row lost: cube {cube}: {row}" for row in sorted(gone, key=str)]
        return found


def learned(release: Release, root: str) -> Learned:
    """The learned rows of all cubes, as a release shows them."""
    shown = release.run(root, "pcn", "show", "--state", "-o", "yaml").stdout
    found: Learned = {}
    for topology in yaml.safe_load_all(shown):
        for cube in topology["spec"]["cubes"]:
            if cube["service-name"] in LEARNED:
                steps, leaves = LEARNED[cube["service-name"]]
                rows: Any = cube
                for step in steps:
                    rows = (rows or {}).get(step, [])
                lasting = (row for row in rows if row.get("l4proto") != "ICMP")  # that is forgotten after some seconds
                found[cube["name"]] = {tuple(str(row.get(leaf)) for leaf in leaves) for row in lasting}
    return found


def pins(root: str, generations: bool = False) -> dict[str, str]:
    """Everything below a root, each with its kind. Without `generations`, of which an apply may make new ones, and tables."""
    found = {}
    for directory, directories, files in os.walk(root):
        for path in (os.path.join(directory, name) for name in directories + files):
            name = os.path.relpath(path, root)
            if generations or not _GENERATION.match(name):
                found[name] = "text" if os.path.islink(path) else "directory" if os.path.isdir(path) else "pin"
    return found


def network() -> set[str]:
    """Names of all netdevs and namespaces here."""
    return {f"netdev {name}" for name in rtnl.links()} | {f"namespace {name}" for name in netns.names()}


def until(condition: Any, words: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, words


RETIRED = {"allowances"}  # tables of which no program and no person misses anything: budgets of the current second


def removed(host: Host, stood: dict[str, str], there: set[str], *, generations: bool = False) -> list[str]:
    """What of `pins` and `network` is gone. A release may do without a table; what would be lost with it is told by `losses`."""
    now = pins(host.root, generations)
    gone = [name for name in stood if name not in now and name.rpartition("/")[2] not in RETIRED]
    return [f"removed: {stood[name]} {name}" for name in gone] + sorted(
        f"removed: {each}" for each in there - network())


@contextlib.contextmanager
def nothing_removed(host: Host, *, generations: bool = False) -> Iterator[None]:
    """What stands in bpffs, and in the network, before the block stands there after it; `generations` too."""
    before = pins(host.root, generations), network()
    yield
    gone = removed(host, *before, generations=generations)
    assert not gone, ", ".join(gone)
