"""Perform the operations on programs: load, link and publish them."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from reconciler.errors import KernelError, VerifierError
from reconciler.kernel import link_values, maps, programs
from reconciler.link import trampoline
from reconciler.live.execute.opened import Opened, Performers
from reconciler.live.link_inputs import member
from reconciler.live.load import TYPES, frozen, load, load_cube
from reconciler.live.prefetch import Prefetcher
from reconciler.plan.operations import ClearSlot, KeepProgram, LoadChain, LoadProgram, LoadStub, RecordGeneration, SetSlot

_ARRIVAL = "shared/arrival"
_CALLS = maps.MapSpec(maps.PROG_ARRAY, 4, 4, 64, 0)


class Programs:
    """`objects` are the compiled objects by digest, `ahead` has prefetched programs. `warnings` collects deviations from the
    plan."""

    def __init__(self, opened: Opened, objects: Mapping[str, Any], ahead: Prefetcher, warnings: list[str]) -> None:
        self._opened, self._root, self._objects, self._ahead = opened, opened.root, objects, ahead
        self._warnings = warnings

    def performers(self) -> Performers:
        return {
            LoadProgram: self._load_program,
            KeepProgram: self._keep_program,
            RecordGeneration: self._record_generation,
            LoadStub: self._load_stub,
            LoadChain: self._load_chain,
            SetSlot: lambda do: set_slot(self._opened, do.path, do.index, do.program),
            ClearSlot: lambda do: clear_slot(self._opened, do.path, do.index),
        }

    def _load_program(self, do: LoadProgram) -> None:
        loaded = self._ahead.take(do.path)
        if loaded is None:
            pins = do.maps.items()
            descriptors = {symbol: self._opened.fd(pin) if pin else self._calls(do.calls) for symbol, pin in pins}
            loaded = load_cube(self._objects[do.object], descriptors, do.constants, do.name)
        try:
            if loaded.constants >= 0:
                self._opened.keep(loaded.constants, f"{do.path}_const")
        except KernelError:
            os.close(loaded.program)
            raise
        self._opened.keep(loaded.program, do.path)
        self._callable(do.calls, do.row, do.path)

    def _callable(self, calls: str, row: int, path: str) -> None:
        if calls:
            self._calls(calls)
            set_slot(self._opened, calls, row, path)

    def _calls(self, path: str) -> int:
        if not self._root.exists(path):
            self._opened.replace(maps.create(_CALLS, "calls"), path)
        return self._opened.fd(path)

    def _keep_program(self, do: KeepProgram) -> None:
        for suffix in ("", "_const"):
            if self._root.exists(do.source + suffix):
                self._opened.keep(self._root.open(do.source + suffix), do.path + suffix)
        self._callable(do.calls, do.row, do.path)

    def _record_generation(self, do: RecordGeneration) -> None:
        said = {name: self._said(f"{do.path}/{name}", digest, do.called.get(name, "")) for name, digest in do.objects.items()}
        self._root.set_link(f"{do.path}/about", link_values.packed({"programs": said}))

    def _said(self, path: str, digest: str, calls: str) -> dict[str, str]:
        return {"object": digest, "tag": programs.info(self._opened.fd(path)).tag, "calls": calls}

    def _load_chain(self, do: LoadChain) -> None:
        """Link cubes to one program. Their constants are in one map, which begins with the chain's digest: the program holds
        it, so that its inputs can be read back. If the verifier rejects the chain though it accepted each cube, a stub that
        holds the map is loaded instead, and the cubes use hops."""
        objects = [self._objects[part.object] for part in do.parts]
        constants = [bytes.fromhex(do.chain), *(part.constants for part in do.parts)]
        bases = accumulate(map(len, constants))
        mark = frozen(b"".join(constants), "chain")
        try:
            members = []
            for part, compiled, base in zip(do.parts, objects, bases, strict=False):
                descriptors = {symbol: self._opened.fd(pin) for symbol, pin in part.maps.items()} | {"": mark}
                members.append(member(compiled, descriptors, base=base, port=part.port, row=part.row))
            try:
                fd = load(members, objects, do.flavour, f"chain_{do.port}", mark=mark)
            except VerifierError as error:
                cubes = ", ".join(part.cube for part in do.parts)
                self._warnings.append(f"{cubes} go by hops, for the verifier refused them as one program:\n{error.detail}")
                fd = self._stub(do, f"apart_{do.port}", mark)
        finally:
            os.close(mark)
        self._opened.replace(fd, do.path)

    def _load_stub(self, do: LoadStub) -> None:
        self._opened.replace(self._stub(do, f"stub_{do.port}"), do.path)  # who holds an old one goes on with it

    def _stub(self, do: LoadStub, name: str, mark: int = -1) -> int:
        to = self._opened.fd(do.entry)
        if do.flavour == "TC":
            code = trampoline.tc(do.port, to, do.row, mark)
        else:
            code = trampoline.xdp(do.port, to, do.row, self._opened.fd(_ARRIVAL), mark)
        return programs.load(code, TYPES[do.flavour], name)


def set_slot(opened: Opened, path: str, index: int, program: str) -> None:
    maps.update(opened.fd(path), struct.pack("<I", index), struct.pack("<I", opened.fd(program)))


def clear_slot(opened: Opened, path: str, index: int) -> None:
    maps.delete(opened.fd(path), struct.pack("<I", index))
