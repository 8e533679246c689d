"""A scenario as it is written down: a topology in YAML, what its hosts can reach, and what its cubes say.

    with Lab('''
      hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
      cubes:
        - {name: hw1, service-name: helloworld, action: FORWARD, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
    ''', hook="XDP_DRV") as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")

`hosts` is short for a namespace and a veth each, which the topology then owns: host h1 has eth0, and v1 is its other end. All
else is the `spec` of a topology. `hook` is the type of every cube that has none of its own.

A lab is a network namespace of its own, left at the end: only the hosts' namespaces and the bpffs root have names that
others could meet. Nothing in it speaks unless it is spoken to: IPv6 is off before a link comes up.
"""
from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.engine.apply import ApplyResult, Options, apply, drift, plan_for
from reconciler.graph.diff import Change
from reconciler.kernel import bpf, maps, netns, programs, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader
from reconciler.pins import unescape
from reconciler.plan.operations import FlushRows, ZeroRows
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Step
from reconciler.present.show import show
from tests.lib import packets
from tests.lib.fusion import as_chosen
from tests.lib.log_ring import RingLog, render
from tests.lib.netns_topology import NetnsTopology, settle

HOOKS = ("TC", "XDP_SKB", "XDP_DRV")
VERDICTS = {"TC": {0xFFFFFFFF: "pass", 2: "drop", 7: "redirect"}, "XDP": {2: "pass", 1: "drop", 4: "redirect"}}
DROPS = {"POLICY": 0, "NO_PEER": 1, "NOT_READY": 2, "NO_SLOWPATH": 3, "MALFORMED": 4}  # enum pcn_drop


@dataclass(frozen=True)
class Counts:
    """What a plan does, as its summary says it."""

    program_loads: int = 0
    map_writes: int = 0
    link_changes: int = 0


def counts(result: ApplyResult) -> Counts:
    return Counts(*(result.plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)))


def own_counts(result: ApplyResult) -> Counts:
    """As `counts`, but for ways in that are linked anew, or are not any more, as what follows them has changed. With hops none is."""
    found = counts(result)
    anew = [step for step in result.plan.steps if step.operation.kind in ("load_chain", "load_stub") and step.action == "update"]
    return replace(found, program_loads=found.program_loads - sum(step.count for step in anew))


class Lab:
    """One scenario in the kernel. `spec` may be changed between applies; `cube(...)` finds a part of it to change."""

    def __init__(self, text: str, *, hook: str = "TC") -> None:
        self.spec: dict[str, Any] = parse(text, "scenario")[0].data
        self.hosts: dict[str, Any] = self.spec.pop("hosts", {})
        self.hook = hook
        self.formats: dict[int, str] = {}
        self._open = contextlib.ExitStack()
        self._quiet: set[str] = set()

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as stack:
            stack.enter_context(netns.throwaway())
            self.world = stack.enter_context(NetnsTopology())
            self.root = self.world.bpffs
            self.options = Options(root=self.root, before=self._before)
            _silence()
            stack.callback(self._leave)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _leave(self) -> None:
        """Delete all of it; afterwards no netdev of ours may be left where we were."""
        if os.path.lexists(self.root):
            apply([_document({})], self.options, delete=True)
        self.world.close()
        left = set(rtnl.links()) - {"lo"}
        assert not left, f"left behind: {left}"

    # -- the document -----------------------------------------------------------------------------------------

    def document(self) -> Document:
        spec = json.loads(json.dumps(self.spec))
        spec["namespaces"] = [self.space(host) for host in self.hosts]
        spec["links"] = [self._link(host, said) for host, said in self.hosts.items()] + spec.get("links", [])
        for cube in spec.get("cubes", ()):
            cube.setdefault("type", self.hook)
        return _document(as_chosen(spec))

    def _link(self, host: str, said: Any) -> dict[str, Any]:
        """`said` of a host: its address, or {addresses, mac, ...} of its end and, as `here`, those of the other end."""
        end = {"addresses": [said]} if isinstance(said, str) else dict(said)
        here = end.pop("here", {})
        return {"name": port_of(host), "kind": "veth", **here, "peer": {"name": "eth0", "netns": self.space(host), **end}}

    def cube(self, name: str) -> dict[str, Any]:
        return _named(self.spec["cubes"], name)

    def port(self, cube: str, name: str) -> dict[str, Any]:
        return _named(self.cube(cube)["ports"], name)

    # -- pcn --------------------------------------------------------------------------------------------------

    def apply(self) -> ApplyResult:
        result = apply([self.document()], self.options)
        for compiled in result.session.objects.values():
            self.formats |= compiled.log_formats
        ends = [(port_of(host), None) for host in self.hosts] + [("eth0", self.space(host)) for host in self.hosts]
        settle(*ends)
        return result

    def plan(self) -> ApplyResult:
        return plan_for([self.document()], self.options)

    def drift(self) -> list[Change]:
        return drift(self.options)

    def live(self, *, state: bool = False) -> dict[str, Any]:
        """The `spec` that the kernel holds; with `state`, what was learned and counted too."""
        documents = show(self.options, state=state)
        return documents[0]["spec"] if documents else {}

    def live_cube(self, name: str, *, state: bool = False) -> dict[str, Any]:
        return _named(self.live(state=state)["cubes"], name)

    def pcn(self, *words: str) -> int:
        """A command, as on a terminal but in this process (and so in this network); its exit code."""
        from reconciler.cli.main import main

        return main([*words, "--bpffs", self.root])

    def flush(self, cube: str, table: str, *, zero: bool = False) -> None:
        """Empty a table (an array by `zero`), whether or not the cube's model has an action for it."""
        from reconciler.live.execute import Executor

        executor = Executor(Bpffs(self.root), {})
        try:
            executor.do((ZeroRows if zero else FlushRows)(f"cubes/{cube}/tables/{table}"))
        finally:
            executor.close()

    def _before(self, _number: int, step: Step) -> None:
        if step.operation.kind == "create_link":
            for name in {self.space(host) for host in self.hosts} - self._quiet:
                if netns.exists(name):
                    self._quiet.add(name)
                    with netns.inside(name):
                        _silence()

    # -- packets ----------------------------------------------------------------------------------------------

    def space(self, host: str) -> str:
        return self.world.name(host)

    def mac(self, host: str) -> str:
        return rtnl.links(self.space(host))["eth0"].mac

    def ok(self, host: str | None, address: str, count: int = 2) -> bool:
        """Whether all echo requests are answered; host None is the lab's own stack."""
        return packets.ping(self._where(host), address, count) == count

    def fails(self, host: str | None, address: str, count: int = 2) -> bool:
        """Whether none is."""
        return packets.ping(self._where(host), address, count, timeout=0.2) == 0

    def send(self, host: str | None, *frames: bytes, device: str = "eth0") -> None:
        packets.send_frames(self._where(host), device, frames)

    def sniff(self, host: str | None, device: str = "eth0") -> packets.Sniffer:
        return packets.sniff(self._where(host), device)

    def _where(self, host: str | None) -> str | None:
        return None if host is None else self.space(host)

    # -- what the datapath says -------------------------------------------------------------------------------

    def reader(self) -> Reader:
        return Reader(Bpffs(self.root))

    def drops(self, cube: str, *, side: str = "") -> dict[str, int]:
        """How many packets were dropped, by reason; reasons without any are left out."""
        found = self.reader().rows(f"cubes/{cube}/{side}drops")
        assert found is not None, f"{cube} has no drops table"
        words = {number: name for name, number in DROPS.items()}
        totals = {struct.unpack("<I", key)[0]: struct.unpack("<Q", fold_cpus(found[0], value))[0] for key, value in found[1].items()}
        return {words.get(number, str(number)): count for number, count in totals.items() if count}

    def loaded(self, cube: str) -> dict[str, int]:
        """The kernel's number of each program of a cube, by its pin: equal before and after, nothing was loaded."""
        reader, home = self.reader(), f"cubes/{cube}"
        places = [f"{home}/{place}" for place in (reader.link_text(f"{home}/current"), "in", "out", "twin/out")]
        pins = [f"{place}/{name}" for place in places for name in reader.names(place) if name != "about" and not name.endswith("_const")]
        return {pin: found.identity for pin in pins if (found := reader.program(pin)) is not None}

    def hooked(self) -> dict[str, int]:
        """The kernel's number of each attachment to a netdev, by its pin."""
        reader, root = self.reader(), Bpffs(self.root)
        found = {}
        for pin in [f"links/{netdev}/{point}" for netdev in reader.names("links") for point in reader.names(f"links/{netdev}")]:
            with root.opened(pin) as fd:
                found[pin] = bpf.link_info(fd).identity
        return found

    def run(self, pin: str, packet: bytes, *, family: str = "") -> str:
        """The verdict of a pinned program (a stub, and all that it leads to) on one packet, without a wire: 'pass', 'drop',
        'redirect'. `family` is that of the program, where it is not the lab's (a twin's is TC)."""
        with Bpffs(self.root).opened(pin) as fd:
            verdict = programs.test_run(fd, packet)[0]
        return VERDICTS[family or ("TC" if self.hook == "TC" else "XDP")].get(verdict, str(verdict))

    def table(self, cube: str, name: str) -> dict[bytes, bytes]:
        found = self.reader().rows(f"cubes/{cube}/tables/{name}")
        assert found is not None, f"{cube} has no table {name}"
        return {key: fold_cpus(found[0], value) for key, value in found[1].items()}

    def write(self, cube: str, table: str, key: bytes, value: bytes) -> None:
        """Put a row where nobody configured one."""
        with Bpffs(self.root).opened(f"cubes/{cube}/tables/{table}") as fd:
            maps.update(fd, key, value)

    @contextlib.contextmanager
    def logged(self) -> Iterator[list[str]]:
        """What was logged inside the block, as 'cube: text' in order; complete once the block is left."""
        from reconciler.service.registry import cube_number

        names = {cube_number(cube["name"]): cube["name"] for cube in self.spec["cubes"]}
        found: list[str] = []
        with RingLog(f"{self.root}/shared/log") as log:
            log.read()
            yield found
            records = log.wait(0.2, enough=lambda _: False)
        for record in records:
            cube = names[record.cube]
            found.append(f"{cube}: {render(record, self.formats, self._ports(cube).__getitem__)}")

    def _ports(self, cube: str) -> dict[int, str]:
        pins = (name.partition("_") for name in self.reader().names(f"cubes/{cube}/in"))
        return {int(index): unescape(port) for index, _, port in pins}


def port_of(host: str) -> str:
    """The netdev at this end of a host's wire."""
    return "v" + host.removeprefix("h")


def _document(spec: Mapping[str, Any]) -> Document:
    data = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "lab"}, "spec": spec}
    return parse(json.dumps(data, indent=1), "scenario")[0]


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _silence() -> None:
    for scope in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
