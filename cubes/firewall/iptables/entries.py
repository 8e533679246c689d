"""Rules of the flat list as entries of a firewall's configuration."""

from __future__ import annotations

from typing import Any

from cubes.firewall.iptables.address_box import ICMPS, AddressBox, Network, Span
from cubes.firewall.iptables.fold import Folded
from cubes.firewall.iptables.known import OWN
from cubes.firewall.iptables.named_sets import Sets
from cubes.firewall.rules import FLAGS, PROTOCOLS
from cubes.lib.ipset import written

ANY = {4: "0.0.0.0/0", 6: "::/0"}
_PROTOCOLS = {number: name for name, number in PROTOCOLS.items()}
_LONG = 8  # addresses; more are a set
_PREFIX = 28  # characters of log-prefix


def entry(number: int, some: Folded, family: int, sets: Sets) -> dict[str, Any]:
    box = some.box
    found: dict[str, Any] = {"id": number}
    for leaf in ("src", "dst"):
        found |= _addresses(leaf, some.values(leaf), box.src_sets if leaf == "src" else box.dst_sets, sets)
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
    if box.smac is not None:
        found["smac"] = box.smac
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


def _addresses(leaf: str, networks: tuple[Network | None, ...], named: frozenset[str], sets: Sets) -> dict[str, Any]:
    some = [network for network in networks if network is not None]
    is_long = len(some) > _LONG and all(network.prefixlen for network in some) and not named & {OWN, f"!{OWN}"}
    if is_long:
        return {f"{leaf}-set": sets.together(named, some) if named else sets.name(map(written, some))}
    found = {leaf: ",".join(map(written, some))} if some else {}
    return found | ({f"{leaf}-set": sets.together(named)} if named else {})


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
