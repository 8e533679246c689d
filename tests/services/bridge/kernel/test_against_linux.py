"""The bridge against Linux's: the same random frames in, the same frames out of the same ports, while stations are learned, move and age.

Frames have no tag and no IP. Not among them is what the two treat differently by intention (docs/services/bridge.md): frames whose source
is a group, and BPDUs, which Linux floods while its spanning tree is off. Whom Linux learns from frames that it does not forward (LLDP)
nobody asks for.
"""
from __future__ import annotations

import contextlib
import json
import os
import random
import struct
import time
from collections.abc import Iterator

import pytest

from tests.lib.lab import HOOKS, Lab
from tests.lib.netns_topology import run_in
from tests.lib.packets import Sniffer
from tests.lib.traffic import ETHERTYPE
from tests.services.bridge.kernel.test_vlans import STATIONS, number_of

pytestmark = pytest.mark.kernel

HOSTS = ("h1", "h2", "h3", "h4")
OF_ONE_WIRE = [*map(bytes.fromhex, ("0180c2000001", "0180c2000003", "0180c200000e"))]
GROUPS = [b"\xff" * 6, *map(bytes.fromhex, ("01005e000001", "333300000001", "0180c2000010")), *OF_ONE_WIRE]
AGEING = 3  # seconds
LAST = b"\xff" * 6 + bytes.fromhex("02000000ee01")  # the broadcast that ends a batch
BATCH = 25
FEW, MANY = 1500, 100_000
LINUX = [
    f"ip link add br0 type bridge stp_state 0 mcast_snooping 0 ageing_time {AGEING * 100}", "sysctl -qw net.ipv6.conf.br0.disable_ipv6=1",
    "ip link set br0 up", *(f"ip link set v{host[1:]} master br0" for host in HOSTS),
]  # fmt: skip


def scenario(*cubes: object) -> str:
    return json.dumps({"hosts": {host: f"10.0.0.{host[1:]}/24" for host in HOSTS}, "cubes": list(cubes)})


class LinuxBridge(Lab):
    def __init__(self) -> None:
        super().__init__(scenario())

    def __enter__(self) -> LinuxBridge:
        super().__enter__()
        self.apply()
        for command in LINUX:
            run_in(None, command.split())
        return self

    def __exit__(self, *words: object) -> None:
        run_in(None, ["ip", "link", "delete", "br0"])
        super().__exit__(*words)


def frame_of(chance: random.Random, number: int) -> bytes:
    target = chance.choice(STATIONS if chance.random() < 0.8 else GROUPS)
    source = chance.choice(STATIONS) if target not in OF_ONE_WIRE else STATIONS[0][:4] + b"\xdd\x01"
    return target + source + struct.pack("!HI", ETHERTYPE, number) + bytes(chance.choice((46, 46, 200, 1400)))


def differences(hook: str, frames: int, seed: int, pauses: int) -> tuple[list[str], int]:
    """Where the two did not do the same, and how many copies arrived. `pauses`: how often all that was learned is left to age."""
    chance, found, copies = random.Random(seed), [], 0
    ports = [{"name": host, "peer": f"v{host[1:]}"} for host in HOSTS]
    cube = {"name": "br1", "service-name": "bridge", "ports": ports, "fdb": {"aging-time": AGEING}}
    aged = set(chance.sample(range(1, frames // BATCH), pauses))
    with Lab(scenario(cube), hook=hook) as pcn, on_one_cpu():
        pcn.apply()
        with LinuxBridge() as linux:
            seen = [(lab, {host: lab.sniff(host) for host in HOSTS}) for lab in (linux, pcn)]
            for batch in range(frames // BATCH):
                if batch in aged:
                    time.sleep(AGEING + 1.2)  # its own ages have whole seconds
                sender = chance.choice(HOSTS)
                sent = [frame_of(chance, batch * BATCH + each) for each in range(BATCH)]
                for lab, _ in seen:
                    lab.send(sender, *sent, LAST + struct.pack("!HI", ETHERTYPE, batch) + bytes(46))
                for host in HOSTS:
                    theirs, ours = (until_last(sniffers[host], 0.002 if host == sender else 5) for _, sniffers in seen)
                    copies += len(theirs)
                    if sorted(theirs) != sorted(ours):
                        more = [[each[:18].hex() for each in there if each not in here] for there, here in ((ours, theirs), (theirs, ours))]
                        found.append(f"frames from {batch * BATCH} of {sender}: at {host} arrived besides {more[0]}, with Linux's {more[1]}")
                if found:
                    break
            for _, sniffers in seen:
                for sniffer in sniffers.values():
                    sniffer.__exit__()
    return found, copies


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """Frames are received where they are sent: on two CPUs one may overtake the other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def until_last(sniffer: Sniffer, seconds: float) -> list[bytes]:
    """What arrived, to the broadcast that ends each batch."""
    found: list[bytes] = []
    while (frame := sniffer.next(seconds, lambda each: number_of(each) is not None)) is not None:
        found.append(frame)
        if frame.startswith(LAST):
            break
    return found


@pytest.mark.parametrize("hook", HOOKS)
def test_random_frames_arrive_where_they_do_with_the_linux_bridge(hook: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    found, copies = differences(hook, FEW, seed, 2)
    assert found == [], f"seed {seed}"
    assert copies > FEW // 2, f"seed {seed}: too few frames arrived"


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hundred_thousand_random_frames_do(hook: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    found, copies = differences(hook, MANY, seed, 10)
    assert found == [], f"seed {seed}"
    assert copies > MANY // 2
