"""iptables' own arguments as leaves of a rule. Those that the model lacks are refused, with a sentence."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cubes.iptables.match import spans
from cubes.iptables.names import ICMP_TYPES
from cubes.iptables.rules import FLAGS, PROTOCOLS, STATES
from cubes.iptables.spoken import Leaves, Reader, Refused, Spoken, Words
from cubes.iptables.targets import TARGETS

_MODULES = frozenset({"tcp", "udp", "sctp", "icmp", "multiport", "conntrack", "state", "comment", "limit", "set", "addrtype"})
_LONG = {
    "-p": "--protocol", "--proto": "--protocol", "-s": "--source", "--src": "--source", "-d": "--destination",
    "--dst": "--destination", "-i": "--in-interface", "-o": "--out-interface", "-j": "--jump", "-m": "--match",
    "--source-port": "--sport", "--destination-port": "--dport", "--source-ports": "--sports", "--destination-ports": "--dports",
    "--state": "--ctstate", "-g": "--goto", "-f": "--fragment", "-c": "--set-counters",
}  # fmt: skip
OWN = "own-addresses"
"""The set that is this host's own addresses (addrtype LOCAL)."""
_ELSEWHERE = {
    "mac": "the service firewall asks who sent a frame (smac), at a netdev: pcn import iptables-save --netdev NETDEV",
}
_TRANSLATED = "it is never so here, as the cube does not see what the kernel's NAT does; the service nat translates by itself"
_NEVER = {
    "SNAT": _TRANSLATED, "DNAT": _TRANSLATED,
    "UNTRACKED": "it is never so here, as every packet is followed unless conntrack is OFF, and then there are no states",
}  # fmt: skip
_REFUSED = {
    "--fragment": "whether a packet is a fragment is not asked",
    "--set-counters": "counters begin with zero",
    "--ports": "write two rules, one with --sports and one with --dports",
    "--icmpv6-type": "it is of ip6tables",
}


def read_option(word: str, inverted: bool, words: Words, spoken: Spoken) -> bool:
    """Take in one option of a rule; whether it is one. Raises Refused."""
    if "=" in word and word.startswith("--"):
        word, _, value = word.partition("=")
        words.left.insert(words.at, value)
    option = _LONG.get(word, word)
    if option in _REFUSED:
        raise Refused(f"{word}: {_REFUSED[option]}")
    reader = _OPTIONS.get(option)
    if reader is None:
        return False
    if inverted and option not in _INVERTIBLE:
        raise Refused(f"! {word}: what must not be can be said of addresses, interfaces, ports, states and sets alone")
    reader(words, "!" if inverted else "", spoken, word)
    return True


def checked(spoken: Spoken) -> list[Leaves]:
    """The rules, once all of their options were read. Raises Refused."""
    leaves = spoken.leaves
    if "action" not in leaves:
        raise Refused("a rule needs a target: -j ACCEPT, DROP, REJECT, LOG, RETURN, or a chain")
    proto = leaves.get("l4proto")
    if ("sport" in leaves or "dport" in leaves) and proto not in ("TCP", "UDP", "SCTP"):
        raise Refused("ports need -p tcp, udp or sctp")
    if "tcpflags" in leaves and proto != "TCP":
        raise Refused("--tcp-flags and --syn need -p tcp")
    if "icmp-type" in leaves and proto != "ICMP":
        raise Refused("--icmp-type needs -p icmp")
    if "limit-burst" in leaves and "limit" not in leaves:
        raise Refused("--limit-burst needs --limit")
    if "log-prefix" in leaves and leaves["action"] != "LOG":
        raise Refused("--log-prefix needs -j LOG")
    if "reject-with" in leaves and leaves["action"] != "REJECT":
        raise Refused("--reject-with needs -j REJECT")
    if leaves.get("reject-with") == "TCP_RESET" and proto != "TCP":
        raise Refused("--reject-with tcp-reset needs -p tcp")
    return spoken.rules()


# -- one reader an option ---------------------------------------------------------------------------------------------


def _protocol(words: Words, _: str, spoken: Spoken, option: str) -> None:
    said = words.value(option)
    names = {number: name for name, number in PROTOCOLS.items()}
    word = {"IPV6-ICMP": "ICMPV6"}.get(said.upper(), said.upper())
    if word in ("ALL", "0"):
        return
    if word.isdigit() and int(word) < 256:
        spoken.leaves["l4proto"] = names.get(int(word), int(word))
    elif word in PROTOCOLS:
        spoken.leaves["l4proto"] = word
    else:
        raise Refused(f"{option} {said}: write its number")


def _addresses(words: Words, inverted: str, option: str) -> list[str]:
    said = words.value(option).split(",")
    if inverted and len(said) > 1:
        raise Refused(f"! {option}: it takes one address")
    return [each for each in (prefix(text, inverted, option) for text in said) if each]


def prefix(text: str, inverted: str, option: str) -> str:
    """An address or prefix as iptables lists it; '' for any. Raises Refused."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Refused(f"{option} {text}: write an IPv4 address or a prefix, such as 10.0.0.0/24") from None
    if found.version != 4:
        raise Refused(f"{option} {text}: iptables is for IPv4")
    if found.prefixlen == 0:
        if inverted:
            raise Refused(f"! {option} {text}: no address is left")
        return ""
    return f"{inverted}{found}"


def _source(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
    spoken.sources = _addresses(words, inverted, option)


def _destination(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
    spoken.targets = _addresses(words, inverted, option)


def _interface(leaf: str) -> Reader:
    def read(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
        name = words.value(option)
        if name != "+":
            spoken.leaves[leaf] = f"{inverted}{name}"

    return read


def _ports(leaf: str, most: int) -> Reader:
    def read(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
        said = words.value(option)
        parts = said.split(",")
        if len(parts) > most:
            raise Refused(f"{option} {said}: {'use -m multiport' if most == 1 else f'{most} ports at most'}")
        found = [_port_range(part, option) for part in parts]
        text = inverted + ",".join(found)
        if leaf in spoken.leaves:
            raise Refused(f"{option}: it is there twice")
        spoken.leaves[leaf] = int(text) if text.isdigit() else text

    return read


def _port_range(text: str, option: str) -> str:
    low, colon, high = text.partition(":")
    low, high = (low or "0", high or "65535") if colon else (low, low)
    try:
        ((first, last),) = spans(f"{low}-{high}")
    except ValueError:
        raise Refused(f"{option} {text}: write a port's number, or a range such as 1000:2000") from None
    return str(first) if first == last else f"{first}-{last}"


def _tcp_flags(words: Words, _: str, spoken: Spoken, option: str) -> None:
    mask, wanted = _flags(words.value(option), option), _flags(words.value(option), option)
    if not mask or not wanted <= mask:
        raise Refused(f"{option}: the second list is of flags of the first one")
    spoken.leaves["tcpflags"] = ",".join(flag if flag in wanted else f"!{flag}" for flag in FLAGS if flag in mask)


def _flags(text: str, option: str) -> set[str]:
    if text in ("ALL", "NONE"):
        return set(FLAGS[:6]) if text == "ALL" else set()
    found = set(text.split(","))
    if not found <= set(FLAGS[:6]):
        raise Refused(f"{option} {text}: flags are {', '.join(FLAGS[:6])}, ALL or NONE")
    return found


def _syn(_: Words, __: str, spoken: Spoken, ___: str) -> None:
    spoken.leaves["tcpflags"] = "!FIN,SYN,!RST,!ACK"


def _icmp_type(words: Words, _: str, spoken: Spoken, option: str) -> None:
    said = words.value(option)
    text = ICMP_TYPES.get(said, said)
    if text == "any":
        return
    parts = text.split("/")
    if not all(part.isdigit() and int(part) < 256 for part in parts) or len(parts) > 2:
        raise Refused(f"{option} {said}: write a type, a type and code such as 3/4, or a name such as echo-request")
    spoken.leaves["icmp-type"] = int(text) if text.isdigit() else text


def _states(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
    """Beside others, what never is here is omitted: the rule matches what it matched."""
    said = words.value(option).split(",")
    for word in said:
        if word not in STATES and word not in _NEVER:
            raise Refused(f"{option} {word}: states are {', '.join(STATES)}")
    wanted = [word for word in STATES if (word in said) != bool(inverted)]
    if not wanted:
        reasons = "; ".join(dict.fromkeys(_NEVER[word] for word in said if word in _NEVER)) or "no state is left"
        raise Refused(f"{'! ' if inverted else ''}{option} {','.join(said)}: {reasons}")
    if len(wanted) < len(STATES):
        spoken.leaves["conntrack"] = ",".join(wanted)


def _match_set(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
    name, end = words.value(option), words.value(option)
    if end not in ("src", "dst"):
        raise Refused(f"{option} {name} {end}: sets are of addresses here, of src or of dst")
    _name_set(spoken, f"{end}-set", inverted + name, option)


def _address_type(leaf: str) -> Reader:
    def read(words: Words, inverted: str, spoken: Spoken, option: str) -> None:
        said = words.value(option)
        if said != "LOCAL":
            raise Refused(f"{option} {said}: of kinds of addresses there is LOCAL; for others write the address with -s or -d")
        _name_set(spoken, leaf, inverted + OWN, option)

    return read


def _name_set(spoken: Spoken, leaf: str, name: str, option: str) -> None:
    if leaf in spoken.leaves:
        raise Refused(f"{option}: a rule asks for one set of each end: lead to a chain, or make a set of both")
    spoken.leaves[leaf] = name


def _comment(words: Words, _: str, spoken: Spoken, option: str) -> None:
    text = words.value(option)
    if len(text) > 255:
        raise Refused(f"{option}: 255 characters at most")
    spoken.leaves["description"] = text


def _module(words: Words, _: str, __: Spoken, option: str) -> None:
    name = words.value(option)
    if name in _ELSEWHERE:
        raise Refused(f"-m {name}: {_ELSEWHERE[name]}")
    if name not in _MODULES:
        raise Refused(f"-m {name}: this match is not there; there are {', '.join(sorted(_MODULES))}")


def _jump(words: Words, _: str, spoken: Spoken, option: str) -> None:
    spoken.leaves["action"] = words.value(option)


_OPTIONS: dict[str, Reader] = {
    "--protocol": _protocol,
    "--source": _source,
    "--destination": _destination,
    "--in-interface": _interface("in-iface"),
    "--out-interface": _interface("out-iface"),
    "--jump": _jump,
    "--match": _module,
    "--sport": _ports("sport", 1),
    "--dport": _ports("dport", 1),
    "--sports": _ports("sport", 15),
    "--dports": _ports("dport", 15),
    "--tcp-flags": _tcp_flags,
    "--syn": _syn,
    "--icmp-type": _icmp_type,
    "--ctstate": _states,
    "--comment": _comment,
    "--match-set": _match_set,
    "--src-type": _address_type("src-set"),
    "--dst-type": _address_type("dst-set"),
    **TARGETS,
}
_INVERTIBLE = frozenset(
    {"--source", "--destination", "--in-interface", "--out-interface", "--sport", "--dport", "--sports", "--dports"}
    | {"--ctstate", "--match-set", "--src-type", "--dst-type"}
)


def read_rule(words: Sequence[str]) -> list[Leaves]:
    """A rule's options, and nothing else. Raises Refused."""
    left, spoken, inverted = Words(list(words)), Spoken(), False
    for word in left:
        if word == "!":
            inverted = True
            continue
        if not read_option(word, inverted, left, spoken):
            raise Refused(f"unknown option {word}" if word.startswith("-") else f"{word}: it belongs to no option")
        inverted = False
    return checked(spoken)
