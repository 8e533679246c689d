"""OpenAPI 3.1 of the API, generated from the services' JSON Schemas, the models that validate requests. Pure.

Each node of a model (service/model/walk.py) is a path, and its methods are those of `nodes.verbs`, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.api.verbs import verbs
from reconciler.service.model.walk import ACTION, CONTAINER, CUBE, ENTRY, LIST, Place, members

Schema = Mapping[str, Any]
_DROPPED = (
    "$schema", "$id", "title", "x-actions", "x-state", "patternErrorMessage", "enumDescriptions", "dependencies", "required",
    "if", "then", "else", "allOf", "anyOf", "not", "properties", "items", "x-yang-choice", "x-pcn-service",
)  # fmt: skip
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
    """The OpenAPI document of an API with these services."""
    paths: dict[str, Any] = dict(_fixed()) if services else {}
    components: dict[str, Any] = {"errors": ERROR}
    for schema in services:
        paths |= _service_paths(schema, components)
    about = {"title": "pcn", "version": version, "description": "Polycube's REST API over declarative topologies (docs/api.md)."}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": about,
        "servers": [{"url": "/polycube/v1"}],
        "paths": paths,
        "components": {"schemas": components, "responses": _answers()},
    }


def _answers() -> dict[str, Any]:
    failed = {"content": _content(_ref("errors"))}
    return {status: {"description": words, **(failed if status in _ALWAYS else {})} for status, words in _WORDS.items()}


def _service_paths(schema: Schema, components: dict[str, Any]) -> dict[str, Any]:
    """The paths of one service; its request and response bodies are added to `components`."""
    name = schema["title"]
    paths: dict[str, Any] = {f"/{name}": _of_service(name)}
    cube = Place(CUBE, name, schema)
    start = [_parameter("cube", _ref(f"{name}/properties/name"))]
    for path, component, place, holder, parameters in _places(f"/{name}/{{cube}}", name, cube, None, start):
        if place.has_members:
            components[component] = _component(component, place)
            components[f"{component}.shown"] = _shown(component, place)
        paths[path] = {"parameters": parameters, **_operations(place, holder, path, component)}
    return paths


_Found = tuple[str, str, Place, Place | None, list[Any]]


def _places(path: str, component: str, place: Place, holder: Place | None, parameters: list[Any]) -> Iterator[_Found]:
    """Each node with its path, and the component that describes it (for a leaf: the member of one)."""
    yield path, component, place, holder, parameters
    if place.kind == LIST and place.keys:
        keys = [(key, f"{place.name}.{key}") for key in place.keys]
        more = [_parameter(said, _ref(f"{component}/properties/{key}")) for key, said in keys]
        entry = Place(ENTRY, place.name, place.schema["items"], (), place.keys, place.state)
        yield from _places(path + "".join(f"/{{{said}}}" for _, said in keys), component, entry, place, [*parameters, *more])
    elif place.has_members:
        for child in members(place):
            if child.name in place.keys or (place.kind == CUBE and child.name == "name"):
                continue
            inner = _name_of(component, child)
            yield from _places(f"{path}/{child.name}", inner, child, place, parameters)


def _name_of(component: str, child: Place) -> str:
    return f"{component}.{child.name}" if child.kind in (CONTAINER, LIST) else f"{component}/properties/{child.name}"


def _parameter(name: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _component(component: str, place: Place) -> dict[str, Any]:
    """Request schema of an object; no member is required."""
    inner = {child.name: _member(component, child) for child in members(place) if child.kind != ACTION and not place.state}
    shown = {name: part for name, part in inner.items() if name in place.schema.get("properties", {})}
    described = {name: part for name, part in place.schema.items() if name == "description"}
    if place.state:
        shown = {child.name: _member(component, child) for child in members(place)}
    return {"type": "object", **described, "additionalProperties": False, "properties": shown}


def _member(component: str, child: Place) -> dict[str, Any]:
    if child.kind == CONTAINER:
        return _ref(f"{component}.{child.name}")
    if child.kind == LIST:
        return {"type": "array", "items": _ref(f"{component}.{child.name}") if child.keys else {"type": "object"}}
    return leaf(child.schema)


def _shown(component: str, place: Place) -> dict[str, Any]:
    """Response schema of an object: configuration and state."""
    inner: dict[str, Any] = {}
    for child in members(place):
        if child.kind in (CONTAINER, LIST):
            one = _ref(f"{component}.{child.name}.shown") if child.kind == CONTAINER or child.keys else {"type": "object"}
            inner[child.name] = one if child.kind == CONTAINER else {"type": "array", "items": one}
        elif child.kind != ACTION:
            inner[child.name] = shown_leaf(child.schema)
    return {"type": "object", "properties": inner}


def leaf(schema: Schema) -> dict[str, Any]:
    """A leaf's schema in the dialect of OpenAPI 3.1."""
    found = {name: part for name, part in schema.items() if name not in _DROPPED and not name.startswith("x-pcn-")}
    found |= {"anyOf": [leaf(part) for part in schema["anyOf"]]} if "anyOf" in schema else {}
    return found | ({"items": leaf(schema["items"])} if isinstance(schema.get("items"), Mapping) else {})


def shown_leaf(schema: Schema) -> dict[str, Any]:
    return {name: schema[name] for name in ("type", "description") if name in schema}


def _operations(place: Place, holder: Place | None, path: str, component: str) -> dict[str, Any]:
    found = {}
    for verb in verbs(place):
        if verb == "OPTIONS":
            continue
        operation: dict[str, Any] = {"tags": [path.split("/")[1]], "operationId": f"{verb.lower()}:{path}"}
        if description := place.schema.get("description"):
            operation["summary"] = str(description)
        if verb in ("POST", "PUT", "PATCH"):
            needed = place.kind not in (ACTION, CUBE, ENTRY)
            operation["requestBody"] = {"required": needed, "content": _content(_body(place, holder, verb, component))}
        operation["responses"] = _responses(verb, place, component)
        found[verb.lower()] = operation
    return found


def _body(place: Place, holder: Place | None, verb: str, component: str) -> dict[str, Any]:
    if place.kind == ACTION:
        return _action_body(place, holder, component.rpartition("/properties/")[0])
    if place.kind == LIST:
        return {"type": "array", "items": {"allOf": [_ref(component)], **_needed(place.schema["items"], ())}}
    if place.kind in (CUBE, ENTRY) and verb != "PATCH":
        return {"allOf": [_ref(component)], **_needed(place.schema, (*place.keys, "name", "service-name"))}
    return _ref(component)


def _needed(schema: Schema, said: Sequence[str]) -> dict[str, Any]:
    """Required members of a body; `said` are in the path."""
    needed = [name for name in schema.get("required", ()) if name not in said]
    return {"required": needed} if needed else {}


def _action_body(place: Place, holder: Place | None, component: str) -> dict[str, Any]:
    what = place.schema.get("x-pcn-edit")
    if what is None or holder is None:
        inner = (place.schema.get("input") or {}).get("properties", {})
        return {"type": "object", "properties": {name: leaf(part) for name, part in inner.items()}}
    entry = _ref(f"{component}.{what[1]}")
    if what[0] != "batch":
        return entry
    operation = {"enum": ["append", "insert", "update", "delete"]}
    each = {"type": "object", "required": ["operation"], "properties": {"operation": operation}}
    return {"type": "object", "required": [f"{what[1]}s"], "properties": {f"{what[1]}s": {"type": "array", "items": each}}}


def _responses(verb: str, place: Place, component: str) -> dict[str, Any]:
    found: dict[str, Any] = {status: _answer(status) for status in (*_SUCCESS[verb], *_ALWAYS)}
    if verb == "GET":
        found["200"] = {"description": _WORDS["200"], "content": _content(_read(place, component))}
    if place.kind == ACTION:
        found["201"] = {"description": _WORDS["201"], "content": _content({"type": "object"})}
    return found


def _read(place: Place, component: str) -> dict[str, Any]:
    if place.has_members:
        return _ref(f"{component}.shown")
    if place.kind == LIST:
        return {"type": "array", "items": _ref(f"{component}.shown") if place.keys else {"type": "object"}}
    return shown_leaf(place.schema)


def _answer(status: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{status}"}


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
    found: dict[str, Any] = {each: _answer(each) for each in (status, *_ALWAYS)}
    return found | ({status: {"description": _WORDS[status], "content": _content(answer)}} if answer is not None else {})


def _content(schema: Schema) -> dict[str, Any]:
    return {_KIND: {"schema": schema}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
