"""OpenAPI 3.1 of the API, made from the services' JSON Schemas: the same models that decide about a request. Pure.

Each place of a model (service/model/walk.py) is a path, and its verbs are those of `nodes.verbs`, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.api.verbs import verbs
from reconciler.service.model.walk import ACTION, CONTAINER, CUBE, ENTRY, LIST, Place, members

Schema = Mapping[str, Any]
_DROPPED = ("$schema", "$id", "x-actions", "x-state", "patternErrorMessage", "enumDescriptions", "dependencies")
_SCALAR = ("type", "description", "enum", "const", "examples", "default")
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["ietf-restconf:errors"],
    "properties": {
        "ietf-restconf:errors": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["error-type", "error-tag", "error-message"],
                        "properties": {
                            name: {"type": "string"}
                            for name in ("error-type", "error-tag", "error-path", "error-message", "error-info")
                        },
                    },
                }
            },
        }
    },
}
_WORDS = {
    "200": "Done, or what is there.", "201": "Made, or done.", "204": "Done.", "400": "The request is wrong.",
    "403": "The caller may not do this.", "404": "It is not there.", "405": "This verb has no meaning here.",
    "409": "It is there already, is not there, or belongs to another topology.", "412": "If-Match names another revision.",
    "413": "The body is too large.", "503": "Another writer is at work.",
}  # fmt: skip
_ALWAYS = ("400", "403", "404", "405", "409", "412", "413", "503")
_SUCCESS = {"GET": ("200",), "POST": ("201",), "PUT": ("201", "204"), "PATCH": ("204",), "DELETE": ("204",)}
_KIND = "application/yang.data+json"


def document_of(services: Sequence[Schema], version: str = "1.0.0") -> dict[str, Any]:
    """The document of an API that serves these."""
    paths: dict[str, Any] = dict(_fixed()) if services else {}
    components: dict[str, Any] = {"errors": ERROR}
    for schema in services:
        found = service_paths(schema)
        paths |= found["paths"]
        components |= found["components"]["schemas"]
    about = {"title": "pcn", "version": version, "description": "Polycube's REST API over declarative topologies (docs/api.md)."}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": about,
        "servers": [{"url": "/polycube/v1"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def service_paths(schema: Schema) -> dict[str, Any]:
    """What one service adds: its paths, and the schemas of what is sent and answered."""
    name = schema["title"]
    cube = {"name": "cube", "in": "path", "required": True, "schema": schema["properties"]["name"], "description": "A cube."}
    paths = {f"/{name}": _of_service(name)}
    start = [{**cube, "schema": sent(cube["schema"])}]
    for path, place, holder, parameters in _places(f"/{name}/{{cube}}", Place(CUBE, name, schema), None, start):
        paths[path] = {"parameters": parameters, **_operations(place, holder, path, name)}
    return {"paths": paths, "components": {"schemas": {name: sent(schema), f"{name}.state": answered(schema)}}}


_Found = tuple[str, Place, Place | None, list[Any]]


def _places(path: str, place: Place, holder: Place | None, parameters: list[Any]) -> Iterator[_Found]:
    yield path, place, holder, parameters
    if place.kind == LIST and place.keys:
        leaves = place.schema["items"]["properties"]
        keys = [(key, f"{place.name}.{key}") for key in place.keys]
        more = [{"name": said, "in": "path", "required": True, "schema": sent(leaves[key])} for key, said in keys]
        entry = Place(ENTRY, place.name, place.schema["items"], (), place.keys, place.state)
        yield from _places(path + "".join(f"/{{{said}}}" for _, said in keys), entry, place, [*parameters, *more])
    elif place.has_members:
        for child in members(place):
            if child.name not in place.keys and not (place.kind == CUBE and child.name == "name"):
                yield from _places(f"{path}/{child.name}", child, place, parameters)


def _operations(place: Place, holder: Place | None, path: str, service: str) -> dict[str, Any]:
    found = {}
    for verb in verbs(place):
        if verb == "OPTIONS":
            continue
        operation: dict[str, Any] = {"tags": [service], "operationId": f"{verb.lower()}:{path}"}
        if description := place.schema.get("description"):
            operation["summary"] = str(description)
        if verb in ("POST", "PUT", "PATCH"):
            needed = place.kind not in (ACTION, CUBE, ENTRY)
            operation["requestBody"] = {"required": needed, "content": _content(_body(place, holder, verb))}
        operation["responses"] = _responses(verb, place)
        found[verb.lower()] = operation
    return found


def _body(place: Place, holder: Place | None, verb: str) -> dict[str, Any]:
    if place.kind == ACTION:
        return _action_body(place, holder)
    body = sent(place.schema)
    if place.kind in (CUBE, ENTRY, CONTAINER) and (verb == "PATCH" or place.kind != CONTAINER):
        said = (*place.keys, "name", "service-name")  # by the path
        needed = [name for name in body.pop("required", ()) if verb != "PATCH" and name not in said]
        body |= {"required": needed} if needed else {}
    return body


def _action_body(place: Place, holder: Place | None) -> dict[str, Any]:
    what = place.schema.get("x-pcn-edit")
    if what is None or holder is None:
        return sent(place.schema.get("input") or {"type": "object"})
    schema = sent(holder.schema["properties"][what[1]]["items"])
    items = {name: part for name, part in schema.items() if name != "required"}
    if what[0] == "batch":
        operation = {"enum": ["append", "insert", "update", "delete"]}
        each = {**items, "properties": {"operation": operation, **items["properties"]}}
        return {"type": "object", "required": [f"{what[1]}s"], "properties": {f"{what[1]}s": {"type": "array", "items": each}}}
    return items


def _responses(verb: str, place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {status: {"description": _WORDS[status]} for status in _SUCCESS[verb]}
    if verb == "GET":
        found["200"]["content"] = _content(answered(place.schema))
    if place.kind == ACTION:
        found["201"]["content"] = _content({"type": "object"})
    return found | {status: {"description": _WORDS[status], "content": _content(_ref("errors"))} for status in _ALWAYS}


def _of_service(name: str) -> dict[str, Any]:
    listed = _fixed_responses("200", {"type": "array", "items": {"type": "object"}})
    operations: dict[str, Any] = {"get": {"tags": [name], "operationId": f"get:/{name}", "responses": listed}}
    for verb, status in (("post", "201"), ("patch", "204")):
        body = {"required": True, "content": _content({"type": "object", "required": ["name"]})}
        head = {"tags": [name], "operationId": f"{verb}:/{name}"}
        operations[verb] = {**head, "requestBody": body, "responses": _fixed_responses(status)}
    return operations


def _fixed() -> Iterator[tuple[str, dict[str, Any]]]:
    texts: dict[str, Any] = {"type": "object"}
    listed: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
    for word, answer in (("version", texts), ("services", listed), ("cubes", texts), ("netdevs", listed), ("topology", listed)):
        get = {"tags": ["host"], "operationId": f"get:/{word}", "responses": _fixed_responses("200", answer)}
        yield f"/{word}", {"get": get} | ({"post": _posted("cubes", listed, "201")} if word == "cubes" else {})
    pair = ("peer1", "peer2")
    for word, names in (("connect", pair), ("disconnect", pair), ("attach", ("cube", "port")), ("detach", ("cube", "port"))):
        more = ("position", "before", "after") if word == "attach" else ()
        leaves = {name: {"type": "string"} for name in (*names, *more)}
        yield f"/{word}", {"post": _posted(word, {"type": "object", "required": list(names), "properties": leaves}, "200")}


def _posted(word: str, body: Schema, status: str) -> dict[str, Any]:
    content = {"required": True, "content": _content(body)}
    return {"tags": ["host"], "operationId": f"post:/{word}", "requestBody": content, "responses": _fixed_responses(status)}


def _fixed_responses(status: str, answer: Schema | None = None) -> dict[str, Any]:
    done: dict[str, Any] = {"description": _WORDS[status]} | ({"content": _content(answer)} if answer is not None else {})
    return {status: done} | {each: {"description": _WORDS[each], "content": _content(_ref("errors"))} for each in _ALWAYS}


def _content(schema: Schema) -> dict[str, Any]:
    return {_KIND: {"schema": schema}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def sent(schema: Schema) -> dict[str, Any]:
    """A model's schema as a body is checked with it, in the dialect of OpenAPI 3.1."""
    found = {name: _sent_part(name, part) for name, part in schema.items() if name not in _DROPPED}
    for name, needs in schema.get("dependencies", {}).items():
        kind = "dependentRequired" if isinstance(needs, list) else "dependentSchemas"
        found.setdefault(kind, {})[name] = needs if isinstance(needs, list) else sent(needs)
    return found


def _sent_part(name: str, part: Any) -> Any:
    if name == "properties":
        return {each: sent(schema) for each, schema in part.items()}
    if name in ("anyOf", "allOf", "oneOf"):
        return [sent(schema) if isinstance(schema, Mapping) else schema for schema in part]
    if name in ("items", "not", "if", "then", "else") and isinstance(part, Mapping):
        return sent(part)
    return part


def answered(schema: Schema) -> dict[str, Any]:
    """What a read gives: configuration and state, of which nothing need be there."""
    if "properties" in schema:
        inner = {**schema["properties"], **schema.get("x-state", {})}
        return {"type": "object", "properties": {name: answered(part) for name, part in inner.items()}}
    if schema.get("type") == "array":
        return {"type": "array", "items": answered(schema.get("items", {}))}
    return {name: schema[name] for name in ("type", "description") if name in schema}
