"""The JSON Schemas as the checks use them: the document's own, and a way to find the schema of any path.

A cube is checked with its own service's schema and with no other: one schema of all services would answer a misspelt key with
a page about every service that it does not fit.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.document import Path
from reconciler.document.paths import KeyFinder
from reconciler.incremental.memo import Memo, Node, derived, once

if TYPE_CHECKING:
    from reconciler.service.implementation import ServiceImpl
    from reconciler.service.model.codec import Env

Schema = Mapping[str, Any]


class Service(Protocol):
    """What the checks need to know of a service; `reconciler.service.registry.Service` has it and more."""

    @property
    def name(self) -> str: ...
    @property
    def schema(self) -> Schema: ...
    @property
    def kind(self) -> str: ...  # "standard" or "transparent"
    @property
    def max_ports(self) -> int: ...
    @property
    def floods(self) -> bool: ...  # what it does not know goes out of all ports
    @property
    def implementation(self) -> ServiceImpl: ...

    def check(self, config: Mapping[str, Any], env: Env, /) -> Iterable[tuple[Path, str, str]]:
        """Findings of its Python half about a cube that is valid by its schema: (path in the cube, sentence, severity)."""


class Services(Protocol):
    """The known services."""

    def get(self, name: str, /) -> Service | None: ...
    def names(self) -> Iterable[str]: ...
    def why_not(self, name: str, /) -> str: ...  # why one that is registered cannot be had; '' if none is
    def stamps(self) -> tuple[object, ...]: ...  # another value when a service may be another one


@derived
def memo_of(_services: Services) -> Memo:
    """The memo of checks with these services, which belongs to them."""
    return Memo()


@once
def document_schema() -> Schema:
    """The schema of a topology document in which a cube is any object with a name and a service-name."""
    file = File(__file__).resolve().parents[2] / "schemas" / "json" / "topology.schema.json"
    schema: dict[str, Any] = json.loads(file.read_text("utf-8"), object_hook=Node)
    del schema["definitions"]  # which only what an editor is told of cubes refers to
    cubes = schema["properties"]["spec"]["properties"]["cubes"]
    name = cubes["items"]["properties"]["name"]
    properties = Node(name=name, **{"service-name": Node(type="string")})
    cubes["items"] = Node(type="object", required=["name", "service-name"], properties=properties)
    return schema


@once
def topology_schema() -> Schema:
    """The same of a document as it is for one host (document/hosts.py), and with shared lists written out (shared.py)."""
    schema = deepcopy(document_schema())
    del schema["properties"]["spec"]["properties"]["hosts"], schema["properties"]["metadata"]["properties"]["annotations"]
    del schema["properties"]["spec"]["properties"]["shared"]
    return schema


def service_of(cube: object, services: Services) -> Service | None:
    """The service that a cube names, if there is one of that name."""
    name = cube.get("service-name") if isinstance(cube, Mapping) else None
    return services.get(name) if isinstance(name, str) else None


def key_finder(data: Any, services: Services) -> KeyFinder:
    """A function from the path of a list in the topology document `data` to the list's key leaves."""

    def keys(path: Path) -> tuple[str, ...]:
        schema: Any = topology_schema()
        here = data
        for depth, step in enumerate(path):
            if not isinstance(schema, Mapping):
                return ()
            schema = schema.get("items") if isinstance(step, int) else schema.get("properties", {}).get(step)
            here = here[step]
            if depth == 2 and path[:2] == ("spec", "cubes"):
                service = service_of(here, services)
                schema = service.schema if service else None
        return tuple(schema.get("x-yang-key", ())) if isinstance(schema, Mapping) else ()

    return keys

