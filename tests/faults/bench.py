"""The verbs of pcn on one root in bpffs, and pictures of what the kernel holds."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.engine.apply import Options, apply, plan_for
from reconciler.engine.builder import Builder
from reconciler.engine.session import Reconciler
from reconciler.graph.records import LinkRecord, NamespaceRecord, OffloadRecord, Record, State, TopologyRecord
from reconciler.kernel import netns, rtnl
from reconciler.service.registry import Services
from tests.faults.graphs import Data, documents

_services = Services()


@dataclass(frozen=True)
class Picture:
    """All that the kernel holds of one root, as seen beside the network that was or will be wanted. Kernel ids are not in it."""

    state: State
    texts: Mapping[str, str]
    generations: Mapping[str, int]
    orphans: tuple[str, ...]
    paths: frozenset[str]
    netdevs: frozenset[str]
    namespaces: frozenset[str]

    def differences(self, other: Picture) -> list[str]:
        """In words, for a failed test; `other` is what should be."""
        found = []
        for address in sorted({*self.state, *other.state}):
            if self.state.get(address) != other.state.get(address):
                found.append(f"{address}: {self.state.get(address)} instead of {other.state.get(address)}")
        for kind in ("texts", "generations", "orphans"):
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
        applied = [json.loads(record.document) for record in self.reconciler().live().state.values() if isinstance(record, TopologyRecord)]
        if applied:
            self.delete(*applied)

    def plan(self, *wanted: Data, delete: bool = False) -> Any:
        return plan_for(documents(*wanted), self.options(), delete=delete)

    def reconciler(self) -> Reconciler:
        return Reconciler(self.root, self.services, Builder(self.services))

    def network(self, *topologies: Data) -> list[Record]:
        """The network that these topologies ask for, as records: what a picture looks at."""
        reconciler = self.reconciler()
        live = reconciler.live()
        from reconciler.check import check

        records: list[Record] = []
        for data in topologies:
            wanted, _ = check(documents(data), self.services)
            records += reconciler.build_desired(wanted, live).state.values()
        return [record for record in records if isinstance(record, NamespaceRecord | LinkRecord | OffloadRecord)]

    def picture(self, network: Sequence[Record]) -> Picture:
        reconciler = self.reconciler()
        live = reconciler.live()
        state, _ = reconciler.with_links(live, network)
        texts = {record.name: record.document for record in state.values() if isinstance(record, TopologyRecord)}
        ours = {netdev.name for netdev in rtnl.links().values() if netdev.alias.startswith(f"{self.root}/")}
        wanted = {record.name for record in network if isinstance(record, NamespaceRecord)}
        return Picture(state, texts, dict(live.generations), live.orphans, frozenset(self.paths()), frozenset(ours),
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


def variant(directory: Path, service: str, edits: Mapping[str, str]) -> Services:
    """All services, one of them with its C edited: what `--services DIR` gives. Each key of `edits` must be in the C."""
    from reconciler.service.registry import HERE

    directory.mkdir(exist_ok=True)
    name = f"{service}.schema.json"
    shutil.copy(HERE / "schemas" / "json" / name, directory / name)
    left = dict(edits)
    for source in {path for direction in ("ingress", "egress") for path in Services().get(service).programs(direction)}:  # type: ignore[union-attr]
        text = source.read_text()
        for old in [old for old in left if old in text]:
            text = text.replace(old, left.pop(old))
        (directory / source.name).write_text(text)
    implementation = HERE / "cubes" / service / "__init__.py"
    if implementation.exists():
        shutil.copy(implementation, directory / f"{service}.py")
    assert not left, f"not in the C of {service}: {list(left)}"
    return Services([directory])
