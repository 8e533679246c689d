"""NetworkPolicies of a cluster as one firewall between a node's pods and all else.

    pods ──▶ EGRESS (what pods may send) ──▶ all else, or back to a pod here ──▶ INGRESS (what pods may get) ──▶ pods

A selector is a named set of addresses: pods that come and go are rows of sets, and rules change only with policies. The rules
of a chain: what a policy allows is accepted, then what is for an isolated pod (or from one) is dropped, by a rule for each set of
policies that isolates pods, and all else passes. Connections that are open are looked up again when rules or sets change; between
two pods of the node one passes both chains, and each has to accept it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from providers.kubernetes.selectors import digest, selects
from providers.kubernetes.state import Object, Pod, State, pods_of

CUBE = "policy"
LOG_PREFIX = "refused: "  # of the lines that tell who was refused
_STEP = 10  # between the numbers of rules
Rule = dict[str, Any]
Peer = dict[str, str]  # the leaves of a rule that say who the other end is
_RELATED: Rule = {"conntrack": "RELATED", "description": "ICMP errors about connections"}


@dataclass(slots=True)
class _Firewall:
    """One node's sets and rules, as they are found. `notes` say what cannot be said in rules."""

    pods: Sequence[Pod]
    namespaces: Mapping[str, Mapping[str, str]]
    sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def named(self, kind: str, key: tuple[Any, ...], addresses: Iterable[str]) -> str:
        """A set by what it stands for, whatever is in it now."""
        name = f"{kind}-{digest(*key)}"
        self.sets[name] = tuple(sorted(set(addresses)))
        return name


def policy_cube(
    state: State, node: str, always: Sequence[str], notes: list[str], *, log: bool = False
) -> dict[str, Any]:
    """The firewall. `always`: addresses that reach pods here whatever policies say (kubelet's probes, a pod that calls
    itself). `log`: what is refused is written to the log, too."""
    namespaces = {name[1]: each.get("metadata", {}).get("labels") or {} for name, each in state.namespaces.items()}
    firewall = _Firewall(tuple(pods_of(state, node)), namespaces, notes=notes)
    incoming: list[Rule] = [_RELATED, *({"src": address} for address in always)]
    outgoing: list[Rule] = [_RELATED]
    isolated: dict[str, dict[str, list[str]]] = {"in": {}, "out": {}}  # by address, the policies that do it
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
    sets = [{"name": name, "prefix": list(found)} for name, found in sorted(firewall.sets.items())]
    chains = [_chain("INGRESS", incoming), _chain("EGRESS", outgoing)]
    return {"name": CUBE, "service-name": "firewall", "policy-rematch": "ON", **({"set": sets} if sets else {}), "chain": chains}


def _isolate(isolated: dict[str, list[str]], pods: Sequence[Pod], policy: str) -> None:
    for address in _addresses(pods):
        isolated.setdefault(address, []).append(policy)


def _refusals(
    firewall: _Firewall, way: str, leaf: str, isolated: Mapping[str, Sequence[str]], *, log: bool
) -> Iterator[Rule]:
    """What no policy has allowed. Pods that the same policies isolate share a rule, which says which."""
    together: dict[tuple[str, ...], list[str]] = {}
    for address, policies in isolated.items():
        together.setdefault(tuple(policies), []).append(address)
    for policies, addresses in sorted(together.items()):
        rule = {leaf: firewall.named(f"refused-{way}", policies, addresses), "description": ", ".join(policies)}
        if log:
            yield {**rule, "action": "LOG", "log-prefix": LOG_PREFIX}
        yield {**rule, "action": "DROP"}


def _chain(name: str, rules: Iterable[Rule]) -> dict[str, Any]:
    """The same rule twice is one: two policies may say the same."""
    seen: dict[tuple[Any, ...], Rule] = {}
    for rule in rules:
        seen.setdefault(tuple(sorted((leaf, value) for leaf, value in rule.items() if leaf != "description")), rule)
    return {"name": name, "rule": [{"id": _STEP * at, "action": "ACCEPT", **rule} for at, rule in enumerate(seen.values())]}


def _described(said: str, rules: Iterable[Rule]) -> Iterator[Rule]:
    return ({**rule, "description": said} for rule in rules)


def _types(spec: Object) -> Sequence[str]:
    """Without the field: Ingress, and Egress if there are egress rules."""
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _is_subject(pod: Pod, namespace: str, spec: Object) -> bool:
    return pod.name[0] == namespace and selects(spec.get("podSelector") or {}, pod.labels)


def _addresses(pods: Iterable[Pod]) -> set[str]:
    return {address for pod in pods for address in pod.addresses}


def _allowed(
    firewall: _Firewall, namespace: str, key: tuple[Any, ...], subjects: Sequence[Pod], rules: Iterable[Object], side: str
) -> Iterator[Rule]:
    """The rules that one direction of a policy is. `side` is the API's word for the list of others: from or to."""
    ours, theirs = ("dst-set", "src") if side == "from" else ("src-set", "dst")
    here = firewall.named("pods", key, _addresses(subjects))
    for rule in rules:
        others = list(_peers(firewall, namespace, rule.get(side) or (), theirs)) if rule.get(side) else [(dict[str, str](), None)]
        for port in rule.get("ports") or (None,):
            for other, pods in others:
                if port is None:
                    yield {ours: here, **other}
                elif not isinstance(port.get("port"), str):
                    yield {ours: here, **other, **_port(port)}
                elif side == "from":
                    yield from _to_named(firewall, ours, key, subjects, port, other)
                else:
                    found = firewall.pods if other == {} else pods or ()
                    peer = (other, namespace) if other else ("everybody",)
                    yield from ({ours: here, **rest} for rest in _to_named(firewall, "dst-set", peer, found, port, {}))


def _to_named(
    firewall: _Firewall, leaf: str, key: tuple[Any, ...], pods: Sequence[Pod], port: Object, other: Peer
) -> Iterator[Rule]:
    """A port's name is what each pod that gets the packet says it is: a set of pods for each number."""
    protocol, name = port.get("protocol") or "TCP", port["port"]
    numbers: dict[int, list[Pod]] = {}
    for pod in pods:
        for number in {number for found, proto, number in pod.ports if (found, proto) == (name, protocol)}:
            numbers.setdefault(number, []).append(pod)
    for number, having in sorted(numbers.items()):
        chosen = firewall.named("port", (*key, name, protocol, number), _addresses(having))
        yield {leaf: chosen, **other, "l4proto": protocol, "dport": number}


def _port(port: Object) -> dict[str, Any]:
    """A port by number, a range, or all of a protocol."""
    said: dict[str, Any] = {"l4proto": port.get("protocol") or "TCP"}
    first, last = port.get("port"), port.get("endPort")
    if first is None:
        return said
    return {**said, "dport": f"{first}-{last}" if last is not None and last != first else first}


def _peers(
    firewall: _Firewall, namespace: str, peers: Iterable[Object], end: str
) -> Iterator[tuple[Peer, Sequence[Pod] | None]]:
    """Who is meant, as leaves of a rule; with the pods, where pods are meant."""
    for peer in peers:
        block = peer.get("ipBlock")
        if block:
            said = {end: _prefix(block["cidr"])}
            if block.get("except"):
                excepted = sorted(_prefix(each) for each in block["except"])
                without = firewall.named("except", tuple(excepted), excepted)
                said[f"{end}-set"] = f"!{without}"
            yield said, list(_in_block(firewall.pods, block))
            continue
        spaces = peer.get("namespaceSelector")
        chosen = [pod for pod in firewall.pods if _is_peer(firewall, pod, namespace, peer)]
        key = (spaces if spaces is not None else namespace, peer.get("podSelector") or {})
        yield {f"{end}-set": firewall.named("peers", key, _addresses(chosen))}, chosen


def _in_block(pods: Sequence[Pod], block: Object) -> Iterator[Pod]:
    """The pods whose addresses a block holds, with those only: a port's name means something there, too."""
    inside = ipaddress.ip_network(_prefix(block["cidr"]))
    without = [ipaddress.ip_network(_prefix(each)) for each in block.get("except") or ()]
    for pod in pods:
        found = {each: ipaddress.ip_address(each) for each in pod.addresses}
        kept = tuple(each for each, address in found.items() if address in inside and not any(address in net for net in without))
        if kept:
            yield replace(pod, addresses=kept)


def _prefix(said: str) -> str:
    """The API takes 10.0.0.5/24 for 10.0.0.0/24."""
    return str(ipaddress.ip_network(said, strict=False))


def _is_peer(firewall: _Firewall, pod: Pod, namespace: str, peer: Object) -> bool:
    """Without a namespaceSelector pods of the policy's own namespace are meant, without a podSelector all of those chosen."""
    spaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    own = pod.name[0] == namespace
    in_space = own if spaces is None else selects(spaces, firewall.namespaces.get(pod.name[0], {}))
    return in_space and (pods is None or selects(pods, pod.labels))
