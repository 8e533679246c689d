"""The same rules in the words of pcn, iptables and nftables, each in a bed of its own where it filters what is forwarded.

Rules are of one of two shapes, `src, UDP, dport -> DROP` or `UDP, dport -> DROP`, and no packet of the measurement matches: all
rules count, and the default accepts. A set says the same with one look-up, which is the most that nftables can do for these.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import forwarder, linux, programs, router
from benchmarks.bed import Bed
from reconciler.kernel import netns

HOSTS = ("h1", "h2")
Words = tuple[list[str], str, Callable[[int], list[str]]]
"""The command that loads rules, what it reads, and the command that adds another one at the top (nft set: to the set)."""


@dataclass(frozen=True)
class Rules:
    """How many, and whether they ask for a source."""

    count: int
    sources: bool

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(source or '', destination port); the packets come from elsewhere, and go to port 2000."""
        for number in range(self.count):
            source = f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}" if self.sources else ""
            yield source, 2001 + number % 60_000


def another(number: int) -> str:
    return f"10.99.0.{number}"


# -- pcn --------------------------------------------------------------------------------------------------------------


@dataclass
class Cubes:
    """A firewall of one type, where the kernel forwards or a router cube does."""

    bed: Bed
    kind: str
    routes: bool
    rules: Rules
    more: int = 0

    def spec(self) -> dict[str, Any]:
        entries: list[dict[str, Any]] = [{"src": another(number), "action": "DROP"} for number in range(self.more)]
        for source, port in self.rules:
            entries.append({"l4proto": "UDP", "dport": port, "action": "DROP"} | ({"src": source} if source else {}))
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


# -- nobody -----------------------------------------------------------------------------------------------------------


@dataclass
class Bare:
    """A program that redirects whatever comes, for as long as `stack` is open."""

    bed: Bed
    stack: contextlib.ExitStack

    def load(self) -> float:
        redirect = programs.written(forwarder.REDIRECT["XDP"], "XDP", IFINDEX=self.bed.index(HOSTS[1]))
        self.stack.enter_context(self.bed.attached(self.stack.enter_context(redirect), "XDP", HOSTS[0]))
        return 0.0

    def change(self) -> float:
        return 0.0


# -- the others -------------------------------------------------------------------------------------------------------


def _iptables(flavour: str, rules: Rules) -> Words:
    sources = ((f"-s {source} " if source else "", port) for source, port in rules)
    lines = [f"-A FORWARD {source}-p udp --dport {port} -j DROP" for source, port in sources]
    text = "\n".join(["*filter", ":FORWARD ACCEPT [0:0]", *lines, "COMMIT", ""])
    insert = [f"iptables-{flavour}", "-I", "FORWARD", "1", "-j", "DROP", "-s"]
    return [f"iptables-{flavour}-restore"], text, lambda number: [*insert, another(number)]


def _table(rules: str, more: str = "") -> str:
    return f"table ip t {{\n{more}\n chain c {{\n type filter hook forward priority 0; policy accept;\n{rules}\n}}\n}}\n"


def _nft(rules: Rules) -> Words:
    sources = ((f"ip saddr {source} " if source else "", port) for source, port in rules)
    lines = "\n".join(f"{source}udp dport {port} drop" for source, port in sources)
    insert = ["nft", "insert", "rule", "ip", "t", "c", "ip", "saddr"]
    return ["nft", "-f", "-"], _table(lines), lambda number: [*insert, another(number), "drop"]


def _nft_set(rules: Rules) -> Words:
    elements = ", ".join(f"{source} . {port}" if source else str(port) for source, port in rules)
    kind, asked = ("ipv4_addr . inet_service", "ip saddr . udp dport") if rules.sources else ("inet_service", "udp dport")
    text = _table(f" {asked} @s drop", f" set s {{\n type {kind}\n elements = {{ {elements} }}\n }}")

    def add(number: int) -> list[str]:
        element = f"{another(number)} . 7" if rules.sources else str(number)
        return ["nft", "add", "element", "ip", "t", "s", f"{{ {element} }}"]

    return ["nft", "-f", "-"], text, add


OTHERS: dict[str, Callable[[Rules], Words]] = {
    "iptables-legacy": lambda rules: _iptables("legacy", rules),
    "iptables-nft": lambda rules: _iptables("nft", rules),
    "nft, linear": _nft,
    "nft, a set": _nft_set,
}


@dataclass
class Filter:
    """iptables or nftables, by its name in OTHERS; None: the kernel forwards, and nothing is filtered."""

    bed: Bed
    name: str | None
    rules: Rules
    more: int = 0

    def load(self) -> float:
        linux.forwarding(self.bed)
        if self.name is None:
            return 0.0
        argv, text, self._insert = OTHERS[self.name](self.rules)
        return _timed(self.bed.middle, argv, text)

    def change(self) -> float:
        self.more += 1
        return _timed(self.bed.middle, self._insert(self.more))


def _timed(space: str, argv: Sequence[str], text: str = "") -> float:
    with netns.inside(space):
        began = time.perf_counter()
        subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
        return time.perf_counter() - began

