"""Perform operations. One method a verb; nothing here decides anything.

Descriptors of maps and programs are kept open by path for the length of a transaction: staging a cube opens each of
its tables many times otherwise.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any

from reconciler.errors import KernelError, VerifierError, kernel_error
from reconciler.incremental.packed_text import PACKER
from reconciler.kernel import bpf, hooks, link_values, maps, programs
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.document_values import document_value
from reconciler.kernel.rcu import wait_for_grace_period
from reconciler.link import trampoline
from reconciler.live.execute_network import Network
from reconciler.live.link_inputs import member
from reconciler.live.load import TYPES, frozen, load, load_cube
from reconciler.live.migrate import Migrations
from reconciler.live.prefetch import Prefetcher
from reconciler.live.value_masks import masked, merged
from reconciler.plan.steps import Operation
from reconciler.service.registry import Services

_ARRIVAL = "shared/arrival"
_HOPS = {"none": 0, "pass": 1, "netdev": 2, "program": 3}


class Executor:
    """Does operations below one root. `objects` are the compiled objects by digest; `planned` are the operations that will be
    asked for, in order, of which programs may be loaded ahead. `services` know how rows of an older layout become newer ones."""

    def __init__(
        self, root: Bpffs, objects: Mapping[str, Any], planned: Iterable[Operation] = (), services: Services | None = None
    ) -> None:
        self._root, self._objects = root, objects
        self._migrations = Migrations(services)
        self._fds: dict[str, int] = {}
        self._specs: dict[str, maps.MapSpec] = {}
        self._directories: set[str] = set()  # that are there
        self.warnings: list[str] = []  # what was done in another way than asked for
        self._network = Network(str(root.root))
        self._ahead = Prefetcher(planned, self._fds, objects)

    def do(self, operation: Operation) -> None:
        """Raises KernelError (or another PcnError); an operation that raises has changed nothing that matters."""
        verb: Callable[..., None] | None = getattr(self, f"_{operation.kind}", None) or getattr(
            self._network, operation.kind, None
        )
        if verb is None:
            raise ValueError(f"no such operation: {operation.kind}")
        try:
            verb(**operation.args)
        except OSError as error:
            raise kernel_error(
                f"{operation.kind.replace('_', ' ')} {operation.args.get('path', '')}", error.errno or 0
            ) from error

    def close(self) -> None:
        self._ahead.close()
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._specs.clear()
        self._network.close()

    def _fd(self, path: str) -> int:
        """The object at a path; 'program <id>' is one that has no pin of ours."""
        if path not in self._fds:
            if path.startswith("program "):
                self._fds[path] = bpf.fd_by_id(bpf.PROG_BY_ID, int(path.split()[1]))
            else:
                self._fds[path] = self._root.open(path)
        return self._fds[path]

    def _map(self, path: str) -> tuple[int, maps.MapSpec]:
        fd = self._fd(path)
        if path not in self._specs:
            self._specs[path] = maps.info(fd).spec
        return fd, self._specs[path]

    def _keep(self, fd: int, path: str) -> None:
        """Pin a new object and keep its descriptor."""
        self._ensure_directory(path.rpartition("/")[0])
        try:
            self._root.pin(fd, path)
        except KernelError:
            os.close(fd)
            raise
        self._fds[path] = fd

    def _replace(self, fd: int, path: str) -> None:
        """As `_keep`, in the place of what is pinned there: an interrupted apply's, or something that was made anew."""
        self._ensure_directory(path.rpartition("/")[0])
        try:
            self._root.pin(fd, path)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                os.close(fd)
                raise
            self._remove(path)
            self._keep(fd, path)
        self._fds[path] = fd

    def _ensure_directory(self, path: str) -> None:
        if path not in self._directories:
            self._root.make_directory(path)
            self._directories.add(path)

    def _forget(self, path: str) -> None:
        """What is known of a path, and of all below it."""
        if path in self._fds:  # a pin, then, and nothing is below it
            os.close(self._fds.pop(path))
            self._specs.pop(path, None)
            return
        below = f"{path}/"
        self._directories -= {known for known in self._directories if known == path or known.startswith(below)}
        for known in [known for known in self._fds if known == path or known.startswith(below)]:
            os.close(self._fds.pop(known))
            self._specs.pop(known, None)

    # -- names ----------------------------------------------------------------------------------------------------

    def _make_directory(self, path: str) -> None:
        self._ensure_directory(path)

    def _set_link(self, path: str, text: str) -> None:
        self._ensure_directory(path.rpartition("/")[0])
        self._root.set_link(path, text)

    def _rename(self, path: str, to: str) -> None:
        self._forget(path)
        self._forget(to)
        self._root.rename(path, to)

    def _remove(self, path: str) -> None:
        self._forget(path)
        self._root.remove(path)

    def _remove_cube(self, path: str) -> None:
        """`current` goes first: a cube without one is a leftover, should the rest be interrupted."""
        self._forget(path)
        self._root.remove(f"{path}/current")
        self._root.remove(path)

    def _grace(self) -> None:
        """Packets may be inside programs that were just replaced; their arrays must not be emptied under them."""
        wait_for_grace_period()

    def _set_document(self, path: str, text: str) -> None:
        value = document_value(PACKER.pack(text))
        fd = maps.create(maps.MapSpec(maps.ARRAY, 4, len(value), 1), "topology")
        draft = f"{path}~"
        self._root.make_directory(path.rpartition("/")[0])
        self._remove(draft)
        try:
            maps.update(fd, bytes(4), value)
            self._root.pin(fd, draft)
            self._root.rename(draft, path)
        finally:
            os.close(fd)

    # -- tables ---------------------------------------------------------------------------------------------------

    def _create_map(self, path: str, spec: list[int], name: str, btf: str = "") -> None:
        self._replace(maps.create(maps.MapSpec(*spec), name, bytes.fromhex(btf)), path)

    def _adopt_map(self, path: str, id: int) -> None:
        self._replace(bpf.fd_by_id(bpf.MAP_BY_ID, id), path)

    def _write_rows(self, path: str, rows: Mapping[str, str], mask: str) -> None:
        """Write the configuration's bits of each row; the datapath's bits of a row that exists stay."""
        fd, spec = self._map(path)
        bits = bytes.fromhex(mask)
        wanted = {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows.items()}
        there = maps.lookup_many(fd, spec, wanted) if bits != b"\xff" * len(bits) else {}
        ready = {
            key: merged(spec, there[key], value, bits) if key in there else maps.spread(spec, value)
            for key, value in wanted.items()
        }
        maps.update_many(fd, spec, ready)

    def _delete_rows(self, path: str, keys: list[str], sparse: bool) -> None:
        fd, spec = self._map(path)
        if sparse:
            maps.update_many(fd, spec, dict.fromkeys(map(bytes.fromhex, keys), bytes(spec.value_bytes)))
        elif spec.type not in maps.ARRAYS:
            maps.delete_many(fd, spec, map(bytes.fromhex, keys))

    def _purge_rows(self, path: str, fields: list[tuple[bool, int, int]], values: list[str]) -> None:
        """Delete the rows in which fields (whether in the key, offset, size), one after the other, have one of the values."""
        fd, spec = self._map(path)
        wanted = set(map(bytes.fromhex, values))

        def said(key: bytes, row: bytes) -> bytes:
            return b"".join((key if in_key else row)[offset : offset + size] for in_key, offset, size in fields)

        maps.delete_many(fd, spec, [key for key, row in maps.rows(fd, spec).items() if said(key, row) in wanted])

    def _flush_rows(self, path: str) -> None:
        fd, spec = self._map(path)
        maps.delete_many(fd, spec, maps.rows(fd, spec))

    def _migrate_rows(self, source: str, path: str, service: str, table: str, mask: str) -> None:
        left = self._migrations.carry(self._map(source), self._map(path), service, table, bytes.fromhex(mask) or None)
        self.warnings += [f"{left} rows of table {table} do not fit in it any more"] if left else []

    def _zero_rows(self, path: str, keep: str = "") -> None:
        """Set every row to zero, but for the bits of the mask `keep`: those are configuration."""
        fd, spec = self._map(path)
        bits = bytes.fromhex(keep).ljust(spec.value_size, b"\0")
        maps.update_many(fd, spec, {key: masked(spec, row, bits) for key, row in maps.rows(fd, spec).items()})

    # -- programs -------------------------------------------------------------------------------------------------

    def _load_program(
        self, path: str, object: str, constants: str, maps: Mapping[str, str], calls: str, row: int, name: str
    ) -> None:
        loaded = self._ahead.take(path)
        if loaded is None:
            descriptors = {symbol: self._fd(pin) if pin else self._calls(calls) for symbol, pin in maps.items()}
            loaded = load_cube(self._objects[object], descriptors, bytes.fromhex(constants), name)
        try:
            if loaded.constants >= 0:
                self._keep(loaded.constants, f"{path}_const")
        except KernelError:
            os.close(loaded.program)
            raise
        self._keep(loaded.program, path)
        self._callable(calls, row, path)

    def _callable(self, calls: str, row: int, path: str) -> None:
        if calls:
            self._calls(calls)
            self._set_slot(calls, row, path)

    def _calls(self, path: str) -> int:
        if not self._root.exists(path):
            self._create_map(path, [maps.PROG_ARRAY, 4, 4, 64, 0], "calls")
        return self._fd(path)

    def _keep_program(self, path: str, source: str, calls: str, row: int) -> None:
        for suffix in ("", "_const"):
            if self._root.exists(source + suffix):
                self._keep(self._root.open(source + suffix), path + suffix)
        self._callable(calls, row, path)

    def _record_generation(self, path: str, objects: Mapping[str, str], called: Mapping[str, str]) -> None:
        """`called`: of each program that others go on in, the array by which they do."""
        said = {
            name: {"object": digest, "tag": programs.info(self._fd(f"{path}/{name}")).tag, "calls": called.get(name, "")}
            for name, digest in objects.items()
        }
        self._root.set_link(f"{path}/about", link_values.packed({"programs": said}))

    def _load_chain(
        self, path: str, flavour: str, port: int, row: int, entry: str, chain: str, parts: list[Mapping[str, Any]]
    ) -> None:
        """Link cubes to one program. Their constants are in one map, which begins with the chain's digest: the program holds it,
        so that what it was linked from can be read back. If the verifier refuses what it took cube by cube, a stub that holds
        the map stands there instead, and the cubes go on by hops."""
        objects = [self._objects[part["object"]] for part in parts]
        constants = [bytes.fromhex(chain), *(bytes.fromhex(part["constants"]) for part in parts)]
        bases = accumulate(map(len, constants))
        mark = frozen(b"".join(constants), "chain")
        try:
            members = []
            for part, compiled, base in zip(parts, objects, bases, strict=False):
                descriptors = {symbol: self._fd(pin) for symbol, pin in part["maps"].items()} | {"": mark}
                members.append(member(compiled, descriptors, base=base, port=part["port"], row=part["row"]))
            try:
                fd = load(members, objects, flavour, f"chain_{port}", mark=mark)
            except VerifierError as error:
                cubes = ", ".join(part["cube"] for part in parts)
                self.warnings.append(f"{cubes} go by hops, for the verifier refused them as one program:\n{error.detail}")
                fd = self._stub(flavour, port, row, entry, f"apart_{port}", mark)
        finally:
            os.close(mark)
        self._replace(fd, path)

    def _load_stub(self, path: str, flavour: str, port: int, row: int, entry: str) -> None:
        self._replace(self._stub(flavour, port, row, entry, f"stub_{port}"), path)  # who holds an old one goes on with it

    def _stub(self, flavour: str, port: int, row: int, entry: str, name: str, mark: int = -1) -> int:
        to = self._fd(entry)
        code = trampoline.tc(port, to, row, mark) if flavour == "TC" else trampoline.xdp(port, to, row, self._fd(_ARRIVAL), mark)
        return programs.load(code, TYPES[flavour], name)

    def _set_slot(self, path: str, index: int, program: str) -> None:
        maps.update(self._fd(path), struct.pack("<I", index), struct.pack("<I", self._fd(program)))

    def _clear_slot(self, path: str, index: int) -> None:
        maps.delete(self._fd(path), struct.pack("<I", index))

    # -- hops, members, hooks -------------------------------------------------------------------------------------

    def _set_hop(self, home: str, row: int, kind: str, target: str) -> None:
        """The jump before the row that sends packets to it, and the other way round when it goes."""
        if kind == "program":
            self._set_slot(f"{home}next", row, target)
        ifindex = self._network.index(target) if kind == "netdev" else 0
        maps.update(self._fd(f"{home}hops"), struct.pack("<I", row), struct.pack("<II", _HOPS[kind], ifindex))
        if kind != "program" and self._root.exists(f"{home}next"):
            self._clear_slot(f"{home}next", row)

    def _set_member(self, home: str, family: str, index: int, netdev: str, far: str) -> None:
        fd, key = self._fd(f"{home}/flood"), struct.pack("<I", index)
        if family == "TC":
            ifindex = self._network.index(far or netdev) if netdev else 0
            kind = 2 if netdev else 1 if self._members_beyond(fd, index) else 0
            self._fill_holes(fd, index if netdev else 0)
            maps.update(fd, key, struct.pack("<III", kind, ifindex, int(bool(far))))
            return
        pair = (self._network.index(netdev), self._network.index(far)) if far else (0, 0)
        if far:  # known before frames go there, and until none does
            maps.update(self._fd(f"{home}/reenter"), key, struct.pack("<II", *pair))
        if netdev:
            maps.update(fd, key, struct.pack("<I", self._network.index(netdev)))
        else:
            maps.delete(fd, key)
        if not far:
            maps.update(self._fd(f"{home}/reenter"), key, struct.pack("<II", *pair))

    def _members_beyond(self, fd: int, index: int) -> bool:
        rows = maps.rows(fd, maps.info(fd).spec)
        return any(struct.unpack("<I", key)[0] > index and struct.unpack_from("<I", value)[0] for key, value in rows.items())

    def _fill_holes(self, fd: int, below: int) -> None:
        """Rows below a member must not read as the end of the table."""
        there = maps.rows(fd, maps.info(fd).spec) if below else {}
        for index in range(below):
            if there.get(key := struct.pack("<I", index)) == bytes(12):
                maps.update(fd, key, struct.pack("<III", 1, 0, 0))

    def _attach_hook(self, netdev: str, point: str, stub: str, mode: str, pin: str) -> None:
        hooks.attach(self._root, pin, self._fd(stub), self._network.index(netdev), point, mode)

    def _update_hook(self, netdev: str, point: str, stub: str, pin: str) -> None:
        hooks.update(self._root, pin, self._fd(stub), self._network.index(netdev), point)

    def _detach_hook(self, netdev: str, point: str, pin: str) -> None:
        hooks.detach(self._root, pin, self._network.index_or_none(netdev), point)

    def _move_hook(self, path: str, to: str) -> None:
        hooks.move(self._root, path, to)
