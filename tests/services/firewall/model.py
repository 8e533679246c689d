"""What the firewall should do, written to be read and not to be fast: docs/services/firewall.md as a program.

    model = Model(config)                       # the cube's leaves, as in a topology
    model.judge("INGRESS", frame)               # "ACCEPT", "DROP", "REJECT" or "MALFORMED"; "TOO DEEP": see `lookups`
    model.counters["INGRESS", 10].packets       # by chain and rule id, "default" and "established"
    model.connections[...]                      # what is tracked

It shares no line with the firewall's own code. Time does not pass in it unless `forget` says what is over.
"""
from __future__ import annotations

import copy
import ipaddress
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.services.firewall.tcp_model import Track, begin, follow, reopens, segment_of

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "GRE": 47, "ESP": 50, "AH": 51, "ICMPV6": 58, "SCTP": 132}
FLAG_BITS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}
EXTENSIONS = {0, 43, 44, 60, 135}
HIDING = {bytes.fromhex(kind) for kind in ("6558", "8847", "8848", "8864", "88e7", "894f", "9100", "9200", "9300")}


class Malformed(Exception):
    pass


class NotIp(Exception):
    pass


class HiddenIp(Exception):
    """Another protocol carries it."""


@dataclass
class Packet:
    """A frame as the firewall sees it. `ports` and `flags` are None where the packet has none."""
    length: int
    family: int
    src: Any
    dst: Any
    proto: int
    ports: tuple[int, int] | None = None
    flags: int | None = None
    icmp: tuple[int, int] | None = None  # type, identifier
    message: tuple[int, int] | None = None  # type, code
    later_fragment: bool = False
    payload: bytes = b""
    fragment_of: Any = None
    smac: str = ""
    whole: bool = True  # its checksum is right, or is not looked at


@dataclass
class Counter:
    packets: int = 0
    bytes: int = 0


@dataclass
class Connection:
    """`opener` is the end that began it: (address, port)."""

    state: str
    opener: Any
    settled: bool = False
    replied: bool = False
    track: Track | None = None  # of TCP
    begins: bool = False  # it is another one than was known under these ports
    accepted: dict[str, int] = field(default_factory=dict)  # by chain, of who began it: the last version of the rules that did


@dataclass
class Model:
    """`lookups`: what a search for a packet may need, by chain and family, where it matters. A packet that has no right to more
    may be dropped ("Limits" in docs/services/firewall.md); it is "TOO DEEP" then, and counts and changes nothing here."""

    config: Mapping[str, Any]
    lookups: Mapping[tuple[str, int], int] = field(default_factory=dict)
    connections: dict[Any, Connection] = field(default_factory=dict)
    fragments: dict[Any, Any] = field(default_factory=dict)
    counters: dict[tuple[str, Any], Counter] = field(default_factory=lambda: defaultdict(Counter))
    version: int = 0

    def __post_init__(self) -> None:
        self.chains = {chain["name"]: chain for chain in self.config.get("chain", ())}
        sets = {each["name"]: [ipaddress.ip_network(text) for text in each.get("prefix", ())] for each in self.config.get("set", ())}
        self.rules = {
            name: [Condition(rule, sets) for rule in sorted(chain.get("rule", ()), key=lambda rule: rule["id"])]
            for name, chain in self.chains.items()
        }

    def change(self, config: Mapping[str, Any]) -> None:
        """Other rules or sets, and what is known of connections stays."""
        self.config, self.version = config, self.version + 1
        self.__post_init__()

    @property
    def rematches(self) -> bool:
        return self.tracks and self.config.get("policy-rematch", "OFF") == "ON"

    @property
    def tracks(self) -> bool:
        return self.config.get("conntrack", "ON") == "ON"

    def judge(self, chain: str, frame: bytes, device: str = "") -> str:
        try:
            packet = self.with_ports_of_first(parse(frame))
            packet.smac = frame[6:12].hex(":")
        except NotIp:
            return "ACCEPT"
        except Malformed:
            return "MALFORMED"
        except HiddenIp:
            self.count(chain, "default", len(frame))
            return "ACCEPT" if self.default(chain) == "ACCEPT" else "DROP"
        known = self.known(packet, chain) if self.tracks else None
        state, becomes = self.follow(packet, known, chain) if self.tracks else (None, None)
        doubtful = self.tracks and not packet.whole and self.says_news(packet, state, becomes, known)
        state, first, as_asked = self.as_asked(chain, packet, state, known)
        asked = [(first, self.decide(first, as_asked, state, device))]
        if asked[0][1].verdict == "ACCEPT" and doubtful:
            becomes = None
            asked.append((chain, self.decide(chain, packet, "INVALID", device)))
        if is_too_deep([each for _, each in asked], self.lookups.get((chain, packet.family), 0)):
            return "TOO DEEP"
        self.remember_fragment(packet)
        for where, rule in [(where, rule) for where, each in asked for rule in each.logs]:
            self.count(where, rule, packet.length)
        by, verdict = asked[-1][1].by, asked[-1][1].verdict
        self.count(asked[-1][0], by, packet.length)
        if verdict == "ACCEPT" and becomes is not None:
            key, connection = becomes
            if known is not None and not connection.begins and connection.opener == known.opener:
                connection.accepted = dict(known.accepted)
            if state == "NEW":
                connection.accepted[first] = self.version
            self.connections[key] = connection
            if connection.track is not None and connection.track.over:
                del self.connections[key]
        return verdict

    def as_asked(self, chain: str, packet: Packet, state: str | None, known: Connection | None) -> tuple[str | None, str, Packet]:
        """What the rules are asked about, and of which chain: of a connection that older ones accepted, what began it."""
        if self.rematches and state == "ESTABLISHED" and known is not None:
            other = asked_by(chain, answers=known.opener != talk_of(packet)[1])
            if known.accepted.get(other) != self.version:
                return "NEW", other, as_it_began(packet, answers=other != chain)
        return state, chain, packet

    def says_news(self, packet: Packet, state: str | None, becomes: tuple[Any, Connection] | None, known: Connection | None) -> bool:
        """Whether its checksum is looked at before it is accepted."""
        if state == "INVALID":
            return False
        if becomes is None:
            return packet.icmp is not None and not packet.later_fragment
        if packet.proto == 6 and (packet.flags or 0) & 7:
            return True
        return known is None or known.state != becomes[1].state or known.settled != becomes[1].settled

    def decide(self, chain: str, packet: Packet, state: str | None, device: str) -> Decision:
        if state == "ESTABLISHED" and self.config.get("accept-established", "ON") == "ON":
            return Decision("established", "ACCEPT", [], 0)
        matched = [rule for rule in self.rules.get(chain, ()) if rule.matches(packet, state, device)]
        logs, undecided = [], 0
        for rule in matched:
            undecided += rule.action == "LOG" or rule.limited
            if rule.over:
                continue
            if rule.action != "LOG":
                return Decision(rule.id, rule.action, logs, undecided)
            logs.append(rule.id)
        return Decision("default", self.default(chain), logs, undecided)

    def default(self, chain: str) -> str:
        found: str = self.chains.get(chain, {}).get("default", "ACCEPT")
        return found

    def count(self, chain: str, what: Any, size: int) -> None:
        counter = self.counters[chain, what]
        counter.packets += 1
        counter.bytes += size

    def with_ports_of_first(self, packet: Packet) -> Packet:
        """A later fragment has the ports (or the type, code and identifier) of the first, if that was seen."""
        if packet.fragment_of is not None and packet.later_fragment:
            packet.ports, packet.icmp, packet.message = self.fragments.get(packet.fragment_of, (None, None, None))
        return packet

    def remember_fragment(self, packet: Packet) -> None:
        if packet.fragment_of is not None and not packet.later_fragment and (packet.ports is not None or packet.icmp is not None):
            self.fragments[packet.fragment_of] = packet.ports, packet.icmp, packet.message

    # -- connections ------------------------------------------------------------------------------------------------

    def known(self, packet: Packet, chain: str) -> Connection | None:
        """The packet's connection. To its answers it is none where the chain of who began it has never accepted it."""
        key, sender = talk_of(packet)
        found = self.connections.get(key)
        if found is None or not self.rematches or found.opener == sender or asked_by(chain, answers=True) in found.accepted:
            return found
        return None

    def relates(self, quoted: Packet, chain: str) -> bool:
        """Whether what an error is about is known, and accepted by the rules of now."""
        key, sender = talk_of(quoted)
        found = self.connections.get(key)
        if found is None or not self.rematches:
            return found is not None
        return found.accepted.get(asked_by(chain, answers=found.opener == sender)) == self.version

    def follow(self, packet: Packet, known: Connection | None, chain: str) -> tuple[str, tuple[Any, Connection] | None]:
        """The packet's state, and what its connection becomes if the packet is accepted."""
        if is_error(packet):
            quoted = parse_quoted(packet)
            ours = quoted is not None and quoted.src == packet.dst and self.relates(quoted, chain)
            return ("RELATED" if ours else "INVALID"), None
        key, sender = talk_of(packet)
        if packet.proto == 6:
            state, becomes = follow_tcp(packet, known, sender, loose=self.config.get("pick-up", "ON") == "ON")
        elif packet.proto == (1 if packet.family == 4 else 58):
            state, becomes = follow_icmp(packet, known, sender)
        else:
            state, becomes = follow_other(known, sender)
        return state, (key, becomes) if becomes else None


@dataclass
class Decision:
    """What decides and what it says; the LOG rules that match before it, and how many match up to it that log or have a limit."""

    by: Any
    verdict: str
    logs: list[Any]
    undecided: int


def is_too_deep(asked: Sequence[Decision], lookups: int) -> bool:
    """Whether a packet, about which the rules were asked once or twice, may be dropped where a search needs so many look-ups."""
    most = next((most for most, fewer in ((30, 64), (16, 128), (8, 256)) if lookups < fewer), 4)
    if len(asked) == 2:
        most //= 2
        if lookups >= 256:
            return True
    return any(each.undecided > most for each in asked)


class Condition:
    def __init__(self, rule: Mapping[str, Any], sets: Mapping[str, list[Any]]) -> None:
        self.id, self.action = rule["id"], rule.get("action", "ACCEPT")
        self.limited, self.over = "limit" in rule, str(rule.get("limit", "")).startswith("over ")  # no test of this model comes to a limit
        self.src, self.dst = (Several(rule[leaf], addresses_of) if leaf in rule else None for leaf in ("src", "dst"))
        self.sets = [(place, leaf[0] == "!", sets[leaf.lstrip("!")]) for place, leaf in enumerate((rule.get("src-set"), rule.get("dst-set"))) if leaf]
        proto = rule.get("l4proto")
        self.proto = PROTOCOLS.get(proto, proto)
        self.sport, self.dport = (Several(rule[leaf], ports_of) if leaf in rule else None for leaf in ("sport", "dport"))
        kind, _, code = str(rule.get("icmp-type", "")).partition("/")
        self.message = (int(kind), int(code) if code else None) if kind else None
        words = rule["tcpflags"].split(",") if "tcpflags" in rule else []
        self.flags = {FLAG_BITS[word.lstrip("!")]: not word.startswith("!") for word in words}
        self.smac = rule.get("smac", "")
        self.states, self.device = rule["conntrack"].split(",") if "conntrack" in rule else None, rule.get("in-interface")

    def matches(self, packet: Packet, state: str | None, device: str) -> bool:
        if self.proto is not None and (packet.proto != self.proto or (self.proto, packet.family) in ((1, 6), (58, 4))):
            return False
        for several, address in ((self.src, packet.src), (self.dst, packet.dst)):
            if several is not None and not several.have(address):
                return False
        for place, outside, prefixes in self.sets:
            if any((packet.src, packet.dst)[place] in prefix for prefix in prefixes) == outside:
                return False
        for wanted, place in ((self.sport, 0), (self.dport, 1)):
            if wanted is not None and (packet.ports is None or not wanted.have(packet.ports[place])):
                return False
        if self.smac and (self.smac.removeprefix("!") == packet.smac) == self.smac.startswith("!"):
            return False
        if self.message is not None and (packet.message is None or self.message not in (packet.message, (packet.message[0], None))):
            return False
        if self.flags and (packet.flags is None or any(bool(packet.flags & bit) != on for bit, on in self.flags.items())):
            return False
        return (self.states is None or state in self.states) and self.device in (None, device)


class Several:
    """A list of ranges, or with '!' all of the same kind that are in none of them."""

    def __init__(self, said: Any, of: Any) -> None:
        self.outside = str(said).startswith("!")
        self.ranges = [of(part) for part in str(said).removeprefix("!").split(",")]

    def have(self, value: Any) -> bool:
        if self.outside and not any(type(low) is type(value) for low, _ in self.ranges):
            return False
        return any(type(low) is type(value) and low <= value <= high for low, high in self.ranges) != self.outside


def addresses_of(part: str) -> tuple[Any, Any]:
    low, dash, high = part.partition("-")
    if dash:
        return ipaddress.ip_address(low), ipaddress.ip_address(high)
    network = ipaddress.ip_network(part)
    return network[0], network[-1]


def ports_of(part: str) -> tuple[int, int]:
    low, _, high = part.partition("-")
    return int(low), int(high or low)


# -- connections --------------------------------------------------------------------------------------------------------


def talk_of(packet: Packet) -> tuple[Any, Any]:
    """(what both directions of a connection have in common, the end that sent this packet)."""
    ports = packet.ports or (0, 0)
    if packet.icmp is not None and packet.proto == (1 if packet.family == 4 else 58):
        ports = echo_ports(packet)
    ends = (packet.src, ports[0]), (packet.dst, ports[1])
    return (packet.proto, frozenset(ends)), ends[0]


def asked_by(chain: str, *, answers: bool) -> str:
    return {"INGRESS": "EGRESS", "EGRESS": "INGRESS"}[chain] if answers else chain


def as_it_began(packet: Packet, *, answers: bool) -> Packet:
    """The packet that began the connection, as far as rules ask."""
    found = copy.copy(packet)
    found.flags = None if packet.flags is None else 2
    if answers:
        found.src, found.dst = packet.dst, packet.src
        found.ports = packet.ports[::-1] if packet.ports is not None else None
        if packet.message is not None:
            asks = {answer: question for question, answer in QUESTIONS[packet.family].items()}
            found.message = asks.get(packet.message[0], packet.message[0]), 0
    return found


QUESTIONS = {4: {8: 0, 13: 14, 15: 16, 17: 18}, 6: {128: 129, 139: 140}}


def echo_ports(packet: Packet) -> tuple[int, int]:
    """Who asks has the identifier for a port, so that questions of both ends with one identifier are told apart; the other is what is
    asked, 0 for an echo."""
    kind, identifier = packet.icmp or (None, 0)
    for question, answer in QUESTIONS[packet.family].items():
        port = 0 if question in (8, 128) else question
        if kind in (question, answer):
            return (identifier or 1, port) if kind == question else (port, identifier or 1)
    return 0, 0


def is_error(packet: Packet) -> bool:
    if packet.icmp is None or packet.later_fragment:
        return False
    return packet.icmp[0] in (3, 4, 5, 11, 12) if packet.family == 4 else packet.icmp[0] < 128


def follow_tcp(packet: Packet, known: Connection | None, sender: Any, *, loose: bool) -> tuple[str, Connection | None]:
    if packet.flags is None:
        return ("ESTABLISHED" if known else "INVALID"), None
    syn, fin, rst, ack, urg = 2, 1, 4, 16, 32
    if packet.flags & (syn | fin | rst | ack | urg) not in {
        syn, syn | urg, syn | ack, rst, rst | ack, fin | ack, fin | ack | urg, ack, ack | urg
    }:  # fmt: skip
        return "INVALID", None
    track = copy.deepcopy(known.track) if known is not None else None
    way = 0 if known is None or known.opener == sender else 1
    takes = track is not None and track.seen[1 - way].sacks
    segment = segment_of(packet.payload, takes_blocks=takes)
    opener = known.opener if known is not None else sender
    anew = track is None or reopens(track, segment, way)
    if anew:
        track, way, opener = begin(segment, loose=loose), 0, sender
    if track is None:
        return "INVALID", None
    replied = track.replied
    verdict = follow(track, segment, way)
    if verdict == "invalid" or (verdict == "outside" and anew):
        return "INVALID", None
    if packet.fragment_of is not None and verdict == "accept":
        track.seen[0].liberal = track.seen[1].liberal = True
    settled = track.assured and track.state not in ("TIME_WAIT", "CLOSE")
    state = "INVALID" if verdict == "outside" else "ESTABLISHED" if way or replied else "NEW"
    return state, Connection(track.state, opener, settled, track.replied, track, begins=anew)


def follow_icmp(packet: Packet, known: Connection | None, sender: Any) -> tuple[str, Connection | None]:
    kind = packet.icmp[0] if packet.icmp is not None and not packet.later_fragment else None
    questions = QUESTIONS[packet.family]
    if kind is not None and kind not in questions and kind not in questions.values():
        of_the_link = packet.family == 6 and (130 <= kind <= 137 or 141 <= kind <= 143 or 148 <= kind <= 153)
        return ("NEW" if of_the_link else "INVALID"), None
    if known is None and kind not in questions:
        return "INVALID", None
    return follow_other(known, sender)


def follow_other(known: Connection | None, sender: Any) -> tuple[str, Connection | None]:
    """None is settled: that takes two seconds, and here no time passes."""
    if known is None or (not known.replied and known.opener == sender):
        return "NEW", Connection("NEW", sender)
    return "ESTABLISHED", Connection("ANSWERED", known.opener, replied=True)


# -- frames -------------------------------------------------------------------------------------------------------------


def parse(frame: bytes) -> Packet:
    at, kind = 14, frame[12:14]
    for _ in range(2):
        if kind not in (b"\x81\x00", b"\x88\xa8"):
            break
        kind, at = frame[at + 2 : at + 4], at + 4
        if len(frame) < at:
            raise Malformed
    if kind in (b"\x81\x00", b"\x88\xa8"):
        raise Malformed
    if kind == b"\x08\x00":
        return parse_ipv4(frame, at)
    if kind == b"\x86\xdd":
        return parse_ipv6(frame, at)
    if kind in HIDING:
        raise HiddenIp
    raise NotIp


def parse_ipv4(frame: bytes, at: int) -> Packet:
    if len(frame) < at + 20:
        raise Malformed
    first, _, total, number, place, _, proto, _, src, dst = struct.unpack_from("!BBHHHBBH4s4s", frame, at)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20 or total < header or at + total > len(frame) or (place & 0x1FFF == 1 and proto == 6):
        raise Malformed
    if ones(frame[at : at + header]) != 0xFFFF:
        raise Malformed
    packet = Packet(len(frame), 4, ipaddress.IPv4Address(src), ipaddress.IPv4Address(dst), proto)
    packet.later_fragment = bool(place & 0x1FFF)
    if place & 0x3FFF:
        packet.fragment_of = (src, dst, number, proto)
    return parse_payload(packet, frame[at + header : at + total], src + dst)


def parse_ipv6(frame: bytes, at: int) -> Packet:
    if len(frame) < at + 40 or frame[at] >> 4 != 6:
        raise Malformed
    proto, src, dst = frame[at + 6], frame[at + 8 : at + 24], frame[at + 24 : at + 40]
    length = len(frame)
    packet = Packet(length, 6, ipaddress.IPv6Address(src), ipaddress.IPv6Address(dst), proto)
    size = struct.unpack_from("!H", frame, at + 4)[0]
    end = len(frame) if not size and proto == 0 else at + 40 + size
    if end > len(frame):
        raise Malformed
    frame = frame[:end]
    at, passed = at + 40, 0
    number = None
    while proto in EXTENSIONS and not packet.later_fragment:
        if passed == 8 or len(frame) < at + 8:
            raise Malformed
        if proto == 44:
            packet.later_fragment = bool(struct.unpack_from("!H", frame, at + 2)[0] & 0xFFF8)
            number, size = frame[at + 4 : at + 8], 8
        else:
            size = 8 + frame[at + 1] * 8
        proto, at, passed = frame[at], at + size, passed + 1
    if passed == 8 and not packet.later_fragment:
        raise Malformed
    packet.proto = proto
    if number is not None:
        packet.fragment_of = (src, dst, number, proto)
    return parse_payload(packet, frame[at:], src + dst)


def parse_payload(packet: Packet, payload: bytes, ends: bytes) -> Packet:
    packet.payload = payload
    if packet.later_fragment:
        return packet
    is_whole = packet.fragment_of is None
    if packet.proto in (6, 17, 132):
        if len(payload) < (16 if packet.proto == 6 else 8):
            raise Malformed
        size = {6: payload[12] >> 4 << 2 if packet.proto == 6 else 0, 17: struct.unpack_from("!H", payload, 4)[0], 132: 12}[packet.proto]
        if size < (20 if packet.proto == 6 else 8) or (is_whole and size > len(payload)):
            raise Malformed
        packet.ports = struct.unpack_from("!HH", payload)
    if packet.proto == 6:
        packet.flags = payload[13]
    if packet.proto == (1 if packet.family == 4 else 58):
        if len(payload) < 8:
            raise Malformed
        packet.icmp = payload[0], struct.unpack_from("!H", payload, 4)[0]
        packet.message = payload[0], payload[1]
    if is_whole:
        packet.whole = is_sum_right(packet, payload, ends)
    return packet


def is_sum_right(packet: Packet, payload: bytes, ends: bytes) -> bool:
    """Right is also that of the pseudo header alone, which a sender leaves for hardware to complete."""
    at = 2 if (packet.family, packet.proto) in ((4, 1), (6, 58)) else {6: 16, 17: 6}.get(packet.proto)
    if at is None or (packet.proto == 17 and payload[6:8] == bytes(2)):
        return True
    pseudo = b"" if packet.proto == 1 else ends + struct.pack("!II", len(payload), packet.proto)
    unfinished = packet.proto in (6, 17) and struct.unpack_from("!H", payload, at)[0] == ones(pseudo)
    return unfinished or ones(pseudo + payload) == 0xFFFF


def ones(data: bytes) -> int:
    """The ones' complement sum, which is 0 of nothing but zeros."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    return (total - 1) % 0xFFFF + 1 if total else 0




def parse_quoted(packet: Packet) -> Packet | None:
    """What an ICMP error is about; None if that cannot be told."""
    quoted = packet.payload[8:]
    if packet.family == 4:
        if len(quoted) < 20 or quoted[0] >> 4 != 4 or quoted[0] & 15 < 5 or struct.unpack_from("!H", quoted, 6)[0] & 0x1FFF:
            return None
        found = Packet(0, 4, ipaddress.IPv4Address(quoted[12:16]), ipaddress.IPv4Address(quoted[16:20]), quoted[9])
        inner = quoted[(quoted[0] & 15) * 4 :]
    else:
        if len(quoted) < 40 or quoted[0] >> 4 != 6:
            return None
        found = Packet(0, 6, ipaddress.IPv6Address(quoted[8:24]), ipaddress.IPv6Address(quoted[24:40]), quoted[6])
        inner = quoted[40:]
        for _ in range(4):
            if found.proto not in (0, 43, 44, 60):
                break
            if len(inner) < 8 or (found.proto == 44 and struct.unpack_from("!H", inner, 2)[0] & 0xFFF8):
                return None
            found.proto, inner = inner[0], inner[8 if found.proto == 44 else 8 + 8 * inner[1] :]
    echo = 1 if packet.family == 4 else 58
    if found.proto in (6, 17, 132, echo):
        if len(inner) < 8:
            return None
        if found.proto == echo:
            found.icmp = inner[0], struct.unpack_from("!H", inner, 4)[0]
        else:
            found.ports = struct.unpack_from("!HH", inner)
    return found
