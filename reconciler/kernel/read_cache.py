"""Read cache: what the kernel itself says still holds is not read again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from reconciler.kernel import batch_read, maps

_SHORT = 64  # bytes


@dataclass(slots=True)
class Directory:
    """One directory: when it last changed (see `Bpffs.changed`), its inodes by name, sorted, and what is known of each."""

    changed: tuple[int, int] | None = None
    inodes: dict[str, int] = field(default_factory=dict)
    facts: dict[tuple[str, str], Any] = field(default_factory=dict)


@dataclass(slots=True)
class CachedResult:
    """The value built from `given` and from what was read; `reads` are the directories, and contents by what was read."""

    given: Any
    directories: dict[str, Directory] = field(default_factory=dict)
    contents: dict[tuple[str, Any], Any] = field(default_factory=dict)
    value: Any = None


@dataclass(slots=True)
class ReadCache:
    """Results of the last poll that this one may reuse, because the kernel tells whether they are still valid.

    An inode of bpffs is one object for life: which program or map it is, which maps a program uses, a map's shape and a
    symlink's text are read once for each inode, and anew for another inode at the same path. A directory lists the same
    inodes for as long as its time of change is the same. Content that changes in place (rows, slots, a link's program) is
    read in every poll; but values built from it are reused while it reads the same. A poll stops when `gives_way` is set and
    returns true.
    """

    directories: dict[str, Directory] = field(default_factory=dict)
    results: dict[str, CachedResult] = field(default_factory=dict)
    gives_way: Callable[[], bool] | None = None

    def tables(self) -> dict[int, maps.MapInfo]:
        """All maps that were seen pinned, by id."""
        facts = (item for directory in self.directories.values() for item in directory.facts.items())
        return {fact.identity: fact for (kind, _), fact in facts if kind == "table" and fact is not None}

    def forget_below(self, gone: Collection[str]) -> None:
        homes = tuple(f"{path}/" for path in gone)
        for path in [path for path in self.directories if path in gone or path.startswith(homes)]:
            del self.directories[path]


def in_short(content: Any) -> Any:
    """The fingerprint of a map's content for comparisons: itself, or its length and Python's own hash, which has a secret key
    and takes a fifth of the time of unkeyed ones."""
    if isinstance(content, bytes) and len(content) > _SHORT:
        return len(content), hash(content)
    if isinstance(content, batch_read.Block) and len(content.keys) > _SHORT:
        return tuple((len(part), hash(part)) for part in content)
    return content
