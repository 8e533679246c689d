"""Chains laid out as one list, and matches put together, against what they mean: packets of chance through both."""
from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from cubes.iptables.layout import MOST_BEHIND, Laid, laid_out
from cubes.iptables.match import MAPPED, Address, Match, both
from cubes.iptables.pieces import pieces_of
from cubes.iptables.rules import Chain, chains_of

SOURCES = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1", "!10.1.0.0/16", "!10.1.1.0/24", "!10.1.1.1", "!10.2.0.0/16", "10.2.0.0/16"]
ADDRESSES = ["10.1.1.1", "10.1.1.2", "10.1.2.1", "10.2.0.1", "10.3.0.1", "192.0.2.1"]
PORTS: list[Any] = [80, "80-90", "!80", "22,80,443", "!1000-2000", "1-65535"]
NETDEVS = {"eth0": 2, "eth1": 3, "v1": 4}
INTERFACES = ["eth0", "!eth0", "eth+", "!eth+", "v1", "gone", "!gone"]


@dataclass(frozen=True)
class Packet:
    src: int
    dst: int
    proto: int
    sport: int
    dport: int
    device: str


def is_in(address: Address | None, value: int) -> bool:
    if address is None:
        return True
    return (not (value ^ address.value) >> (128 - address.length)) != address.inverted


def holds(match: Match, packet: Packet, *, device: bool = True) -> bool:
    named = all(_is_named(packet.device, word) for word in match.ins) if device else True
    return (
        is_in(match.src, packet.src) and is_in(match.dst, packet.dst) and match.proto in (None, packet.proto) and named
        and any(low <= packet.sport <= high for low, high in match.sports)
        and any(low <= packet.dport <= high for low, high in match.dports)
    )  # fmt: skip


def _is_named(name: str, word: str) -> bool:
    wanted = word.removeprefix("!")
    return (name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted) != word.startswith("!")


def walk(chains: Mapping[str, Chain], name: str, packet: Packet) -> str | None:
    """As iptables walks: what becomes of a packet in a chain; None: it comes back."""
    for rule in chains[name].rules:
        if not holds(rule.match, packet):
            continue
        if rule.action == "RETURN":
            return None
        if rule.action in ("ACCEPT", "DROP"):
            return rule.action
        if rule.action != "LOG" and ((found := walk(chains, rule.action, packet)) is not None or rule.leaf("goto")):
            return found
    return None


def search(rules: Sequence[Laid], packet: Packet) -> str | None:
    """As the programs search: the first rule behind what is dealt with."""
    after = -1
    while True:
        found = next((n for n, laid in enumerate(rules) if n > after and any(holds(match, packet) for match in laid.matches)), None)
        if found is None:
            return None
        action = rules[found].rule.action
        if action in ("ACCEPT", "DROP"):
            return action
        after = rules[found].skip if action == "RETURN" else found


def rule(chance: random.Random, targets: Sequence[str]) -> dict[str, Any]:
    leaves: dict[str, Any] = {"action": chance.choice(targets)}
    for leaf in ("src", "dst"):
        if chance.random() < 0.5:
            leaves[leaf] = chance.choice(SOURCES)
    if chance.random() < 0.5:
        leaves["l4proto"] = chance.choice(["TCP", "UDP"])
        for leaf in ("sport", "dport"):
            if chance.random() < 0.4:
                leaves[leaf] = chance.choice(PORTS)
    if chance.random() < 0.4:
        leaves["in-iface"] = chance.choice(INTERFACES)
    if leaves["action"] in ("a", "b", "c") and chance.random() < 0.5:
        leaves["goto"] = True
    return leaves


def packet(chance: random.Random) -> Packet:
    src, dst = (Address(MAPPED | int.from_bytes(bytes(map(int, chance.choice(ADDRESSES).split("."))), "big"), 128).value for _ in range(2))
    ports = [chance.choice([22, 80, 85, 443, 1500, 3000]) for _ in range(2)]
    return Packet(src, dst, chance.choice([6, 17]), ports[0], ports[1], chance.choice(list(NETDEVS)))


@pytest.mark.parametrize("seed", range(60))
def test_what_is_laid_out_says_what_the_chains_say(seed: int) -> None:
    chance = random.Random(seed)
    chain = []
    for name, targets in (("INPUT", ["a", "b"]), ("a", ["b", "c"]), ("b", ["c"]), ("c", [])):
        choice = ["ACCEPT", "DROP", "LOG", "RETURN", *targets, *targets]
        chain.append({"name": name, "rule": [{"id": n, **rule(chance, choice)} for n in range(chance.randrange(6))]})
    chains = chains_of({"chain": chain})
    rules = laid_out(chains)["INPUT"]
    some = list(pieces_of(rules, NETDEVS, {}))
    for _ in range(60):
        each = packet(chance)
        assert search(rules, each) == walk(chains, "INPUT", each), each
        hit = {rules[piece.order].identity for piece in some if _takes(piece, each)}
        assert hit == {laid.identity for laid in rules if any(holds(match, each) for match in laid.matches)}, "pieces say the same"


@pytest.mark.parametrize("count", [MOST_BEHIND, MOST_BEHIND + 1])
def test_of_many_chains_a_return_at_the_end_stops_no_packet(count: int) -> None:
    jails = [{"name": f"f2b-{n}", "rule": [{"id": 0, "src": "10.1.1.1", "action": "DROP"}, {"id": 1, "action": "RETURN"}]} for n in range(count)]
    chain = [{"name": "INPUT", "rule": [{"id": n, "action": jail["name"]} for n, jail in enumerate(jails)]}, *jails]
    rules = laid_out(chains_of({"chain": chain}))["INPUT"]
    assert sum(laid.rule.action == "RETURN" and bool(laid.matches) for laid in rules) == (0 if count > MOST_BEHIND else count)
    assert sum(laid.rule.action == "DROP" and bool(laid.matches) for laid in rules) == count


@pytest.mark.parametrize("seed", range(60))
def test_many_chains_say_the_same_without_returns_at_their_end(seed: int) -> None:
    chance = random.Random(2000 + seed)
    chain = [{"name": "INPUT", "rule": [{"id": n, **rule(chance, ["a", "b"])} for n in range(8)]}]
    for name, targets in (("a", ["b", "DROP"]), ("b", ["LOG", "DROP"])):
        some = [{"id": n, **rule(chance, [*targets, "RETURN"])} for n in range(5)]
        chain.append({"name": name, "rule": [*some, {"id": 5, **rule(chance, ["RETURN"])}]})
    chains = chains_of({"chain": chain})
    rules = laid_out(chains)["INPUT"]
    for _ in range(60):
        each = packet(chance)
        assert search(rules, each) == walk(chains, "INPUT", each), each


def _takes(piece: Any, each: Packet) -> bool:
    index, wanted = NETDEVS[each.device], piece.device_in
    device = not wanted.index or (index == wanted.index) != wanted.inverted
    ports = piece.sport[0] <= each.sport <= piece.sport[1] and piece.dport[0] <= each.dport <= piece.dport[1]
    return device and ports and holds(piece.match, each, device=False)


@pytest.mark.parametrize("seed", range(40))
def test_two_matches_together_ask_what_both_ask(seed: int) -> None:
    chance = random.Random(1000 + seed)
    pair = [chains_of({"chain": [{"name": "INPUT", "rule": [{"id": 0, **rule(chance, ["DROP"])}]}]})["INPUT"].rules[0].match for _ in range(2)]
    together = both(*pair)
    for _ in range(100):
        each = packet(chance)
        assert any(holds(match, each) for match in together) == all(holds(match, each) for match in pair)


def test_circles_and_chains_that_are_not_there_are_refused() -> None:
    for targets, sentence in ((("b", "a"), "circle"), (("c", "a"), "no chain c")):
        chain = [{"name": "INPUT", "rule": [{"id": 0, "action": "a"}]},
                 *({"name": name, "rule": [{"id": 0, "action": target}]} for name, target in zip("ab", targets, strict=True))]  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            laid_out(chains_of({"chain": chain}))
