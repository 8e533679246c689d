"""The rule sets of real hosts in the kernel's own iptables, of both kinds, and the firewalls made of them in its place: the same packets
come through INPUT. What the import says that it loses may refuse more, and accepts nothing else.
"""
from __future__ import annotations

import ipaddress
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cubes.firewall import IMPORTS
from reconciler.kernel import rtnl
from tests.services.firewall.frames import MACS, ipv4, ipv6
from tests.services.firewall.input_lab import InputHost
from tests.services.firewall.model import Packet
from tests.services.firewall.sequences import ACK, SYN
from tests.services.firewall.test_iptables_files import FILES, LOSSES, Pool, options_of

PROBES, LEAST = 500, 50
A_SECOND = 25  # packets that a limit of these files lets through in a second: the two runs do not take equally long
ON_TIME = re.compile(r"--limit |-m hashlimit|-m recent")


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def frame_of(packet: Packet, family: int) -> bytes:
    ports = packet.ports or (0, 0)
    if packet.proto == 6:
        ports_and_numbers = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + (1).to_bytes(4, "big")
        body = ports_and_numbers + (1 if (packet.flags or 0) & ACK else 0).to_bytes(4, "big") + bytes([0x50, packet.flags or 0, 4, 0]) + bytes(4)
    elif packet.proto == 17:
        body = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + (12).to_bytes(2, "big") + b"\0\1" + b"data"
    elif packet.message is not None:
        body = bytes(packet.message) + bytes(2) + random.Random(repr(packet)).randbytes(4) + bytes(28)
    else:
        body = bytes(16)
    kind, make = (b"\x08\x00", ipv4) if family == 4 else (b"\x86\xdd", ipv6)
    return MACS[:12] + kind + make(packet.proto, int(packet.src), int(packet.dst), body, None)


def probes(name: str, table: str, family: int, options: dict[str, list[str]]) -> list[tuple[str, bytes]]:
    """No two are of one connection, or the second would be of what became of the first."""
    netdevs = options["netdev"][:1] if ON_TIME.search(table) else options["netdev"]  # each firewall has its own limits
    rng, local = random.Random(f"kernel {name}"), [ipaddress.ip_interface(text).ip for text in options.get("address", ())]
    pool, found, seen = Pool(rng, table, family, local), [], set[Any]()
    while len(found) < PROBES:
        packet = pool.packet()
        if local:
            packet.dst = rng.choice(local)
        if packet.ports is not None and rng.random() < 0.8:
            packet.ports = rng.randrange(1024, 65536), packet.ports[1]
        if packet.proto == 6 and packet.flags == 63 and rng.random() < 0.5:
            packet.flags = SYN
        talk = packet.proto, frozenset(((packet.src, (packet.ports or (0, 0))[0]), (packet.dst, (packet.ports or (0, 0))[1])))
        if talk not in seen or (packet.proto not in (6, 17) and rng.random() < 0.02):
            seen.add(talk)
            found.append((rng.choice(netdevs), frame_of(packet, family)))
    return found


def to_stations(sent: list[tuple[str, bytes]], macs: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(netdev, macs[netdev] + frame[6:]) for netdev, frame in sent]


def addressed(host: InputHost, sent: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    links = rtnl.links()
    return to_stations(sent, {name: bytes.fromhex(links[name].mac.replace(":", "")) for name in host.netdevs})


@pytest.mark.exhaustive
@pytest.mark.parametrize("flavour", ["legacy", "nft"])
def test_packets_come_through_as_they_do_through_the_kernels_iptables(file: Path, flavour: str) -> None:
    text, family = file.read_text("utf-8"), int(file.suffix[-1])
    (table,) = re.findall(r"^\*filter$(.*?)^COMMIT$", text, re.MULTILINE | re.DOTALL)
    options = options_of(text, family)
    sent = probes(file.name, table, family, options)
    with InputHost(options["netdev"], family, options.get("address", ())) as host:
        program = f"{'iptables' if family == 4 else 'ip6tables'}-{flavour}-restore"
        subprocess.run([program], input=f"*filter{table}COMMIT\n", text=True, check=True, capture_output=True)
        came, wanted = host.fates(addressed(host, sent))
    document = IMPORTS["iptables-save"].read({"f": text}, options).document
    with InputHost(options["netdev"], family, options.get("address", ())) as host:
        host.spec |= {name: document["spec"][name] for name in ("shared", "cubes", "attachments") if name in document["spec"]}
        host.apply()
        _, passed = host.fates(addressed(host, sent))
    compared = len(came)
    more, fewer = sorted((passed - wanted) & came), sorted(wanted - passed)
    if LOSSES.get(file.name):
        fewer = []
    if ON_TIME.search(table) and max(len(more), len(fewer)) <= A_SECOND:
        more, fewer = [], []
    said = [f"{way} {place} {sent[place][0]} {sent[place][1][14:].hex()}" for way, some in (("more", more), ("fewer", fewer)) for place in some]
    print(f"{file.name} {flavour}: {compared} compared, {len(wanted)} pass iptables, {len(passed)} the firewall")  # noqa: T201
    assert said == []
    assert compared >= LEAST, "the others come from where no host is, and the kernel drops them before any rule"
