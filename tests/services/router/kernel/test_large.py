"""Tens of thousands of routes come, are replaced whole and one by one, and go, while packets pass: each goes as a table says that was in force."""
from __future__ import annotations

import ipaddress
import random
from collections import Counter

import pytest

from tests.services.router.kernel.test_edits import HOPS, SCENARIO, Stream, put, verdict
from tests.services.router.lab import RouterLab

MANY, PROBED = 20_000, 2_000
LENGTHS = (16, 18, 20, 22, 24, 24, 24, 28, 32)
Routes = dict[tuple[int, int], str]
"""Next hops by address and length."""


def strewn(chance: random.Random, count: int) -> Routes:
    found: Routes = {}
    while len(found) < count:
        length = chance.choice(LENGTHS)
        found[chance.randrange(20 << 24, 60 << 24) >> 32 - length << 32 - length, length] = chance.choice(list(HOPS))
    return found


def hop_of(routes: Routes, address: int) -> str:
    """The model: the longest of all prefixes that an address is in, or the default route."""
    tried = ((address >> 32 - length << 32 - length, length) for length in sorted(set(LENGTHS), reverse=True))
    return next((routes[network] for network in tried if network in routes), "10.0.2.1")


def moved(routes: Routes, target: int) -> Routes:
    """The route that this address takes leads elsewhere, one more is in it, and one is gone."""
    network = next((target >> 32 - length << 32 - length, length) for length in sorted(set(LENGTHS), reverse=True)
                   if (target >> 32 - length << 32 - length, length) in routes)  # fmt: skip
    other = next(hop for hop in HOPS if hop != routes[network])
    kept = dict(list(routes.items())[1:])
    return kept | {network: other, (target, 32): routes[network]}


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_large_tables_are_exchanged_without_a_packet_lost_or_sent_elsewhere(hook: str, family: int) -> None:
    chance = random.Random(family)
    first, second = strewn(chance, MANY), strewn(chance, MANY)
    targets = [start + chance.randrange(1 << 32 - length) for start, length in chance.sample([*first, *second], PROBED)]
    probe = next(target for target in targets if hop_of(second, target) != "10.0.2.1")
    tables = [first, second, moved(second, probe), second, {}, first]
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        lab.cube("r1")["arp-table"] = [{"address": lab.said(hop), "interface": f"p{host[1]}", "mac": lab.mac(host)} for hop, host in HOPS.items()]
        put(lab, named(tables[0]))
        with Stream(lab, [ipaddress.IPv4Address(target) for target in targets]) as stream:
            for routes in tables[1:]:
                stream.go_on()
                stream.phase += 1
                put(lab, named(routes))
                stream.phase += 1
            stream.go_on()
    hosts = [[HOPS[hop_of(table, target)] for target in targets] for table in tables]
    assert len(stream.phases) >= len(tables) * PROBED
    found = Counter(verdict(stream, hosts, number) for number in range(len(stream.phases)))
    assert set(found) == {""}, found


def named(routes: Routes) -> dict[ipaddress.IPv4Network, str]:
    return {ipaddress.IPv4Network("0.0.0.0/0"): "10.0.2.1"} | {ipaddress.IPv4Network(network): hop for network, hop in routes.items()}
