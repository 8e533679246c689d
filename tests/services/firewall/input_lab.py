"""A host whose INPUT can be watched: which packets come to it, and which get through what filters them, whoever that is.

    with InputHost(["eth0"], 4, ["192.0.2.1/24"]) as host:
        came, passed = host.fates([("eth0", frame), ...])      # sets of places in the list

Packets to any address are the host's own, for routing; `addrtype` still knows the real ones. A packet is known by its IPv4
identification, or its IPv6 flow label. Two chains of nftables note them, one before and one behind iptables' table filter.
"""
from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from types import TracebackType

from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in
from tests.lib.packets import send_frames

PEER = "from-"
_PATIENCE, _PORTION = 3.0, 50  # seconds; frames at a time, for which a socket has room
_MARK = {4: ("ip", "ip id"), 6: ("ip6", "ip6 flowlabel")}
_FIRST = 1000  # a mark is this and the place


class InputHost(Lab):
    def __init__(self, netdevs: Sequence[str], family: int, addresses: Sequence[str] = ()) -> None:
        super().__init__("cubes: []")
        self.netdevs, self.family, self.addresses = netdevs, family, addresses

    def __enter__(self) -> InputHost:
        super().__enter__()
        if self.family == 6:
            run_in(None, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0"])
            for state in ("down", "up"):
                run_in(None, ["ip", "link", "set", "lo", state])
        inet = f"-{self.family}"
        for name in self.netdevs:
            run_in(None, ["ip", "link", "add", name, "type", "veth", "peer", "name", PEER + name[:9]])
            for each in (name, PEER + name[:9]):
                run_in(None, ["ip", "link", "set", each, "up"])
            run_in(None, ["ip", inet, "rule", "add", "iif", name, "lookup", "100"])
            for knob in ("rp_filter=0", "accept_local=1") if self.family == 4 else ("accept_dad=0", "disable_ipv6=0"):
                run_in(None, ["sysctl", "-qw", f"net.ipv{self.family}.conf.{name.replace('.', '/')}.{knob}"])
        run_in(None, ["ip", inet, "route", "add", "local", "0.0.0.0/0" if self.family == 4 else "::/0", "dev", "lo", "table", "100"])
        for address in self.addresses:
            run_in(None, ["ip", inet, "address", "add", address, "dev", self.netdevs[0], *(["nodad"] if self.family == 6 else [])])
        table, mark = _MARK[self.family]
        rules = f"table {table} probe {{"
        for name, priority in (("came", -400), ("passed", 400)):
            rules += f"\nset {name} {{ typeof {mark}; size 65535; flags dynamic; }}"
            rules += f"\nchain {name}_ {{ type filter hook input priority {priority}; add @{name} {{ {mark} }}; }}"
        subprocess.run(["nft", "-f", "-"], input=rules + "\n}\n", text=True, check=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.spec |= {"cubes": [], "attachments": []}
        self.apply()
        for name in self.netdevs:
            run_in(None, ["ip", "link", "del", name])
        super().__exit__(kind, error, trace)

    def fates(self, sent: Sequence[tuple[str, bytes]]) -> tuple[set[int], set[int]]:
        for netdev in self.netdevs:
            frames = [marked(frame, self.family, _FIRST + place) for place, (by, frame) in enumerate(sent) if by == netdev]
            for at in range(0, len(frames), _PORTION):
                send_frames(None, PEER + netdev[:9], frames[at : at + _PORTION])
        return self._noted("came"), self._noted("passed")

    def _noted(self, name: str) -> set[int]:
        table, _ = _MARK[self.family]
        text = subprocess.run(["nft", "-j", "list", "set", table, "probe", name], text=True, check=True, capture_output=True).stdout
        (found,) = (each["set"] for each in json.loads(text)["nftables"] if "set" in each)
        return {int(mark) - _FIRST for mark in found.get("elem", ())}


def marked(frame: bytes, family: int, mark: int) -> bytes:
    """The mark is in no sum but IPv4's own header's."""
    if family == 6:
        return frame[:14] + (0x60000000 | mark).to_bytes(4, "big") + frame[18:]
    head = bytearray(frame[14:34])
    head[4:6], head[10:12] = mark.to_bytes(2, "big"), bytes(2)
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (total ^ 0xFFFF).to_bytes(2, "big")
    return frame[:14] + bytes(head) + frame[34:]
