"""The meaning of a topology file's key, and the cost of changing it, from the models; for `pcn explain`. Pure.

The cost is derived from the x- keywords that also determine a plan, so it needs neither a kernel nor a compiler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.check.schema import document_schema
from reconciler.document.suggest import did_you_mean
from reconciler.errors import UsageError
from reconciler.service.registry import Service, Services

Schema = Mapping[str, Any]
_TYPES = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "array": "a list",
}
_IN_PLACE = ("addresses", "routes", "mtu", "mac", "up")


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step of a path: the key, its schema, and whether it is read-only state."""

    name: str
    node: Schema
    state: bool = False


def explain(path: str, services: Services) -> dict[str, Any]:
    """Documentation of a path such as 'SERVICE.fdb.aging-time', 'spec.links.mtu', or a service's name.

    A plain mapping: path, description, type (with its range), and if present required, default, values, units, examples, key,
    children, state, actions, cost, and for a service its usage: lines of a file that uses it.
    Raises UsageError, with a suggestion, if there is no such key.
    """
    words = [re.sub(r"\[.*\]$", "", word) for word in re.split(r"[./](?![^\[]*\])", path.strip("./")) if word]
    service, root, words = _start(words, services)
    steps = [PathStep(service.name if service else "topology", root)]
    for word in words:
        steps.append(_child(steps, word))
    node = steps[-1].node
    found = {
        "path": ".".join(step.name for step in steps),
        "description": node.get("description", ""),
        "type": type_words(node),
        "required": len(steps) > 1 and steps[-1].name in _inner(steps[-2].node).get("required", ()),
        "default": node.get("default"),
        "values": list(_values(node)),
        "units": node.get("x-units", ""),
        "examples": list(node.get("examples", ())),
        "key": list(node.get("x-yang-key", ())),
        "children": [
            _about(name, child, name in _inner(node).get("required", ()))
            for name, child in _inner(node).get("properties", {}).items()
        ],
        "state": [_about(name, child) for name, child in _inner(node).get("x-state", {}).items()],
        "actions": [
            {"name": name, "description": about.get("description", "")}
            for name, about in _inner(node).get("x-actions", {}).items()
        ],
        "cost": list(costs(steps, service)),
        "usage": usage(service) if service is not None and len(steps) == 1 else [],
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], False)}


def _start(words: list[str], services: Services) -> tuple[Service | None, Schema, list[str]]:
    if not words:
        raise UsageError("say what to explain: a service, or a path such as spec.links.kind")
    first, rest = words[0], words[1:]
    topology = document_schema()
    if first == "topology":
        return None, topology, rest
    if first in topology["properties"]:
        return None, topology, words
    service = services.get(first)
    if service is not None:
        return service, service.schema, rest
    within = topology["properties"]["spec"]["properties"]
    if first in within:
        return None, topology, ["spec", *words]
    hint = did_you_mean(first, [*services.names(), *topology["properties"], *within])
    raise UsageError(f"there is neither a service nor a key {first!r}" + (f"; {hint}" if hint else "") + "\nsee 'pcn services'")


def _inner(node: Schema) -> Schema:
    """The object whose members are a node's children: a list's entry, or the node itself."""
    items = node.get("items")
    return items if isinstance(items, Mapping) else node


def _child(steps: Sequence[PathStep], word: str) -> PathStep:
    inner = _inner(steps[-1].node)
    if word in inner.get("properties", {}):
        return PathStep(word, inner["properties"][word], steps[-1].state)
    if word in inner.get("x-state", {}):
        return PathStep(word, inner["x-state"][word], True)
    path, known = ".".join(step.name for step in steps), [*inner.get("properties", {}), *inner.get("x-state", {})]
    if path == "topology.spec.cubes":
        raise UsageError("a cube's keys depend on its service: 'pcn explain SERVICE.KEY', and 'pcn services' lists them")
    if word in inner.get("x-actions", {}):
        of = "/".join((*(step.name for step in steps[1:]), word))
        raise UsageError(f"{word!r} is an action of {path} and no key: 'pcn action CUBE {of}' does it")
    hint = did_you_mean(word, known) or (f"it has {', '.join(known)}" if known else "it has no keys")
    raise UsageError(f"{path} has no key {word!r}; {hint}")


def usage(service: Service) -> list[str]:
    """Lines of a topology file in which a cube of the service is created and connected."""
    name = f"{service.name}1"
    if service.kind == "transparent":
        return [
            "cubes:",
            f"  - {{name: {name}, service-name: {service.name}}}",
            "# before a netdev of the host:",
            f"attachments: [{{netdev: NETDEV, tcubes: [{name}]}}]",
            "# or before a port of another cube, in that port's entry:",
            f"#   ports: [{{name: PORT, peer: NETDEV, tcubes: [{name}]}}]",
        ]
    return [
        "cubes:",
        f"  - name: {name}",
        f"    service-name: {service.name}",
        "    ports:",
        f"      - {{name: p1, peer: NETDEV{_of_port(service, 0)}}}        # a netdev of the host, such as a veth",
        f"      - {{name: p2, peer: 'CUBE:PORT'{_of_port(service, -1)}}}   # a port of another cube; its peer is this one",
    ]


def _of_port(service: Service, which: int) -> str:
    """The mandatory keys of a service's port, with their example number `which`."""
    port = _inner(service.schema["properties"].get("ports", {}))
    words = ""
    for name in port.get("required", ()):
        node = port["properties"][name]
        values = node.get("enum") or node.get("examples") or ("VALUE",)
        words += f", {name}: {values[which]}" if name != "name" else ""
    return words


def _about(name: str, node: Schema, required: bool = False) -> dict[str, Any]:
    """A child key's name, type and description, and if present required, default and an example."""
    about = {"name": name, "type": type_words(node), "description": str(node.get("description", ""))}
    more = {"required": required, "default": node.get("default"), "example": next(iter(node.get("examples", ())), None)}
    return about | {key: value for key, value in more.items() if value not in (None, False)}


def type_words(node: Schema) -> str:
    """A short description of a type, with its bounds."""
    if "const" in node:
        return f"always {node['const']}"
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    if "anyOf" in node and "type" not in node:
        single = dict.fromkeys(type_words(each) for each in node["anyOf"] if each.get("type") != "array")
        takes_lists = any(each.get("type") == "array" for each in node["anyOf"])
        return "; or ".join([*single, *(["a list of such"] if takes_lists else [])])
    kinds = node.get("type", "string" if "pattern" in node else "")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "array":
        items = node.get("items", {})
        of = "entries" if items.get("type") == "object" else f"{type_words(items)}"
        most = f", at most {node['maxItems']}" if "maxItems" in node else ""
        return f"a list of {of}{most}"
    bounds = f", {node.get('minimum', '')}..{node.get('maximum', '')}" if {"minimum", "maximum"} & set(node) else ""
    expected = str(node.get("patternErrorMessage", "")).removeprefix("expected ")
    return (expected if kind == "string" and expected else _TYPES.get(kind, "any value")) + bounds


def _values(node: Schema) -> Iterator[dict[str, str]]:
    for value, about in zip(node.get("enum", ()), node.get("enumDescriptions", ()), strict=False):
        yield {"value": str(value), "description": str(about)}


# -- what a change costs --------------------------------------------------------------------------------------------------


def costs(steps: Sequence[PathStep], service: Service | None) -> Iterator[str]:
    """The cost of a change, in sentences; none if only child keys have one."""
    node, name = steps[-1].node, steps[-1].name
    in_list = any(step.node.get("type") == "array" for step in steps[1:-1])
    if steps[-1].state:
        yield "It is state: shown by 'pcn show --state', never in a file."
    elif service is None:
        yield from _topology_costs([step.name for step in steps[1:]])
    elif len(steps) == 2 and name in ("name", "service-name"):
        yield "It makes another cube: the old one is removed and a new one made; what it learned is lost."
    elif len(steps) > 2 and name in steps[-2].node.get("x-yang-key", ()):
        yield "It names the entry: with another value, one entry is removed and one is added."
    elif len(steps) == 2 and steps[-1].name == "fuse":
        yield "The chains that the cube is in are linked anew and exchanged, without compiling: no packet is lost."
    elif node.get("x-init-only") and (not in_list or "x-pcn-value" in node):
        yield (
            "The entry is replaced: one map write; what it learned and counted is lost."
            if in_list
            else "The cube is made anew, and works in the old form until it is ready; what it learned and counted is lost."
        )
    elif steps[1:2] and steps[1].name == "ports" and (found := _PORT_COSTS.get(".".join(step.name for step in steps[1:]))):
        yield found
    else:
        yield from _bound_costs(steps, service)


_SWAP = "Programs are loaded anew and exchanged, without compiling: no packet is lost, and nothing learned."
_PORT_COSTS = {
    "ports": "A port more or less: the entries of that port are loaded, and its links changed. Other ports are not touched.",
    "ports.peer": "Link changes at this port and at its peer. Chains of cubes that it joins or parts are linked anew; no other "
    "program is loaded.",
    "ports.tcubes": "Link changes at this port; the cubes' own programs stay.",
}


def _bound_costs(steps: Sequence[PathStep], service: Service) -> Iterator[str]:
    node, name = steps[-1].node, steps[-1].name
    if "x-pcn-const" in node or (len(steps) == 2 and name == "loglevel"):
        yield _SWAP
    elif node.get("type") == "array" and "x-pcn-table" in node:
        yield "One map write for each entry that is added, changed or removed; no packet is lost."
        if "x-pcn-const-any" in node:
            yield f"With the first entry and without the last one: {_SWAP[0].lower()}{_SWAP[1:]}"
    elif "x-pcn-value" in node or "x-pcn-key" in node:
        yield "One map write; no packet is lost."
    elif node.get("type") not in ("object", "array") or "properties" not in _inner(node):
        yield (
            "Its service's own code works out the rows: as many map writes as rows differ."
            if service.files.implementation.exists()
            else "Nothing in the kernel: it is kept beside what is applied."
        )


def _topology_costs(names: Sequence[str]) -> Iterator[str]:
    if list(names[:2]) == ["spec", "links"] and len(names) > 2:
        if names[-1] in _IN_PLACE or any(name in _IN_PLACE for name in names[2:]):
            yield "Changed in place: a link change, and no packet is lost elsewhere."
        else:
            yield "The netdev is made anew; packets on it are lost meanwhile."
    elif list(names) == ["spec", "namespaces"]:
        yield "A namespace is made or removed, with all that is in it."
    elif list(names[:2]) == ["spec", "attachments"]:
        yield "Link changes at the netdev's hooks."
