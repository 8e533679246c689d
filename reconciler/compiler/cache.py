"""The cache of compiled programs, keyed by their inputs.

A file is named <key>-<compiler>.json. The key covers every input but the compiler, so that a machine without one can
use what another machine compiled. Its contents are loaded into the kernel: a file is used only if it is complete, has
the right name, and is writable by root or the user only, in a directory of which the same is true.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from reconciler.compiler import toolchain
from reconciler.compiler.object import FORMAT, Object
from reconciler.compiler.sources import Source, Sources, Unit
from reconciler.errors import NotTrusted
from reconciler.incremental.memo import Interned, derived
from reconciler.kernel import trusted
from reconciler.kernel.cachedir import directory

MAX_BYTES = 64 << 20  # a program takes about 20 kB

_NAME = re.compile(r"[0-9a-f]{64}-[\w.-]+\.json|\.new-\w+")
_WRITING_SECONDS = 60  # a draft that is older was abandoned
_TOUCH_SECONDS = 86400  # resolution of a file's last use, which is its mtime


def key(unit: Unit, sources: Sources) -> str:
    """A digest of a unit's inputs, independent of their location."""
    texts = [sources.framework, sources.service, *(sources.beside[name] for name in sorted(sources.beside))]
    defined = [sorted(unit.macros().items()), sorted(unit.renames.items())]
    return hashlib.sha256(json.dumps([
        FORMAT, toolchain.fingerprint(), unit.flavour, unit.direction, *defined,
        [[text.name, _digest(text)] for text in texts]]).encode()).hexdigest()


@derived
def _digest(source: Source) -> str:
    return hashlib.sha256(source.text.encode()).hexdigest()


@contextmanager
def _opened(*, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory, which no other user can modify. Raises NotTrusted, OSError."""
    fd = trusted.open_directory(directory(), make=0o755 if make else None)
    try:
        yield fd
    finally:
        os.close(fd)


def load(wanted: str, compiler: str | None) -> Object | None:
    """The object cached under a key, compiled by this compiler; by any, if `compiler` is None."""
    return next(_kept(wanted, compiler), None)


def load_all(wanted: str) -> list[Object]:
    """The objects cached under a key, of all compilers; none if the directory is unreadable or not trusted."""
    return list(_kept(wanted, None))


def with_seal(seal: str) -> Object | None:
    """The cached object with this seal, under any key."""
    with suppress(OSError, NotTrusted), _opened() as home:
        for name in sorted(os.listdir(home)):
            if name.endswith(".json") and (found := _read(home, name, name[:64], seal)) is not None:
                return found
    return None


def _kept(wanted: str, compiler: str | None) -> Iterator[Object]:
    with suppress(OSError, NotTrusted), _opened() as home:  # `store` reports it, if something has to be compiled
        names = [f"{wanted}-{compiler}.json"] if compiler else sorted(os.listdir(home))
        for name in names:
            if name.startswith(f"{wanted}-") and (found := _read(home, name, wanted)) is not None:
                yield found


def _read(home: int, name: str, wanted: str, seal: str = "") -> Object | None:
    try:
        fd = trusted.open_file(home, name)
    except NotTrusted as error:
        _warn(f"a compiled program is ignored: {error}")
        return None
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if seal and f'"{seal}"'.encode() not in file.read():
            return None
        file.seek(0)
        identity = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
        try:
            found = _parsed(_Open(file, identity, wanted))
        except (ValueError, KeyError, TypeError):
            return None
        if time.time() - about.st_mtime > _TOUCH_SECONDS:
            with suppress(OSError):  # a read-only file system
                os.utime(fd)
    return found


@dataclass(frozen=True)
class _Open:
    """An open file of the cache, for `key`. Equal to another of the same, unmodified file."""

    file: IO[bytes] = field(compare=False)
    identity: tuple[int, ...]
    key: str


def _parse(source: _Open) -> Object:
    """Raises ValueError, KeyError, TypeError."""
    data = json.loads(source.file.read())
    if data["key"] != source.key:
        raise ValueError
    return Object.from_json(data["object"])


_parsed = Interned(_parse)
"""Interned, since an agent loads the same objects repeatedly, and references them."""


def store(wanted: str, found: Object) -> Path | None:
    """Cache an object; returns its path, or None after a warning: the cache is optional."""
    name = f"{wanted}-{found.compiler}.json"
    try:
        with _opened(make=True) as home:
            _write(home, name, json.dumps({"key": wanted, "object": found.to_json()}, separators=(",", ":")))
    except (OSError, NotTrusted) as error:
        _warn(f"compiled programs cannot be kept in {directory()}: {getattr(error, 'strerror', None) or error}")
        return None
    return directory() / name


def _write(home: int, name: str, text: str) -> None:
    """Write atomically; a full disk leaves no partial file."""
    draft = f".new-{os.getpid()}_{time.monotonic_ns()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=home)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o644)
            file.write(text)
        os.replace(draft, name, src_dir_fd=home, dst_dir_fd=home)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft, dir_fd=home)
        raise


def prune(max_bytes: int = MAX_BYTES) -> int:
    """Remove residue of killed writers, entries that are no regular files, and the least recently used objects beyond
    `max_bytes`. Returns the bytes removed; 0 for a cache that does not exist, or is not trusted."""
    kept = removed = 0
    try:
        with _opened() as home:
            for name, about in sorted(_files(home), key=lambda entry: entry[1].st_mtime, reverse=True):
                if _is_of_use(name, about) and kept + about.st_size <= max_bytes:
                    kept += about.st_size
                    continue
                with suppress(OSError):  # removed by another process, or not permitted
                    os.unlink(name, dir_fd=home)
                    removed += about.st_size
    except (OSError, NotTrusted):
        pass
    return removed


def _files(home: int) -> Iterator[tuple[str, os.stat_result]]:
    for name in os.listdir(home):
        if _NAME.fullmatch(name):
            with suppress(OSError):
                yield name, os.stat(name, dir_fd=home, follow_symlinks=False)


def _is_of_use(name: str, about: os.stat_result) -> bool:
    return stat.S_ISREG(about.st_mode) and (name.endswith(".json") or time.time() - about.st_mtime < _WRITING_SECONDS)


def _warn(message: str) -> None:
    import logging

    logging.getLogger("pcn.compiler").warning(message)
