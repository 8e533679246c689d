"""The bare kernel calls of an apply: recorded while it runs, and made again with nothing around them.

    with Recording(root) as recording:
        apply(documents, options)
    calls = recording.prepared()
    calls.run()      # the same maps, programs, rows and pins, by the same system calls in the same order

What only reads is left out. What one call gave to another (descriptors) is put in place while they are made again.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import Any

from reconciler.kernel import bpf, maps

_MADE, _FD_AT = (
    {bpf.MAP_CREATE: "map", bpf.PROG_LOAD: "program"},
    {bpf.MAP_UPDATE: 0, bpf.MAP_DELETE: 0, bpf.MAP_FREEZE: 0, bpf.OBJ_PIN: 8},
)
_bpf = bpf.bpf
_OF_PROGRAMS = frozenset({maps.PROG_ARRAY})
_BY_DESCRIPTOR = "/proc/self/fd/"  # how pcn reaches what is below its root


class Recording:
    """Records what is written below `root` by bpf(2) and in bpffs, in this process, while the block runs."""

    def __init__(self, root: str) -> None:
        self._root, self._calls = root, Calls()
        self._held: dict[int, int] = {}  # descriptor now to the number of the call that made the object
        self._pinned: dict[str, int] = {}

    def __enter__(self) -> Recording:
        self._real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name) for name in ("mkdir", "symlink", "rename", "unlink", "rmdir")
        }
        for name, function in self._real.items():
            setattr(os, name, self._named(function))
        bpf.bpf = self._called
        return self

    def __exit__(self, *_: object) -> None:
        bpf.bpf = _bpf
        for name, function in self._real.items():
            setattr(os, name, function)

    def calls(self) -> Calls:
        return self._calls

    def _named(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **more: Any) -> Any:
            directories = more.get("dir_fd", more.get("src_dir_fd")), more.get("dst_dir_fd")
            places = tuple(map(_absolute, arguments, (*directories, *[None] * len(arguments))))
            result = function(*arguments, **more)
            if any(str(place).startswith(self._root) for place in places):
                self._calls.names(function, places)
                if function is self._real["rename"]:
                    self._renamed(*map(str, places))
            return result

        return called

    def _renamed(self, old: str, new: str) -> None:
        inside = [path for path in self._pinned if path == old or path.startswith(f"{old}/")]
        self._pinned |= {new + path[len(old) :]: self._pinned.pop(path) for path in inside}

    def _called(self, command: int, attributes: Any) -> int:
        raw = bytes(attributes)
        result = _bpf(command, attributes)
        if command == bpf.OBJ_GET:
            made = self._pinned.get(_text(raw))
            self._held.pop(result, None)
            if made is not None:
                self._held[result] = made
        elif command in _MADE:
            self._held[result] = self._calls.makes(command, raw, self._descriptors(raw) if command == bpf.PROG_LOAD else {})
        elif command in _FD_AT or command == bpf.MAP_UPDATE_BATCH:
            self._writes(command, raw)
        return result

    def _writes(self, command: int, raw: bytes) -> None:
        at = _FD_AT.get(command, 36)
        (fd,) = struct.unpack_from("<I", raw, at)
        patches = {at: self._held[fd]}
        if command == bpf.OBJ_PIN:
            self._pinned[_text(raw)] = self._held[fd]
            self._calls.add(command, raw, patches, {0: _text(raw).encode() + b"\0"}, {})
            return
        if command == bpf.MAP_FREEZE:
            self._calls.add(command, raw, patches, {}, {})
            return
        spec = maps.info(fd).spec
        if command == bpf.MAP_UPDATE_BATCH:
            (count,) = struct.unpack_from("<I", raw, 32)
            self._calls.add(
                command, raw, patches, {16: _at(raw, 16, count * spec.key_size), 24: _at(raw, 24, count * spec.value_bytes)}, {}
            )
            return
        texts, inner = {8: _at(raw, 8, spec.key_size)}, {}
        if command == bpf.MAP_UPDATE:
            texts[16] = _at(raw, 16, spec.value_bytes)
            if spec.type in _OF_PROGRAMS:
                inner = {16: {0: self._held[struct.unpack("<I", texts[16])[0]]}}
        self._calls.add(command, raw, patches, texts, inner)

    def _descriptors(self, raw: bytes) -> dict[int, int]:
        """Of the maps in a program's instructions: byte offset to the call that made it."""
        count, address = struct.unpack_from("<IQ", raw, 4)
        code = ctypes.string_at(address, count * 8)
        found = {}
        for at in range(0, len(code), 8):
            if code[at] == 0x18 and code[at + 1] >> 4 in (1, 2):
                found[at + 4] = self._held[struct.unpack_from("<i", code, at + 4)[0]]
        return found


class Calls:
    """System calls in order, ready to be made."""

    def __init__(self) -> None:
        self._steps: list[Callable[[list[int]], Any]] = []
        self._made = 0

    def __len__(self) -> int:
        return len(self._steps)

    def names(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._steps.append(lambda _: function(*arguments))

    def makes(self, command: int, raw: bytes, inside: dict[int, int]) -> int:
        """A call that gives a descriptor; `inside` a program's instructions are those of maps."""
        if command == bpf.PROG_LOAD:
            count, code = struct.unpack_from("<IQ", raw, 4)
            texts, inner = {8: ctypes.string_at(code, count * 8), 16: b"GPL\0"}, {8: inside}
        else:
            texts, inner = {}, {}
        step = _prepared(command, raw, {}, texts, inner)
        self._steps.append(lambda made: made.append(step(made)))
        self._made += 1
        return self._made - 1

    def add(
        self, command: int, raw: bytes, patches: dict[int, int], texts: dict[int, bytes], inner: dict[int, dict[int, int]]
    ) -> None:
        self._steps.append(_prepared(command, raw, patches, texts, inner))

    def run(self) -> None:
        """Make them. Descriptors are closed at the end: what was pinned stays."""
        made: list[int] = []
        for step in self._steps:
            step(made)
        for fd in made:
            os.close(fd)


def _prepared(
    command: int, raw: bytes, patches: dict[int, int], texts: dict[int, bytes], inner: dict[int, dict[int, int]]
) -> Callable[[list[int]], int]:
    """One bpf(2) call. `texts` are what its pointers (by offset) point at; `patches` are descriptors in the attributes, `inner`
    those in the texts: by offset, the number of the call that made the object."""
    attributes = ctypes.create_string_buffer(raw, len(raw))
    buffers = {at: ctypes.create_string_buffer(text, len(text)) for at, text in texts.items()}
    for at, buffer in buffers.items():
        struct.pack_into("<Q", attributes, at, ctypes.addressof(buffer))
    places = [(attributes, at, number) for at, number in patches.items()]
    places += [(buffers[where], at, number) for where, found in inner.items() for at, number in found.items()]
    put = struct.Struct("<I").pack_into

    def step(made: list[int], _kept: object = buffers) -> int:
        for buffer, at, number in places:
            put(buffer, at, made[number])
        return _bpf(command, attributes)

    return step


def _text(raw: bytes) -> str:
    return str(_absolute(ctypes.string_at(struct.unpack_from("<Q", raw)[0]).decode(), None))


def _absolute(argument: Any, directory: int | None) -> Any:
    """A path that is relative to a descriptor, as it will be found when that is closed; anything else as it is."""
    if isinstance(argument, str) and argument.startswith(_BY_DESCRIPTOR):
        number, _, rest = argument.removeprefix(_BY_DESCRIPTOR).partition("/")
        return f"{os.readlink(_BY_DESCRIPTOR + number)}/{rest}"
    if directory is not None and isinstance(argument, str) and not argument.startswith("/"):
        return f"{os.readlink(_BY_DESCRIPTOR + str(directory))}/{argument}"
    return argument


def _at(raw: bytes, offset: int, size: int) -> bytes:
    return ctypes.string_at(struct.unpack_from("<Q", raw, offset)[0], size)
