"""A firewall rule as the control plane works with it, and as a row of the `rules` table.

A rule is known by its identity: a number that follows from its name, or else from its content, and from its chain. Its id is its
place only, so renumbering changes nothing; nor is the same rule parsed twice in the life of a process.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from itertools import islice
from operator import attrgetter
from typing import Any

from cubes.firewall.sets import from_word, to_word
from cubes.lib.order_labels import Rising
from reconciler.service.sdk import Distinct, EntryMemo, unchanged

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "GRE": 47, "ESP": 50, "AH": 51, "ICMPV6": 58, "SCTP": 132}
WITH_PORTS = frozenset({6, 17, 132})
ICMPS = frozenset({1, 58})
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # from the lowest bit
STATES = {"NEW": 1, "ESTABLISHED": 2, "RELATED": 4, "INVALID": 8}
ACTIONS = {"ACCEPT": 0, "DROP": 1, "LOG": 2, "REJECT": 3}
CHAINS = {"INGRESS": 0, "EGRESS": 1}
FULL = (0, 65535)

SRC_ADDRESS, DST_ADDRESS, PROTO, SPORT, DPORT = 1, 2, 4, 8, 16  # bits of `said` in struct rule
ROW = struct.Struct("=Q16s16sBBBB4H8sIBBBB16sI")
"""struct rule of bpf/firewall/firewall.h."""
_LABEL = struct.Struct("=Q")
_BITS = {0: 96, 4: 96, 6: 0}
_NOT_SAID = 255
_MAPPED = bytes(10) + b"\xff\xff"

Leaves = Mapping[str, Any]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Prefix:
    """`value` is the address as a number of 32 or 128 bits and `raw` the same as bytes; bits beyond `length` there are none,
    unless somebody wrote them (firewall_check refuses those)."""

    family: int
    value: int
    length: int
    is_address: bool
    raw: bytes

    @property
    def width(self) -> int:
        return 32 if self.family == 4 else 128

    @property
    def has_host_bits(self) -> bool:
        return bool(self.value & ((1 << (self.width - self.length)) - 1))


@dataclass(frozen=True, slots=True)
class Rule:
    """`families` are those whose packets it can match. Ports None: not asked for; of ICMP they are type and code. `flags` is
    (mask, value), `states` a mask; 0 asks for nothing. `said_flags` are the flags as they are written. A set's name may have
    a '!' before it."""

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

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def decides(self) -> bool:
        """Whether no later rule is asked about a packet that matches."""
        return self.action != ACTIONS["LOG"] and not self.limit


_KEYS = (
    "name", "src", "dst", "l4proto", "sport", "dport", "tcpflags", "conntrack", "in-interface", "limit", "action", "icmp-type",
    "src-set", "dst-set",
)  # fmt: skip
_FIRST_KEYS = 11  # of these, which always were


@dataclass(frozen=True, slots=True)
class RuleList:
    """A chain's list of rules. `rules` are in the order of their `ids`, and `places` says where in the list they stand. Of two
    that are alike the second is another rule, and then not `all_differ`."""

    entries: Sequence[Leaves]
    rules: list[Rule]
    ids: list[int]
    places: Sequence[int]
    all_differ: bool
    asks: Asks


@dataclass(frozen=True, slots=True)
class Asks:
    """What some rules name: netdevs, and sets without '!'. `rejects`: any of them does."""

    devices: frozenset[str] = frozenset()
    src_sets: frozenset[str] = frozenset()
    dst_sets: frozenset[str] = frozenset()
    rejects: bool = False

    def __or__(self, other: Asks) -> Asks:
        sets = self.src_sets | other.src_sets, self.dst_sets | other.dst_sets
        return Asks(self.devices | other.devices, *sets, self.rejects or other.rejects)

    @property
    def sets(self) -> frozenset[str]:
        return self.src_sets | self.dst_sets


_identity, _device, _action = attrgetter("identity"), attrgetter("device"), attrgetter("action")
_src_set, _dst_set = attrgetter("src_set"), attrgetter("dst_set")


@dataclass(slots=True)
class _Chain:
    """What is known of the lists of one chain. `last` are the lists asked about last."""

    parsed: EntryMemo[Rule] = field(default_factory=EntryMemo)
    ids: EntryMemo[int] = field(default_factory=EntryMemo)
    rising: Rising = field(default_factory=Rising)
    distinct: Distinct = field(default_factory=lambda: Distinct(_identity))
    last: deque[RuleList] = field(default_factory=lambda: deque(maxlen=16))


_CHAINS: dict[int, _Chain] = {number: _Chain() for number in CHAINS.values()}
_LATEST = 4  # of these, with which a list is compared entry by entry


def rule_list(chain: int, entries: Sequence[Leaves]) -> RuleList:
    """Worked out once for each list, for an apply asks six times for what is written, and for what was before; and of a list that
    was edited, only for what is new."""
    known = _CHAINS[chain]
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
    return Asks(frozenset(map(_device, rules)) - {""}, src, dst, ACTIONS["REJECT"] in map(_action, rules))


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


@functools.lru_cache(maxsize=1 << 12)
def _another(rule: Rule, count: int) -> Rule:
    values = {name: getattr(rule, name) for name in Rule.__slots__}
    return Rule(**(values | {"identity": _number(f"{rule.identity}#{count}")}))


@functools.lru_cache(maxsize=1 << 18)
def parse(chain: int, leaves: tuple[Any, ...]) -> Rule:
    """The rule that these leaves are, which are in the order of _KEYS."""
    name, src, dst, l4proto, sport, dport, tcpflags, conntrack, device, limit, action, icmp_type, *sets = leaves
    source, target = (prefix(text) if text else None for text in (src, dst))
    proto = PROTOCOLS[l4proto] if isinstance(l4proto, str) else l4proto
    content = f"={name}" if name else "|".join(map(str, _content(leaves)))
    ports = message(icmp_type) if icmp_type is not None else [None if said is None else span(said) for said in (sport, dport)]
    said = bytes(said_flags(tcpflags)) if tcpflags else b""
    families = [family for family in (4, 6) if all(each is None or each.family == family for each in (source, target))]
    families = [family for family in families if proto != {4: 58, 6: 1}[family]]
    return Rule(
        identity=_number(f"{chain}|{content}"),
        chain=chain,
        families=tuple(families),
        src=source,
        dst=target,
        proto=proto,
        sport=ports[0],
        dport=ports[1],
        said_flags=said,
        flags=_mask_of(said),
        states=STATES[conntrack] if conntrack else 0,
        device=device or "",
        limit=limit or 0,
        action=ACTIONS[action or "ACCEPT"],
        src_set=sets[0] or "",
        dst_set=sets[1] or "",
    )


def _content(leaves: tuple[Any, ...]) -> tuple[Any, ...]:
    """What makes a rule without a name. Leaves that the model got later count up to the last one that is there, so that rules of
    before keep their identities."""
    end = len(leaves)
    while end > _FIRST_KEYS and leaves[end - 1] is None:
        end -= 1
    return leaves[1:end]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@functools.lru_cache(maxsize=1 << 16)
def prefix(text: str) -> Prefix:
    address, slash, length = text.partition("/")
    family, width = (6, 128) if ":" in address else (4, 32)
    raw = IPv6Address(address).packed if family == 6 else bytes(map(int, address.split(".")))
    return Prefix(family, int.from_bytes(raw, "big"), int(length) if slash else width, not slash, raw)


def span(text: str | int) -> Span:
    """A port or a range as (first, last)."""
    if isinstance(text, int):
        return text, text
    low, dash, high = text.partition("-")
    return int(low), int(high if dash else low)


def message(text: str | int) -> tuple[Span, Span | None]:
    """An ICMP type, and the code if it is written; each as (first, last)."""
    kind, slash, code = str(text).partition("/")
    return span(int(kind)), span(int(code)) if slash else None


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


# -- as a row ---------------------------------------------------------------------------------------------------------


def to_row(rule: Rule, label: int, sets: Mapping[str, int]) -> bytes:
    """`sets` has the numbers of those that it names."""
    return _LABEL.pack(label) + _beside_label(rule, to_word(rule.src_set, rule.dst_set, sets))


@functools.lru_cache(maxsize=1 << 18)
def _beside_label(rule: Rule, sets: int) -> bytes:
    said = (SRC_ADDRESS if rule.src and rule.src.is_address else 0) | (DST_ADDRESS if rule.dst and rule.dst.is_address else 0)
    said |= (PROTO if rule.proto is not None else 0) | (SPORT if rule.sport else 0) | (DPORT if rule.dport else 0)
    sport, dport = rule.sport or FULL, rule.dport or FULL
    row = ROW.pack(
        0, *_wide(rule.src), *_wide(rule.dst), *(_length(rule.src), _length(rule.dst)), said, rule.proto or 0,
        *sport, *dport, rule.said_flags[:8], rule.limit, rule.states, rule.action, rule.chain, 0, rule.device.encode(), sets
    )  # fmt: skip
    return row[_LABEL.size :]


def _wide(found: Prefix | None) -> tuple[bytes]:
    if found is None:
        return (bytes(16),)
    return (_MAPPED + found.value.to_bytes(4, "big") if found.family == 4 else found.value.to_bytes(16, "big"),)


def _length(found: Prefix | None) -> int:
    return _NOT_SAID if found is None else found.length + _BITS[found.family]


def from_row(row: bytes, sets: Mapping[int, str]) -> tuple[int, int, dict[str, Any]]:
    """(label, chain, leaves) of a row; the inverse of `to_row`, but for the id, the name and the description. `sets` has the
    names by number."""
    (label, src, dst, src_length, dst_length, said, proto, sport_low, sport_high, dport_low, dport_high, flags, limit, states,
     action, chain, _, device, asked) = ROW.unpack(row)  # fmt: skip
    leaves: dict[str, Any] = {}
    if src_length != _NOT_SAID:
        leaves["src"] = _written(src, src_length, bool(said & SRC_ADDRESS))
    if dst_length != _NOT_SAID:
        leaves["dst"] = _written(dst, dst_length, bool(said & DST_ADDRESS))
    leaves |= {leaf: name for leaf, name in zip(("src-set", "dst-set"), from_word(asked, sets), strict=True) if name}
    if said & PROTO:
        leaves["l4proto"] = next((name for name, number in PROTOCOLS.items() if number == proto), proto)
    if said & SPORT and proto in ICMPS:
        leaves["icmp-type"] = f"{sport_low}/{dport_low}" if said & DPORT else sport_low
    elif said & SPORT:
        leaves["sport"] = sport_low if sport_low == sport_high else f"{sport_low}-{sport_high}"
    if said & DPORT and proto not in ICMPS:
        leaves["dport"] = dport_low if dport_low == dport_high else f"{dport_low}-{dport_high}"
    if any(flags):
        leaves["tcpflags"] = ",".join(_flag(flag) for flag in flags if flag)
    if states:
        leaves["conntrack"] = next((name for name, bit in STATES.items() if bit == states), f"#{states}")
    if any(device):
        leaves["in-interface"] = device.rstrip(b"\0").decode("utf-8", "replace")
    if limit:
        leaves["limit"] = limit
    leaves["action"] = next((name for name, number in ACTIONS.items() if number == action), f"#{action}")
    return label, chain, leaves


def _written(raw: bytes, length: int, is_address: bool) -> str:
    if raw.startswith(_MAPPED) and length >= 96:
        text, length = ".".join(map(str, raw[12:])), length - 96
    else:
        text = str(IPv6Address(raw))
    return text if is_address else f"{text}/{length}"


def _flag(said: int) -> str:
    number = (said & 15) - 1
    word = FLAGS[number] if 0 <= number < len(FLAGS) else f"#{said}"
    return f"!{word}" if said & 16 else word
