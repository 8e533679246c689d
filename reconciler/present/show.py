"""The live graph as documents: the output of `pcn show`, which can be applied again and then changes nothing.

Tables are decoded by the models; peers, transparent cubes and attachments are derived from hooks, hops and stubs. Only leaves
without a counterpart in the kernel (a rule's description) are taken from the applied document, and where two notations are
equivalent, the document's is printed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler import pins
from reconciler.check.defaults import applies
from reconciler.engine.apply import Options, quarantined_warnings
from reconciler.engine.builder import Builder
from reconciler.engine.session import Reconciler
from reconciler.facts import of_cube
from reconciler.graph.records import (
    CubeRecord,
    LinkRecord,
    Live,
    NamespaceRecord,
    NextHopRecord,
    PortRecord,
    ProgramRecord,
    TopologyRecord,
)
from reconciler.graph.trace import Traced, trace, without_taps
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.protocol_counters import ProtocolCounters
from reconciler.model import Link, LinkEnd
from reconciler.present.attachments import documented, selectors_in_force
from reconciler.service.model.codec import Env
from reconciler.service.registry import LEVELS, Service

API_VERSION, KIND = "polycube.network/v1", "Topology"


@dataclass(frozen=True, slots=True)
class Shown:
    """One plain document for each live topology; `sealed` are those that cannot be read here, with the reason."""

    documents: list[dict[str, Any]]
    sealed: Mapping[str, str]


def show(options: Options, names: Collection[str] = (), *, state: bool = False) -> list[dict[str, Any]]:
    """One plain document for each live topology (or those named) that can be read here. With `state`, also what the datapath
    learned and counted; such a document is for reading, not for applying. Raises KernelError, CompileError."""
    return shown(options, names, state=state).documents


def shown(options: Options, names: Collection[str] = (), *, state: bool = False) -> Shown:
    """As `show`, with the topologies that cannot be read."""
    builder = Builder(options.services, options.compiling, options.root, stored=True)
    reconciler = Reconciler(options.root, options.services, builder)
    with Bpffs(options.root).read_locked(options.lock_timeout):
        live = reconciler.live(state=state)
        applied, live = reconciler.applied(live)
        if options.warn:
            options.warn(quarantined_warnings(live))
        facts = reconciler.facts(applied, live)
        before = reconciler.build_desired(applied, live, facts=facts)
        live = replace(live, state=reconciler.with_links(live, before.state.values())[0])
    documents = _documents(live, reconciler, {topology.name: topology.document for topology in applied}, names, state, facts)
    if state:
        return Shown(documents, live.sealed)
    from reconciler.check import check
    from reconciler.document import Document

    plain = [Document(f"live topology {d['metadata']['name']}", json.dumps(d), d, 0) for d in documents]
    topologies = check(plain, options.services)[0] if plain else []
    return Shown([dict(topology.document) for topology in topologies], live.sealed)


def _documents(
    live: Live, reconciler: Reconciler, applied: Mapping[str, Mapping[str, Any]], names: Collection[str], state: bool,
    facts: Mapping[str, Any],
) -> list[dict[str, Any]]:
    records = [r for r in live.state.values() if not (isinstance(r, CubeRecord) and pins.is_of_no_document(r.name))]
    found = {r.topology for r in records if isinstance(r, CubeRecord | LinkRecord | NamespaceRecord)}
    found |= {r.name for r in records if isinstance(r, TopologyRecord)}
    traced = without_taps(trace(live, reconciler.services, documented(applied.values(), live.netdevs)))
    in_force, by_hand = selectors_in_force(applied.values(), traced.attachments, live)
    shadows = {pins.shadow_namespace(r.name) for r in records if isinstance(r, CubeRecord) and _shadow(r.name, live, {})}
    documents = []
    for name in sorted(found):
        if names and name not in names:
            continue
        said = applied.get(name, {}).get("spec", {})
        spec: dict[str, Any] = {
            "namespaces": sorted(
                r.name for r in records if isinstance(r, NamespaceRecord) and r.topology == name and r.name not in shadows
            ),
            "links": [
                _link(r.link)
                for r in records
                if isinstance(r, LinkRecord) and r.topology == name and not pins.is_hidden(r.link.end.name)
            ],
            "cubes": [
                cube_data(r, live, reconciler, traced, _named(said.get("cubes", ()), r.name), state, facts)
                for r in records
                if isinstance(r, CubeRecord) and r.topology == name
            ],
            "attachments": [
                *(
                    {"netdev": netdev, "tcubes": cubes}
                    for netdev, cubes in sorted(by_hand.items())
                    if cubes and _owner(cubes[0], records) == name
                ),
                *(entry for entry in said.get("attachments", ()) if entry in in_force),
            ],
        }
        if not said.get("fuse", True):
            spec = _apart(spec)
        spec = {part: there for part, there in spec.items() if there != []}
        documents.append({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec})
    return documents


def _apart(spec: dict[str, Any]) -> dict[str, Any]:
    """`fuse: false` of all cubes, factored out to the topology."""
    if any(cube.get("fuse", True) for cube in spec["cubes"]):
        return spec
    cubes = [{leaf: value for leaf, value in cube.items() if leaf != "fuse"} for cube in spec["cubes"]]
    return {"fuse": False, **spec, "cubes": cubes}


def _named(entries: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((entry for entry in entries if entry.get("name") == name), {})


def _owner(cube: str, records: Iterable[Any]) -> str:
    return next((r.topology for r in records if isinstance(r, CubeRecord) and r.name == cube), "")


def _link(link: Link) -> dict[str, Any]:
    plain = {**_end(link.end), "kind": link.kind, **link.options}
    return plain | ({"peer": _end(link.peer)} if link.peer else {})


def _end(end: LinkEnd) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": end.name,
        "netns": end.netns,
        "addresses": list(end.addresses),
        "mtu": end.mtu,
        "mac": end.mac,
        "up": end.up,
    }
    plain["routes"] = [{"to": route.to, **({"via": route.via} if route.via else {})} for route in end.routes]
    return {name: value for name, value in plain.items() if value not in (None, [])}


def cube_data(
    record: CubeRecord, live: Live, reconciler: Reconciler, traced: Traced, said: Mapping[str, Any], state: bool,
    of_host: Mapping[str, Any],
) -> dict[str, Any]:
    """A live cube as a document has it; with `state`, also learned entries and counters. `said`: its applied configuration."""
    plain: dict[str, Any] = {"name": record.name, "service-name": record.service, "type": record.type}
    plain |= ({} if record.fuse else {"fuse": False}) | _shadow(record.name, live, said)
    service = reconciler.services.get(record.service)
    built = reconciler.builder.one(record.build_key)
    if service is None or built is None:
        return plain
    facts = of_cube(service.facts, of_host, live.published.get(record.name, {}))
    now = int(time.clock_gettime(time.CLOCK_MONOTONIC))
    env = Env(live.ports.get(record.name, {}), now, record.name, facts, counters=ProtocolCounters())
    config = service.config(live.tables.get(record.name, {}), built.tables, env, state=state, said=said)
    _drop_inapplicable(service.schema, config)
    plain |= _constants(record, live, service, reconciler.objects(live))
    _add_unbound(service.schema, config, said)
    if service.kind == "standard":
        ports = {entry["name"]: entry for entry in config.pop("ports", [])}
        plain["ports"] = [_port(port, ports.get(port.name, {}), traced) for port in _ports(record.name, live)]
    return plain | {name: value for name, value in config.items() if name not in plain}


def _shadow(cube: str, live: Live, said: Mapping[str, Any]) -> dict[str, bool]:
    """`shadow` if a cube has a shadow, and `span` if one of its hops points to the shadow, which copies packets; without hops,
    `span` is the document's."""
    hidden = pins.shadow(cube)
    if f"cube/{hidden}" not in live.state:
        return {}
    within = f"{pins.cube(hidden)}/"
    hops = [r for r in live.state.values() if isinstance(r, NextHopRecord) and r.cube == cube and r.side == pins.MAIN]
    span = any(hop.target.startswith(within) for hop in hops) if hops else bool(said.get("span", False))
    return {"shadow": True, "span": True} if span else {"shadow": True}


def _drop_inapplicable(schema: Mapping[str, Any], data: dict[str, Any]) -> None:
    """Delete leaves whose `when` does not hold (the outport of a DROP): rows have a field for each leaf."""
    properties = schema.get("properties", {})
    for name in list(data):
        part = properties.get(name, {})
        if name in properties and not applies(schema, name, data):
            del data[name]
        elif part.get("type") == "object":
            _drop_inapplicable(part, data[name])
        elif part.get("type") == "array" and "properties" in part.get("items", {}):
            for entry in data[name]:
                _drop_inapplicable(part["items"], entry)


def _ports(cube: str, live: Live) -> Sequence[PortRecord]:
    return sorted((r for r in live.state.values() if isinstance(r, PortRecord) and r.cube == cube), key=lambda port: port.index)


def _port(port: PortRecord, config: Mapping[str, Any], traced: Traced) -> dict[str, Any]:
    plain = {**config, "name": port.name}
    peer = traced.peers.get((port.cube, port.name))
    if peer is None and port.peer != "-" and ":" not in port.peer and port.peer not in traced.netdevs:
        peer = port.peer  # it waits for its netdev
    if peer is not None:
        plain["peer"] = peer
    if traced.tcubes.get((port.cube, port.name)):
        plain["tcubes"] = traced.tcubes[port.cube, port.name]
    return plain


def _constants(record: CubeRecord, live: Live, service: Service, by_digest: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves that are stored in the programs' frozen constants."""
    from reconciler.service.model.bindings import constants

    words: dict[str, int] = {}
    for program in live.state.values():
        if isinstance(program, ProgramRecord) and program.cube == record.name and program.object in by_digest:
            for name, offset in by_digest[program.object].constants.items():
                words[name] = int.from_bytes(program.constants[offset : offset + 4], "little")
    found: dict[str, Any] = {}
    if words.get("LOGLEVEL", len(LEVELS)) < len(LEVELS):
        found["loglevel"] = LEVELS[words["LOGLEVEL"]]
    for name, segments, node, asks_any in constants(service.schema):
        if not asks_any and name in words:
            place = found
            for segment, _ in segments[:-1]:
                place = place.setdefault(segment, {})
            enum = node.get("x-pcn-enum") or {}
            value = bool(words[name]) if node.get("type") == "boolean" else words[name]
            place[segments[-1][0]] = next((word for word, number in enum.items() if number == words[name]), value)
    return found


def _add_unbound(schema: Mapping[str, Any], config: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Add leaves that no table holds (a description) from the document, if their entry is live."""
    known = ("name", "service-name", "type", "fuse", "shadow", "span", "ports") if "x-pcn-service" in schema else ()
    for name, node in schema.get("properties", {}).items():
        if name not in said or name in known or "x-pcn-const" in node:
            continue
        if node.get("type") == "object":
            inner = config.setdefault(name, {})
            _add_unbound(node, inner, said[name])
            if not inner and said[name]:
                del config[name]
        elif node.get("type") == "array" and node.get("x-yang-key") and _is_bound(node["items"]):
            keys = node["x-yang-key"]
            spoken = {tuple(entry.get(key) for key in keys): entry for entry in said[name]}
            for entry in config.get(name, ()):
                _add_unbound(node["items"], entry, spoken.get(tuple(entry.get(key) for key in keys), {}))
        elif not _BOUND & set(node) and name not in config:
            config[name] = said[name]


_BOUND = frozenset({"x-pcn-value", "x-pcn-key", "x-pcn-table", "x-pcn-derived"})


def _is_bound(node: Mapping[str, Any]) -> bool:
    """Whether a list's entries are stored in a table, at least in part, so that they are read back."""
    inner = [part["items"] if "properties" in part.get("items", {}) else part for part in node["properties"].values()]
    return any(_BOUND & set(part) or ("properties" in part and _is_bound(part)) for part in inner)
