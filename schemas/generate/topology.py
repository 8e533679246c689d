"""The schema of a whole topology document, for editors: its cubes are checked by their services' schemas."""
from __future__ import annotations

from collections.abc import Iterable

from schemas.generate.nodes import object_schema
from schemas.generate.service import DRAFT
from schemas.generate.yang import Schema, Statement, one_line


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
    items = schema["properties"]["spec"]["properties"]["cubes"]["items"]
    items["additionalProperties"] = True
    service_name = items["properties"]["service-name"]
    service_name["anyOf"] = [{"enum": names}, {"type": service_name.pop("type")}]
    items["allOf"] = [
        {"if": {"properties": {"service-name": {"const": name}}, "required": ["service-name"]},
         "then": {"$ref": f"{name}.schema.json"}}
        for name in names
    ]
    return schema
