"""AdminNetworkPolicy and BaselineAdminNetworkPolicy by the words of their API (policy.networking.k8s.io/v1alpha1): may a connection begin?

Written without a look at providers/: it goes over policies for one flow, where the provider makes rules for all.

- "Policies with lower priority values have higher precedence"; within one the rules' order is their precedence, and the first that
  matches the peer and a port decides: Allow, Deny, or Pass, which "instructs the selected traffic to skip any remaining ANP rules, and
  then pass execution to any NetworkPolicies that select the pod. If the pod is not selected by any NetworkPolicies then execution is
  passed to any BaselineAdminNetworkPolicies that select the pod".
- A subject: `namespaces`, all pods of those, or `pods`, by both selectors. Pods of the host's network are no subjects.
- A peer: the same, and of egress `nodes` by their labels and `networks` by CIDR.
- No ports: all. `portNumber`, `portRange` with both ends in it; `namedPort`: the port of that name of the pod that gets the packet ("there
  are no namedPorts for networks/nodes": the API refuses it beside these).
- What nothing has decided is allowed.
"""
from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from providers.kubernetes.state import State
from tests.providers.kubernetes.policy_model import Flow, _labelled, _selects, may_pass


def may_pass_all_tiers(state: State, by_address: Mapping[str, Any], flow: Flow, way: str) -> bool:
    subject = by_address[flow.dst if way == "ingress" else flow.src]
    by_priority = sorted(state.admin_policies.values(), key=lambda policy: policy["spec"]["priority"])
    action = _first_action(state, by_address, by_priority, subject, flow, way)
    if action not in ("Pass", None):
        return action == "Allow"
    if any(_selects(policy, subject, way) for policy in state.policies.values()):
        return may_pass(state, by_address, flow, way)
    return _first_action(state, by_address, list(state.baseline_policies.values()), subject, flow, way) in ("Allow", None)


def _first_action(state: State, by_address: Mapping[str, Any], policies: list[Any], subject: Any, flow: Flow, way: str) -> str | None:
    for policy in policies:
        if _is_pod_of(state, policy["spec"]["subject"], subject):
            for rule in policy["spec"].get(way, []):
                if _is_peer(state, by_address, rule, flow, way) and _is_port(by_address, rule, flow):
                    return str(rule["action"])
    return None


def _is_pod_of(state: State, chosen: Any, pod: Any) -> bool:
    labels = state.namespaces["", pod["metadata"]["namespace"]]["metadata"]["labels"]
    if "namespaces" in chosen:
        return _labelled(chosen["namespaces"], labels)
    both = chosen.get("pods")
    return both is not None and _labelled(both["namespaceSelector"], labels) and _labelled(both["podSelector"], pod["metadata"]["labels"])


def _is_peer(state: State, by_address: Mapping[str, Any], rule: Any, flow: Flow, way: str) -> bool:
    other = flow.src if way == "ingress" else flow.dst
    for peer in rule["from" if way == "ingress" else "to"]:
        if "networks" in peer and any(ipaddress.ip_address(other) in ipaddress.ip_network(each) for each in peer["networks"]):
            return True
        if "nodes" in peer:
            chosen = [node for node in state.nodes.values() if _labelled(peer["nodes"], node["metadata"].get("labels", {}))]
            if any(each["address"] == other for node in chosen for each in node["status"]["addresses"]):
                return True
        if other in by_address and _is_pod_of(state, peer, by_address[other]):
            return True
    return False


def _is_port(by_address: Mapping[str, Any], rule: Any, flow: Flow) -> bool:
    if "ports" not in rule:
        return True
    pod = by_address.get(flow.dst)
    named = [each for container in pod["spec"]["containers"] for each in container["ports"]] if pod is not None else []
    for port in rule["ports"]:
        one = port.get("portNumber")
        if one and (one["protocol"], one["port"]) == (flow.protocol, flow.port):
            return True
        several = port.get("portRange")
        if several and several["protocol"] == flow.protocol and several["start"] <= flow.port <= several["end"]:
            return True
        for each in named:
            if each["name"] == port.get("namedPort") and (each["protocol"], each["containerPort"]) == (flow.protocol, flow.port):
                return True
    return False
