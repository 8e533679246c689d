"""/<service>/<cube>/<YANG path>: the methods of each kind of node of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from reconciler.api import cubes
from reconciler.api.answers import NOTHING, Answer, Refusal, missing, not_allowed
from reconciler.api.ownership import refuse_others, refuse_reserved
from reconciler.api.request import Request
from reconciler.api.store import Seen, Store, cubes_of
from reconciler.api.values import keys_of_the_one, value_at, with_all_keys
from reconciler.api.verbs import verbs
from reconciler.api.wires import settled
from reconciler.engine.actions import actions, answer, plan_action
from reconciler.engine.confirm import refuse_while_unconfirmed
from reconciler.engine.edit import CREATE, DELETE, MERGE, REPLACE, Change, Edited, edit
from reconciler.engine.perform import Continued, perform
from reconciler.engine.service_actions import ask
from reconciler.engine.session import Reconciler
from reconciler.errors import EditRefused, UsageError
from reconciler.graph.documents import stored
from reconciler.graph.records import Live
from reconciler.plan.steps import Plan
from reconciler.service.model.walk import (
    ACTION,
    CUBE,
    ENTRY,
    KEYS,
    LEAF,
    LIST,
    NoSuchPlace,
    Place,
    members,
    path_of,
    walk,
)
from reconciler.service.registry import Service

OPERATIONS = {"POST": CREATE, "PUT": REPLACE, "PATCH": MERGE, "DELETE": DELETE}


def at_node(request: Request, store: Store, service: Service | None, name: str, words: Sequence[str]) -> Answer:
    """`service` is None if the path begins with the cube's name."""
    if request.method == "GET":
        return _read(request, store, service, name, words)
    known = service or _service_of(store, name)
    places = places_of(known, words, request)
    if places[-1].kind == KEYS:
        words = with_all_keys(request, store, name, places, words)
        places = places_of(known, words, request)
    if request.method not in verbs(places[-1]):
        raise not_allowed(*verbs(places[-1]))
    if len(places) == 1 and request.method in ("POST", "PUT"):
        refuse_reserved(store, name)
    if places[-1].kind == ACTION:
        return _act(request, store, known, name, places, words)
    return _write(request, store, known, name, places, words)


def places_of(service: Service, words: Sequence[str], request: Request) -> tuple[Place, ...]:
    """Raises Refusal."""
    try:
        return walk(service.schema, words)
    except NoSuchPlace as none:
        raise Refusal(404, "unknown-element", f'the model of {service.name} has no "{none.name}" there', info=none.name) from None


def _service_of(store: Store, name: str) -> Service:
    """The service of a cube that is live or only in the document."""
    for text in store.texts().values():
        said = cubes_of(stored(text)).get(name)
        service = store.options.services.get(said["service-name"]) if said else None
        if service is not None:
            return service
    raise missing(store.options.services.why_not(name) or f'there is no cube or service "{name}"', f"/{name}")


# -- reading -------------------------------------------------------------------------------------------------------------------


def _read(request: Request, store: Store, service: Service | None, name: str, words: Sequence[str]) -> Answer:
    seen = store.look()
    record = seen.cubes.get(name)
    if record is None or (service is not None and record.service != service.name):
        raise missing(f'there is no cube "{name}"' + (f" of service {service.name}" if service else ""), f"/{name}")
    known = store.options.services.get(record.service)
    if known is None:
        raise missing(f"service {record.service} is not installed here", f"/{name}")
    headers = _tag(store.revision(record.topology, seen))
    data = cubes.whole(store, seen, name)
    if words and len(words) <= 1 and words[0] not in known.schema["properties"] and words[0] in data:
        return Answer(200, data[words[0]], headers)  # leaves that the framework adds to a cube, such as its uuid
    places = places_of(known, words, request)
    if places[-1].kind == KEYS:
        words = (*words, *keys_of_the_one(data, places, f"/{name}/{path_of(words)}"))
        places = places_of(known, words, request)
    if "GET" not in verbs(places[-1]):
        raise not_allowed(*verbs(places[-1]))
    value = value_at(data, places, f"/{name}/{path_of(words)}")
    if isinstance(value, dict):
        value = {"_links": links(request, record.service, name, words, places[-1])} | value
        value["_links"] = value.pop("_links")
    return Answer(200, value, headers)


def links(request: Request, service: str, name: str, words: Sequence[str], place: Place) -> list[dict[str, str]]:
    """Links: self, and each child."""
    base = "/".join((service, quote(name, safe=""), *(quote(word, safe=":[]") for word in words)))
    there = [{"rel": "self", "href": f"//{request.host}/polycube/v1/{base}/"}]
    return there + [
        {"rel": child.name, "href": f"//{request.host}/polycube/v1/{base}/{child.name}/"}
        for child in members(place)
        if child.name not in place.keys
    ]


# -- writing -------------------------------------------------------------------------------------------------------------------


def _write(
    request: Request, store: Store, service: Service, name: str, places: Sequence[Place], words: Sequence[str]
) -> Answer:
    place, operation = places[-1], OPERATIONS[request.method]
    value = _value(request, place, service) if request.method != "DELETE" else None
    unset = _unset_peer(value, place)
    if unset == "leaf":
        operation, value = DELETE, None
    new = operation == CREATE
    path = (name, *words)

    def make(document: Mapping[str, Any]) -> Edited:
        nonlocal new
        refuse_others(store, document, name, creates=operation in (CREATE, REPLACE) and not words)
        edited = edit(document, path, Change(operation, value), store.options.services)
        if unset == "member":
            edited = edit(edited.document, (*path, "peer"), Change(DELETE), store.options.services)
        if operation == REPLACE and place.kind in (CUBE, ENTRY):
            new = _is_absent(document, path, store)
        edited.document = settled(document, edited.document)
        return edited

    written = store.write(make, request.match)
    return Answer(201 if new else 204, NOTHING, _tag(written.revision))


def _tag(revision: str) -> dict[str, str]:
    return {"ETag": f'"{revision}"'}


def _value(request: Request, place: Place, service: Service) -> Any:
    """The body as configuration."""
    value = request.json() if place.kind not in (CUBE, ENTRY) or request.body.strip() else {}
    if place.kind == CUBE:
        if not isinstance(value, dict):
            raise Refusal(400, "invalid-value", "expected an object")
        said = value.get("service-name", service.name)
        if said != service.name:
            raise Refusal(400, "invalid-value", f"the path says {service.name}, the body {said}", "service-name", "service-name")
        return {"service-name": service.name, **cubes.configuration(value, service.kind)}
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if name != "_links"}
    if place.name == "ports" and place.kind == ENTRY and request.method != "PATCH":
        return cubes.port_configuration(value)
    if place.name == "ports" and place.kind == LIST and isinstance(value, list):
        return [cubes.port_configuration(port) for port in value]
    return value


def _unset_peer(value: Any, place: Place) -> str:
    """Whether the body removes a port's peer: 'leaf' or 'member'; '' if it does not."""
    if place.kind == LEAF and place.name == "peer" and value == "":
        return "leaf"
    if place.kind == ENTRY and place.name == "ports" and isinstance(value, dict) and value.get("peer") == "":
        del value["peer"]
        return "member"
    return ""


def _is_absent(document: Mapping[str, Any], path: Sequence[str], store: Store) -> bool:
    try:
        edit(document, path, Change(DELETE), store.options.services)
    except EditRefused:
        return True
    return False


# -- actions -------------------------------------------------------------------------------------------------------------------


def _act(
    request: Request, store: Store, service: Service, name: str, places: Sequence[Place], words: Sequence[str]
) -> Answer:
    what = places[-1].schema.get("x-pcn-edit")
    if what is None:
        path = "/".join(place.name for place in places[1:] if place.kind != ENTRY)
        return _do(store, service, name, path, request)
    operation, among = ("remove" if what[0] == "delete" else what[0]), what[1]
    change = Change(operation, request.object(), among)

    def make(document: Mapping[str, Any]) -> Edited:
        refuse_others(store, document, name)
        return edit(document, (name, *words[:-1]), change, store.options.services)

    written = store.write(make, request.match)
    return Answer(201, dict(written.output), _tag(written.revision))


def _do(store: Store, service: Service, name: str, path: str, request: Request) -> Answer:
    """Perform an action on what the datapath learned and counted."""
    action = actions(service.schema).get(path)
    if store.only_plans:
        raise Refusal(400, "invalid-value", f"{path} edits no document, so it has no plan", f"/{name}/{path}")
    if action is None:
        raise Refusal(409, "operation-failed", f"the model does not say what {path} does")
    seen = store.look()
    if name not in seen.cubes:
        raise missing(f'there is no cube "{name}"', f"/{name}")
    refuse_while_unconfirmed(store.options.root)
    output: dict[str, Any] = {}

    def make(reconciler: Reconciler, live: Live) -> Plan | Continued:
        if action.is_of_tables or not service.implementation.acts:
            return plan_action(action, name, live)
        return ask(action, request.object() if request.body else {}, seen.cubes[name], reconciler, output)

    try:
        perform(store.options, make)
    except UsageError as error:
        raise Refusal(400, "invalid-value", str(error), f"/{name}/{path}") from None
    return Answer(201, answer(action) | output)


def briefs(store: Store, seen: Seen, service: str = "") -> list[dict[str, Any]]:
    """All cubes, or those of a service, in short form."""
    return [cubes.brief(store, seen, name) for name, record in seen.cubes.items() if service in ("", record.service)]
