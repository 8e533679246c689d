"""Services, their endpoints and host ports, as rows of the node's three load balancers.

| balancer | clients | backends | addresses of services |
|---|---|---|---|
| pods | this node's pods | everywhere | all |
| host | the host, and clients through it with a translated address | everywhere | all; node ports at a virtual address |
| local | clients through the host with their own address | here | of services of externalTrafficPolicy Local; host ports |
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from providers.kubernetes.known_services import Known
from providers.kubernetes.settings import Family
from providers.kubernetes.state import Object, State, node_addresses

SERVED = ("TCP", "UDP")
AFFINITY = 10800  # seconds: the API's default for ClientIP
OTHERS = frozenset({"service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"})
RINGS = (251, 4093, 65537)  # ring-size of the balancer
NOBODY = {4: "255.255.255.255/32", 6: "::/128"}  # a source range that holds no client
Row = dict[str, Any]


class Endpoint(NamedTuple):
    address: str
    port: int
    is_here: bool


class NodePort(NamedTuple):
    """A port of the node's own addresses. `balancer`: host or local, which serves it at its virtual address."""

    version: int
    port: int
    protocol: str
    balancer: str


@dataclass(slots=True)
class Served:
    """Rows by balancer, additional addresses of a balancer, the node's ports, and health checks (port -> service, endpoints
    here). `notes`: services that cannot be served, as messages."""

    rows: dict[str, dict[tuple[str, int, str], Row]] = field(default_factory=lambda: {"pods": {}, "host": {}, "local": {}})
    taken: dict[str, set[str]] = field(default_factory=lambda: {"host": set(), "local": set()})
    ports: set[NodePort] = field(default_factory=set)
    health: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, balancer: str, vip: str, port: int, protocol: str, row: Row) -> None:
        self._add(balancer, (vip, port, protocol), {"vip": vip, "vport": port, "proto": protocol, **row})

    def _add(self, balancer: str, key: tuple[str, int, str], row: Row) -> None:
        """The first service with an address and port has it; a conflict with another is a note."""
        known = self.rows[balancer].setdefault(key, row)
        if known is not row and known.get("name") != row.get("name"):
            vip, port, protocol = key
            self.notes.append(f"{row.get('name')}: {vip}:{port}/{protocol} is {known.get('name')}'s already")

    def copy(self) -> Served:
        """A copy with identical row objects."""
        rows = {balancer: dict(those) for balancer, those in self.rows.items()}
        taken = {balancer: set(addresses) for balancer, addresses in self.taken.items()}
        return Served(rows, taken, set(self.ports), dict(self.health), list(self.notes))

    def take(self, part: Served) -> None:
        """Add the part of one service. Its rows stay identical objects."""
        for balancer, rows in part.rows.items():
            for key, row in rows.items():
                self._add(balancer, key, row)
        for balancer, addresses in part.taken.items():
            self.taken[balancer] |= addresses
        self.ports |= part.ports
        self.health |= part.health
        self.notes += part.notes


def served(state: State, node: str, families: Mapping[int, Family], known: Known | None = None) -> Served:
    """All services of a cluster as this node serves them. `known` is a cache, which is updated."""
    mine = node_addresses(state.nodes.get(("", node), {}))

    def make(name: tuple[str, str], service: Object, own: list[Object]) -> Served | None:
        if not _is_served(service):
            return None
        found = Served()
        _service(found, name, service, own, node, families, mine)
        return found

    whole = (known or Known()).of_services(state, (node, families, mine), make, Served)
    if not state.attached:
        return whole
    found = whole.copy()
    for name in sorted(state.attached.keys() & state.pods.keys()):
        _host_ports(found, name, state.pods[name], state.attached[name].addresses, families)
    return found


def _is_served(service: Object) -> bool:
    """False for an ExternalName, and if a label assigns it to another proxy or marks it as headless."""
    labels = service.get("metadata", {}).get("labels") or {}
    return service.get("spec", {}).get("type") != "ExternalName" and OTHERS.isdisjoint(labels)


def _service(
    found: Served, name: tuple[str, str], service: Object, slices: Sequence[Object], node: str, families: Mapping[int, Family],
    mine: Sequence[str],
) -> None:  # fmt: skip
    spec = service["spec"]
    said = "/".join(name)
    cluster_ips = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]
    affinity = _affinity(spec)
    here: dict[tuple[str, int], bool] = {}
    for port in spec.get("ports") or ():
        protocol, title = port.get("protocol") or "TCP", f"{said}:{port.get('name') or port['port']}"
        if protocol not in SERVED:
            found.notes.append(f"{title}: {protocol} is not served, only {' and '.join(SERVED)}")
            continue
        for version, family in families.items():
            endpoints = list(_endpoints(slices, port.get("name") or "", protocol, version, node))
            near = _usable(each for each in endpoints if each[0].is_here)
            everywhere = _usable(endpoints)
            here |= {(each.address, each.port): True for each in near}
            rows = _Rows(title, affinity, everywhere, near)
            inside = rows.local() if spec.get("internalTrafficPolicy") == "Local" else rows.cluster()
            for ip in cluster_ips:
                if ipaddress.ip_address(ip).version == version:
                    for balancer in ("pods", "host"):
                        found.add(balancer, ip, port["port"], protocol, inside)
            _from_outside(found, spec, service, port, protocol, version, family, rows, mine)
    if spec.get("externalTrafficPolicy") == "Local" and spec.get("healthCheckNodePort"):
        found.health[spec["healthCheckNodePort"]] = (*name, len({address for address, _ in here}))


class _Rows(NamedTuple):
    name: str
    affinity: Row
    everywhere: Sequence[Endpoint]
    near: Sequence[Endpoint]

    def cluster(self) -> Row:
        return {"name": self.name, **self.affinity, **_backends(self.everywhere)}

    def local(self) -> Row:
        """Backends of this node only. If all are elsewhere, packets are dropped, not rejected."""
        nobody = {"no-backend": "DROP"} if self.everywhere and not self.near else {}
        return {"name": self.name, **self.affinity, **nobody, **_backends(self.near)}


def _from_outside(
    found: Served, spec: Object, service: Object, port: Object, protocol: str, version: int, family: Family, rows: _Rows,
    mine: Sequence[str],
) -> None:  # fmt: skip
    """ExternalIPs, addresses of the load balancer, the node's port. Pods reach all endpoints by them, as the API specifies."""
    is_local = spec.get("externalTrafficPolicy") == "Local"
    balancer = "local" if is_local else "host"
    row = rows.local() if is_local else rows.cluster()
    ingress = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    balanced = [each["ip"] for each in ingress if each.get("ip") and each.get("ipMode", "VIP") == "VIP"]
    ranges = _ranges(spec.get("loadBalancerSourceRanges") or (), version)
    for ip, leaves in (*((ip, {}) for ip in spec.get("externalIPs") or ()), *((ip, ranges) for ip in balanced)):
        if ipaddress.ip_address(ip).version == version:
            found.taken[balancer].add(ip)
            found.add(balancer, ip, port["port"], protocol, {**row, **leaves})
            found.add("pods", ip, port["port"], protocol, {**rows.cluster(), **leaves})
    number = port.get("nodePort")
    if number and (spec.get("type") in ("NodePort", "LoadBalancer")):
        side = family.up if is_local else family.services
        found.ports.add(NodePort(version, number, protocol, balancer))
        found.add(balancer, str(side.virtual), number, protocol, row)
        for ip in mine:
            if ipaddress.ip_address(ip).version == version:
                found.add("pods", ip, number, protocol, rows.cluster())


def _host_ports(
    found: Served, name: tuple[str, str], pod: Object, addresses: Sequence[str], families: Mapping[int, Family]
) -> None:
    for container in pod.get("spec", {}).get("containers") or ():
        for port in container.get("ports") or ():
            protocol = port.get("protocol") or "TCP"
            if not port.get("hostPort"):
                continue
            if protocol not in SERVED:
                found.notes.append(f"{'/'.join(name)}: host port {port['hostPort']}/{protocol} is not served")
                continue
            for address in addresses:
                version = ipaddress.ip_address(address).version
                backend = {"ip": address, "port": port["containerPort"]}
                row = {"name": f"{'/'.join(name)}:{port['hostPort']}", "backend": [backend]}
                found.ports.add(NodePort(version, port["hostPort"], protocol, "local"))
                found.add("local", str(families[version].up.virtual), port["hostPort"], protocol, row)


def _endpoints(
    slices: Iterable[Object], port_name: str, protocol: str, version: int, node: str
) -> Iterator[tuple[Endpoint, bool, bool]]:
    """(endpoint, ready, still serving while it terminates) of one port of a service."""
    for each in slices:
        if each.get("addressType", "IPv4") != f"IPv{version}":
            continue
        numbers = [port["port"] for port in each.get("ports") or () if _is_port(port, port_name, protocol)]
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready") is not False  # absent counts as ready
            serving = conditions.get("serving", ready) is not False and bool(conditions.get("terminating"))
            where = endpoint.get("nodeName") or (endpoint.get("topology") or {}).get("kubernetes.io/hostname")
            for number in numbers:
                yield Endpoint(endpoint["addresses"][0], number, where == node), ready, serving


def _is_port(port: Object, name: str, protocol: str) -> bool:
    return (port.get("name") or "") == name and (port.get("protocol") or "TCP") == protocol and bool(port.get("port"))


def _usable(endpoints: Iterable[tuple[Endpoint, bool, bool]]) -> list[Endpoint]:
    """The ready ones; if there is none, those that terminate and still serve. Sorted."""
    found = list(endpoints)
    ready = {endpoint for endpoint, is_ready, _ in found if is_ready}
    return sorted(ready or {endpoint for endpoint, _, serves in found if serves})


def _backends(endpoints: Iterable[Endpoint]) -> Row:
    backends = {(each.address, each.port): {"ip": each.address, "port": each.port} for each in endpoints}
    return {**_ring(len(backends)), "backend": list(backends.values())} if backends else {}


def _ring(backends: int) -> Row:
    """A ring with shares equal within 10 %: for thousands of services a sixteenth of the memory and time of the balancer's
    default of 2 %. Established flows do not use it, and kube-proxy chooses at random."""
    return {"ring-size": next((size for size in RINGS if size >= 10 * backends), RINGS[-1])} if backends > 5 else {}


def _affinity(spec: Object) -> Row:
    if spec.get("sessionAffinity") != "ClientIP":
        return {}
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds") or AFFINITY
    return {"affinity-timeout": seconds}


def _ranges(said: Iterable[str], version: int) -> Row:
    """The ranges of one family. If all are of the other one, no client is allowed."""
    networks = [ipaddress.ip_network(each.strip(), strict=False) for each in said]
    if not networks:
        return {}
    return {"source-range": sorted(str(each) for each in networks if each.version == version) or [NOBODY[version]]}
