"""The available services, found by name.

They originate from the built-in tree, from distributions that declare an entry point in group `pcn.services` (a directory),
from directories on the command line, and, registered in /run/pcn/services or /etc/pcn/services, from elsewhere
(service/remote). A directory holds <service>.schema.json (generated from <service>.yang), <service>.c and perhaps
<service>.py.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.incremental.memo import Node
from reconciler.service.directories import ServiceFiles, in_directory, in_tree
from reconciler.service.ownership import refuse_others

if TYPE_CHECKING:
    from reconciler.service.installed import Installed
    from reconciler.service.remote import Finder, Found
from reconciler.service.cube_type import HERE, LEVELS, Service, cube_number, leap_seconds, room_for

__all__ = ["HERE", "LEVELS", "SHADOW", "Service", "Services", "ShadowService", "cube_number", "leap_seconds", "room_for"]


class ShadowService(Service):
    """The framework's own, of the transparent cubes that belong to others' shadows (graph/shadows.py)."""

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        about = {"kind": "transparent", "ingress": ["shadow.c"], "egress": ["shadow.c"]}
        return Node({"type": "object", "additionalProperties": False, "properties": {}, "x-pcn-service": about})


SHADOW = "shadow+"
_FRAMEWORK = HERE / "bpf" / "framework"
_SHADOW = ShadowService(ServiceFiles(SHADOW, _FRAMEWORK / "none", _FRAMEWORK, _FRAMEWORK / "none.py"))


class Services:
    """All services that can be had, found lazily by name. Directories named first win."""

    def __init__(self, directories: Sequence[str | Path] = ()) -> None:
        for directory in directories:
            refuse_others(directory)
        self.directories = [Path(directory).resolve() for directory in directories]
        self._found: dict[str, Service] = {}
        self._registered: dict[str, tuple[Found, Service]] = {}

    def get(self, name: str) -> Service | None:
        if name == SHADOW:
            return _SHADOW
        if name not in self._found:
            files = self._near.get(name) or self._files.get(name)  # installed ones are looked for last: it takes a while
            if files is None:
                return self._get_elsewhere(name)
            self._found[name] = Service(files)
        return self._found.get(name)

    def names(self) -> list[str]:
        return sorted({*self._files, *self._finder.names()})

    def names_near(self) -> list[str]:
        """Those of the directories on the command line."""
        return sorted(name for directory in self.directories for name in in_directory(directory))

    def why_not(self, name: str) -> str:
        """Why a service that is registered cannot be had, in a sentence; '' if none of this name is."""
        return self._finder.why(name) or next((each.problem for each in self._installed if each.name == name), "")

    def stamps(self) -> tuple[Any, ...]:
        """Changes when a service that is not installed may have changed: then `get` returns another object."""
        return self._finder.stamps() if "_finder" in self.__dict__ else ()

    def _get_elsewhere(self, name: str) -> Service | None:
        """One that is registered (service/remote/places.py); the same object for as long as it is the same."""
        found = self._finder.find(name)
        if found is None:
            return None
        if name not in self._registered or self._registered[name][0] is not found:
            files = in_directory(found.directory).get(name)
            if files is None:
                return None
            self._registered[name] = found, Service(replace(files, edition=found.edition), found.implementation)
        return self._registered[name][1]

    @functools.cached_property
    def _finder(self) -> Finder:
        from reconciler.service.remote import Finder  # most commands have no use for it

        return Finder()

    @functools.cached_property
    def _near(self) -> dict[str, ServiceFiles]:
        found = dict(in_tree())
        for directory in reversed(self.directories):
            found |= in_directory(directory)
        return found

    @functools.cached_property
    def _files(self) -> dict[str, ServiceFiles]:
        found: dict[str, ServiceFiles] = {}
        for each in self._installed:
            found |= in_directory(each.directory) if each.directory is not None else {}
        return found | self._near

    @functools.cached_property
    def _installed(self) -> list[Installed]:
        from reconciler.service.installed import installed  # reading entry points takes tens of ms

        return installed()
