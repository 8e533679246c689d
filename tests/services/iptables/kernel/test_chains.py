"""Which packets meet which chain, at a host whose firewall is a cube at all its netdevs: real packets."""
from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest

from reconciler.kernel import rtnl
from tests.lib.lab import counts
from tests.lib.netns_topology import run_in
from tests.lib.packets import checksum
from tests.services.iptables.lab import TEXT, HostLab

DROPS = {"default": "DROP"}


@pytest.fixture
def lab() -> Iterator[HostLab]:
    with HostLab(conntrack="OFF") as lab:
        yield lab


def test_each_chain_is_for_its_own_packets(lab: HostLab) -> None:
    def seen() -> tuple[bool, bool, bool]:
        """Whether a neighbour reaches this host, whether this host reaches it, and whether it reaches another behind this host."""
        return lab.ok("h1", "10.0.1.254"), lab.ok(None, "10.0.1.1"), lab.ok("h1", "10.0.2.1")

    assert seen() == (True, True, True)
    lab.chains(INPUT=DROPS)
    assert seen() == (False, False, True), "answers to this host are for it, too"
    lab.chains(OUTPUT=DROPS)
    assert seen() == (False, False, True)
    lab.chains(FORWARD=DROPS)
    assert seen() == (True, True, False)
    lab.chains()
    assert seen() == (True, True, True)


def test_a_packet_is_counted_once_however_many_netdevs_it_passes(lab: HostLab) -> None:
    everything = {"rule": [{"action": "ACCEPT"}]}
    lab.chains(INPUT=everything, FORWARD=everything, OUTPUT=everything)
    assert lab.ok("h1", "10.0.2.1", 3)
    assert (lab.stats("INPUT")["0"], lab.stats("FORWARD")["0"], lab.stats("OUTPUT")["0"]) == (0, 6, 0)
    assert lab.ok("h1", "10.0.1.254", 2)
    assert (lab.stats("INPUT")["0"], lab.stats("FORWARD")["0"], lab.stats("OUTPUT")["0"]) == (2, 6, 2)


def test_at_a_bridge_the_bridge_is_where_it_comes_in_and_what_is_bridged_meets_no_rule() -> None:
    text = TEXT.replace("addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}], here: {addresses: [10.0.2.254/24]}",
                        "addresses: [10.0.1.2/24]").replace(", here: {addresses: [10.0.1.254/24]}", "")  # fmt: skip
    with HostLab(text, conntrack="OFF") as lab:
        # with snooping it would report its own groups by IGMP, which OUTPUT counts
        run_in(None, ["ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])
        try:
            for netdev in ("v1", "v2"):
                run_in(None, ["ip", "link", "set", netdev, "master", "br0"])
            run_in(None, ["ip", "address", "add", "10.0.1.254/24", "dev", "br0"])
            run_in(None, ["ip", "link", "set", "br0", "up"])
            for address in ("10.0.1.2", "10.0.1.254"):  # on a busy machine a new bridge takes a while
                assert any(lab.ok("h1", address) for _ in range(5))
            lab.chains(INPUT={"default": "DROP", "rule": [{"in-iface": "br0", "action": "ACCEPT"}]}, OUTPUT=[{"out-iface": "br0"}], FORWARD=DROPS)
            assert lab.ok("h1", "10.0.1.2"), "bridged"
            assert lab.ok("h1", "10.0.1.254", 2)
            assert (lab.stats("INPUT")["0"], lab.stats("OUTPUT")["0"]) == (2, 2)
            lab.chains(INPUT=DROPS)
            assert lab.fails("h1", "10.0.1.254")
            assert lab.ok("h1", "10.0.1.2")
        finally:
            lab.spec["attachments"] = []
            lab.apply()
            run_in(None, ["ip", "link", "delete", "br0"])


def test_the_loopback_is_open_unless_a_rule_says_otherwise(lab: HostLab) -> None:
    lab.chains(INPUT=DROPS, OUTPUT=DROPS, FORWARD=DROPS)
    assert lab.ok(None, "127.0.0.1")
    assert lab.ok(None, "10.0.1.254"), "an address of this host's is reached over it, too"
    lab.chains(INPUT=[{"in-iface": "lo", "l4proto": "ICMP", "action": "DROP"}])
    assert lab.fails(None, "127.0.0.1")
    assert lab.ok("h1", "10.0.1.254")


def test_packet_sockets_see_and_send_what_the_rules_do_not_let_pass(lab: HostLab) -> None:
    lab.chains(INPUT=DROPS, OUTPUT=DROPS)
    frame = lab_frame(lab)
    with lab.sniff(None, "v1") as near, lab.sniff("h1") as far:
        assert lab.fails("h1", "10.0.1.254", 1)
        assert near.next(1, lambda found: found[12:14] == b"\x08\x00") is not None
        lab.send(None, frame, device="v1")
        assert far.next(1, lambda found: found == frame) is not None


def lab_frame(lab: HostLab) -> bytes:
    ip = bytes.fromhex("4500001c000100004011") + bytes(2) + bytes([10, 0, 1, 254, 10, 0, 1, 1])
    return bytes.fromhex(lab.mac("h1").replace(":", "")) + b"\x02\0\0\0\0\x09\x08\x00" + ip + bytes.fromhex("0400040000080000")


def test_a_tag_that_is_no_vlans_is_no_way_past_the_rules(lab: HostLab) -> None:
    lab.chains(INPUT=DROPS)
    frame = bytes.fromhex(rtnl.links()["v1"].mac.replace(":", "")) + lab_frame(lab)[6:-16] + bytes([10, 0, 1, 1, 10, 0, 1, 254]) + lab_frame(lab)[-8:]
    frame = frame[:24] + struct.pack("!H", checksum(frame[14:24] + bytes(2) + frame[26:34])) + frame[26:]

    def dropped(*tags: int) -> int:
        before = lab.stats("INPUT")["default"]
        lab.send("h1", frame[:12] + b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags) + frame[12:])
        time.sleep(0.05)
        return lab.stats("INPUT")["default"] - before

    assert [dropped(), dropped(0), dropped(0xE000), dropped(0, 0), dropped(5), dropped(0, 5)] == [1, 1, 1, 1, 0, 0]


def test_addresses_follow_the_host_and_what_its_routing_takes_for_its_own_is_its_own(lab: HostLab) -> None:
    lab.chains(INPUT=DROPS)
    run_in(None, ["ip", "address", "add", "10.0.9.9/32", "dev", "lo"])
    assert lab.fails("h1", "10.0.9.9"), "before anything was applied: nobody but the routing table knows of it"
    assert [step.address for step in lab.apply().plan.steps] == ["cube/fw/table/local"]
    assert lab.fails("h1", "10.0.9.9")
    run_in(None, ["ip", "route", "add", "local", "10.77.0.0/16", "dev", "lo"])
    assert lab.fails("h1", "10.77.1.2")
    lab.chains()
    assert lab.ok("h1", "10.77.1.2")
    assert lab.ok("h1", "10.0.9.9")


def test_chains_of_ones_own(lab: HostLab) -> None:
    lab.chains(
        INPUT={"default": "DROP", "rule": [{"l4proto": "ICMP", "action": "pings"}, {"src": "10.0.2.1", "action": "ACCEPT"}]},
        FORWARD=[{"out-iface": "v2", "action": "pings"}, {"action": "DROP", "src": "10.0.1.1"}],
        pings=[{"src": "10.0.2.0/24", "action": "RETURN"}, {"src": "10.0.1.0/24", "action": "inner"}, {"action": "DROP"}],
        inner=[{"dst": "10.0.1.254", "action": "ACCEPT"}],
    )
    assert lab.ok("h1", "10.0.1.254", 2), "inner accepts"
    assert lab.ok("h2", "10.0.2.254", 2), "pings leads back, and the next rule accepts"
    assert lab.fails("h1", "10.0.2.254", 1), "inner leads back, and pings drops"
    assert lab.fails("h1", "10.0.2.1", 1)
    assert lab.stats("pings") == {"0": 2, "1": 2, "2": 2}
    assert lab.stats("inner") == {"0": 2}
    assert lab.stats("INPUT") == {"0": 5, "1": 2, "default": 0}
    assert lab.stats("FORWARD") == {"0": 1, "1": 0, "default": 0}


def test_a_host_with_twenty_jails_of_fail2ban_is_reached(lab: HostLab) -> None:
    own = {f"f2b-{n}": [{"src": f"192.0.2.{n}/32", "action": "REJECT"}, {"action": "RETURN"}] for n in range(20)}
    lab.chains(INPUT={"rule": [{"action": name} for name in own]}, **own)
    assert lab.ok("h1", "10.0.1.254")


def test_a_change_of_rules_keeps_counters_and_loads_no_program(lab: HostLab) -> None:
    lab.chains(INPUT=[{"l4proto": "ICMP", "action": "ACCEPT"}])
    assert lab.ok("h1", "10.0.1.254", 3)
    done = lab.chains(INPUT=[{"src": "10.0.1.77", "action": "DROP"}, {"l4proto": "ICMP", "action": "ACCEPT"}])
    assert counts(done).program_loads == 0
    assert lab.stats("INPUT")["1"] == 3


def test_ipv6_passes_unless_it_is_asked_for() -> None:
    text = TEXT.replace('here: {addresses: [10.0.1.254/24]}', 'here: {addresses: [10.0.1.254/24, "fd01::fe/64"]}')
    text = text.replace("h1: {addresses: [10.0.1.1/24]", 'h1: {addresses: [10.0.1.1/24, "fd01::1/64"]')
    with HostLab(text, conntrack="OFF") as lab:
        lab.chains(INPUT=DROPS)
        assert lab.ok("h1", "fd01::fe", 1) or lab.ok("h1", "fd01::fe", 1)
        lab.cube("fw")["ipv6"] = "ON"
        lab.apply()
        assert lab.fails("h1", "fd01::fe", 1)
        lab.chains(INPUT={"default": "DROP", "rule": [{"l4proto": "ICMPV6", "src": "fd01::/16", "action": "ACCEPT"},
                                                      {"l4proto": "ICMPV6", "icmp-type": 136, "action": "ACCEPT"}]})  # fmt: skip
        assert lab.ok("h1", "fd01::fe", 1)
