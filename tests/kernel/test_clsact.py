"""The fallback for kernels without TCX, tried on this one, which has both."""
from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.errors import HookHeld, KernelError
from reconciler.kernel import bpf, clsact, netlink, programs, rtnl
from reconciler.model import LinkEnd
from tests.lib.netns_topology import NetnsTopology, ping, run_in, settle

pytestmark = pytest.mark.kernel

TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT = -1, 0, 2


@pytest.fixture
def world():
    with NetnsTopology() as world:
        yield world


@contextmanager
def program(verdict: int) -> Iterator[int]:
    code = struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    fd = programs.load(code, bpf.SCHED_CLS, "verdict")
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def wire(world):
    """Two hosts' ends of one wire: pinging h2 from h1 passes eth0's hooks in h1."""
    h1, h2 = world.namespace("h1"), world.namespace("h2")
    world.wire("eth0", "eth0", h2, near_netns=h1)
    netlink.configure(LinkEnd("eth0", h1, ("10.0.0.1/24",)))
    netlink.configure(LinkEnd("eth0", h2, ("10.0.0.2/24",)))
    settle(("eth0", h1), ("eth0", h2))
    return h1, rtnl.links(h1)["eth0"].index


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_program_drops_while_it_is_attached(wire, direction):
    space, index = wire
    assert ping(space, "10.0.0.2") == 2
    with program(TC_ACT_SHOT) as fd:
        clsact.attach(index, direction, fd, space)
    assert ping(space, "10.0.0.2", timeout=0.3) == 0, "it stays although its descriptor is closed"
    assert clsact.detach(index, direction, space)
    assert ping(space, "10.0.0.2") == 2
    assert not clsact.detach(index, direction, space)


def test_what_is_attached_is_read_back_with_its_program(wire):
    space, index = wire
    assert clsact.query(index, "ingress", space) == []
    with program(TC_ACT_OK) as fd:
        clsact.attach(index, "ingress", fd, space)
        (found,) = clsact.query(index, "ingress", space)
        assert (found.program, found.priority, found.handle, found.kind, found.direct_action, found.ours) == (
            programs.identity(fd), clsact.PRIORITY, clsact.HANDLE, "bpf", True, True)  # fmt: skip
    assert clsact.query(index, "egress", space) == []


def test_attaching_again_replaces_the_program(wire):
    space, index = wire
    with program(TC_ACT_SHOT) as first, program(TC_ACT_OK) as second:
        clsact.attach(index, "egress", first, space)
        clsact.attach(index, "egress", second, space)
        assert [entry.program for entry in clsact.query(index, "egress", space)] == [programs.identity(second)]
    assert ping(space, "10.0.0.2") == 2


@pytest.mark.parametrize("order", [("ingress", "egress"), ("egress", "ingress")])
def test_our_qdisc_goes_with_the_last_of_our_programs(wire, order):
    space, index = wire
    with program(TC_ACT_OK) as fd:
        clsact.attach(index, "ingress", fd, space)
        clsact.attach(index, "egress", fd, space)
    clsact.detach(index, order[0], space)
    assert "clsact" in run_in(space, ["tc", "qdisc", "show", "dev", "eth0"])
    clsact.detach(index, order[1], space)
    assert "clsact" not in run_in(space, ["tc", "qdisc", "show", "dev", "eth0"])


def test_a_qdisc_that_was_there_before_us_stays(wire):
    space, index = wire
    run_in(space, ["tc", "qdisc", "add", "dev", "eth0", "clsact"])
    with program(TC_ACT_OK) as fd:
        clsact.attach(index, "ingress", fd, space)
    clsact.detach(index, "ingress", space)
    assert "clsact" in run_in(space, ["tc", "qdisc", "show", "dev", "eth0"])


def test_a_stranger_s_filter_is_seen_and_neither_replaced_nor_removed(wire):
    space, index = wire
    run_in(space, ["tc", "qdisc", "add", "dev", "eth0", "clsact"])
    rule = ["prio", "5", "protocol", "ip", "u32", "match", "u32", "0", "0", "flowid", ":1"]
    run_in(space, ["tc", "filter", "add", "dev", "eth0", "ingress", *rule])
    with program(TC_ACT_OK) as fd:
        with pytest.raises(HookHeld, match="u32"):
            clsact.attach(index, "ingress", fd, space, priority=5)
        clsact.attach(index, "ingress", fd, space)
    found = {(entry.priority, entry.ours) for entry in clsact.query(index, "ingress", space)}
    assert found == {(5, False), (clsact.PRIORITY, True)}
    assert not clsact.detach(index, "ingress", space, priority=5)
    assert clsact.detach(index, "ingress", space)
    assert "u32" in run_in(space, ["tc", "filter", "show", "dev", "eth0", "ingress"])


def test_a_program_of_the_wrong_type_leaves_no_qdisc(wire):
    space, index = wire
    fd = programs.load(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0), bpf.XDP, "wrong")
    try:
        with pytest.raises(KernelError, match=f"attach a program to ingress of netdev {index}"):
            clsact.attach(index, "ingress", fd, space)
    finally:
        os.close(fd)
    assert "clsact" not in run_in(space, ["tc", "qdisc", "show", "dev", "eth0"])


def test_reading_a_netdev_that_is_gone_finds_nothing(wire):
    space, _ = wire
    assert clsact.query(9999, "ingress", space) == []


def test_tc_shows_the_program_under_its_name(wire):
    space, index = wire
    with program(TC_ACT_OK) as fd:
        clsact.attach(index, "ingress", fd, space)
    shown = run_in(space, ["tc", "filter", "show", "dev", "eth0", "ingress"])
    assert "pcn" in shown
    assert "direct-action" in shown
