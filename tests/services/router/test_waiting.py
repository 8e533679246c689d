"""The router's waiting room: what is full makes room at the cost of whoever holds most of it."""
from __future__ import annotations

import ipaddress

import pytest

from cubes.router import waiting
from cubes.router.waiting import HOPS, PACKETS, QUEUED, Packet, WaitingRoom

FLOOD, OTHER = ipaddress.ip_address("10.0.1.66"), ipaddress.ip_address("10.0.1.1")


def hop(number: int) -> waiting.Hop:
    return ipaddress.ip_address(0x0A020000 + number), "q"


def packet(number: int = 0, sender=FLOOD, port: str = "p") -> Packet:
    return Packet(number.to_bytes(4, "big"), port, sender)


@pytest.fixture
def room():
    return WaitingRoom()


def numbers(packets) -> list[int]:
    return [int.from_bytes(each.frame, "big") for each in packets]


def test_a_queue_keeps_its_newest_packets(room):
    for number in range(200):
        room.add(hop(1), packet(number))
    assert numbers(room.pop(hop(1))) == list(range(200 - QUEUED, 200))


def test_in_a_full_queue_the_source_that_has_most_loses_its_oldest(room):
    room.add(hop(1), packet(1000, OTHER))
    for number in range(200):
        room.add(hop(1), packet(number))
    assert numbers(room.pop(hop(1))) == [1000, *range(200 - QUEUED + 1, 200)]


def test_a_source_that_asks_for_all_next_hops_is_refused_more_and_makes_room_for_another(room):
    for number in range(HOPS + 100):
        room.add(hop(number), packet(number))
    assert len(room) == HOPS
    assert room.add(hop(HOPS + 200), packet()) is None
    for number in range(100):
        assert room.add(hop(5000 + number), packet(number, OTHER)) is not None
    assert len(room) == HOPS
    assert numbers(room.pop(hop(5000))) == [0]
    assert room.pop(hop(0)) == []
    assert numbers(room.pop(hop(HOPS - 1))) == [HOPS - 1]


def test_one_source_at_two_ports_is_two(room):
    for number in range(HOPS):
        room.add(hop(number), packet(number))
    assert room.add(hop(9000), packet(port="r")) is not None


def test_packets_are_bounded_in_all_and_who_holds_most_makes_room(room):
    for number in range(PACKETS + 10):
        room.add(hop(number % 100), packet(number))
    assert sum(len(queue.packets) for _, queue in room) == PACKETS
    assert room.add(hop(1), packet()) is None
    assert room.add(hop(1), packet(7, OTHER)) is not None
    assert sum(len(queue.packets) for _, queue in room) == PACKETS


def test_what_is_taken_out_counts_no_more(room):
    for _ in range(3):
        for number in range(HOPS):
            assert room.add(hop(number), packet(number)) is not None
        for number in range(HOPS):
            assert numbers(room.pop(hop(number))) == [number]
    assert not len(room)
    assert not room._opened
    assert not room._held
