"""The programs at both ends of a measurement, and those that a contender has written by hand.

generator   makes each frame anew (the kernel puts the same pages in again, as forwarding left them) and sends it out of a
            netdev, or into another program
counter     counts what arrives, and drops it
written     C, compiled by the same BCC as the cubes
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.compiler import toolchain
from reconciler.kernel import bpf, maps, programs

_MAP_FD, _MAP_VALUE = 1, 2  # ld_imm64 of a map's descriptor, of the address of its first value
_REDIRECT, _TAIL_CALL = 23, 12
_DROP = {bpf.XDP: 1, bpf.SCHED_CLS: 2}
_COUNT = maps.MapSpec(maps.ARRAY, 4, 8, 1)
_TYPES = {"XDP": bpf.XDP, "TC": bpf.SCHED_CLS}


def _insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, immediate)


def _rewrite(frame: bytes) -> bytes:
    """r6 = ctx; if the packet is long enough, its first bytes become the frame's."""
    words = struct.unpack(f"<{len(frame) // 4}i", frame[: len(frame) // 4 * 4])
    stores = b"".join(_insn(0x62, 2, 0, 4 * place, word) for place, word in enumerate(words))
    bound = _insn(0xBF, 4, 2) + _insn(0x07, 4, immediate=4 * len(words)) + _insn(0x2D, 4, 3, len(words))
    return _insn(0xBF, 6, 1) + _insn(0x61, 2, 1, 0) + _insn(0x61, 3, 1, 4) + bound + stores


def generator(frame: bytes, *, out: int) -> int:
    """An XDP program that writes the frame and sends it out of the netdev with index `out`."""
    send = _insn(0xB7, 1, immediate=out) + _insn(0xB7, 2) + _insn(0x85, immediate=_REDIRECT) + _insn(0x95)
    return programs.load(_rewrite(frame) + send, bpf.XDP, "generator")


def generator_into(frame: bytes, program: int) -> contextlib.AbstractContextManager[int]:
    """An XDP program that writes the frame and goes on in another XDP program."""
    return _jumping(_rewrite(frame), "XDP", program)


def jump(kind: str, program: int) -> contextlib.AbstractContextManager[int]:
    """A program that does nothing but go on in another one of its kind."""
    return _jumping(_insn(0xBF, 6, 1), kind, program)


@contextlib.contextmanager
def _jumping(before: bytes, kind: str, program: int) -> Iterator[int]:
    """`before` has left the context in r6; the tail call's index is a constant. Its array is empty once nobody has it open."""
    array = maps.create(maps.MapSpec(maps.PROG_ARRAY, 4, 4, 1), "then")
    try:
        maps.update(array, bytes(4), struct.pack("<I", program))
        call = (
            _insn(0xBF, 1, 6) + _insn(0x18, 2, _MAP_FD, 0, array) + _insn(0) + _insn(0xB7, 3) + _insn(0x85, immediate=_TAIL_CALL)
        )
        end = _insn(0xB7, 0, immediate=_DROP[_TYPES[kind]]) + _insn(0x95)
        fd = programs.load(before + call + end, _TYPES[kind], "jump")
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        os.close(array)


class Counter:
    """A netdev's last program: it counts and drops. `kind` is TC or XDP; the thread must be in the netdev's namespace."""

    def __init__(self, kind: str, ifindex: int) -> None:
        self._table = maps.create(_COUNT, "count")
        add = _insn(0x18, 1, _MAP_VALUE, 0, self._table) + _insn(0) + _insn(0xB7, 2, immediate=1) + _insn(0xDB, 1, 2)
        end = _insn(0xB7, 0, immediate=_DROP[_TYPES[kind]]) + _insn(0x95)
        self._program = programs.load(add + end, _TYPES[kind], "counter")
        hook, flags = (bpf.ATTACH_TCX_INGRESS, 0) if kind == "TC" else (bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
        self._link = bpf.link_create(self._program, ifindex, hook, flags)

    def value(self) -> int:
        return int.from_bytes(maps.lookup(self._table, _COUNT, bytes(4)) or b"", "little")

    def close(self) -> None:
        for fd in (self._link, self._program, self._table):
            os.close(fd)


@contextlib.contextmanager
def written(text: str, kind: str, rows: Mapping[str, bytes | Sequence[bytes]] | None = None, **macros: int) -> Iterator[int]:
    """The program `run` of a C text, loaded; `macros` are defined for it, and `rows` has the first row of its arrays, or their
    first rows. They live as long as the block."""
    with compiled(text, **macros) as module:
        for table, values in (rows or {}).items():
            fd, listed = module[table.encode()].map_fd, [values] if isinstance(values, bytes) else values
            maps.update_many(fd, maps.info(fd).spec, {struct.pack("=I", at): value for at, value in enumerate(listed)})
        yield module.load_func(b"run", _TYPES[kind]).fd


@contextlib.contextmanager
def compiled(text: str, **macros: int) -> Iterator[Any]:
    """BCC's module of a C text, with its tables."""
    from bcc import BPF  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory(prefix="pcn-bench-") as directory:
        os.environ["BCC_KERNEL_SOURCE"] = str(toolchain.header_tree(Path(directory)))
        flags = [*toolchain.flags(), *(f"-D{name}={value}" for name, value in macros.items())]
        module = BPF(text=text.encode(), cflags=flags)
        try:
            yield module
        finally:
            module.cleanup()


@contextlib.contextmanager
def attached(program: int, kind: str, ifindex: int) -> Iterator[None]:
    """A program at a netdev's way in: native XDP, or TCX."""
    hook, flags = (bpf.ATTACH_TCX_INGRESS, 0) if kind == "TC" else (bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
    link = bpf.link_create(program, ifindex, hook, flags)
    try:
        yield
    finally:
        os.close(link)
