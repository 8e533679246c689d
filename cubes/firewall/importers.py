"""The import 'iptables-save': a host's iptables rules as firewalls on its netdevs.

Without addresses, all packets that arrive are assumed to be for this host: INPUT becomes chain INGRESS, and OUTPUT EGRESS.
With --address the host is a router: INPUT applies to packets to these addresses, and FORWARD where packets leave, if they
arrived by a named netdev. docs/services/firewall.md has the complete mapping.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cubes.firewall.iptables import lossy as lost
from cubes.firewall.iptables.address_box import EVERYTHING, AddressBox, Network
from cubes.firewall.iptables.entries import ANY, entry
from cubes.firewall.iptables.expand import MOST, Expansion, Flat, Path, TooMuch
from cubes.firewall.iptables.fold import fold
from cubes.firewall.iptables.known import Known, translated
from cubes.firewall.iptables.lexer import Misread
from cubes.firewall.iptables.named_sets import Sets, Unsayable
from cubes.firewall.iptables.parser import Save, SavedTable, parse
from cubes.firewall.iptables.returns import without_limited_returns
from cubes.firewall.iptables.rule import Rule, read_rule
from cubes.firewall.rules import rules_of
from cubes.firewall.shadow import shadowed
from reconciler.service.sdk import DocumentError, Imported, Position, Problem, UsageError

ALWAYS_LOCAL = {4: ("224.0.0.0/4", "255.255.255.255"), 6: ("fe80::/10", "ff00::/8")}
"""Addresses at which every host is."""
_BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")


@dataclass(slots=True)
class Filter:
    """The table filter of one family, read."""

    family: int
    table: SavedTable
    rules: Mapping[str, Sequence[Rule]]
    met: dict[Rule, None] = field(default_factory=dict)

    def policy(self, chain: str) -> str:
        found = self.table.chains.get(chain)
        return "ACCEPT" if found is None else found.policy


@dataclass(frozen=True, slots=True)
class Place:
    """Where a firewall is to be, and which of the host's addresses and netdevs it is to know of."""

    netdev: str
    netdevs: tuple[str, ...]
    addresses: tuple[Network, ...]


def read(texts: Mapping[str, str], options: Mapping[str, Sequence[str]]) -> Imported:
    """See reconciler.service.importers.Import."""
    netdevs = tuple(dict.fromkeys(options.get("netdev", ())))
    addresses = tuple(network for text in options.get("address", ()) for network in _local(text))
    saves = [parse(file, text) for file, text in texts.items()]
    ipsets = {name: each for save in saves for name, each in save.sets.items()}
    known = Known(_types(addresses, options.get("address", ())), ipsets, senders=not addresses)
    filters = _filters(saves, known)
    if not netdevs:
        named = sorted({name for some in filters for name in lost.devices(some.rules)})
        hint = f"; the rules name {', '.join(named)}" if named else ""
        raise UsageError(f"say at which netdevs the firewalls are to be, with --netdev{hint}")
    cubes = [_cube(Place(netdev, netdevs, addresses), filters, Sets(ipsets)) for netdev in netdevs]
    problems = [
        *lost.of_files(saves),
        *lost.of_packet_sockets(cubes),
        *lost.of_sets(ipsets, {each["name"] for cube in cubes for each in cube.get("set", ())}),
        *lost.of_families([some.family for some in filters]),
        *(problem for some in filters for problem in _lost(some, netdevs, routes=bool(addresses), host="host" in options)),
    ]
    document = {
        "apiVersion": "polycube.network/v1",
        "kind": "Topology",
        "metadata": {"name": "firewall"},
        "spec": {
            **_shared(cubes),
            "cubes": cubes,
            "attachments": [{"netdev": net, "tcubes": [cube["name"]]} for net, cube in zip(netdevs, cubes, strict=True)],
        },
    }
    return Imported(document, list(_once(sorted(problems, key=_in_order))))


def _shared(cubes: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Sets that several firewalls have alike, as shared lists; in the firewalls is then a reference to them."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for each in (each for cube in cubes for each in cube.get("set", ()) if each.get("prefix")):
        alike.setdefault(each["name"], []).append(each)
    lists = []
    for name, users in alike.items():
        entries = users[0]["prefix"]
        if len(users) > 1 and all(user["prefix"] == entries for user in users):
            lists.append({"name": name, "entries": entries})
            for user in users:
                user["prefix"] = {"shared": name}
    return {"shared": lists} if lists else {}


def _once(problems: Sequence[Problem]) -> Iterator[Problem]:
    """Reports a warning once, however many lines cause it."""
    counts = Counter(problem.message for problem in problems if problem.severity == "warning")
    for problem in problems:
        more = counts.pop(problem.message, 0) - 1 if problem.severity == "warning" else 0
        if more > 0:
            yield replace(problem, message=f"{problem.message}; {more} more lines say the same")
        elif more == 0:
            yield problem


def _in_order(problem: Problem) -> tuple[str, int, int]:
    where = problem.where or Position("", 0, 0)
    return where.file, where.line, where.column


def _lost(some: Filter, netdevs: Sequence[str], *, routes: bool, host: bool) -> Iterator[Problem]:
    for rule in some.met:
        yield from lost.of_rule(rule)
    yield from lost.of_tracking(list(some.met))
    yield from lost.of_devices(_reachable(some, _BUILT_IN if routes else ("INPUT", "OUTPUT")), netdevs)
    forward = some.table.chains.get("FORWARD")
    if forward is not None and not routes and not host and (forward.policy != "ACCEPT" or forward.lines):
        yield lost.of_forwarding(forward)
    if routes:
        yield lost.of_routing(some.table.where, netdevs)


def _reachable(some: Filter, chains: Iterable[str]) -> list[Rule]:
    """The rules of these chains, and of those that they jump to."""
    left, found = list(chains), dict.fromkeys(chains)
    while left:
        for rule in some.rules[left.pop()]:
            if rule.target in some.rules and rule.target not in found:
                found[rule.target] = None
                left.append(rule.target)
    return [rule for name in found for rule in some.rules[name]]


# -- reading ----------------------------------------------------------------------------------------------------------


def _local(text: str) -> Iterator[Network]:
    """The address of an interface, and its broadcast address."""
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise UsageError(f"--address {text}: no address such as 192.0.2.1/24 or 2001:db8::1") from None
    yield ipaddress.ip_network(found.ip)
    if found.version == 4 and found.network.prefixlen < 31:
        yield ipaddress.ip_network(found.network.broadcast_address)


def _types(addresses: Sequence[Network], texts: Sequence[str]) -> dict[str, list[Network]]:
    """The addresses of each type (addrtype): without --address, only those that are the same on every host."""
    own = [ipaddress.ip_network(ipaddress.ip_interface(text).ip) for text in texts]
    every: dict[str, list[Network]] = {"MULTICAST": [ipaddress.ip_network("224.0.0.0/4"), ipaddress.ip_network("ff00::/8")]}
    if own:
        loopback = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
        every["LOCAL"] = [*own, *loopback]
        every["BROADCAST"] = [ipaddress.ip_network("255.255.255.255"), *(each for each in addresses if each not in own)]
    return every


def _filters(saves: Sequence[Save], known: Known) -> list[Filter]:
    found: dict[int, Filter] = {}
    problems: list[Problem] = []
    seen: set[tuple[int, str]] = set()
    tables = [table for save in saves for table in save.tables]
    for table in tables:
        if table.name == "filter":
            table.family = table.family or lost.family_of(table)
        if (table.family, table.name) in seen:
            problems.append(Problem(f"table {table.name} is there twice for IPv{table.family}", where=table.where))
        seen.add((table.family, table.name))
        if table.name == "filter":
            nat = next((each for each in tables if each.name == "nat" and each.family == table.family), None)
            some = Filter(table.family, table, _rules(table, problems, replace(known, translated=translated(nat))))
            _refuse_loops(some, problems)
            found[table.family] = some
    if not found and not problems and not tables:
        raise UsageError("there are sets here, and no table: give what iptables-save prints, too")
    if not found and not problems:
        first = tables[0]
        problems.append(Problem("there is no table filter, which has the rules of a firewall", where=first.where))
    if problems:
        raise DocumentError(problems)
    return [found[family] for family in sorted(found)]


def _rules(table: SavedTable, problems: list[Problem], known: Known) -> dict[str, list[Rule]]:
    own = [name for name, chain in table.chains.items() if chain.policy == "-"]
    rules: dict[str, list[Rule]] = {name: [] for name in (*_BUILT_IN, *table.chains)}
    for name, chain in table.chains.items():
        for line in chain.lines:
            try:
                rules[name].append(read_rule(line, table.family, own, known))
            except Misread as wrong:
                problems.append(Problem(str(wrong), where=wrong.word.where))
    return {name: list(without_limited_returns(some)) for name, some in rules.items()}


def _refuse_loops(some: Filter, problems: list[Problem]) -> None:
    """The kernel would refuse them too."""
    import graphlib

    calls = {name: {rule.target for rule in rules if rule.action in ("jump", "goto")} for name, rules in some.rules.items()}
    try:
        graphlib.TopologicalSorter(calls).prepare()
    except graphlib.CycleError as error:
        first = error.args[1][0]
        problems.append(Problem(f"chain {first} leads back to itself", where=some.table.chains[first].where))


# -- making -----------------------------------------------------------------------------------------------------------


def _cube(place: Place, filters: Sequence[Filter], sets: Sets) -> dict[str, Any]:
    chains = [_chain(name, place, filters, direction, sets) for name, direction in (("INGRESS", _ingress), ("EGRESS", _egress))]
    tracks = any("conntrack" in rule for chain in chains for rule in chain["rule"])
    return {
        "name": "fw-" + re.sub(r"[^A-Za-z0-9_.-]", "_", place.netdev),
        "service-name": "firewall",
        "conntrack": "ON" if tracks else "OFF",
        "accept-established": "OFF",
        **({"set": written} if (written := sets.written()) else {}),
        "chain": chains,
    }


_Direction = Callable[[Place, Filter], tuple[Iterator[Flat], str]]


def _chain(name: str, place: Place, filters: Sequence[Filter], direction: _Direction, sets: Sets) -> dict[str, Any]:
    """Rules of both families one after the other: no packet is of both. Their policies are the default if they agree."""
    lists = [(some.family, *direction(place, some)) for some in filters]
    policies = {policy for _, _, policy in lists}
    default = policies.pop() if len(policies) == 1 else "DROP"
    entries: list[dict[str, Any]] = []
    try:
        for family, rules, policy in lists:
            flats = list(itertools.islice(rules, MOST + 1))
            if len(flats) > MOST:
                raise TooMuch
            entries += [entry(10 * (len(entries) + place) + 10, each, family, sets) for place, each in enumerate(fold(flats))]
            if policy != default:
                entries.append({"id": 10 * len(entries) + 10, "src": ANY[family], "action": policy})
    except Unsayable as error:
        raise DocumentError([Problem(str(error), where=filters[0].table.where)]) from None
    except TooMuch:
        where = filters[0].table.where
        message = f"chains jump and return so often that they are more than {MOST} rules without jumps"
        raise DocumentError([Problem(message, where=where)]) from None
    dead = {later for later, _ in shadowed(tuple(rules_of(0, list(entries))))}
    return {"name": name, "default": default, "rule": [each for place, each in enumerate(entries) if place not in dead]}


def _ingress(place: Place, some: Filter) -> tuple[Iterator[Flat], str]:
    expansion = _expansion(some, "INPUT", Path(came_by=place.netdev))
    if not place.addresses:
        return expansion.rules("INPUT", EVERYTHING), some.policy("INPUT")
    always = map(ipaddress.ip_network, ALWAYS_LOCAL[some.family])
    here = [network for network in (*place.addresses, *always) if network.version == some.family]
    return _decided(expansion, "INPUT", [AddressBox(dst=network) for network in here]), "ACCEPT"


def _egress(place: Place, some: Filter) -> tuple[Iterator[Flat], str]:
    return _leaving(place, some), some.policy("OUTPUT")


def _leaving(place: Place, some: Filter) -> Iterator[Flat]:
    for came_by in place.netdevs if place.addresses else ():
        passing = _expansion(some, "FORWARD", Path(came_by, place.netdev))
        yield from _decided(passing, "FORWARD", [AddressBox(device=came_by)])
    yield from _expansion(some, "OUTPUT", Path(leaves_by=place.netdev)).rules("OUTPUT", EVERYTHING)


def _expansion(some: Filter, chain: str, path: Path) -> Expansion:
    return Expansion(some.rules, some.policy(chain), path, some.met)


def _decided(expansion: Expansion, chain: str, boxes: Iterable[AddressBox]) -> Iterator[Flat]:
    """A built-in chain and its policy, for packets of these boxes."""
    for box in boxes:
        yield from expansion.rules(chain, box)
        yield Flat(box, expansion.policy, None)
