"""Rules and sets of a firewall: what NetworkPolicies and administrators' policies have in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from providers.kubernetes.selectors import digest, selects
from providers.kubernetes.state import Object, Pod

LOG_PREFIX = "refused: "  # of log lines about refused packets
Rule = dict[str, Any]
Peer = dict[str, str]  # the leaves of a rule that match the other end
Others = tuple[Peer, Sequence[Pod] | None]
"""The other end, as leaves of a rule; with the pods, if pods are selected."""


@dataclass(slots=True)
class Firewall:
    """One node's sets and rules, accumulated. `notes`: what rules cannot express."""

    pods: Sequence[Pod]
    namespaces: Mapping[str, Mapping[str, str]]
    sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def named(self, kind: str, key: tuple[Any, ...], addresses: Iterable[str]) -> str:
        """A set of these addresses. Its name is derived from its selector (`key`), and is stable when members change."""
        name = f"{kind}-{digest(*key)}"
        self.sets[name] = tuple(sorted(set(addresses)))
        return name

    def chosen(self, spaces: Object | None, pods: Object | None, own: str = "") -> list[Pod]:
        """Pods by the selectors of their namespaces and of themselves. Without a namespace selector those of `own` are selected,
        without a pod selector all of the selected namespaces."""
        return [pod for pod in self.pods if self._is_chosen(pod, spaces, pods, own)]

    def _is_chosen(self, pod: Pod, spaces: Object | None, pods: Object | None, own: str) -> bool:
        space = pod.name[0]
        in_space = space == own if spaces is None else selects(spaces, self.namespaces.get(space, {}))
        return in_space and (pods is None or selects(pods, pod.labels))


def addresses_of(pods: Iterable[Pod]) -> set[str]:
    return {address for pod in pods for address in pod.addresses}


def to_named(
    firewall: Firewall, leaf: str, key: tuple[Any, ...], pods: Sequence[Pod], name: str, protocol: str, other: Peer
) -> Iterator[Rule]:
    """A named port is resolved by each destination pod: a set of pods for each number. `protocol` '' is any."""
    numbers: dict[tuple[str, int], list[Pod]] = {}
    for pod in pods:
        for said in {(proto, number) for found, proto, number in pod.ports if found == name and protocol in ("", proto)}:
            numbers.setdefault(said, []).append(pod)
    for (proto, number), having in sorted(numbers.items()):
        chosen = firewall.named("port", (*key, name, proto, number), addresses_of(having))
        yield {leaf: chosen, **other, "l4proto": proto, "dport": number}


def prefix_of(said: str) -> str:
    """The canonical prefix: the API accepts 10.0.0.5/24 for 10.0.0.0/24."""
    return str(ipaddress.ip_network(said, strict=False))


def member_of(said: str) -> str:
    """A prefix as a member of a set, in which that of one address is the address itself."""
    network = ipaddress.ip_network(said, strict=False)
    return str(network if network.num_addresses > 1 else network.network_address)


def port_rule(protocol: str, first: int | None, last: int | None = None) -> Rule:
    """A match on a port, a range of ports, or a protocol."""
    said: Rule = {"l4proto": protocol}
    if first is None:
        return said
    return {**said, "dport": f"{first}-{last}" if last is not None and last != first else first}


def refused(rule: Rule, *, log: bool) -> Iterator[Rule]:
    """A rule that drops, after one that logs if `log` is set."""
    if log:
        yield {**rule, "action": "LOG", "log-prefix": LOG_PREFIX}
    yield {**rule, "action": "DROP"}
