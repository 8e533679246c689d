"""The same packets through a load balancer and through Linux's destination NAT (iptables, with its statistic match, and connection
tracking): what comes out is the same but for what a router changes and which backend was taken."""
from __future__ import annotations

import random
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from reconciler.kernel import netns, rtnl
from tests.lib import packets
from tests.lib.netns_topology import run_in
from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Ether, ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6, Raw, built
from tests.services.lbrp.lab import LbLab

pytestmark = pytest.mark.kernel
MIDDLE_1, MIDDLE_2 = "02:00:00:00:10:01", "02:00:00:00:10:02"
HOSTS = {1: "02:00:00:00:20:01", 2: "02:00:00:00:20:02"}


class Nat:
    """A Linux router with two wires, whose far ends' packets are sent and sniffed by hand; neighbours are permanent."""

    def __init__(self, lab: LbLab, proto: str) -> None:
        self.lab = lab
        self.middle, self.left, self.right = (lab.world.namespace(name) for name in ("nm", "nl", "nr"))
        with netns.inside(self.middle):
            for leaf in ("ipv4/ip_forward", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"):
                Path("/proc/sys/net", leaf).write_text("1" if "forward" in leaf else "0")
            for scope in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("0")
                Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad").write_text("0")
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        networks = (lab.client(254), lab.backend(254))
        for port, space, mac, address in (("w1", self.left, MIDDLE_1, networks[0]), ("w2", self.right, MIDDLE_2, networks[1])):
            lab.world.wire(port, "eth0", space, near_netns=self.middle)
            run_in(self.middle, ["ip", "link", "set", port, "address", mac, "up"])
            run_in(space, ["ip", "link", "set", "eth0", "address", HOSTS[int(port[1])], "up"])
            run_in(self.middle, ["ip", "addr", "add", f"{address}/{24 if lab.family == 4 else 64}", "dev", port, *(["nodad"] if lab.family == 6 else [])])
            rtnl.link(port, self.middle)
            rtnl.link("eth0", space)
        for client in range(1, 9):
            self._neighbour(lab.client(client), "w1", 1)
        for backend in (11, 12, 13, 99):
            self._neighbour(lab.backend(backend), "w2", 2)
        tables = "iptables" if lab.family == 4 else "ip6tables"
        shape = "{}:{}" if lab.family == 4 else "[{}]:{}"
        for place, backend in enumerate((11, 12, 13)):
            chance = ["-m", "statistic", "--mode", "nth", "--every", str(3 - place), "--packet", "0"] if place < 2 else []
            run_in(self.middle, [tables, "-t", "nat", "-A", "PREROUTING", "-d", lab.vip(), "-p", proto.lower(), "--dport", "80", *chance,
                                 "-j", "DNAT", "--to-destination", shape.format(lab.backend(backend), 8080)])  # fmt: skip

    def _neighbour(self, address: str, device: str, host: int) -> None:
        run_in(self.middle, ["ip", "neigh", "replace", address, "lladdr", HOSTS[host], "dev", device, "nud", "permanent"])

    def _is_ours(self, raw: bytes) -> bool:
        """No discovery, and none of what Linux says of itself."""
        if self.lab.family == 4:
            return raw[12:14] == b"\x08\x00"
        return raw[12:14] == b"\x86\xdd" and (raw[20] in (6, 17) or (raw[20] == 58 and raw[54] < 128))

    def sent(self, port: str, packet):
        here, there, mac = (self.left, self.right, MIDDLE_1) if port == "front" else (self.right, self.left, MIDDLE_2)
        frame = packet.copy()
        frame.src, frame.dst = HOSTS[1 if port == "front" else 2], mac
        with packets.sniff(there, "eth0") as seen:
            packets.send_frames(here, "eth0", [built(frame, 60)])
            found = seen.next(1.0, self._is_ours)
        return Ether(found) if found else None


def leveled(lab, packet):
    """Without what a hop changes (MACs, TTL and the checksum that covers it, padding), and with every backend as one."""
    ip = (packet[IP] if lab.family == 4 else packet[IPv6]).copy()
    size = ip.len if lab.family == 4 else ip.plen + 40
    if lab.family == 4:
        ip.ttl = 64
        del ip.chksum
    else:
        ip.hlim = 64
    ip = ip.__class__(bytes(ip)[:size])
    text = bytes(ip)
    for backend in (11, 12, 13):
        text = text.replace(ip_address(lab.backend(backend)).packed, b"B" * (4 if lab.family == 4 else 16))
    return text


def same(lab, one, other):
    if one is None or other is None:
        assert one is other is None
        return
    mine, theirs = leveled(lab, one), leveled(lab, other)
    for at in _checksums(lab, mine):  # they differ with the backend; each was right where scapy made it anew
        mine, theirs = mine[:at] + b"\0\0" + mine[at + 2 :], theirs[:at] + b"\0\0" + theirs[at + 2 :]
    assert mine == theirs


def _checksums(lab, text):
    """Of the header and what it carries, and of the same of a quoted packet."""
    head = 20 if lab.family == 4 else 40
    proto = text[9] if lab.family == 4 else text[6]
    places = [10] if lab.family == 4 else []
    places.append(head + {6: 16, 17: 6}.get(proto, 2))
    if proto in (1, 58):
        places += [head + 8 + at for at in _checksums(lab, text[head + 8 :])]
    return places


def error_about(lab, source, target, packet, kind):
    ip = (packet[IP] if lab.family == 4 else packet[IPv6]).copy()  # as if no hop had been between
    size = ip.len if lab.family == 4 else ip.plen + 40  # without what made the frame longer
    if lab.family == 4:
        ip.ttl = 64
        del ip.chksum
    else:
        ip.hlim = 64
    quoted = bytes(ip)[:size]
    if kind == "too big":
        error = ICMP(type=3, code=4, nexthopmtu=1300) if lab.family == 4 else ICMPv6PacketTooBig(mtu=1300)
    else:
        error = ICMP(type=3, code=1) if lab.family == 4 else ICMPv6DestUnreach(code=3)
    return Ether() / lab.ip(source, target) / error / Raw(quoted)


def right(lab, packet):
    """Whether what it carries has the checksum that scapy gives it."""
    copy = packet.copy()
    for layer in (TCP, UDP, ICMP):
        if layer in copy:
            del copy[layer].chksum
    return bytes(copy) == bytes(packet)


@pytest.mark.parametrize("proto", ["TCP", "UDP"])
@pytest.mark.parametrize(("hook", "family"), [("TC", 4), ("XDP_DRV", 4), ("TC", 6)])
def test_what_goes_out_is_what_linux_sends(hook, family, proto):
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    with LbLab(hook=hook, family=family) as lab:
        lab.add((11, 8080), (12, 8080), (13, 8080), proto=proto)
        lab.apply()
        linux = Nat(lab, proto)
        for turn in range(8):
            said = {"client": chance.randrange(1, 9), "sport": 2000 + turn, "proto": proto, "payload": chance.randbytes(chance.randrange(40))}
            got = {side: side.sent("front", lab.ask(**said)) for side in (lab, linux)}
            same(lab, *got.values())
            for side, packet in got.items():
                ip, carried = packet[IP if family == 4 else IPv6], packet[TCP if proto == "TCP" else UDP]
                assert right(lab, packet), side
                back = Ether() / lab.ip(ip.dst, ip.src) / type(carried)(sport=8080, dport=carried.sport, **({"flags": "SA"} if proto == "TCP" else {}))
                got[side] = (packet, side.sent("back", back / Raw(said["payload"])))
            same(lab, *(answer for _, answer in got.values()))
            kind = chance.choice(["too big", "unreachable"])
            errors = [side.sent("back", error_about(lab, lab.backend(99), lab.client(said["client"]), packet, kind)) for side, (packet, _) in got.items()]
            same(lab, *errors)
            answers = [answer for _, answer in got.values()]
            errors = [side.sent("front", error_about(lab, lab.client(said["client"]), lab.vip(), answer, kind)) for side, answer in zip(got, answers, strict=True)]
            same(lab, *errors)
