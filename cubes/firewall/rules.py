"""A firewall rule as the control plane works with it.

A rule is identified by its identity: a number that follows from its name, or else from its content, and from its chain. Its id
is its place only, so renumbering changes nothing; nor is the same rule parsed twice in the life of a process.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import attrgetter
from typing import Any

from cubes.firewall import values
from cubes.firewall.values import Prefix, message, prefix, span
from cubes.lib.answers import ANSWER, ANSWERS
from cubes.lib.order_labels import Rising
from cubes.lib.ranges import Span
from reconciler.service.sdk import Distinct, EntryMemo, Owned, memoised, unchanged

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "GRE": 47, "ESP": 50, "AH": 51, "ICMPV6": 58, "SCTP": 132}
WITH_PORTS = frozenset({6, 17, 132})
ICMPS = frozenset({1, 58})
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # from the lowest bit
ACTIONS = {"ACCEPT": 0, "DROP": 1, "LOG": 2, "REJECT": 3}
KIND = 15  # the bits of an action that are one of ACTIONS
CHAINS = {"INGRESS": 0, "EGRESS": 1}
ELSEWHERE = 0xFFFFFFFF  # LIMIT_ELSEWHERE of bpf/firewall/firewall_limit.h


Leaves = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """`families` are those whose packets it can match. Ports None: any; of ICMP they are type and code. `flags` is (mask,
    value), `states` a mask; 0 matches any. `said_flags` are the flags as written. A set's name may have the prefix '!'. Leaves
    with several values are in `texts`, as written; the rule is then the union of its `parts`, each of which matches one of the
    values and has the rule's identity."""

    identity: int
    chain: int
    families: tuple[int, ...]
    src: Prefix | None
    dst: Prefix | None
    proto: int | None
    sport: Span | None
    dport: Span | None
    said_flags: bytes
    flags: tuple[int, int]
    states: int
    device: str
    limit: int
    action: int
    src_set: str = ""
    dst_set: str = ""
    texts: tuple[tuple[str, str | int], ...] = ()
    rate: values.Rate | None = None
    smac: str = ""
    parts: tuple[Rule, ...] = ()

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def log_prefix(self) -> str:
        return str(dict(self.texts).get("log-prefix", ""))

    @property
    def alternatives(self) -> tuple[Rule, ...]:
        return self.parts if self.texts else (self,)

    @property
    def decides(self) -> bool:
        """Whether a matching packet gets its verdict here."""
        return self.action != ACTIONS["LOG"] and not self.limit


_KEYS = (
    "name", "src", "dst", "l4proto", "sport", "dport", "tcpflags", "conntrack", "in-interface", "limit", "action", "icmp-type",
    "src-set", "dst-set", "limit-burst", "limit-by", "log-prefix", "reject-with", "smac",
)  # fmt: skip
_FIRST_KEYS = 11  # of these, which always were


@dataclass(frozen=True, slots=True)
class RuleList:
    """A chain's list of rules. `rules` are sorted by their `ids`, and `places` has their indices in the list. The second of
    two equal rules gets an identity of its own; then not `all_differ`."""

    entries: Sequence[Leaves]
    rules: list[Rule]
    ids: list[int]
    places: Sequence[int]
    all_differ: bool
    asks: Asks


@dataclass(frozen=True, slots=True)
class Asks:
    """What some rules refer to: netdevs, and sets without '!'. `rejects`: any of them does; `has_rows`: any has an additional
    row, for LOG or a limit; `smac`: any matches on the sender's MAC."""

    devices: frozenset[str] = frozenset()
    src_sets: frozenset[str] = frozenset()
    dst_sets: frozenset[str] = frozenset()
    rejects: bool = False
    has_rows: bool = False
    smac: bool = False

    def __or__(self, other: Asks) -> Asks:
        sets = self.src_sets | other.src_sets, self.dst_sets | other.dst_sets
        rejects, has_rows, smac = self.rejects or other.rejects, self.has_rows or other.has_rows, self.smac or other.smac
        return Asks(self.devices | other.devices, *sets, rejects, has_rows, smac)

    @property
    def sets(self) -> frozenset[str]:
        return self.src_sets | self.dst_sets


_identity, _device, _action = attrgetter("identity"), attrgetter("device"), attrgetter("action")
_src_set, _dst_set, _rate, _smac = attrgetter("src_set"), attrgetter("dst_set"), attrgetter("rate"), attrgetter("smac")


@dataclass(slots=True)
class _Chain:
    """The memo of one chain's lists. `last` are the most recent ones."""

    parsed: EntryMemo[Rule] = field(default_factory=EntryMemo)
    ids: EntryMemo[int] = field(default_factory=EntryMemo)
    rising: Rising = field(default_factory=Rising)
    distinct: Distinct = field(default_factory=lambda: Distinct(_identity))
    last: deque[RuleList] = field(default_factory=lambda: deque(maxlen=16))


_CHAINS = {number: Owned(_Chain) for number in CHAINS.values()}
_LATEST = 4  # of these, with which a list is compared entry by entry


def rule_list(chain: int, entries: Sequence[Leaves]) -> RuleList:
    """Memoised by the list, since an apply needs it six times, for the new rules and for the previous ones; of an edited
    list, only new entries are parsed."""
    known = _CHAINS[chain]()
    for last in known.last:
        if last.entries is entries:
            return last
    for last in islice(known.last, _LATEST):
        if len(last.entries) == len(entries) and unchanged(last.entries, entries)[0] == len(entries):
            return last

    def of(_: int, entry: Leaves) -> Rule:
        get = entry.get
        return parse(chain, tuple([get(key) for key in _KEYS]))

    ids = known.ids.each(entries, lambda _, entry: int(entry["id"]))
    places: Sequence[int] = range(len(entries))
    ordered = entries
    if not known.rising.holds(ids):
        places = sorted(places, key=ids.__getitem__)
        ids, ordered = [ids[place] for place in places], [entries[place] for place in places]
    found = known.parsed.each(ordered, of)
    differ = known.distinct.holds(found)
    rules = found if differ else _told_apart(found)
    new = RuleList(entries, rules, ids, places, differ, _of_all(next(iter(known.last), None), rules))
    known.last.appendleft(new)
    return new


def _of_all(last: RuleList | None, rules: list[Rule]) -> Asks:
    """What all rules name. `last` are others, which mostly are the same but for a few."""
    if last is None:
        return _asks(rules)
    start, rest = unchanged(last.rules, rules)
    if _asks(last.rules[start : len(last.rules) - rest]) != Asks():  # others may say so too
        return _asks(rules)
    return last.asks | _asks(rules[start : len(rules) - rest])


def _asks(rules: Sequence[Rule]) -> Asks:
    src, dst = (frozenset(name.removeprefix("!") for name in set(map(of, rules)) - {""}) for of in (_src_set, _dst_set))
    actions = set(map(_action, rules))
    has_rows = ACTIONS["LOG"] in actions or any(map(_rate, rules))
    rejects = any(action & KIND == ACTIONS["REJECT"] for action in actions)
    return Asks(frozenset(map(_device, rules)) - {""}, src, dst, rejects, has_rows, any(map(_smac, rules)))


def rules_of(chain: int, entries: Sequence[Leaves]) -> list[Rule]:
    """The rules of a chain in the order of their ids. The second of two rules that are alike is another one."""
    return rule_list(chain, entries).rules


def _told_apart(rules: Sequence[Rule]) -> list[Rule]:
    seen: dict[int, int] = {}
    found = []
    for rule in rules:
        again = seen.get(rule.identity, 0)
        seen[rule.identity] = again + 1
        found.append(_another(rule, again) if again else rule)
    return found


@memoised
def _another(rule: Rule, count: int) -> Rule:
    identity = _number(f"{rule.identity}#{count}")
    return replace(rule, identity=identity, parts=tuple(replace(part, identity=identity) for part in rule.parts))


@memoised
def parse(chain: int, leaves: tuple[Any, ...]) -> Rule:
    """The rule with these leaves, in the order of _KEYS."""
    texts = _texts(leaves)
    if texts:
        return _of_parts(chain, leaves, texts)
    _, src, dst, l4proto, sport, dport, tcpflags, conntrack, device, limit, action, icmp_type, *sets, _, _, _, _, _ = leaves
    source, target = (prefix(text) if text else None for text in (src, dst))
    proto = PROTOCOLS[l4proto] if isinstance(l4proto, str) else l4proto
    ports = message(icmp_type) if icmp_type is not None else [None if said is None else span(said) for said in (sport, dport)]
    said = bytes(said_flags(tcpflags)) if tcpflags else b""
    families = [family for family in (4, 6) if all(each is None or each.family == family for each in (source, target))]
    families = [family for family in families if proto != {4: 58, 6: 1}[family]]
    return Rule(
        identity=_identity_of(chain, leaves),
        chain=chain,
        families=tuple(families),
        src=source,
        dst=target,
        proto=proto,
        sport=ports[0],
        dport=ports[1],
        said_flags=said,
        flags=_mask_of(said),
        states=values.states(conntrack) if conntrack else 0,
        device=device or "",
        limit=limit or 0,
        action=ACTIONS[action or "ACCEPT"],
        src_set=sets[0] or "",
        dst_set=sets[1] or "",
    )


def _texts(leaves: tuple[Any, ...]) -> tuple[tuple[str, str | int], ...]:
    """The leaves with several values, with symbolic names, or that only some rules have."""
    found = [(key, said) for key, said in zip(_KEYS[1:3], leaves[1:3], strict=True) if said and not values.is_plain_address(said)]
    found += [
        (key, said)
        for key, said in zip(_KEYS[4:6], leaves[4:6], strict=True)
        if said is not None and not values.is_plain_port(said)
    ]
    found += [(key, said) for key, said in zip(_KEYS[14:], leaves[14:], strict=True) if said is not None]
    found += [("limit", leaves[9])] if isinstance(leaves[9], str) else []
    return tuple(found + ([("conntrack", leaves[7])] if leaves[7] and "," in leaves[7] else []))


def _of_parts(chain: int, leaves: tuple[Any, ...], texts: tuple[tuple[str, str | int], ...]) -> Rule:
    """A rule of several parts. One with invalid leaves, or too many parts, has none (check.py reports why)."""
    said = dict(texts)
    plain = tuple(None if key in said and key != "conntrack" else value for key, value in zip(_KEYS, leaves, strict=True))
    rate = values.rate(leaves[9], *leaves[14:16])
    mask = values.states(leaves[7]) if leaves[7] else 0
    action = ACTIONS[leaves[10] or "ACCEPT"] | ANSWERS.index(leaves[17] or "") * ANSWER
    one = replace(
        parse(chain, (*plain[:7], None, *plain[8:])), identity=_identity_of(chain, leaves), states=mask, texts=texts, rate=rate,
        limit=ELSEWHERE if rate else plain[9] or 0, action=action, smac=leaves[18] or "",
    )  # fmt: skip
    try:
        parts = tuple(_cut(one, said))
    except ValueError:
        parts = ()
    families = tuple(family for family in (4, 6) if any(family in part.families for part in parts))
    return replace(one, families=families, parts=parts)


def _cut(rule: Rule, said: Mapping[str, Any]) -> Iterator[Rule]:
    """Raises ValueError."""
    sources, targets = (
        values.networks(said[leaf]) if leaf in said else (own,)
        for leaf, own in (("src", rule.src), ("dst", rule.dst))
    )
    sports, dports = (
        values.spans(said[leaf]) if leaf in said else (own,)
        for leaf, own in (("sport", rule.sport), ("dport", rule.dport))
    )
    count = math.prod(map(len, (sources, targets, sports, dports)))
    if count > values.MOST_PARTS:
        raise ValueError(f"these lists together make {count} conditions, {values.MOST_PARTS} are the most: use a set")
    for src, dst in itertools.product(sources, targets):
        families = tuple(f for f in rule.families if all(each is None or each.family == f for each in (src, dst)))
        for sport, dport in itertools.product(sports, dports) if families else ():
            yield replace(rule, src=src, dst=dst, sport=sport, dport=dport, families=families, texts=(), parts=())


def problem_of_lists(rule: Rule) -> str:
    """Why a rule with lists has no parts."""
    try:
        return "" if rule.parts or list(_cut(rule, dict(rule.texts))) else "no packet is all of this"
    except ValueError as error:
        return str(error)


def _identity_of(chain: int, leaves: tuple[Any, ...]) -> int:
    name = leaves[0]
    return _number(f"{chain}|" + (f"={name}" if name else "|".join(map(str, _content(leaves)))))


def _content(leaves: tuple[Any, ...]) -> tuple[Any, ...]:
    """The content that identifies a rule without a name. Leaves that were added to the model later count up to the last one
    present, so that older rules keep their identities."""
    end = len(leaves)
    while end > _FIRST_KEYS and leaves[end - 1] is None:
        end -= 1
    return leaves[1:end]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def said_flags(text: str) -> Iterator[int]:
    """Each flag as 1 + its bit, and 16 more with '!'."""
    for word in text.split(","):
        yield 1 + FLAGS.index(word.strip().lstrip("!")) + (16 if word.strip().startswith("!") else 0)


def _mask_of(said: bytes) -> tuple[int, int]:
    mask = value = 0
    for flag in said:
        bit = 1 << ((flag & 15) - 1)
        mask |= bit
        value |= 0 if flag & 16 else bit
    return mask, value
