"""Rules of a host's firewall that no schema can express: which conditions fit together, and where chains jump to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.iptables.layout import circles, laid_out
from cubes.iptables.match import address, spans
from cubes.iptables.rules import ACTIONS, BUILT_IN, ICMPS, PROTOCOLS, TEXT, WITH_PORTS, chains_of, protocol, said_of, text_of
from cubes.lib.set_check import problems_of_sets, unknown_sets

Said = tuple[tuple[str | int, ...], str, str]
Leaves = Mapping[str, Any]
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_RESERVED = (*ACTIONS, "QUEUE")


def problems(config: Mapping[str, Any], cube: str = "") -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning")."""
    wrong = False
    if config.get("forward-by") == "XDP" and config.get("type", "TC") == "TC":
        yield ("forward-by",), "forward-by XDP needs type XDP_SKB or XDP_DRV", "error"
    chains = config.get("chain", ())
    names = {str(chain["name"]) for chain in chains}
    for said in (*problems_of_sets(config.get("set", ()), cube), *_of_named_sets(config)):
        wrong = True
        yield said
    for place, chain in enumerate(chains):
        for at, leaf, sentence, how in _of_chain(chain, names, tracked=config.get("conntrack", "ON") == "ON"):
            wrong = wrong or how == "error"
            yield ("chain", place, *at, leaf), sentence, how
    if not wrong:
        yield from _together(config)


def _of_named_sets(config: Mapping[str, Any]) -> Iterator[Said]:
    names = [each["name"] for each in config.get("set", ())]
    for index, chain in enumerate(config.get("chain", ())):
        for place, rule in enumerate(chain.get("rule", ())):
            for leaf, sentence in unknown_sets(rule, names):
                yield ("chain", index, "rule", place, leaf), sentence, "error"


def _together(config: Mapping[str, Any]) -> Iterator[Said]:
    """Chains with a cycle of jumps; sizes beyond a limit."""
    chains = chains_of(config)
    targets = {name: tuple(rule.action for rule in chain.rules if rule.action in chains) for name, chain in chains.items()}
    turning = list(circles(targets))
    if turning:
        place = list(chains).index(turning[0][0])
        yield ("chain", place, "rule"), f"chains lead to one another in a circle: {' > '.join(turning[0])}", "error"
        return
    try:
        laid_out(chains)
    except ValueError as error:
        yield ("chain",), str(error), "error"


def _of_chain(chain: Leaves, names: set[str], *, tracked: bool) -> Iterator[tuple[tuple[str | int, ...], str, str, str]]:
    name = str(chain["name"])
    if name not in BUILT_IN and name in _RESERVED:
        yield (), "name", f"{name} is an action: a chain of one's own has another name", "error"
    if name not in BUILT_IN and chain.get("default", "ACCEPT") != "ACCEPT":
        yield (), "default", "only INPUT, FORWARD and OUTPUT have a default: behind its last rule a chain leads back", "error"
    for place, rule in enumerate(chain.get("rule", ())):
        for leaf, sentence in _of_rule(rule, name, names):
            yield ("rule", place), leaf, sentence, "error"
        if rule.get("conntrack") and not tracked:
            yield ("rule", place), "conntrack", "the rule never matches: connection tracking is off", "warning"


def _of_rule(rule: Leaves, chain: str, names: set[str]) -> Iterator[tuple[str, str]]:
    action = rule.get("action", "ACCEPT")
    if action in BUILT_IN:
        yield "action", f"no rule leads to {action}"
    elif action not in ACTIONS and action not in names:
        yield "action", f"there is no chain {action}, and no such action"
    if chain == "INPUT" and "out-iface" in rule:
        yield "out-iface", "a packet in INPUT leaves by no netdev"
    if chain == "OUTPUT" and "in-iface" in rule:
        yield "in-iface", "a packet in OUTPUT came by no netdev"
    if "reject-with" in rule and action != "REJECT":
        yield "reject-with", "reject-with needs the action REJECT"
    elif rule.get("reject-with") == "TCP_RESET" and rule.get("l4proto") not in ("TCP", PROTOCOLS["TCP"]):
        yield "reject-with", "a reset needs l4proto TCP"
    yield from _of_limits(rule, action)
    if len(text_of(said_of(rule))) > TEXT:
        yield "id", "the rule is too long: use fewer ranges of ports"
    yield from _of_protocol(rule)
    yield from _of_addresses(rule)


def _of_limits(rule: Leaves, action: str) -> Iterator[tuple[str, str]]:
    if rule.get("goto") and action in ACTIONS:
        yield "goto", "goto needs the name of a chain as its action"
    if "limit" in rule and action not in ACTIONS:
        yield "limit", f"a rule that leads to a chain has no limit: give it to the rules of {action}"
    if "limit-burst" in rule and "limit" not in rule:
        yield "limit-burst", "limit-burst needs a limit"
    if "log-prefix" in rule and action != "LOG":
        yield "log-prefix", "log-prefix needs the action LOG"


def _of_protocol(rule: Leaves) -> Iterator[tuple[str, str]]:
    said = rule.get("l4proto")
    proto = protocol(said) if said is not None else None
    if isinstance(said, int) and said in _NAMES:
        yield "l4proto", f"protocol {said} is written {_NAMES[said]}"
    for leaf in ("sport", "dport"):
        if leaf in rule and proto not in WITH_PORTS:
            yield leaf, "a port needs l4proto TCP, UDP or SCTP"
        elif leaf in rule:
            try:
                if not spans(rule[leaf]):
                    yield leaf, "no port is left"
            except ValueError as error:
                yield leaf, str(error)
    yield from _of_details(rule, proto)


def _of_details(rule: Leaves, proto: int | None) -> Iterator[tuple[str, str]]:
    if "icmp-type" in rule:
        if proto not in ICMPS:
            yield "icmp-type", "an ICMP type needs l4proto ICMP or ICMPV6"
        elif any(int(part) > 255 for part in str(rule["icmp-type"]).split("/")):
            yield "icmp-type", f"{rule['icmp-type']} is no type and code: both are at most 255"
    if "tcpflags" in rule:
        words = [word.removeprefix("!") for word in rule["tcpflags"].split(",")]
        if proto != PROTOCOLS["TCP"]:
            yield "tcpflags", "flags need l4proto TCP"
        for word in sorted({word for word in words if words.count(word) > 1}):
            yield "tcpflags", f"{word} is there twice"


def _of_addresses(rule: Leaves) -> Iterator[tuple[str, str]]:
    families = set()
    for leaf in ("src", "dst"):
        if leaf not in rule:
            continue
        text = rule[leaf].removeprefix("!")
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            yield leaf, "the prefix has bits set beyond its length" if "host bits" in str(error) else f"{text} is no prefix"
            continue
        families.add(address(text).family)
        if rule[leaf].startswith("!") and text.endswith("/0"):
            yield leaf, "no address is left"
    if len(families) > 1:
        yield "dst", "source and destination are of different families"
    said = rule.get("l4proto")
    if (said == "ICMP" and 6 in families) or (said == "ICMPV6" and 4 in families):
        yield "l4proto", "ICMP is of IPv4 and ICMPV6 of IPv6: the addresses are of the other family"
