"""Data nodes as JSON Schema: containers and list entries are objects, lists and leaf-lists arrays.

Configuration stands in `properties`. What only the datapath knows (config false) stands apart, in `x-state`: no
document may contain it. Inside of state, and inside of actions, there is nothing to set apart.
"""
from __future__ import annotations

from schemas.generate.choices import choices_of, choices_to_make, members_of
from schemas.generate.conditions import conditional_schemas, kept_musts, when_of
from schemas.generate.kernel import action_keywords, leaf_keywords, leafref_path, table_keywords
from schemas.generate.leaf_types import type_schema
from schemas.generate.typedefs import type_of
from schemas.generate.values import default_of, examples_of
from schemas.generate.yang import BASE, PCN, Schema, Statement, extension, extension_arg, fail, one_line

_ACTIONS = ("action", "rpc")
_IGNORED = ("notification",)


def object_schema(owner: Statement, *, state_apart: bool = True) -> Schema:
    """The schema of a container, a list's entry, the data of a module, or an action's input or output."""
    direct = [child for child in owner.i_children if child.keyword not in _IGNORED]
    nodes = _flat([child for child in direct if child.keyword not in _ACTIONS])
    state = [node for node in nodes if state_apart and node.i_config is False]
    config = [node for node in nodes if node not in state]
    properties = {node.arg: node_schema(node, state_apart=state_apart) for node in config}
    needed = {node.arg: _is_needed(node, properties[node.arg]) for node in config}
    unconditional = [node.arg for node in config if needed[node.arg] and _is_unconditional(node)]
    schema: Schema = {"type": "object", "additionalProperties": False}
    optional = (extension_arg(owner, PCN, "optional-key") or "").split()
    keys = [name for name in _keys(owner) if name not in unconditional and name not in optional]
    schema |= {"required": keys + unconditional} if keys + unconditional else {}
    schema["properties"] = properties
    choices, dependencies = choices_of(direct)
    schema |= _conditions(owner, direct, config, needed)
    schema |= {"dependencies": dependencies, "x-yang-choice": choices} if choices else {}
    schema |= {"x-state": {node.arg: node_schema(node, state_apart=False) for node in state}} if state else {}
    actions = {child.arg: action_schema(child) for child in direct if child.keyword in _ACTIONS}
    return schema | ({"x-actions": actions} if actions else {})


def node_schema(node: Statement, *, state_apart: bool = True) -> Schema:
    """The schema of one data node, with all it says about itself."""
    schema: Schema = {}
    if (description := node.search_one("description")) is not None:
        schema["description"] = one_line(description.arg)
    schema |= _shape(node, state_apart)
    schema |= {"x-units": units} if (units := _units(node)) else {}
    schema |= {"x-init-only": True} if extension(node, BASE, "init-only-config") is not None else {}
    schema |= {"x-pcn-metric": metric} if (metric := metric_of(node)) else {}
    schema |= {"x-yang-when": when} if (when := when_of(node)) else {}
    if node.keyword in ("leaf", "leaf-list") and (musts := kept_musts(node, [])):
        schema["x-yang-must"] = musts
    schema |= {"deprecated": True} if node.search_one("status", "deprecated") is not None else {}
    return schema | (leaf_keywords(node) if node.keyword in ("leaf", "leaf-list") else table_keywords(node))


def metric_of(node: Statement) -> dict[str, str]:
    """What the node says of a metric: name, type, path, help."""
    said = {name: extension_arg(node, BASE, f"{name}-metric") for name in ("name", "type", "path", "help")}
    return {name: value for name, value in said.items() if value is not None} if said["name"] and said["path"] else {}


def action_schema(action: Statement) -> Schema:
    """An item of x-actions: input and output are object schemas, or None where the action has none."""
    parts = {child.keyword: child for child in action.i_children}
    schema: Schema = {}
    if (description := action.search_one("description")) is not None:
        schema["description"] = one_line(description.arg)
    for name in ("input", "output"):
        part = parts.get(name)
        schema[name] = object_schema(part, state_apart=False) if part is not None and part.i_children else None
    return schema | action_keywords(action)


def _shape(node: Statement, state_apart: bool) -> Schema:
    if node.keyword == "container":
        presence = {"x-yang-presence": True} if node.search_one("presence") is not None else {}
        return object_schema(node, state_apart=state_apart) | presence
    if node.keyword == "list":
        return _list(node, state_apart)
    if node.keyword == "leaf-list":
        return {"type": "array", "items": _leaf(node), **_counts(node), "uniqueItems": True, **_order(node), **_default(node)}
    if node.keyword == "leaf":
        return _leaf(node) | _default(node)
    if node.keyword in ("anydata", "anyxml"):
        return {"type": "object"} if node.keyword == "anydata" else {}
    raise fail(node, f"a {node.keyword} cannot be used here")


def _list(node: Statement, state_apart: bool) -> Schema:
    schema: Schema = {"type": "array", "items": object_schema(node, state_apart=state_apart), **_counts(node)}
    schema |= {"x-yang-key": keys} if (keys := _keys(node)) else {}
    uniques = [[path.split(":")[-1] for path in unique.arg.split()] for unique in node.search("unique")]
    schema |= {"x-yang-unique": uniques} if uniques else {}
    return schema | _order(node) | ({"x-pcn-cubes": True} if extension(node, PCN, "cubes") is not None else {})


def _leaf(node: Statement) -> Schema:
    path = leafref_path(node)
    examples = examples_of(node)
    schema = type_schema(type_of(node))
    if extension(node, PCN, "list") is not None:
        members = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        schema = {"anyOf": [*members, {"type": "array", "minItems": 1, "items": dict(schema)}]}
    return {**schema, **({"examples": examples} if examples else {}),
            **({"x-yang-leafref": path} if path is not None else {})}


def _default(node: Statement) -> Schema:
    default = None if node.search_one("mandatory", "true") is not None else default_of(node)
    return {} if default is None or node.arg in _keys(node.parent) else {"default": default}


def _counts(node: Statement) -> Schema:
    least, most = node.search_one("min-elements"), node.search_one("max-elements")
    schema: Schema = {"minItems": int(least.arg)} if least is not None else {}
    return schema | ({"maxItems": int(most.arg)} if most is not None and most.arg != "unbounded" else {})


def _order(node: Statement) -> Schema:
    return {"x-yang-ordered-by": "user"} if node.search_one("ordered-by", "user") is not None else {}


def _units(node: Statement) -> str | None:
    if node.keyword not in ("leaf", "leaf-list"):
        return None
    found = node.search_one("units")
    return None if found is None else str(found.arg)


def _keys(node: Statement) -> list[str]:
    key = node.search_one("key") if node.keyword == "list" else None
    return [] if key is None else [name.split(":")[-1] for name in key.arg.split()]


def _flat(children: list[Statement]) -> list[Statement]:
    """The nodes as they stand in the data: choices and cases leave no trace there."""
    flat: list[Statement] = []
    for child in children:
        flat += [node for case in child.i_children for node in members_of(case)] if child.keyword == "choice" else [child]
    return flat


def _is_needed(node: Statement, schema: Schema) -> bool:
    """Whether a document must have this node, if nothing else decides: see RFC 7950, 3 (mandatory node)."""
    if node.keyword == "container":
        return "required" in schema and node.search_one("presence") is None
    return node.search_one("mandatory", "true") is not None or schema.get("minItems", 0) > 0


def _is_unconditional(node: Statement) -> bool:
    return node.parent.keyword not in ("case", "choice") and when_of(node) is None


def _conditions(owner: Statement, direct: list[Statement], config: list[Statement], needed: dict[str, bool]) -> Schema:
    """if/then/else for `when` and `must`, anyOf for a choice that has to be made; and x-yang-must for the rest."""
    conditional = {node.arg: needed[node.arg] for node in config if when_of(node) is not None}
    parts = conditional_schemas(owner, config, conditional) + choices_to_make(direct)
    musts = kept_musts(owner, config)
    return (parts[0] if len(parts) == 1 else {"allOf": parts} if parts else {}) | ({"x-yang-must": musts} if musts else {})
