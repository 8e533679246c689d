"""What a rule does beside letting pass and dropping: REJECT, LOG, a limit; and what odd packets are to it."""
from __future__ import annotations

import errno
import re
import socket
import struct
import time
from pathlib import Path

import pytest

from reconciler.kernel import netns, offload
from tests.lib.agent_process import Stream
from tests.lib.lab import HOOKS, Lab, counts
from tests.lib.netns_topology import run_in
from tests.lib.packets import checksum
from tests.services.firewall.frames import MACS, ipv4, ipv6
from tests.services.firewall.lab import HOST, STACK, FirewallLab

REJECT = {"action": "REJECT"}
TAG = bytes.fromhex("81000007")
TEXT6 = """
hosts:
  h1: {addresses: ["fd00::1/64"], mac: "02:00:00:00:00:01", here: {addresses: ["fd00::2/64"], mac: "02:00:00:00:00:02"}}
cubes:
  - name: fw
    service-name: firewall
    chain:
      - name: INGRESS
        rule:
          - {id: 1, l4proto: ICMPV6}
          - {id: 2, dst: "fd00::2", action: REJECT}
attachments: [{netdev: v1, tcubes: [fw]}]
"""


@pytest.fixture(params=HOOKS)
def lab(request):
    with FirewallLab(hook=request.param) as lab:
        yield lab


def connect(space: str | None, address: str, port: int, kind: int = socket.SOCK_STREAM) -> int:
    """The error that comes of it; 0: somebody answers, ETIMEDOUT: nobody says anything."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside(space):
        sock = socket.socket(family, kind)
    with sock:
        sock.settimeout(0.5)
        try:
            sock.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"?")
                sock.recv(10)
        except TimeoutError:
            return errno.ETIMEDOUT
        except OSError as error:
            return error.errno or -1
    return 0


def listen(space: str | None, address: str, port: int) -> socket.socket:
    with netns.inside(space):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.bind((address, port))
    sock.listen()
    return sock


# -- REJECT -------------------------------------------------------------------------------------------------------------


def test_a_rejected_connection_is_refused_at_once_and_a_dropped_one_is_not(lab):
    lab.chain("INGRESS", {"l4proto": "TCP", "dport": 7000, **REJECT}, {"l4proto": "TCP", "dport": 7001, "action": "DROP"}, default="ACCEPT")
    lab.chain("EGRESS", default="DROP")
    lab.apply()
    with listen(None, STACK, 7000), listen(None, STACK, 7001), listen(None, STACK, 7002):
        assert connect(lab.space("h1"), STACK, 7000) == errno.ECONNREFUSED
        assert connect(lab.space("h1"), STACK, 7001) == errno.ETIMEDOUT
        assert connect(lab.space("h1"), STACK, 7002) == 0
    assert lab.stats("INGRESS")["0"][0] == 1
    assert lab.sessions()[0]["dport"] == 7002


def test_a_rejected_datagram_brings_port_unreachable(lab):
    lab.chain("INGRESS", {"l4proto": "UDP", **REJECT}, default="ACCEPT")
    lab.chain("EGRESS", default="DROP")
    lab.apply()
    assert connect(lab.space("h1"), STACK, 7000, socket.SOCK_DGRAM) == errno.ECONNREFUSED


def test_what_the_inside_may_not_send_is_rejected_too(lab):
    """Generic XDP meets the answer once more on its way in, and cannot know it: there the chain has to let it in."""
    lab.chain("EGRESS", {"l4proto": "TCP", **REJECT}, {"l4proto": "UDP", **REJECT}, default="ACCEPT")
    lab.chain("INGRESS", default="ACCEPT" if lab.hook == "XDP_SKB" else "DROP")
    lab.apply()
    with listen(lab.space("h1"), HOST, 7000):
        assert connect(None, HOST, 7000) == errno.ECONNREFUSED
    assert connect(None, HOST, 7000, socket.SOCK_DGRAM) == errno.ECONNREFUSED


CODES = {"PORT_UNREACHABLE": 3, "HOST_UNREACHABLE": 1, "NO_ROUTE": 0, "ADMIN_PROHIBITED": 13, "NET_PROHIBITED": 9, "HOST_PROHIBITED": 10,
         "PROTOCOL_UNREACHABLE": 2}  # fmt: skip


def test_a_rule_says_what_its_answer_is(lab):
    """By the codes of RFC 1122 and 1812, which iptables names alike; TCP gets the error too."""
    rules = [{"l4proto": "UDP", "dport": 7000 + code, **REJECT, "reject-with": name} for name, code in CODES.items()]
    lab.chain("INGRESS", *rules, {"l4proto": "TCP", "dport": 7000, **REJECT, "reject-with": "HOST_UNREACHABLE"},
              {"l4proto": "TCP", **REJECT, "reject-with": "TCP_RESET"})  # fmt: skip
    lab.apply()
    with lab.sniff("h1") as seen:
        lab.send("h1", *[udp(7000 + code) for code in CODES.values()])
        answers = seen.all(0.5, lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1)
    assert [(frame[34], frame[35], int.from_bytes(frame[64:66], "big") - 7000) for frame in answers] == [(3, code, code) for code in CODES.values()]
    assert connect(lab.space("h1"), STACK, 7000) == errno.EHOSTUNREACH
    assert connect(lab.space("h1"), STACK, 7001) == errno.ECONNREFUSED


@pytest.mark.parametrize("hook", HOOKS)
def test_over_ipv6_as_well(hook):
    with Lab(TEXT6, hook=hook) as lab:
        lab.apply()
        for space, device, address, mac in ((lab.space("h1"), "eth0", "fd00::2", "02:00:00:00:00:02"), (None, "v1", "fd00::1", "02:00:00:00:00:01")):
            with netns.inside(space):
                for setting in ("all/disable_ipv6", f"{device}/disable_ipv6", f"{device}/accept_dad"):
                    Path("/proc/sys/net/ipv6/conf", setting).write_text("0")
            if hook != "TC" and space is not None:
                offload.put("eth0", "gro", True, space)
                offload.put("eth0", "tx-checksum", False, space)
            own = "fd00::2" if address == "fd00::1" else "fd00::1"
            run_in(space, ["ip", "addr", "replace", f"{own}/64", "dev", device, "nodad"])
            run_in(space, ["ip", "neigh", "replace", address, "lladdr", mac, "dev", device])
        with listen(None, "fd00::2", 7000):
            assert connect(lab.space("h1"), "fd00::2", 7000) == errno.ECONNREFUSED
        assert connect(lab.space("h1"), "fd00::2", 7000, socket.SOCK_DGRAM) == errno.ECONNREFUSED


def test_the_first_rejecting_rule_brings_its_program_and_the_last_takes_it_away_without_a_loss():
    """All programs of a cube that call each other are exchanged together."""
    with FirewallLab() as lab:
        lab.both({"src": "10.0.0.0/24"})
        lab.apply()
        loaded = len(lab.loaded("fw"))
        assert lab.udp("h1", None, STACK, 4000, 4001) == (True, True)
        with Stream(lab.space("h1"), None, STACK) as stream:
            for rules, more in (([{"l4proto": "TCP", **REJECT}], 2), ([], 0)):
                lab.chain("INGRESS", *rules, {"src": "10.0.0.0/24"})
                assert counts(lab.apply()).program_loads > 0
                assert len(lab.loaded("fw")) == loaded + more
        assert stream.lost() == 0


# -- LOG and limit ------------------------------------------------------------------------------------------------------


def test_a_log_says_who_and_the_next_rules_decide(lab):
    logs = {"l4proto": "ICMP", "action": "LOG"}
    lab.chain("INGRESS", {**logs, "log-prefix": "ping: "}, logs, {"l4proto": "ICMP"})
    lab.chain("EGRESS", default="ACCEPT")
    lab.apply()
    with lab.logged() as lines:
        assert lab.in_ok()
    what = "CHAIN=INGRESS IN=v1 SRC=10.0.0.1 DST=10.0.0.2 LEN=60 PROTO=ICMP TYPE=8 CODE=0"
    assert lines == [f"fw: ping: RULE=0 {what}", f"fw: RULE=1 {what}"]
    assert len(lines) == 2, "the second echo is of a known connection"
    assert [lab.stats("INGRESS")[rule][0] for rule in "012"] == [1, 1, 1]


def test_a_log_has_addresses_of_ipv6_whole_and_ports(lab):
    lab.chain("INGRESS", {"l4proto": "UDP", "action": "LOG"}, default="DROP")
    lab.chain("EGRESS", default="ACCEPT")
    lab.apply()
    src, dst = 0xFD00 << 112 | 1, 0xFD00 << 112 | 2
    with lab.logged() as lines:
        lab.send("h1", MACS + b"\x86\xdd" + ipv6(17, src, dst, struct.pack("!HHHH", 1000, 53, 8, 0), None))
    whole = "SRC=fd00:0000:0000:0000:0000:0000:0000:0001 DST=fd00:0000:0000:0000:0000:0000:0000:0002"
    assert lines == [f"fw: RULE=0 CHAIN=INGRESS IN=v1 {whole} LEN=48 PROTO=UDP SPT=1000 DPT=53"]


def test_thirty_rules_that_log_or_are_over_their_limit_lose_no_packet(lab):
    spent = {"l4proto": "UDP", "limit": "over 60/minute", "action": "DROP"}
    undecided = [{**(spent if place % 5 == 4 else {"l4proto": "UDP", "action": "LOG"}), "name": f"n{place}"} for place in range(30)]
    lab.chain("INGRESS", *undecided, {"l4proto": "UDP"}, default="DROP")
    lab.chain("EGRESS", default="ACCEPT")
    lab.apply()
    with lab.logged() as lines:
        lab.send("h1", udp(7000))
    assert [int(re.search("RULE=([0-9]+)", line)[1]) for line in lines] == [place for place in range(30) if place % 5 != 4]
    found = {rule: packets for rule, (packets, _) in lab.stats("INGRESS").items()}
    assert found == {**{str(place): 1 for place in range(30) if place % 5 != 4}, "30": 1}


def test_rules_that_log_behind_long_lists_cost_no_packet_of_a_wrong_checksum(lab):
    """It is asked about twice, each time in as many tuples as an address of IPv6 has prefixes around it."""
    packet = ipv6(17, 0xFD00 << 112 | 1, 0xFD00 << 112 | 2, struct.pack("!HHHH", 1000, 53, 8, 1), None)
    outside = {"dst": "!2001:db8::/128,2001:db8::-2001:db8::6", "action": "LOG"}
    lab.chain("INGRESS", outside, {**outside, "l4proto": "UDP"}, {"action": "LOG"}, default="ACCEPT")
    lab.chain("EGRESS", default="ACCEPT")
    lab.apply()
    lab.send("h1", MACS + b"\x86\xdd" + packet[:-2] + b"\x12\x34")
    assert lab.stats("INGRESS")["default"][0] == 1
    assert [lab.stats("INGRESS")[rule][0] for rule in "012"] == [2, 2, 2]


def test_a_limit_by_source_and_minute_lets_a_burst_of_each_through(lab):
    lab.firewall["conntrack"] = "OFF"
    limited = {"l4proto": "UDP", "limit": "1/hour", "limit-burst": 3, "limit-by": "SOURCE", "name": "each"}
    lab.chain("INGRESS", limited, {"l4proto": "UDP", "limit": "1/hour", "name": "all", "action": "DROP"}, default="DROP")
    lab.chain("EGRESS", default="ACCEPT")
    lab.apply()
    frames = [MACS + b"\x08\x00" + ipv4(17, 0x0A000000 + n % 2 + 3, 0x0A000002, struct.pack("!HHHH", 1000, 53, 8, 0), None) for n in range(20)]
    lab.send("h1", *frames)
    assert lab.stats("INGRESS")["0"][0] == 6
    assert lab.stats("INGRESS")["1"][0] == 5
    assert lab.stats("INGRESS")["default"][0] >= 9


def test_what_is_over_a_limit_can_be_dropped_and_all_else_goes_on(lab):
    lab.firewall["conntrack"] = "OFF"
    lab.chain("INGRESS", {"l4proto": "UDP", "limit": "over 1/hour", "limit-burst": 7, "action": "DROP"}, {"l4proto": "UDP"}, default="DROP")
    lab.apply()
    lab.send("h1", *[udp(7000)] * 50)
    assert (lab.stats("INGRESS")["0"][0], lab.stats("INGRESS")["1"][0]) == (43, 7)


def test_a_flood_is_not_logged_line_by_line():
    with FirewallLab(conntrack="OFF") as lab:
        lab.chain("INGRESS", {"action": "LOG"}, default="DROP")
        lab.apply()
        with lab.logged() as lines:
            lab.send("h1", *[udp(7000)] * 1000)
        assert 50 <= len(lines) <= 400


def test_beyond_its_limit_a_rule_does_not_match(lab):
    lab.firewall["conntrack"] = "OFF"
    lab.chain("INGRESS", {"l4proto": "UDP", "limit": 10}, {"l4proto": "UDP", "action": "DROP"})
    lab.apply()
    lab.send("h1", *[udp(7000)] * 50)
    found = {rule: packets for rule, (packets, _) in lab.stats("INGRESS").items()}
    assert found["0"] in (10, 20), found  # a second may end in the middle
    assert found["0"] + found["1"] == 50
    time.sleep(1.1)
    lab.send("h1", udp(7000))
    assert lab.stats("INGRESS")["0"][0] == found["0"] + 1


def udp(port: int, *, fragment: int = 0, number: int = 7, body: bytes = b"") -> bytes:
    payload = body or struct.pack("!HHHH", 1000, port, 8, 0) + bytes(32)
    packet = bytearray(ipv4(17, 0x0A000001, 0x0A000002, payload, None))
    struct.pack_into("!HHHH", packet, 4, number, fragment, packet[8] << 8 | packet[9], 0)
    struct.pack_into("!H", packet, 10, checksum(bytes(packet[:20])))
    return bytes.fromhex("020000000002") + MACS[6:] + b"\x08\x00" + bytes(packet)


# -- odd packets --------------------------------------------------------------------------------------------------------


def stats_after(lab, *frames: bytes) -> dict[str, int]:
    lab.send("h1", *frames)
    return {rule: packets for rule, (packets, _) in lab.stats("INGRESS").items()}


@pytest.fixture(params=["TC", "XDP_DRV"])
def by_port(request):
    with FirewallLab(hook=request.param, conntrack="OFF") as lab:
        lab.chain("INGRESS", {"l4proto": "UDP", "dport": 7000, "action": "DROP"}, {"l4proto": "UDP", "action": "DROP"}, default="ACCEPT")
        lab.apply()
        yield lab


def test_a_later_fragment_has_the_ports_of_its_first_one(by_port):
    first, later = udp(7000, fragment=0x2000), udp(0, fragment=5, body=bytes(40))
    assert stats_after(by_port, first, later) == {"0": 2}


def test_a_later_fragment_whose_first_was_not_seen_has_no_ports(by_port):
    assert stats_after(by_port, udp(0, fragment=5, body=bytes(40), number=99)) == {"1": 1}


@pytest.mark.parametrize("tags", [1, 2])
def test_tags_are_stepped_over_and_counted_as_bytes(by_port, tags):
    frame = udp(7000)
    by_port.send("h1", frame[:12] + TAG * tags + frame[12:])
    assert by_port.stats("INGRESS") == {"0": (1, len(frame) + 4 * tags)}


@pytest.mark.parametrize("tags", [3, 4])
def test_ip_behind_more_than_two_tags_is_dropped(by_port, tags):
    frame = udp(7000)
    assert stats_after(by_port, frame[:12] + TAG * tags + frame[12:]) == {}
    assert by_port.drops("fw")["MALFORMED"] == 1


def test_what_is_no_ip_passes_whatever_the_rules_say():
    with FirewallLab() as lab:
        lab.both(default="DROP")
        lab.apply()
        frame = bytes.fromhex("020000000002020000000001 88b5") + b"C16".ljust(46, b".")
        with lab.sniff(None, "v1") as seen:
            lab.send("h1", frame)
            assert seen.next(1.0, lambda found: found[12:14] == b"\x88\xb5") is not None
        assert lab.stats("INGRESS") == {}


def test_a_rule_for_a_netdev_takes_what_came_by_it_also_if_the_topology_made_it(lab):
    lab.chain("EGRESS", default="ACCEPT")
    lab.chain("INGRESS", {"in-interface": "lo"}, default="DROP")
    lab.apply()
    assert lab.in_fails()
    lab.chain("INGRESS", {"in-interface": "v1"}, default="DROP")
    lab.apply()
    assert lab.in_ok()
