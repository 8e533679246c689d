"""A node's network as one topology: a pure function of the cluster's state.

    pod<i> ═ pods:s<i>   pods:up [policy] ═ (local ═) gateway:pods
                                                    gateway:up               ═ pcn-up    peers that route pods' addresses
                                                    gateway:out [masquerade] ═ pcn-out   all else
                                                    gateway:services ═ [source] host ═ pcn-host   the host's packets to services
    eth0 [edge]                                     (═ gateway:wire, which is `up` without the host's stack)

`pods`, `local` and `host` are load balancers (services.py has their services), `gateway` is a router, `policy` a firewall;
`masquerade`, `source` and `edge` translate addresses. `local` exists only while it has a service, since each packet of a pod
traverses it. The roles of the cubes are decided here and nowhere else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from providers.kubernetes.known_services import Known
from providers.kubernetes.overlay import NETDEV, Tunnel, overlay, tunnels_of
from providers.kubernetes.policies import CUBE as POLICY
from providers.kubernetes.policies import policy_cube
from providers.kubernetes.services import Served, served
from providers.kubernetes.settings import Family, Settings, Side, family_of, mac, netdev, slots_of, station
from providers.kubernetes.state import State, node_addresses, pod_ranges

UP, OUT, HOST = "pcn-up", "pcn-out", "pcn-host"  # the host's ends
FLOWS = 65536  # tracked at a time by each of `local` and `host`
EDGE_PORTS = "61000-65535"  # source ports of pods' packets out of the cluster: neither ephemeral ports of the host nor node ports
_STRETCH = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class NodeDocument:
    """`topology` is the document; `notes`: requests of the cluster that it cannot express; `health` as in services.Served;
    `routes` of the host to other nodes' pods: (prefix, next hop). `tunnels` to other nodes."""

    topology: Mapping[str, Any]
    notes: Sequence[str] = ()
    health: Mapping[int, tuple[str, str, int]] = field(default_factory=dict)
    routes: Sequence[tuple[str, str]] = ()
    tunnels: Sequence[Tunnel] = ()


@dataclass(slots=True)
class Kept:
    """A cache of the previous document's parts, for callers that build documents repeatedly. It is optional: entries are valid
    for identical objects of the API only. `policies`: the firewall with its notes, and the inputs it was built from."""

    services: Known = field(default_factory=Known)
    policies: tuple[Mapping[str, Any], Sequence[str]] = {}, ()
    policies_of: tuple[Any, ...] = ()
    policies_for: tuple[Any, ...] = ()


def node_document(state: State, node: str, settings: Settings, kept: Kept | None = None) -> NodeDocument:
    """The topology of one node. Raises ValueError if the API has no pod range for it yet, or one that is too small."""
    kept = kept or Kept()
    said = pod_ranges(state.nodes.get(("", node), {}))
    ranges = state.ranges or said
    if not said:
        raise ValueError(f"node {node} has no pod range (spec.podCIDR) yet")
    families = {family.version: family for family in (family_of(each, settings) for each in ranges)}
    found = served(state, node, families, kept.services) if settings.services == "all" else Served()
    tunnels = tuple(tunnels_of(state, node, families)) if settings.overlay else ()
    routes = () if settings.overlay else tuple(_host_routes(state, node, families))
    always = [str(address) for family in families.values() for address in (family.up.host, family.hairpin)]
    policy, notes = _policy(state, node, always, settings, kept)
    spec = {
        "links": [
            *(_link(*each, families, settings) for each in _ends(found, families, settings)),
            *overlay(state, node, families, settings, tunnels),
        ],
        "cubes": [
            _pods(found, families, settings),
            policy,
            *_local(found),
            _gateway(state, found, families, settings),
            _host(found),
            *_translators(state, node, found, families),
        ],
        "attachments": [{"netdev": settings.uplink, "tcubes": ["edge"]}],
    }
    topology = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": settings.topology}, "spec": spec}
    return NodeDocument(topology, (*_of_ranges(said, ranges), *found.notes, *notes), found.health, routes, tunnels)


def _of_ranges(said: Sequence[str], ranges: Sequence[str]) -> Iterator[str]:
    if set(ranges) != set(said):
        news = f"the API says {', '.join(said) or 'no'} pod range now"
        yield f"{news}, and {', '.join(ranges)} stays in use until no pod of this node has an address of it"


def _policy(
    state: State, node: str, always: Sequence[str], settings: Settings, kept: Kept
) -> tuple[Mapping[str, Any], Sequence[str]]:
    """The firewall and its notes: the cached ones if all their inputs are identical objects."""
    admin = (state.admin_policies, state.baseline_policies)
    given = (state.pods, state.namespaces, state.policies, state.attached, *admin, state.nodes if any(admin) else None)
    wanted = (node, tuple(always), settings)
    if not kept.policies_of or kept.policies_for != wanted or not all(map(is_, kept.policies_of, given)):
        notes: list[str] = []
        kept.policies = policy_cube(state, node, always, notes, log=settings.log_refused), notes
        kept.policies_of, kept.policies_for = given, wanted
    return kept.policies


# -- pods and gateway --------------------------------------------------------------------------------------------------------


def _pods(found: Served, families: Mapping[int, Family], settings: Settings) -> dict[str, Any]:
    """The balancer that pods are attached to. Every slot has a port from the start, which waits for its netdev."""
    leaf = {4: "ip", 6: "ipv6"}
    slots = min(slots_of(family, settings) for family in families.values())
    inward = _inward(found, "local:back", "gateway:pods")
    ports: list[dict[str, Any]] = [{"name": "up", "peer": inward, "type": "BACKEND", "tcubes": [POLICY]}]
    for slot in range(slots):
        own = {leaf[version]: str(family.slot(slot)) for version, family in families.items()}
        ports.append({"name": f"s{slot}", "peer": netdev(slot), "type": "FRONTEND", **own})
    rows = list(found.rows["pods"].values())
    own = {f"hairpin-{leaf[version]}": str(family.hairpin) for version, family in families.items()}
    return {
        "name": "pods",
        "service-name": "lbrp",
        "port_mode": "MULTI",
        "check-source": True,
        "delivery": "PEER",
        **own,
        "ports": ports,
        "service": rows,
    }


def _gateway(state: State, found: Served, families: Mapping[int, Family], settings: Settings) -> dict[str, Any]:
    """The router. Neighbours are static, since each slot has a fixed address, so none is resolved."""
    ports: list[dict[str, Any]] = [
        {"name": "pods", "peer": _inward(found, "local:front", "pods:up"), "mac": gateway_mac(families)},
        {"name": "up", "peer": _near(UP)},
        {"name": "services", "peer": "host:back"},
        {"name": "out", "peer": _near(OUT), "tcubes": ["masquerade"]},
    ]
    neighbours: list[dict[str, str]] = []
    routes: list[dict[str, str]] = []
    slots = min(slots_of(each, settings) for each in families.values())
    for version, family in families.items():
        leaf = "ip" if version == 4 else "ipv6"
        ports[0][leaf] = f"{family.gateway}/{family.pods.prefixlen}"
        stations = [family.inward, family.hairpin, *(family.slot(slot) for slot in range(slots))]
        neighbours += [_neighbour(address, "pods", station(families)) for address in stations]
        for port in ports[1:]:
            side = _side(family, port["name"])
            port[leaf] = f"{side.gateway}/{side.prefix}"
            neighbours.append(_neighbour(side.host, port["name"], _host_mac(families, port["name"])))
        routes += _routes(state, found, family, settings)
    if settings.direct:
        ports[1]["short-cut"] = "wire"
        ports.append({"name": "wire", "peer": NETDEV if settings.overlay else settings.uplink, "takes-for": "pods"})
    return {"name": "gateway", "service-name": "router", "ports": ports, "route": routes, "arp-table": neighbours}


def gateway_mac(families: Mapping[int, Family]) -> str:
    """The MAC address of the gateway's port to the pods: they have it as a permanent neighbour."""
    return mac(families[min(families)].gateway)


def _neighbour(address: Any, port: str, station: str) -> dict[str, str]:
    return {"address": str(address), "interface": port, "mac": station}


def _routes(state: State, found: Served, family: Family, settings: Settings) -> Iterator[dict[str, str]]:
    """By `up` to peers that route pods' addresses, inward to services of pods here, to the host's balancer for replies to the
    node's own address, and by `out` to everything else."""
    up = [*settings.not_masqueraded]
    for _, node in sorted(state.nodes.items()):
        up += [*pod_ranges(node), *(_whole(ipaddress.ip_address(each)) for each in node_addresses(node))]
    for network in sorted({ipaddress.ip_network(each, strict=False) for each in up} - {family.pods}, key=str):
        if network.version == family.version:
            yield {"network": str(network), "nexthop": str(family.up.host)}
    for prefix in (_whole(family.up.virtual), *_taken(found, "local", family.version)):
        yield {"network": prefix, "nexthop": str(family.inward)}
    yield {"network": _whole(family.node), "nexthop": str(family.services.host)}
    yield {"network": "0.0.0.0/0" if family.version == 4 else "::/0", "nexthop": str(family.out.host)}


# -- the host ------------------------------------------------------------------------------------------------------------------


def _inward(found: Served, local: str, other: str) -> str:
    """The peer of a port between pods and gateway: that of `local` if this exists, else the `other` end."""
    return local if found.rows["local"] else other


def _local(found: Served) -> Iterator[dict[str, Any]]:
    """The balancer for clients that keep their address. All replies of pods pass it."""
    if not found.rows["local"]:
        return
    front = {"name": "front", "peer": "gateway:pods", "type": "FRONTEND"}
    back = {"name": "back", "peer": "pods:up", "type": "BACKEND"}
    rows = list(found.rows["local"].values())
    yield {"name": "local", "service-name": "lbrp", "max-flows": FLOWS, "ports": [front, back], "service": rows}


def _host(found: Served) -> dict[str, Any]:
    """The host's balancer. Behind it clients have the node's address in the pod range, so that replies return through it."""
    front = {"name": "front", "peer": _near(HOST), "type": "FRONTEND"}
    back = {"name": "back", "peer": "gateway:services", "type": "BACKEND", "tcubes": ["source"]}
    rows = list(found.rows["host"].values())
    return {"name": "host", "service-name": "lbrp", "max-flows": FLOWS, "ports": [front, back], "service": rows}


def _translators(state: State, node: str, found: Served, families: Mapping[int, Family]) -> Iterator[dict[str, Any]]:
    leaf = {4: "external-ip", 6: "external-ipv6"}
    own = {leaf[version]: str(family.node) for version, family in families.items()}
    yield {"name": "source", "service-name": "nat", "rule": {"masquerade": {"enabled": True, **own}}}
    masked = [_source(number, str(family.pods), family.masked) for number, family in enumerate(families.values())]
    yield {"name": "masquerade", "service-name": "nat", "rule": {"snat": {"entry": masked}}}
    mine = [ipaddress.ip_address(each) for each in node_addresses(state.nodes[("", node)])]
    mine = [each for each in mine if each.version in families]
    leaving = [
        _source(number, _whole(families[each.version].masked), each)
        for number, each in enumerate({each.version: each for each in reversed(mine)}.values())
    ]
    forwarded = [
        {"external-ip": str(address), "external-port": each.port, "proto": each.protocol, "internal-port": each.port,
         "internal-ip": str(_virtual(families[each.version], each.balancer))}
        for address in mine for each in sorted(found.ports) if each.version == address.version
    ]  # fmt: skip
    entries = [{"id": number, **each} for number, each in enumerate(_once(forwarded))]
    rules = {"snat": {"entry": leaving}, "port-forwarding": {"entry": entries}}
    yield {"name": "edge", "service-name": "nat", "port-range": EDGE_PORTS, "rule": rules}


def _once(forwarded: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One rule for each port, the first: a host port and a node port may be equal."""
    seen = {(each["external-ip"], each["external-port"], each["proto"]): each for each in reversed(forwarded)}
    return reversed(seen.values())


def _source(number: int, inside: str, outside: Any) -> dict[str, Any]:
    return {"id": number, "internal-net": inside, "external-ip": str(outside)}


def _virtual(family: Family, balancer: str) -> Any:
    return family.up.virtual if balancer == "local" else family.services.virtual


def _side(family: Family, port: str) -> Side:
    return {"up": family.up, "services": family.services, "out": family.out}[port]


def _host_mac(families: Mapping[int, Family], port: str) -> str:
    return mac(_side(families[min(families)], port).host)


def _ends(
    found: Served, families: Mapping[int, Family], settings: Settings
) -> Iterator[tuple[str, str, list[str], list[dict[str, str]]]]:
    """The links to the host: name, port of the gateway behind it, addresses and routes of the host's end."""
    for name, port in ((UP, "up"), (OUT, "out"), (HOST, "services")):
        addresses: list[str] = []
        routes: list[dict[str, str]] = []
        for version, family in families.items():
            side = _side(family, port)
            addresses.append(f"{side.host}/{side.prefix}")
            leading = {
                "up": [str(family.pods), _whole(side.virtual), *_taken(found, "local", version)],
                "out": [_whole(family.masked)],
                "services": [_whole(side.virtual), *_ranges(settings, version), *_taken(found, "host", version)],
            }[port]
            routes += [{"to": prefix, "via": str(side.gateway)} for prefix in leading]
        yield name, port, addresses, routes


def _whole(address: Any) -> str:
    return f"{address}/{_STRETCH[address.version]}"


def _taken(found: Served, balancer: str, version: int) -> list[str]:
    addresses = [ipaddress.ip_address(each) for each in sorted(found.taken[balancer])]
    return [_whole(each) for each in addresses if each.version == version]


def _ranges(settings: Settings, version: int) -> list[str]:
    if settings.services != "all":
        return []
    return [each for each in settings.service_ranges if ipaddress.ip_network(each).version == version]


def _link(
    name: str, port: str, addresses: list[str], routes: list[dict[str, str]], families: Mapping[int, Family], settings: Settings
) -> dict[str, Any]:
    far = {"name": name, "mac": _host_mac(families, port), "mtu": settings.mtu, "addresses": addresses, "routes": routes}
    return {"name": _near(name), "kind": "veth", "mtu": settings.mtu, "peer": far}


def _near(name: str) -> str:
    """The cubes' end of a link to the host."""
    return f"{name}-gw"


def _host_routes(state: State, node: str, families: Mapping[int, Family]) -> Iterator[tuple[str, str]]:
    """Direct routing: another node's pods are behind its address of the same family."""
    for (_, name), other in sorted(state.nodes.items()):
        hops = {ipaddress.ip_address(each).version: each for each in reversed(node_addresses(other))}
        for prefix in pod_ranges(other) if name != node else ():
            version = ipaddress.ip_network(prefix).version
            if version in families and version in hops and ipaddress.ip_network(prefix) != families[version].pods:
                yield prefix, hops[version]
