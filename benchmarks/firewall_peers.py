"""The same rules in the words of pcn, iptables and nftables, each in a bed of its own where it filters what is forwarded.

Every rule is `src, UDP, dport -> DROP`, and no packet of the measurement matches: all rules count, and the default accepts. A set
says the same with one look-up, which is the most that nftables can do for rules of this shape.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import linux, router
from benchmarks.bed import Bed
from reconciler.kernel import netns

HOSTS = ("h1", "h2")
Words = tuple[list[str], str, Callable[[int], list[str]]]
"""The command that loads rules, what it reads, and the command that adds another one at the top (nft set: to the set)."""


def rules(count: int) -> Iterator[tuple[str, int]]:
    """(source, destination port); the packets come from elsewhere, and go to port 2000."""
    return ((f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 2001 + number % 60_000) for number in range(count))


def another(number: int) -> str:
    return f"10.99.0.{number}"


# -- pcn --------------------------------------------------------------------------------------------------------------


@dataclass
class Cubes:
    """A firewall of one type, where the kernel forwards or a router cube does."""

    bed: Bed
    kind: str
    routes: bool
    count: int
    more: int = 0

    def spec(self) -> dict[str, Any]:
        entries: list[dict[str, Any]] = [{"src": another(number), "action": "DROP"} for number in range(self.more)]
        entries += [{"src": source, "l4proto": "UDP", "dport": port, "action": "DROP"} for source, port in rules(self.count)]
        chain = {"name": "INGRESS", "default": "ACCEPT", "rule": [{"id": place, **rule} for place, rule in enumerate(entries)]}
        firewall: dict[str, Any] = {"name": "fw", "service-name": "firewall", "type": self.kind, "loglevel": "OFF"}
        firewall |= {"conntrack": "OFF", "chain": [chain]}
        if not self.routes:
            return {"cubes": [firewall], "attachments": [{"netdev": HOSTS[0], "tcubes": ["fw"]}]}
        forwards: dict[str, Any] = router.cube(self.bed, self.kind)
        forwards["ports"][0]["tcubes"] = ["fw"]
        return {"cubes": [forwards, firewall]}

    def load(self) -> float:
        """Seconds, from the document to the verified kernel."""
        if not self.routes:
            linux.forwarding(self.bed)
        began = time.perf_counter()
        self.bed.apply(self.spec())
        return time.perf_counter() - began

    def change(self) -> float:
        self.more += 1
        spec, began = self.spec(), time.perf_counter()
        self.bed.apply(spec)
        return time.perf_counter() - began


# -- the others -------------------------------------------------------------------------------------------------------


def _iptables(flavour: str, count: int) -> Words:
    lines = [f"-A FORWARD -s {source} -p udp --dport {port} -j DROP" for source, port in rules(count)]
    text = "\n".join(["*filter", ":FORWARD ACCEPT [0:0]", *lines, "COMMIT", ""])
    insert = [f"iptables-{flavour}", "-I", "FORWARD", "1", "-j", "DROP", "-s"]
    return [f"iptables-{flavour}-restore"], text, lambda number: [*insert, another(number)]


def _table(rules: str, more: str = "") -> str:
    return f"table ip t {{\n{more}\n chain c {{\n type filter hook forward priority 0; policy accept;\n{rules}\n}}\n}}\n"


def _nft(count: int) -> Words:
    lines = "\n".join(f"ip saddr {source} udp dport {port} drop" for source, port in rules(count))
    insert = ["nft", "insert", "rule", "ip", "t", "c", "ip", "saddr"]
    return ["nft", "-f", "-"], _table(lines), lambda number: [*insert, another(number), "drop"]


def _nft_set(count: int) -> Words:
    elements = ", ".join(f"{source} . {port}" for source, port in rules(count))
    known = f" set s {{\n type ipv4_addr . inet_service\n elements = {{ {elements} }}\n }}"
    add = ["nft", "add", "element", "ip", "t", "s"]
    text = _table(" ip saddr . udp dport @s drop", known)
    return ["nft", "-f", "-"], text, lambda number: [*add, f"{{ {another(number)} . 7 }}"]


OTHERS: dict[str, Callable[[int], Words]] = {
    "iptables-legacy": lambda count: _iptables("legacy", count),
    "iptables-nft": lambda count: _iptables("nft", count),
    "nft, linear": _nft,
    "nft, a set": _nft_set,
}


@dataclass
class Filter:
    """iptables or nftables, by its name in OTHERS; None: the kernel forwards, and nothing is filtered."""

    bed: Bed
    name: str | None
    count: int
    more: int = 0

    def load(self) -> float:
        linux.forwarding(self.bed)
        if self.name is None:
            return 0.0
        argv, text, self._insert = OTHERS[self.name](self.count)
        return _timed(self.bed.middle, argv, text)

    def change(self) -> float:
        self.more += 1
        return _timed(self.bed.middle, self._insert(self.more))


def _timed(space: str, argv: Sequence[str], text: str = "") -> float:
    with netns.inside(space):
        began = time.perf_counter()
        subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
        return time.perf_counter() - began

