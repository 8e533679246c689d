"""Who was refused by which policy: the firewall's counters and log, with the cluster's names.

The description of a rule that drops names the policies that isolate its pods; a line of the log has the rule and two
addresses, which the provider resolves to pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from providers.kubernetes.policies import CUBE
from providers.kubernetes.policy_rules import LOG_PREFIX

_WORD = re.compile(r"([A-Z]+)=(\S*)")
_WAYS = {"INGRESS": "ingress", "EGRESS": "egress"}  # as the API names them: to pods, from pods
NOBODY = "an address that is no pod's or node's"


class Refused(NamedTuple):
    """Packets of one direction that were dropped because these policies isolate pods and none of them allows them."""

    way: str
    policies: str
    packets: int
    bytes: int

    def words(self) -> str:
        whom = "for" if self.way == "ingress" else "from"
        return f"{self.packets} packets ({self.bytes} bytes) {whom} pods of {self.policies} ({self.way})"


def _rules(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Each rule with its direction and its counters: (direction, rule, counters)."""
    for cube in part.get("cubes", ()):
        for chain in cube.get("chain", ()) if cube.get("name") == CUBE else ():
            counters = {str(each["id"]): each for each in chain.get("stats", ())}
            for rule in chain.get("rule", ()):
                yield _WAYS.get(chain["name"], chain["name"]), rule, counters.get(str(rule["id"]), {})


def counts(part: Mapping[str, Any]) -> list[Refused]:
    """The counters of rules that drop, as in `pcn show policy --state`, most packets first."""
    found = [
        Refused(way, str(rule.get("description", "")), int(stats.get("pkts", 0)), int(stats.get("bytes", 0)))
        for way, rule, stats in _rules(part)
        if rule.get("action") == "DROP"
    ]
    return sorted(found, key=lambda each: (-each.packets, each))


def policies_by_rule(part: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The policies of the rules that log, by direction and id."""
    logging = ((way, rule) for way, rule, _ in _rules(part) if rule.get("action") == "LOG")
    return {(way, str(rule["id"])): str(rule.get("description", "")) for way, rule in logging}


def named(text: str, names: Mapping[str, str], policies: Mapping[tuple[str, str], str]) -> dict[str, str] | None:
    """A line of the firewall's log with names instead of addresses and numbers; None if it concerns no policy."""
    if not text.startswith(LOG_PREFIX):
        return None
    said = dict(_WORD.findall(text))
    way = _WAYS.get(said.get("CHAIN", ""), "")
    ends = {end: said.get(key, "") for end, key in (("source", "SRC"), ("target", "DST"))}
    found = {"way": way, **ends, **{f"{end}_name": names.get(address, "") for end, address in ends.items()}}
    port = {"port": said["DPT"]} if "DPT" in said else {}
    return {**found, "protocol": said.get("PROTO", ""), **port, "policies": policies.get((way, said.get("RULE", "")), "")}


def words(line: Mapping[str, str]) -> str:
    """The text of a line from `named`."""
    source, target = (f"{line[f'{end}_name'] or NOBODY} ({line[end]})" for end in ("source", "target"))
    port = f" port {line['port']}" if "port" in line else ""
    by = line["policies"] or "a policy that is gone"
    return f"{source} to {target}, {line['protocol']}{port}: refused by {by} ({line['way']})"


def names_of(nodes: Iterable[tuple[str, Iterable[str]]], pods: Iterable[tuple[tuple[str, str], Iterable[str]]]) -> dict[str, str]:
    """The owner of each address: node NAME, or namespace/name of a pod."""
    found = {address: f"node {name}" for name, addresses in nodes for address in addresses}
    return found | {address: "/".join(name) for name, addresses in pods for address in addresses}
