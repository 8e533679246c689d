"""Lexer of an iptables rule: addresses, ports, flags, states. Invalid ones are Misread, with their position."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from cubes.firewall.iptables.address_box import ALL_PORTS, AddressBox, Case, Network, Span
from cubes.firewall.iptables.parser import Word
from cubes.firewall.rules import FLAGS
from cubes.lib.service_names import SERVICES

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipencap": 4, "ipip": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "dccp": 33, "ipv6": 41,
    "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "eigrp": 88, "ospf": 89, "pim": 103,
    "ipcomp": 108, "vrrp": 112, "l2tp": 115, "sctp": 132, "mobility-header": 135, "udplite": 136,
}  # fmt: skip
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
_UNTRACKED = (130, 131, 132, 133, 134, 135, 136, 143)
ACK_ALONE = (0b10111, 0b10000)


HARMLESS = frozenset({
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "DSCP", "ECN", "HL", "HMARK", "IDLETIMER", "LED", "MARK",
    "NFLOG", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS", "TRACE", "TTL", "ULOG",
})  # fmt: skip
"""Targets after which the next rule is asked, as if they had not been there."""
MATCHES = frozenset({
    "comment", "conntrack", "dccp", "icmp", "icmp6", "icmpv6", "iprange", "limit", "multiport", "sctp", "state", "tcp",
    "udp", "udplite", "addrtype", "set", "mac",
})  # fmt: skip
"""Matches that ask for nothing without their options."""


class Misread(Exception):
    """An invalid value: (message, the text)."""

    def __init__(self, message: str, word: Word) -> None:
        super().__init__(message)
        self.word = word


def protocol_of(word: Word) -> int:
    """Its number; 0 is any."""
    name = word.text.lower()
    number = int(name) if name.isascii() and name.isdigit() else PROTOCOLS.get(name, 0 if name == "all" else -1)
    if not 0 <= number <= 255:
        raise Misread(f"{word.text} is no protocol that is known here; write its number", word)
    return number


def range_of(word: Word, family: int) -> list[Network]:
    """'10.0.0.1-10.0.0.6', or one address."""
    low, dash, high = word.text.partition("-")
    try:
        first, last = ipaddress.ip_address(low), ipaddress.ip_address(high if dash else low)
        networks: list[Network] = list(ipaddress.summarize_address_range(first, last))
    except (ValueError, TypeError):
        raise Misread(f"{word.text} is no range of addresses", word) from None
    if first.version != family:
        raise Misread(f"{word.text} is not of IPv{family}", word)
    return networks


def network_of(text: str, word: Word, family: int) -> Network | None:
    """None for a mask with holes, which is no prefix."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        address, slash, mask = text.partition("/")
        try:
            ipaddress.ip_address(address), ipaddress.ip_address(mask if slash else "")
        except ValueError:
            raise Misread(f"{text} is no address and no prefix", word) from None
        return None
    if network.version != family:
        raise Misread(f"{text} is not of IPv{family}", word)
    return network


def ports_of(text: str, word: Word) -> Span:
    if text in SERVICES:
        return SERVICES[text], SERVICES[text]
    low, colon, high = text.partition(":")
    low, high = (str(SERVICES.get(end, end)) for end in (low, high))
    ends = low or "0", (high or str(ALL_PORTS[1])) if colon else low
    if not all(end.isascii() and end.isdigit() for end in ends):
        raise Misread(f"{text} is no port; write its number", word)
    span = int(ends[0]), int(ends[1])
    if not 0 <= span[0] <= span[1] <= ALL_PORTS[1]:
        raise Misread(f"{text} is no range of ports", word)
    return span


def flags_of(word: Word) -> int:
    bits = 0
    for name in word.text.split(","):
        if name not in (*FLAGS[:6], "ALL", "NONE"):
            raise Misread(f"{name} is no TCP flag", word)
        bits |= 0 if name == "NONE" else 0b111111 if name == "ALL" else 1 << FLAGS.index(name)
    return bits


def states_of(wanted: set[str], family: int) -> Iterator[Case]:
    """Both trackers agree but for TCP in the middle of a connection whose beginning was not seen: NEW for iptables (unless
    nf_conntrack_tcp_loose is 0), INVALID here; the file does not tell which was in use. Neighbour and multicast listener
    discovery of IPv6 are untracked without a rule of the table raw; here their only state is NEW."""
    if "UNTRACKED" in wanted and family == 6 and "NEW" not in wanted:
        for kind in _UNTRACKED:
            yield Case(AddressBox(proto=58, sport=(kind, kind)))
    for state in ("NEW", "ESTABLISHED", "RELATED"):
        if state in wanted:
            yield Case(AddressBox(state=state))
    if wanted >= {"NEW", "INVALID"}:
        yield Case(AddressBox(state="INVALID"))
    elif "INVALID" in wanted:
        yield Case(AddressBox(state="INVALID"), sure=False)
    elif "NEW" in wanted:
        yield Case(AddressBox(proto=6, flags=ACK_ALONE, state="INVALID"), sure=False)


_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


def rate_of(word: Word) -> str:
    """'5/min' as the leaf limit has it."""
    count, _, unit = word.text.partition("/")
    if not count.isdecimal() or unit[:1] not in {*_UNITS, ""}:
        raise Misread(f"{word.text} is no rate", word)
    return f"{int(count)}/{_UNITS[unit[:1] or 's']}"


def is_option(words: Sequence[Word]) -> bool:
    first = words[0].text
    if first == "!":
        return len(words) > 1 and not words[1].quoted and words[1].text.startswith("-")
    return first.startswith("-") and not re.fullmatch(r"-\d+", first)
