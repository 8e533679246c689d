"""The kernel's own connection tracking as an oracle: in which state it finds packets that pass a router.

    with Conntrack(lab.world, 4) as linux:
        linux.states(rounds)                    # ["NEW", "INVALID", ...]
        linux.told([(True, frame), ...])        # the same, of packets that all pass: from the client's side to the server's, or back

A packet's last four bytes tell it from all others. States are found by letting one of them pass at a time, so each packet is sent once
for each state, to a connection of its own: `frames` is called with the number of the round.
"""
from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from reconciler.kernel import netns
from tests.lib.netns_topology import NetnsTopology, run_in
from tests.lib.packets import sniff

STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID")
MACS = {True: "02:00:00:00:00:11", False: "02:00:00:00:00:12"}
NETS = {4: ("10.1.0.254/16", "10.2.0.254/16"), 6: ("fd01::fe/64", "fd02::fe/64")}
Sent = tuple[bool, bytes]


class Conntrack:
    def __init__(self, world: NetnsTopology, family: int, neighbours: Sequence[Sequence[str]], *, loose: bool = True) -> None:
        """`loose`: connections are picked up in the middle. `neighbours` are the addresses of the client's side, and of the server's."""
        self.family, self.middle = family, world.namespace("ct")
        self.sides = {True: world.namespace("ca"), False: world.namespace("cb")}
        self.tables = "iptables" if family == 4 else "ip6tables"
        leaf = "net.ipv4.ip_forward" if family == 4 else "net.ipv6.conf.all.forwarding"
        if family == 6:
            run_in(self.middle, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.all.accept_dad=0"])
        for forwards, port, net, known in zip((True, False), ("w1", "w2"), NETS[family], neighbours, strict=True):
            world.wire(port, "eth0", self.sides[forwards], near_netns=self.middle)
            run_in(self.middle, ["ip", "link", "set", port, "address", MACS[forwards], "up"])
            run_in(self.sides[forwards], ["ip", "link", "set", "eth0", "up"])
            run_in(self.middle, ["ip", "addr", "add", net, "dev", port, *(["nodad"] if family == 6 else [])])
            for address in known:
                run_in(self.middle, ["ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", port])
        run_in(self.middle, ["sysctl", "-qw", f"{leaf}=1"])
        self._accept(",".join(STATES))
        run_in(self.middle, ["sysctl", "-qw", f"net.netfilter.nf_conntrack_tcp_loose={int(loose)}"])
        run_in(self.middle, ["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_close=120"])  # or a busy machine is too slow for it

    def _accept(self, states: str) -> None:
        for words in (("-F", "FORWARD"), ("-A", "FORWARD", "-m", "conntrack", "--ctstate", states, "-j", "ACCEPT"),
                      ("-A", "FORWARD", "-j", "DROP")):  # fmt: skip
            run_in(self.middle, [self.tables, "-w", "-t", "mangle", *words])

    @contextmanager
    def _senders(self) -> Iterator[Callable[[Sequence[Sent]], None]]:
        """Sends packets. One socket a side: the kernel waits for an RCU grace period as one is closed."""
        with ExitStack() as stack:
            socks = {}
            for forwards, space in self.sides.items():
                with netns.inside(space):
                    socks[forwards] = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                    socks[forwards].bind(("eth0", 0))

            def send(sent: Sequence[Sent]) -> None:
                for forwards, frame in sent:
                    socks[forwards].send(bytes.fromhex(MACS[forwards].replace(":", "")) + frame[6:])

            yield send

    def states(self, rounds: Callable[[int], tuple[Sequence[Sent], Sequence[Sent]]]) -> list[str]:
        """Of the packets in the second part of each round, once those in the first part have passed. '': none of the states."""
        found: list[str] = []
        for number, state in enumerate(STATES):
            before, probes = rounds(number)
            found = found or [""] * len(probes)
            self._accept(",".join(STATES))
            with self._senders() as send, sniff(self.sides[True], "eth0") as here, sniff(self.sides[False], "eth0") as there:
                send(before)
                self._settle(here, there)
                self._accept(state)
                send(probes)
                seen = self._settle(here, there)
            for place, (_, frame) in enumerate(probes):
                if frame[-4:] in seen:
                    assert not found[place], f"{found[place]} and {state}: {frame.hex()}"
                    found[place] = state
        return found

    def told(self, sent: Sequence[Sent]) -> list[str]:
        """The state of each of these packets, which all pass in their order: it is written into their traffic class on the way."""
        run_in(self.middle, [self.tables, "-w", "-t", "mangle", "-F", "FORWARD"])
        for number, state in enumerate(STATES, 1):
            words = ("-m", "conntrack", "--ctstate", state, "-j", "DSCP", "--set-dscp", str(number))
            run_in(self.middle, [self.tables, "-w", "-t", "mangle", "-A", "FORWARD", *words])
        found = {}
        with self._senders() as send, sniff(self.sides[True], "eth0") as here, sniff(self.sides[False], "eth0") as there:
            for start in range(0, len(sent), 200):  # what the sniffers have room for
                send(sent[start : start + 200])
                for frame in (frame for each in (here, there) for frame in each.all(0.1)):
                    told = frame[15] >> 2 if self.family == 4 else (frame[14] & 15) << 2 | frame[15] >> 6
                    found[frame[-4:]] = STATES[told - 1] if told else ""
        return [found.get(frame[-4:], "") for _, frame in sent]

    def _settle(self, *seen: object) -> set[bytes]:
        return {frame[-4:] for each in seen for frame in each.all(0.3)}  # type: ignore[attr-defined]


def mark(number: int) -> bytes:
    """What a packet ends with."""
    return struct.pack("!I", 0xA0000000 + number)
