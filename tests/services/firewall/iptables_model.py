"""What iptables does with a packet, written to be read: a save is text, and each packet walks it line by line.

    rules = Tables(text)                            # one family's *filter
    rules.judge("INPUT", Seen(packet, state="NEW", came_by="eth0"))    # "ACCEPT", "DROP" or "REJECT"
    random_save(random.Random(1), 4, exact=False)   # a save with what tests want to see, and matches that nobody can carry over

It shares no line with the import. What it does not know (-m recent and the like) holds or not by `Seen.luck`, as if by chance.
"""
from __future__ import annotations

import ipaddress
import random
import shlex
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.services.firewall.model import Packet

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "gre": 47, "esp": 50, "ah": 51, "sctp": 132, "igmp": 2, "ipv6": 41, "icmpv6": 58, "ipv6-icmp": 58, "ospf": 89, "all": None}
BITS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}


@dataclass(frozen=True)
class Seen:
    """A packet as iptables sees it: with the state of its connection, and the netdevs that it came and leaves by."""

    packet: Packet
    state: str = "NEW"
    came_by: str = ""
    leaves_by: str = ""
    luck: int = 0


class Tables:
    def __init__(self, text: str, local: Sequence[Any] = (), own: Sequence[Any] = ()) -> None:
        """`local` are the addresses that the import was told of; `own`, where it was told of none, what the host has."""
        self.local = (*local, *own)
        self.sets: dict[str, list[Any]] = {}
        self.policy: dict[str, str] = {}
        self.rules: dict[str, list[list[str]]] = {}
        for line in text.splitlines():
            if line.startswith(":"):
                name, policy, *_ = line[1:].split()
                self.policy[name], self.rules[name] = policy, []
            elif line.startswith("create "):
                self.sets[line.split()[1]] = []
            elif line.startswith("add "):
                self.sets[line.split()[1]].append(ipaddress.ip_network(line.split()[2]))
            elif line.startswith("-A"):
                _, name, *words = shlex.split(line)
                self.rules[name].append(words)

    def judge(self, chain: str, seen: Seen) -> str:
        return self._walk(chain, seen) or self.policy[chain]

    def _walk(self, chain: str, seen: Seen) -> str | None:
        """A verdict, or None: at the end of the chain without one."""
        for words in self.rules[chain]:
            if not matches(words, seen, self.local, self.sets):
                continue
            where = next((place for place, word in enumerate(words) if word in ("-j", "-g")), None)
            if where is None:  # it only counts
                continue
            option, target = words[where], words[where + 1]
            if target == "RETURN":
                return None
            if target in ("ACCEPT", "DROP", "REJECT"):
                return target
            if target in self.rules:
                verdict = self._walk(target, seen)
                if verdict is not None or option == "-g":
                    return verdict
        return None


def matches(words: list[str], seen: Seen, local: Sequence[Any] = (), sets: Mapping[str, Any] | None = None) -> bool:
    at, wanted = 0, True
    while at < len(words) and words[at] not in ("-j", "-g"):
        if words[at] == "!":
            wanted, at = False, at + 1
            continue
        holds, at = _condition(words, at, seen, local, sets or {})
        if holds is not wanted and holds is not None:
            return False
        wanted = True
    return True


def _condition(words: list[str], at: int, seen: Seen, local: Sequence[Any], sets: Mapping[str, Any]) -> tuple[bool | None, int]:
    """Whether one holds (None: it asks for nothing), and where the next one is."""
    option, value, packet = words[at], words[at + 1], seen.packet
    found: dict[str, Any] = {
        "-p": lambda: PROTOCOLS.get(value, value.isdecimal() and int(value)) in (None, packet.proto),
        "-s": lambda: packet.src in ipaddress.ip_network(value),
        "-d": lambda: packet.dst in ipaddress.ip_network(value),
        "--dst-type": lambda: _is_of_type(value, packet.dst, local), "--src-type": lambda: _is_of_type(value, packet.src, local),
        "--mac-source": lambda: packet.smac == value,
        "--limit": lambda: True, "--limit-burst": lambda: True,
        "-i": lambda: _device(value, seen.came_by),
        "-o": lambda: _device(value, seen.leaves_by),
        "--src-range": lambda: _between(value, packet.src),
        "--dst-range": lambda: _between(value, packet.dst),
        "--sport": lambda: _port(value, packet, 0), "--sports": lambda: _port(value, packet, 0),
        "--dport": lambda: _port(value, packet, 1), "--dports": lambda: _port(value, packet, 1),
        "--ports": lambda: _port(value, packet, 0) or _port(value, packet, 1),
        "--ctstate": lambda: seen.state in value.split(","), "--state": lambda: seen.state in value.split(","),
    }  # fmt: skip
    if option in ("--icmp-type", "--icmpv6-type"):
        kind, _, code = value.partition("/")
        return packet.message is not None and packet.message == (int(kind), int(code or packet.message[1])), at + 2
    if option == "--tcp-flags":
        mask, comp = (sum(BITS[name] for name in text.split(",")) for text in words[at + 1 : at + 3])
        return (packet.flags or 0) & mask == comp, at + 3
    if option == "--syn":
        return (packet.flags or 0) & 23 == 2, at + 1
    if option == "--match-set" and value in sets:
        return any({"src": packet.src, "dst": packet.dst}[words[at + 2]] in network for network in sets[value]), at + 3
    if option == "-f":
        return False, at + 1
    if option in found:
        return found[option](), at + 2
    if option in ("-m", "--comment"):
        return None, at + 2
    end = at + 1
    while end < len(words) and not words[end].startswith("-") and words[end] != "!":
        end += 1
    return bool(zlib.crc32(f"{words}{seen.luck}".encode()) & 1), end


def _is_of_type(said: str, address: Any, local: Sequence[Any]) -> bool:
    """Unknown, which is never, where nobody says which addresses are the host's."""
    kinds = {"MULTICAST": address.is_multicast, "LOCAL": address in local or address.is_loopback,
             "BROADCAST": str(address) in ("255.255.255.255", "192.0.2.255")}  # fmt: skip
    return any(kinds.get(kind, False) for kind in said.split(","))


def _device(said: str, name: str) -> bool:
    return name.startswith(said[:-1]) if said.endswith("+") else name == said


def _between(said: str, address: Any) -> bool:
    low, high = map(ipaddress.ip_address, said.split("-"))
    return low <= address <= high


def _port(said: str, packet: Packet, end: int) -> bool:
    spans = [(int(low or 0), int((high or 65535) if colon else low)) for low, colon, high in (text.partition(":") for text in said.split(","))]
    return packet.ports is not None and any(low <= packet.ports[end] <= high for low, high in spans)


# -- at random ----------------------------------------------------------------------------------------------------------

PORTS = (22, 53, 80, 443, 1000, 2000)
ADDRESSES = {4: ("10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.1.2", "192.0.2.1"), 6: ("fd00::1", "fd00::2", "fd00::9", "fd00:0:0:1::2", "2001:db8::1")}
NETWORKS = {4: ("10.0.0.0/24", "10.0.0.0/31", "10.0.0.1/32", "192.0.2.0/25", "0.0.0.0/0"), 6: ("fd00::/64", "fd00::/127", "fd00::1/128", "2001:db8::/32", "::/0")}
RANGES = {4: ("10.0.0.1-10.0.0.6", "10.0.0.2-10.0.1.9"), 6: ("fd00::1-fd00::6", "fd00::2-fd00::1:9")}
FLAGS = ("FIN,SYN,RST,ACK SYN", "SYN,ACK SYN,ACK", "ALL NONE", "SYN,RST SYN,RST", "ACK ACK")
MESSAGES = {4: ("8", "0", "3/1", "3"), 6: ("128", "129", "1/4", "1")}
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID")
STATIONS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
IPSETS = {4: "create friends hash:net family inet\nadd friends 10.0.0.0/30\nadd friends 192.0.2.1\ncreate bad hash:ip\nadd bad 10.0.0.2\n",
          6: "create friends hash:net family inet6\nadd friends fd00::/126\ncreate bad hash:ip family inet6\nadd bad fd00::2\nadd bad fd00::9\n"}  # fmt: skip
UNSAID = ("-m limit --limit 5/min", "-m mark --mark 0x1", "-m mac --mac-source 02:00:00:00:00:01")


def random_save(random: random.Random, family: int, *, exact: bool, states: tuple[str, ...] = ("NEW,INVALID", "ESTABLISHED", "RELATED,ESTABLISHED"),
                reject: bool = True, size: int = 6, named: bool = False, senders: bool = False) -> str:  # fmt: skip
    """`exact`: nothing but what can be carried over. `size` is the most rules of a chain. `named`: with sets, or addresses of the
    host; `senders`: with MACs."""
    kinds = random.choice((("set",), ("addrtype",))) if named else ()
    kinds += ("mac",) if senders else ()
    chains = ["one", "two", "three"][: random.randrange(4)]
    program = "iptables" if family == 4 else "ip6tables"
    lines = [*(IPSETS[family].splitlines() if named else []), f"# Generated by {program}-save v1.8.9 on Wed Nov 25 12:25:37 2026", "*filter"]
    lines += [f":{name} {random.choice(('ACCEPT', 'DROP'))} [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")]
    lines += [f":{name} - [0:0]" for name in chains]
    for place, name in enumerate(("INPUT", "FORWARD", "OUTPUT", *chains)):
        own = place - 3
        callable_from_here = chains[own + 1 :] if own >= 0 else chains
        for _ in range(random.randrange(size)):
            lines.append(f"-A {name} {_random_rule(random, family, name, callable_from_here, states, kinds, exact=exact, reject=reject)}")
    return "\n".join([*lines, "COMMIT", ""])


def _random_rule(random: random.Random, family: int, chain: str, chains: list[str], states: tuple[str, ...], kinds: tuple[str, ...], *, exact: bool, reject: bool) -> str:
    parts = []

    def maybe(chance: float, text: str, *, negatable: bool = True) -> None:
        if random.random() < chance:
            parts.append(("! " if negatable and random.random() < 0.25 else "") + text)

    maybe(0.3, f"-s {random.choice(NETWORKS[family])}")
    maybe(0.3, f"-d {random.choice(NETWORKS[family])}")
    if chain in ("INPUT", "FORWARD"):
        maybe(0.15, f"-i {random.choice(('eth0', 'eth1', 'eth+', 'lo'))}")
    if chain in ("OUTPUT", "FORWARD"):
        maybe(0.15, f"-o {random.choice(('eth0', 'eth1', 'eth+', 'lo'))}")
    proto = random.choice(("tcp", "tcp", "udp", "icmp" if family == 4 else "ipv6-icmp", "ospf"))
    if random.random() < 0.5:
        parts.append(f"-p {proto}")
        if proto in ("tcp", "udp"):
            maybe(0.3, f"--dport {random.choice(('80', '1000:2000', ':442', '22'))}".join((f"-m {proto} ", "")), negatable=False)
            maybe(0.1, f"-m {proto} ! --sport {random.choice(PORTS)}", negatable=False)
            not_ = random.choice(("", "! "))
            maybe(0.2, f"-m multiport {not_}{random.choice(('--sports', '--dports', '--ports'))} {random.choice(('22,80,443', '53,1000:2000'))}", negatable=False)
        if proto in ("icmp", "ipv6-icmp"):
            option = "-m icmp {}--icmp-type {}" if proto == "icmp" else "-m icmp6 {}--icmpv6-type {}"
            maybe(0.6, option.format(random.choice(("", "", "! ")), random.choice(MESSAGES[family])), negatable=False)
        if proto == "tcp":
            maybe(0.2, f"-m tcp {random.choice(('', '! '))}--tcp-flags {random.choice(FLAGS)}", negatable=False)
    else:
        maybe(0.2, f"! -p {proto}", negatable=False)
    for text in _named(random, kinds, chain):
        maybe(0.3, text, negatable=False)
    maybe(0.2, f"-m iprange {random.choice(('', '! '))}{random.choice(('--src-range', '--dst-range'))} {random.choice(RANGES[family])}", negatable=False)
    maybe(0.25, f"-m conntrack {random.choice(('', '! ')) if not exact else ''}--ctstate {random.choice(states)}", negatable=False)
    if not exact:
        maybe(0.15, random.choice(UNSAID), negatable=False)
    verdicts = ["ACCEPT", "ACCEPT", "DROP", "REJECT" if reject else "DROP", "RETURN"]
    target = random.choice(verdicts + chains * 2)
    jump = "-g" if target in chains and random.random() < 0.3 else "-j"
    return " ".join([*parts, jump, target])


def _named(random: random.Random, kinds: tuple[str, ...], chain: str) -> Iterator[str]:
    not_ = random.choice(("", "! "))
    if "set" in kinds:
        yield f"-m set {not_}--match-set {random.choice(('friends', 'bad'))} {random.choice(('src', 'dst'))}"
    if "addrtype" in kinds:
        yield f"-m addrtype {not_}{random.choice(('--src-type', '--dst-type'))} LOCAL"
    if "mac" in kinds and chain == "INPUT":
        yield f"-m mac {not_}--mac-source {random.choice(STATIONS)}"


def packets(random: random.Random, family: int, count: int) -> Iterator[Packet]:
    for _ in range(count):
        src, dst = (ipaddress.ip_address(random.choice(ADDRESSES[family])) for _ in range(2))
        proto = random.choice((6, 6, 17, 1 if family == 4 else 58, 89))
        packet = Packet(60, family, src, dst, proto, smac=random.choice(STATIONS))
        if proto in (6, 17):
            packet.ports = random.choice(PORTS), random.choice(PORTS)
        if proto == 6:
            packet.flags = random.choice((2, 18, 16, 0, 1, 4, 17, 24, 6, 63))
        if proto in (1, 58):
            kind, _, code = random.choice((*MESSAGES[family], "13/1")).partition("/")
            packet.message = int(kind), int(code or random.choice((0, 1)))
        yield packet


def states(random: random.Random, packet: Packet) -> tuple[str, str]:
    """A state, as iptables and as the firewall has it: they differ on TCP that nobody saw begin."""
    state = random.choice(STATES)
    acknowledges = packet.proto == 6 and packet.flags & 0b10111 == 16
    starts = packet.proto != 6 or packet.flags & 0b10111 == 2
    if state == "NEW" and not starts:
        return ("NEW", "INVALID") if acknowledges else ("INVALID", "INVALID")
    return state, state
