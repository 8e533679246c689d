"""AdminNetworkPolicies and the BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1) as rules of the policies' firewall.

    administrators' rules, by priority ──▶ NetworkPolicies ──▶ the baseline's rules ──▶ all else passes

Allow and Deny are rules that accept and drop. Pass skips the rest of the first tier. A firewall has no jump: a Pass is a copy of
the later tiers' rules, each intersected with the match of the Pass, followed by a rule that accepts. So the first match always
decides, and a Pass costs as many rules as the later tiers have.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from providers.kubernetes.policy_rules import Firewall, Others, Rule, addresses_of, port_rule, prefix_of, refused, to_named
from providers.kubernetes.state import Object, Pod, State, host_addresses

WAYS = {"ingress": ("from", "dst-set", "src"), "egress": ("to", "src-set", "dst")}
"""By the API's name of a direction: the key of its peers, the leaf for the subjects, and the end that the peers are."""
Judged = tuple[str, Rule]
"""The action (Allow, Deny or Pass), and its match."""


def admin_rules(firewall: Firewall, state: State, way: str) -> list[Judged]:
    """The first tier, sorted by priority, then by name."""
    policies = sorted(state.admin_policies.values(), key=lambda each: (each["spec"].get("priority", 0), each["metadata"]["name"]))
    return [rule for each in policies for rule in _rules(firewall, state, each, way, "AdminNetworkPolicy")]


def baseline_rules(firewall: Firewall, state: State, way: str, *, log: bool) -> list[Rule]:
    """The last tier."""
    kind, policies = "BaselineAdminNetworkPolicy", [each for _, each in sorted(state.baseline_policies.items())]
    judged = [rule for each in policies for rule in _rules(firewall, state, each, way, kind)]
    return [each for rule in judged for each in _verdict(rule, log=log)]


def with_first_tier(firewall: Firewall, first: Iterable[Judged], later: Sequence[Rule], *, log: bool) -> Iterator[Rule]:
    """All tiers in one list of which the first match decides."""
    for action, rule in first:
        if action == "Pass":
            yield from filter(None, (_both(firewall, rule, each) for each in later))
            yield rule
        else:
            yield from _verdict((action, rule), log=log)
    yield from later


def _verdict(judged: Judged, *, log: bool) -> Iterator[Rule]:
    action, rule = judged
    return iter((rule,)) if action == "Allow" else refused(rule, log=log)


# -- one policy ----------------------------------------------------------------------------------------------------------------


def _rules(firewall: Firewall, state: State, policy: Object, way: str, kind: str) -> Iterator[Judged]:
    spec, said = policy["spec"], f"{kind} {policy['metadata']['name']}"
    subject = spec.get("subject") or {}
    chosen = _pods(firewall, subject)
    subjects = [pod for pod in chosen or () if pod.is_here]
    if chosen is None:
        firewall.notes.append(f"{said} has a subject that is not known here: it is left out")
    side, leaf, end = WAYS[way]
    here = firewall.named("subjects", (subject,), addresses_of(subjects)) if subjects else ""
    for at, each in enumerate(spec.get(way) or () if subjects else ()):
        about = f"{said}, {each.get('name') or f'rule {at + 1} of {way}'}"
        for other, pods in _others(firewall, state, each, side, end, about):
            for rule in _with_ports(firewall, each.get("ports"), (leaf, here, subject, subjects), other, pods):
                yield each["action"], {**rule, "description": about}


def _pods(firewall: Firewall, said: Object) -> list[Pod] | None:
    """The pods that `namespaces` or `pods` of a subject or peer select; None if it has neither."""
    if "namespaces" in said:
        return firewall.chosen(said["namespaces"], None)
    if "pods" in said:
        return firewall.chosen(said["pods"].get("namespaceSelector") or {}, said["pods"].get("podSelector") or {})
    return None


def _others(firewall: Firewall, state: State, rule: Object, side: str, end: str, about: str) -> Iterator[Others]:
    for peer in rule.get(side) or ():
        pods = _pods(firewall, peer)
        if pods is not None:
            yield {f"{end}-set": firewall.named("others", (peer,), addresses_of(pods))}, pods
        elif "nodes" in peer:
            yield {f"{end}-set": firewall.named("nodes", (peer,), host_addresses(state, peer["nodes"]))}, ()
        elif "networks" in peer:
            yield from (({end: prefix_of(each)}, ()) for each in peer["networks"])
        else:
            what = f"{about}: {', '.join(peer) or 'an empty peer'} is not known here"
            firewall.notes.append(f"{what}: it allows nobody, and denies everybody")
            if rule["action"] == "Deny":  # the API requires that an unknown peer fails closed
                yield {}, ()


def _with_ports(
    firewall: Firewall, ports: Sequence[Object] | None, ours: tuple[str, str, Object, Sequence[Pod]], other: Mapping[str, str],
    pods: Sequence[Pod] | None,
) -> Iterator[Rule]:  # fmt: skip
    """`ours`: the leaf for the subjects, their set, their selector, and their pods."""
    leaf, here, subject, subjects = ours
    for port in ports or ({},):
        if "namedPort" in port and leaf == "dst-set":
            yield from to_named(firewall, leaf, ("subjects", subject), subjects, port["namedPort"], "", dict(other))
        elif "namedPort" in port:
            found = to_named(firewall, "dst-set", ("others", dict(other)), pods or (), port["namedPort"], "", {})
            yield from ({leaf: here, **rest} for rest in found)
        else:
            yield {leaf: here, **other, **_port(port)}


def _port(port: Object) -> Rule:
    if number := port.get("portNumber"):
        return port_rule(number.get("protocol") or "TCP", number["port"])
    if ranged := port.get("portRange"):
        return port_rule(ranged.get("protocol") or "TCP", ranged["start"], ranged["end"])
    return {}


# -- intersections of rules ----------------------------------------------------------------------------------------------------


def _both(firewall: Firewall, one: Rule, other: Rule) -> Rule | None:
    """A rule for packets that both match, with the action of `other`; None if prefixes, protocols or ports are disjoint."""
    found: Rule = {leaf: other[leaf] for leaf in ("action", "log-prefix", "description") if leaf in other}
    for end in ("src", "dst"):
        prefixes = [ipaddress.ip_network(rule[end]) for rule in (one, other) if end in rule]
        if prefixes:
            narrow = max(prefixes, key=lambda each: each.prefixlen)
            if any(each.version != narrow.version or not narrow.overlaps(each) for each in prefixes):
                return None
            found[end] = str(narrow)
        if name := _set_of_both(firewall, [rule[f"{end}-set"] for rule in (one, other) if f"{end}-set" in rule]):
            found[f"{end}-set"] = name
    protocols = {rule["l4proto"] for rule in (one, other) if "l4proto" in rule}
    spans = [_span(rule["dport"]) for rule in (one, other) if "dport" in rule]
    if len(protocols) > 1:
        return None
    if protocols:
        found["l4proto"] = protocols.pop()
    if spans:
        first, last = max(low for low, _ in spans), min(high for _, high in spans)
        if first > last:
            return None
        found["dport"] = first if first == last else f"{first}-{last}"
    return found


def _set_of_both(firewall: Firewall, names: Sequence[str]) -> str:
    """The name of the sets' intersection. Sets of pods and nodes contain addresses; those with '!' contain excluded prefixes."""
    if len(set(names)) < 2:
        return names[0] if names else ""
    key = tuple(sorted(names))
    ins = [set(firewall.sets[name]) for name in names if name[0] != "!"]
    outs = [each for name in names if name[0] == "!" for each in firewall.sets[name[1:]]]
    if not ins:
        return f"!{firewall.named('except', key, outs)}"
    without = [ipaddress.ip_network(each) for each in outs]
    left = (each for each in set.intersection(*ins) if not any(ipaddress.ip_address(each) in network for network in without))
    return firewall.named("both", key, left)


def _span(ports: Any) -> tuple[int, int]:
    first, _, last = str(ports).partition("-")
    return int(first), int(last or first)
