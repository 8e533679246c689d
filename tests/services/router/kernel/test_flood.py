"""While one source asks for next hops that there are not, 10,000 a second, others still reach neighbours that are not known yet: by the
same router, from the same port and from another, and by another router that the same agent looks after. A Linux router gets the
same flood in the same run.
"""
from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib import packets
from tests.lib.linux import Linux
from tests.lib.netns_topology import run_in
from tests.services.router.frames import GATEWAY, error_of, udp
from tests.services.router.kernel.test_agent import agent
from tests.services.router.lab import RouterLab

SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.2.0.1/16], routes: [{to: default, via: 10.2.0.254}]}
  h3: {addresses: [10.0.3.1/24], routes: [{to: default, via: 10.0.3.254}]}
  h4: {addresses: [10.0.4.1/24], routes: [{to: default, via: 10.0.4.254}]}
  h5: {addresses: [10.0.5.1/24], routes: [{to: default, via: 10.0.5.254}]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: p1, peer: v1, ip: 10.0.1.254/24, mac: "02:00:00:00:01:fe"}
      - {name: p2, peer: v2, ip: 10.2.0.254/16}
      - {name: p3, peer: v3, ip: 10.0.3.254/24}
  - name: r2
    service-name: router
    ports: [{name: p4, peer: v4, ip: 10.0.4.254/24}, {name: p5, peer: v5, ip: 10.0.5.254/24}]
"""
LIMITED = "14"
RATE = 10_000
# Sends the frames of a file, each of `size` bytes, again and again, at a steady rate.
SENDER = """
import socket, sys, time
path, size, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = open(path, "rb").read()
frames = [data[at:at + size] for at in range(0, len(data), size)]
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
started, sent = time.monotonic(), 0
while True:
    while sent < (time.monotonic() - started) * rate:
        sock.send(frames[sent % len(frames)])
        sent += 1
    time.sleep(0.001)
"""
CASES = [("TC", 4, True), ("TC", 4, False), ("TC", 6, True), ("XDP_DRV", 4, True), ("XDP_DRV", 6, False)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-IPv{case[1]}-{'agent' if case[2] else 'alone'}")
def lab(request):
    hook, family, served = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab, contextlib.ExitStack() as stack:
        lab.apply()
        lab.served = served
        for host, gateway in (("h1", "10.0.1.254"), ("h2", "10.2.0.254"), ("h3", "10.0.3.254"), ("h4", "10.0.4.254"), ("h5", "10.0.5.254")):
            lab.reach(host, gateway)
        if served:
            stack.enter_context(agent(lab))
        yield lab


def give(lab: RouterLab, space: str, base: str, numbers: range) -> list[str]:
    """More addresses for a host: neighbours that nobody knows yet."""
    found = [lab.said(f"{base}.{number}") for number in numbers]
    for address in found:
        run_in(space, ["ip", "address", "add", f"{address}/{32 if lab.family == 4 else 128}", "dev", "eth0",
                       *(["nodad"] if lab.family == 6 else [])])  # fmt: skip
    return found


@contextlib.contextmanager
def flood(lab: RouterLab, space: str, tmp_path: Path) -> Iterator[None]:
    """From a host at p1 under one address, to random ones of p2's subnet, while the block runs."""
    rng = random.Random(1)
    frames = [udp(lab, "10.0.1.66", f"10.2.{rng.randrange(1, 255)}.{rng.randrange(1, 255)}") for _ in range(5_000)]
    (tmp_path / "frames").write_bytes(b"".join(frames))
    sender = lab.world.spawn(space, [sys.executable, "-c", SENDER, str(tmp_path / "frames"), str(len(frames[0])), str(RATE)])
    try:
        time.sleep(1.5)
        assert sender.poll() is None, sender.communicate()[1]
        yield
    finally:
        sender.kill()
        sender.wait()


def lost(space: str, addresses: list[str]) -> int:
    """The most packets of five that are lost to a neighbour that is asked for with the first of them."""
    return max(5 - packets.ping(space, address, 5, timeout=3) for address in addresses)


@pytest.mark.serial
def test_neighbours_are_found_while_another_source_floods(lab, tmp_path):
    at_most = 0 if lab.served else 1  # without an agent the first packet becomes the question
    fresh = give(lab, lab.space("h2"), "10.2.0", range(10, 16))
    others = give(lab, lab.space("h5"), "10.0.5", range(10, 13))
    with flood(lab, lab.space("h1"), tmp_path):
        same_port, other_port = lost(lab.space("h1"), fresh[:3]), lost(lab.space("h3"), fresh[3:])
        other_router = lost(lab.space("h4"), others)
    assert (same_port, other_port, other_router) <= (at_most, at_most, at_most)
    assert max(same_port, other_port, other_router) <= at_most
    assert lab.drops("r1")[LIMITED] > 0
    assert LIMITED not in lab.drops("r2")


@pytest.mark.serial
def test_a_linux_router_loses_no_less(tmp_path):
    with RouterLab(SCENARIO, hook="TC") as lab:
        lab.apply()
        lab.reach("h1", "10.0.1.254")
        lab.reach("h2", "10.2.0.254")
        with agent(lab), Linux(lab, "router", {"h1": ["10.0.1.254/24"], "h2": ["10.2.0.254/16"]}, {"h1": GATEWAY.hex(":")}) as linux:
            theirs = give(lab, linux.space("h2"), "10.2.0", range(10, 13))
            with flood(lab, linux.space("h1"), tmp_path):
                lost_by_linux = lost(linux.space("h1"), theirs)
            ours = give(lab, lab.space("h2"), "10.2.0", range(10, 13))
            with flood(lab, lab.space("h1"), tmp_path):
                lost_by_pcn = lost(lab.space("h1"), ours)
    assert lost_by_pcn <= lost_by_linux


def test_no_more_is_asked_for_than_a_sources_share(lab, tmp_path):
    """After its 250 at once, 31 a second."""
    with flood(lab, lab.space("h1"), tmp_path):
        time.sleep(3)
        with lab.sniff("h2") as seen:
            started, asked = time.monotonic(), set()
            while time.monotonic() - started < 2:
                frame = seen.next(0.1, lambda each: each[12:14] == b"\x08\x06" or (each[12:14] == b"\x86\xdd" and each[54] == 135))
                asked |= {frame[38:42] if lab.family == 4 else frame[62:78]} if frame else set()
            seconds = time.monotonic() - started
    assert len(asked) <= 31 * (seconds + 3) + 10  # an agent asks three times for each


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
@pytest.mark.parametrize("family", [4, 6])
def test_errors_that_one_source_is_sent_are_not_taken_from_anothers_share(hook, family):
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        lab.reach("h1", "10.0.1.254")
        lab.reach("h3", "10.0.3.254")
        with lab.sniff("h1") as seen:
            lab.send("h1", *[udp(lab, "10.0.1.66", "10.99.0.1")] * 3000)
            lab.send("h1", *[udp(lab, "10.0.1.67", "10.99.0.1")] * 20)
            found = seen.all(0.3, lambda frame: error_of(frame) is not None)
        told = [frame[33 if family == 4 else 53] for frame in found]  # the last byte of whom
        assert 250 <= told.count(66) < 3000
        assert told.count(67) == 20
        assert lab.answer("h3", "10.99.0.1") is not None
