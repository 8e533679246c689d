"""The state of a cluster: API objects as they are served, by namespace and name, and the pods that are attached here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from providers.kubernetes.selectors import selects

Object = Mapping[str, Any]
Name = tuple[str, str]  # namespace ('' where there is none) and name


@dataclass(frozen=True, slots=True)
class Attached:
    """A pod of this node with a slot from the CNI plugin, whether or not the API has its address yet."""

    slot: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """Objects of the API by kind. `attached` is by the namespace and name of the pod. `ranges`: the node's pod
    ranges that are in use (ranges_in_use); none: the API's."""

    nodes: Mapping[Name, Object] = field(default_factory=dict)
    namespaces: Mapping[Name, Object] = field(default_factory=dict)
    pods: Mapping[Name, Object] = field(default_factory=dict)
    services: Mapping[Name, Object] = field(default_factory=dict)
    slices: Mapping[Name, Object] = field(default_factory=dict)
    policies: Mapping[Name, Object] = field(default_factory=dict)
    attached: Mapping[Name, Attached] = field(default_factory=dict)
    ranges: tuple[str, ...] = ()
    admin_policies: Mapping[Name, Object] = field(default_factory=dict)
    baseline_policies: Mapping[Name, Object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as policies see it: on the cluster's network, and not terminated."""

    name: Name
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number
    is_here: bool


def pods_of(state: State, node: str) -> Iterator[Pod]:
    """All pods with addresses, sorted by name, but terminated ones and those in their node's network, which policies ignore."""
    for name, pod in sorted(state.pods.items()):
        spec, status = pod.get("spec", {}), pod.get("status", {})
        if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
            continue
        here = state.attached.get(name)
        said = status.get("podIPs") or ([{"ip": status["podIP"]}] if status.get("podIP") else [])
        addresses = here.addresses if here is not None else tuple(each["ip"] for each in said if each.get("ip"))
        if addresses:
            labels = pod.get("metadata", {}).get("labels") or {}
            yield Pod(name, labels, addresses, tuple(_ports(spec)), here is not None or spec.get("nodeName") == node)


def _ports(spec: Object) -> Iterator[tuple[str, str, int]]:
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for port in container.get("ports") or ():
            if port.get("name"):
                yield port["name"], port.get("protocol") or "TCP", port["containerPort"]


def pod_ranges(node: Object) -> tuple[str, ...]:
    """The pod ranges of one node, at most one for each family."""
    spec = node.get("spec", {})
    return tuple(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


def ranges_in_use(said: Sequence[str], used: Sequence[str], addresses: Iterable[str]) -> tuple[str, ...]:
    """A node's pod ranges: the API's (`said`); but those in `used` while the API has none, or one of `addresses`, of the node's
    pods, is in a range that the API no longer has."""
    known = {ip_network(each) for each in said}
    gone = [each for each in map(ip_network, used) if each not in known]
    stay = any(ip_address(each) in network for each in addresses for network in gone)
    return tuple(used) if stay or not said else tuple(said)


def host_addresses(state: State, selector: Object) -> list[str]:
    """InternalIP and ExternalIP addresses of the nodes that a selector matches."""
    chosen = (node for node in state.nodes.values() if selects(selector, node.get("metadata", {}).get("labels") or {}))
    said = (each for node in chosen for each in node.get("status", {}).get("addresses") or ())
    return [each["address"] for each in said if each.get("type") in ("InternalIP", "ExternalIP")]


def node_addresses(node: Object) -> tuple[str, ...]:
    found = node.get("status", {}).get("addresses") or ()
    return tuple(each["address"] for each in found if each.get("type") == "InternalIP")
