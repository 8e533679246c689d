"""Polycube's own documents: a bare list of cubes, as `polycubectl cubes show` prints and the daemon reads it.

It is converted to a topology before anything is checked. Polycube's conventions are translated: `parent` names the place of a
transparent cube, a port's `tcubes` count from the cube outwards (here: from the wire inwards), and a dump carries state,
which is omitted with a warning.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from reconciler.check.messages import quoted
from reconciler.check.schema import Services, service_of
from reconciler.document import Document, Path
from reconciler.document.load import STDIN
from reconciler.document.paths import display
from reconciler.errors import Problem

_STATE = {"cube": ("uuid", "parent"), "port": ("uuid", "status")}
"""State that Polycube's framework adds to what the services' models say."""
_OF_STANDARD = {"shadow": False, "span": False}
"""What a dump may say of a transparent cube too, which has neither."""


def topology_of(document: Document, services: Services) -> tuple[Document, list[Problem]]:
    """A document in topology form, unchanged or converted from a list of cubes; and warnings about the conversion."""
    if not isinstance(document.data, list):
        return document, []
    work = _Conversion(document)
    cubes = [work.cube(index, cube, services) for index, cube in enumerate(document.data)]
    attachments = work.attach(cubes)
    spec: dict[str, Any] = {"cubes": cubes} | ({"attachments": attachments} if attachments else {})
    metadata = {"name": name_from(document.file)}
    data = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": metadata, "spec": spec}
    made = Document(document.file, document.text, data, document.index, {(): (document, ()), **work.places})
    return made, work.all_problems()


def name_from(file: str) -> str:
    """The name of a topology that does not declare one: that of its file."""
    stem = "" if file == STDIN else re.sub("[^A-Za-z0-9_.-]+", "-", PurePath(file).name.split(".")[0]).strip("-._")
    return stem[:63] or "default"


@dataclass(slots=True)
class _Conversion:
    document: Document
    places: dict[Path, tuple[Document, Path]] = field(default_factory=dict)
    parents: list[tuple[int, str, str]] = field(default_factory=list)  # index and name of a cube, and its parent
    dropped: dict[str, list[Path]] = field(default_factory=dict)
    turned: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places["spec", "cubes"] = self.document, ()

    def cube(self, index: int, cube: Any, services: Services) -> Any:
        """One cube without state; its parent is remembered."""
        if not isinstance(cube, dict):
            return cube
        parent, name = cube.get("parent"), cube.get("name")
        if isinstance(parent, str) and isinstance(name, str) and parent:
            self.parents.append((index, name, parent))
        service = service_of(cube, services)
        result = self.without_state(cube, service.schema if service else {}, (index,), "cube")
        ports = result.get("ports")
        if isinstance(ports, list):
            result["ports"] = [self.port(port, (index, "ports", number)) for number, port in enumerate(ports)]
        return result

    def port(self, port: Any, path: Path) -> Any:
        if not isinstance(port, dict):
            return port
        result = self.without_state(port, {}, path, "port")
        tcubes = result.get("tcubes")
        if isinstance(tcubes, list) and len(tcubes) > 1:
            here: Path = (*path, "tcubes")
            self.turned.append(here)
            for number in range(len(tcubes)):
                self.places["spec", "cubes", *here, number] = self.document, (*here, len(tcubes) - 1 - number)
            result["tcubes"] = tcubes[::-1]
        if result.get("peer") == "":
            del result["peer"]  # how a dump says that a port has none
        return result

    def without_state(self, data: Any, schema: Mapping[str, Any], path: Path, what: str = "") -> Any:
        """A value without the leaves that are state in its model, at any depth."""
        if isinstance(data, list):
            return [self.without_state(entry, schema.get("items", {}), (*path, index)) for index, entry in enumerate(data)]
        if not isinstance(data, dict):
            return data
        result = {}
        for name, value in data.items():
            known = schema.get("properties", {})
            if name not in known and (name in schema.get("x-state", ()) or name in _STATE.get(what, ())):
                if name != "parent":
                    self.dropped.setdefault(name, []).append((*path, name))
            elif name in known or what != "cube" or _OF_STANDARD.get(name) is not value:
                result[name] = self.without_state(value, known.get(name, {}), (*path, name))
        return result

    def attach(self, cubes: list[Any]) -> list[dict[str, Any]]:
        """Insert transparent cubes at their parents: into ports' tcubes; those on netdevs are returned."""
        netdevs: dict[str, list[str]] = {}
        for index, name, parent in self.parents:
            cube, colon, port = parent.partition(":")
            if not colon:
                chain = netdevs.setdefault(parent, [])
                attachment: Path = ("spec", "attachments", list(netdevs).index(parent))
                source = self.document, (index, "parent")
                self.places.setdefault(attachment, source)
                self.places[*attachment, "tcubes", len(chain)] = source
                chain.append(name)
            elif not self.attach_to_port(cubes, cube, port, name, (index, "parent")):
                path = display((index, "parent"), self.document.data)
                where = self.document.position((index, "parent"))
                self.problems.append(Problem(f"no such port {quoted(parent)}", path, where))
        return [{"netdev": netdev, "tcubes": names} for netdev, names in netdevs.items()]

    def attach_to_port(self, cubes: list[Any], cube: str, port: str, name: str, source: Path) -> bool:
        for index, entry in enumerate(cubes):
            ports = entry.get("ports") if isinstance(entry, dict) and entry.get("name") == cube else None
            for number, found in enumerate(ports if isinstance(ports, list) else ()):
                if isinstance(found, dict) and found.get("name") == port:
                    tcubes = found.setdefault("tcubes", [])
                    if name not in tcubes:
                        self.places["spec", "cubes", index, "ports", number, "tcubes", len(tcubes)] = self.document, source
                        tcubes.append(name)
                    return True
        return False

    def all_problems(self) -> list[Problem]:
        said = {f"{quoted(name)} is read-only state; it is left out": paths for name, paths in self.dropped.items()}
        if self.turned:
            said["tcubes count from the cube outwards in Polycube; their order is turned round"] = self.turned
        return self.problems + [self.warning(paths, message) for message, paths in said.items()]

    def warning(self, paths: list[Path], message: str) -> Problem:
        others = f", here and in {len(paths) - 1} other places" if len(paths) > 1 else ""
        where = self.document.position(paths[0], key=True)
        return Problem(message + others, display(paths[0], self.document.data), where, severity="warning")
