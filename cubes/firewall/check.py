"""Rules of a firewall that no schema can express: which conditions fit together, and which rules can never match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cubes.firewall.discovery import Discovery
from cubes.firewall.rules import CHAINS, FLAGS, ICMPS, PROTOCOLS, WITH_PORTS, Rule, problem_of_lists, rule_list, said_flags
from cubes.firewall.shadow import Shadows
from cubes.firewall.tuple_selection import most_undecided, select_tuples
from cubes.firewall.tuple_space import Numbers, matches_all_of
from cubes.firewall.values import is_plain_port, span
from cubes.lib.epochs import MOST_LOOKUPS
from cubes.lib.set_check import problems_of_sets, unknown_sets
from reconciler.service.sdk import EntryMemo, Env, Owned

Said = tuple[tuple[str | int, ...], str, str]
_NAMES = {number: name for name, number in PROTOCOLS.items()}


def problems(config: Mapping[str, Any], env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning")."""
    tracked = config.get("conntrack", "ON") == "ON"
    yield from _of_sets(config, env.cube)
    if config.get("policy-rematch", "OFF") == "ON":
        yield from _of_rematch(config)
    for index, chain in enumerate(config.get("chain", ())):
        entries, number = chain.get("rule", []), CHAINS[chain["name"]]
        said = _LEAVES().each(entries, lambda _, entry: tuple(_of_leaves(entry)))
        wrong = any(said)
        for place, leaf, sentence in _placed(range(len(entries)), said) if wrong else ():
            yield ("chain", index, "rule", place, leaf), sentence, "error"
        found = rule_list(number, entries)
        rules, places = found.rules, found.places
        said = _RULES().each(rules, lambda _, rule: tuple(_of_rule(rule)))
        for place, leaf, sentence in _placed(places, said) if any(said) else ():
            yield ("chain", index, "rule", place, leaf), sentence, "error"
        if wrong:
            continue
        for place, rule in zip(places, rules if not tracked else (), strict=False):
            if rule.states:
                sentence = "the rule never matches: connection tracking is off"
                yield ("chain", index, "rule", place, "conntrack"), sentence, "warning"
        for later, earlier in _SHADOWS.of((env.cube, number)).of(rules):
            sentence = f"the rule never matches: rule {found.ids[earlier]} comes first, and takes all that it could"
            yield ("chain", index, "rule", places[later], "id"), sentence, "warning"
        for place, count in too_many_undecided(rules):
            sentence = f"its packets have matched {count} rules that log or have a limit: with more they may be dropped"
            yield ("chain", index, "rule", places[place], "id"), sentence, "warning"
        if chain.get("default") == "DROP" and (lacking := _DISCOVERY.of((env.cube, number)).lacking(rules)):
            without = " and no ".join(lacking)
            sentence = f"rules let IPv6 through, but no {without}: nobody finds a neighbour; add {{l4proto: ICMPV6}}"
            yield ("chain", index, "default"), sentence, "warning"
        if not found.all_differ:  # two of one name would be one rule
            yield from _names(index, entries)


def _of_rematch(config: Mapping[str, Any]) -> Iterator[Said]:
    if config.get("accept-established", "ON") == "OFF":
        yield ("policy-rematch",), "the rules decide on all packets: accept-established is off", "error"
    for index, chain in enumerate(config.get("chain", ())):
        entries = chain.get("rule", ())
        asks = rule_list(CHAINS[chain["name"]], entries).asks
        for place, entry in enumerate(entries) if asks.devices or asks.smac else ():
            for leaf in ("in-interface", "smac"):
                if leaf in entry:
                    sentence = f"with policy-rematch the rules are asked about answers, too, and {leaf} is another one there"
                    yield ("chain", index, "rule", place, leaf), sentence, "error"


_COMPARED = 128  # rules that log or have a limit, each with each: this is a warning, and nobody waits for one
_LAID_OUT = 1024  # rules that are laid out to know how many look-ups they need; of more it is taken that these are few


def too_many_undecided(rules: Sequence[Rule]) -> Sequence[tuple[int, int]]:
    """The place of the first rule whose packets surely have matched all that they may of those that do not decide, and how many
    these are; if one is found."""
    found = [(place, rule) for place, rule in enumerate(rules) if not rule.decides][:_COMPARED]
    fewest = most_undecided(MOST_LOOKUPS)
    for count, (place, rule) in enumerate(found[fewest:], fewest):
        matched = sum(matches_all_of(earlier, rule) for _, earlier in found[:count])
        if matched >= fewest:
            most = min((most_undecided(_lookups(rules, family)) for family in rule.families), default=matched + 1)
            if matched >= most:
                return [(place, most)]
    return ()


def _lookups(rules: Sequence[Rule], family: int) -> int:
    """An upper bound of the look-ups for a packet of the family; 0 for more than _LAID_OUT rules, or invalid ones."""
    if len(rules) > _LAID_OUT:
        return 0
    names = sorted({name.lstrip("!") for rule in rules for name in (rule.src_set, rule.dst_set) if name})
    try:
        return select_tuples(tuple(rules), family, None, Numbers({}, {name: number for number, name in enumerate(names, 1)})).most
    except ValueError:  # they are refused
        return 0


def _of_sets(config: Mapping[str, Any], cube: str) -> Iterator[Said]:
    yield from problems_of_sets(config.get("set", ()), cube)
    names = [each["name"] for each in config.get("set", ())]
    for index, chain in enumerate(config.get("chain", ())):
        unknown = rule_list(CHAINS[chain["name"]], chain.get("rule", [])).asks.sets - set(names)
        for place, entry in enumerate(chain.get("rule", ())) if unknown else ():
            for leaf, sentence in unknown_sets(entry, names):
                yield ("chain", index, "rule", place, leaf), sentence, "error"


def _placed(places: Sequence[int], said: Sequence[Sequence[tuple[str, str]]]) -> Iterator[tuple[int, str, str]]:
    return ((place, *each) for place, some in zip(places, said, strict=True) for each in some)


_LEAVES: Owned[EntryMemo[tuple[tuple[str, str], ...]]] = Owned(EntryMemo)
_RULES: Owned[EntryMemo[tuple[tuple[str, str], ...]]] = Owned(EntryMemo)
_SHADOWS = Owned(Shadows)  # by cube and chain: what was found of it the last time
_DISCOVERY = Owned(Discovery)  # likewise


def _names(index: int, entries: Sequence[Mapping[str, Any]]) -> Iterator[Said]:
    seen: dict[str, int] = {}
    for place, entry in enumerate(entries):
        if "name" in entry and seen.setdefault(entry["name"], place) != place:
            sentence = f"rule {entries[seen[entry['name']]]['id']} has this name too, so neither keeps its counters by it"
            yield ("chain", index, "rule", place, "name"), sentence, "error"


def _of_leaves(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _of_what_it_matches(entry)
    yield from _of_what_it_does(entry)


def _of_what_it_does(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for leaf in ("limit-burst", "limit-by"):
        if leaf in entry and "limit" not in entry:
            yield leaf, f"{leaf} needs a limit"
    if "log-prefix" in entry and entry.get("action") != "LOG":
        yield "log-prefix", "a log-prefix needs the action LOG"
    if "reject-with" in entry and entry.get("action") != "REJECT":
        yield "reject-with", "reject-with needs the action REJECT"
    elif entry.get("reject-with") == "TCP_RESET" and entry.get("l4proto") != "TCP":
        yield "reject-with", "a reset needs l4proto TCP"


def _of_what_it_matches(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Leaves that belong to other protocols; values without effect, or equal to another spelling."""
    proto = PROTOCOLS.get(str(entry.get("l4proto")), entry.get("l4proto"))
    for leaf in ("sport", "dport"):
        if leaf in entry and proto not in WITH_PORTS:
            yield leaf, "a port needs l4proto TCP, UDP or SCTP"
    if "icmp-type" in entry:
        yield from _of_icmp_type(entry["icmp-type"], proto)
    if isinstance(entry.get("l4proto"), int) and entry["l4proto"] in _NAMES:
        yield "l4proto", f"protocol {entry['l4proto']} is written {_NAMES[entry['l4proto']]}"
    for leaf in ("sport", "dport"):
        said = entry.get(leaf)
        if isinstance(said, str) and is_plain_port(said):
            low, high = span(said)
            if high > 65535 or low > high:
                yield leaf, f"{said} is no range of ports"
            elif low == high or said != f"{low}-{high}":
                yield leaf, f"{said} is written {low}" + (f"-{high}" if low != high else "")
    flags = entry.get("tcpflags")
    if flags:
        named = [(each & 15) - 1 for each in said_flags(flags)]
        for flag in sorted({flag for flag in named if named.count(flag) > 1}):
            yield "tcpflags", f"{FLAGS[flag]} is there twice"


def _of_icmp_type(said: str | int, proto: int | None) -> Iterator[tuple[str, str]]:
    if proto not in ICMPS:
        yield "icmp-type", "an ICMP type needs l4proto ICMP or ICMPV6"
    elif isinstance(said, str):
        kind, code = map(int, said.split("/"))
        if kind > 255 or code > 255:
            yield "icmp-type", f"{said} is no type and code: both are at most 255"
        elif said != f"{kind}/{code}":
            yield "icmp-type", f"{said} is written {kind}/{code}"


def _of_rule(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.texts and not rule.parts:
        yield rule.texts[0][0], problem_of_lists(rule)
        return
    for leaf, found in (("src", rule.src), ("dst", rule.dst)):
        if found is not None and found.has_host_bits:
            yield leaf, f"the prefix has bits set beyond its length of {found.length}"
    if rule.src and rule.dst and rule.src.family != rule.dst.family:
        yield "dst", "source and destination are of different families"
    elif not rule.families and not rule.texts:
        yield "l4proto", "ICMP is of IPv4 and ICMPV6 of IPv6: the addresses are of the other family"
    if rule.flags[0] and rule.proto != PROTOCOLS["TCP"]:
        yield "tcpflags", "flags need l4proto TCP"
