"""A rule as it is written, as a value, and as a row of the table `rules`; and chains as rows of `chains`.

A rule's identity is a number that follows from its chain and its content, so that it keeps its counters when its place changes.
Of two that are alike in one chain the second is another one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cubes.iptables.match import Match, address, spans
from cubes.lib.answers import ANSWER, ANSWERS
from cubes.lib.ranges import FULL
from reconciler.service.sdk import memoised

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "GRE": 47, "ESP": 50, "AH": 51, "ICMPV6": 58, "SCTP": 132}
WITH_PORTS = frozenset({6, 17, 132})
ICMPS = frozenset({1, 58})
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # from the lowest bit
STATES = {"INVALID": 8, "NEW": 1, "RELATED": 4, "ESTABLISHED": 2}  # in the order in which iptables lists them
ACTIONS = {"ACCEPT": 0, "DROP": 1, "LOG": 2, "RETURN": 3, "REJECT": 4}
BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")
LEAVES = (
    "in-iface", "out-iface", "src", "dst", "l4proto", "sport", "dport", "icmp-type", "tcpflags", "conntrack", "action",
    "reject-with", "limit", "limit-burst", "log-prefix", "goto", "src-set", "dst-set",
)  # fmt: skip
"""What makes a rule what it is, in the order in which they are kept."""
_FIRST_LEAVES = 11  # of these, which always were: a rule that says no other one has the identity that it had

TEXT = 696
ROW = struct.Struct(f"=II{TEXT}s")
"""struct rule: its chain's number, its id, and the leaves of LEAVES as text, with a zero behind each."""
CHAIN = struct.Struct("=32sI4x")
"""struct said_chain: name, default."""

Leaves = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """`action` is one of ACTIONS or the name of a chain; `matches` its conditions, without netdevs' numbers."""

    identity: int
    id: int
    match: Match
    action: str
    said: tuple[str, ...]

    def leaf(self, name: str) -> str:
        """As text, '' if it is absent."""
        return self.said[LEAVES.index(name)]

    @property
    def verdict(self) -> int:
        """`action`, one of ACTIONS, as programs have it: of a REJECT with what it answers above."""
        answer = ANSWERS.index(self.leaf("reject-with") or "PORT_UNREACHABLE") if self.action == "REJECT" else 0
        return ACTIONS[self.action] | answer * ANSWER

    def __hash__(self) -> int:
        return hash((self.identity, self.id))


@dataclass(frozen=True, slots=True)
class Chain:
    number: int
    name: str
    default: str
    rules: tuple[Rule, ...]


def chains_of(config: Mapping[str, Any]) -> dict[str, Chain]:
    """All chains that are written, by name; user-defined ones are numbered from 3 on in their order. Raises ValueError for an
    invalid value (check.py has reported it before)."""
    found: dict[str, Chain] = {}
    own = len(BUILT_IN)
    for entry in config.get("chain", ()):
        name = str(entry["name"])
        number = BUILT_IN.index(name) if name in BUILT_IN else own
        own += name not in BUILT_IN
        found[name] = Chain(number, name, entry.get("default", "ACCEPT"), rules_of(name, entry.get("rule", ())))
    return found


def rules_of(chain: str, entries: Sequence[Leaves]) -> tuple[Rule, ...]:
    """In the order of their ids."""
    seen: dict[tuple[str, ...], int] = {}
    found = []
    for entry in sorted(entries, key=lambda entry: int(entry["id"])):
        said = said_of(entry)
        again = seen[said] = seen.get(said, -1) + 1
        found.append(Rule(_identity(chain, said, again), int(entry["id"]), match_of(said), entry.get("action", "ACCEPT"), said))
    return tuple(found)


def is_taken(name: str) -> bool:
    """Whether a chain's name equals, apart from case, a built-in chain's or an action's: documents do not distinguish them."""
    return name not in BUILT_IN and name.upper() in (*BUILT_IN, *ACTIONS)


def said_of(entry: Leaves) -> tuple[str, ...]:
    """A rule's content as texts, '' for absent leaves."""
    return tuple(_text(entry.get(leaf, "ACCEPT" if leaf == "action" else "")) for leaf in LEAVES)


def _text(value: Any) -> str:
    return ("true" if value else "") if isinstance(value, bool) else str(value)


@memoised
def _identity(chain: str, said: tuple[str, ...], again: int) -> int:
    used = next((place for place in range(len(said), _FIRST_LEAVES, -1) if said[place - 1]), _FIRST_LEAVES)
    text = "\0".join((chain, *said[:used], str(again)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@memoised
def match_of(said: tuple[str, ...]) -> Match:
    """Raises ValueError."""
    leaves = dict(zip(LEAVES, said, strict=True))
    sports = spans(leaves["sport"]) if leaves["sport"] else (FULL,)
    dports = spans(leaves["dport"]) if leaves["dport"] else (FULL,)
    if leaves["icmp-type"]:
        kind, slash, code = leaves["icmp-type"].partition("/")
        sports, dports = spans(kind), spans(code) if slash else (FULL,)
    return Match(
        address(leaves["src"]) if leaves["src"] else None,
        address(leaves["dst"]) if leaves["dst"] else None,
        protocol(leaves["l4proto"]) if leaves["l4proto"] else None,
        sports,
        dports,
        flags_of(leaves["tcpflags"]),
        sum(STATES[word] for word in set(leaves["conntrack"].split(",")) - {""}),
        (leaves["in-iface"],) if leaves["in-iface"] else (),
        (leaves["out-iface"],) if leaves["out-iface"] else (),
        leaves["src-set"],
        leaves["dst-set"],
    )


def protocol(said: str | int) -> int:
    return PROTOCOLS[said] if said in PROTOCOLS else int(said)


def flags_of(text: str) -> tuple[int, int]:
    """(mask, value)."""
    mask = value = 0
    for word in text.split(",") if text else ():
        bit = 1 << FLAGS.index(word.removeprefix("!"))
        mask |= bit
        value |= 0 if word.startswith("!") else bit
    return mask, value


# -- as rows ----------------------------------------------------------------------------------------------------------


def to_row(chain: Chain, rule: Rule) -> bytes:
    return ROW.pack(chain.number, rule.id, text_of(rule.said))


def text_of(said: Sequence[str]) -> bytes:
    return b"".join(text.encode() + b"\0" for text in said)


def from_row(row: bytes) -> tuple[int, dict[str, Any]]:
    """(number of the chain, leaves); the inverse of `to_row`."""
    chain, number, text = ROW.unpack(row)
    said = text.decode("utf-8", "replace").split("\0")[: len(LEAVES)]
    leaves = {leaf: _value(leaf, word) for leaf, word in zip(LEAVES, said, strict=False) if word}
    return chain, {"id": number, **leaves}


def _value(leaf: str, word: str) -> Any:
    """What may be a number is one."""
    if leaf == "goto":
        return word == "true"
    return int(word) if leaf in ("l4proto", "sport", "dport", "icmp-type", "limit-burst") and word.isdigit() else word


def chain_row(chain: Chain) -> bytes:
    return CHAIN.pack(chain.name.encode(), ACTIONS[chain.default])


def chain_from_row(row: bytes) -> tuple[str, str]:
    name, default = CHAIN.unpack(row)
    word = next((word for word, number in ACTIONS.items() if number == default), f"#{default}")
    return name.rstrip(b"\0").decode("utf-8", "replace"), word
