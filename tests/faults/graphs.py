"""Topologies to break, pictures of what the kernel holds, and faults to put into an apply.

Names in an example are the ones a reader likes (h1, veth1); `unique` gives all of them a prefix of this process, so that
tests can run side by side with whatever else there is on the machine.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.apply import Options, apply, plan_for
from reconciler.document import Document
from reconciler.document.load import load, parse
from reconciler.errors import KernelError
from reconciler.graph.records import LinkRecord, NamespaceRecord, OffloadRecord, Record, State, TopologyRecord
from reconciler.kernel import netns, rtnl
from reconciler.live.execute import Executor
from reconciler.plan.steps import Operation, Step
from reconciler.service import Services
from reconciler.survey import Builder, Looker
from tests import residue
from tests.packets import ping

TOPOLOGIES = Path(__file__).resolve().parents[2] / "examples" / "topologies"
EXAMPLES = sorted(path.stem for path in TOPOLOGIES.glob("*.yaml"))

_serial = itertools.count(1)
_services = Services()

Data = dict[str, Any]


def example(name: str) -> Data:
    """An example as plain data, to be edited at will."""
    (document,) = load([str(TOPOLOGIES / f"{name}.yaml")])
    return deepcopy(document.data)


def unique(data: Data) -> Data:
    """A copy in which every name that is known host-wide is of this process alone. Hosts get MACs, so that they keep them
    when their link is made anew: their neighbours would ask for a new one only after a while."""
    tag = residue.prefix(next(_serial))
    spec = data["spec"]
    netdevs = [end["name"] for link in spec.get("links", ()) for end in (link, link.get("peer", {})) if end and "netns" not in end]
    new = {name: f"{tag}-{number}" for number, name in enumerate(netdevs)}
    new |= {name: f"{tag}-{name}" for name in spec.get("namespaces", ())}
    cubes = {cube["name"]: f"{tag}-{cube['name']}" for cube in spec.get("cubes", ())}
    return _renamed(data, Naming(new, cubes))


@dataclass(frozen=True)
class Naming:
    """New names of netdevs and namespaces, and of cubes."""

    network: Mapping[str, str]
    cubes: Mapping[str, str]

    def peer(self, peer: str) -> str:
        cube, colon, port = peer.partition(":")
        return f"{self.cubes[cube]}:{port}" if colon else self.network.get(peer, peer)


def _renamed(data: Data, new: Naming) -> Data:
    data = deepcopy(data)
    spec = data["spec"]
    spec["namespaces"] = [new.network[name] for name in spec.get("namespaces", ())]
    for link in spec.get("links", ()):
        for end in (link, link.get("peer", {})):
            if "netns" in end:
                end["netns"] = new.network.get(end["netns"], end["netns"])
                end.setdefault("mac", _mac(end["addresses"][0]))
            elif end:
                end["name"] = new.network[end["name"]]
    for cube in spec.get("cubes", ()):
        cube["name"] = new.cubes[cube["name"]]
        for port in cube.get("ports", ()):
            if "peer" in port:
                port["peer"] = new.peer(port["peer"])
            if "tcubes" in port:
                port["tcubes"] = [new.cubes[name] for name in port["tcubes"]]
    for attachment in spec.get("attachments", ()):
        attachment["netdev"] = new.network.get(attachment["netdev"], attachment["netdev"])
        attachment["tcubes"] = [new.cubes[name] for name in attachment["tcubes"]]
    return data


def _mac(address: str) -> str:
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.partition("/")[0].split("."))


def documents(*wanted: Data) -> list[Document]:
    return [document for number, data in enumerate(wanted) for document in parse(json.dumps(data), f"topology {number}")]


def cube(data: Data, name: str) -> Data:
    """A cube of a topology by the end of its name, which `unique` has lengthened."""
    return next(cube for cube in data["spec"]["cubes"] if cube["name"] == name or cube["name"].endswith(f"-{name}"))


@dataclass(frozen=True)
class Host:
    netns: str
    address: str

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]

    @property
    def subnet(self) -> Any:
        return ipaddress.ip_interface(self.address).network


def hosts(data: Data) -> list[Host]:
    """Every end of a veth that is in a namespace and has an address."""
    found = []
    for link in data["spec"].get("links", ()):
        for end in (link, link.get("peer", {})):
            if "netns" in end and end.get("addresses"):
                found.append(Host(end["netns"], end["addresses"][0]))
    return found


def talking(data: Data) -> list[tuple[Host, Host]]:
    """Pairs of hosts of which the first is to reach the second: all in one subnet, none of them on the topology's own
    blacklist. (From subnet to subnet a router's slow path is needed, which is not what is tested here.)"""
    barred = {entry["ip"] for cube in data["spec"].get("cubes", ()) for entry in cube.get("blacklist-src", ())}
    free = [host for host in hosts(data) if host.ip not in barred]
    return [(a, b) for a, b in itertools.permutations(free, 2) if a.subnet == b.subnet]


def unreachable(data: Data, *, timeout: float = 2.0) -> list[str]:
    """The pairs that should talk to each other and do not."""
    return [f"{a.netns} -> {b.ip}" for a, b in talking(data) if not ping(a.netns, b.ip, 1, timeout=timeout)]


@dataclass(frozen=True)
class Picture:
    """All that the kernel holds of one root, as seen beside the network that was or will be wanted. Kernel ids are not in it."""

    state: State
    texts: Mapping[str, str]
    generations: Mapping[str, int]
    leftovers: tuple[str, ...]
    paths: frozenset[str]
    netdevs: frozenset[str]
    namespaces: frozenset[str]

    def differences(self, other: Picture) -> list[str]:
        """In words, for a failed test; `other` is what should be."""
        found = []
        for address in sorted({*self.state, *other.state}):
            if self.state.get(address) != other.state.get(address):
                found.append(f"{address}: {self.state.get(address)} instead of {other.state.get(address)}")
        for kind in ("texts", "generations", "leftovers"):
            if getattr(self, kind) != getattr(other, kind):
                found.append(f"{kind}: {getattr(self, kind)} instead of {getattr(other, kind)}")
        for kind in ("paths", "netdevs", "namespaces"):
            more, less = getattr(self, kind) - getattr(other, kind), getattr(other, kind) - getattr(self, kind)
            found += [f"{kind} too many: {sorted(more)}"] if more else []
            found += [f"{kind} missing: {sorted(less)}"] if less else []
        return found


@dataclass
class Bench:
    """One root in bpffs, and the verbs on it."""

    root: str
    services: Services = field(default_factory=lambda: _services)

    def options(self, **more: Any) -> Options:
        return Options(root=self.root, services=self.services, **more)

    def apply(self, *wanted: Data, **more: Any) -> Any:
        return apply(documents(*wanted), self.options(**more))

    def delete(self, *doomed: Data, **more: Any) -> Any:
        return apply(documents(*doomed), self.options(**more), delete=True)

    def clear(self) -> None:
        """Delete whatever is applied."""
        applied = [json.loads(record.document) for record in self.looker().live().state.values() if isinstance(record, TopologyRecord)]
        if applied:
            self.delete(*applied)

    def plan(self, *wanted: Data, delete: bool = False) -> Any:
        return plan_for(documents(*wanted), self.options(), delete=delete)

    def looker(self) -> Looker:
        return Looker(self.root, self.services, Builder(self.services))

    def network(self, *topologies: Data) -> list[Record]:
        """The network that these topologies ask for, as records: what a picture looks at."""
        looker = self.looker()
        live = looker.live()
        from reconciler.check import check

        records: list[Record] = []
        for data in topologies:
            wanted, _ = check(documents(data), self.services)
            records += looker.intend(wanted, live).state.values()
        return [record for record in records if isinstance(record, NamespaceRecord | LinkRecord | OffloadRecord)]

    def picture(self, network: Sequence[Record]) -> Picture:
        looker = self.looker()
        live = looker.live()
        state, _ = looker.with_links(live, network)
        texts = {record.name: record.document for record in state.values() if isinstance(record, TopologyRecord)}
        ours = {netdev.name for netdev in rtnl.links().values() if netdev.alias.startswith(f"{self.root}/")}
        wanted = {record.name for record in network if isinstance(record, NamespaceRecord)}
        return Picture(state, texts, dict(live.generations), live.leftovers, frozenset(self.paths()), frozenset(ours),
                       frozenset(wanted & set(netns.names())))  # fmt: skip

    def paths(self) -> Iterator[str]:
        """Every name below the root, the root too."""
        if os.path.lexists(self.root):
            yield self.root
        for directory, directories, files in os.walk(self.root):
            for name in directories + files:
                yield os.path.join(directory, name)


def at_once(root: str, here: Callable[[Bench], list[str]], there: Callable[[Bench], list[str]]) -> list[str]:
    """Do two things that take long at the same time, the second in a process of its own, with a root of its own; gives what
    both say is wrong. Half of the time is the kernel's waiting. (Names differ by process: each has to make its own.)"""
    answers, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            wrong = there(Bench(f"{root}-b"))
        except BaseException:  # noqa: BLE001 - all that a child can do with it is to tell
            wrong = [traceback.format_exc()]
        os.write(told, json.dumps([each[:2000] for each in wrong[:20]]).encode())
        os._exit(0)
    os.close(told)
    try:
        wrong = here(Bench(root))
    finally:
        with open(answers, "rb") as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
    return wrong + list(json.loads(text))


class Fault(KernelError):
    """The error that is put into an apply: of the kind that the kernel itself would give."""

    def __init__(self) -> None:
        super().__init__("do what this test forbids", 28)


@dataclass
class Injected:
    """What an apply with a fault in it came to; `step` None: it has no such step, and went through."""

    step: Step | None = None
    error: BaseException | None = None


def inject(run: Callable[..., Any], number: int, *, half_done: bool) -> Injected:
    """Run an apply in which step `number` fails: without having done anything, or (`half_done`) after all that it does.

    `run` takes `before`, the callback ahead of each step.
    """
    met = Injected()

    def before(now: int, step: Step) -> None:
        if now == number:
            met.step = step

    with failing(lambda operation: met.step is not None and operation is met.step.operation, half_done=half_done):
        try:
            run(before=before)
        except Exception as error:  # noqa: BLE001 - whatever comes out is what the test looks at
            met.error = error
    return met


@contextmanager
def failing(chosen: Callable[[Operation], bool], *, half_done: bool) -> Iterator[None]:
    """Let the operation for which `chosen` holds fail, once."""
    original, met = Executor.do, False

    def do(self: Executor, operation: Operation) -> None:
        nonlocal met
        fails = not met and chosen(operation)
        if half_done or not fails:
            original(self, operation)
        if fails:
            met = True
            raise Fault

    Executor.do = do  # type: ignore[method-assign]
    try:
        yield
    finally:
        Executor.do = original  # type: ignore[method-assign]


def twenty_cubes() -> Data:
    """Three bridges, a chain of twelve forwarders between two of them, guards and a watcher on ports, and a bridge of its own
    under XDP: 20 cubes, 6 hosts. All names are unique already."""
    tag = residue.prefix(next(_serial))
    spaces = [f"{tag}-h{number}" for number in range(1, 7)]
    links = [_wire(f"{tag}-{number}", space, f"10.9.{number // 4}.{number + 1}/24") for number, space in enumerate(spaces)]
    names = [f"{tag}-f{number}" for number in range(12)]
    left, right, far, fast = (f"{tag}-{name}" for name in ("left", "right", "far", "fast"))
    cubes: list[Data] = [
        _bridge(left, {"a": f"{tag}-0", "b": f"{tag}-1", "chain": f"{names[0]}:w"}, a=[f"{tag}-guard"], b=[f"{tag}-watch"]),
        _bridge(right, {"a": f"{tag}-2", "chain": f"{names[-1]}:e", "far": f"{far}:up"}),
        _bridge(far, {"a": f"{tag}-3", "up": f"{right}:far"}, a=[f"{tag}-guard2"]),
        _bridge(fast, {"a": f"{tag}-4", "b": f"{tag}-5"}, type="XDP_DRV"),
        {"name": f"{tag}-watch", "service-name": "transparenthelloworld"},
        {"name": f"{tag}-guard", "service-name": "ddosmitigator", "blacklist-src": [{"ip": "192.0.2.1"}]},
        {"name": f"{tag}-guard2", "service-name": "ddosmitigator"},
        {"name": f"{tag}-xguard", "service-name": "ddosmitigator", "type": "XDP_DRV", "blacklist-dst": [{"ip": "192.0.2.1"}]},
    ]
    for number, name in enumerate(names):
        west = f"{names[number - 1]}:e" if number else f"{left}:chain"
        east = f"{names[number + 1]}:w" if number < 11 else f"{right}:chain"
        cubes.append(_forwarder(name, west, east) if number % 2 else _switch(name, west, east))
    return {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "twenty"},
            "spec": {"namespaces": spaces, "links": links, "cubes": cubes,
                     "attachments": [{"netdev": f"{tag}-5", "tcubes": [f"{tag}-xguard"]}]}}  # fmt: skip


def _wire(name: str, space: str, address: str) -> Data:
    peer = {"name": "eth0", "netns": space, "addresses": [address], "mac": _mac(address)}
    return {"name": name, "kind": "veth", "peer": peer}


def _bridge(name: str, peers: Mapping[str, str], type: str = "TC", **tcubes: list[str]) -> Data:
    ports = [{"name": port, "peer": peer} | ({"tcubes": tcubes[port]} if port in tcubes else {}) for port, peer in peers.items()]
    return {"name": name, "service-name": "simplebridge", "type": type, "ports": ports}


def _ports(west: str, east: str) -> list[Data]:
    return [{"name": "w", "peer": west}, {"name": "e", "peer": east}]


def _forwarder(name: str, west: str, east: str) -> Data:
    actions = [{"inport": a, "action": "FORWARD", "outport": b} for a, b in (("w", "e"), ("e", "w"))]
    return {"name": name, "service-name": "simpleforwarder", "ports": _ports(west, east), "actions": actions}


def _switch(name: str, west: str, east: str) -> Data:
    return {"name": name, "service-name": "helloworld", "ports": _ports(west, east), "action": "FORWARD"}


def variant(directory: Path, service: str, edits: Mapping[str, str]) -> Services:
    """All services, one of them with its C edited: what `--services DIR` gives. Each key of `edits` must be in the C."""
    from reconciler.service import HERE

    directory.mkdir(exist_ok=True)
    name = f"{service}.schema.json"
    shutil.copy(HERE / "schemas" / "json" / name, directory / name)
    left = dict(edits)
    for source in {path for direction in ("ingress", "egress") for path in Services().get(service).programs(direction)}:  # type: ignore[union-attr]
        text = source.read_text()
        for old in [old for old in left if old in text]:
            text = text.replace(old, left.pop(old))
        (directory / source.name).write_text(text)
    half = HERE / "cubes" / f"{service}.py"
    if half.exists():
        shutil.copy(half, directory / half.name)
    assert not left, f"not in the C of {service}: {list(left)}"
    return Services([directory])
