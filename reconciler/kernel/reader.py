"""Read-only access to the live graph in the kernel.

A plan is created with a Reader. It opens pins below one root, keeps no descriptors, and returns None for missing objects, also
for those that disappear during the read. Opening a pin is the main cost (7 us), so each is opened once.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from reconciler.errors import Overtaken, kernel_error
from reconciler.kernel import batch_read, bpf, hooks, maps, programs
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.document_values import unpack_document
from reconciler.kernel.link_values import unpacked
from reconciler.kernel.netstate import NetdevState
from reconciler.kernel.read_cache import CachedResult, Directory, ReadCache, in_short

_SLOTS = maps.MapSpec(maps.PROG_ARRAY, 4, 4, 1)
_SETTLED = 50_000_000  # ns since a directory's last change after which a further one has another time
_UNKNOWN: Any = object()
KEYS = "keys"  # question about a table whose values are irrelevant
# Seconds until the kernel has emptied a program array after its last pin was removed, even if all CPUs are busy. Linux (at least
# up to 6.18) leaks one that is opened by its id and closed before that.
_EMPTIED = 0.05
T = TypeVar("T")
Rows = dict[bytes, bytes]
_ABSENT = Directory((0, 0))


class Reader:
    """Reads pins by their path relative to the root. For one poll: each directory is listed once, and each pin's type read once.
    `memory` is the last poll's cache, which is updated; results in it whose names are in `since` are reused without a check. Rows
    of tables in `known` (by path) are not read, and the next poll reads those tables again. Use a `with` block to read tables by
    id."""

    def __init__(
        self, root: Bpffs, memory: ReadCache | None = None, since: Collection[str] = (), known: Mapping[str, Rows] | None = None
    ) -> None:
        self.root, self._memory, self._since, self._known = root, memory or ReadCache(), since, known or {}
        self._looked: dict[str, Directory] = {}
        self._noted: CachedResult | None = None
        self._seen: dict[int, maps.MapInfo] | None = None
        self._just_read: dict[tuple[str, Any], Any] = {}  # by `_reads_the_same`, for the rebuild right after it
        self._arrays: list[int] = []  # descriptors of program arrays, opened by id

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._arrays:
            time.sleep(_EMPTIED)
        while self._arrays:
            os.close(self._arrays.pop())

    def remembered(self, name: str, given: object, make: Callable[[], T]) -> T:
        """The result of `make`, memoised by `given` and everything that it reads through this Reader."""
        known = self._memory.results.get(name)
        is_same = known is not None and known.given == given
        if known is None or not is_same or not (name in self._since or (not self._known and self._reads_the_same(known))):
            known = self._noted = self._memory.results[name] = CachedResult(given)
            try:
                known.value = make()
            except BaseException:
                del self._memory.results[name]
                raise
            finally:
                self._noted = None
        self._just_read.clear()
        made: T = known.value
        return made

    def since(self, name: str) -> Any:
        """`given` of a result that `since` names; None if there is none."""
        known = self._memory.results.get(name) if name in self._since else None
        return known.given if known is not None else None

    def _reads_the_same(self, known: CachedResult) -> bool:
        """Whether the reads of a result are unchanged. If not, `_just_read` has what was read, for the rebuild."""
        if not all(self._directory(path) is directory for path, directory in known.directories.items()):
            return False
        for question, before in known.contents.items():
            answer = self._just_read[question] = self._content(*question)
            if in_short(answer) != before:
                return False
        return True

    def forget_all_but(self, names: Collection[str]) -> None:
        for gone in self._memory.results.keys() - names:
            del self._memory.results[gone]

    def names(self, relative: str) -> list[str]:
        return list(self._directory(relative).inodes)

    def _directory(self, path: str) -> Directory:
        """The current content of a directory; empty if it does not exist."""
        found = self._looked.get(path)
        if found is None:
            above, _, name = path.rpartition("/")
            there = not above or name in self._directory(above).inodes
            found = self._looked[path] = self._look(path) if there else _ABSENT
        if self._noted is not None:
            self._noted.directories[path] = found
        return found

    def _look(self, path: str) -> Directory:
        known = self._memory.directories.get(path)
        changed = self.root.changed(path) if known is not None else None  # not needed for the first read
        if known is not None and known.changed == changed is not None:
            return known
        inodes = self.root.inodes(path)
        settled = changed is not None and time.time_ns() - changed[1] > _SETTLED
        found = Directory(changed if settled else None, inodes)
        if known is not None:
            found.facts = {key: fact for key, fact in known.facts.items() if known.inodes[key[1]] == inodes.get(key[1])}
            if gone := known.inodes.keys() - inodes.keys():
                self._memory.forget_below({f"{path}/{name}" for name in gone})
        self._memory.directories[path] = found
        return found

    def _fact(self, relative: str, kind: str, read: Callable[[str], T | None]) -> T | None:
        """A fact of a pin, cached by its inode; None if there is no pin, or it is of another type."""
        directory, _, name = relative.rpartition("/")
        place = self._directory(directory)
        if name not in place.inodes:
            return None
        fact: T | None = place.facts.get((kind, name), _UNKNOWN)
        if fact is _UNKNOWN:
            fact = place.facts[kind, name] = read(relative)
        return fact

    def link_text(self, relative: str) -> str | None:
        return self._fact(relative, "text", self.root.read_link)

    def json_link(self, relative: str) -> dict[str, Any] | None:
        """The JSON object in a symlink; None if there is no symlink, or it has another format."""
        return self._fact(relative, "json", self._read_json)

    def _read_json(self, relative: str) -> dict[str, Any] | None:
        text = self.root.read_link(relative)
        return unpacked(text) if text else None

    def _open(self, relative: str) -> int | None:
        try:
            return self.root.open_pin(relative)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.EISDIR, errno.EACCES, errno.ELOOP) and os.geteuid() == 0:
                return None
            raise kernel_error(f"open {self.root.path(relative)}", error.errno or 0) from None

    def program(self, relative: str) -> programs.ProgramInfo | None:
        return self._fact(relative, "program", self._read_program)

    def _read_program(self, relative: str) -> programs.ProgramInfo | None:
        fd = self._open(relative)
        if fd is None:
            return None
        try:
            return programs.info(fd, with_maps=True)
        except OSError:
            return None
        finally:
            os.close(fd)

    def mark(self, relative: str) -> bytes:
        """The mark of a pinned chain: the first 16 bytes of its first map, which was frozen before the program was loaded. Empty
        if there is none."""
        return self._fact(relative, "mark", self._read_mark) or b""

    def _read_mark(self, relative: str) -> bytes | None:
        used = self.program(relative)
        try:
            said = next(iter(self.rows_by_id(used.maps[0]).values()), b"") if used is not None and used.maps else b""
        except OSError:
            return None
        return said[:16] if len(said) >= 16 else None

    def tables_of(self, relative: str) -> list[maps.MapInfo]:
        """The maps that a pinned program uses."""
        used = self.program(relative)
        found = [self.table_by_id(identity) for identity in used.maps] if used is not None else []
        return [table for table in found if table is not None]

    def table(self, relative: str) -> maps.MapInfo | None:
        """The pinned map; None if there is none."""
        return self._fact(relative, "table", self._read_table)

    def _read_table(self, relative: str) -> maps.MapInfo | None:
        fd = self._open(relative)
        if fd is None:
            return None
        try:
            return maps.info(fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def table_by_id(self, identity: int) -> maps.MapInfo | None:
        """A map by id, pinned or not; None if it does not exist."""
        if self._seen is None:
            self._seen = self._memory.tables()
        if identity in self._seen:
            return self._seen[identity]
        try:
            fd = bpf.fd_by_id(bpf.MAP_BY_ID, identity)
        except OSError:
            return None
        self._arrays.append(fd)
        found = maps.info(fd)
        if found.spec.type != maps.PROG_ARRAY:
            os.close(self._arrays.pop())
        return found

    def rows_by_id(self, identity: int) -> dict[bytes, bytes]:
        fd = bpf.fd_by_id(bpf.MAP_BY_ID, identity)
        try:
            return maps.rows(fd, maps.info(fd).spec)
        finally:
            os.close(fd)

    def hook(self, relative: str, netdevs: Mapping[str, NetdevState], by_index: Mapping[int, str]) -> hooks.Hooked | None:
        """An attachment of ours; see `hooks.read`."""
        return hooks.read(self.root, relative, netdevs, by_index)

    def spec(self, relative: str) -> maps.MapSpec | None:
        found = self.table(relative)
        return found.spec if found is not None else None

    def rows(
        self, relative: str, *, sparse: bool = False, of: Callable[[Rows], Rows] | None = None
    ) -> tuple[maps.MapSpec, Rows] | None:
        """All rows of a table, or the result of `of` for them. Immutable: the next poll returns the same object, if they are
        equal. If `sparse`, an array's trailing rows of zeros may be omitted."""
        if relative in self._known and (spec := self.spec(relative)) is not None:
            if self._noted is not None:
                self._noted.contents[relative, None] = _UNKNOWN  # unequal to any content
            return spec, self._known[relative]

        def make(raw: maps.Content, spec: maps.MapSpec) -> Rows:
            rows = maps.rows_of(raw, spec, sparse=sparse)
            return rows if of is None else of(rows)

        return self._made(relative, None, f"rows, sparse {sparse}, of {of}", make)

    def keys(self, relative: str) -> tuple[maps.MapSpec, dict[bytes, bytes]] | None:
        """As `rows`, with values of zeros: unchanged as long as the keys are."""
        return self._made(relative, KEYS, "keys", _keys_alone)

    def _made(
        self, relative: str, question: Any, kind: str, make: Callable[[Any, maps.MapSpec], dict[bytes, bytes]]
    ) -> tuple[maps.MapSpec, dict[bytes, bytes]] | None:
        raw, found = self._ask(relative, question), self.table(relative)
        if raw is None or found is None:
            return None
        directory, _, name = relative.rpartition("/")
        facts = self._directory(directory).facts
        said = in_short(raw)
        before, made = facts.get((kind, name), (None, None))
        if made is None or before != said:
            made = make(raw, found.spec)
            facts[kind, name] = said, made
        return found.spec, made

    def values(self, relative: str) -> bytes:
        """The concatenated values of an array with values of 8 bytes; empty if there is no such array."""
        raw, found = self._ask(relative, None), self.table(relative)
        if isinstance(raw, bytes) or raw is None or found is None:
            return raw or b""
        return b"".join(maps.rows_of(raw, found.spec).values())

    def slots_at(self, relative: str, rows: Sequence[int]) -> dict[int, int]:
        """Rows of a PROG_ARRAY: program ids by row, 0 for an empty one."""
        return dict(zip(rows, self._ask(relative, tuple(rows)) or (0,) * len(rows), strict=True)) if rows else {}

    def slot(self, relative: str, index: int) -> int:
        """One row of a PROG_ARRAY: the program's id, 0 if it is empty."""
        return self.slots_at(relative, [index])[index]

    def _ask(self, relative: str, question: tuple[int, ...] | str | None) -> Any:
        """The current content of a map: these slots of a program array, its KEYS, or all rows as `maps.content` returns them;
        None if there is no such map."""
        answer = self._just_read.pop((relative, question), _UNKNOWN)
        if answer is _UNKNOWN:
            answer = self._content(relative, question)
        if self._noted is not None:
            self._noted.contents[relative, question] = in_short(answer)
        return answer

    def _content(self, relative: str, question: tuple[int, ...] | str | None) -> Any:
        if self._memory.gives_way is not None and self._memory.gives_way():
            raise Overtaken("somebody waits")
        directory, _, name = relative.rpartition("/")
        fd = self._open(relative) if name in self._directory(directory).inodes else None
        if fd is None:
            return None
        try:
            found = self._fact(relative, "table", lambda _: maps.info(fd))
            if found is None:
                return None
            if isinstance(question, tuple):
                return tuple(_slot(fd, row) for row in question)
            raw = maps.content(fd, found.spec)
            return maps.keys_of(raw, found.spec) if question == KEYS else raw
        finally:
            os.close(fd)

    def constants(self, relative: str) -> bytes:
        """A program's constants, whose map was frozen before it was pinned."""
        return self._fact(relative, "constants", self._only_value) or b""

    def _only_value(self, relative: str) -> bytes:
        found, spec = self._content(relative, None), self.spec(relative)
        return next(iter(maps.rows_of(found, spec).values()), b"") if found is not None and spec is not None else b""

    def document(self, relative: str, unpack: Callable[[bytes], str | None] = unpack_document) -> str | None:
        """The text in a one-value map, from `pack_document`; the next poll returns the same object, if it is equal."""
        raw = self._only_value(relative)
        if not raw:
            return None
        directory, _, name = relative.rpartition("/")
        facts, said = self._directory(directory).facts, in_short(raw)
        known: tuple[Any, str | None] | None = facts.get(("document", name))
        if known is None or known[0] != said:
            known = facts["document", name] = said, unpack(raw)
        return known[1]


def _keys_alone(raw: bytes, spec: maps.MapSpec) -> dict[bytes, bytes]:
    return dict.fromkeys(batch_read.parts(raw, spec.key_size), bytes(spec.value_size))


def _slot(fd: int, row: int) -> int:
    value = maps.lookup(fd, _SLOTS, struct.pack("<I", row))
    return struct.unpack("<I", value)[0] if value else 0
