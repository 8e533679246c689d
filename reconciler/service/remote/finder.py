"""Finds services elsewhere by name, and decides which of them is believed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from reconciler.errors import PcnError
from reconciler.service.remote import places
from reconciler.service.remote.contact import Contact, changed, introduce
from reconciler.service.remote.impl import RemoteImpl
from reconciler.service.remote.kept import Answers, Kept
from reconciler.service.remote.manifest import Manifest
from reconciler.service.remote.places import Place
from reconciler.service.remote.slowpath import carrier

AGAIN = 5.0  # seconds after which one that could not be had is asked again


@dataclass(frozen=True, slots=True)
class Found:
    """A service of a `directory` with its code; or one whose model and C are stored there, with a client for the rest, and
    its `credentials`: the files by which both sides identify each other. `stamp`: the value of `now` when it was found."""

    directory: Path
    implementation: RemoteImpl | None = None
    stamp: tuple[Any, ...] = ()
    credentials: tuple[str, ...] = ()

    def now(self) -> tuple[Any, ...]:
        """Changes when the service may have changed: other code, or other certificates."""
        return _contents(self.directory) if self.implementation is None else places.identities(self.credentials)

    @property
    def edition(self) -> str:
        """Changes with the code, or when the worker that calls it must restart, since it cannot read files any more."""
        version = self.implementation.version if self.implementation is not None else ""
        if version and not self.stamp:
            return version
        return blake2b(repr((version, self.stamp)).encode(), digest_size=6).hexdigest()


class Finder:
    """`find` returns the same object for as long as it is the same service."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[Any, ...], Found | None]] = {}
        self._why: dict[str, str] = {}
        self._again: dict[str, float] = {}

    def names(self) -> list[str]:
        return places.names()

    def why(self, name: str) -> str:
        """Why a service is unavailable, in a sentence; '' if it is not registered."""
        return self._why.get(name, "")

    def find(self, name: str) -> Found | None:
        """None: not registered, or not trusted. A service that was asked before is not asked again."""
        stamp = places.stamp(name)
        before, found = self._found.get(name, ((), None))
        soon = time.monotonic() < self._again.get(name, 0.0)
        if before == stamp and (found.stamp == found.now() if found else soon):
            return found
        self._why.pop(name, None)
        self._again[name] = time.monotonic() + AGAIN
        found = None
        try:
            found = self._look(name)
        except PcnError as error:
            self._why[name] = str(error)
        self._found[name] = stamp, found
        return found

    def stamps(self) -> tuple[Any, ...]:
        """Another value when one of those that were found may be another one."""
        return tuple(
            (name, places.stamp(name), found.now() if found else ()) for name, (_, found) in self._found.items()
        )

    def _look(self, name: str) -> Found | None:
        place, kept = places.find(name), Kept(name)
        if place is not None and place.directory:
            from reconciler.service.ownership import refuse_others

            refuse_others(place.directory)
            return Found(Path(place.directory), stamp=_contents(Path(place.directory)))
        manifest = self._manifest(place, kept) if place is not None else kept.manifest()
        if manifest is None:
            return None
        credentials = tuple((place.tls or {}).values()) if place is not None else ()
        stamp = places.identities(credentials)  # before they are read
        contact = Contact(place or places.absent(name), kept, self._agreed(place, manifest))
        implementation = RemoteImpl(manifest, contact, Answers(kept, manifest.digest), carrier(contact, manifest))
        return Found(kept.directory(manifest.digest), implementation, stamp, credentials)

    @staticmethod
    def _agreed(place: Place | None, manifest: Manifest) -> str:
        """The digest that is to answer. Until it does, the one before is what is loaded, and what is read by."""
        return place.digest if place is not None and place.needs_pin and place.digest else manifest.digest

    def _manifest(self, place: Place, kept: Kept) -> Manifest | None:
        """The manifest to use: root's pin selects it, or, for a service that root serves on this host, it is the present one.
        While that is unavailable, the last one: what was loaded from it can still be read."""
        known = kept.manifest(place.digest) if place.digest else None
        if known is not None:
            kept.believe(known)
            return known
        last = kept.manifest()
        try:
            found = introduce(place, kept)
        except PcnError as error:
            self._why[place.name] = str(error)
            return last
        if (place.needs_pin or place.digest) and found.digest != place.digest:
            self._why[place.name] = changed(place, found.digest, place.digest or (last.digest if last else ""))
            return last
        kept.believe(found)
        return found


def _contents(directory: Path) -> tuple[Any, ...]:
    """Of a directory that may be edited: names and modification times."""
    return tuple(sorted(_files(directory)))


def _files(directory: Path) -> Iterator[tuple[str, int]]:
    with suppress(OSError):
        for path in directory.iterdir():
            if path.suffix in (".json", ".c", ".h", ".py"):
                yield path.name, path.stat().st_mtime_ns
