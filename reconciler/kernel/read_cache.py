"""Read cache: results that the kernel guarantees to be still valid are not read again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from reconciler.kernel import batch_read, maps

_SHORT = 64  # bytes


@dataclass(slots=True)
class Directory:
    """One directory: its last change (see `Bpffs.changed`), its inode numbers by name, sorted, and facts by (kind, name)."""

    changed: tuple[int, int] | None = None
    inodes: dict[str, int] = field(default_factory=dict)
    facts: dict[tuple[str, str], Any] = field(default_factory=dict)


@dataclass(slots=True)
class CachedResult:
    """The value built from `given`, `directories` and `contents`, which has fingerprints by (path, question) of `Reader`."""

    given: Any
    directories: dict[str, Directory] = field(default_factory=dict)
    contents: dict[tuple[str, Any], Any] = field(default_factory=dict)
    value: Any = None


@dataclass(slots=True)
class ReadCache:
    """Results of the last poll that this one can reuse, since the kernel determines whether they are still valid.

    An inode of bpffs is the same object for its lifetime: which program or map it is, which maps a program uses, a map's shape
    and a symlink's text are read once for each inode. A directory has the same inodes as long as its change time is the same.
    Content that changes in place (rows, slots, a link's program) is read in every poll; but values built from it are reused
    while it is equal. A poll ends with Overtaken if `gives_way` is set and returns true.
    """

    directories: dict[str, Directory] = field(default_factory=dict)
    results: dict[str, CachedResult] = field(default_factory=dict)
    gives_way: Callable[[], bool] | None = None

    def tables(self) -> dict[int, maps.MapInfo]:
        """All pinned maps in the cache, by id."""
        facts = (item for directory in self.directories.values() for item in directory.facts.items())
        return {fact.identity: fact for (kind, _), fact in facts if kind == "table" and fact is not None}

    def forget_below(self, gone: Collection[str]) -> None:
        homes = tuple(f"{path}/" for path in gone)
        for path in [path for path in self.directories if path in gone or path.startswith(homes)]:
            del self.directories[path]


def in_short(content: Any) -> Any:
    """The fingerprint of a map's content: itself if short, else its length and Python's hash, which has a secret key and takes a
    fifth of the time of unkeyed ones."""
    if isinstance(content, bytes) and len(content) > _SHORT:
        return len(content), hash(content)
    if isinstance(content, batch_read.Block) and len(content.keys) > _SHORT:
        return tuple((len(part), hash(part)) for part in content)
    return content
