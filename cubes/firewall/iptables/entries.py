"""Rules of the list as leaves of a firewall's rules, and the sets that long lists of addresses become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cubes.firewall.iptables.address_box import ICMPS, AddressBox, Network, Span
from cubes.firewall.iptables.fold import Folded
from cubes.firewall.rules import FLAGS, PROTOCOLS

ANY = {4: "0.0.0.0/0", 6: "::/0"}
_PROTOCOLS = {number: name for name, number in PROTOCOLS.items()}
_LONG = 8  # addresses; more are a set
_PREFIX = 28  # characters of log-prefix


@dataclass(slots=True)
class Sets:
    """Sets of addresses by what is in them, each with a name of its own."""

    names: dict[tuple[str, ...], str] = field(default_factory=dict)

    def name(self, prefixes: tuple[str, ...]) -> str:
        return self.names.setdefault(tuple(sorted(prefixes)), f"addresses-{len(self.names) + 1}")

    def written(self) -> list[dict[str, Any]]:
        return [{"name": name, "prefix": list(prefixes)} for prefixes, name in self.names.items()]


def entry(number: int, some: Folded, family: int, sets: Sets) -> dict[str, Any]:
    box = some.box
    found: dict[str, Any] = {"id": number}
    for leaf in ("src", "dst"):
        found |= _addresses(leaf, some.values(leaf), sets)
    if not {"src", "dst"} & found.keys() and box.proto != ICMPS[family]:
        found["src"] = ANY[family]
    if box.proto is not None:
        found["l4proto"] = _PROTOCOLS.get(box.proto, box.proto)
    found |= _message(box) if box.proto in ICMPS.values() else _ports(some)
    if box.flags[0]:
        bits = [(name, 1 << place) for place, name in enumerate(FLAGS) if box.flags[0] >> place & 1]
        found["tcpflags"] = ",".join(name if box.flags[1] & bit else f"!{name}" for name, bit in bits)
    if box.state is not None:
        found["conntrack"] = ",".join(some.values("state"))
    if box.device is not None:
        found["in-interface"] = box.device
    found["action"] = some.action
    return found | _of_rule(some)


def _of_rule(some: Folded) -> dict[str, Any]:
    rule, found = some.rule, dict[str, Any]()
    if rule is None:
        return found
    if rule.limit is not None:
        found |= {"limit": rule.limit[0], "limit-burst": rule.limit[1]}
    if some.action == "LOG" and rule.prefix:
        found["log-prefix"] = rule.prefix[:_PREFIX]
    if some.action == "REJECT" and rule.answer:
        found["reject-with"] = rule.answer
    return found | ({"description": rule.comment} if rule.comment else {})


def _addresses(leaf: str, networks: tuple[Network | None, ...], sets: Sets) -> dict[str, Any]:
    texts = tuple(_written(network) for network in networks if network is not None)
    if not texts:
        return {}
    if len(texts) > _LONG and not any(text.endswith("/0") for text in texts):
        return {f"{leaf}-set": sets.name(texts)}
    return {leaf: ",".join(texts)}


def _written(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _ports(some: Folded) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for leaf in ("sport", "dport"):
        spans = [_span(span) for span in some.values(leaf) if span is not None]
        if spans:
            found[leaf] = spans[0] if len(spans) == 1 else ",".join(map(str, spans))
    return found


def _span(span: Span) -> int | str:
    return span[0] if span[0] == span[1] else f"{span[0]}-{span[1]}"


def _message(box: AddressBox) -> dict[str, Any]:
    if box.sport is None:
        return {}
    return {"icmp-type": box.sport[0] if box.dport is None else f"{box.sport[0]}/{box.dport[0]}"}
