"""Handlers of RESTCONF's resources: data, operations, the library of modules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.api import cubes
from reconciler.api.answers import NOTHING, Answer, Refusal, missing, not_allowed
from reconciler.api.nodes import at_node, places_of
from reconciler.api.request import Request
from reconciler.api.restconf import library
from reconciler.api.restconf.encoding import ALL, CONFIG, MEDIA_TYPE, STATE, encoded, is_leaf, sole, unwrapped
from reconciler.api.restconf.paths import Segment, checked, segments, written
from reconciler.api.store import Store
from reconciler.service.model.walk import ACTION, CUBE, ENTRY, LIST, Place
from reconciler.service.registry import Service

_DISCOVERY = '<XRD xmlns="http://docs.oasis-open.org/ns/xri/xrd-1.0"><Link rel="restconf" href="/restconf"/></XRD>'


def answer(request: Request, store: Store, raw_path: bytes) -> Answer:
    """`raw_path`: the request target without its query. Raises Refusal, and the errors of a write."""
    if request.query and request.method not in ("GET", "OPTIONS"):
        raise Refusal(400, "invalid-value", f"a write has no query parameters here, and no {', '.join(request.query)}")
    found = _answer(request, store, segments(raw_path))
    return found if found.kind.startswith("application/xrd") else replace(found, kind=MEDIA_TYPE)


def _answer(request: Request, store: Store, path: Sequence[Segment]) -> Answer:
    names = tuple(each.name for each in path)
    if names[0] == ".well-known":
        _reads(request)
        if names != (".well-known", "host-meta"):
            raise missing("of well-known places there is host-meta")
        return Answer(200, _DISCOVERY, kind="application/xrd+xml")
    top, *rest = path[1:] or (Segment(""),)
    if top.name == "data":
        return _data(request, store, rest)
    if top.name == "operations":
        return _operations(request, store, rest)
    _reads(request)
    if not top.name:
        return Answer(200, {"ietf-restconf:restconf": {"data": {}, "operations": {}, "yang-library-version": library.REVISION}})
    if top.name == "yang-library-version" and not rest:
        return Answer(200, {"ietf-restconf:yang-library-version": library.REVISION})
    raise missing(f"/restconf has no {top.name!r}: there are data, operations and yang-library-version")


def _reads(request: Request) -> None:
    if request.method != "GET":
        raise not_allowed("GET", "HEAD", "OPTIONS")


# -- data ----------------------------------------------------------------------------------------------------------------------


def _data(request: Request, store: Store, path: Sequence[Segment]) -> Answer:
    services = store.options.services
    if path and path[0].module == "ietf-yang-library":
        _reads(request)
        return Answer(200, library.library(services))
    if not path:
        return _all(request, store)
    service_name, words = checked(path, services.names())
    service = services.get(service_name)
    if service is None:
        raise missing(services.why_not(service_name) or f"there is no service {service_name}")
    if not words:
        return _cubes(request, store, service)
    places = places_of(service, words[1:], request)
    if request.method == "OPTIONS":
        return Answer(200, NOTHING, {"Allow": ", ".join(_methods(places[-1]))})
    if request.method == "GET":
        return _read(request, store, service, words, places[-1])
    if request.method == "POST":
        return _post(request, store, service, words, places[-1], path)
    if request.method not in _methods(places[-1]):
        raise not_allowed(*_methods(places[-1]))
    body = b""
    if request.method != "DELETE":
        place = replace(places[-1], name=service.name, kind=ENTRY) if places[-1].kind == CUBE else places[-1]
        value = unwrapped(request.json(), service.name, place)[1]
        _refuse_another_key(place, words, value)
        body = json.dumps(value).encode()
    return at_node(replace(request, body=body), store, service, words[0], words[1:])


def _methods(place: Place) -> tuple[str, ...]:
    if place.kind == ACTION:
        return "POST", "OPTIONS"
    if place.state or place.init_only:
        return "GET", "HEAD", "OPTIONS"
    if is_leaf(place):
        return "GET", "HEAD", "PUT", "PATCH", "OPTIONS"
    if place.kind == LIST:
        return "GET", "HEAD", "OPTIONS"  # RFC 8040 edits the entries, not the list
    return "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"


def _refuse_another_key(place: Place, words: Sequence[str], value: Any) -> None:
    keys = place.keys or (("name",) if len(words) == 1 else ())
    if place.kind != ENTRY:
        return
    for key, word in zip(keys, place.words or words[:1], strict=False):
        if str(value.get(key, word)).casefold() != word.casefold():
            raise Refusal(400, "invalid-value", f"the path says {key} {word}, and the body {value[key]}: a key cannot be changed")


def _read(request: Request, store: Store, service: Service, words: Sequence[str], place: Place) -> Answer:
    content, depth = _asked(request)
    found = at_node(request, store, service, words[0], words[1:])
    name = service.name if place.kind == CUBE else place.name
    value = encoded(place, found.data, content, depth)
    if place.kind in (CUBE, ENTRY):
        value = [value]
    return Answer(200, {f"{service.name}:{name}": value}, found.headers)


def _asked(request: Request) -> tuple[str, int | None]:
    """The query parameters content and depth."""
    query = dict(request.query)
    content, depth = query.pop("content", ALL), query.pop("depth", "unbounded")
    if query:
        raise Refusal(400, "invalid-value", f"of query parameters there are content and depth, and no {', '.join(query)}")
    if content not in (ALL, CONFIG, STATE):
        raise Refusal(400, "invalid-value", f"content is {ALL}, {CONFIG} or {STATE}, and not {content!r}")
    if depth == "unbounded":
        return content, None
    if not depth.isdecimal() or not 1 <= int(depth) <= 65535:
        raise Refusal(400, "invalid-value", f"depth is 1 to 65535 or unbounded, and not {depth!r}")
    return content, int(depth)


def _all(request: Request, store: Store) -> Answer:
    """The datastore: all cubes by service; POST creates one."""
    if request.method == "POST":
        name, value = unwrapped(request.json(), str(next(iter(request.object()), "")).partition(":")[0])
        service = store.options.services.get(name)
        if service is None:
            raise Refusal(404, "unknown-element", f"there is no service {name!r}")
        return _create_cube(request, store, service, sole(name, value))
    _reads(request)
    content, depth = _asked(request)
    seen = store.look()
    found: dict[str, list[Any]] = {}
    for name, record in sorted(seen.cubes.items()):
        service = store.options.services.get(record.service)
        if service is not None:
            value = encoded(Place(CUBE, "", service.schema), cubes.whole(store, seen, name), content, depth)
            found.setdefault(f"{record.service}:{record.service}", []).append(value)
    return Answer(200, {"ietf-restconf:data": found})


def _cubes(request: Request, store: Store, service: Service) -> Answer:
    _reads(request)
    content, depth = _asked(request)
    seen = store.look()
    place = Place(CUBE, "", service.schema)
    trees = [cubes.whole(store, seen, name) for name, record in seen.cubes.items() if record.service == service.name]
    return Answer(200, {f"{service.name}:{service.name}": [encoded(place, tree, content, depth) for tree in trees]})


def _create_cube(request: Request, store: Store, service: Service, value: Mapping[str, Any]) -> Answer:
    if not isinstance(value.get("name"), str):
        raise Refusal(400, "missing-attribute", '"name" is missing', info="name")
    done = at_node(replace(request, body=json.dumps(value).encode()), store, service, value["name"], ())
    place = written([Segment(service.name, service.name, (value["name"],))])
    return replace(done, headers={**done.headers, "Location": place})


def _post(
    request: Request, store: Store, service: Service, words: Sequence[str], place: Place, path: Sequence[Segment]
) -> Answer:
    """Create a child of the path's node; or perform an action with its input."""
    if place.kind == ACTION:
        return _act(request, store, service, words)
    if not place.has_members:
        raise not_allowed(*_methods(place))
    name, value = unwrapped(request.json(), service.name)
    child = places_of(service, (*words[1:], name), request)[-1]
    below, segment = (*words[1:], name), Segment(name)
    if child.kind == LIST:
        value = sole(name, value)
        absent = next((key for key in child.keys if key not in value), "")
        if absent:
            raise Refusal(400, "missing-attribute", f'"{absent}" is a key of "{name}": say it', info=absent)
        segment = Segment(name, "", tuple(str(value[key]) for key in child.keys))
        below = (*below, *segment.keys)
    elif child.kind == ACTION or is_leaf(child):
        raise Refusal(400, "invalid-value", f'"{name}" cannot be made: PUT or POST to it')
    done = at_node(replace(request, body=json.dumps(value).encode()), store, service, words[0], below)
    return replace(done, headers={**done.headers, "Location": written((*path, segment))})


# -- operations ----------------------------------------------------------------------------------------------------------------


def _act(request: Request, store: Store, service: Service, words: Sequence[str], given: Any = None) -> Answer:
    if given is None and request.body.strip():
        given = unwrapped(request.json(), service.name, Place(ACTION, "input", {}))[1]
    done = at_node(replace(request, body=json.dumps(given or {}).encode()), store, service, words[0], words[1:])
    if done.data in (NOTHING, {}):
        return Answer(204, NOTHING, done.headers)
    return Answer(200, {f"{service.name}:output": done.data}, done.headers)


def _operations(request: Request, store: Store, path: Sequence[Segment]) -> Answer:
    """The models' RPCs, each of one cube, which its input names."""
    services = [service for name in store.options.services.names() if (service := store.options.services.get(name))]
    known = {f"{service.name}:{name}": service for service in services for name in service.schema.get("x-actions", {})}
    if not path:
        _reads(request)
        return Answer(200, {"ietf-restconf:operations": {name: [None] for name in known}})
    name = f"{path[0].module}:{path[0].name}"
    if len(path) > 1 or name not in known:
        raise missing(f"there is no operation {name!r}: /restconf/operations lists them")
    if request.method != "POST":
        raise not_allowed("POST", "OPTIONS")
    given = unwrapped(request.json(), path[0].module, Place(ACTION, "input", {}))[1]
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise Refusal(400, "missing-attribute", 'the input says which cube: "name"', info="name")
    inputs = {leaf: value for leaf, value in given.items() if leaf != "name"}
    return _act(request, store, known[name], (given["name"], path[0].name), inputs)
