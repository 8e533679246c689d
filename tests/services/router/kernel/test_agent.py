"""A router that an agent looks after: packets wait for their next hop's MAC address, all of them, and not for ever."""
from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.kernel import bpf, maps, netns
from tests.lib import packets
from tests.lib.netns_topology import run_in
from tests.lib.slowpaths import SlowPaths
from tests.services.router.frames import SCENARIO, age_all, is_question, is_udp, udp
from tests.services.router.lab import RouterLab

HOST_UNREACHABLE = {4: (3, 1), 6: (1, 3)}


@contextmanager
def agent(lab: RouterLab) -> Iterator[SlowPaths]:
    """An agent's slow paths, served while the block runs."""
    slow = SlowPaths(lab.root, lab.options.services)
    slow.refresh()
    slow.tick()
    ended = threading.Event()

    def serve() -> None:
        ticked = time.monotonic()
        while not ended.is_set():
            if select.select([slow], [], [], 0.02)[0]:
                slow.drain()
            if time.monotonic() - ticked > 0.1:
                ticked = time.monotonic()
                slow.tick()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield slow
    finally:
        ended.set()
        thread.join()
        slow.close()


@pytest.fixture(params=[(hook, family) for hook in ("TC", "XDP_DRV") for family in (4, 6)], ids=lambda p: f"{p[0]}-IPv{p[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        lab.reach("h1", "10.0.1.254")
        yield lab


def test_the_first_packet_waits_and_none_is_lost(lab):
    with agent(lab) as slow:
        assert packets.ping(lab.space("h1"), lab.said("10.0.2.1"), 3) == 3
        assert slow.counters()["raised"] == 0


def test_every_packet_that_waited_is_released_in_order_and_whole(lab):
    with agent(lab), lab.sniff("h2") as seen:
        lab.send("h1", *[udp(lab, target="10.0.2.77", payload=bytes([number]) * 40) for number in range(40)])
        time.sleep(0.3)
        give_address(lab, "10.0.2.77")
        found = seen.all(1.2, is_udp)
    assert [frame[-1] for frame in found] == list(range(40))
    assert {frame[22 if lab.family == 4 else 21] for frame in found} == {63}


def test_a_queue_is_bounded_and_keeps_the_newest(lab):
    with agent(lab), lab.sniff("h2") as seen:
        lab.send("h1", *[udp(lab, target="10.0.2.77", payload=bytes([number]) * 40) for number in range(200)])
        time.sleep(0.3)
        give_address(lab, "10.0.2.77")
        found = seen.all(1.2, is_udp)
    assert [frame[-1] for frame in found] == list(range(200 - 64, 200))


def give_address(lab, address):
    """h2 is found under this address from now on."""
    family = "-6" if lab.family == 6 else "-4"
    length = "/112" if lab.family == 6 else "/24"
    options = ["nodad"] if lab.family == 6 else []
    run_in(lab.space("h2"), ["ip", family, "address", "add", lab.said(address) + length, "dev", "eth0", *options])


def test_a_sockets_own_datagram_waits_too_and_arrives_with_a_right_checksum(lab):
    with agent(lab):
        exchange = packets.udp_exchange(lab.space("h1"), lab.space("h2"), lab.said("10.0.2.1"), 5000, payload=b"question" * 30)
    assert exchange is not None
    assert exchange.received == exchange.reply == b"question" * 30


def test_a_host_that_does_not_answer_is_asked_three_times_and_then_said_to_be_unreachable(lab):
    with agent(lab), lab.sniff("h2") as seen:
        started = time.monotonic()
        answer = lab.answer("h1", "10.0.2.77", timeout=6)
        assert answer == (*HOST_UNREACHABLE[lab.family], lab.said("10.0.1.254"))
        assert 2.5 < time.monotonic() - started < 5
        asked = seen.all(0.2, is_question)
    assert len(asked) == 3


def test_an_agent_that_fell_silent_is_done_without_within_seconds_and_one_that_is_back_is_relied_on(lab):
    target = lab.said("10.0.2.1")
    with agent(lab):
        assert packets.ping(lab.space("h1"), target, 2) == 2
    say_that_an_agent_lived(lab, 4)
    lab.flush("r1", "neighbours")
    assert packets.ping(lab.space("h1"), target, 1, timeout=0.3) == 0  # it became the question
    lab.reach("h1", "10.0.2.1")
    lab.flush("r1", "neighbours")
    with agent(lab):
        assert packets.ping(lab.space("h1"), target, 3) == 3


def say_that_an_agent_lived(lab, seconds_ago):
    fd = bpf.open_pin(f"{lab.root}/cubes/r1/tables/agent")
    maps.update(fd, bytes(4), struct.pack("<I", int(time.monotonic()) - seconds_ago))
    os.close(fd)


def test_a_neighbour_in_use_is_asked_ahead_of_time_so_that_nothing_waits(lab):
    lab.reach("h1", "10.0.2.1")
    age_all(lab, 50)
    lab.reach("h1", "10.0.2.1")  # in use, and still believed
    with agent(lab):
        deadline = time.monotonic() + 7
        while not all(entry["age"] < 10 for entry in lab.live_cube("r1", state=True)["arp-table"]):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_stream_that_starts_in_the_cold_carries_all(lab):
    payload = bytes(range(256)) * 4000
    with agent(lab):
        exchange = packets.tcp_exchange(lab.space("h1"), lab.space("h2"), lab.said("10.0.2.1"), 8080, payload=payload, timeout=5)
    assert exchange is not None
    assert exchange.reply == payload


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
def test_without_an_agent_a_sockets_packet_with_an_unfinished_checksum_becomes_a_question_that_is_answered(lab, kind):
    family = socket.AF_INET if lab.family == 4 else socket.AF_INET6
    with netns.inside(lab.space("h1")):
        sock = socket.socket(family, kind)
    with sock:
        sock.setblocking(False)
        sock.connect_ex((lab.said("10.0.2.1"), 5001))
        if kind == socket.SOCK_DGRAM:
            sock.send(b"question")
        deadline = time.monotonic() + 1
        while lab.said("10.0.2.1") not in lab.neighbours("r1"):
            assert time.monotonic() < deadline, "nobody answered"
