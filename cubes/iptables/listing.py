"""Rules as iptables lists them: -S, as command lines, and -L, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cubes.iptables.arguments import OWN
from cubes.iptables.details import BURST
from cubes.iptables.names import REJECT_WITH
from cubes.iptables.rules import BUILT_IN, FLAGS, STATES, flags_of

Leaves = Mapping[str, Any]
_PLAIN = frozenset("_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PROTOCOLS = {"ICMPV6": "ipv6-icmp"}


def specification(leaves: Leaves) -> str:
    """A rule as the options that make it, without its chain."""
    return " ".join(word for words in _options(leaves) for word in words)


def _options(leaves: Leaves) -> Iterator[Sequence[str]]:
    for leaf, option in (("src", "-s"), ("dst", "-d"), ("in-iface", "-i"), ("out-iface", "-o")):
        if leaf in leaves:
            said = str(leaves[leaf])
            bare = said.removeprefix("!")
            whole = leaf in ("src", "dst") and "/" not in bare
            yield [*(["!"] if said.startswith("!") else []), option, f"{bare}/32" if whole else bare]
    proto = _protocol(leaves)
    if proto != "all":
        yield ["-p", proto]
    ports = {leaf: str(leaves[leaf]) for leaf in ("sport", "dport") if leaf in leaves}
    single = {leaf: said for leaf, said in ports.items() if "," not in said}
    if single or "tcpflags" in leaves:
        yield ["-m", proto]
    for leaf, said in single.items():
        yield _ports(leaf, said)
    if "tcpflags" in leaves:
        yield ["--tcp-flags", *tcp_flags(leaves["tcpflags"])]
    if "icmp-type" in leaves:
        yield ["-m", "icmp", "--icmp-type", str(leaves["icmp-type"])]
    for leaf, said in ports.items():
        if leaf not in single:
            yield ["-m", "multiport", *_ports(leaf + "s", said)]
    yield from _modules(leaves)
    yield _target(leaves)


def _ports(option: str, said: str) -> Sequence[str]:
    return [*(["!"] if said.startswith("!") else []), f"--{option}", said.removeprefix("!").replace("-", ":")]


def _modules(leaves: Leaves) -> Iterator[Sequence[str]]:
    """Matches of modules that are for any protocol."""
    for end in ("src", "dst"):
        name = str(leaves.get(f"{end}-set", ""))
        inverted = ["!"] if name.startswith("!") else []
        if name.removeprefix("!") == OWN:
            yield ["-m", "addrtype", *inverted, f"--{end}-type", "LOCAL"]
        elif name:
            yield ["-m", "set", *inverted, "--match-set", name.removeprefix("!"), end]
    if "conntrack" in leaves:
        said_states = str(leaves["conntrack"]).split(",")
        yield ["-m", "conntrack", "--ctstate", ",".join(word for word in STATES if word in said_states)]
    if "limit" in leaves:
        yield ["-m", "limit", "--limit", rate(leaves["limit"])]
    if "limit-burst" in leaves:
        yield ["--limit-burst", str(leaves["limit-burst"])]
    if leaves.get("description"):
        yield ["-m", "comment", "--comment", quoted(leaves["description"])]


def _target(leaves: Leaves) -> Sequence[str]:
    action = leaves.get("action", "ACCEPT")
    if action == "REJECT":
        return ["-j", action, "--reject-with", answered(leaves)]
    if leaves.get("goto"):
        return ["-g", action]
    return ["-j", action, *(["--log-prefix", quoted(leaves["log-prefix"])] if "log-prefix" in leaves else [])]


def rate(limit: str) -> str:
    """5/minute as iptables lists it: 5/min."""
    return limit.replace("second", "sec").replace("minute", "min")


def answered(leaves: Leaves) -> str:
    """What a REJECT answers, by iptables' name."""
    wanted = leaves.get("reject-with", "").replace("PORT_UNREACHABLE", "")
    return next(word for word, answer in REJECT_WITH.items() if answer == wanted)


def _protocol(leaves: Leaves) -> str:
    said = leaves.get("l4proto")
    return "all" if said is None else _PROTOCOLS.get(said, str(said).lower())


def tcp_flags(text: str) -> tuple[str, str]:
    """'SYN,!ACK' as a mask and what must be set of it."""
    mask, value = flags_of(text)
    names = [[flag for bit, flag in enumerate(FLAGS) if bits >> bit & 1] for bits in (mask, value)]
    return ",".join(names[0]), ",".join(names[1]) or "NONE"


def quoted(text: str) -> str:
    """Quoted like iptables does, for a shell."""
    if text and set(text) <= _PLAIN:
        return text
    escaped = "".join(f"\\{letter}" if letter in "\"\\'" else letter for letter in text)
    return f'"{escaped}"'


def saved(chains: Sequence[Leaves], wanted: str | None, number: int | None = None) -> Iterator[str]:
    """The lines of -S: of all chains, of one, or of one of its rules."""
    some = [chain for chain in in_order(chains) if wanted in (None, chain["name"])]
    if number is None:
        for chain in some:
            own = chain["name"] not in BUILT_IN
            yield f"-N {chain['name']}" if own else f"-P {chain['name']} {chain.get('default', 'ACCEPT')}"
    for chain in some:
        for place, rule in enumerate(chain.get("rule", ()), 1):
            if number in (None, place):
                yield f"-A {chain['name']} {specification(rule)}"


def in_order(chains: Sequence[Leaves]) -> list[Leaves]:
    """Built-in chains first, those that are not written too; then the others by name."""
    named = {chain["name"]: chain for chain in chains}
    own = sorted(name for name in named if name not in BUILT_IN)
    return [named.get(name, {"name": name}) for name in (*BUILT_IN, *own)]


# -- as a table -------------------------------------------------------------------------------------------------------

Counts = Mapping[str, Mapping[str, tuple[int, int]]]
"""Packets and bytes by chain, and by rule's id or 'default'."""


def table(chains: Sequence[Leaves], wanted: str | None, counts: Counts, *, verbose: bool, numbers: bool) -> Iterator[str]:
    """The lines of -L; what is in `counts` is shown if it is requested."""
    led: dict[str, int] = {}
    for chain in chains:
        for rule in chain.get("rule", ()):
            led[rule.get("action", "ACCEPT")] = led.get(rule.get("action", "ACCEPT"), 0) + 1
    first = True
    for chain in in_order(chains):
        if wanted not in (None, chain["name"]):
            continue
        if not first:
            yield ""
        first = False
        yield _heading(chain, led, counts.get(chain["name"], {}), verbose)
        yield _columns(numbers, verbose)
        for place, rule in enumerate(chain.get("rule", ()), 1):
            yield _row(place, rule, counts.get(chain["name"], {}).get(str(rule["id"]), (0, 0)), numbers=numbers, verbose=verbose)


def _heading(chain: Leaves, led: Mapping[str, int], counts: Mapping[str, tuple[int, int]], verbose: bool) -> str:
    name = chain["name"]
    if name not in BUILT_IN:
        return f"Chain {name} ({led.get(name, 0)} references)"
    packets, size = counts.get("default", (0, 0))
    more = f" {short(packets)} packets, {short(size)} bytes" if verbose else ""
    return f"Chain {name} (policy {chain.get('default', 'ACCEPT')}{more})"


def _columns(numbers: bool, verbose: bool) -> str:
    start = f"{'num':<5}" if numbers else ""
    if verbose:
        return f"{start} pkts bytes target     prot opt in     out     source               destination         "
    return f"{start}target     prot opt source               destination         "


def _row(place: int, rule: Leaves, counted: tuple[int, int], *, numbers: bool, verbose: bool) -> str:
    start = f"{place:<5}" if numbers else ""
    ends = f"{_end(rule, 'src'):<20} {_end(rule, 'dst'):<20}"
    target = f"{rule.get('action', 'ACCEPT'):<10} {_protocol(rule):<4} --  "
    if verbose:
        start += f"{short(counted[0]):>5} {short(counted[1]):>5} "
        target += f"{_end(rule, 'in-iface', '*'):<6} {_end(rule, 'out-iface', '*'):<6}  "
    return f"{start}{target}{ends} {_details(rule)}".rstrip()


def _end(rule: Leaves, leaf: str, none: str = "0.0.0.0/0") -> str:
    return str(rule.get(leaf, none)).removesuffix("/32")


def _details(rule: Leaves) -> str:
    found = [_protocol(rule)] if "sport" in rule or "dport" in rule else []
    found += [f"{short}:{rule[leaf]}" for leaf, short in (("sport", "spt"), ("dport", "dpt")) if leaf in rule]
    found += [f"icmptype {rule['icmp-type']}"] if "icmp-type" in rule else []
    found += [f"flags:{rule['tcpflags']}"] if "tcpflags" in rule else []
    found += [f"match-set {rule[f'{end}-set']} {end}" for end in ("src", "dst") if f"{end}-set" in rule]
    found += [f"ctstate {rule['conntrack']}"] if "conntrack" in rule else []
    found += [f"limit: avg {rate(rule['limit'])} burst {rule.get('limit-burst', BURST)}"] if "limit" in rule else []
    found += ["[goto]"] if rule.get("goto") else []
    found += [f"LOG prefix {quoted(rule['log-prefix'])}"] if "log-prefix" in rule else []
    found += [f"reject-with {answered(rule)}"] if rule.get("action") == "REJECT" else []
    return " ".join([*found, *([f"/* {rule['description']} */"] if rule.get("description") else [])])


def short(count: int) -> str:
    """As iptables shortens numbers: 12345K, 12M."""
    if count < 100_000:
        return str(count)
    for unit in ("K", "M", "G", "T"):
        count = (count + 500) // 1000
        if count < 10_000:
            return f"{count}{unit}"
    return f"{count}T"
