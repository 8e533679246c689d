"""The real programs of a firewall to try packets on, one at a time.

    with Machine(lab, "fw") as machine:             # a lab with a firewall that is applied
        machine.load(config)                        # as an apply would, but without the rest of an apply
        machine.run("INGRESS", frame)               # "ACCEPT", "DROP" or "REJECT"
"""
from __future__ import annotations

import ctypes
import os
import struct
import time
from collections import Counter, defaultdict
from typing import Any

from cubes.firewall.epochs import head_in_force
from cubes.firewall.rules import CHAINS
from cubes.firewall.tuple_space import TUPLE
from cubes.lib.epochs import BANK_PAGES, INDEX, epoch_of, seated_none
from reconciler.engine.builder import Builder
from reconciler.kernel import bpf, maps, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.percpu import split_cpus, spread
from reconciler.model import BuildKey, family_of
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import TableRows
from reconciler.service.registry import Services
from tests.lib.lab import Lab

TC, XDP = {0xFFFFFFFF: "ACCEPT", 2: "DROP", 7: "REJECT"}, {2: "ACCEPT", 1: "DROP", 4: "REJECT"}
WAYS = {
    "TC": {"INGRESS": ("in/0_wire", TC), "EGRESS": ("out/1_inner", TC)},
    "XDP": {"INGRESS": ("in/0_wire", XDP), "EGRESS": ("twin/out/1_inner", TC)},
}
"""How packets enter a firewall on a netdev, and what its programs' verdicts mean; XDP has no hook on the way out."""
STATES = {"connections", "streams", "openings", "fragments", "allowances"}
DEVICES = {"INGRESS": "v1", "EGRESS": ""}
"""By which netdev a packet that meets a chain came to this host; the lab's own stack sends those that go out."""


class Machine:
    """The programs of a live firewall cube, run on one frame at a time, and its tables written directly."""

    def __init__(self, lab: Lab, cube: str) -> None:
        self.home, self.root = f"cubes/{cube}", Bpffs(lab.root)
        service = Services().get("firewall")
        assert service is not None
        self.family = family = family_of(lab.hook)
        self.service = service
        self.layouts = Builder(Services()).ensure([key := BuildKey("firewall", family)])[key].tables
        self.rows: dict[str, dict[bytes, bytes]] = {}
        self.fds = {name: self.root.open(f"{self.home}/tables/{name}") for name in self._names()}
        self.drops = self.root.open(f"{self.home}/drops")
        self.netdevs = {name: link.index for name, link in rtnl.links().items()}
        self.runs = self._entries()

    def _entries(self) -> dict[str, tuple[Run, dict[int, str]]]:
        found = {}
        for chain, (stub, words) in WAYS[self.family].items():
            run = Run(self.root.open(f"{self.home}/{stub}"), self.netdevs.get(DEVICES[chain], 0), xdp=words is XDP)
            found[chain] = run, words
        return found

    def _names(self) -> list[str]:
        return [*self.service.rows({}, self.layouts, Env()), *STATES, "decided"]

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

    def learned(self, name: str) -> dict[bytes, bytes]:
        """What is in a table that the programs write."""
        return self._read(name)

    def load(self, config: dict[str, Any]) -> int:
        """Go over to a configuration; gives how many rows were written or deleted."""
        wanted = self.service.rows(config, self.layouts, Env(live=self.rows, facts={"netdevs": {name: {"index": index} for name, index in self.netdevs.items()}}))
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
                maps.delete_many(self.fds[name], self._spec(name), doomed)
            self.rows[name] = {key: row for key, row in {**self.rows[name], **rows.rows}.items() if key in rows.rows}
        return changed

    def _own(self, name: str, rows: TableRows) -> dict[bytes, bytes]:
        found = self.rows[name]
        return {key: row for key, row in found.items() if any(row)} if rows.sparse else found

    def _write(self, name: str, rows: TableRows) -> int:
        spec, counted = self._spec(name), not any(rows.mask)
        new = {key: row for key, row in rows.rows.items() if (key not in self.rows[name] if counted else self.rows[name].get(key) != row)}
        maps.update_many(self.fds[name], spec, {key: spread(spec, row) for key, row in new.items()})
        return len(new)

    def forget(self) -> None:
        """No connections, no fragments, and all counters at zero."""
        for name in STATES:
            maps.delete_many(self.fds[name], self._spec(name), list(maps.keys(self.fds[name], self._spec(name))))
        spec = self._spec("counters")
        maps.update_many(self.fds["counters"], spec, {key: bytes(spec.value_bytes) for key in self.rows["counters"]})
        spec = self._spec("decided")
        maps.update_many(self.fds["decided"], spec, {struct.pack("=I", index): bytes(spec.value_bytes) for index in range(4)})

    def damage(self) -> None:
        """Take half of the cells away, without telling anybody."""
        for name in ("cells4", "cells6"):
            maps.delete_many(self.fds[name], self._spec(name), list(self.rows[name])[::2])
            self.rows[name] = self._read(name)

    def device(self, chain: str) -> str:
        return DEVICES[chain]

    def run(self, chain: str, frame: bytes) -> str:
        program, words = self.runs[chain]
        return words[program.once(frame)]

    def hits(self) -> dict[tuple[str, str], int]:
        """Packets that each rule (and the default) decided on, by chain and id."""
        return {(chain["name"], each["id"]): each["pkts"] for chain in self.state()["chain"] for each in chain["stats"]}

    def malformed(self) -> int:
        """How many frames were dropped as malformed."""
        return self._dropped(4)

    def too_deep(self) -> int:
        """How many frames were dropped because they needed more than a packet may."""
        return self._dropped(8)

    def _dropped(self, reason: int) -> int:
        spec = maps.info(self.drops).spec
        row = maps.lookup(self.drops, spec, struct.pack("<I", reason))
        assert row is not None
        return sum(struct.unpack(f"<{len(row) // 8}Q", row))

    def lookups(self) -> dict[tuple[str, int], int]:
        """Look-ups that no packet's search exceeds, by chain and family, with what the last edit left behind."""
        head, found = head_in_force(self.rows), {}
        for family, place in ((4, 0), (6, 1)):
            longest: dict[bytes, int] = defaultdict(lambda: 1)
            for key, seats in Counter(map(seated_none, self.rows[f"cells{family}"])).items():
                longest[key[:8]] = max(seats, longest[key[:8]])
            size = TUPLE[family].size
            for name, chain in CHAINS.items() if head else ():
                first = (chain * 2 + (epoch_of(self.rows) & 1)) * BANK_PAGES
                listed = b"".join(self.rows[f"pages{family}"].get(INDEX.pack(page), b"") for page in range(first, first + BANK_PAGES))
                tuples = [listed[at : at + size] for at in range(0, head.counts[chain][place] * size, size)]
                found[name, family] = sum(longest[each[8:12] + each[-4:]] for each in tuples)
        return found

    def state(self, *, settled: bool = False) -> dict[str, Any]:
        """What `pcn show --state` would print of the cube; with `settled`, as if it had no table of unsettled connections."""
        rows = {name: {} if settled and name == "openings" else self._read(name) for name in self._names()}
        return self.service.config(rows, self.layouts, Env(now=int(time.monotonic())), state=True)


def _sum(spec: maps.MapSpec, row: bytes) -> bytes:
    parts = [struct.unpack(f"<{len(part) // 8}Q", part) for part in split_cpus(spec, row)]
    return struct.pack(f"<{len(parts[0])}Q", *map(sum, zip(*parts, strict=True)))


class Run:
    """BPF_PROG_TEST_RUN with everything prepared: a million packets are a matter of seconds."""

    def __init__(self, fd: int, device: int = 0, *, xdp: bool = False) -> None:
        """`device`: index of the netdev that the packets come by; 0: by none."""
        self.fd, self._device, self._xdp = fd, device, xdp
        self._data, self._out = ctypes.create_string_buffer(2048), ctypes.create_string_buffer(2304)
        self._attributes, self._context = ctypes.create_string_buffer(80), ctypes.create_string_buffer(44)
        self._pointers = ctypes.addressof(self._data), ctypes.addressof(self._out)
        struct.pack_into("<I", self._context, 12 if xdp else 36, device)  # ingress_ifindex of xdp_md, of __sk_buff

    def once(self, frame: bytes, repeat: int = 1) -> int:
        ctypes.memmove(self._data, frame, len(frame))
        struct.pack_into("<IIIIQQII", self._attributes, 0, self.fd, 0, len(frame), 2304, *self._pointers, repeat, 0)
        if self._device:
            size = 24 if self._xdp else 44
            if self._xdp:
                struct.pack_into("<I", self._context, 4, len(frame))  # data_end
            struct.pack_into("<IIQ", self._attributes, 40, size, 0, ctypes.addressof(self._context))
        bpf.bpf(bpf.PROG_TEST_RUN, self._attributes)
        verdict: int = struct.unpack_from("<I", self._attributes, 4)[0]
        return verdict

    def time(self, frame: bytes, repeat: int) -> int:
        """Nanoseconds a run."""
        self.once(frame, repeat)
        nanoseconds: int = struct.unpack_from("<I", self._attributes, 36)[0]
        return nanoseconds
