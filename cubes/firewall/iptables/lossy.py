"""What an import from iptables cannot carry over, reported at its line.

An error: some packets may be treated differently, and the hint states how with --lossy. A warning: they are not, or it is a
difference between the two programs that no rule could bridge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from cubes.firewall.iptables.address_box import Case
from cubes.firewall.iptables.lexer import ACK_ALONE, HARMLESS
from cubes.firewall.iptables.parser import Chain, Save, SavedTable
from cubes.firewall.iptables.rule import Rule
from cubes.lib.ipset import IpSet
from reconciler.service.sdk import Position, Problem

_WAY = {
    "ACCEPT": "--lossy leaves the rule out, so that less is accepted",
    "DROP": "--lossy leaves the condition out, so that more is dropped",
    "REJECT": "--lossy leaves the condition out, so that more is rejected",
    "refuse": "--lossy leaves the condition out, so that more is dropped",
    "jump": "--lossy goes through the chain without it, and accepts nothing there",
    "goto": "--lossy goes through the chain without it, and accepts nothing there",
    "RETURN": "--lossy goes through the rest of the chain before it returns, and accepts nothing there",
}


def of_rule(rule: Rule) -> Iterator[Problem]:
    yield from rule.notes
    if rule.limit is not None:
        said = "a limit is kept by each firewall for itself, and by each of the rules that this one may become"
        yield Problem(said, where=rule.where, severity="warning")
    if rule.unsaid:
        said = " ".join(word.text for word in rule.unsaid)
        where = rule.unsaid[0].where
        if rule.action in _WAY:
            yield Problem(f"{said} cannot be said", where=where, hint=_WAY[rule.action])
        elif rule.action == "LOG":
            yield Problem(f"{said} cannot be said, so that more is logged", where=where, severity="warning")
    elif rule.action == "ACCEPT" and any(_is_invalid(case) for case in rule.cases):
        yield Problem("what is INVALID here may be NEW to iptables", where=rule.where, hint=_WAY["ACCEPT"])


def _is_invalid(case: Case) -> bool:
    return case.box.state == "INVALID" and not case.sure and case.box.flags != ACK_ALONE


def of_tracking(rules: Sequence[Rule]) -> Iterator[Problem]:
    first = next((rule for rule in rules if any(case.box.state for case in rule.cases)), None)
    if first is not None:
        yield Problem(
            "connections are followed by each netdev for itself, and from the moment of the first apply",
            where=first.where,
            severity="warning",
            hint="an answer has to come by the way of the question",
        )


def of_devices(rules: Sequence[Rule], netdevs: Sequence[str]) -> Iterator[Problem]:
    seen = set(netdevs)
    for rule in rules:
        for name, _ in filter(None, (rule.came_by, rule.leaves_by)):
            if name not in seen and not name.endswith("+"):
                seen.add(name)
                yield Problem(f"there is no firewall at {name}", where=rule.where, hint=f"--netdev {name}", severity="warning")


def devices(rules: Mapping[str, Iterable[Rule]]) -> Iterator[str]:
    """The netdevs that rules name."""
    for some in rules.values():
        for rule in some:
            for name, _ in filter(None, (rule.came_by, rule.leaves_by)):
                if not name.endswith("+") and name != "lo":
                    yield name


def of_forwarding(forward: Chain) -> Problem:
    return Problem(
        "FORWARD is left out: what this host forwards meets INPUT where it comes and OUTPUT where it leaves",
        where=forward.where,
        hint="--host says that it forwards nothing, --address ADDRESS that it does; --lossy may accept more",
    )


def of_routing(where: Position, netdevs: Sequence[str]) -> Problem:
    listed = ", ".join(netdevs)
    return Problem(
        f"what is forwarded, but came by another netdev than {listed}, meets OUTPUT where it leaves, and not FORWARD",
        where=where, hint="name all netdevs and all addresses of this host", severity="warning",
    )  # fmt: skip


def of_packet_sockets(cubes: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """A DHCP client receives replies on a packet socket: before iptables sees them, but behind a firewall at the netdev."""
    chains = [chain for cube in cubes for chain in cube["chain"] if chain["name"] == "INGRESS"]
    refusing = [chain for chain in chains if {chain["default"], *(rule["action"] for rule in chain["rule"])} - {"ACCEPT", "LOG"}]
    if not all(any(map(_is_for_a_dhcp_client, chain["rule"])) for chain in refusing):
        said = "a DHCP client reads packets before iptables does, and not before a firewall here"
        yield Problem(said, severity="warning", hint="if this host has an address by DHCP, accept UDP to port 68")


def _is_for_a_dhcp_client(rule: Mapping[str, Any]) -> bool:
    ports = str(rule.get("dport", "")).replace("-", ",").split(",")
    return rule["action"] == "ACCEPT" and rule.get("l4proto") == "UDP" and "68" in ports


def of_sets(sets: Mapping[str, IpSet], used: Collection[str]) -> Iterator[Problem]:
    for name, found in sets.items():
        if found.fades and name in used:
            yield Problem(f"some entries of set {name} go by themselves, and stay here", severity="warning")


def of_files(saves: Iterable[Save]) -> Iterator[Problem]:
    for save in saves:
        yield from save.hidden
        for table in save.tables:
            if table.name != "filter":
                yield from _of_table(table)


def _of_table(table: SavedTable) -> Iterator[Problem]:
    """A table that only marks and counts is no loss."""
    own = {name for name, chain in table.chains.items() if chain.policy == "-"}
    lines = [line for chain in table.chains.values() for line in chain.lines]
    targets = {_target(words) for words in ([word.text for word in line.words] for line in lines)} - own - {""}
    closed = any(chain.policy == "DROP" for chain in table.chains.values())
    if not lines and not closed:
        return
    what = f"table {table.name} is left out: {len(lines)} rules" + (f" ({', '.join(sorted(targets))})" if targets else "")
    if targets <= HARMLESS | {"ACCEPT", "RETURN", "LOG"} and not closed:
        yield Problem(what, where=table.where, severity="warning")
        return
    yield Problem(what, where=table.where, hint=f"--lossy {_WITHOUT.get(table.name, 'lets pass what it stops')}")


_WITHOUT = {"nat": "matches addresses and ports as they are on the wire, before and after translation, which may accept more"}


def _target(words: Sequence[str]) -> str:
    return next((name for option, name in pairwise(words) if option in ("-j", "-g")), "")


def of_families(families: Sequence[int]) -> Iterator[Problem]:
    for family, program in ((4, "iptables-save"), (6, "ip6tables-save")):
        if family not in families:
            message = f"there is no {program} here: no rule is for IPv{family}, and it meets the defaults of the chains"
            yield Problem(message, severity="warning", hint="give both files, or print both into one")


def family_of(table: SavedTable) -> int:
    """4 or 6, deduced from the table's content if no comment states it. Raises UsageError if nothing does."""
    from reconciler.service.sdk import UsageError

    for line in (line for chain in table.chains.values() for line in chain.lines):
        words = [word.text for word in line.words]
        for option, value in pairwise(words):
            if option in ("-s", "-d", "--src-range", "--dst-range"):
                return 6 if ":" in value else 4
            if value in ("icmp", "ipv6-icmp", "icmp6") and option in ("-p", "-m"):
                return 4 if value == "icmp" else 6
    raise UsageError(f"{table.where}: nothing says of which family table {table.name} is; keep the line '# Generated by …'")
