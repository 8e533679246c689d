"""The policies of a cluster as one firewall between a node's pods and all else.

    pods ──▶ EGRESS (packets from pods) ──▶ everything else, or a pod here ──▶ INGRESS (packets to pods) ──▶ pods

A selector is a named set of addresses: new and deleted pods are rows of sets, and rules change only with policies. The rules
of a chain: packets that a policy allows are accepted, then packets to (or from) an isolated pod are dropped, by a rule for each
set of policies that isolates pods, and all others pass; before and after these are administrators' tiers (admin_policies.py).
Established connections are evaluated again when rules or sets change; one between two pods of the node has to be accepted by
both chains.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from providers.kubernetes.admin_policies import admin_rules, baseline_rules, with_first_tier
from providers.kubernetes.policy_rules import (
    Firewall,
    Others,
    Rule,
    addresses_of,
    member_of,
    port_rule,
    prefix_of,
    refused,
    to_named,
)
from providers.kubernetes.selectors import selects
from providers.kubernetes.state import Object, Pod, State, pods_of

CUBE = "policy"
NOBODY = "nobody"
"""An empty set that no rule matches on. With a set, a firewall has the programs for lookups in sets, so that a node's first
policy loads none; packets traverse them only once a rule matches on a set."""
_STEP = 10  # between the ids of rules
_RELATED: Rule = {"conntrack": "RELATED", "description": "ICMP errors about connections"}


def policy_cube(
    state: State, node: str, always: Sequence[str], notes: list[str], *, log: bool = False
) -> dict[str, Any]:
    """The firewall. `always`: addresses that reach pods here regardless of policies (kubelet's probes, a pod that calls
    itself). `log`: refused packets are logged, too."""
    namespaces = {name[1]: each.get("metadata", {}).get("labels") or {} for name, each in state.namespaces.items()}
    firewall = Firewall(tuple(pods_of(state, node)), namespaces, notes=notes)
    incoming, outgoing = _network_policies(firewall, state, log=log)
    incoming = [*({"src": address} for address in always), *_tiers(firewall, state, "ingress", incoming, log=log)]
    chains = [
        _chain("INGRESS", [_RELATED, *incoming]),
        _chain("EGRESS", [_RELATED, *_tiers(firewall, state, "egress", outgoing, log=log)]),
    ]
    found = {NOBODY: (), **firewall.sets}
    sets = [{"name": name, "prefix": list(members)} for name, members in sorted(found.items())]
    return {"name": CUBE, "service-name": "firewall", "policy-rematch": "ON", "set": sets, "chain": chains}


def _tiers(firewall: Firewall, state: State, way: str, rules: Sequence[Rule], *, log: bool) -> Iterable[Rule]:
    later = [*rules, *baseline_rules(firewall, state, way, log=log)]
    return with_first_tier(firewall, admin_rules(firewall, state, way), later, log=log)


def _network_policies(firewall: Firewall, state: State, *, log: bool) -> tuple[list[Rule], list[Rule]]:
    """The rules of INGRESS, and those of EGRESS."""
    incoming: list[Rule] = []
    outgoing: list[Rule] = []
    isolated: dict[str, dict[str, list[str]]] = {"in": {}, "out": {}}  # by address, the policies that isolate it
    for (namespace, name), policy in sorted(state.policies.items()):
        spec = policy.get("spec", {})
        subjects = [pod for pod in firewall.pods if pod.is_here and _is_subject(pod, namespace, spec)]
        if not subjects:
            continue
        said = f"{namespace}/{name}"
        key = (namespace, spec.get("podSelector") or {})
        types = _types(spec)
        if "Ingress" in types:
            _isolate(isolated["in"], subjects, said)
            incoming += _described(said, _allowed(firewall, namespace, key, subjects, spec.get("ingress") or (), "from"))
        if "Egress" in types:
            _isolate(isolated["out"], subjects, said)
            outgoing += _described(said, _allowed(firewall, namespace, key, subjects, spec.get("egress") or (), "to"))
    incoming += _refusals(firewall, "in", "dst-set", isolated["in"], log=log)
    outgoing += _refusals(firewall, "out", "src-set", isolated["out"], log=log)
    return incoming, outgoing


def _isolate(isolated: dict[str, list[str]], pods: Sequence[Pod], policy: str) -> None:
    for address in addresses_of(pods):
        isolated.setdefault(address, []).append(policy)


def _refusals(
    firewall: Firewall, way: str, leaf: str, isolated: Mapping[str, Sequence[str]], *, log: bool
) -> Iterator[Rule]:
    """Drops what no policy has allowed. Pods isolated by the same policies share a rule, whose description names them."""
    together: dict[tuple[str, ...], list[str]] = {}
    for address, policies in isolated.items():
        together.setdefault(tuple(policies), []).append(address)
    for policies, addresses in sorted(together.items()):
        rule = {leaf: firewall.named(f"refused-{way}", policies, addresses), "description": ", ".join(policies)}
        yield from refused(rule, log=log)


def _chain(name: str, rules: Iterable[Rule]) -> dict[str, Any]:
    """A chain without duplicates: two policies may have equal rules."""
    seen: dict[tuple[Any, ...], Rule] = {}
    for rule in rules:
        seen.setdefault(tuple(sorted((leaf, value) for leaf, value in rule.items() if leaf != "description")), rule)
    return {"name": name, "rule": [{"id": _STEP * at, "action": "ACCEPT", **rule} for at, rule in enumerate(seen.values())]}


def _described(said: str, rules: Iterable[Rule]) -> Iterator[Rule]:
    return ({**rule, "description": said} for rule in rules)


def _types(spec: Object) -> Sequence[str]:
    """Without policyTypes: Ingress, and Egress if there are egress rules."""
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _is_subject(pod: Pod, namespace: str, spec: Object) -> bool:
    return pod.name[0] == namespace and selects(spec.get("podSelector") or {}, pod.labels)


def _allowed(
    firewall: Firewall, namespace: str, key: tuple[Any, ...], subjects: Sequence[Pod], rules: Iterable[Object], side: str
) -> Iterator[Rule]:
    """The rules of one direction of a policy. `side` is the API's key of the list of peers: from or to."""
    ours, theirs = ("dst-set", "src") if side == "from" else ("src-set", "dst")
    here = firewall.named("pods", key, addresses_of(subjects))
    for rule in rules:
        others = list(_peers(firewall, namespace, rule.get(side) or (), theirs)) if rule.get(side) else [(dict[str, str](), None)]
        for port in rule.get("ports") or (None,):
            for other, pods in others:
                if port is None:
                    yield {ours: here, **other}
                    continue
                protocol, number = port.get("protocol") or "TCP", port.get("port")
                if not isinstance(number, str):
                    yield {ours: here, **other, **port_rule(protocol, number, port.get("endPort"))}
                elif side == "from":
                    yield from to_named(firewall, ours, key, subjects, number, protocol, other)
                else:
                    found = firewall.pods if other == {} else pods or ()
                    peer = (other, namespace) if other else ("everybody",)
                    yield from ({ours: here, **rest} for rest in to_named(firewall, "dst-set", peer, found, number, protocol, {}))


def _peers(
    firewall: Firewall, namespace: str, peers: Iterable[Object], end: str
) -> Iterator[Others]:
    """The selected peers, as leaves of a rule; with the pods, if pods are selected."""
    for peer in peers:
        block = peer.get("ipBlock")
        if block:
            said = {end: prefix_of(block["cidr"])}
            if block.get("except"):
                excepted = sorted({member_of(each) for each in block["except"]})
                without = firewall.named("except", tuple(excepted), excepted)
                said[f"{end}-set"] = f"!{without}"
            yield said, list(_in_block(firewall.pods, block))
            continue
        spaces = peer.get("namespaceSelector")
        chosen = firewall.chosen(spaces, peer.get("podSelector"), namespace)
        key = (spaces if spaces is not None else namespace, peer.get("podSelector") or {})
        yield {f"{end}-set": firewall.named("peers", key, addresses_of(chosen))}, chosen


def _in_block(pods: Sequence[Pod], block: Object) -> Iterator[Pod]:
    """The pods with addresses in a block, with those only: named ports are resolved there, too."""
    inside = ipaddress.ip_network(prefix_of(block["cidr"]))
    without = [ipaddress.ip_network(prefix_of(each)) for each in block.get("except") or ()]
    for pod in pods:
        found = {each: ipaddress.ip_address(each) for each in pod.addresses}
        kept = tuple(each for each, address in found.items() if address in inside and not any(address in net for net in without))
        if kept:
            yield replace(pod, addresses=kept)
