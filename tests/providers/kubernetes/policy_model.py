"""NetworkPolicy by the words of the API reference (networking.k8s.io/v1), and by nothing else: may a connection begin?

Written without a look at providers/: it goes over policies for one flow, where the provider makes rules for all.

- "If no policies select a pod, all traffic to and from it is allowed"; with one or more that select it for a direction, what any
  of them allows is allowed ("they do not conflict, they are additive").
- `podSelector` of a policy: pods in its namespace; empty: all. `policyTypes`: without it Ingress, and Egress if there are egress rules.
- A rule allows a peer AND a port; an empty or missing list of peers means all, as does one of ports.
- A peer: `ipBlock` alone; `podSelector` in the policy's namespace; `namespaceSelector`: all pods of those namespaces; both: the pods
  so selected in the namespaces so selected.
- A port: `protocol` (TCP), `port` a number or the name of a port of the pod that gets the packet, `endPort`; without `port`: all.
"""
from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from providers.kubernetes.state import State


class Flow(NamedTuple):
    """The first packet of a connection."""

    src: str
    dst: str
    protocol: str
    port: int


def may_pass(state: State, by_address: Mapping[str, Any], flow: Flow, way: str) -> bool:
    """`way` is ingress, for the pod at its destination, or egress, for the one at its source."""
    subject = by_address[flow.dst if way == "ingress" else flow.src]
    other = flow.src if way == "ingress" else flow.dst
    selecting = [each for each in state.policies.values() if _selects(each, subject, way)]
    return not selecting or any(
        _peers_allow(state, by_address, each["metadata"]["namespace"], rule, other, way) and _ports_allow(by_address, rule, flow)
        for each in selecting
        for rule in each["spec"].get(way, [])
    )


def _selects(policy: Any, pod: Any, way: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes")
    if not types:
        types = ["Ingress"]
        if len(spec.get("egress", [])) > 0:
            types = [*types, "Egress"]
    same_space = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return way.capitalize() in types and same_space and _labelled(spec["podSelector"], pod["metadata"]["labels"])


def _peers_allow(state: State, by_address: Mapping[str, Any], space: str, rule: Any, address: str, way: str) -> bool:
    peers = rule.get("from" if way == "ingress" else "to")
    return not peers or any(_is_peer(state, by_address, space, peer, address) for peer in peers)


def _is_peer(state: State, by_address: Mapping[str, Any], space: str, peer: Any, address: str) -> bool:
    if "ipBlock" in peer:
        inside = ipaddress.ip_address(address)
        block = peer["ipBlock"]
        excepted = any(inside in ipaddress.ip_network(each) for each in block.get("except", []))
        return inside in ipaddress.ip_network(block["cidr"]) and not excepted
    pod = by_address.get(address)
    if pod is None:
        return False
    its_space = pod["metadata"]["namespace"]
    if "namespaceSelector" not in peer:
        return its_space == space and _labelled(peer["podSelector"], pod["metadata"]["labels"])
    labels = state.namespaces["", its_space]["metadata"]["labels"]
    if not _labelled(peer["namespaceSelector"], labels):
        return False
    return "podSelector" not in peer or _labelled(peer["podSelector"], pod["metadata"]["labels"])


def _ports_allow(by_address: Mapping[str, Any], rule: Any, flow: Flow) -> bool:
    ports = rule.get("ports")
    return not ports or any(_is_port(by_address, port, flow) for port in ports)


def _is_port(by_address: Mapping[str, Any], port: Any, flow: Flow) -> bool:
    if port.get("protocol", "TCP") != flow.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return wanted <= flow.port <= port.get("endPort", wanted)
    pod = by_address.get(flow.dst)
    if pod is None:
        return False
    said = [each for container in pod["spec"]["containers"] for each in container["ports"]]
    return any(each["name"] == wanted and each["protocol"] == flow.protocol and each["containerPort"] == flow.port for each in said)


def _labelled(selector: Any, labels: Mapping[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions", []):
        has, values = each["key"] in labels, each.get("values", [])
        holds = {
            "In": has and labels.get(each["key"]) in values,
            "NotIn": not has or labels[each["key"]] not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }[each["operator"]]
        if not holds:
            return False
    return True
