"""Rule sets of real hosts: what the import loses of each is listed and may only become less, and 500 packets fare as with iptables.

tests/data/iptables/losses.yaml has the errors of each file. With --lossy, a packet that iptables refuses is refused here too; of a
file without errors every packet fares the same.
"""
from __future__ import annotations

import ipaddress
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cubes.firewall import IMPORTS
from cubes.firewall.check import problems
from reconciler.service.model.codec import Env
from tests.services.firewall.imported import cubes_of
from tests.services.firewall.iptables_model import Seen, Tables, states
from tests.services.firewall.model import Model, Packet

DATA = Path(__file__).parents[2] / "data" / "iptables"
FILES = sorted(path for path in DATA.iterdir() if path.suffix in (".v4", ".v6"))
LOSSES: dict[str, list[str]] = yaml.safe_load((DATA / "losses.yaml").read_text("utf-8"))
PROBES = 500


def options_of(text: str, family: int) -> dict[str, list[str]]:
    """Two netdevs that the rules name, or one; a router where FORWARD has something to say."""
    named = sorted({word for word in re.findall(r"-[io] (\S+)", text) if not word.endswith("+") and word != "lo"}) or ["eth0"]
    if re.search(r"^(-A FORWARD|:FORWARD DROP)", text, re.MULTILINE):
        return {"netdev": named[:2], "address": ["192.0.2.1/24" if family == 4 else "2001:db8:ffff::1/64"]}
    return {"netdev": named[:1]}


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def case(request) -> tuple[str, str, int, Any]:
    text, family = request.param.read_text("utf-8"), int(request.param.suffix[-1])
    return request.param.name, text, family, IMPORTS["iptables-save"].read({"f": text}, options_of(text, family))


def test_what_is_lost_is_listed_and_nothing_else_is(case) -> None:
    name, _, _, found = case
    lost = [f"{problem.where.line}: {problem.message}" for problem in found.lost if problem.severity == "error" and problem.where]
    assert [line for line in lost if line not in LOSSES.get(name, [])] == []
    assert lost == LOSSES.get(name, []), "less is lost than the list says: take it out there"


def test_a_file_becomes_no_more_than_five_times_its_rules_and_nothing_to_complain_of(case) -> None:
    _, text, _, found = case
    (table,) = re.findall(r"^\*filter$(.*?)^COMMIT$", text, re.MULTILINE | re.DOTALL)
    for cube in cubes_of(found.document):
        assert sum(len(chain["rule"]) for chain in cube["chain"]) <= 5 * max(4, table.count("\n-A ") + table.count("] -A "))
        assert list(problems(cube, Env(cube=cube["name"]))) == []


def test_packets_fare_as_with_iptables(case) -> None:
    name, text, family, found = case
    table = re.sub(r"^\[\d+:\d+\] ", "", re.findall(r"^\*filter$(.*?)^COMMIT$", text, re.MULTILINE | re.DOTALL)[0], flags=re.MULTILINE)
    rng, options = random.Random(name), options_of(text, family)
    local = [ipaddress.ip_interface(address).ip for address in options.get("address", [])]
    original = Tables(table, local=local)
    places = found.document["spec"]["attachments"]
    firewalls = {at["netdev"]: Model(cube) for at, cube in zip(places, cubes_of(found.document), strict=True)}
    pool, different = Pool(rng, table, family, local), []
    for _ in range(PROBES):
        packet, came_by = pool.packet(), rng.choice(options["netdev"])
        theirs, ours = states(rng, packet)
        seen = Seen(packet, theirs, came_by, "", rng.randrange(1000))
        if local and packet.dst not in local:
            continue  # FORWARD is asked where they leave; random tables are compared there (test_iptables_import.py)
        wanted = original.judge("INPUT", seen)
        verdict = firewalls[came_by].decide("INGRESS", packet, ours, came_by).verdict
        if verdict != wanted and (not LOSSES.get(name) or verdict == "ACCEPT") and not loose(theirs, ours):
            different.append((packet, theirs, wanted, verdict))
    assert different == []


def loose(theirs: str, ours: str) -> bool:
    """TCP in the middle of a connection that nobody saw begin: the two trackers differ, as docs/services/firewall.md says."""
    return theirs != ours


class Pool:
    """Packets with the addresses and ports that the rules are about, and others."""

    def __init__(self, rng: random.Random, table: str, family: int, local: list[Any]) -> None:
        self.rng, self.family, self.local = rng, family, local
        words = re.findall(r"-[sd] (\S+)", table)
        self.networks = [ipaddress.ip_network(word) for text in words for word in text.split(",")] or [ipaddress.ip_network("10.0.0.0/8")]
        self.ports = [int(word) for word in re.findall(r"\b\d{1,5}\b", " ".join(re.findall(r"--[sd]ports? (\S+)", table))) if int(word) < 65536]

    def address(self) -> Any:
        network = self.rng.choice(self.networks)
        return network[self.rng.randrange(min(network.num_addresses, 1 << 16))]

    def packet(self) -> Packet:
        rng = self.rng
        dst = rng.choice([*self.local, self.address()]) if self.local else self.address()
        proto = rng.choice((6, 6, 6, 17, 17, 1 if self.family == 4 else 58, 47))
        packet = Packet(60, self.family, self.address(), dst, proto)
        if proto in (6, 17):
            packet.ports = rng.choice([*self.ports, rng.randrange(65536)]), rng.choice([*self.ports, *self.ports, rng.randrange(65536)])
        if proto == 6:
            packet.flags = rng.choice((2, 2, 2, 18, 16, 24, 4, 0, 63))
        if proto in (1, 58):
            packet.message = rng.choice((0, 3, 8, 11, 12) if proto == 1 else (1, 2, 3, 4, 128, 129, 133, 134, 135, 136)), rng.choice((0, 0, 1, 3, 4))
        return packet
