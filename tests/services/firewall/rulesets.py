"""Rule sets that nobody thought of. Everything follows from the seed of the `random.Random` that is given."""
from __future__ import annotations

import ipaddress
import random
from typing import Any

from cubes.lib.answers import ANSWERS

NEVER_REACHED = 4_000_000_000  # packets a second: the rule is dealt with as a limited one, and always matches


def rule_set(rng: random.Random, size: int, *, tracked: bool = True, style: Style | None = None) -> dict[str, Any]:
    """The leaves of a firewall with so many rules in all, of a kind of its own: few or many addresses, ports, families."""
    style = style or Style(rng)
    split = rng.randint(0, size) if rng.random() < 0.5 else size
    chains = [
        {"name": name, "default": rng.choice(style.actions), "rule": style.rules(count, tracked)}
        for name, count in (("INGRESS", split), ("EGRESS", size - split))
    ]
    rng.shuffle(chains)
    modes = {"conntrack": "ON", "accept-established": rng.choice(["ON", "OFF"])} if tracked else {"conntrack": "OFF"}
    return {**modes, **style.written_sets(), "chain": chains}


class Style:
    """How the rules of a set look; packets are made in the same style, or they would match nothing."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.answers, self.senders = rng, random.Random(0), random.Random()
        self.senders.setstate(rng.getstate())  # what the model got later, and does not change what there was
        self.families = rng.choice([(4,), (4, 6), (6,), (4, 4, 6)])
        self.lengths = {4: rng.choice([(32,), (8, 16, 24, 32), tuple(range(33)), (24, 32)]),
                        6: rng.choice([(128,), (32, 48, 64, 128), tuple(range(0, 129, 4)), (64, 128)])}  # fmt: skip
        self.spread = rng.choice([2, 8, 200])
        self.ports = rng.choice([(22, 53, 80, 443), tuple(range(1, 200)), (0, 1023, 1024, 65535)])
        self.ranges, self.wild = rng.choice([0, 0.3, 0.9]), rng.choice([0.1, 0.5, 0.8])
        self.protos = rng.choice([("TCP",), ("TCP", "UDP"), ("TCP", "UDP", "ICMP", "ICMPV6", "SCTP", "GRE", 89), ("ICMP", "ICMPV6")])
        self.logs = rng.choice([0, 3]) * (10 if self.spread == 2 else 1)  # many on one packet's way, if there are few addresses
        self.lists = rng.choice([0, 0, 0.3])
        self.sets = [f"s{number}" for number in range(rng.choice([0, 0, 1, 3, 40]))]
        self.actions = rng.choice([("ACCEPT", "DROP"), ("ACCEPT", "DROP", "REJECT")])
        self.stations = [f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1, self.senders.choice([1, 1, 3, 300]))]

    def written_sets(self) -> dict[str, Any]:
        found = [{"name": name, "prefix": self.prefixes(self.rng.choice([0, 1, 5, 30]))} for name in self.sets]
        return {"set": found} if found else {}

    def prefixes(self, count: int) -> list[str]:
        """Addresses and prefixes, some of them within others."""
        found = []
        for _ in range(count):
            family = self.rng.choice((4, 6))
            length = self.rng.choice([*self.lengths[family], {4: 32, 6: 128}[family], {4: 32, 6: 128}[family], self.rng.randrange(33)])
            network = ipaddress.ip_network((self.address(family), length), strict=False)
            found.append(str(network.network_address if length == network.max_prefixlen else network))
        return list(dict.fromkeys(found))

    def rules(self, count: int, tracked: bool) -> list[dict[str, Any]]:
        step = self.rng.choice([1, 10])
        found = [self.rule(tracked) for _ in range(count)]
        for place in self.rng.sample(range(count), min(count, self.logs)):
            found[place] = {**found[place], "action": "LOG"}
            found[place].pop("reject-with", None)
        return [{"id": place * step, **rule} for place, rule in enumerate(found)]

    def rule(self, tracked: bool) -> dict[str, Any]:
        rng, family, rule = self.rng, self.rng.choice(self.families), {}
        proto = rng.choice(self.protos) if rng.random() > self.wild / 2 else None
        family = {"ICMP": 4, "ICMPV6": 6}.get(str(proto), family)
        for leaf in ("src", "dst"):
            if rng.random() > self.wild:
                length = rng.choice(self.lengths[family])
                network = ipaddress.ip_network((self.address(family), length), strict=False)
                whole = length == network.max_prefixlen and rng.random() < 0.5
                rule[leaf] = str(network.network_address) if whole else str(network)
        rule |= self.named_sets()
        rule |= self.addresses(family) if rng.random() < self.lists else {}
        if proto is not None:
            rule["l4proto"] = proto
        if proto in ("TCP", "UDP", "SCTP"):
            for leaf in ("sport", "dport"):
                if rng.random() > self.wild:
                    rule[leaf] = self.port_or_range()
        if proto in ("ICMP", "ICMPV6") and rng.random() < 0.6:
            kind, code = rng.choice([0, 3, 8, 11, 13] if proto == "ICMP" else [1, 3, 128, 129, 135]), rng.choice([0, 0, 1, 4])
            rule["icmp-type"] = kind if rng.random() < 0.6 else f"{kind}/{code}"
        if proto == "TCP" and rng.random() < 0.2:
            flags = rng.sample(["FIN", "SYN", "RST", "PSH", "ACK", "URG"], rng.randint(1, 3))
            rule["tcpflags"] = ",".join(rng.choice(["", "!"]) + flag for flag in flags)
        if tracked and rng.random() < 0.2:
            states = ["NEW", "ESTABLISHED", "RELATED", "INVALID"]
            rule["conntrack"] = ",".join(rng.sample(states, rng.randrange(1, 4) if rng.random() < self.lists else 1))
        if rng.random() < 0.05:
            rule["in-interface"] = rng.choice(["v1", "v2"])
        if rng.random() < 0.05:
            rule["limit"] = NEVER_REACHED
        return rule | self.sender() | self.what_it_does(proto)

    def what_it_does(self, proto: str | int | None) -> dict[str, str]:
        action = self.rng.choice(self.actions)
        if action == "REJECT" and self.answers.random() < 0.4:
            return {"action": action, "reject-with": self.answers.choice(ANSWERS[2 - (proto == "TCP") :])}
        return {"action": action}

    def sender(self) -> dict[str, str]:
        if not self.stations or self.senders.random() > 0.4:
            return {}
        return {"smac": self.senders.choice(["", "", "", "!"]) + self.senders.choice(self.stations)}

    def addresses(self, family: int) -> dict[str, str]:
        """A list of addresses, prefixes and ranges, some with '!'."""
        def one() -> str:
            low = self.address(family)
            kind = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
            if self.rng.random() < 0.4:
                return f"{kind(low)}-{kind(low + self.rng.randrange(9))}"
            return str(ipaddress.ip_network((low, self.rng.choice(self.lengths[family])), strict=False))

        text = ",".join(one() for _ in range(self.rng.choice([1, 2, 3])))
        return {self.rng.choice(["src", "dst"]): self.rng.choice(["", "", "!"]) + text}

    def named_sets(self) -> dict[str, str]:
        rng = self.rng
        return {leaf: rng.choice(["", "", "!"]) + rng.choice(self.sets) for leaf in ("src-set", "dst-set") if self.sets and rng.random() < 0.4}

    def port_or_range(self) -> int | str:
        low = self.rng.choice(self.ports)
        if self.rng.random() < self.lists:
            ports = ",".join(str(port) for port in self.rng.sample(self.ports, self.rng.randrange(1, 4)))
            text = self.rng.choice(["", "", "!"]) + ports + self.rng.choice(["", ",2000-2999"])
            return int(text) if text.isdecimal() else text
        if self.rng.random() < self.ranges:
            high = min(65535, low + self.rng.choice([1, 3, 15, 100, 5000, 65535]))
            if high > low:
                return f"{low}-{high}"
        return low

    def address(self, family: int) -> int:
        low = self.rng.randrange(self.spread)
        if self.rng.random() < 0.2:
            low = self.rng.getrandbits(16)
        if family == 4:
            return 0x0A000000 | (low % 7) << 16 | low
        return 0x20010DB8 << 96 | (low % 5) << 64 | low
