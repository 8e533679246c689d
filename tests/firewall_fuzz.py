"""Rule sets and packets nobody thought of, and the real programs to try them on.

    with Machine(lab, "fw") as machine:             # a lab with a firewall that is applied
        machine.load(config)                        # as an apply would, but without the rest of an apply
        machine.run("INGRESS", frame)               # "ACCEPT", "DROP" or "MALFORMED"

Everything follows from the seed of the `random.Random` that is given.
"""
from __future__ import annotations

import ctypes
import ipaddress
import os
import random
import struct
import time
from collections.abc import Sequence
from typing import Any

from reconciler.kernel import bpf, maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.service import Services
from reconciler.service.codec import Env
from reconciler.service.rows import TableRows
from reconciler.survey import Builder
from tests.conformance.lab import Lab
from tests.firewall_model import Model

TC, XDP = {0xFFFFFFFF: "ACCEPT", 2: "DROP", 7: "REJECT"}, {2: "ACCEPT", 1: "DROP", 4: "REJECT"}
WAYS = {
    "TC": {"INGRESS": ("in/0_wire", TC), "EGRESS": ("out/1_inner", TC)},
    "XDP": {"INGRESS": ("in/0_wire", XDP), "EGRESS": ("twin/out/1_inner", TC)},
}
"""How packets enter a firewall on a netdev, and what its programs' verdicts mean; XDP has no hook on the way out."""
STATES = {"connections", "openings", "fragments", "allowances"}


class Machine:
    """The programs of a live firewall cube, run on one frame at a time, and its tables written directly."""

    def __init__(self, lab: Lab, cube: str) -> None:
        self.home, self.root = f"cubes/{cube}", Bpffs(lab.root)
        service = Services().get("firewall")
        assert service is not None
        family = "TC" if lab.hook == "TC" else "XDP"
        self.service = service
        self.layouts = Builder(Services()).ensure([("firewall", family)])["firewall", family].tables
        self.rows: dict[str, dict[bytes, bytes]] = {}
        self.fds = {name: self.root.open(f"{self.home}/tables/{name}") for name in self._names()}
        self.runs = {chain: (Run(self.root.open(f"{self.home}/{stub}")), words) for chain, (stub, words) in WAYS[family].items()}
        self.drops = self.root.open(f"{self.home}/drops")

    def _names(self) -> list[str]:
        return [*self.service.rows({}, self.layouts, Env()), *STATES]

    def __enter__(self) -> Machine:
        for name in self._names():
            self.rows[name] = self._read(name)
        return self

    def __exit__(self, *_: object) -> None:
        for fd in [*self.fds.values(), self.drops, *(run.fd for run, _ in self.runs.values())]:
            os.close(fd)

    def _spec(self, name: str) -> maps.MapSpec:
        return maps.info(self.fds[name]).spec

    def _read(self, name: str) -> dict[bytes, bytes]:
        spec = self._spec(name)
        rows = maps.rows(self.fds[name], spec)
        return {key: _sum(spec, row) for key, row in rows.items()} if spec.type in maps.PER_CPU else rows

    def load(self, config: dict[str, Any]) -> int:
        """Go over to a configuration; gives how many rows were written or deleted."""
        wanted = self.service.rows(config, self.layouts, Env(live=self.rows))
        changed = 0
        for name, rows in wanted.items():
            if rows.staged:
                changed += self._write(name, rows)
        changed += self._write("epoch", wanted["epoch"])
        for name, rows in wanted.items():
            doomed = [key for key in self._own(name, rows) if key not in rows.rows]
            changed += len(doomed)
            if rows.sparse:
                maps.update_many(self.fds[name], self._spec(name), {key: bytes(len(self.rows[name][key])) for key in doomed})
            else:
                maps.delete_many(self.fds[name], doomed)
            self.rows[name] = {key: row for key, row in {**self.rows[name], **rows.rows}.items() if key in rows.rows}
        return changed

    def _own(self, name: str, rows: TableRows) -> dict[bytes, bytes]:
        found = self.rows[name]
        return {key: row for key, row in found.items() if any(row)} if rows.sparse else found

    def _write(self, name: str, rows: TableRows) -> int:
        spec, counted = self._spec(name), not any(rows.mask)
        new = {key: row for key, row in rows.rows.items() if (key not in self.rows[name] if counted else self.rows[name].get(key) != row)}
        maps.update_many(self.fds[name], spec, {key: maps.spread(spec, row) for key, row in new.items()})
        return len(new)

    def forget(self) -> None:
        """No connections, no fragments, and all counters at zero."""
        for name in STATES:
            maps.delete_many(self.fds[name], list(maps.keys(self.fds[name], self._spec(name))))
        spec = self._spec("counters")
        maps.update_many(self.fds["counters"], spec, {key: bytes(spec.value_bytes) for key in self.rows["counters"]})

    def damage(self) -> None:
        """Take half of the cells away, without telling anybody."""
        for name in ("cells4", "cells6"):
            maps.delete_many(self.fds[name], list(self.rows[name])[::2])
            self.rows[name] = self._read(name)

    def run(self, chain: str, frame: bytes) -> str:
        program, words = self.runs[chain]
        return words[program.once(frame)]

    def malformed(self) -> int:
        """How many frames were dropped as malformed."""
        spec = maps.info(self.drops).spec
        row = maps.lookup(self.drops, spec, struct.pack("<I", 4))
        assert row is not None
        return sum(struct.unpack(f"<{len(row) // 8}Q", row))

    def state(self) -> dict[str, Any]:
        """What `pcn show --state` would print of the cube."""
        rows = {name: self._read(name) for name in self._names()}
        return self.service.config(rows, self.layouts, Env(now=int(time.monotonic())), state=True)


def _sum(spec: maps.MapSpec, row: bytes) -> bytes:
    parts = [struct.unpack(f"<{len(part) // 8}Q", part) for part in maps.split_cpus(spec, row)]
    return struct.pack(f"<{len(parts[0])}Q", *map(sum, zip(*parts, strict=True)))


class Run:
    """BPF_PROG_TEST_RUN with everything prepared: a million packets are a matter of seconds."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._data, self._out = ctypes.create_string_buffer(2048), ctypes.create_string_buffer(2304)
        self._attributes = ctypes.create_string_buffer(80)
        self._pointers = ctypes.addressof(self._data), ctypes.addressof(self._out)

    def once(self, frame: bytes, repeat: int = 1) -> int:
        ctypes.memmove(self._data, frame, len(frame))
        struct.pack_into("<IIIIQQII", self._attributes, 0, self.fd, 0, len(frame), 2304, *self._pointers, repeat, 0)
        bpf.bpf(bpf.PROG_TEST_RUN, self._attributes)
        verdict: int = struct.unpack_from("<I", self._attributes, 4)[0]
        return verdict

    def time(self, frame: bytes, repeat: int) -> int:
        """Nanoseconds a run."""
        self.once(frame, repeat)
        nanoseconds: int = struct.unpack_from("<I", self._attributes, 36)[0]
        return nanoseconds


# -- rule sets ----------------------------------------------------------------------------------------------------------


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
    return {**modes, "chain": chains}


class Style:
    """How the rules of a set look; packets are made in the same style, or they would match nothing."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.families = rng.choice([(4,), (4, 6), (6,), (4, 4, 6)])
        self.lengths = {4: rng.choice([(32,), (8, 16, 24, 32), tuple(range(33)), (24, 32)]),
                        6: rng.choice([(128,), (32, 48, 64, 128), tuple(range(0, 129, 4)), (64, 128)])}  # fmt: skip
        self.spread = rng.choice([2, 8, 200])
        self.ports = rng.choice([(22, 53, 80, 443), tuple(range(1, 200)), (0, 1023, 1024, 65535)])
        self.ranges, self.wild = rng.choice([0, 0.3, 0.9]), rng.choice([0.1, 0.5, 0.8])
        self.protos = rng.choice([("TCP",), ("TCP", "UDP"), ("TCP", "UDP", "ICMP", "ICMPV6", "SCTP", "GRE", 89)])
        self.logs = rng.choice([0, 3])
        self.actions = rng.choice([("ACCEPT", "DROP"), ("ACCEPT", "DROP", "REJECT")])

    def rules(self, count: int, tracked: bool) -> list[dict[str, Any]]:
        step = self.rng.choice([1, 10])
        found = [self.rule(tracked) for _ in range(count)]
        for place in self.rng.sample(range(count), min(count, self.logs)):
            found[place]["action"] = "LOG"
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
        if proto is not None:
            rule["l4proto"] = proto
        if proto in ("TCP", "UDP", "SCTP"):
            for leaf in ("sport", "dport"):
                if rng.random() > self.wild:
                    rule[leaf] = self.port_or_range()
        if proto == "TCP" and rng.random() < 0.2:
            flags = rng.sample(["FIN", "SYN", "RST", "PSH", "ACK", "URG"], rng.randint(1, 3))
            rule["tcpflags"] = ",".join(rng.choice(["", "!"]) + flag for flag in flags)
        if tracked and rng.random() < 0.2:
            rule["conntrack"] = rng.choice(["NEW", "ESTABLISHED", "RELATED", "INVALID"])
        rule["action"] = rng.choice(self.actions)
        return rule

    def port_or_range(self) -> int | str:
        low = self.rng.choice(self.ports)
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


# -- frames -------------------------------------------------------------------------------------------------------------

MACS = bytes.fromhex("020000000002020000000001")
NUMBERS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPV6": 58, "SCTP": 132, "GRE": 47}


def frames(rng: random.Random, style: Style, count: int) -> list[tuple[str, bytes]]:
    """(chain, frame) of a conversation: many are answers to earlier ones."""
    found: list[tuple[str, bytes]] = []
    talks: list[tuple[int, int, int, int, int, int]] = []
    for _ in range(count):
        chain = rng.choice(["INGRESS", "EGRESS"])
        if talks and rng.random() < 0.5:
            talk = rng.choice(talks)
            if rng.random() < 0.5:
                family, proto, src, dst, sport, dport = talk
                talk = family, proto, dst, src, dport, sport
        else:
            family = rng.choice(style.families)
            proto = NUMBERS.get(str(rng.choice(style.protos)), 89)
            proto = {1: 58, 58: 1}.get(proto, proto) if (proto, family) in ((1, 6), (58, 4)) else proto
            ports = [rng.choice(style.ports) + rng.choice([0, 0, 0, 1]) & 65535 for _ in range(2)]
            talk = family, proto, style.address(family), style.address(family), ports[0], ports[1]
            talks.append(talk)
        found.append((chain, frame_of(rng, talk, talks)))
    return found


def frame_of(rng: random.Random, talk: tuple[int, int, int, int, int, int], talks: Sequence[Any] = ()) -> bytes:
    family, proto, src, dst, sport, dport = talk
    body = payload(rng, family, proto, sport, dport)
    if proto in (1, 58) and talks and rng.random() < 0.3:
        body = error_about(rng, family, rng.choice(talks))
    odd = rng.random()
    if family == 4:
        packet = ipv4(proto, src, dst, body, rng if odd < 0.1 else None)
    else:
        packet = ipv6(proto, src, dst, body, rng if odd < 0.1 else None)
    kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
    tags = b"".join(rng.choice([b"\x81\x00", b"\x88\xa8"]) + struct.pack("!H", rng.getrandbits(12)) for _ in range(rng.choice([0] * 20 + [1, 2, 3])))
    frame = MACS + tags + kind + packet
    if rng.random() < 0.01:
        frame = frame[: rng.randint(34 if family == 4 else 54, len(frame))]  # the kernel runs nothing on less
    return frame


def payload(rng: random.Random, family: int, proto: int, sport: int, dport: int) -> bytes:
    if proto == 6:
        flags = rng.choice([2, 18, 16, 16, 24, 17, 4, 20, rng.getrandbits(8)])
        return struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1024, 0, 0)
    if proto in (17, 132):
        return struct.pack("!HHHH", sport, dport, 8, 0) + bytes(8)
    if proto in (1, 58):
        kinds = ([8, 0, 8, 0, 13] if proto == 1 else [128, 129, 128, 129, 135]) if (proto == 1) == (family == 4) else [8]
        return struct.pack("!BBHHH", rng.choice(kinds), 0, 0, sport, 1)
    return bytes(16)


def error_about(rng: random.Random, family: int, talk: tuple[int, int, int, int, int, int]) -> bytes:
    quoted_family, proto, src, dst, sport, dport = talk
    inner = payload(rng, quoted_family, proto, sport, dport)
    quoted = ipv4(proto, src, dst, inner, None) if quoted_family == 4 else ipv6(proto, src, dst, inner, None)
    quoted = quoted[: rng.choice([28, 48, 60, 60, 60, 60, 10])]
    return struct.pack("!BBHI", rng.choice([3, 11]) if family == 4 else rng.choice([1, 3]), 0, 0, 0) + quoted


def ipv4(proto: int, src: int, dst: int, body: bytes, odd: random.Random | None) -> bytes:
    options, place, number = b"", 0, 7
    if odd is not None:
        options = bytes(4 * odd.choice([0, 0, 1, 10]))
        place, number = odd.choice([0, 0x2000, 0x2000, 1, 100, 100 | 0x2000]), odd.choice([1, 2])
    head = struct.pack("!BBHHHBBHII", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), number, place, 64, proto, 0, src, dst)
    return head + options + body


def ipv6(proto: int, src: int, dst: int, body: bytes, odd: random.Random | None) -> bytes:
    kinds = odd.choices([0, 43, 60, 44, 135], k=odd.choice([0, 1, 2, 3, 7, 8, 9])) if odd is not None else []
    chain = [*kinds, proto]
    extensions = b""
    for place, kind in enumerate(kinds):
        following = chain[place + 1]
        if kind == 44:
            offset = odd.choice([0, 0, 0, 1, 800]) if odd is not None else 0
            extensions += struct.pack("!BBHI", following, 0, offset, 5)
        else:
            longer = odd.choice([0, 0, 1]) if odd is not None else 0
            extensions += bytes([following, longer]) + bytes(6 + 8 * longer)
    head = struct.pack("!IHBB", 6 << 28, len(extensions) + len(body), chain[0], 64) + src.to_bytes(16, "big") + dst.to_bytes(16, "big")
    return head + extensions + body


# -- the comparison -----------------------------------------------------------------------------------------------------


ALLOWED = {"ACCEPT": {"ACCEPT"}, "DROP": {"DROP"}, "MALFORMED": {"DROP"}, "REJECT": {"DROP", "REJECT"}}
"""What a program may say where the model says this: not every packet that is rejected gets an answer."""


def differences(machine: Machine, seed: float, size: int, packets: int, *, damage: bool = False) -> list[str]:
    """Where the programs and the model disagree about random packets under a random rule set, in words; with `damage`, after
    half of the cells were taken out of the tables."""
    rng = random.Random(seed)
    tracked = rng.random() < 0.7
    style = Style(rng)
    config = rule_set(rng, size, tracked=tracked, style=style)
    machine.load(config)
    machine.forget()
    if damage:
        machine.damage()
    model, found = Model(config), []
    refused = machine.malformed()
    for number, (chain, frame) in enumerate(frames(rng, style, packets)):
        wanted = model.judge(chain, frame)
        refused += wanted == "MALFORMED"
        verdict = machine.run(chain, frame)
        if verdict not in ALLOWED[wanted]:
            found.append(f"{chain} packet {number} {frame.hex()}: {verdict}, the model says {wanted}")
    if machine.malformed() != refused:
        found.append(f"{machine.malformed() - refused} more are malformed than the model says")
    state = machine.state()
    for chain in state.get("chain", ()):
        for entry in chain["stats"]:
            counter = model.counters[chain["name"], int(entry["id"]) if entry["id"].isdigit() else entry["id"]]
            if (entry["pkts"], entry["bytes"]) != (counter.packets, counter.bytes):
                found.append(f"{chain['name']} {entry}: the model says {counter}")
    return found + sorted(_sessions(state) ^ _talks(model))


_NAMES = {number: name for name, number in NUMBERS.items()}


def _sessions(state: dict[str, Any]) -> set[str]:
    return {
        f"{s['l4proto']} {s['src']} {s['sport']} {s['dst']} {s['dport']} {s['state']}" for s in state["session-table"]
    }  # fmt: skip


def _talks(model: Model) -> set[str]:
    found = set()
    for (proto, ends), talk in model.connections.items():
        src, sport = talk.opener
        dst, dport = next((end for end in ends if end != talk.opener), talk.opener)
        state = {"ANSWERED": "ESTABLISHED"}.get(talk.state, talk.state)
        found.add(f"{_NAMES.get(proto, proto)} {src} {sport} {dst} {dport} {state}")
    return found
