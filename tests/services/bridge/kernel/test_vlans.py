"""Random frames through a bridge with all kinds of ports: each arrives where, and as, the reference says."""
from __future__ import annotations

import json
import random
import struct
import time

import pytest

from cubes.bridge.settings import port_of
from tests.lib.lab import HOOKS, Lab
from tests.lib.traffic import ETHERTYPE
from tests.services.bridge.model import SERVICE_VLAN, Bridge, tagged

pytestmark = pytest.mark.kernel

PORTS = {
    "h1": {"access": {"vlanid": 10}},
    "h2": {"access": {"vlanid": 10}},
    "h3": {"access": {"vlanid": 20}},
    "h4": {"mode": "trunk", "trunk": {"allowed": [{"vlanid": 10}, {"vlanid": 20}]}},
    "h5": {"mode": "trunk", "trunk": {"allowed": [{"vlanid": 1}, {"vlanid": 10}, {"vlanid": 20}], "native-vlan": 20}},
    "h6": {"mode": "trunk", "trunk": {"allow-all": True, "native-vlan": 10}},
    "h7": {"mode": "trunk", "trunk": {"allow-all": True, "native-vlan-enabled": False}},
    "h8": {"access": {}},
}
STATIONS = [bytes.fromhex(f"0200000000{number:02x}") for number in range(1, 13)]
GROUPS = [b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("0180c2000000"), bytes.fromhex("0180c2000003"), bytes.fromhex("0180c200000e")]
TAGS = [None, None, None, 0, 0x6000, 1, 10, 10, 0x600A, 20, 20, 0x7014, 30, 4094, 4095]
FEW, MANY = 1500, 100_000
BATCH = 40  # frames that are on their way at once


def scenario() -> str:
    hosts = {host: f"10.0.0.{host[1:]}/24" for host in PORTS}
    ports = [{"name": host, "peer": f"v{host[1:]}", **said} for host, said in PORTS.items()]
    return json.dumps({"hosts": hosts, "cubes": [{"name": "br1", "service-name": "bridge", "ports": ports, "forward-group": ["lldp"]}]})


def random_frame(chance: random.Random, number: int) -> bytes:
    target = chance.choice(STATIONS if chance.random() < 0.7 else GROUPS)
    source = chance.choice(STATIONS) if chance.random() < 0.97 else chance.choice(GROUPS[:2])
    frame = target + source + struct.pack("!HI", ETHERTYPE, number) + bytes(chance.choice((46, 46, 1400)))
    tag = chance.choice(TAGS)
    if tag is None:
        return frame
    if chance.random() < 0.1:  # a tag within a tag
        frame = tagged(frame, 5)
    return tagged(frame, tag, SERVICE_VLAN if chance.random() < 0.1 else 0x8100)


def number_of(frame: bytes) -> int | None:
    """The number that a frame of this test carries."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    found: int = struct.unpack_from("!I", frame, at + 2)[0]
    return found if frame[at : at + 2] == struct.pack("!H", ETHERTYPE) else None


def differences(lab: Lab, frames: int, seed: int) -> list[str]:
    """Send random frames, in batches from one host each, and say where something else arrived than should."""
    chance = random.Random(seed)
    reference = Bridge([port_of({"name": host, **said}) for host, said in PORTS.items()], frozenset({14}))
    sniffers = {host: lab.sniff(host) for host in PORTS}
    found: list[str] = []
    try:
        for start in range(0, frames, BATCH):
            sender = chance.choice(list(PORTS))
            batch = [random_frame(chance, start + each) for each in range(BATCH)]
            wanted = {host: [] for host in PORTS}
            for frame in batch:
                for host, copy in reference.out(sender, frame).items():
                    wanted[host].append(copy)
            lab.send(sender, *batch)
            for host, copies in wanted.items():
                seen = arrived(sniffers[host], len(copies))
                if sorted(seen) != sorted(copies):
                    found.append(f"seed {seed}, frames from {start} of {sender}: at {host} {len(seen)} arrived and not {len(copies)}")
            if found:
                break
    finally:
        for sniffer in sniffers.values():
            sniffer.__exit__()
    return found


def arrived(sniffer, count: int) -> list[bytes]:
    """So many frames, or as many as come; and what comes beyond that soon after."""
    seen: list[bytes] = []
    deadline = time.monotonic() + 5
    while len(seen) < count and time.monotonic() < deadline:
        if (frame := sniffer.next(0.5, lambda each: number_of(each) is not None)) is not None:
            seen.append(frame)
    return seen + sniffer.all(0.002, lambda each: number_of(each) is not None)


@pytest.fixture(scope="module", params=HOOKS)
def lab(request, compiled_programs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCN_CACHE", str(compiled_programs))
        with Lab(scenario(), hook=request.param) as lab:
            lab.apply()
            yield lab


def test_random_frames_arrive_where_and_as_the_reference_says(lab):
    seed = time.time_ns() & 0xFFFFFFFF
    lab.flush("br1", "fwdtable")
    assert differences(lab, FEW, seed) == []


@pytest.mark.exhaustive
def test_a_hundred_thousand_random_frames_do(lab):
    seed = time.time_ns() & 0xFFFFFFFF
    lab.flush("br1", "fwdtable")
    assert differences(lab, MANY, seed) == []
