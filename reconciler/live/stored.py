"""Compiled objects of cubes, stored in the root beside them: reading, comparing and removing need neither compiler nor cache.

    built/<service>:<TC|XDP>[+<sources>]:<digest>    a map of one value, like an applied document: objects by slot, compressed

A cache: it is part of no plan and compared with nothing; where it has none (an older version applied), objects are compiled.
The digest covers all that the kind was compiled from: if the sources have changed since, these objects are the last resort.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from reconciler import pins
from reconciler.compiler.object import Object
from reconciler.errors import KernelError
from reconciler.graph.parts import Built, ProgramSlot
from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.document_values import pack_document
from reconciler.kernel.reader import Reader
from reconciler.model import BuildKey, family_of

HOME = "built"


def load(reader: Reader, key: BuildKey, digest: str = "") -> Built | None:
    """A kind that was compiled from this, or (no `digest`) as it was last applied; None if that is not there to be read."""
    for name in reader.names(HOME):
        if name.startswith(_start(key) + digest) and (text := reader.document(f"{HOME}/{name}")) is not None:
            with suppress(ValueError, KeyError, TypeError):
                return Built({ProgramSlot(*slot): Object.from_json(data) for slot, data in json.loads(text)})
    return None


def everything(reader: Reader) -> Iterator[tuple[Object, Collection[str]]]:
    """All that is kept, each object with the other digests that are recorded for it."""
    for name in reader.names(HOME):
        if (text := reader.document(f"{HOME}/{name}")) is not None:
            with suppress(ValueError, KeyError, TypeError):
                for _, data in json.loads(text):
                    yield Object.from_json(data), data.get("same", ())


def keep(
    root: Bpffs, wanted: Mapping[BuildKey, Built], digests: Mapping[BuildKey, str], same: Mapping[str, Collection[str]]
) -> None:
    """Store these kinds, as far as their digests are known, and those of every other cube below the root (one in quarantine
    is in no plan). `same`: the other digests under which live programs are recorded that are equivalent to an object, by its
    digest. Objects that cannot be stored will be compiled."""
    there = set(root.names(HOME))
    names = {f"{_start(key)}{digest}": key for key, digest in digests.items() if key in wanted}
    with suppress(KernelError, OSError):
        for name, key in names.items():
            if name in there and not same:
                continue
            text = _text(wanted[key], same)
            if name not in there or Reader(root).document(f"{HOME}/{name}") != text:
                _write(root, f"{HOME}/{name}", text)
        stale = there - names.keys()
        used = (_starts_in_use(root) if stale else set()) - {_start(key) for key in names.values()}
        for name in stale:
            if not name.startswith(tuple(used)):
                root.remove(f"{HOME}/{name}")


def _starts_in_use(root: Bpffs) -> set[str]:
    """The prefixes of the names in use, by the records of the cubes below the root."""
    found = set()
    for cube in root.names("cubes"):
        with suppress(ValueError, KeyError):
            about = json.loads(root.read_link(f"cubes/{cube}/about") or "{}")
            found.add(_start(BuildKey(about["service"], family_of(about["type"]), about.get("sources", ""))))
    return found


def digest_of(keys: Iterable[str]) -> str:
    return hashlib.blake2b("".join(keys).encode(), digest_size=8).hexdigest()


def _start(key: BuildKey) -> str:
    return f"{pins.escape(key.service)}:{key.family}{f'+{key.sources}' if key.sources else ''}:"


def _text(built: Built, same: Mapping[str, Collection[str]]) -> str:
    entries = []
    for slot, made in built.objects.items():
        others = {"same": sorted(same[made.digest])} if made.digest in same else {}
        entries.append([[slot.side, slot.direction, slot.index, slot.flavour], {**made.to_json(), **others}])
    return json.dumps(entries, separators=(",", ":"))


def _write(root: Bpffs, path: str, text: str) -> None:
    value = pack_document(text)
    root.make_directory(HOME)
    root.remove(path)
    fd = maps.create(maps.MapSpec(maps.ARRAY, 4, len(value), 1), "built")
    try:
        maps.update(fd, bytes(4), value)
        root.pin(fd, path)
    finally:
        os.close(fd)
