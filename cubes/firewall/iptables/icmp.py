"""ICMP types as iptables has them: `iptables-save` writes numbers, but people write names."""

from __future__ import annotations

from cubes.firewall.iptables.address_box import ICMPS, AddressBox, Span
from cubes.firewall.iptables.lexer import Misread
from cubes.firewall.iptables.parser import Word

_ALIASES = {"pong": "echo-reply", "ping": "echo-request", "ttl-exceeded": "time-exceeded"}
_NAMES: dict[int, dict[str, str]] = {
    4: {
        "echo-reply": "0", "destination-unreachable": "3", "network-unreachable": "3/0", "host-unreachable": "3/1",
        "protocol-unreachable": "3/2", "port-unreachable": "3/3", "fragmentation-needed": "3/4", "source-route-failed": "3/5",
        "network-unknown": "3/6", "host-unknown": "3/7", "network-prohibited": "3/9", "host-prohibited": "3/10",
        "TOS-network-unreachable": "3/11", "TOS-host-unreachable": "3/12", "communication-prohibited": "3/13",
        "host-precedence-violation": "3/14", "precedence-cutoff": "3/15", "source-quench": "4", "redirect": "5",
        "network-redirect": "5/0", "host-redirect": "5/1", "TOS-network-redirect": "5/2", "TOS-host-redirect": "5/3",
        "echo-request": "8", "router-advertisement": "9", "router-solicitation": "10", "time-exceeded": "11",
        "ttl-zero-during-transit": "11/0", "ttl-zero-during-reassembly": "11/1", "parameter-problem": "12",
        "ip-header-bad": "12/0", "required-option-missing": "12/1", "timestamp-request": "13", "timestamp-reply": "14",
        "address-mask-request": "17", "address-mask-reply": "18",
    },
    6: {
        "destination-unreachable": "1", "no-route": "1/0", "communication-prohibited": "1/1", "beyond-scope": "1/2",
        "address-unreachable": "1/3", "port-unreachable": "1/4", "failed-policy": "1/5", "reject-route": "1/6",
        "packet-too-big": "2", "time-exceeded": "3", "ttl-zero-during-transit": "3/0", "ttl-zero-during-reassembly": "3/1",
        "parameter-problem": "4", "bad-header": "4/0", "unknown-header-type": "4/1", "unknown-option": "4/2",
        "echo-request": "128", "echo-reply": "129", "router-solicitation": "133", "router-advertisement": "134",
        "neighbour-solicitation": "135", "neighbour-advertisement": "136", "redirect": "137",
    },
}  # fmt: skip


def messages_of(word: Word, family: int) -> AddressBox:
    """The messages of a type, or of a type and a code; all of ICMP for 'any'. Raises Misread."""
    proto = ICMPS[family]
    if word.text in ("any", "255") and family == 4:
        return AddressBox(proto=proto)
    name = _ALIASES.get(word.text, word.text).replace("neighbor", "neighbour")
    kind, slash, code = _NAMES[family].get(name, name).partition("/")
    return AddressBox(proto=proto, sport=_number(kind, word), dport=_number(code, word) if slash else None)


def _number(text: str, word: Word) -> Span:
    if not (text.isascii() and text.isdigit() and int(text) <= 255):
        raise Misread(f"{word.text} is no type of ICMP that is known here; write its number", word)
    return int(text), int(text)
