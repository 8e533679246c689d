"""The marks by which a firewall knows its own answers are of no use to anybody else."""
from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from reconciler.kernel import bpf, netns, programs, rtnl
from tests.services.firewall.lab import FirewallLab
from tests.services.iptables.lab import HostLab

INDEX, MARK = 0x70C1, 0xC3  # bpf/lib/own_answer.h
TCX_NEXT = -1  # after TCX_PASS the kernel sets the index anew
OF_INDEX, OF_MARK = 44, 8  # in struct __sk_buff


def marking() -> bytes:
    """A program for TC that sets both marks, and lets the packet pass."""
    def store(offset: int, value: int) -> bytes:
        return struct.pack("<BBhi", 0xB4, 2, 0, value) + struct.pack("<BBhi", 0x63, 2 << 4 | 1, offset, 0)

    return store(OF_INDEX, INDEX) + store(OF_MARK, MARK) + struct.pack("<BBhi", 0xB4, 0, 0, TCX_NEXT) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@pytest.fixture
def marked() -> Iterator[object]:
    """Gives a function by which all that a host sends has both marks from then on."""
    kept: list[int] = []

    def mark(space: str) -> None:
        program = programs.load(marking(), bpf.SCHED_CLS, "marking")
        kept.append(program)
        with netns.inside(space):
            kept.append(bpf.link_create(program, rtnl.links()["eth0"].index, bpf.ATTACH_TCX_EGRESS, 0))

    yield mark
    for fd in kept:
        os.close(fd)


def test_a_neighbour_that_marks_its_packets_is_asked_about_all_the_same(marked) -> None:  # type: ignore[no-untyped-def]
    with FirewallLab() as lab:
        lab.chain("INGRESS", default="DROP")
        lab.chain("EGRESS", {"action": "ACCEPT"})
        lab.apply()
        marked(lab.space("h1"))
        assert lab.in_fails()


def test_a_host_is_not_deceived_either(marked) -> None:  # type: ignore[no-untyped-def]
    with HostLab() as lab:
        lab.chains(INPUT={"default": "DROP"}, FORWARD={"default": "DROP"})
        marked(lab.space("h1"))
        assert lab.fails("h1", "10.0.1.254")
        assert lab.fails("h1", "10.0.2.1")
