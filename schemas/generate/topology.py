"""The schema of a whole topology document, for editors: its cubes are checked by their services' schemas."""
from __future__ import annotations

from collections.abc import Iterable

from schemas.generate.nodes import object_schema
from schemas.generate.service import DRAFT
from schemas.generate.yang import Schema, Statement, one_line

_WORD: Schema = {"type": ["string", "integer", "boolean"]}
# Maps with any keys, which YANG has not. reconciler/document/hosts.py reads both, before anything else is looked at.
_HOSTS: Schema = {
    "description": "The hosts that the topology is for: one of the names and all of the labels must fit. Without it, every host.",
    "type": "object", "additionalProperties": False,
    "properties": {
        "names": {"description": "Names of hosts; * and ? stand for any letters.", "type": "array", "items": {"type": "string"},
                  "examples": [["edge-1", "edge-*"]]},
        "labels": {"description": "Labels that a host must have (/etc/pcn/labels.yaml), each with this value or one of these.",
                   "type": "object", "properties": {},
                   "additionalProperties": {"anyOf": [_WORD, {"type": "array", "items": _WORD}]},
                   "examples": [{"site": "turin", "role": ["gw", "fw"]}]},
    },
}  # fmt: skip
# Lists of anything. reconciler/check/shared.py reads them, and writes them out where they are used.
_SHARED: Schema = {
    "description": "Lists that several cubes, or several places in one, use: {shared: NAME} stands for them there.",
    "type": "array",
    "items": {
        "type": "object", "additionalProperties": False, "required": ["name", "entries"],
        "properties": {"name": {"description": "What it is called.", "type": "string"},
                       "entries": {"description": "What is in it: whatever may stand there.", "type": "array", "items": {}}},
    },
    "examples": [[{"name": "office", "entries": ["10.0.0.0/8", "192.0.2.7"]}]],
}  # fmt: skip
# A value that has `shared` somewhere within. Such a cube is as its service's schema says only once its lists are written out,
# which `pcn validate` does and an editor does not.
_HAS_SHARED: Schema = {
    "anyOf": [
        {"type": "object", "required": ["shared"]},
        {"type": "object", "not": {"additionalProperties": {"not": {"$ref": "#/definitions/has-shared"}}}},
        {"type": "array", "contains": {"$ref": "#/definitions/has-shared"}},
    ],
}
_ANNOTATIONS: Schema = {
    "description": "What is asked of whoever applies the topology, such as pcn/suspend.",
    "type": "object", "properties": {}, "additionalProperties": {"type": "string"}, "examples": [{"pcn/suspend": "true"}],
}  # fmt: skip


def topology_schema(module: Statement, services: Iterable[str]) -> Schema:
    """The schema of the document, in which cubes of `services` refer to '<service>.schema.json' beside it.

    A cube of another service is let through, as it may well be installed where the document is used. A document
    without a spec is refused: an empty file must not remove a topology.
    """
    names = sorted(services)
    head: Schema = {"$schema": DRAFT, "$id": f"{module.arg}.schema.json", "title": "Topology",
                    "description": one_line(module.search_one("description").arg)}
    schema = head | object_schema(module)
    schema["required"].append("spec")
    schema["properties"]["metadata"]["properties"]["annotations"] = _ANNOTATIONS
    spec = schema["properties"]["spec"]
    spec["properties"] = {"hosts": _HOSTS, "shared": _SHARED, **spec["properties"]}
    items = schema["properties"]["spec"]["properties"]["cubes"]["items"]
    items["additionalProperties"] = True
    service_name = items["properties"]["service-name"]
    service_name["anyOf"] = [{"enum": names}, {"type": service_name.pop("type")}]
    items["if"] = {"not": {"$ref": "#/definitions/has-shared"}}
    items["then"] = {"allOf": [
        {"if": {"properties": {"service-name": {"const": name}}, "required": ["service-name"]},
         "then": {"$ref": f"{name}.schema.json"}}
        for name in names
    ]}  # fmt: skip
    return {**schema, "definitions": {"has-shared": _HAS_SHARED}}
