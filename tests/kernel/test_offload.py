"""Offloads, and with real packets the two facts about them that decide whether XDP forwarding works."""
from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.errors import KernelError
from reconciler.kernel import bpf, netns, offload, programs, rtnl
from tests.lib.netns_topology import NetnsTopology, ping, tcp_exchange

pytestmark = pytest.mark.kernel


@pytest.fixture
def world():
    with NetnsTopology() as world:
        yield world


XDP_PASS = ((0xB7, 0, 2), (0x95, 0, 0))  # r0 = 2; exit


def redirect_to(index: int):
    return (0xB7, 1, index), (0xB7, 2, 0), (0x85, 0, 23), (0x95, 0, 0)  # r1 = index; r2 = 0; call bpf_redirect; exit


@contextmanager
def xdp(space: str | None, index: int, code) -> Iterator[None]:
    """A native XDP program on a netdev while the block runs."""
    instructions = b"".join(struct.pack("<BBhi", operation, register, 0, value) for operation, register, value in code)
    program = programs.load(instructions, bpf.XDP, "test")
    with netns.inside(space):
        link = bpf.link_create(program, index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
    yield
    os.close(link)
    os.close(program)


@contextmanager
def joined_by_xdp(one: int, other: int) -> Iterator[None]:
    """Whatever arrives on one netdev leaves by the other, natively, while the block runs."""
    with xdp(None, one, redirect_to(other)), xdp(None, other, redirect_to(one)):
        yield


def two_hosts(world: NetnsTopology, **options):
    return world.host("h1", "10.0.0.1/24", **options), world.host("h2", "10.0.0.2/24", **options)


@pytest.mark.parametrize("name", ["rx-checksum", "tx-checksum", "tso", "gso", "gro", "tx-vlan"])
def test_an_offload_can_be_switched_and_read_back(world, name):
    h1 = world.host("h1", "10.0.0.1/24")
    before = offload.get("eth0", name, h1.netns)
    assert offload.put("eth0", name, not before, h1.netns)
    assert offload.get("eth0", name, h1.netns) is not before
    assert not offload.put("eth0", name, not before, h1.netns), "the second time changes nothing"
    assert offload.put("eth0", name, before, h1.netns)
    assert offload.get("eth0", name, h1.netns) is before


def test_the_offload_of_an_unknown_netdev_is_an_error_that_names_it():
    with pytest.raises(KernelError, match="gro of 'absent'"):
        offload.get("absent", "gro")


def test_an_xdp_redirect_into_a_veth_arrives_only_where_gro_is_on(world):
    h1, h2 = two_hosts(world)
    with joined_by_xdp(h1.index, h2.index):
        assert ping(h1.netns, h2.ip, 2, timeout=0.3) == 0
        for host in (h1, h2):
            offload.put("eth0", "gro", True, host.netns)
        assert ping(h1.netns, h2.ip, 2) == 2


def test_an_xdp_redirect_into_a_veth_arrives_also_where_an_xdp_program_is(world):
    h1, h2 = two_hosts(world)
    far = [(host.netns, rtnl.links(host.netns)["eth0"].index, XDP_PASS) for host in (h1, h2)]
    with joined_by_xdp(h1.index, h2.index), xdp(*far[0]), xdp(*far[1]):
        assert ping(h1.netns, h2.ip, 2) == 2


def test_tcp_through_xdp_connects_only_with_tx_checksumming_off(world):
    h1, h2 = two_hosts(world, gro=True)
    with joined_by_xdp(h1.index, h2.index):
        assert ping(h1.netns, h2.ip) == 2
        assert tcp_exchange(h1.netns, h2.netns, h2.ip, 80, timeout=0.5) is None
        for host in (h1, h2):
            offload.put("eth0", "tx-checksum", False, host.netns)
        exchange = tcp_exchange(h1.netns, h2.netns, h2.ip, 80, payload=bytes(100_000), timeout=3)
        assert exchange is not None
        assert exchange.reply == bytes(100_000)
        assert exchange.source[0] == h1.ip
