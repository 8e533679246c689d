"""Compiled programs, kept by what they were made from.

A file is named <key>-<compiler>.json. The key covers every input but the compiler, so that a machine without one can
use what another machine compiled. What is read here goes into the kernel: a file is taken only if it is whole, bears
the name it should, and could have been written by nobody but root or the user.
"""
from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from reconciler.compiler import toolchain
from reconciler.compiler.object import FORMAT, Object
from reconciler.compiler.sources import Sources, Unit

MAX_BYTES = 64 << 20  # a program takes about 20 kB

_NAME = re.compile(r"[0-9a-f]{64}-[\w.-]+\.json|\.new-\w+")
_TOUCH_SECONDS = 86400  # a file's age counts from the last day on which it was of use


def directory() -> Path:
    """$PCN_CACHE, or the system's cache for root, or the user's."""
    if chosen := os.environ.get("PCN_CACHE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/pcn")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pcn"


def key(unit: Unit, sources: Sources) -> str:
    """A digest of all that a unit is compiled from, wherever it lies."""
    texts = [sources.framework, sources.service, *(sources.beside[name] for name in sorted(sources.beside))]
    return hashlib.sha256(json.dumps([
        FORMAT, toolchain.fingerprint(), unit.flavour, unit.direction, sorted(unit.macros().items()),
        [[text.name, _digest(text.text)] for text in texts]]).encode()).hexdigest()


@functools.lru_cache(maxsize=256)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def load(wanted: str, compiler: str | None) -> Object | None:
    """What is kept under a key, made by this compiler; or by any, if there is none here."""
    home = directory()
    paths = [home / f"{wanted}-{compiler}.json"] if compiler else sorted(home.glob(f"{wanted}-*.json"))
    return next((found for path in paths if (found := _read(path, wanted)) is not None), None)


def load_all(wanted: str) -> list[Object]:
    """What is kept under a key, by whichever compilers; nothing of a directory that may not be read."""
    try:
        paths = sorted(directory().glob(f"{wanted}-*.json"))
    except OSError:
        return []
    return [found for path in paths if (found := _read(path, wanted)) is not None]


def _read(path: Path, wanted: str) -> Object | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not _trusted(about):
            _warn(f"{path} is ignored: others than root could have written it")
            return None
        found = _parsed(_Open(file, (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)), wanted)
    if found is not None and time.time() - about.st_mtime > _TOUCH_SECONDS:
        _touch(path)
    return found


@dataclass(frozen=True)
class _Open:
    """An open file; the same one if it is the same file, and was not written to."""

    file: IO[bytes] = field(compare=False)
    identity: tuple[int, ...]


@functools.lru_cache(maxsize=256)
def _parsed(source: _Open, wanted: str) -> Object | None:
    """Kept, because an agent asks for the same objects again and again."""
    try:
        data = json.loads(source.file.read())
        return Object.from_json(data["object"]) if data["key"] == wanted else None
    except (ValueError, KeyError, TypeError):
        return None


def _trusted(about: os.stat_result) -> bool:
    return about.st_uid in (0, os.geteuid()) and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and stat.S_ISREG(about.st_mode)


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        pass  # a cache on a read-only file system serves as well


def store(wanted: str, found: Object) -> Path | None:
    """Keep an object; None, and a warning, if that cannot be done: it is a cache."""
    from tempfile import mkstemp

    home = directory()
    try:
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd, temporary = mkstemp(prefix=".new-", dir=home)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o644)
            json.dump({"key": wanted, "object": found.to_json()}, file, separators=(",", ":"))
        path = home / f"{wanted}-{found.compiler}.json"
        os.replace(temporary, path)
    except OSError as error:
        _warn(f"compiled programs cannot be kept in {home}: {error.strerror}")
        return None
    return path


def prune(max_bytes: int = MAX_BYTES) -> int:
    """Remove what was of no use for the longest time, until at most `max_bytes` are left. Gives the bytes removed."""
    files = sorted(_files(), key=lambda entry: entry[1].st_mtime, reverse=True)
    kept = removed = 0
    for path, about in files:
        if kept + about.st_size <= max_bytes:
            kept += about.st_size
            continue
        try:
            path.unlink()
            removed += about.st_size
        except OSError:
            pass  # somebody else was quicker, or it is not ours to remove
    return removed


def _files() -> Iterator[tuple[Path, os.stat_result]]:
    home = directory()
    for path in home.iterdir() if home.is_dir() else ():
        if _NAME.fullmatch(path.name):
            try:
                yield path, path.lstat()
            except OSError:
                continue


def _warn(message: str) -> None:
    import logging

    logging.getLogger("pcn.compiler").warning(message)
